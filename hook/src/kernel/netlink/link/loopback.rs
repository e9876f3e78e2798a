//! What a bridge has so that the host reaches published ports at ::1 (`firewall/nftables/loopback.rs`).

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, CacheInfo};
use netlink_packet_route::route::{RouteMessage, RouteType};
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;

use super::read::{destination, new_route, output_interface};
use super::{HostLinks, address_message, errno};
use crate::driver::LOOPBACK_METRIC;
use crate::kernel::error::{Doing, Result};
use crate::model::InterfaceName;

impl HostLinks {
    /// Gives a link an address that the kernel does not choose as a sender (`preferred_lft 0`, ip-address(8)), and to
    /// which no route leads but the one by which it is the host's own.
    pub(super) fn add_stand_in(&mut self, index: u32, address: Ipv6Addr, name: &InterfaceName) -> Result<()> {
        let address = IpNet::from(IpAddr::from(address));
        let mut message = address_message(index, address);
        let mut lifetimes = CacheInfo::default();
        (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (0, u32::MAX);
        let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
        message.attributes.extend([AddressAttribute::CacheInfo(lifetimes), AddressAttribute::Flags(flags)]);
        self.request_address(message, address, name)
    }

    /// Lets the kernel itself answer what came in for ::1 by the link: where no socket is any more, a reset, without
    /// which the other side would go on sending. For ::1 it takes a route by the very link that the packet came in by
    /// (`tcp_v6_send_response`, net/ipv6/tcp_ipv6.c; `rt6_need_strict`, net/ipv6/route.c). False if the link has it.
    pub(super) fn add_loopback_route(&mut self, index: u32, name: &InterfaceName) -> Result<bool> {
        // Not exclusively: other bridges have the same.
        match self.netlink.request(RouteNetlinkMessage::NewRoute(loopback_route(index)), NLM_F_CREATE) {
            Err(error) if errno(&error) == Errno::EEXIST => Ok(false),
            result => result.map(|_| true).doing(|| format!("route ::1 by {name}")),
        }
    }

    /// Whether the link `name` has that route.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(in crate::kernel) fn has_loopback_route(&mut self, name: &InterfaceName) -> Result<bool> {
        let index = self.index(name)?;
        let question = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let answers = self.netlink.request(RouteNetlinkMessage::GetRoute(question), NLM_F_DUMP);
        let routes = answers.doing(|| "list the host's routes".into())?.into_iter().filter_map(new_route);
        let is_it = |route: &RouteMessage| {
            output_interface(route) == Some(index) && destination(route) == Some(LOOPBACK.into())
        };
        Ok(routes.filter(|route| route.header.kind == RouteType::Local).any(|route| is_it(&route)))
    }
}

/// ::1.
const LOOPBACK: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);

/// `RT_TABLE_LOCAL` (linux/rtnetlink.h).
const TABLE_LOCAL: u8 = 255;

fn loopback_route(index: u32) -> RouteMessage {
    let route = RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(LOOPBACK.addr(), LOOPBACK.prefix_len())
        .output_interface(index)
        .priority(LOOPBACK_METRIC);
    let mut message = route.build();
    (message.header.kind, message.header.table) = (RouteType::Local, TABLE_LOCAL);
    message
}
