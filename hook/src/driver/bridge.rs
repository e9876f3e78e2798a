use std::net::IpAddr;

use super::{Bridge, Decisions, EndpointStep, FilterProgram, NetworkStep, Setting, Veth};
use crate::model::{self, Alias, Endpoint, InterfaceName, Mac, Network, Wire};

impl Decisions for model::Bridge {
    /// The link is named `ocv0a5a0002` for 10.90.0.2, and `ocv0a5a0002-1` where a link of another program has that.
    ///
    /// The kernel has a name only once. So it refuses the second of two links with one address even where the store has
    /// forgotten the first, and the name of a link tells its address.
    fn wire(&self, address: IpAddr, nth: u8) -> Wire {
        let base = match address {
            IpAddr::V4(v4) => format!("ocv{:08x}", u32::from(v4)),
            IpAddr::V6(v6) => format!("ocv6{:08x}", crc32fast::hash(&v6.octets())),
        };
        let text = if nth == 0 { base } else { format!("{base}-{}", nth % 10) };
        Wire::Veth { master: self.link.clone(), host: text.parse().expect("up to fourteen letters and digits") }
    }

    /// The bridge; none where the network has no address of the host's to derive a MAC from.
    fn of_network(&self, network: &Network, guarded: bool) -> Vec<NetworkStep> {
        let Some(gateway) = network.subnets.iter().find_map(|subnet| subnet.gateway.of_host()) else {
            return Vec::new();
        };
        vec![NetworkStep::Bridge(Bridge {
            name: self.link.clone(),
            alias: Alias::Network(network.name.clone()),
            mac: Mac::of(gateway),
            mtu: network.options.mtu,
            addresses: network.subnets.iter().filter_map(model::Subnet::gateway_with_prefix).collect(),
            guarded,
        })]
    }

    /// The pair that makes the endpoint a port of the bridge.
    fn of_endpoint(&self, endpoint: &Endpoint, alias: &Alias) -> Vec<EndpointStep> {
        let (Some(name), Some(master)) = (endpoint.wire.host_link(), endpoint.wire.master()) else { return Vec::new() };
        vec![EndpointStep::Veth(Veth {
            name: name.clone(),
            alias: alias.clone(),
            bridge: master.clone(),
            peer: endpoint.interface.clone(),
            mac: endpoint.mac,
            mtu: endpoint.mtu,
            guard: FilterProgram::of_port(endpoint.mac, endpoint.addresses.iter().map(ipnet::IpNet::addr)),
        })]
    }
}

impl Bridge {
    /// What it needs before it is up: no address or route from a router advertisement of a container (CVE-2020-13401) and
    /// no IPv6. Behind rules of ours also a way for the host's own 127.0.0.1 to published ports, which without them would
    /// be open the other way round as well (CVE-2020-8558), and forwarding where the host's default for new links is off.
    pub fn settings(&self) -> Vec<Setting> {
        let of = |family, name, value| Setting::of(family, self.name.as_str(), name, value);
        let mut settings = vec![
            of("ipv6", "accept_ra", "0"),
            of("ipv6", "disable_ipv6", "1"),
            of("ipv4", "route_localnet", if self.guarded { "1" } else { "0" }),
        ];
        if self.guarded {
            settings.push(of("ipv4", "forwarding", "1"));
        }
        settings
    }

    /// An MTU next to `mtu`, to come from: the kernel takes no notice of one that the bridge has already
    /// (`netif_set_mtu_ext`, net/core/dev.c). It is on the same side of 1280, under which a link loses its IPv6 settings.
    pub fn other_mtu(mtu: u32) -> u32 {
        mtu ^ 1
    }
}

/// The address that a link of ours has by its name; none for those of IPv6.
pub fn address_of(link: &InterfaceName) -> Option<IpAddr> {
    let digits = link.as_str().strip_prefix("ocv")?.split('-').next()?;
    let is_number = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let number = is_number.then(|| u32::from_str_radix(digits, 16).ok()).flatten()?;
    Some(std::net::Ipv4Addr::from(number).into())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
