//! The settings of links by which the host answers its neighbours for addresses that are not its own.
//!
//! The kernel does so only on a link whose `forwarding` is on, and `proxy_ndp`, or that of all links, too (`ndisc_recv_ns`,
//! net/ipv6/ndisc.c); `force_forwarding` of Linux 6.17 does not count there. A 1 that is written to `forwarding` of one
//! link takes the default routes of router advertisements from every link whose `accept_ra` is not 2
//! (`rt6_purge_dflt_routers`, net/ipv6/route.c), and that link hears no advertisement any more. So each 1 there is raised
//! first.

use std::fs;
use std::io;

use super::error::{Doing, Result};
use super::proc;
use crate::driver::Setting;
use crate::model::{ChangedSetting, InterfaceName};

/// The setting of all links.
const ALL_ANSWER: &str = "net/ipv6/conf/all/proxy_ndp";

/// What is to be changed for the host to answer the neighbours on `links`, in this order. Its default routes are by the
/// links `out`. A link without IPv6 is left out.
///
/// # Errors
/// When /proc cannot be read.
pub fn settings_to_answer(links: &[InterfaceName], out: &[InterfaceName]) -> Result<Vec<ChangedSetting>> {
    let (mut routers, mut answers) = (Vec::new(), Vec::new());
    let all_answer = value(ALL_ANSWER)?.as_deref() == Some("1");
    for link in links {
        routers.extend(change(Setting::router_by(link))?);
        if !all_answer {
            answers.extend(change(Setting::answers_by(link))?);
        }
    }
    let mut changes = Vec::new();
    if !routers.is_empty() {
        let beside = out.iter().filter(|link| !links.contains(link));
        for link in links.iter().chain(beside) {
            // To a 0, a person's no, nothing is lost.
            changes.extend(change(Setting::router_hears(link.as_str()))?.filter(|change| change.from == "1"));
        }
    }
    changes.extend(routers.into_iter().chain(answers));
    Ok(changes)
}

/// Makes `changes`, in their order.
///
/// # Errors
/// When /proc cannot be written, as in a hardened unit. The error says the command.
pub fn make_changes(changes: &[ChangedSetting]) -> Result<()> {
    changes.iter().try_for_each(|change| write(&change.key, &change.to))
}

/// Puts settings back, the last one first, where they have the value that we gave them, and returns those. All are
/// tried.
///
/// # Errors
/// The first one, when /proc cannot be read or written.
pub fn put_back(changes: &[ChangedSetting]) -> Result<Vec<ChangedSetting>> {
    let (mut back, mut done) = (Vec::new(), Ok(()));
    for change in changes.iter().rev() {
        let ChangedSetting { key, from, to } = change;
        match value(key) {
            Ok(Some(now)) if now == *to => match write(key, from) {
                Ok(()) => back.push(change.clone()),
                Err(error) => done = done.and(Err(error)),
            },
            // It, or the link, is another one by now.
            Ok(_) => {}
            Err(error) => done = done.and(Err(error)),
        }
    }
    done.map(|()| back)
}

/// What gives `setting` its value where it has another one; none where it does not exist.
fn change(setting: Setting) -> Result<Option<ChangedSetting>> {
    let from = value(&setting.key)?.filter(|value| value != setting.value);
    Ok(from.map(|from| ChangedSetting { key: setting.key, from, to: setting.value.to_owned() }))
}

/// The value of a setting; none where it does not exist.
fn value(key: &str) -> Result<Option<String>> {
    match proc::value(&path(key)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some).doing(|| format!("read {}", path(key))),
    }
}

fn write(key: &str, value: &str) -> Result<()> {
    match fs::write(path(key), value) {
        // Its link has just gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.doing(|| format!("sysctl -w {key}={value}")),
    }
}

fn path(key: &str) -> String {
    format!("/proc/sys/{key}")
}
