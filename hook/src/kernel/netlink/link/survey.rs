//! All links of ours in the kernel.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoBridgePort, LinkAttribute, LinkMessage};
use rtnetlink::LinkUnspec;

use super::HostLinks;
use super::bridge::has;
use super::read::{alias, controller, new_link, peer_index};
use crate::kernel::error::{Doing, Result};
use crate::model::{Alias, InterfaceName};

/// A link with an alias of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurLink {
    /// Its name.
    pub name: InterfaceName,
    /// What its alias says.
    pub alias: Alias,
    /// Its index.
    pub index: u32,
    /// The index of the bridge whose port it is.
    pub controller: Option<u32>,
    /// Whether it is a port that is kept apart from the bridge's other ports that are.
    pub isolated: bool,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The other end of a veth pair: the nsid of its namespace, and its index there.
    pub peer: Option<(i32, u32)>,
}

impl HostLinks {
    /// All links with an alias of ours, whatever the store says.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn all_ours(&mut self) -> Result<Vec<OurLink>> {
        let question = LinkUnspec::new_with_index(0).build();
        let answers = self.netlink.request(RouteNetlinkMessage::GetLink(question), NLM_F_DUMP);
        Ok(answers
            .doing(|| "list the host's links".into())?
            .into_iter()
            .filter_map(new_link)
            .filter_map(ours)
            .collect())
    }

    /// Whether there is a link `name` that has no alias of ours.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn is_of_others(&mut self, name: &InterfaceName) -> Result<bool> {
        Ok(self.find(name)?.is_some_and(|link| ours(link).is_none()))
    }

    /// The addresses of the link `name` with their prefixes; none where it is gone.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn addresses_of_link(&mut self, name: &InterfaceName) -> Result<Vec<IpNet>> {
        let index = self.find(name)?.map(|link| link.header.index);
        index.map_or(Ok(Vec::new()), |index| self.addresses_of(index))
    }

    /// The addresses of the host with their prefixes.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn addresses(&mut self) -> Result<Vec<IpNet>> {
        let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.netlink.request(question, NLM_F_DUMP).doing(|| "list the host's addresses".into())?;
        Ok(answers.iter().filter_map(address_of).collect())
    }

    /// The addresses of a link with their prefixes.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn addresses_of(&mut self, index: u32) -> Result<Vec<IpNet>> {
        let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.netlink.request(question, NLM_F_DUMP).doing(|| "list the host's addresses".into())?;
        Ok(answers.iter().filter_map(|answer| address_on(answer, index)).collect())
    }
}

fn ours(link: LinkMessage) -> Option<OurLink> {
    let alias = alias(&link)?.parse().ok()?;
    let (mut name, mut mtu, mut number) = (None, 0, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = text.parse().ok(),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            LinkAttribute::LinkNetNsId(id) => number = Some(*id),
            _ => {}
        }
    }
    Some(OurLink {
        name: name?,
        alias,
        index: link.header.index,
        controller: controller(&link),
        isolated: has(&link, &InfoBridgePort::Isolated(true)),
        mtu,
        peer: number.zip(peer_index(&link)),
    })
}

/// The address with its prefix that an answer gives to the link `index`.
pub(in crate::kernel) fn address_on(answer: &RouteNetlinkMessage, index: u32) -> Option<IpNet> {
    let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
    address_of(answer).filter(|_| message.header.index == index)
}

fn address_of(answer: &RouteNetlinkMessage) -> Option<IpNet> {
    let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address: Option<IpAddr> = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    });
    IpNet::new(address?, message.header.prefix_len).ok()
}
