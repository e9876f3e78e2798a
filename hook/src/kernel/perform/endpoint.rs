//! The steps that connect one endpoint on the host.

use crate::driver::{EndpointStep, SandboxStep};
use crate::kernel::error::Result;
use crate::kernel::namespace::Netns;
use crate::kernel::netlink::{Connected, HostLinks};

/// The first difference between the present state and the result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointFault {
    /// It is gone, or its making was interrupted: it has to be made anew.
    Missing,
    /// It is not connected to what its network shares, or is down.
    NotConnected,
    /// The host has no permanent neighbour entries for its addresses, or its bridge no static one for its MAC.
    NoEntries,
    /// The container can send with the addresses of others.
    Unguarded,
    /// It is to have no IPv6, and nothing on the host keeps that from it.
    OpenToIpv6,
    /// Its frames to the host pass the bridge, where they are to be taken off its port.
    NotLedToHost,
}

/// Connects the container of `namespace`.
///
/// # Errors
/// As [`HostLinks::connect`].
pub fn connect(links: &mut HostLinks, step: &EndpointStep, namespace: &Netns) -> Result<Connected> {
    match step {
        EndpointStep::Veth(pair) => links.connect(pair, namespace),
    }
}

/// Connects a running container again. `inside` sets up its own side before the host's end is complete. The remains of
/// an earlier try are removed first.
///
/// # Errors
/// As [`HostLinks::connect_whole`].
pub fn connect_whole(
    links: &mut HostLinks,
    step: &EndpointStep,
    namespace: &Netns,
    inside: &[SandboxStep],
) -> Result<()> {
    match step {
        EndpointStep::Veth(pair) => {
            if let Some(half) = links.ours(&pair.name, &pair.alias, Some(&pair.bridge))? {
                links.delete(half)?;
            }
            links.connect_whole(pair, namespace, |peer| super::inside(namespace, inside, peer))
        }
    }
}

/// The difference between the present state and the result of `step`, if there is one.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn endpoint_fault(links: &mut HostLinks, step: &EndpointStep) -> Result<Option<EndpointFault>> {
    match step {
        EndpointStep::Veth(pair) => {
            if links.named(&pair.name, &pair.alias)?.is_none() {
                return Ok(Some(EndpointFault::Missing));
            }
            if !links.is_joined(pair)? {
                return Ok(Some(EndpointFault::NotConnected));
            }
            if !links.is_guarded(&pair.name, &pair.guard)? {
                return Ok(Some(EndpointFault::Unguarded));
            }
            if !links.is_led_to_host(pair)? {
                return Ok(Some(EndpointFault::NotLedToHost));
            }
            if !links.has_entries(pair)? {
                return Ok(Some(EndpointFault::NoEntries));
            }
            let is_filtered = pair.intake.as_ref().map_or(Ok(true), |intake| links.has_intake(&pair.name, intake))?;
            Ok((!is_filtered).then_some(EndpointFault::OpenToIpv6))
        }
    }
}

/// Restores the result of `step`. If the link is missing, nothing is done.
///
/// # Errors
/// When the kernel refuses.
pub fn rejoin(links: &mut HostLinks, step: &EndpointStep) -> Result<()> {
    match step {
        EndpointStep::Veth(pair) => links.rejoin(pair),
    }
}
