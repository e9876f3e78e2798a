//! The host's neighbour entries of containers, and the bridges' entries for their MACs.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::{HostLinks, errno, is_gone};
use crate::driver::Veth;
use crate::kernel::error::{Doing, Error, Result};
use crate::model::{InterfaceName, Mac};

/// Marks our neighbour entries, `protocol 111` in ip-neighbour(8): an operator may have permanent ones on our bridges.
pub(super) const OURS: NeighbourAttribute = NeighbourAttribute::Protocol(RouteProtocol::Other(111));

impl HostLinks {
    /// Gives the host permanent neighbour entries for the addresses of the container at `port`, whose link has `index`,
    /// and the bridge a static entry for its MAC. Permanent entries do not count against `gc_thresh3` (`neigh_alloc`,
    /// net/core/neighbour.c), and no ARP of a sibling changes them.
    pub(super) fn add_entries(&mut self, index: u32, port: &Veth) -> Result<()> {
        let what = || format!("make the container at {} known on {}", port.name, port.bridge);
        let bridge = self.bridge_index(&port.bridge)?;
        let entries = port.addresses.iter().map(|address| permanent(bridge, *address, port.mac));
        for entry in [at_port(index, port.mac)].into_iter().chain(entries) {
            let request = RouteNetlinkMessage::NewNeighbour(entry);
            self.netlink.request(request, NLM_F_CREATE | NLM_F_REPLACE).doing(what)?;
        }
        Ok(())
    }

    /// Whether the host and the bridge have these entries for the container at `port`.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(in crate::kernel) fn has_entries(&mut self, port: &Veth) -> Result<bool> {
        let (Some(link), Some(bridge)) = (self.find(&port.name)?, self.find(&port.bridge)?) else { return Ok(false) };
        let (index, bridge) = (link.header.index, bridge.header.index);
        let entries = port.addresses.iter().map(|address| permanent(bridge, *address, port.mac));
        for wanted in [at_port(index, port.mac)].into_iter().chain(entries) {
            let mut question = wanted.clone();
            question.header.state = NeighbourState::None;
            // The kernel takes nothing but what names the entry (`neigh_valid_get_req`, net/core/neighbour.c), which is
            // the first attribute.
            question.attributes.truncate(1);
            question.header.flags.remove(NeighbourFlags::Sticky);
            let found = match self.netlink.request(RouteNetlinkMessage::GetNeighbour(question), 0) {
                Ok(answers) => answers.into_iter().find_map(told),
                Err(error) if errno(&error) == Errno::ENOENT || is_gone(&error) => None,
                Err(error) => return Err(Error::refused(format!("look for the neighbour at {}", port.name), error)),
            };
            let is_wanted = |found: &NeighbourMessage| {
                found.header.ifindex == wanted.header.ifindex
                    && found.header.state == wanted.header.state
                    && wanted.attributes.iter().all(|attribute| found.attributes.contains(attribute))
            };
            if !found.as_ref().is_some_and(is_wanted) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The addresses of our permanent neighbour entries on the link `name`; none where it does not exist.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(in crate::kernel) fn permanent_neighbours(&mut self, name: &InterfaceName) -> Result<Vec<IpAddr>> {
        let Some(link) = self.find(name)? else { return Ok(Vec::new()) };
        let question = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let answers = self.netlink.request(question, NLM_F_DUMP).doing(|| "list the neighbours".into())?;
        let here = answers.into_iter().filter_map(told).filter(|entry| {
            entry.header.ifindex == link.header.index
                && entry.header.state == NeighbourState::Permanent
                && entry.attributes.contains(&OURS)
        });
        Ok(here.filter_map(|entry| address(&entry)).collect())
    }

    /// Deletes the neighbour entry of `address` on `bridge`, and drops the packets that wait for its MAC address: the
    /// kernel keeps them for some seconds (`neigh_delete`, net/core/neighbour.c). If there is no entry, that is no
    /// error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(in crate::kernel) fn forget_neighbour(&mut self, bridge: &InterfaceName, address: IpAddr) -> Result<()> {
        let Some(link) = self.find(bridge)? else { return Ok(()) };
        let request = RouteNetlinkMessage::DelNeighbour(entry(link.header.index, address));
        match self.netlink.request(request, 0) {
            Err(error) if errno(&error) != Errno::ENOENT && !is_gone(&error) => {
                Err(Error::refused(format!("forget the neighbour {address} on {bridge}"), error))
            }
            _ => Ok(()),
        }
    }
}

/// The entry of `address` on the link `index`, without a MAC.
pub(in crate::kernel) fn entry(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut entry = NeighbourMessage::default();
    entry.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    entry.header.ifindex = index;
    entry.attributes.push(NeighbourAttribute::Destination(address.into()));
    entry
}

/// The permanent entry of `address` on the link `index`.
pub(in crate::kernel) fn permanent(index: u32, address: IpAddr, mac: Mac) -> NeighbourMessage {
    let mut entry = entry(index, address);
    entry.header.state = NeighbourState::Permanent;
    entry.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    entry.attributes.push(OURS);
    entry
}

/// The static entry of a bridge for `mac` at the port `index`. It goes with the port, and a frame from another port does
/// not move it. The kernel calls a static entry
/// `NUD_NOARP`, and an address of the bridge itself permanent (`fdb_to_nud`, net/bridge/br_fdb.c).
fn at_port(index: u32, mac: Mac) -> NeighbourMessage {
    let mut entry = NeighbourMessage::default();
    entry.header.family = AddressFamily::Bridge;
    entry.header.ifindex = index;
    entry.header.state = NeighbourState::Noarp;
    entry.header.flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
    entry.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    entry
}

pub(super) fn told(answer: RouteNetlinkMessage) -> Option<NeighbourMessage> {
    if let RouteNetlinkMessage::NewNeighbour(entry) = answer { Some(entry) } else { None }
}

pub(super) fn address(entry: &NeighbourMessage) -> Option<IpAddr> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some((*v4).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    })
}
