use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use super::{BridgeLink, Decisions, EndpointStep, FilterProgram, InterfaceIpv6, NetworkStep, Setting, Veth};
use crate::model::{self, Alias, Endpoint, InterfaceName, Mac, Network, Wire};

impl Decisions for model::Bridge {
    /// The link is named `ocv0a5a0002` for 10.90.0.2, and `ocv0a5a0002-1` where another link has that.
    ///
    /// The kernel refuses a second link of the same name. So it refuses a second link for one address of IPv4 even where
    /// the store has lost the first, and the name of such a link gives its address. A name has no room for an address of
    /// IPv6, whose checksum other addresses share.
    fn wire(&self, address: IpAddr, nth: u8) -> Wire {
        let base = match address {
            IpAddr::V4(v4) => format!("ocv{:08x}", u32::from(v4)),
            IpAddr::V6(v6) => format!("ocv6{:08x}", crc32fast::hash(&v6.octets())),
        };
        let text = if nth == 0 { base } else { format!("{base}-{nth}") };
        Wire::Veth { master: self.link.clone(), host: text.parse().expect("up to fourteen letters and digits") }
    }

    fn wire_by_link(&self, link: &InterfaceName) -> Option<Wire> {
        Some(Wire::Veth { master: self.link.clone(), host: link.clone() })
    }

    /// The bridge; none where no subnet of the network has a gateway address of the host, from which its MAC would be
    /// derived.
    fn of_network(&self, network: &Network, guarded: bool) -> Vec<NetworkStep> {
        let Some(mac) = mac(network) else { return Vec::new() };
        vec![NetworkStep::Bridge(BridgeLink {
            name: self.link.clone(),
            alias: Alias::Network(network.name.clone()),
            mac,
            mtu: network.options.mtu,
            addresses: host_addresses(network),
            stand_ins: if guarded { network.stand_ins().collect() } else { Vec::new() },
            has_ipv6: network.has_ipv6(),
            guarded,
        })]
    }

    /// The pair that makes the endpoint a port of the bridge.
    fn of_endpoint(&self, network: &Network, endpoint: &Endpoint, alias: &Alias) -> Vec<EndpointStep> {
        let (Some(name), Some(master)) = (endpoint.wire.host_link(), endpoint.wire.master()) else { return Vec::new() };
        let addresses = endpoint.addresses.iter().map(IpNet::addr);
        let v6 = |address| if let IpAddr::V6(v6) = address { Some(v6) } else { None };
        vec![EndpointStep::Veth(Veth {
            name: name.clone(),
            alias: alias.clone(),
            bridge: master.clone(),
            peer: endpoint.interface.clone(),
            mac: endpoint.mac,
            mtu: endpoint.mtu,
            addresses: addresses.clone().collect(),
            advertised: match self.may_be_misremembered(network) {
                true => addresses.clone().filter_map(v6).collect(),
                false => Vec::new(),
            },
            guard: match endpoint.unguarded {
                true => FilterProgram::open(endpoint.mac),
                false => FilterProgram::of_port(endpoint.mac, addresses),
            },
            unguarded: endpoint.unguarded,
            intake: (InterfaceIpv6::of(endpoint) == InterfaceIpv6::Filtered).then(FilterProgram::into_ipv4_only),
            isolated: !network.options.icc,
            // The bridge learns of frames what is behind an unguarded port.
            host_mac: if network.options.icc || endpoint.unguarded { None } else { mac(network) },
        })]
    }

    /// That of the bridge, where it has the address.
    fn mac_of_gateway(&self, network: &Network, gateway: IpAddr) -> Option<Mac> {
        let is_ours = network.subnets.iter().any(|subnet| subnet.gateway.of_host() == Some(gateway));
        is_ours.then(|| mac(network)).flatten()
    }

    /// A container's guard lets no ARP pass with another MAC than its endpoint's for its address. So where every
    /// endpoint had the MAC of its address, no host on the network can remember another.
    fn may_be_misremembered(&self, network: &Network) -> bool {
        !network.options.derived_macs
    }
}

/// The link-local address of a bridge with IPv6. Without one the kernel has no sender for its questions about the
/// neighbours to which it forwards (RFC 4861, section 7.2.2), and forwards nothing.
const LINK_LOCAL: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 64));

/// The addresses of the bridge of `network`.
fn host_addresses(network: &Network) -> Vec<IpNet> {
    network.host_addresses().chain(network.has_ipv6().then_some(LINK_LOCAL)).collect()
}

/// The MAC of the bridge of `network`.
fn mac(network: &Network) -> Option<Mac> {
    network.subnets.iter().find_map(|subnet| subnet.gateway.of_host()).map(Mac::of)
}

impl BridgeLink {
    /// Its settings, applied before it is up: no address or route from a router advertisement of a container
    /// (CVE-2020-13401), and no IPv6 unless the network has it. Only if our rules guard the network: `route_localnet`, by which the host reaches
    /// published ports at 127.0.0.1 (without the rules the containers could use it in the other direction,
    /// CVE-2020-8558), and forwarding, since the host's default for new links may be off.
    pub fn settings(&self) -> Vec<Setting> {
        let of = |family, name, value| Setting::of(family, self.name.as_str(), name, value);
        let mut settings = vec![
            of("ipv6", "accept_ra", "0"),
            of("ipv6", "disable_ipv6", if self.has_ipv6 { "0" } else { "1" }),
            of("ipv4", "route_localnet", if self.guarded { "1" } else { "0" }),
        ];
        if self.has_ipv6 {
            settings.push(of("ipv6", "autoconf", "0"));
            settings.push(of("ipv6", "accept_redirects", "0"));
            // 1 is `IN6_ADDR_GEN_MODE_NONE`: its link-local address is the one above.
            settings.push(of("ipv6", "addr_gen_mode", "1"));
        }
        if self.guarded {
            settings.push(of("ipv4", "forwarding", "1"));
        }
        settings
    }

    /// An MTU next to `mtu`, to be set first: the kernel ignores a change to the MTU that the bridge already has
    /// (`netif_set_mtu_ext`, net/core/dev.c). It is on the same side of 1280, under which a link loses its IPv6
    /// settings.
    pub fn other_mtu(mtu: u32) -> u32 {
        mtu ^ 1
    }
}

/// The address that the name of a link of ours holds; none for IPv6 addresses.
pub fn address_of(link: &InterfaceName) -> Option<IpAddr> {
    let digits = link.as_str().strip_prefix("ocv")?.split('-').next()?;
    let is_number = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let number = is_number.then(|| u32::from_str_radix(digits, 16).ok()).flatten()?;
    Some(std::net::Ipv4Addr::from(number).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{self, NetworkUndo};

    /// With the MAC, by which a bridge is known that has no alias yet.
    #[test]
    fn its_bridge_is_undone_by_name_alias_and_mac() {
        let subnet = model::Subnet::with_first_gateway("10.90.0.0/16".parse().unwrap()).unwrap();
        let link: InterfaceName = "ocinet0".parse().unwrap();
        let network = Network::of_bridge("bridge".parse().unwrap(), link.clone(), vec![subnet]);
        let (alias, mac) = (Alias::Network(network.name.clone()), Mac::of("10.90.0.1".parse().unwrap()));
        assert_eq!(driver::undo_of_network(&network), [NetworkUndo::Bridge { name: link, alias, mac }]);
    }

    #[test]
    fn a_link_is_named_after_its_address() {
        let bridge = model::Bridge { link: "ocinet0".parse().unwrap() };
        let name = |text: &str, nth| bridge.wire(text.parse().unwrap(), nth).host_link().unwrap().clone();
        assert_eq!(name("10.90.0.2", 0).as_str(), "ocv0a5a0002");
        assert_eq!(name("10.90.0.2", 1).as_str(), "ocv0a5a0002-1");
        assert_eq!(address_of(&name("10.90.0.2", 1)), Some("10.90.0.2".parse().unwrap()));
        assert_eq!(address_of(&name("fd00::2", 0)), None);
        assert_ne!(name("fd00::2", 0), name("fd00::3", 0));
        assert_eq!(address_of(&"ocv+a5a0002".parse().unwrap()), None, "digits only");
    }

    /// The host answers for addresses of IPv6 alone, and where the network asks for that.
    #[test]
    fn proxies_go_with_their_endpoint() {
        let text = r#"{"endpoint":2,"state":"attached","network":"n","driver":"bridge","bridge":"ocn-1","host_interface":"ocv0a5a0002","interface":"eth0","mac":"02:00:0a:5a:00:02","mtu":1500,"addresses":["10.90.0.2/16","2001:db8::2/80"],"gateways":[]"#;
        let alias = Alias::Network("n".parse().unwrap());
        let proxies = |more: &str| -> Vec<driver::Undo> {
            let endpoint: Endpoint = serde_json::from_str(&format!("{text}{more}}}")).unwrap();
            let steps = driver::undo(&endpoint, &alias).into_iter();
            steps.filter(|step| matches!(step, driver::Undo::Proxy(_))).collect()
        };
        assert_eq!(proxies(r#","ndp_proxy":true"#), [driver::Undo::Proxy("2001:db8::2".parse().unwrap())]);
        assert_eq!(proxies(""), []);
    }
}
