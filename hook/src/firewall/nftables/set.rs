//! The sets and maps of the ruleset: what they are called, which table they are in, and the types of their fields.

use super::field::Type;
use super::{TABLE, words};
use crate::model::Family;

/// A set or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Set {
    /// Our bridges.
    Bridges,
    /// The links between which a network's own packets pass: twice the same bridge.
    Intra,
    /// Those of internal networks.
    Internal,
    /// The addresses of the host that internal networks reach, by their bridges.
    Gateways(Family),
    /// The ranges that are masqueraded.
    NatSubnets(Family),
    /// The ranges on their bridges.
    Networks(Family),
    /// The families of which nothing is forwarded between links that are not ours.
    Closed,
    /// Where ports lead that are published on any address.
    PublishAny(Family),
    /// Where ports lead that are published on one.
    PublishAddr(Family),
    /// Those of the first that conntrack judges.
    PortsAny(Family),
    /// Those of the second.
    PortsAddr(Family),
    /// The containers to which published ports lead with the gateway as the sender.
    Masqueraded(Family),
    /// The senders of what ranges send out, where a network has one of its own.
    Outbound(Family),
    /// The senders of what leaves, by link and next hop.
    SourcesVia(Family),
    /// The senders of what leaves by a link without a gateway.
    SourcesLink(Family),
    /// The links by which a network's ranges are addressed, although it is not routed.
    Trusted(Family),
    /// The ranges that other hosts address.
    Addressed(Family),
    /// The bridges of networks that are routed over a family.
    Routed(Family),
    /// The ports of containers that are reached at their addresses from everywhere.
    RoutedPorts(Family),
    /// Those that are so from trusted links.
    TrustedPorts(Family),
    /// The addresses that stand for ::1 of the host.
    StandIns,
    /// Which of them stands for it where it is sent to a port.
    Loopback,
    /// Where ports lead that are published on ::1 alone.
    PublishLoopback,
    /// Ports published on any address about which the host's own rules are asked.
    AskedAny(Family),
    /// Those published on one.
    AskedAddr(Family),
}

/// A table of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// All but the input loop.
    Inet,
    /// The input loop.
    Ip,
}

impl Table {
    /// Its family, as `nft` calls it.
    pub fn family(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
        }
    }
}

/// What a set is made of.
pub(super) struct Shape {
    name: String,
    /// The table that it is in.
    pub table: Table,
    /// The types of its key, joined to one.
    pub key: Vec<Type>,
    /// The types of what a key leads to; none in a set.
    pub data: Vec<Type>,
    /// Whether its keys may be ranges of addresses.
    has_ranges: bool,
}

impl Shape {
    fn set(name: impl Into<String>, key: &[Type]) -> Self {
        Self { name: name.into(), table: Table::Inet, key: key.to_vec(), data: Vec::new(), has_ranges: false }
    }

    fn map(name: impl Into<String>, key: &[Type], data: &[Type]) -> Self {
        Self { data: data.to_vec(), ..Self::set(name, key) }
    }

    fn of_ranges(self) -> Self {
        Self { has_ranges: true, ..self }
    }

    fn of_input_loop(self) -> Self {
        Self { table: Table::Ip, ..self }
    }

    /// As it is loaded.
    pub fn declaration(&self) -> String {
        let Self { name, key, data, has_ranges, .. } = self;
        let joined = |types: &[Type]| types.iter().map(|part| part.word()).collect::<Vec<_>>().join(" . ");
        let (kind, data) = match data[..] {
            [] => ("set", String::new()),
            _ => ("map", format!(" : {}", joined(data))),
        };
        let flags = if *has_ranges { " flags interval;" } else { "" };
        format!("{kind} {name} {{ type {}{data};{flags} }}", joined(key))
    }
}

impl Set {
    /// All of them, in whatever ruleset.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::of(&Family::ALL)
    }

    /// Those of a ruleset for `families`, in the order in which they are declared. The input loop is of IPv4 alone.
    pub fn of(families: &'static [Family]) -> impl Iterator<Item = Self> {
        let each = move |of: fn(Family) -> Self| families.iter().map(move |family| of(*family));
        let head = [Self::Bridges, Self::Intra, Self::Internal].into_iter().chain(each(Self::Gateways));
        let head = head.chain(each(Self::NatSubnets)).chain(each(Self::Networks));
        let of_families: [fn(Family) -> Self; 15] = [
            Self::PublishAny,
            Self::PublishAddr,
            Self::PortsAny,
            Self::PortsAddr,
            Self::Masqueraded,
            Self::Outbound,
            Self::SourcesVia,
            Self::SourcesLink,
            Self::Trusted,
            Self::Addressed,
            Self::Routed,
            Self::RoutedPorts,
            Self::TrustedPorts,
            Self::AskedAny,
            Self::AskedAddr,
        ];
        let of_ipv6 = [Self::StandIns, Self::Loopback, Self::PublishLoopback];
        let of_ipv6 = of_ipv6.into_iter().filter(|_| families.contains(&Family::V6));
        let all = head.chain([Self::Closed]).chain(of_families.into_iter().flat_map(each)).chain(of_ipv6);
        all.filter(|set| !matches!(set, Self::AskedAny(Family::V6) | Self::AskedAddr(Family::V6)))
    }

    /// What the set is made of.
    pub(super) fn shape(self) -> Shape {
        use Type::{Address, Link, Port, Protocol};
        let name = |stem: &str, family, rest: &str| format!("{stem}{}{rest}", words(family).digit);
        match self {
            Self::Bridges => Shape::set("bridges", &[Link]),
            Self::Intra => Shape::set("intra", &[Link, Link]),
            Self::Internal => Shape::set("internal", &[Link]),
            Self::Gateways(f) => Shape::set(name("gateways", f, ""), &[Link, Address(f)]),
            Self::NatSubnets(f) => Shape::set(name("nat_subnets", f, ""), &[Address(f)]).of_ranges(),
            Self::Networks(f) => Shape::set(name("networks", f, ""), &[Link, Address(f)]).of_ranges(),
            Self::Closed => Shape::set("closed", &[Type::Family]),
            Self::PublishAny(f) => Shape::map(name("publish", f, "_any"), &[Protocol, Port], &[Address(f), Port]),
            Self::PublishAddr(f) => {
                Shape::map(name("publish", f, "_addr"), &[Address(f), Protocol, Port], &[Address(f), Port])
            }
            Self::PortsAny(f) => Shape::set(name("ports", f, "_any"), &[Protocol, Port]),
            Self::PortsAddr(f) => Shape::set(name("ports", f, "_addr"), &[Address(f), Protocol, Port]),
            Self::Masqueraded(f) => Shape::set(name("masqueraded", f, ""), &[Address(f)]),
            Self::Outbound(f) => Shape::map(name("outbound", f, ""), &[Address(f)], &[Address(f)]).of_ranges(),
            Self::SourcesVia(f) => Shape::map(name("sources", f, "_via"), &[Link, Address(f)], &[Address(f)]),
            Self::SourcesLink(f) => Shape::map(name("sources", f, "_link"), &[Link], &[Address(f)]),
            Self::Trusted(f) => Shape::set(name("trusted", f, ""), &[Link, Address(f)]).of_ranges(),
            Self::Addressed(f) => Shape::set(name("addressed", f, ""), &[Address(f)]).of_ranges(),
            Self::Routed(f) => Shape::set(name("routed", f, ""), &[Link]),
            Self::RoutedPorts(f) => Shape::set(name("routed", f, "_ports"), &[Address(f), Protocol, Port]),
            Self::TrustedPorts(f) => Shape::set(name("trusted", f, "_ports"), &[Address(f), Protocol, Port]),
            Self::StandIns => Shape::set("stand_ins6", &[Address(Family::V6)]),
            Self::Loopback => Shape::map("loopback6", &[Protocol, Port], &[Address(Family::V6)]),
            Self::PublishLoopback => Shape::map("publish6_loopback", &[Protocol, Port], &[Address(Family::V6), Port]),
            Self::AskedAny(f) => Shape::set(name("asked", f, "_any"), &[Protocol, Port]).of_input_loop(),
            Self::AskedAddr(f) => Shape::set(name("asked", f, "_addr"), &[Address(f), Protocol, Port]).of_input_loop(),
        }
    }

    /// What it is called.
    pub fn name(self) -> String {
        self.shape().name
    }

    /// The table that it is in.
    pub fn table(self) -> Table {
        self.shape().table
    }

    /// Where it is, as `nft` says it: `inet ocinet bridges`.
    pub fn place(self) -> String {
        let Shape { name, table, .. } = self.shape();
        format!("{} {TABLE} {name}", table.family())
    }
}
