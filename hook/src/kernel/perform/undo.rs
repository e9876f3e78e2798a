//! The steps that remove an endpoint.

use std::net::IpAddr;

use crate::driver::Undo;
use crate::kernel::error::Result;
use crate::kernel::netlink::{Flows, HostLinks};
use crate::model::InterfaceName;

/// The addresses for which the host has permanent neighbour entries on `link`.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn permanent_neighbours(links: &mut HostLinks, link: &InterfaceName) -> Result<Vec<IpAddr>> {
    links.permanent_neighbours(link)
}

/// Stops the packets through what `step` removes. It is quick, while [`undo`] may take 20 ms.
///
/// # Errors
/// When the kernel refuses.
pub fn shut(links: &mut HostLinks, step: &Undo) -> Result<()> {
    let Undo::Link { name, alias, master } = step else { return Ok(()) };
    links.ours(name, alias, master.as_ref())?.map_or(Ok(()), |index| links.shut(index, &alias.draining()))
}

/// Whether a link that `step` removes exists.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn is_there(links: &mut HostLinks, step: &Undo) -> Result<bool> {
    let Undo::Link { name, alias, master } = step else { return Ok(false) };
    Ok(links.ours(name, alias, master.as_ref())?.is_some())
}

/// Takes away what `step` describes; its absence is no error. Call it only while the endpoint's addresses are leased:
/// the flows of the next container that has one would be deleted.
///
/// # Errors
/// When the kernel refuses.
pub fn undo(links: &mut HostLinks, flows: &mut Flows, step: &Undo) -> Result<()> {
    match step {
        Undo::Link { name, alias, master } => match links.ours(name, alias, master.as_ref())? {
            Some(index) => links.delete(index),
            None => Ok(()),
        },
        Undo::Flows(address) => flows.conntrack()?.forget_flows_of(&[*address]),
        Undo::Neighbour { link, address } => links.forget_neighbour(link, *address),
        Undo::Proxy(address) => {
            let entries = links.proxy_entries()?.into_iter().filter(|entry| entry.address == *address);
            entries.into_iter().try_for_each(|entry| links.remove_proxy_entry(&entry))
        }
    }
}
