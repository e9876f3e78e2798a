//! IP forwarding of this namespace.
//!
//! Of IPv6, a host that forwards by `forwarding` of all links hears no router advertisements any more, and loses the
//! default route that it has from one (`rt6_purge_dflt_routers`, net/ipv6/route.c), but for links whose `accept_ra` is 2.
//!
//! Linux 6.17 has `force_forwarding` beside it, which lets what comes in by a link be forwarded and leaves the host a
//! host. Written for all links, it reaches those that are there, and written as the default, those to come. A 0 that is
//! written to `forwarding` of all links takes it from each link, and leaves the value for all as it was
//! (`addrconf_forward_change`, net/ipv6/addrconf.c): so `lo` is looked at, which is always there.
//!
//! On an earlier kernel, the host is made a router, after `accept_ra` was raised from 1 to 2 wherever it is 1. To a host
//! that does not forward, both values mean the same (`ipv6_accept_ra`, include/net/ipv6.h).

use std::fs;
use std::io;

use super::changed_settings::{make_changes, put_back};
use super::error::{Doing, Error, Result};
use super::{proc, sysctl};
use crate::driver::Setting;
use crate::model::{ChangedSetting, Family};

const V4: &str = "/proc/sys/net/ipv4/ip_forward";
const ROUTER: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const CONF: &str = "/proc/sys/net/ipv6/conf";
const WITNESS: &str = "/proc/sys/net/ipv6/conf/lo/force_forwarding";

/// Whether this namespace forwards packets of `family`. A kernel without IPv6 forwards none.
///
/// # Errors
/// When /proc cannot be read.
pub fn forwarding(family: Family) -> Result<bool> {
    match family {
        Family::V4 => is_one(V4),
        Family::V6 => Ok(is_one_if_there(ROUTER)? || is_forced()?),
    }
}

/// Whether what comes in by a link is forwarded by a setting of that link, too. A host that forwards IPv6 by the setting
/// of all links asks no other (`ip6_forward`, net/ipv6/ip6_output.c).
///
/// # Errors
/// When /proc cannot be read.
pub fn forwards_link_by_link(family: Family) -> Result<bool> {
    match family {
        Family::V4 => is_one(V4),
        Family::V6 => Ok(!is_one_if_there(ROUTER)? && is_forced()?),
    }
}

/// The settings that let this namespace forward `family`, in the order in which they are written on this kernel and with
/// these links.
///
/// # Errors
/// When /proc cannot be read.
pub fn forwarding_settings(family: Family) -> Result<Vec<Setting>> {
    Ok(match family {
        Family::V4 => vec![Setting::ip_forward()],
        Family::V6 if has_forced()? => Setting::forced_forwarding().into(),
        Family::V6 => {
            let hears = hearing_links()?.into_iter().map(|link| Setting::router_hears(&link));
            hears.chain([Setting::router()]).collect()
        }
    })
}

/// The setting by which people know whether this namespace forwards `family`.
///
/// # Errors
/// When /proc cannot be read.
pub fn forwarding_setting(family: Family) -> Result<Setting> {
    Ok(match family {
        Family::V4 => Setting::ip_forward(),
        Family::V6 if has_forced()? => Setting::forced_forwarding()[1].clone(),
        Family::V6 => Setting::router(),
    })
}

/// What is changed of links when forwarding of `family` is switched on: that they take routes from router
/// advertisements also where the host is a router.
///
/// # Errors
/// When /proc cannot be read.
pub fn changes_to_forward(family: Family) -> Result<Vec<ChangedSetting>> {
    if family == Family::V4 || has_forced()? {
        return Ok(Vec::new());
    }
    let hears = |link: String| ChangedSetting {
        from: "1".to_owned(),
        to: "2".to_owned(),
        key: Setting::router_hears(&link).key,
    };
    Ok(hearing_links()?.into_iter().map(hears).collect())
}

/// Switches forwarding of `family` on in this namespace, where it is off.
///
/// # Errors
/// When /proc cannot be written, as in a hardened unit; when the kernel has no IPv6.
pub fn switch_forwarding_on(family: Family) -> Result<()> {
    if forwarding(family)? {
        return Ok(());
    }
    refuse_unforwardable(family)?;
    match family {
        Family::V4 => sysctl::set(&[Setting::ip_forward()]),
        Family::V6 if has_forced()? => force(),
        Family::V6 => become_router(),
    }
}

/// Refuses to switch forwarding of `family` on where this kernel cannot.
///
/// # Errors
/// That it is so, or when /proc cannot be read.
pub fn refuse_unforwardable(family: Family) -> Result<()> {
    if family == Family::V4 || fs::exists(ROUTER).doing(|| format!("look for {ROUTER}"))? {
        return Ok(());
    }
    let why = "this kernel has no IPv6 (ipv6.disable=1, or no module)";
    Err(Error::refused("forward IPv6", io::Error::other(why)))
}

/// Switches off what [`switch_forwarding_on`] switched on, all of it or a part, and returns the settings that were on.
/// [`changes_to_forward`] are to be put back only then: a router whose `accept_ra` is 1 loses its routes.
///
/// # Errors
/// When /proc cannot be read or written.
pub fn switch_forwarding_off(family: Family) -> Result<Vec<Setting>> {
    let settings = match family {
        Family::V4 => vec![Setting::ip_forward()],
        Family::V6 if has_forced()? => Setting::forced_forwarding().into(),
        Family::V6 => vec![Setting::router()],
    };
    let mut were_on = Vec::new();
    // The links first: those that are to come have no packets yet.
    for setting in settings.into_iter().rev() {
        if is_one_if_there(&setting.path())? {
            write(&setting.path(), "0")?;
            were_on.insert(0, setting);
        }
    }
    Ok(were_on)
}

/// Refuses to switch forwarding of `family` on where a person or program has some links forward it and others not: how
/// it was could not be restored.
///
/// # Errors
/// That it is so, or when /proc cannot be read.
pub fn refuse_partial_forwarding(family: Family) -> Result<()> {
    if family == Family::V4 || forwarding(family)? {
        return Ok(());
    }
    let links = match fs::read_dir(CONF) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        links => links.doing(|| format!("read {CONF}"))?,
    };
    let name = if has_forced()? { "force_forwarding" } else { "forwarding" };
    for link in links {
        let link = link.doing(|| format!("read {CONF}"))?.file_name().to_string_lossy().into_owned();
        let is_one_of_several = ["all", "default"].contains(&link.as_str());
        if !is_one_of_several && is_one_if_there(&format!("{CONF}/{link}/{name}"))? {
            let why = format!(
                "{link} does already ({name}), and not all links; let all of them, and those to come: sysctl -w {}",
                Setting::words(&forwarding_settings(family)?)
            );
            return Err(Error::refused("forward IPv6", io::Error::other(why)));
        }
    }
    Ok(())
}

fn force() -> Result<()> {
    let [to_come, there] = forced();
    // The kernel does nothing for a value that is the same as before.
    write(&there, "0")?;
    write(&to_come, "1")?;
    write(&there, "1").inspect_err(|_| drop(write(&to_come, "0")))
}

/// Makes the host a router that goes on to take routes from router advertisements.
fn become_router() -> Result<()> {
    let changes = changes_to_forward(Family::V6)?;
    let made = make_changes(&changes).and_then(|()| write(ROUTER, "1"));
    made.inspect_err(|_| drop(put_back(&changes)))
}

/// The links that take routes from router advertisements while the host is no router, behind `default` for those to come.
fn hearing_links() -> Result<Vec<String>> {
    let all = || format!("read {CONF}");
    let mut hearing = Vec::new();
    for link in fs::read_dir(CONF).doing(all)? {
        let link = link.doing(all)?.file_name().to_string_lossy().into_owned();
        if link != "all" && is_one_if_there(&Setting::router_hears(&link).path())? {
            hearing.push(link);
        }
    }
    hearing.sort_by_key(|link| link != "default");
    Ok(hearing)
}

/// Whether this kernel forwards IPv6 link by link.
fn has_forced() -> Result<bool> {
    let [_, there] = forced();
    fs::exists(&there).doing(|| format!("look for {there}"))
}

fn is_forced() -> Result<bool> {
    let [to_come, _] = forced();
    Ok(is_one_if_there(&to_come)? && is_one_if_there(WITNESS)?)
}

/// The files of the settings of IPv6: for links to come, and for those that are there.
fn forced() -> [String; 2] {
    Setting::forced_forwarding().map(|setting| setting.path())
}

fn is_one(path: &str) -> Result<bool> {
    Ok(proc::value(path).doing(|| format!("read {path}"))? == "1")
}

fn is_one_if_there(path: &str) -> Result<bool> {
    match proc::value(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        result => Ok(result.doing(|| format!("read {path}"))? == "1"),
    }
}

fn write(path: &str, value: &str) -> Result<()> {
    fs::write(path, value).doing(|| format!("write {value} to {path}"))
}
