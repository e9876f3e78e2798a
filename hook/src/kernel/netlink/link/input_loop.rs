//! The link pair of the input loop.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::AddressScope;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::read::{alias, is_up, kind};
use super::{HostLinks, address_message};
use crate::firewall::InputLoop;
use crate::firewall::input_loop::{self, ENTRANCE, EXIT};
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::sysctl;
use crate::model::{Alias, InterfaceName};

impl HostLinks {
    /// The input loop, if its entrance exists and is complete; else it has still to be made. Whether it is used depends
    /// on the settings.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn input_loop(&mut self) -> Result<InputLoop> {
        let link = self.find(&entrance())?.filter(|link| is_ours(link) && is_up(link));
        Ok(link.map_or(InputLoop::ToBeMade, |link| InputLoop::Made { link: link.header.index }))
    }

    /// Whether it is complete, with its address and settings.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn has_input_loop(&mut self) -> Result<bool> {
        let Some(out) = self.find(&exit())?.filter(|link| is_ours(link) && is_up(link)) else { return Ok(false) };
        let address = input_loop::ADDRESS.into();
        let has_address = self.addresses_of(out.header.index)?.contains(&address);
        Ok(has_address
            && self.input_loop()? != InputLoop::ToBeMade
            && input_loop::settings().iter().try_fold(true, |all, setting| Ok(all && sysctl::is_set(setting)?))?)
    }

    /// Whether nothing is left of it, not even a part that a killed process had made.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn is_input_loop_gone(&mut self) -> Result<bool> {
        Ok(!self.find(&entrance())?.is_some_and(|link| is_ours(&link)))
    }

    /// Makes it, or its missing parts. The entrance is set up last, so an entrance that is up is complete.
    ///
    /// # Errors
    /// [`Error::Busy`] where a link of another program has one of the names.
    pub fn make_input_loop(&mut self) -> Result<()> {
        let what = || format!("create veth {ENTRANCE} with {EXIT}");
        match (self.find(&entrance())?, self.find(&exit())?) {
            (None, None) => self.new_link(pair(), NLM_F_CREATE | NLM_F_EXCL).map(drop).doing(what)?,
            (Some(entrance), Some(exit)) if is_ours(&entrance) && is_ours(&exit) => {}
            _ => {
                let names = format!("{ENTRANCE} or {EXIT}");
                return Err(Error::Busy(format!("an interface {names} is there and is not ours; remove it")));
            }
        }
        sysctl::set(&input_loop::settings())?;
        let (into, out) = (self.index(&entrance())?, self.index(&exit())?);
        let mut address = address_message(out, input_loop::ADDRESS.into());
        // An address of this scope is not announced to other hosts.
        address.header.scope = AddressScope::Host;
        self.request_address(address, input_loop::ADDRESS.into(), &exit())?;
        for index in [out, into] {
            let up = LinkUnspec::new_with_index(index).alias(Alias::InputLoop.to_string()).up().build();
            self.new_link(up, 0).doing(|| format!("set up {ENTRANCE} and {EXIT}"))?;
        }
        Ok(())
    }

    /// Deletes it. If there is none, that is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_input_loop(&mut self) -> Result<()> {
        let ours = self.find(&entrance())?.filter(is_ours);
        ours.map_or(Ok(()), |link| self.delete(link.header.index))
    }
}

fn entrance() -> InterfaceName {
    ENTRANCE.parse().expect("a constant that follows the kernel's rule")
}

fn exit() -> InterfaceName {
    EXIT.parse().expect("a constant that follows the kernel's rule")
}

/// A veth with our alias, or without an alias but with our MAC: then its maker was killed in between.
fn is_ours(link: &LinkMessage) -> bool {
    let has_our_mac = link.attributes.contains(&LinkAttribute::Address(input_loop::MAC.0.to_vec()));
    kind(link) == Some(&InfoKind::Veth) && alias(link).map_or(has_our_mac, Alias::is_ours)
}

fn pair() -> LinkMessage {
    let (mac, mtu) = (input_loop::MAC.0.to_vec(), input_loop::MTU);
    let out = LinkMessageBuilder::<LinkUnspec>::new();
    let out = out.name(EXIT).address(mac.clone()).mtu(mtu).arp(false).build();
    LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(out)))
        .name(ENTRANCE)
        .address(mac)
        .mtu(mtu)
        .arp(false)
        .build()
}
