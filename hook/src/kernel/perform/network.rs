//! The steps for what the endpoints of a network share on the host.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::driver::{EndpointStep, NetworkStep, NetworkUndo, Setting, Veth};
use crate::kernel::error::{Error, Result};
use crate::kernel::fs::LockFile;
use crate::kernel::netlink::HostLinks;
use crate::model::Mac;

/// A difference between the present state and the result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkFault {
    /// It is missing, or down.
    Missing,
    /// It has this MTU in bytes.
    Mtu(u32),
    /// It has this MAC.
    Mac(Mac),
    /// It lacks this address.
    Address(IpNet),
    /// It lacks the route by which the kernel answers what comes in for ::1.
    LoopbackRoute,
    /// It lacks this setting.
    Setting(Setting),
}

/// Makes sure that what `step` describes exists and has its settings. If it has to be made, the endpoints whose steps
/// `fellows` returns are connected to it again.
///
/// # Errors
/// Those of [`make`] and of `fellows`.
pub fn ensure<E: From<Error>>(
    links: &mut HostLinks,
    locks: &LockFile,
    step: &NetworkStep,
    fellows: impl FnOnce() -> std::result::Result<Vec<EndpointStep>, E>,
) -> std::result::Result<(), E> {
    if ensure_settings(links, step)? { Ok(()) } else { Ok(make(links, locks, step, &fellows()?)?) }
}

/// Gives what `step` describes its settings. False where it does not exist, or has to be made again: with another MAC,
/// a bridge has lost the permanent entries of its network's containers (`neigh_changeaddr`, net/core/neighbour.c).
///
/// # Errors
/// When the kernel refuses.
pub fn ensure_settings(links: &mut HostLinks, step: &NetworkStep) -> Result<bool> {
    match step {
        NetworkStep::Bridge(bridge) => match links.find_bridge(bridge)? {
            Some(found) => links.repair_bridge(bridge, &found).map(|()| found.mac == bridge.mac),
            None => Ok(false),
        },
    }
}

/// Makes what `step` describes, or completes it, and connects `fellows` to it again.
///
/// # Errors
/// [`Error::Busy`] where a link of another program has its name; when the kernel refuses.
pub fn make(links: &mut HostLinks, locks: &LockFile, step: &NetworkStep, fellows: &[EndpointStep]) -> Result<()> {
    match step {
        NetworkStep::Bridge(bridge) => {
            let ports: Vec<&Veth> = fellows.iter().map(|EndpointStep::Veth(pair)| pair).collect();
            links.make_bridge(bridge, &ports, locks)
        }
    }
}

/// Removes what `step` describes; false where it does not exist. Call it under [`Place::Bridges`], so that no other
/// process makes it meanwhile.
///
/// # Errors
/// When the kernel refuses.
///
/// [`Place::Bridges`]: crate::kernel::Place::Bridges
pub fn undo_network(links: &mut HostLinks, step: &NetworkUndo) -> Result<bool> {
    match step {
        NetworkUndo::Bridge { name, alias, mac } => match links.bridge_of(name, alias, *mac)? {
            Some(index) => links.delete(index).map(|()| true),
            None => Ok(false),
        },
    }
}

/// The differences between the present state and the result of `step`.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn network_faults(links: &mut HostLinks, step: &NetworkStep) -> Result<Vec<NetworkFault>> {
    match step {
        NetworkStep::Bridge(bridge) => {
            let Some(found) = links.find_bridge(bridge)? else { return Ok(vec![NetworkFault::Missing]) };
            let there = links.addresses_of_link(&bridge.name)?;
            let mtu = (found.mtu != bridge.mtu).then_some(NetworkFault::Mtu(found.mtu));
            let mac = (found.mac != bridge.mac).then_some(NetworkFault::Mac(found.mac));
            let missing = bridge.addresses.iter().filter(|address| !there.contains(address));
            let stand_ins = bridge.stand_ins.iter().map(|address| IpNet::from(IpAddr::from(*address)));
            let stand_ins = stand_ins.filter(|address| !there.contains(address));
            let addresses = missing.copied().chain(stand_ins).map(NetworkFault::Address);
            let is_routed = bridge.stand_ins.is_empty() || links.has_loopback_route(&bridge.name)?;
            let route = (!is_routed).then_some(NetworkFault::LoopbackRoute);
            let settings = found.differing.into_iter().map(NetworkFault::Setting);
            Ok(mtu.into_iter().chain(mac).chain(addresses).chain(route).chain(settings).collect())
        }
    }
}
