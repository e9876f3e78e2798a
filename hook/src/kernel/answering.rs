//! The settings of links by which the host answers its neighbours for addresses that are not its own.
//!
//! The kernel does so only on a link whose `forwarding` is on, and `proxy_ndp`, or that of all links, too (`ndisc_recv_ns`,
//! net/ipv6/ndisc.c); `force_forwarding` of Linux 6.17 does not count there. A 1 that is written to `forwarding` of one
//! link takes the default routes of router advertisements from every link whose `accept_ra` is not 2
//! (`rt6_purge_dflt_routers`, net/ipv6/route.c), and that link hears no advertisement any more. So each 1 there is raised
//! first.

use super::changed_settings::{change, value};
use super::error::Result;
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
