//! The entries by which the host answers its neighbours for addresses of containers (`ip -6 neigh show proxy`).

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP};
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;

use super::neighbour::{OURS, address, entry, told};
use super::read::{destination, new_route, output_interface};
use super::{HostLinks, errno, is_gone};
use crate::decide::proxy::{NearRoute, ProxyEntry};
use crate::kernel::error::{Doing, Error, Result};

impl HostLinks {
    /// The routes to neighbours on the host's links that are for one of `addresses`, of all tables.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn near_routes(&mut self, addresses: &[Ipv6Addr]) -> Result<Vec<NearRoute>> {
        let question = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let mut found = Vec::new();
        // Others are not kept: a router may have a million.
        let listed = self.netlink.stream(RouteNetlinkMessage::GetRoute(question), |answer| {
            let Some(route) = new_route(answer).filter(is_to_neighbours) else { return };
            if let (Some(IpNet::V6(range)), Some(index)) = (destination(&route), output_interface(&route))
                && addresses.iter().any(|address| range.contains(address))
            {
                found.push((range, index));
            }
        });
        listed.doing(|| "list the host's routes".into())?;
        let mut near = Vec::new();
        for (range, index) in found {
            near.extend(self.name_of(index)?.map(|link| NearRoute { range, link }));
        }
        Ok(near)
    }

    /// Whether there is an entry like `wanted`, be it another program's; false where its link is gone.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn has_proxy_entry(&mut self, wanted: &ProxyEntry) -> Result<bool> {
        let Some(link) = self.find(&wanted.link)? else { return Ok(false) };
        let question = proxy(link.header.index, wanted.address);
        match self.netlink.request(RouteNetlinkMessage::GetNeighbour(question), 0) {
            Err(error) if errno(&error) == Errno::ENOENT || is_gone(&error) => Ok(false),
            result => result.map(|_| true).doing(|| format!("look for the proxy of {wanted}")),
        }
    }

    /// Makes an entry of ours. Call it only where there is none: the kernel would mark another program's as ours.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that the link is gone.
    pub fn add_proxy_entry(&mut self, wanted: &ProxyEntry) -> Result<()> {
        let Some(link) = self.find(&wanted.link)? else { return Ok(()) };
        let mut message = proxy(link.header.index, wanted.address);
        // As `ip neigh add proxy` says it: the entry stays when the link loses its carrier.
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(OURS);
        match self.netlink.request(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE) {
            Err(error) if !is_gone(&error) => Err(Error::refused(format!("answer for {wanted}"), error)),
            _ => Ok(()),
        }
    }

    /// All entries of ours.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn proxy_entries(&mut self) -> Result<Vec<ProxyEntry>> {
        let mut question = NeighbourMessage::default();
        (question.header.family, question.header.flags) = (AddressFamily::Inet6, NeighbourFlags::Proxy);
        let answers = self.netlink.request(RouteNetlinkMessage::GetNeighbour(question), NLM_F_DUMP);
        let answers = answers.doing(|| "list the neighbours that are answered for".into())?;
        let ours = answers.into_iter().filter_map(told).filter(|entry| entry.attributes.contains(&OURS));
        let mut entries = Vec::new();
        for entry in ours {
            let (Some(IpAddr::V6(address)), Some(link)) = (address(&entry), self.name_of(entry.header.ifindex)?) else {
                continue;
            };
            entries.push(ProxyEntry { link, address });
        }
        Ok(entries)
    }

    /// Deletes an entry. If there is none, that is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_proxy_entry(&mut self, entry: &ProxyEntry) -> Result<()> {
        let Some(link) = self.find(&entry.link)? else { return Ok(()) };
        let request = RouteNetlinkMessage::DelNeighbour(proxy(link.header.index, entry.address));
        match self.netlink.request(request, 0) {
            Err(error) if errno(&error) != Errno::ENOENT && !is_gone(&error) => {
                Err(Error::refused(format!("answer no more for {entry}"), error))
            }
            _ => Ok(()),
        }
    }
}

/// A route without a gateway. One that is for all addresses is none to neighbours.
fn is_to_neighbours(route: &RouteMessage) -> bool {
    let has_gateway = || {
        route.attributes.iter().any(|attribute| {
            matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_))
        })
    };
    route.header.kind == RouteType::Unicast && route.header.destination_prefix_length > 0 && !has_gateway()
}

fn proxy(index: u32, address: Ipv6Addr) -> NeighbourMessage {
    let mut message = entry(index, address.into());
    message.header.flags = NeighbourFlags::Proxy;
    message
}
