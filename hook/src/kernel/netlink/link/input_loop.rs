//! The cable from the host to itself.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::AddressScope;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::read::{alias, is_up, kind};
use super::{HostLinks, address_message};
use crate::firewall::{DETOUR_IN, DETOUR_OUT, Detour};
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::sysctl;
use crate::model::{Alias, InterfaceName};

impl HostLinks {
    /// The index of its end where packets go in, if it is there and done.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn detour(&mut self) -> Result<Option<u32>> {
        let link = self.find(&entrance())?.filter(|link| is_ours(link) && is_up(link));
        Ok(link.map(|link| link.header.index))
    }

    /// Whether it is as it was made.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn has_detour(&mut self) -> Result<bool> {
        let Some(out) = self.find(&exit())?.filter(|link| is_ours(link) && is_up(link)) else { return Ok(false) };
        let address = Detour::ADDRESS.into();
        let has_address = self.addresses_of(out.header.index)?.contains(&address);
        Ok(has_address
            && self.detour()?.is_some()
            && Detour::settings().iter().try_fold(true, |all, setting| Ok(all && sysctl::is_set(setting)?))?)
    }

    /// Makes it, or what of it is missing. Its entrance is up when, and only when, all else about it is done.
    ///
    /// # Errors
    /// [`Error::Busy`] where a stranger has one of the names.
    pub fn make_detour(&mut self) -> Result<()> {
        let what = || format!("create veth {DETOUR_IN} with {DETOUR_OUT}");
        match (self.find(&entrance())?, self.find(&exit())?) {
            (None, None) => self.new_link(pair(), NLM_F_CREATE | NLM_F_EXCL).map(drop).doing(what)?,
            (Some(entrance), Some(exit)) if is_ours(&entrance) && is_ours(&exit) => {}
            _ => {
                let names = format!("{DETOUR_IN} or {DETOUR_OUT}");
                return Err(Error::Busy(format!("an interface {names} is there and is not ours; remove it")));
            }
        }
        sysctl::set(&Detour::settings())?;
        let (into, out) = (self.index(&entrance())?, self.index(&exit())?);
        let mut address = address_message(out, Detour::ADDRESS.into());
        // Nobody outside may learn of it.
        address.header.scope = AddressScope::Host;
        self.request_address(address, Detour::ADDRESS.into(), &exit())?;
        for index in [out, into] {
            let up = LinkUnspec::new_with_index(index).alias(Alias::Detour.to_string()).up().build();
            self.new_link(up, 0).doing(|| format!("set up {DETOUR_IN} and {DETOUR_OUT}"))?;
        }
        Ok(())
    }

    /// Takes it away; none there is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_detour(&mut self) -> Result<()> {
        let ours = self.find(&entrance())?.filter(is_ours);
        ours.map_or(Ok(()), |link| self.delete(link.header.index))
    }
}

fn entrance() -> InterfaceName {
    DETOUR_IN.parse().expect("a constant that follows the kernel's rule")
}

fn exit() -> InterfaceName {
    DETOUR_OUT.parse().expect("a constant that follows the kernel's rule")
}

/// A veth with our alias, or with none and our MAC, where somebody was cut off in between.
fn is_ours(link: &LinkMessage) -> bool {
    let has_our_mac = link.attributes.contains(&LinkAttribute::Address(Detour::MAC.0.to_vec()));
    kind(link) == Some(&InfoKind::Veth) && alias(link).map_or(has_our_mac, Alias::is_ours)
}

fn pair() -> LinkMessage {
    let (mac, mtu) = (Detour::MAC.0.to_vec(), Detour::MTU);
    let out = LinkMessageBuilder::<LinkUnspec>::new();
    let out = out.name(DETOUR_OUT).address(mac.clone()).mtu(mtu).arp(false).build();
    LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(out)))
        .name(DETOUR_IN)
        .address(mac)
        .mtu(mtu)
        .arp(false)
        .build()
}
