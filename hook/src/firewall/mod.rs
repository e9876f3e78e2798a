//! What networks and endpoints need of the firewall, in domain words. Each backend turns them into rules of its own.

pub mod nft;

use std::net::SocketAddr;

use crate::model::{HostAddress, InterfaceName, Network, Protocol, Record, Subnet};

/// Everything the host's firewall must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Drop what is forwarded between two links of which neither is ours.
    pub close_forwarding: bool,
    /// The networks.
    pub networks: Vec<NetworkNeeds>,
    /// The published ports.
    pub publish: Vec<Publish>,
}

/// A network: guarded against its neighbours, isolated from other networks, masqueraded towards the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkNeeds {
    /// Its bridge.
    pub bridge: InterfaceName,
    /// Its address ranges.
    pub subnets: Vec<Subnet>,
}

impl From<&Network> for NetworkNeeds {
    fn from(network: &Network) -> Self {
        Self { bridge: network.bridge.clone(), subnets: network.subnets.clone() }
    }
}

/// One port of the host that leads to one port of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The host's address.
    pub host_address: HostAddress,
    /// The host's port.
    pub host_port: u16,
    /// Where it leads.
    pub target: SocketAddr,
    /// The container, for people who read the rules.
    pub label: String,
}

/// The published ports of `record`, one by one.
pub fn publish_needs(record: &Record) -> Vec<Publish> {
    let Some(target) = record.endpoints.iter().find_map(|endpoint| endpoint.ipv4()) else { return Vec::new() };
    let one = |mapping: &crate::model::PortMapping| {
        let (protocol, host_address, label) = (mapping.protocol, mapping.host_address, record.name.to_string());
        mapping.pairs().map(move |(host_port, port)| Publish {
            protocol,
            host_address,
            host_port,
            target: SocketAddr::new(target, port),
            label: label.clone(),
        })
    };
    record.publish.iter().flat_map(one).collect()
}

/// A way to put [`Needs`] into the kernel.
pub trait Backend {
    /// What it fails with.
    type Error;

    /// Whether the base and what `network` needs are whole, and forwarding between strangers is closed if it should be;
    /// cheap, asked at every attach.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn verify(&mut self, network: &NetworkNeeds, closed: bool) -> Result<bool, Self::Error>;

    /// Puts the base and `all` in place at once, whatever was there of ours before.
    ///
    /// # Errors
    /// When the kernel or the host's tools refuse; then what was there stays.
    fn load(&mut self, all: &Needs) -> Result<(), Self::Error>;

    /// Whether the kernel holds `all`, and nothing else of ours; looks at everything.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn matches(&mut self, all: &Needs) -> Result<bool, Self::Error>;

    /// The published ports that the kernel holds, for when the store has forgotten them.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn published(&mut self) -> Result<Vec<Publish>, Self::Error>;

    /// Whether the kernel keeps forwarding between strangers closed.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn closes_forwarding(&mut self) -> Result<bool, Self::Error>;

    /// Takes everything of ours away; none there is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn unload(&mut self) -> Result<(), Self::Error>;

    /// Adds published ports; those that are there already stay.
    ///
    /// # Errors
    /// When the kernel refuses; then none was added.
    fn apply(&mut self, ports: &[Publish]) -> Result<(), Self::Error>;

    /// Takes published ports away; those that are not there are no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn remove(&mut self, ports: &[Publish]) -> Result<(), Self::Error>;

    /// The chain of another program that drops what our networks forward, with the command that lets it pass.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn obstacle(&mut self, network: &NetworkNeeds) -> Result<Option<Obstacle>, Self::Error>;
}

/// Another program's chain that drops forwarded packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Where it is, as `nft list chain` takes it.
    pub place: String,
    /// The command that lets our network pass.
    pub remedy: String,
}
