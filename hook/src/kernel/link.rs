//! Links, addresses and routes of the host's namespace.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_ECHO, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags,
    LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use nix::errno::Errno;
use rtnetlink::{
    AddressMessageBuilder, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use super::error::{Doing, Error, Result};
use super::lock::{LockFile, Place};
use super::netlink::Netlink;
use super::netns::Netns;
use super::sysctl;
use crate::driver::HostStep;
use crate::model::{InterfaceName, Mac};

/// What every alias of our links begins with.
pub const ALIAS: &str = "ocinet:";

/// The links of the host's namespace.
pub struct HostLinks {
    netlink: Netlink,
    /// The bridge looked at last, with its index.
    bridge: Option<(InterfaceName, u32)>,
}

/// The link that leads to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// Its MTU in bytes.
    pub mtu: u32,
}

impl HostLinks {
    /// Opens the namespace this process runs in.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn open() -> Result<Self> {
        Ok(Self { netlink: Netlink::route()?, bridge: None })
    }

    /// Does one step of an attach; the container's end of a pair is born in `namespace`, and its index there comes back
    /// where the kernel says it.
    ///
    /// # Errors
    /// [`Error::Busy`] where a link of that name exists, [`Error::Exhausted`] where the bridge is full.
    pub fn apply(&mut self, step: &HostStep, namespace: &Netns, locks: &LockFile) -> Result<Option<u32>> {
        match step {
            HostStep::Bridge { name, mac, mtu, addresses } => {
                self.bridge(name, *mac, *mtu, addresses, locks).map(|()| None)
            }
            HostStep::Veth { name, alias, bridge, peer, mac, mtu } => {
                let bridge_index = match &self.bridge {
                    Some((known, index)) if known == bridge => *index,
                    _ => self.index(bridge)?,
                };
                let pair = veth(name, peer, *mac, *mtu, bridge_index, namespace);
                let (index, peer) = self.create_pair(pair, name, peer, bridge)?;
                self.open_port(index, name, alias).map(|()| peer)
            }
        }
    }

    /// Whether the bridge `name` is there and done.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn has_bridge(&mut self, name: &InterfaceName, mac: Mac) -> Result<bool> {
        Ok(self.find(name)?.is_some_and(|link| is_our_bridge(&link, mac) && is_up(&link)))
    }

    /// Makes the bridge if it is not there. It is up when, and only when, all else about it is done.
    fn bridge(
        &mut self,
        name: &InterfaceName,
        mac: Mac,
        mtu: u32,
        addresses: &[IpNet],
        locks: &LockFile,
    ) -> Result<()> {
        if let Some(link) = self.find(name)?.filter(|link| is_our_bridge(link, mac) && is_up(link)) {
            self.bridge = Some((name.clone(), link.header.index));
            return Ok(());
        }
        let _making = locks.exclusive(Place::Bridges)?;
        match self.find(name)? {
            Some(link) if !is_our_bridge(&link, mac) => {
                return Err(Error::Busy(format!("interface {name} is there and is not ours; rename it or remove it")));
            }
            Some(_) => {}
            None => {
                let link = LinkBridge::new(name.as_str()).address(mac.0.to_vec()).mtu(mtu).build();
                self.new_link(link, NLM_F_CREATE | NLM_F_EXCL).doing(|| format!("create bridge {name}"))?;
            }
        }
        sysctl::guard_bridge(name)?;
        let index = self.index(name)?;
        for address in addresses {
            self.add_address(index, *address, name)?;
        }
        let up = LinkUnspec::new_with_index(index).alias(format!("{ALIAS}network")).up().build();
        self.new_link(up, 0).map(drop).doing(|| format!("set bridge {name} up"))
    }

    /// Makes a veth pair and returns the indexes of both ends: the kernel's echo of the request holds them.
    fn create_pair(
        &mut self,
        pair: LinkMessage,
        name: &InterfaceName,
        peer: &InterfaceName,
        bridge: &InterfaceName,
    ) -> Result<(u32, Option<u32>)> {
        let error = match self.new_link(pair, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO) {
            Ok(Some(link)) => return Ok((link.header.index, peer_index(&link))),
            Ok(None) => return Ok((self.index(name)?, None)),
            Err(error) => error,
        };
        Err(match errno(&error) {
            Errno::EEXIST => Error::Busy(format!(
                "interface {peer} exists in the container's network namespace already; choose another with interface="
            )),
            // BR_MAX_PORTS, net/bridge/br_private.h.
            Errno::EXFULL => Error::Exhausted(format!("bridge {bridge} is full; a Linux bridge has 1023 ports")),
            _ => Error::refused(format!("create veth {name} on {bridge} with {peer} in the container"), error),
        })
    }

    /// Hairpin mode, or a container could not reach itself through its published port; no IPv6 address of its own, which
    /// only the kernel's chatter with the container would use; and up, once the rest is done.
    fn open_port(&mut self, index: u32, name: &InterfaceName, alias: &str) -> Result<()> {
        let quiet = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        let quiet = LinkAttribute::AfSpecUnspec(vec![quiet]);
        let port = LinkBridgePort::new(index).hairpin(true).alias(alias).append_extra_attribute(quiet).build();
        self.new_link(port, 0).doing(|| format!("set up {name} as a port of its bridge"))?;
        let up = LinkUnspec::new_with_index(index).up().build();
        self.new_link(up, 0).map(drop).doing(|| format!("set {name} up"))
    }

    /// Lets nothing pass through a link of ours any more, whatever its other end does. Quicker than its deletion.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that the link is gone.
    pub fn shut(&mut self, index: u32) -> Result<()> {
        match self.new_link(LinkUnspec::new_with_index(index).down().build(), 0) {
            Err(error) if !is_gone(&error) => Err(Error::refused(format!("set link {index} down"), error)),
            _ => Ok(()),
        }
    }

    /// The index of the link `name` if it is there and is one of ours: a veth with our alias, or with none where an attach
    /// was cut off between making and naming it.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn ours(&mut self, name: &InterfaceName) -> Result<Option<u32>> {
        Ok(self.find(name)?.filter(is_ours).map(|link| link.header.index))
    }

    /// Deletes a link. Takes some 20 ms, for the kernel waits until nobody uses it (`synchronize_net`).
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that the link is gone.
    pub fn delete(&mut self, index: u32) -> Result<()> {
        let link = LinkUnspec::new_with_index(index).build();
        match self.netlink.request(RouteNetlinkMessage::DelLink(link), 0) {
            Err(error) if !is_gone(&error) => Err(Error::refused(format!("delete link {index}"), error)),
            _ => Ok(()),
        }
    }

    /// The link by which the outside is reached, if there is one.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn uplink(&mut self) -> Result<Option<Uplink>> {
        let Some(index) = self.route_to(Ipv4Addr::new(1, 1, 1, 1))? else { return Ok(None) };
        let question = LinkUnspec::new_with_index(index).build();
        let answers = self.netlink.request(RouteNetlinkMessage::GetLink(question), 0);
        let link = answers.doing(|| format!("look at link {index}"))?.into_iter().find_map(new_link);
        let mtu = link.and_then(|link| {
            link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::Mtu(mtu) => Some(*mtu),
                _ => None,
            })
        });
        Ok(mtu.map(|mtu| Uplink { mtu }))
    }

    /// The interface that the routing table chooses for `address`. A question only: nothing is sent there.
    fn route_to(&mut self, address: Ipv4Addr) -> Result<Option<u32>> {
        let question = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).build();
        match self.netlink.request(RouteNetlinkMessage::GetRoute(question), 0) {
            Ok(answers) => Ok(answers.into_iter().find_map(new_route).and_then(|route| output_interface(&route))),
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

    /// The destinations of all IPv4 routes but the default ones and those of the bridge `except`.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn routed_ranges(&mut self, except: &InterfaceName) -> Result<Vec<IpNet>> {
        let own = self.find(except)?.map(|link| link.header.index);
        let question = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let answers = self.netlink.request(RouteNetlinkMessage::GetRoute(question), NLM_F_DUMP);
        let routes = answers.doing(|| "list the host's routes".into())?.into_iter().filter_map(new_route);
        let foreign = routes.filter(|route| own.is_none() || output_interface(route) != own);
        Ok(foreign.filter_map(|route| destination(&route)).collect())
    }

    fn find(&mut self, name: &InterfaceName) -> Result<Option<LinkMessage>> {
        match self.netlink.request(RouteNetlinkMessage::GetLink(question(name)), 0) {
            Ok(answers) => Ok(answers.into_iter().find_map(new_link)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(Error::refused(format!("look for interface {name}"), error)),
        }
    }

    fn index(&mut self, name: &InterfaceName) -> Result<u32> {
        let link = self.find(name)?.ok_or(Errno::ENODEV).doing(|| format!("look for interface {name}"))?;
        Ok(link.header.index)
    }

    fn new_link(&mut self, link: LinkMessage, flags: u16) -> std::io::Result<Option<LinkMessage>> {
        let answers = self.netlink.request(RouteNetlinkMessage::NewLink(link), flags)?;
        Ok(answers.into_iter().find_map(new_link))
    }

    fn add_address(&mut self, index: u32, address: IpNet, name: &InterfaceName) -> Result<()> {
        let message = RouteNetlinkMessage::NewAddress(address_message(index, address));
        match self.netlink.request(message, NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if errno(&error) != Errno::EEXIST => {
                Err(Error::refused(format!("give address {address} to {name}"), error))
            }
            _ => Ok(()),
        }
    }
}

/// Asks for a link by its name, without its counters, which make up most of an answer.
pub(super) fn question(name: &InterfaceName) -> LinkMessage {
    let bare = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    LinkUnspec::new_with_name(name.as_str()).append_extra_attribute(bare).build()
}

/// An address with its prefix, IPv6 without duplicate address detection.
pub(super) fn address_message(index: u32, address: IpNet) -> netlink_packet_route::address::AddressMessage {
    use netlink_packet_route::address::AddressHeaderFlags;
    match address {
        IpNet::V4(v4) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(v4.addr(), v4.prefix_len()).build()
        }
        IpNet::V6(v6) => {
            let builder = AddressMessageBuilder::<std::net::Ipv6Addr>::new().index(index);
            let mut message = builder.address(v6.addr(), v6.prefix_len()).build();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message
        }
    }
}

/// One request makes both ends, with the peer in the container's namespace and the host's end on its bridge. Neither
/// end is up: the peer cannot be before its twin exists.
fn veth(name: &InterfaceName, peer: &InterfaceName, mac: Mac, mtu: u32, bridge: u32, namespace: &Netns) -> LinkMessage {
    let inside = LinkMessageBuilder::<LinkUnspec>::new()
        .name(peer.as_str())
        .address(mac.0.to_vec())
        .mtu(mtu)
        .setns_by_fd(namespace.as_fd().as_raw_fd())
        .build();
    LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(inside)))
        .name(name.as_str())
        .mtu(mtu)
        .controller(bridge)
        .build()
}

fn new_link(message: RouteNetlinkMessage) -> Option<LinkMessage> {
    match message {
        RouteNetlinkMessage::NewLink(link) => Some(link),
        _ => None,
    }
}

fn new_route(message: RouteNetlinkMessage) -> Option<RouteMessage> {
    match message {
        RouteNetlinkMessage::NewRoute(route) => Some(route),
        _ => None,
    }
}

fn output_interface(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn destination(route: &RouteMessage) -> Option<IpNet> {
    use netlink_packet_route::route::RouteAddress;
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => {
            IpNet::new(IpAddr::V4(*address), route.header.destination_prefix_length).ok()
        }
        _ => None,
    })
}

fn peer_index(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    })
}

fn kind(link: &LinkMessage) -> Option<&InfoKind> {
    let infos = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    })?;
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}

/// A bridge with our alias, or with none and the MAC that ours is made with, where somebody was cut off in between.
fn is_our_bridge(link: &LinkMessage, mac: Mac) -> bool {
    let has_our_mac = link.attributes.contains(&LinkAttribute::Address(mac.0.to_vec()));
    kind(link) == Some(&InfoKind::Bridge) && alias(link).map_or(has_our_mac, |alias| alias.starts_with(ALIAS))
}

fn is_up(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up)
}

fn is_ours(link: &LinkMessage) -> bool {
    kind(link) == Some(&InfoKind::Veth) && alias(link).is_none_or(|alias| alias.starts_with(ALIAS))
}

fn alias(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfAlias(alias) => Some(alias.as_str()),
        _ => None,
    })
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

fn is_gone(error: &std::io::Error) -> bool {
    errno(error) == Errno::ENODEV
}
