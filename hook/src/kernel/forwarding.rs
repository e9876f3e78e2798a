//! IP forwarding of this namespace.
//!
//! Of IPv6, a host that forwards by `forwarding` of all links hears no router advertisements any more, and loses the
//! default route that it has from one (`rt6_purge_dflt_routers`, net/ipv6/route.c). Linux 6.17 has `force_forwarding`
//! beside it, which lets what comes in by a link be forwarded and leaves the host a host. Written for all links, it
//! reaches those that are there, and written as the default, those to come. A 0 that is written to `forwarding` of all
//! links takes it from each link, and leaves the value for all as it was (`addrconf_forward_change`,
//! net/ipv6/addrconf.c): so `lo` is looked at, which is always there.

use std::fs;
use std::io;

use super::error::{Doing, Error, Result};
use super::{proc, sysctl};
use crate::driver::Setting;
use crate::model::Family;

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

/// Switches forwarding of `family` on in this namespace, where it is off.
///
/// # Errors
/// When /proc cannot be written, as in a hardened unit; when the kernel has no IPv6, or none that forwards and leaves
/// the host its routes.
pub fn switch_forwarding_on(family: Family) -> Result<()> {
    if forwarding(family)? {
        return Ok(());
    }
    match family {
        Family::V4 => sysctl::set(&Setting::forwarding_of(family)),
        Family::V6 => refuse_unforwardable(family).and_then(|()| force()),
    }
}

/// Refuses to switch forwarding of `family` on where this kernel cannot, or would take routes away from the host.
///
/// # Errors
/// That it is so, or when /proc cannot be read.
pub fn refuse_unforwardable(family: Family) -> Result<()> {
    let is_there = |path: &str| fs::exists(path).doing(|| format!("look for {path}"));
    let [_, there] = forced();
    let why = match family {
        Family::V6 if !is_there(ROUTER)? => "this kernel has no IPv6 (ipv6.disable=1, or no module)",
        Family::V6 if !is_there(&there)? => {
            "before Linux 6.17, a host that forwards loses the default route that it has from a router advertisement; \
             where it has none, or accept_ra of its link is 2: sysctl -w net.ipv6.conf.all.forwarding=1"
        }
        Family::V4 | Family::V6 => return Ok(()),
    };
    Err(Error::refused("forward IPv6", io::Error::other(why)))
}

/// Switches off what [`switch_forwarding_on`] switched on, all of it or a part; true where there was any.
///
/// # Errors
/// When /proc cannot be read or written.
pub fn switch_forwarding_off(family: Family) -> Result<bool> {
    match family {
        Family::V4 if is_one(V4)? => write(V4, "0").map(|()| true),
        Family::V4 => Ok(false),
        Family::V6 => {
            let mut was_on = false;
            // The links first: those that are to come have no packets yet.
            for setting in Setting::forwarding_of(family).iter().rev() {
                if is_one_if_there(&setting.path())? {
                    write(&setting.path(), "0")?;
                    was_on = true;
                }
            }
            Ok(was_on)
        }
    }
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
    for link in links {
        let link = link.doing(|| format!("read {CONF}"))?.file_name().to_string_lossy().into_owned();
        let is_one_of_several = ["all", "default"].contains(&link.as_str());
        if !is_one_of_several && is_one_if_there(&format!("{CONF}/{link}/force_forwarding"))? {
            let why = format!(
                "{link} does already (force_forwarding), and not all links; let all of them, and those to come: \
                 sysctl -w {}",
                Setting::forwarding_words(family)
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
