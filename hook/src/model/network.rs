use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Families, Family, GatewayMode, InterfaceName, NetworkName, Options, stand_in};

/// Where the name server answers: a link-local address (RFC 3927), which no range of a network may have, and a unique
/// local one (RFC 4193) for containers without IPv4.
pub const NAME_SERVERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 53, 53)),
    IpAddr::V6(Ipv6Addr::new(0xfd6f, 0x6369, 0x6e65, 0x7400, 0, 0, 0, 0x53)),
];

/// The smallest MTU of a link with IPv6 (RFC 8200, section 5): with a smaller one, the kernel takes IPv6 away from it.
pub const IPV6_MIN_MTU: u32 = 1280;

/// A network that endpoints join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name: `bridge` is the default network.
    pub name: NetworkName,
    /// What connects its endpoints.
    #[serde(flatten)]
    pub driver: Driver,
    /// The address ranges.
    pub subnets: Vec<Subnet>,
    /// What holds for all of its endpoints.
    #[serde(flatten)]
    pub options: Box<Options>,
}

impl Network {
    /// A network whose endpoints are ports of the bridge `link`, and of which nothing else was said.
    pub fn of_bridge(name: NetworkName, link: InterfaceName, subnets: Vec<Subnet>) -> Self {
        Self { name, driver: Driver::Bridge(Bridge { link }), subnets, options: Box::default() }
    }

    /// Whether it is what `definition` says, whatever the MTU is where that follows the host's way out, and whatever is
    /// remembered of its endpoints.
    pub fn is_as_defined(&self, definition: &Self) -> bool {
        let (mut one, mut other) = (self.clone(), definition.clone());
        for options in [&mut one.options, &mut other.options] {
            if !options.mtu_fixed {
                options.mtu = 0;
            }
            options.derived_macs = false;
        }
        one == other
    }

    /// The host's addresses on that link: those of its gateways, but none where it is isolated from the host, too.
    pub fn host_addresses(&self) -> impl Iterator<Item = IpNet> {
        let subnets = if self.options.mode == GatewayMode::Isolated { &[][..] } else { &self.subnets };
        subnets.iter().filter_map(Subnet::gateway_with_prefix)
    }

    /// The stand-ins for ::1 of those ranges, on the same link ([`stand_in`]).
    pub fn stand_ins(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.host_addresses().filter_map(stand_in)
    }

    /// The families of its ranges.
    pub fn families(&self) -> Families {
        self.subnets.iter().map(|subnet| Family::of(subnet.range.addr())).collect()
    }

    /// The families over which others reach its containers at their own addresses.
    pub fn routed(&self) -> Families {
        self.families().iter().filter(|family| self.options.is_routed(*family)).collect()
    }

    /// Whether its containers are addressed by other hosts, or may be.
    pub fn is_addressed(&self) -> bool {
        let options = &self.options;
        let is_own = |family| !options.is_masqueraded(family);
        !options.internal && (self.families().iter().any(is_own) || !options.trusted_interfaces.is_empty())
    }

    /// Whether one of its ranges is of IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.families().contains(Family::V6)
    }

    /// The link on the host that its endpoints share; none where its driver has none of its own.
    pub fn link(&self) -> Option<&InterfaceName> {
        match &self.driver {
            Driver::Bridge(bridge) => Some(&bridge.link),
            #[cfg(test)]
            Driver::Slice(_) => None,
        }
    }
}

/// What connects the endpoints of a network, with what is its own. Its behaviour is in the room `driver`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "lowercase")]
pub enum Driver {
    /// A bridge on the host.
    Bridge(Bridge),
    /// The driver of the tests (`driver/slice.rs`).
    #[cfg(test)]
    Slice(Slice),
}

impl Driver {
    /// Its name, as a network is written with it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bridge(_) => "bridge",
            #[cfg(test)]
            Self::Slice(_) => "slice",
        }
    }
}

/// A bridge on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// The bridge's link.
    #[serde(rename = "bridge")]
    pub link: InterfaceName,
}

/// Children of a link of the host, with addresses from a slice of a range that several hosts share.
#[cfg(test)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The host's link.
    pub parent: InterfaceName,
    /// A bridge of the network's own.
    pub bridge: InterfaceName,
}

/// One address range of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The range, host bits zero.
    pub range: IpNet,
    /// The part of the range that this host gives out; none for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<IpNet>,
    /// Addresses that no container is given, by what has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aux: BTreeMap<String, IpAddr>,
    /// The next hop out of the range.
    pub gateway: Gateway,
}

/// The next hop out of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Gateway {
    /// This host, which has the address on the network's link.
    Host(IpAddr),
    /// Another machine.
    Router {
        /// Its address.
        router: IpAddr,
    },
    /// Nothing leads out.
    None,
}

impl Gateway {
    /// The address, which no container gets.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Host(address) | Self::Router { router: address } => Some(address),
            Self::None => None,
        }
    }

    /// The address, where it is this host's.
    pub fn of_host(self) -> Option<IpAddr> {
        match self {
            Self::Host(address) => Some(address),
            Self::Router { .. } | Self::None => None,
        }
    }
}

impl Subnet {
    /// The range with its first usable address as the gateway, which is this host.
    pub fn with_first_gateway(range: IpNet) -> Option<Self> {
        let range = range.trunc();
        let gateway = range.hosts().find(|address| *address != range.network())?;
        Some(Self { range, pool: None, aux: BTreeMap::new(), gateway: Gateway::Host(gateway) })
    }

    /// The gateway's address with the range's prefix length, as the network's link carries it; none where that is not
    /// this host's.
    pub fn gateway_with_prefix(&self) -> Option<IpNet> {
        let gateway = self.gateway.of_host()?;
        Some(
            IpNet::new(gateway, self.range.prefix_len())
                .expect("the prefix length came from an address of this family"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_written_with_its_driver() {
        let text = r#"{"name":"bridge","driver":"bridge","bridge":"ocinet0","subnets":[{"range":"10.90.0.0/16","gateway":"10.90.0.1"}],"mtu":1400}"#;
        let network: Network = serde_json::from_str(text).unwrap();
        assert_eq!(network.link().unwrap().as_str(), "ocinet0");
        assert_eq!(serde_json::to_value(&network).unwrap()["driver"], network.driver.name());
        assert_eq!(serde_json::to_string(&network).unwrap(), text);
    }

    #[test]
    fn a_gateway_is_written_by_its_kind() {
        let router = Gateway::Router { router: "192.0.2.1".parse().unwrap() };
        for (gateway, text) in [(router, r#"{"router":"192.0.2.1"}"#), (Gateway::None, "null")] {
            assert_eq!(serde_json::to_string(&gateway).unwrap(), text);
            assert_eq!(serde_json::from_str::<Gateway>(text).unwrap(), gateway);
        }
    }
}
