use std::fs;
use std::io;

use super::error::{Doing, Result};
use crate::driver::{Bridge, Detour};
use crate::model::InterfaceName;

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Whether this namespace forwards IPv4.
///
/// # Errors
/// When /proc cannot be read.
pub fn forwarding() -> Result<bool> {
    Ok(fs::read(FORWARDING).doing(|| format!("read {FORWARDING}"))?.starts_with(b"1"))
}

/// Lets this namespace forward IPv4.
///
/// # Errors
/// When /proc cannot be written, as in a hardened unit.
pub fn switch_forwarding_on() -> Result<()> {
    fs::write(FORWARDING, "1").doing(|| format!("write 1 to {FORWARDING}"))
}

/// No IPv6 on an interface; nothing to do on a kernel without it.
pub(super) fn disable_ipv6(interface: &InterfaceName) -> Result<()> {
    optional(&format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1")
}

/// Lets this namespace forward IPv4 no more.
///
/// # Errors
/// When /proc cannot be written, as in a hardened unit.
pub fn switch_forwarding_off() -> Result<()> {
    fs::write(FORWARDING, "0").doing(|| format!("write 0 to {FORWARDING}"))
}

/// What a bridge of an IPv4 network needs before it is up: no address or route from a router advertisement of a
/// container (CVE-2020-13401), no IPv6, and a way for the host's own 127.0.0.1 to a published port.
///
/// # Errors
/// When /proc cannot be written, as in a hardened unit.
pub fn guard_bridge(bridge: &Bridge) -> Result<()> {
    for (path, value) in bridge_guards(bridge) {
        optional(&path, value)?;
    }
    Ok(())
}

/// The settings of a bridge that are not as [`guard_bridge`] makes them, each with the value it should have.
///
/// # Errors
/// When /proc cannot be read.
pub fn open_guards(bridge: &Bridge) -> Result<Vec<(String, &'static str)>> {
    let mut open = Vec::new();
    for (path, value) in bridge_guards(bridge) {
        if !is_set(&path, value)? {
            open.push((path, value));
        }
    }
    Ok(open)
}

/// Gives both ends of the detour the settings that they need.
///
/// # Errors
/// When /proc cannot be written, as in a hardened unit.
pub(super) fn set_detour() -> Result<()> {
    Detour::settings().iter().try_for_each(|(family, link, key, value)| optional(&path(family, link, key), value))
}

/// Whether they have them.
pub(super) fn is_detour_set() -> Result<bool> {
    let mut settings = Detour::settings().into_iter();
    settings.try_fold(true, |all, (family, link, key, value)| Ok(all && is_set(&path(family, link, key), value)?))
}

fn path(family: &str, link: &str, key: &str) -> String {
    format!("/proc/sys/net/{family}/conf/{link}/{key}")
}

/// Whether frames within a bridge pass the host's IP hooks as well (`br_netfilter`).
pub fn frames_pass_ip_hooks() -> bool {
    is_one("/proc/sys/net/bridge/bridge-nf-call-iptables")
}

/// Whether `interface` drops what it would not send back the same way (RFC 3704, section 2.2). The kernel takes the
/// larger of the setting for all and the interface's own; 2 is the loose form.
pub fn strict_reverse_path(interface: &InterfaceName) -> bool {
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
    let largest =
        ["all", interface.as_str()].into_iter().filter_map(|name| setting(name).ok()?.trim().parse().ok()).max();
    largest == Some(1)
}

fn is_one(path: &str) -> bool {
    fs::read(path).is_ok_and(|text| text.starts_with(b"1"))
}

fn bridge_guards(Bridge { name, route_localnet, .. }: &Bridge) -> [(String, &'static str); 3] {
    let localnet = if *route_localnet { "1" } else { "0" };
    [
        (format!("/proc/sys/net/ipv6/conf/{name}/accept_ra"), "0"),
        (format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1"),
        (format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"), localnet),
    ]
}

/// Writes only what differs: a write takes the lock of all links, a look does not. A kernel without IPv6 lacks its files.
fn optional(path: &str, value: &str) -> Result<()> {
    if is_set(path, value)? {
        return Ok(());
    }
    fs::write(path, value).doing(|| format!("write {value} to {path}"))
}

fn is_set(path: &str, value: &str) -> Result<bool> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        result => Ok(result.doing(|| format!("read {path}"))?.trim_ascii() == value.as_bytes()),
    }
}
