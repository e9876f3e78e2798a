//! What networks and containers need of the firewall.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::{InputLoop, Source};
use crate::model::{
    Families, Family, GatewayMode, HostAddress, InterfaceName, Masquerade, Network, Options, PortMapping, Protocol,
    Publishing, Sandbox, Subnet, stand_in,
};

/// Everything the host's firewall must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// What holds on the whole host.
    pub base: Base,
    /// The networks.
    pub networks: Vec<NetworkNeeds>,
    /// The published ports.
    pub publish: Vec<Publish>,
    /// The senders of what leaves the host, where masquerading would choose others. No attach looks at them: who looks
    /// at everything loads them again when the host's routes changed.
    pub sources: Vec<Source>,
}

/// What holds on the whole host, whatever its networks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Base {
    /// The families of which what is forwarded between two links is dropped, where neither is ours.
    pub close_forwarding: Families,
    /// Whether packets from outside come to a published port only once the host's own rules have let them in.
    pub input_loop: InputLoop,
    /// Whether a network is internal. Its rules stand before those for established connections, so they are there only
    /// where they are needed.
    pub has_internal: bool,
    /// Whether other hosts address the containers of a network. Its rules, too, are there only where they are needed.
    pub has_addressed: bool,
    /// Whether a network has IPv6, likewise.
    pub has_ipv6: bool,
}

impl Base {
    /// The families that have rules.
    pub fn families(&self) -> &'static [Family] {
        if self.has_ipv6 { &Family::ALL } else { &[Family::V4] }
    }
}

/// A network: guarded against hosts of the LAN, isolated from other networks, and let out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkNeeds {
    /// Its bridge.
    pub bridge: InterfaceName,
    /// Whether its containers reach one another's ports, published or not (Docker's `enable_icc`).
    pub icc: bool,
    /// Whether nothing passes between it and anything else, published ports and established connections included. Of
    /// the host it reaches the gateway addresses of its ranges.
    pub internal: bool,
    /// The families over which other hosts reach its containers at their addresses, and there their published ports
    /// alone.
    pub routed: Families,
    /// Links by which they do over those that are not routed.
    pub trusted: Vec<InterfaceName>,
    /// Its address ranges.
    pub ranges: Vec<RangeNeeds>,
    /// The addresses on its bridge that stand for ::1 of the host ([`stand_in`]).
    pub stand_ins: Vec<Ipv6Addr>,
}

/// An address range of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeNeeds {
    /// The range.
    pub range: IpNet,
    /// The host's address in it, where the host is its gateway.
    pub gateway: Option<IpAddr>,
    /// Whether what it sends out of the host has an address of the host as its sender. Nothing outside sends to its
    /// addresses then, and what does is dropped.
    pub masquerade: bool,
    /// Which address that is; none where it is that of the link by which it leaves.
    pub outbound: Option<IpAddr>,
}

impl NetworkNeeds {
    /// What `network` needs; nothing where it has no link of its own on the host, by which its packets would come.
    pub fn of(network: &Network) -> Option<Self> {
        let Options { icc, internal, masquerade, mode, .. } = *network.options;
        let routed = network.routed();
        let trusted = if internal { Vec::new() } else { network.options.trusted_interfaces.clone() };
        let outbound = if let Masquerade::Outbound(address) = masquerade { Some(address) } else { None };
        let range = |subnet: &Subnet| RangeNeeds {
            range: subnet.range,
            gateway: subnet.gateway.of_host().filter(|_| mode != GatewayMode::Isolated),
            masquerade: network.options.is_masqueraded(Family::of(subnet.range.addr())),
            outbound: outbound.filter(|address| address.is_ipv4() == subnet.range.addr().is_ipv4()),
        };
        let ranges = network.subnets.iter().map(range).collect();
        let stand_ins = network.stand_ins().collect();
        Some(Self { bridge: network.link()?.clone(), icc, internal, routed, trusted, ranges, stand_ins })
    }
}

impl NetworkNeeds {
    /// Whether it has a range of IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.ranges.iter().any(|needs| Family::of(needs.range.addr()) == Family::V6)
    }

    /// Whether other hosts address its containers.
    pub fn is_addressed(&self) -> bool {
        !self.internal && (!self.trusted.is_empty() || self.ranges.iter().any(|needs| !needs.masquerade))
    }
}

/// By which address a published port is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReachedBy {
    /// By those of the host.
    #[default]
    Host,
    /// By those of the host, and from trusted links by the container's.
    HostAndContainer,
    /// By the container's alone, from everywhere.
    Container,
}

impl ReachedBy {
    /// Whether ports of the host lead to it.
    pub fn has_host(self) -> bool {
        self != Self::Container
    }

    /// Whether it is reached by the container's address.
    pub fn has_container(self) -> bool {
        self != Self::Host
    }
}

/// One port of a container that is published, and the port of the host that leads to it.
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
    /// By which address it is reached.
    pub reached_by: ReachedBy,
    /// Whether the container sees the gateway of its network as the sender: it would answer others by another link.
    pub masquerade: bool,
    /// What stands for ::1 of the host on the network that it leads to; none for IPv4.
    pub stand_in: Option<Ipv6Addr>,
    /// The container, for people who read the rules; and whether the port was published for one family alone.
    pub label: Label,
}

/// What the comment of a published port's rule says: `web`, or `web/ipv6` where it was published on every address of
/// IPv6, as with `[::]:8080:80`. The rules of a container that has one family are the same without that, and a rebuild
/// of a lost store needs it: once the container has the other family too, only a port that was published on every
/// address leads to it by that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The container's name.
    pub container: String,
    /// The family.
    pub only: Option<Family>,
}

impl Label {
    /// What stands behind the name for `family`.
    fn suffix(family: Family) -> &'static str {
        match family {
            Family::V4 => "/ipv4",
            Family::V6 => "/ipv6",
        }
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        let read = |family| Some((text.strip_suffix(Self::suffix(family))?, Some(family)));
        let (container, only) = Family::ALL.into_iter().find_map(read).unwrap_or((text, None));
        Self { container: container.to_owned(), only }
    }
}

/// With everything replaced that could end a quoted string, cut to what the host's tools take.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let safe = |c: char| if c.is_ascii_alphanumeric() || "_.+-".contains(c) { c } else { '_' };
        let container: String = self.container.chars().take(100).map(safe).collect();
        write!(f, "{container}{}", self.only.map(Self::suffix).unwrap_or_default())
    }
}

impl Publish {
    /// Whether both lead from the same port of the host to the same port of a container.
    pub fn is_same_port(&self, other: &Self) -> bool {
        let facts = |port: &Self| (port.protocol, port.host_address, port.host_port, port.target, port.reached_by);
        facts(self) == facts(other)
    }

    /// The stand-in for ::1 of the host, where it is reached there.
    pub fn loopback(&self) -> Option<Ipv6Addr> {
        let is_there = match self.host_address {
            HostAddress::Any | HostAddress::AnyOf(_) => true,
            HostAddress::V6(address) => address.is_loopback(),
            HostAddress::V4(_) => false,
        };
        self.stand_in.filter(|_| is_there && self.reached_by.has_host())
    }

    /// The family of its addresses; none where they are of two.
    pub fn family(&self) -> Option<Family> {
        let host: Option<IpAddr> = self.host_address.into();
        let family = Family::of(self.target.ip());
        host.is_none_or(|host| Family::of(host) == family).then_some(family)
    }
}

/// The published ports of `sandbox`, one by one.
pub fn publish_needs(sandbox: &Sandbox) -> Vec<Publish> {
    Family::ALL.into_iter().flat_map(|family| publish_needs_of(family, sandbox)).collect()
}

/// What is to go and what is to come, so that the published ports of `before` lead where those of `after` do. A family
/// in which nothing changes is in neither.
pub fn moved_ports(before: &Sandbox, after: &Sandbox) -> [Vec<Publish>; 2] {
    let changed =
        Family::ALL.into_iter().map(|family| [before, after].map(|sandbox| publish_needs_of(family, sandbox)));
    let changed: Vec<[Vec<Publish>; 2]> = changed.filter(|[old, new]| old != new).collect();
    [0, 1].map(|nth| changed.iter().flat_map(|both| both[nth].clone()).collect())
}

/// Those that lead to its first address of `family`.
fn publish_needs_of(family: Family, sandbox: &Sandbox) -> Vec<Publish> {
    let target = sandbox.port_target(family);
    let Some((target, publishing)) = target.filter(|(_, publishing)| *publishing != Publishing::Off) else {
        return Vec::new();
    };
    let reached_by = match publishing {
        Publishing::Trusted => ReachedBy::HostAndContainer,
        Publishing::Routed => ReachedBy::Container,
        Publishing::Direct | Publishing::Masqueraded | Publishing::Off => ReachedBy::Host,
    };
    let nets = || sandbox.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    let stand_in = nets().find(|net| net.addr() == target).copied().and_then(stand_in);
    let one = |mapping: &PortMapping| {
        let (protocol, host_address) = (mapping.protocol, mapping.host_address);
        let only = match reached_by {
            ReachedBy::Container if sandbox.routed => None,
            ReachedBy::Container => host_address.family(),
            ReachedBy::Host | ReachedBy::HostAndContainer => {
                host_address.family().filter(|_| host_address.one().is_none())
            }
        };
        // The rules of a family tell by themselves of which they are.
        let is_several = host_address.family().is_none_or(|of| of == family) && host_address.one().is_none();
        let (host_address, is_routed) = match reached_by {
            ReachedBy::Container => (HostAddress::Any, true),
            _ if is_several => (HostAddress::Any, false),
            _ => (host_address, false),
        };
        let label = Label { container: sandbox.name.to_string(), only };
        mapping.pairs().map(move |(host_port, port)| Publish {
            protocol,
            host_address,
            // What the rules cannot tell is not said.
            host_port: if is_routed { port } else { host_port },
            target: SocketAddr::new(target, port),
            reached_by,
            masquerade: publishing == Publishing::Masqueraded,
            stand_in,
            label: label.clone(),
        })
    };
    let leads = |mapping: &&PortMapping| reached_by != ReachedBy::Container || sandbox.opens(mapping, family);
    sandbox.publish.iter().filter(leads).flat_map(one).filter(|port| port.family() == Some(family)).collect()
}
