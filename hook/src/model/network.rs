use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{InterfaceName, NetworkName};

/// A network that endpoints join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name: `bridge` is the default network.
    pub name: NetworkName,
    /// The bridge device on the host.
    pub bridge: InterfaceName,
    /// The address ranges, at most one of each family for now.
    pub subnets: Vec<Subnet>,
    /// The MTU in bytes of its bridge, and of endpoints that name none: that of the host's way out.
    #[serde(default = "default_mtu")]
    pub mtu: u32,
}

impl Network {
    /// The MTU where the host has no way out to take it from: Ethernet's.
    pub const DEFAULT_MTU: u32 = 1500;
}

/// Of a row that an older version wrote.
fn default_mtu() -> u32 {
    Network::DEFAULT_MTU
}

/// One address range of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The range, host bits zero.
    pub range: IpNet,
    /// The host's own address in it.
    pub gateway: IpAddr,
}

impl Subnet {
    /// The range with its first usable address as the gateway.
    pub fn with_first_gateway(range: IpNet) -> Option<Self> {
        let range = range.trunc();
        let gateway = range.hosts().find(|address| *address != range.network())?;
        Some(Self { range, gateway })
    }

    /// The gateway's address with the range's prefix length, as the bridge carries it.
    pub fn gateway_with_prefix(&self) -> IpNet {
        IpNet::new(self.gateway, self.range.prefix_len())
            .expect("the prefix length came from an address of this family")
    }
}
