//! The source addresses that the host's default routes prefer.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::RouteMessageBuilder;

use super::HostLinks;
use super::read::{new_route, output_interface};
use super::uplinks::{is_default, table};
use crate::firewall::{DefaultRoute, LinkAddress, Source, sources};
use crate::kernel::error::{Doing, Result};

impl HostLinks {
    /// The preferred source addresses of the default routes that differ from those that masquerading would choose.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn sources(&mut self) -> Result<Vec<Source>> {
        let routes = self.default_routes()?;
        if routes.iter().all(|route| route.source.is_none()) {
            return Ok(Vec::new());
        }
        Ok(sources(routes, &self.link_addresses()?))
    }

    /// The IPv4 default routes of the table `main`, one for each next hop. Other routes are not kept: a router may have
    /// a million.
    fn default_routes(&mut self) -> Result<Vec<DefaultRoute>> {
        let question = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let mut messages = Vec::new();
        let is_main = |route: &RouteMessage| is_default(route) && table(route) == u32::from(RouteHeader::RT_TABLE_MAIN);
        let listed = self.netlink.stream(RouteNetlinkMessage::GetRoute(question), |answer| {
            messages.extend(new_route(answer).filter(is_main));
        });
        listed.doing(|| "list the host's routes".into())?;
        let mut routes = Vec::new();
        for message in &messages {
            let (source, metric) = (address_in(message, preferred), metric(message));
            for (index, gateway) in hops(message) {
                let Some(link) = self.name_of(index)? else { continue };
                routes.push(DefaultRoute { link, index, gateway, source, metric });
            }
        }
        Ok(routes)
    }

    /// The IPv4 addresses of the host by link, in the order in which masquerading considers them.
    fn link_addresses(&mut self) -> Result<Vec<LinkAddress>> {
        let mut question = AddressMessage::default();
        question.header.family = AddressFamily::Inet;
        let answers = self.netlink.request(RouteNetlinkMessage::GetAddress(question), NLM_F_DUMP);
        Ok(answers.doing(|| "list the host's addresses".into())?.into_iter().filter_map(link_address).collect())
    }
}

fn link_address(answer: RouteNetlinkMessage) -> Option<LinkAddress> {
    let RouteNetlinkMessage::NewAddress(AddressMessage { header, attributes, .. }) = answer else { return None };
    let (mut local, mut peer) = (None, None);
    for attribute in attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => local = Some(address),
            AddressAttribute::Address(IpAddr::V4(address)) => peer = Some(address),
            _ => {}
        }
    }
    let IpNet::V4(range) = IpNet::new(peer.or(local)?.into(), header.prefix_len).ok()? else { return None };
    let is_first = !header.flags.contains(AddressHeaderFlags::Secondary);
    let is_primary = is_first && header.scope == AddressScope::Universe;
    Some(LinkAddress { index: header.index, address: local.or(peer)?, range, is_primary })
}

/// The links and gateways of a route: several if it has several next hops.
fn hops(route: &RouteMessage) -> Vec<(u32, Option<Ipv4Addr>)> {
    let several = route.attributes.iter().filter_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    let several = several.flatten().map(|hop| (hop.interface_index, hop.attributes.iter().find_map(gateway)));
    let one = output_interface(route).map(|index| (index, address_in(route, gateway)));
    several.chain(one).collect()
}

fn address_in(route: &RouteMessage, which: fn(&RouteAttribute) -> Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    route.attributes.iter().find_map(which)
}

fn gateway(attribute: &RouteAttribute) -> Option<Ipv4Addr> {
    match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    }
}

fn preferred(attribute: &RouteAttribute) -> Option<Ipv4Addr> {
    match attribute {
        RouteAttribute::PrefSource(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    }
}

fn metric(route: &RouteMessage) -> u32 {
    let metrics = route.attributes.iter().filter_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    metrics.max().unwrap_or_default()
}
