//! Links, addresses and routes of the host's namespace.

mod advertise;
mod bridge;
mod filter;
mod guard;
mod host_way;
mod input_loop;
mod loopback;
mod mtu;
mod neighbour;
mod nsid;
mod proxy;
mod read;
mod route;
mod sources;
mod survey;
mod traffic;
mod trial;
mod uplinks;

pub use guard::NO_GUARD;
pub use host_way::NO_REDIRECT;
pub(in crate::kernel) use neighbour::{entry, permanent};
pub use nsid::is_lasting;
pub(in crate::kernel) use read::{destination, is_up, new_link, new_route, output_interface};
pub use route::Uplink;
pub use survey::OurLink;
pub(in crate::kernel) use survey::address_on;
pub use traffic::Traffic;
pub use trial::{Trial, try_links};

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkMessage,
};
use nix::errno::Errno;
use rtnetlink::{AddressMessageBuilder, LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::Netlink;
use crate::driver::Veth;
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::namespace::{Netns, cookie_of};
use crate::model::{Alias, InterfaceName};
use read::{alias, controller, has_carrier, kind, peer_index};

/// The links of the host's namespace.
pub struct HostLinks {
    netlink: Netlink,
    /// The bridge that was used last, with its index.
    bridge: Option<(InterfaceName, u32)>,
}

/// A container's connection to a bridge, directly after it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connected {
    /// The index of the container's end, if the kernel gave it.
    pub peer: Option<u32>,
    /// What its filters do.
    pub filters: Filters,
    /// Whether the others on the bridge were told its addresses of IPv6, where they may remember another MAC for them.
    pub is_advertised: bool,
}

/// What the filters at the host's end of a link do, if the kernel supports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filters {
    /// The guard stops the container from sending with the addresses of others, and only what is to reach it does.
    pub is_guarded: bool,
    /// Frames to the host are taken off the bridge, where they are to be.
    pub is_led_to_host: bool,
}

impl HostLinks {
    /// Opens the namespace this process runs in.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn open() -> Result<Self> {
        Ok(Self { netlink: Netlink::route()?, bridge: None })
    }

    /// The cookie of the namespace.
    ///
    /// # Errors
    /// On kernels before 5.14.
    pub fn cookie(&self) -> Result<u64> {
        cookie_of(&self.netlink)
    }

    /// Connects a container by a veth pair whose peer is made in `namespace`.
    ///
    /// # Errors
    /// [`Error::Taken`] if the host has a link of that name, [`Error::Busy`] if the container has one of the peer's,
    /// [`Error::Exhausted`] if the bridge is full.
    pub(in crate::kernel) fn connect(&mut self, pair: &Veth, namespace: &Netns) -> Result<Connected> {
        let bridge = self.bridge_index(&pair.bridge)?;
        let (index, peer) = self.create_pair(veth(pair, bridge, namespace), pair)?;
        let filters = self.open_port(index, pair)?;
        Ok(Connected { peer, filters, is_advertised: advertise(bridge, pair) })
    }

    /// Connects a container as [`HostLinks::connect`] does, and calls `inside` for its own end, with its index if the
    /// kernel gave it. The host's end is named and set up last, so that an interrupted connection is recognised. After
    /// a failure the pair is deleted again.
    ///
    /// # Errors
    /// Those of [`HostLinks::connect`] and of `inside`.
    pub(in crate::kernel) fn connect_whole(
        &mut self,
        pair: &Veth,
        namespace: &Netns,
        inside: impl FnOnce(Option<u32>) -> Result<()>,
    ) -> Result<()> {
        let bridge = self.bridge_index(&pair.bridge)?;
        let (index, peer) = self.create_pair(veth(pair, bridge, namespace), pair)?;
        advertise(bridge, pair);
        let connected = inside(peer).and_then(|()| self.open_port(index, pair).map(drop));
        if connected.is_err() {
            // The first error is the cause. A pair that is not deleted is recognised as interrupted.
            let _ = self.delete(index);
        }
        connected
    }

    /// Makes a veth pair and returns the indexes of both ends, from the kernel's echo of the request.
    fn create_pair(&mut self, message: LinkMessage, pair: &Veth) -> Result<(u32, Option<u32>)> {
        let Veth { name, peer, bridge, .. } = pair;
        let error = match self.new_link(message, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO) {
            Ok(Some(link)) => return Ok((link.header.index, peer_index(&link))),
            Ok(None) => return Ok((self.index(name)?, None)),
            Err(error) => error,
        };
        Err(match errno(&error) {
            Errno::EEXIST => match self.find(name)? {
                Some(link) => {
                    Error::Taken { name: name.clone(), alias: alias(&link).map(str::to_owned).unwrap_or_default() }
                }
                None => Error::Busy(format!(
                    "interface {peer} exists in the container's network namespace already, as after podman run without \
                     --network=none and in every pod of Kubernetes; let no other program wire it, or choose another name with interface="
                )),
            },
            // BR_MAX_PORTS, net/bridge/br_private.h.
            Errno::EXFULL => Error::Exhausted(format!("bridge {bridge} is full; a Linux bridge has 1023 ports")),
            _ => Error::refused(format!("create veth {name} on {bridge} with {peer} in the container"), error),
        })
    }

    /// Sets a link of ours down, so that no packet passes, whatever its other end does, and gives it another `alias`,
    /// by which it is known as one that goes also if the store is lost. It is quicker than deleting the link.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that the link is gone.
    pub(in crate::kernel) fn shut(&mut self, index: u32, alias: &Alias) -> Result<()> {
        match self.new_link(LinkUnspec::new_with_index(index).down().alias(alias.to_string()).build(), 0) {
            Err(error) if !is_gone(&error) => Err(Error::refused(format!("set link {index} down"), error)),
            _ => Ok(()),
        }
    }

    /// The index of the link `name` if it exists and is `owner`'s: a veth with that alias, draining or not, or one
    /// without an alias that is a port of `master`: then its attach was interrupted before it was named.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(in crate::kernel) fn ours(
        &mut self,
        name: &InterfaceName,
        owner: &Alias,
        master: Option<&InterfaceName>,
    ) -> Result<Option<u32>> {
        let Some(link) = self.find(name)?.filter(|link| kind(link) == Some(&InfoKind::Veth)) else { return Ok(None) };
        let is_ours = match (alias(&link), master) {
            (Some(text), _) => text == owner.to_string() || text == owner.draining().to_string(),
            (None, Some(master)) => {
                self.find(master)?.is_some_and(|master| controller(&link) == Some(master.header.index))
            }
            (None, None) => false,
        };
        Ok(is_ours.then_some(link.header.index))
    }

    /// The index of the link `name` if it is `owner`'s and complete: a veth with that alias.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(in crate::kernel) fn named(&mut self, name: &InterfaceName, owner: &Alias) -> Result<Option<u32>> {
        let link = self.find(name)?.filter(|link| kind(link) == Some(&InfoKind::Veth));
        Ok(link.filter(|link| alias(link) == Some(&owner.to_string())).map(|link| link.header.index))
    }

    /// Whether there is a link of that name.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(in crate::kernel) fn exists(&mut self, name: &InterfaceName) -> Result<bool> {
        Ok(self.find(name)?.is_some())
    }

    /// Whether the link of that name is up and its peer in a container is down. One that is gone is not.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn has_peer_down(&mut self, name: &InterfaceName) -> Result<bool> {
        Ok(self.find(name)?.is_some_and(|link| is_up(&link) && !has_carrier(&link)))
    }

    /// Deletes a link. It takes some 20 ms: the kernel waits until no packet uses it (`synchronize_net`).
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
        self.request_address(address_message(index, address), address, name)
    }

    fn request_address(&mut self, message: AddressMessage, address: IpNet, name: &InterfaceName) -> Result<()> {
        match self.netlink.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if errno(&error) != Errno::EEXIST => {
                Err(Error::refused(format!("give address {address} to {name}"), error))
            }
            _ => Ok(()),
        }
    }
}

/// Asks for a link by its name, without its counters, which make up most of an answer.
pub(in crate::kernel) fn question(name: &InterfaceName) -> LinkMessage {
    let bare = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
    LinkUnspec::new_with_name(name.as_str()).append_extra_attribute(bare).build()
}

/// No automatic IPv6 address, which the link would otherwise get when it is set up.
pub(in crate::kernel) fn no_own_ipv6() -> LinkAttribute {
    let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![none])])
}

/// An address with its prefix, IPv6 without duplicate address detection.
pub(in crate::kernel) fn address_message(index: u32, address: IpNet) -> AddressMessage {
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

/// Tells the others on `bridge` those addresses of `pair` that they are to be told; false where that failed. They learn
/// them later then.
fn advertise(bridge: u32, pair: &Veth) -> bool {
    pair.advertised.is_empty() || advertise::advertise(bridge, pair.mac, &pair.advertised).is_ok()
}

/// One request makes both ends, the peer in the container's namespace and the host's end on its bridge. Neither end is
/// up: the peer cannot be up before the other end exists.
fn veth(pair: &Veth, bridge: u32, namespace: &Netns) -> LinkMessage {
    let inside = LinkMessageBuilder::<LinkUnspec>::new()
        .name(pair.peer.as_str())
        .address(pair.mac.0.to_vec())
        .mtu(pair.mtu)
        .setns_by_fd(namespace.as_fd().as_raw_fd())
        .build();
    let pair_of = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(inside)))
        .name(pair.name.as_str())
        .mtu(pair.mtu)
        .controller(bridge);
    match pair.host_mac {
        Some(mac) => pair_of.address(mac.0.to_vec()),
        None => pair_of,
    }
    .build()
}

pub(in crate::kernel) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

fn is_gone(error: &std::io::Error) -> bool {
    errno(error) == Errno::ENODEV
}
