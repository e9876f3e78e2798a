use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{ContainerId, ContainerName, InterfaceName, Mac, NetworkName};

/// A container whose connections are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptContainer {
    /// Its id.
    pub container: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// Its bundle directory, with which they go.
    pub bundle: String,
    /// One for each network at most.
    pub connections: Vec<KeptConnection>,
}

impl KeptContainer {
    /// Whether `text` is its id, its name or the beginning of its id.
    pub fn is_called(&self, text: &str) -> bool {
        self.name.as_str() == text || self.container.as_str().starts_with(text)
    }

    /// Whether a connection to `network` is among them.
    pub fn has(&self, network: &NetworkName) -> bool {
        self.connections.iter().any(|connection| connection.network == *network)
    }
}

/// A connection that was made while its container ran, and is made again with the container's next start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptConnection {
    /// The network.
    pub network: NetworkName,
    /// The addresses that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The MAC address that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The name of the interface that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<InterfaceName>,
    /// The MTU in bytes that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The priority of its default route that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw_priority: Option<i32>,
}
