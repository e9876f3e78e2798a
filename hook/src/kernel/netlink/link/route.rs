//! The host's routes.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::route::{RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;

use super::mtu::mtu_of;
use super::read::{destination, new_route, output_interface, route_mtu};
use super::{HostLinks, errno};
use crate::decide::ipam::HostRoute;
use crate::kernel::error::{Doing, Error, Result};
use crate::model::{Families, Family, InterfaceName};

/// The route to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The largest packet that it takes, in bytes: the link's MTU, or the route's own where that is smaller.
    pub mtu: u32,
}

/// The MTUs that a veth can have: `ETH_MIN_MTU` and `ETH_MAX_MTU` (linux/if_ether.h). The loopback interface has a
/// larger one.
const MTUS: RangeInclusive<u32> = 68..=65_535;

impl HostLinks {
    /// The route to the outside, if there is one.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn uplink(&mut self) -> Result<Option<Uplink>> {
        let Some(route) = self.route_to(Ipv4Addr::new(1, 1, 1, 1))? else { return Ok(None) };
        let Some(index) = output_interface(&route) else { return Ok(None) };
        let mtu = mtu_of(&self.netlink, index).doing(|| format!("look at link {index}"))?;
        let smallest = route_mtu(&route).map_or(mtu, |of_route| of_route.min(mtu));
        Ok(Some(Uplink { mtu: smallest.clamp(*MTUS.start(), *MTUS.end()) }))
    }

    /// The route that the kernel would use for `address`. No packet is sent.
    fn route_to(&mut self, address: Ipv4Addr) -> Result<Option<RouteMessage>> {
        let question = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).build();
        match self.netlink.request(RouteNetlinkMessage::GetRoute(question), 0) {
            Ok(answers) => Ok(answers.into_iter().find_map(new_route)),
            Err(error)
                if matches!(
                    errno(&error),
                    Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::refused("ask for the default route", error)),
        }
    }

    /// The routes of the host of `families` in all tables, without those by the bridge `except`.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn host_routes(&mut self, except: &InterfaceName, families: Families) -> Result<Vec<HostRoute>> {
        let own = self.find(except)?.map(|link| link.header.index);
        let mut found = Vec::new();
        for family in families.iter() {
            let question = match family {
                Family::V4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
                Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
            };
            let answers = self.netlink.request(RouteNetlinkMessage::GetRoute(question), NLM_F_DUMP);
            let routes = answers.doing(|| "list the host's routes".into())?.into_iter().filter_map(new_route);
            let foreign = routes.filter(|route| own.is_none() || output_interface(route) != own);
            let of = |route: RouteMessage| Some(HostRoute { range: destination(&route)?, is_near: is_near(&route) });
            found.extend(foreign.filter_map(of));
        }
        Ok(found)
    }
}

/// Whether it is a route to the host itself, or one that the kernel made for an address of the host.
fn is_near(route: &RouteMessage) -> bool {
    let RouteHeader { kind, protocol, scope, .. } = route.header;
    match kind {
        RouteType::Local | RouteType::Broadcast | RouteType::Anycast => true,
        // A route of IPv6 has no scope.
        RouteType::Unicast if route.header.address_family == AddressFamily::Inet6 => protocol == RouteProtocol::Kernel,
        RouteType::Unicast => protocol == RouteProtocol::Kernel && scope == RouteScope::Link,
        _ => false,
    }
}
