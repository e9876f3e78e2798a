//! The link pair of the input loop.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::AddressScope;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::read::{alias, is_up, kind};
use super::{HostLinks, address_message};
use crate::firewall::{INPUT_LOOP_IN, INPUT_LOOP_OUT, InputLoop};
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::sysctl;
use crate::model::{Alias, InterfaceName};

impl HostLinks {
    /// The index of its end where packets go in, if it is there and done.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn input_loop(&mut self) -> Result<Option<u32>> {
        let link = self.find(&entrance())?.filter(|link| is_ours(link) && is_up(link));
        Ok(link.map(|link| link.header.index))
    }

    /// Whether it is as it was made.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn has_input_loop(&mut self) -> Result<bool> {
        let Some(out) = self.find(&exit())?.filter(|link| is_ours(link) && is_up(link)) else { return Ok(false) };
        let address = InputLoop::ADDRESS.into();
        let has_address = self.addresses_of(out.header.index)?.contains(&address);
        Ok(has_address
            && self.input_loop()?.is_some()
            && InputLoop::settings().iter().try_fold(true, |all, setting| Ok(all && sysctl::is_set(setting)?))?)
    }

    /// Makes it, or what of it is missing. Its entrance is up when, and only when, all else about it is done.
    ///
    /// # Errors
    /// [`Error::Busy`] where a link of another program has one of the names.
    pub fn make_input_loop(&mut self) -> Result<()> {
        let what = || format!("create veth {INPUT_LOOP_IN} with {INPUT_LOOP_OUT}");
        match (self.find(&entrance())?, self.find(&exit())?) {
            (None, None) => self.new_link(pair(), NLM_F_CREATE | NLM_F_EXCL).map(drop).doing(what)?,
            (Some(entrance), Some(exit)) if is_ours(&entrance) && is_ours(&exit) => {}
            _ => {
                let names = format!("{INPUT_LOOP_IN} or {INPUT_LOOP_OUT}");
                return Err(Error::Busy(format!("an interface {names} is there and is not ours; remove it")));
            }
        }
        sysctl::set(&InputLoop::settings())?;
        let (into, out) = (self.index(&entrance())?, self.index(&exit())?);
        let mut address = address_message(out, InputLoop::ADDRESS.into());
        // With this scope the address is not sent to other hosts.
        address.header.scope = AddressScope::Host;
        self.request_address(address, InputLoop::ADDRESS.into(), &exit())?;
        for index in [out, into] {
            let up = LinkUnspec::new_with_index(index).alias(Alias::InputLoop.to_string()).up().build();
            self.new_link(up, 0).doing(|| format!("set up {INPUT_LOOP_IN} and {INPUT_LOOP_OUT}"))?;
        }
        Ok(())
    }

    /// Deletes it; none there is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_input_loop(&mut self) -> Result<()> {
        let ours = self.find(&entrance())?.filter(is_ours);
        ours.map_or(Ok(()), |link| self.delete(link.header.index))
    }
}

fn entrance() -> InterfaceName {
    INPUT_LOOP_IN.parse().expect("a constant that follows the kernel's rule")
}

fn exit() -> InterfaceName {
    INPUT_LOOP_OUT.parse().expect("a constant that follows the kernel's rule")
}

/// A veth with our alias, or with no alias yet and our MAC: its maker was killed in between.
fn is_ours(link: &LinkMessage) -> bool {
    let has_our_mac = link.attributes.contains(&LinkAttribute::Address(InputLoop::MAC.0.to_vec()));
    kind(link) == Some(&InfoKind::Veth) && alias(link).map_or(has_our_mac, Alias::is_ours)
}

fn pair() -> LinkMessage {
    let (mac, mtu) = (InputLoop::MAC.0.to_vec(), InputLoop::MTU);
    let out = LinkMessageBuilder::<LinkUnspec>::new();
    let out = out.name(INPUT_LOOP_OUT).address(mac.clone()).mtu(mtu).arp(false).build();
    LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(out)))
        .name(INPUT_LOOP_IN)
        .address(mac)
        .mtu(mtu)
        .arp(false)
        .build()
}
