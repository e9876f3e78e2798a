//! Bridges of ours, and the ports on them.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, InfoBridgePort, InfoKind, InfoPortData, LinkAttribute, LinkInfo, LinkMessage,
};
use nix::errno::Errno;
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec};

use super::read::{self, alias, controller, is_up, kind, mtu};
use super::{Filters, HostLinks, errno, no_own_ipv6};
use crate::driver::{BridgeLink, Setting, Veth};
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::fs::{LockFile, Place};
use crate::kernel::sysctl;
use crate::model::{Alias, InterfaceName, Mac};

/// A bridge of ours that exists and is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kernel) struct StandingBridge {
    index: u32,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its MAC.
    pub mac: Mac,
    /// Those of its settings whose value differs from the required one.
    pub differing: Vec<Setting>,
}

impl HostLinks {
    /// The bridge, if it exists and is complete.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(in crate::kernel) fn find_bridge(&mut self, bridge: &BridgeLink) -> Result<Option<StandingBridge>> {
        let link = self.find(&bridge.name)?.filter(|link| is_our_bridge(link, bridge.mac) && is_up(link));
        self.bridge = link.as_ref().map(|link| (bridge.name.clone(), link.header.index));
        Ok(link.map(|link| StandingBridge {
            index: link.header.index,
            mtu: mtu(&link).unwrap_or_default(),
            mac: read::mac(&link).unwrap_or(bridge.mac),
            differing: differing(&link, bridge),
        }))
    }

    /// The index of the bridge `name`, complete or not, if it is the one of `owner`. One without an alias is, if it has
    /// this MAC.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(in crate::kernel) fn bridge_of(
        &mut self,
        name: &InterfaceName,
        owner: &Alias,
        mac: Mac,
    ) -> Result<Option<u32>> {
        let owner = owner.to_string();
        let link = self.find(name)?.filter(|link| is_bridge_of(link, mac, |alias| alias == owner));
        Ok(link.map(|link| link.header.index))
    }

    /// Sets the MTU and the settings of the bridge `found` to those required, and adds the route that it may lack.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(in crate::kernel) fn repair_bridge(&mut self, bridge: &BridgeLink, found: &StandingBridge) -> Result<()> {
        if found.mtu == bridge.mtu {
            sysctl::set(&found.differing)?;
        } else {
            self.set_mtu(found.index, bridge.mtu, bridge)?;
            // With an MTU of 1280 or more the link gets IPv6 with default settings, so all settings are checked again.
            sysctl::set(&bridge.settings())?;
        }
        self.lead_to_loopback(found.index, bridge)
    }

    /// A link has routes only while it is up. So the next attach adds that to ::1 where the maker of the bridge was killed
    /// before it did. Where it is missing, the stand-ins may be, too: a link loses both with its IPv6.
    fn lead_to_loopback(&mut self, index: u32, bridge: &BridgeLink) -> Result<()> {
        if bridge.stand_ins.is_empty() || !self.add_loopback_route(index, &bridge.name)? {
            return Ok(());
        }
        self.add_stand_ins(index, bridge)
    }

    fn add_stand_ins(&mut self, index: u32, bridge: &BridgeLink) -> Result<()> {
        bridge.stand_ins.iter().try_for_each(|address| self.add_stand_in(index, *address, &bridge.name))
    }

    fn set_mac(&mut self, index: u32, bridge: &BridgeLink) -> Result<()> {
        let link = LinkUnspec::new_with_index(index).address(bridge.mac.0.to_vec()).build();
        self.new_link(link, 0).map(drop).doing(|| format!("give bridge {} the MAC {}", bridge.name, bridge.mac))
    }

    fn set_mtu(&mut self, index: u32, mtu: u32, bridge: &BridgeLink) -> Result<()> {
        let link = LinkUnspec::new_with_index(index).mtu(mtu).build();
        self.new_link(link, 0).map(drop).doing(|| format!("give bridge {} the MTU {mtu}", bridge.name))
    }

    /// Makes the bridge and joins `ports`, which were on it before. It is set up last, so a bridge that is up is
    /// complete.
    ///
    /// # Errors
    /// [`Error::Busy`] where a link of another program has its name.
    pub(in crate::kernel) fn make_bridge(
        &mut self,
        bridge: &BridgeLink,
        ports: &[&Veth],
        locks: &LockFile,
    ) -> Result<()> {
        let BridgeLink { name, alias, mac, mtu, addresses, .. } = bridge;
        let (name, mac) = (name, *mac);
        let _making = locks.exclusive(Place::Bridges)?;
        match self.find(name)? {
            Some(link) if !is_our_bridge(&link, mac) => {
                return Err(Error::Busy(format!(
                    "interface {name} is there and is not ours; give the network's bridge another name, or rename that interface"
                )));
            }
            Some(link) if read::mac(&link) != Some(mac) => self.set_mac(link.header.index, bridge)?,
            Some(_) => {}
            None => {
                // `LinkBridge::new` would set it up at once: if this process were killed then, an incomplete bridge
                // would seem complete.
                let link = LinkMessageBuilder::<LinkBridge>::new(name.as_str()).address(mac.0.to_vec()).build();
                self.new_link(link, NLM_F_CREATE | NLM_F_EXCL).doing(|| format!("create bridge {name}"))?;
            }
        }
        let index = self.index(name)?;
        for mtu in [BridgeLink::other_mtu(*mtu), *mtu] {
            self.set_mtu(index, mtu, bridge)?;
        }
        sysctl::set(&bridge.settings())?;
        for address in addresses {
            self.add_address(index, *address, name)?;
        }
        self.add_stand_ins(index, bridge)?;
        // A port that cannot be joined does not keep the others cut off.
        let mut rejoined = Ok(());
        for port in ports {
            rejoined = rejoined.and(self.rejoin(port));
        }
        let up = LinkUnspec::new_with_index(index).alias(alias.to_string()).up().build();
        self.new_link(up, 0).map(drop).doing(|| format!("set bridge {name} up"))?;
        self.lead_to_loopback(index, bridge)?;
        rejoined
    }

    /// Sets up a port: its own MAC where it has the host's; hairpin mode, without which a container could not reach itself through its published port;
    /// whether it is isolated; unless it is unguarded, no packets to MACs that the bridge does not know, such as those to
    /// a sibling that died a moment ago; no IPv6 address of its own, which only the kernel's own packets to the container
    /// would use; the filters that the kernel supports; permanent entries for the container; and up, once the rest is done.
    pub(super) fn open_port(&mut self, index: u32, port: &Veth) -> Result<Filters> {
        let Veth { name, alias, guard, intake, unguarded, isolated, host_mac, .. } = port;
        let as_port = || {
            let port = LinkBridgePort::new(index).hairpin(true).isolated(*isolated).flood(*unguarded);
            let port = port.alias(alias.to_string());
            match host_mac {
                Some(mac) => port.address(mac.0.to_vec()),
                None => port,
            }
        };
        let joined = match self.new_link(as_port().append_extra_attribute(no_own_ipv6()).build(), 0) {
            // The link has no IPv6 (`validate_linkmsg`, net/core/rtnetlink.c): the kernel has none, or the MTU is under
            // 1280.
            Err(error) if errno(&error) == Errno::EAFNOSUPPORT => self.new_link(as_port().build(), 0),
            result => result,
        };
        joined.doing(|| format!("set up {name} as a port of its bridge"))?;
        let is_guarded = self.guard(index, name, guard, intake.as_ref())?;
        let is_led_to_host = !is_guarded || self.lead_to_host(index, port)?;
        self.add_entries(index, port)?;
        let up = LinkUnspec::new_with_index(index).up().build();
        self.new_link(up, 0).doing(|| format!("set {name} up"))?;
        Ok(Filters { is_guarded, is_led_to_host })
    }

    /// Makes a link of ours a port of its bridge again, with all properties of a port. It is no error if the link is
    /// missing, or was interrupted before it was named: then it has to be made anew.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(in crate::kernel) fn rejoin(&mut self, port: &Veth) -> Result<()> {
        let Veth { name, alias, bridge, .. } = port;
        let Some(index) = self.named(name, alias)? else { return Ok(()) };
        let controller = self.bridge_index(bridge)?;
        let joined = LinkUnspec::new_with_index(index).controller(controller).build();
        let joined = self.new_link(joined, 0).map(drop).doing(|| format!("make {name} a port of {bridge}"));
        let opened = joined.and_then(|()| self.open_port(index, port).map(drop));
        // The process that drains its endpoint can have deleted it meanwhile.
        if opened.is_err() && self.named(name, alias)?.is_none() { Ok(()) } else { opened }
    }

    /// Whether the host's end of `pair` is up, and a port of its bridge with hairpin mode, isolated where it is to be.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(in crate::kernel) fn is_joined(&mut self, pair: &Veth) -> Result<bool> {
        let Some(bridge) = self.find(&pair.bridge)? else { return Ok(false) };
        let Some(link) = self.find(&pair.name)? else { return Ok(false) };
        Ok(controller(&link) == Some(bridge.header.index)
            && is_up(&link)
            && has(&link, &InfoBridgePort::HairpinMode(true))
            && has(&link, &InfoBridgePort::Isolated(pair.isolated)))
    }

    /// The index of a bridge; the kernel is asked unless it is the bridge that was found last.
    pub(super) fn bridge_index(&mut self, bridge: &InterfaceName) -> Result<u32> {
        match &self.bridge {
            Some((known, index)) if known == bridge => Ok(*index),
            _ => self.index(bridge),
        }
    }
}

/// A bridge with our alias, or without an alias but with our MAC: then its maker was killed in between.
fn is_our_bridge(link: &LinkMessage, mac: Mac) -> bool {
    is_bridge_of(link, mac, Alias::is_ours)
}

fn is_bridge_of(link: &LinkMessage, mac: Mac, is_owner: impl Fn(&str) -> bool) -> bool {
    let has_mac = link.attributes.contains(&LinkAttribute::Address(mac.0.to_vec()));
    kind(link) == Some(&InfoKind::Bridge) && alias(link).map_or(has_mac, is_owner)
}

/// The settings of the bridge that the kernel's answer about it does not confirm. A link without IPv6 has no IPv6
/// settings.
fn differing(link: &LinkMessage, bridge: &BridgeLink) -> Vec<Setting> {
    let (mut v4, mut v6) = (None, None);
    let families = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::AfSpecUnspec(families) => Some(families),
        _ => None,
    });
    for family in families.flatten() {
        match family {
            AfSpecUnspec::Inet(parts) => {
                v4 = parts.iter().find_map(|part| if let AfSpecInet::DevConf(v4) = part { Some(v4) } else { None });
            }
            AfSpecUnspec::Inet6(parts) => {
                v6 = parts.iter().find_map(|part| if let AfSpecInet6::DevConf(v6) = part { Some(v6) } else { None });
            }
            _ => {}
        }
    }
    let current = |setting: &Setting| match setting.name() {
        "forwarding" => v4.map(|v4| v4.forwarding),
        "route_localnet" => v4.map(|v4| v4.route_localnet),
        "accept_ra" => v6.map(|v6| v6.accept_ra),
        "disable_ipv6" => v6.map(|v6| v6.disable_ipv6),
        "autoconf" => v6.map(|v6| v6.autoconf),
        "accept_redirects" => v6.map(|v6| v6.accept_redirects),
        "addr_gen_mode" => v6.map(|v6| v6.addr_gen_mode),
        _ => None,
    };
    let is_well = |setting: &Setting| match current(setting) {
        Some(value) => value.to_string() == setting.value,
        None => setting.is_ipv6(),
    };
    bridge.settings().into_iter().filter(|setting| !is_well(setting)).collect()
}

/// Whether the link is a port of a bridge with that property.
pub(super) fn has(link: &LinkMessage, property: &InfoBridgePort) -> bool {
    let infos = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    infos
        .flatten()
        .any(|info| matches!(info, LinkInfo::PortData(InfoPortData::BridgePort(port)) if port.contains(property)))
}
