//! The host's neighbour entries of containers.

use std::net::IpAddr;

use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::{HostLinks, errno, is_gone};
use crate::kernel::error::{Error, Result};
use crate::model::InterfaceName;

impl HostLinks {
    /// Deletes the neighbour entry of `address` on `bridge`, and drops the packets that wait for its MAC address: the
    /// kernel keeps them for some seconds (`neigh_delete`, net/core/neighbour.c). If there is no entry, that is no
    /// error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(in crate::kernel) fn forget_neighbour(&mut self, bridge: &InterfaceName, address: IpAddr) -> Result<()> {
        let Some(link) = self.find(bridge)? else { return Ok(()) };
        let mut neighbour = NeighbourMessage::default();
        neighbour.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        neighbour.header.ifindex = link.header.index;
        neighbour.attributes = vec![NeighbourAttribute::Destination(address.into())];
        match self.netlink.request(RouteNetlinkMessage::DelNeighbour(neighbour), 0) {
            Err(error) if errno(&error) != Errno::ENOENT && !is_gone(&error) => {
                Err(Error::refused(format!("forget the neighbour {address} on {bridge}"), error))
            }
            _ => Ok(()),
        }
    }
}
