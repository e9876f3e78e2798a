use std::fs;
use std::io;

use super::error::{Doing, Result};
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

/// What a bridge of an IPv4 network needs before it is up: no address or route from a router advertisement of a
/// container (CVE-2020-13401), no IPv6, and a way for the host's own 127.0.0.1 to a published port.
pub(super) fn guard_bridge(bridge: &InterfaceName) -> Result<()> {
    optional(&format!("/proc/sys/net/ipv6/conf/{bridge}/accept_ra"), "0")?;
    disable_ipv6(bridge)?;
    let path = format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet");
    fs::write(&path, "1").doing(|| format!("write 1 to {path}"))
}

fn optional(path: &str, value: &str) -> Result<()> {
    match fs::write(path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.doing(|| format!("write {value} to {path}")),
    }
}
