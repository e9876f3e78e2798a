//! What networks and endpoints need of the firewall, in domain words. Each backend turns them into rules of its own.

pub mod input_loop;
pub mod iptables;
pub mod nftables;
pub mod pass;
mod source;

pub use input_loop::InputLoop;
pub use source::{DefaultRoute, LinkAddress, Source, sources};

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::str::FromStr;

use crate::model::{HostAddress, InterfaceName, Network, Protocol, Sandbox, Subnet};

/// Everything the host's firewall must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// What holds on the whole host.
    pub base: Base,
    /// The networks.
    pub networks: Vec<NetworkNeeds>,
    /// The published ports.
    pub publish: Vec<Publish>,
    /// The senders of what leaves the host, where masquerading would choose others. No attach looks at them: who looks at
    /// everything loads them again when the host's routes changed.
    pub sources: Vec<Source>,
}

/// What holds on the whole host, whatever its networks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Base {
    /// Drop what is forwarded between two links of which neither is ours.
    pub close_forwarding: bool,
    /// Whether packets from outside come to a published port only once the host's own rules have let them in.
    pub input_loop: InputLoop,
}

/// A network: guarded against hosts of the LAN, isolated from other networks, masqueraded towards the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkNeeds {
    /// Its bridge.
    pub bridge: InterfaceName,
    /// Its address ranges.
    pub subnets: Vec<Subnet>,
}

impl NetworkNeeds {
    /// What `network` needs; nothing where it has no link of its own on the host, by which its packets would come.
    pub fn of(network: &Network) -> Option<Self> {
        Some(Self { bridge: network.link()?.clone(), subnets: network.subnets.clone() })
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

impl Publish {
    /// Whether both lead from the same port of the host to the same port of a container.
    pub fn is_same_port(&self, other: &Self) -> bool {
        let facts = |port: &Self| (port.protocol, port.host_address, port.host_port, port.target);
        facts(self) == facts(other)
    }
}

/// The published ports of `sandbox`, one by one.
pub fn publish_needs(sandbox: &Sandbox) -> Vec<Publish> {
    let Some(target) = sandbox.endpoints.iter().find_map(|endpoint| endpoint.ipv4()) else { return Vec::new() };
    let one = |mapping: &crate::model::PortMapping| {
        let (protocol, host_address, label) = (mapping.protocol, mapping.host_address, sandbox.name.to_string());
        mapping.pairs().map(move |(host_port, port)| Publish {
            protocol,
            host_address,
            host_port,
            target: SocketAddr::new(target, port),
            label: label.clone(),
        })
    };
    sandbox.publish.iter().flat_map(one).collect()
}

/// Who keeps our rules. A host has one at a time, and its store says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The kernel's nf_tables, in a table of our own.
    Nftables,
    /// `iptables` that writes to nf_tables.
    IptablesNft,
    /// `iptables` that writes to the kernel's older tables.
    IptablesLegacy,
    /// No backend: the operator has rules for our networks, or wants none.
    None,
}

impl Kind {
    /// All that hold rules.
    pub const WITH_RULES: [Self; 3] = [Self::Nftables, Self::IptablesNft, Self::IptablesLegacy];

    /// Whether anything of ours guards the networks, or the operator alone.
    pub fn has_rules(self) -> bool {
        self != Self::None
    }

    fn word(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::IptablesNft => "iptables-nft",
            Self::IptablesLegacy => "iptables-legacy",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::WITH_RULES.into_iter().chain([Self::None]).find(|kind| kind.word() == text).ok_or(())
    }
}

/// A way to put [`Needs`] into the kernel.
pub trait Backend {
    /// What it fails with.
    type Error;

    /// Waits for other programs that are about to change the firewall. Asked before anything is leased: while it cannot be
    /// changed, nothing could be taken back either.
    ///
    /// # Errors
    /// When the wait comes to its deadline.
    fn ready(&mut self) -> Result<(), Self::Error>;

    /// Adds `ports`, none of which is there, if `base` and what `network` needs are whole. Otherwise it adds none and says false. Cheap: it is called at every attach.
    ///
    /// # Errors
    /// When the kernel cannot be asked or refuses; then none was added.
    fn apply(&mut self, network: &NetworkNeeds, base: &Base, ports: &[Publish]) -> Result<bool, Self::Error>;

    /// Whether `base`, what `network` needs and `ports` are there.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn holds(&mut self, network: &NetworkNeeds, base: &Base, ports: &[Publish]) -> Result<bool, Self::Error>;

    /// Takes published ports away, which were added to `base`; those that are not there are no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn remove(&mut self, ports: &[Publish], base: &Base) -> Result<(), Self::Error>;

    /// Puts the base and `all` in place at once, whatever was there of ours before. The operator's chain stays as it is.
    ///
    /// # Errors
    /// When the kernel or the host's tools refuse; then what was there stays.
    fn load(&mut self, all: &Needs) -> Result<(), Self::Error>;

    /// Takes everything of ours away but an operator's chain that has rules; none there is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn unload(&mut self) -> Result<(), Self::Error>;

    /// The operator's chain, where it has rules and therefore stays after [`Backend::unload`].
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn operators_chain(&mut self) -> Result<Option<&'static str>, Self::Error>;

    /// Whether the kernel holds anything of ours.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn is_loaded(&mut self) -> Result<bool, Self::Error>;

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

    /// Whether the kernel keeps forwarding between foreign links closed.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn closes_forwarding(&mut self) -> Result<bool, Self::Error>;

    /// The socket that takes the kernel long to close after elements were deleted; none where that is no matter.
    fn slow_socket(&self) -> Option<BorrowedFd<'_>>;
}

/// A container's name as a comment of a rule: with everything replaced that could end a quoted string, cut to what the
/// host's tools take.
fn comment(port: &Publish) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "_.+-".contains(c) { c } else { '_' };
    port.label.chars().take(100).map(safe).collect()
}
