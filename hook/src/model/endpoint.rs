use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Family, HostName, InterfaceName, Mac, NetworkName, State};

/// One connection of a sandbox to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The number the store gave it; never reused within one store.
    #[serde(rename = "endpoint")]
    pub number: i64,
    /// How far its attach or detach has come.
    pub state: State,
    /// The network joined.
    pub network: NetworkName,
    /// What connects it.
    #[serde(flatten)]
    pub wire: Wire,
    /// The interface inside the container.
    pub interface: InterfaceName,
    /// Its MAC address.
    pub mac: Mac,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its addresses with prefix length, of either family.
    pub addresses: Vec<IpNet>,
    /// The routes by it.
    #[serde(rename = "gateways")]
    pub routes: Vec<Route>,
    /// What others on the network find it by, beside its container's name and id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<HostName>,
    /// Where its container asks for names by it; none where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_server: Option<IpAddr>,
    /// What it has to do with published ports.
    #[serde(default, skip_serializing_if = "Publishing::is_direct")]
    pub publishing: Publishing,
    /// What it has to do with those of IPv6, where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publishing6: Option<Publishing>,
    /// Of several endpoints, the one with the highest has the default route.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gw_priority: i32,
    /// Whether the container may send with every address, as it asked to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unguarded: bool,
    /// Whether the host answers its own neighbours for its addresses of IPv6.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ndp_proxy: bool,
}

/// What an endpoint has to do with the published ports of its sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publishing {
    /// They can lead to it.
    #[default]
    Direct,
    /// The same, and the container sees the gateway of the network as the sender, since it would answer others by
    /// another link.
    Masqueraded,
    /// They can lead to it, and hosts behind the trusted links of its network reach them at its address, too.
    Trusted,
    /// No port of the host leads to it: others reach them at its address.
    Routed,
    /// None leads to it.
    Off,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl Publishing {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_direct(&self) -> bool {
        *self == Self::Direct
    }
}

impl Endpoint {
    /// What it has to do with published ports of `family`.
    pub fn publishing_of(&self, family: Family) -> Publishing {
        match family {
            Family::V4 => self.publishing,
            Family::V6 => self.publishing6.unwrap_or(self.publishing),
        }
    }

    /// Says that for each family.
    pub fn set_publishing(&mut self, of: impl Fn(Family) -> Publishing) {
        let (v4, v6) = (of(Family::V4), of(Family::V6));
        (self.publishing, self.publishing6) = (v4, Some(v6).filter(|v6| *v6 != v4));
    }

    /// Whether published ports of a family lead to it.
    pub fn has_ports(&self) -> bool {
        Family::ALL.into_iter().any(|family| self.publishing_of(family) != Publishing::Off)
    }

    /// The next hops of its default routes.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        self.routes.iter().map(|Route::Default(gateway)| *gateway)
    }

    /// Whether the default route of `family` is by it.
    pub fn has_gateway_of(&self, family: Family) -> bool {
        self.gateways().any(|gateway| Family::of(gateway) == family)
    }

    /// Its addresses for which the host answers its own neighbours.
    pub fn proxied_addresses(&self) -> impl Iterator<Item = Ipv6Addr> {
        let addresses = if self.ndp_proxy { &self.addresses[..] } else { &[] };
        addresses.iter().filter_map(|net| if let IpNet::V6(v6) = net { Some(v6.addr()) } else { None })
    }

    /// Its address of `family`.
    pub fn address_of(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().map(IpNet::addr).find(|address| Family::of(*address) == family)
    }
}

/// What connects an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "lowercase")]
pub enum Wire {
    /// A veth pair, whose end on the host is a port of a bridge.
    #[serde(rename = "bridge")]
    Veth {
        /// The bridge.
        #[serde(rename = "bridge")]
        master: InterfaceName,
        /// The host's end of the pair.
        #[serde(rename = "host_interface")]
        host: InterfaceName,
    },
    /// A child of a link of the host's; it is born in the container, and the host has no link of its own for it.
    #[cfg(test)]
    Child {
        /// The host's link.
        parent: InterfaceName,
    },
}

impl Wire {
    /// The link on the host that belongs to this endpoint alone, where there is one.
    pub fn host_link(&self) -> Option<&InterfaceName> {
        match self {
            Self::Veth { host, .. } => Some(host),
            #[cfg(test)]
            Self::Child { .. } => None,
        }
    }

    /// The link on the host that the former is a port of, where there is one.
    pub fn master(&self) -> Option<&InterfaceName> {
        match self {
            Self::Veth { master, .. } => Some(master),
            #[cfg(test)]
            Self::Child { .. } => None,
        }
    }
}

/// A route by an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Route {
    /// The default route of its family, by this next hop. It stays with another endpoint that has it already.
    Default(IpAddr),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command line prints it.
    #[test]
    fn an_endpoint_is_written_as_it_always_was() {
        let text = r#"{"endpoint":2,"state":"attached","network":"bridge","driver":"bridge","bridge":"ocinet0","host_interface":"ocv0a5a0002","interface":"eth0","mac":"02:00:0a:5a:00:02","mtu":1500,"addresses":["10.90.0.2/16"],"gateways":["10.90.0.1"]}"#;
        let endpoint: Endpoint = serde_json::from_str(text).unwrap();
        assert_eq!(endpoint.wire.host_link().unwrap().as_str(), "ocv0a5a0002");
        assert_eq!(serde_json::to_string(&endpoint).unwrap(), text);
    }
}
