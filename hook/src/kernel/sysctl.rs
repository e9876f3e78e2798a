use std::fs;
use std::io;

use super::error::{Doing, Error, Result};
use super::proc;
use crate::driver::Setting;
use crate::model::{Family, InterfaceName};

/// Sets `setting` where it is known to have another value: it is written without a look at it.
///
/// # Errors
/// Those of the kernel; then it may have had its value already.
pub(super) fn write(setting: &Setting) -> io::Result<()> {
    fs::write(setting.path(), setting.value)
}

/// Sets each of `settings`. Writes only values that differ: a write takes the lock of all links, a read does not, and
/// /proc/sys may be read-only.
///
/// # Errors
/// When /proc cannot be written, as in a hardened unit. The error names every missing setting, so that the operator can
/// set it.
pub fn set(settings: &[Setting]) -> Result<()> {
    let (mut missing, mut why) = (Vec::new(), None);
    for setting in settings {
        if is_set(setting)? {
            continue;
        }
        if let Err(error) = write(setting) {
            missing.push(setting.to_string());
            why.get_or_insert(error);
        }
    }
    match why {
        Some(error) => {
            Err(Error::refused(format!("change what is missing in /proc/sys, sysctl -w {}", missing.join(" ")), error))
        }
        None => Ok(()),
    }
}

/// Whether `setting` has its value. Without IPv6, which a kernel may lack and a link with an MTU under 1280 lacks
/// (`IPV6_MIN_MTU`), an IPv6 setting does not exist and counts as set.
///
/// # Errors
/// When /proc cannot be read.
pub fn is_set(setting: &Setting) -> Result<bool> {
    let path = setting.path();
    match proc::value(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && setting.is_ipv6() => Ok(true),
        result => Ok(result.doing(|| format!("read {path}"))? == setting.value),
    }
}

/// The setting by which frames of `family` within a bridge pass the host's IP hooks too (`br_netfilter`).
pub fn frames_to_ip_hooks(family: Family) -> &'static str {
    match family {
        Family::V4 => "net.bridge.bridge-nf-call-iptables",
        Family::V6 => "net.bridge.bridge-nf-call-ip6tables",
    }
}

/// Whether they do.
pub fn frames_pass_ip_hooks(family: Family) -> bool {
    is_one(&format!("/proc/sys/{}", frames_to_ip_hooks(family).replace('.', "/")))
}

/// Whether `interface` drops packets whose answers would leave by another interface (RFC 3704, section 2.2). The kernel
/// takes the larger of the setting for all and the interface's own; 2 is the loose form.
pub fn strict_reverse_path(interface: &InterfaceName) -> bool {
    let setting = |name: &str| proc::value(&format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
    let largest = ["all", interface.as_str()].into_iter().filter_map(|name| setting(name).ok()?.parse().ok()).max();
    largest == Some(1)
}

/// How many entries the neighbour table takes, which all network namespaces share; none where this namespace is not
/// the machine's first, which alone shows it (`neigh_sysctl_register`, net/core/neighbour.c).
pub fn neighbour_limit() -> Option<u64> {
    proc::value("/proc/sys/net/ipv4/neigh/default/gc_thresh3").ok()?.parse().ok()
}

fn is_one(path: &str) -> bool {
    proc::value(path).is_ok_and(|value| value == "1")
}
