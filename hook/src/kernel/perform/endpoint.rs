//! What connects one endpoint on the host.

use crate::driver::{EndpointStep, SandboxStep};
use crate::kernel::error::Result;
use crate::kernel::namespace::Netns;
use crate::kernel::netlink::{Connected, HostLinks};

/// The first difference between what is there and how a step made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointFault {
    /// It is gone, or was cut off before it was whole: it has to be made anew.
    Missing,
    /// It leads nowhere: it is no port of its bridge, or down.
    NotConnected,
    /// The container can send under the names of others.
    Unguarded,
}

/// Connects the container of `namespace`.
///
/// # Errors
/// As [`HostLinks::connect`].
pub fn connect(links: &mut HostLinks, step: &EndpointStep, namespace: &Netns) -> Result<Connected> {
    match step {
        EndpointStep::Veth(pair) => links.connect(pair, namespace),
        #[cfg(test)]
        EndpointStep::Child { .. } => unimplemented!("no test needs a kernel for it"),
    }
}

/// Connects a running container again, with its own side done by `inside` before the host's end is whole. What an earlier try left is
/// taken away first.
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
        #[cfg(test)]
        EndpointStep::Child { .. } => unimplemented!("no test needs a kernel for it"),
    }
}

/// How what is there differs from what `step` made; none where it does not.
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
            Ok((!links.is_guarded(&pair.name, &pair.guard)?).then_some(EndpointFault::Unguarded))
        }
        #[cfg(test)]
        EndpointStep::Child { .. } => unimplemented!("no test needs a kernel for it"),
    }
}

/// Makes what is there as `step` made it. Where it is missing, nothing is done.
///
/// # Errors
/// When the kernel refuses.
pub fn rejoin(links: &mut HostLinks, step: &EndpointStep) -> Result<()> {
    match step {
        EndpointStep::Veth(pair) => links.rejoin(pair),
        #[cfg(test)]
        EndpointStep::Child { .. } => unimplemented!("no test needs a kernel for it"),
    }
}
