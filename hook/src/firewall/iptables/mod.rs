//! The rules for iptables, of either variant: the same as those of nftables, hook by hook. `ip6tables` has the same for
//! IPv6, with the words of that family (`words.rs`).
//!
//! iptables has no sets, so each network has rules of its own, and so has each published port. They stand in chains of
//! ours; the kernel's own chains get one jump each, before everything of others. What may pass returns
//! there: unlike in a table of nftables, an `ACCEPT` here would end the matter for everybody's rules, and take the
//! operator's, Docker's and ufw's word away from them. What those drop by their policy needs a forward pass (see
//! [`super::pass`]).
//!
//! Where the host's own rules are to be asked about published ports (see `nftables/input_loop.rs`), the chain that
//! copies a packet stands behind everything of others in the table `security`, which comes after their `filter` and is
//! used for nothing else.
//!
//! Everything is text for `iptables-restore --noflush`, where a line `-C` asks for a rule: the first that is missing
//! ends it, before a later line has changed anything. What is ours is told by its name, so that chains of another
//! version are found, too.

mod alike;
mod document;
mod encoded;
mod held;
mod port;
mod source;
mod words;

pub use alike::{Alike, alike};
pub use document::{add, added_at_once, check, drop_operator, load, remove, remove_lines, unload};
pub use encoded::{PortRule, decoded, rule_in, with_ports_of};
pub use held::{Held, is_ours, of_ports};
pub use port::{published, rule};
pub use words::Jump;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use self::port::{asked, at_container, judged, masqueraded as masqueraded_port};
use self::source::leaving;
use self::words::{Words, words};
use super::{Base, Kind, NetworkNeeds, Publish, RangeNeeds, Source};
use crate::driver::NAME_SERVERS;
use crate::firewall::input_loop::{ENTRANCE, EXIT};
use crate::model::Family;

/// The operator's chain in table `filter`: the first that forwarded packets meet. ocinet puts no rule into it.
pub const OPERATOR: &str = "OCINET-OPERATOR";

/// The chain with the published ports about which the host's own rules are asked, in table `security`.
pub const ASK: &str = "OCINET-ASK";

/// The chain there that leads a copy of a packet around.
pub const COPY: &str = "OCINET-COPY";

const PUBLISH: &str = "OCINET-PUBLISH";
const ANY: &str = "OCINET-ANY";
const PREROUTING: &str = "OCINET-PREROUTING";
const GUARD: &str = "OCINET-GUARD";
const RANGE: &str = "OCINET-RANGE";
const INVALID: &str = "OCINET-INVALID";
const INVALID_ANY: &str = "OCINET-INVALID-ANY";
const FORWARD: &str = "OCINET-FORWARD";
const IN: &str = "OCINET-IN";
const WITHIN: &str = "OCINET-WITHIN";
const POSTROUTING: &str = "OCINET-POSTROUTING";
const HAIRPIN: &str = "OCINET-HAIRPIN";
const MASQUERADED: &str = "OCINET-MASQUERADED";
const INPUT: &str = "OCINET-INPUT";
const ROUTED: &str = "OCINET-ROUTED";
const TRUSTED: &str = "OCINET-TRUSTED";

/// A table, in the order in which they are filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Behind what may come in: whom the host's own rules have let in. It is filled first, for not every kernel has it,
    /// and it leads no packet anywhere before the others are filled.
    Security,
    /// Once connections are tracked, and before anything is translated: the guards.
    Mangle,
    /// What may pass.
    Filter,
    /// Who is who. It is filled last, when all guards stand.
    Nat,
    /// Before connections are tracked. Older versions had their guards here, which go when the others stand.
    Raw,
}

impl Table {
    /// All of them, in that order.
    pub const ALL: [Self; 5] = [Self::Security, Self::Mangle, Self::Filter, Self::Nat, Self::Raw];

    /// Those of `family` that `base` calls for. The input loop is of IPv4 alone.
    pub fn of(family: Family, base: &Base) -> impl Iterator<Item = Self> {
        let input_loop = base.input_loop.is_used() && family == Family::V4;
        Self::ALL.into_iter().filter(move |table| *table != Self::Security || input_loop)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
            Self::Filter => "filter",
            Self::Security => "security",
            Self::Nat => "nat",
        }
    }

    /// Our chains in it, but the operator's.
    pub fn chains(self, base: &Base) -> &'static [&'static str] {
        match self {
            Self::Raw => &[],
            Self::Mangle => &[GUARD, RANGE, INVALID, INVALID_ANY],
            Self::Filter => match (base.has_internal, base.has_addressed) {
                (false, false) => &[FORWARD, IN, WITHIN],
                (true, false) => &[FORWARD, IN, WITHIN, INPUT],
                (false, true) => &[FORWARD, IN, WITHIN, ROUTED, TRUSTED],
                (true, true) => &[FORWARD, IN, WITHIN, INPUT, ROUTED, TRUSTED],
            },
            Self::Security => &[ASK, COPY],
            Self::Nat => &[PUBLISH, ANY, PREROUTING, POSTROUTING, HAIRPIN, MASQUERADED],
        }
    }

    /// Those of them that hold rules of published ports, in the order in which they were added. In the filter, where
    /// such rules have to come first, they are inserted.
    pub fn chains_of_ports(self) -> &'static [&'static str] {
        match self {
            Self::Raw | Self::Filter => &[],
            Self::Mangle => &[INVALID, INVALID_ANY],
            Self::Security => &[ASK],
            Self::Nat => &[PUBLISH, ANY, MASQUERADED],
        }
    }

    /// The jumps from the kernel's chains to ours.
    pub fn jumps(self, family: Family, base: &Base) -> &'static [Jump] {
        match self {
            Self::Raw => &[],
            Self::Mangle => &[Jump { from: "PREROUTING", to: GUARD, matching: "" }],
            Self::Filter if base.has_internal => {
                &[Jump { from: "FORWARD", to: FORWARD, matching: "" }, Jump { from: "INPUT", to: INPUT, matching: "" }]
            }
            Self::Filter => &[Jump { from: "FORWARD", to: FORWARD, matching: "" }],
            Self::Security => &[Jump { from: "INPUT", to: ASK, matching: "" }],
            Self::Nat => words(family).nat_jumps,
        }
    }

    /// The rules of our chains but the published ports, each beginning with its chain.
    pub fn rules(self, family: Family, networks: &[NetworkNeeds], base: &Base, sources: &[Source]) -> Vec<String> {
        let all = Networks { family, networks };
        match self {
            Self::Raw => Vec::new(),
            Self::Mangle => [guards(all), judging(all)].concat(),
            Self::Filter => forwarding(all, base),
            Self::Security if base.input_loop.is_used() => asking(),
            Self::Security => Vec::new(),
            Self::Nat => {
                let publishing = on_any(family, PUBLISH, ANY);
                [arriving(all, base), publishing, masquerading(all, sources)].concat()
            }
        }
    }

    /// How a jump is added: ours is the first, but where the host's rules are asked, theirs come before.
    fn adding(self) -> &'static str {
        if self == Self::Security { "-A" } else { "-I" }
    }

    /// How a rule of a published port is added: in the filter before the last, which drops what has none.
    pub fn adding_port(self) -> &'static str {
        if self == Self::Filter { "-I" } else { "-A" }
    }

    /// The rules of those of the published ports that are of `family`.
    pub fn ports(self, family: Family, ports: &[Publish]) -> Vec<String> {
        let all = ports.iter().filter(|port| port.family() == Some(family));
        if self == Self::Filter {
            return all.filter_map(at_container).collect();
        }
        let ports = all.filter(|port| port.reached_by.has_host());
        match self {
            Self::Raw | Self::Filter => Vec::new(),
            Self::Mangle => ports.filter_map(judged).collect(),
            Self::Security => ports.map(asked).collect(),
            Self::Nat => ports.flat_map(|port| [Some(rule(port)), masqueraded_port(port)]).flatten().collect(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}-j {}", self.from, self.matching, self.to)
    }
}

/// The networks, for the rules of one family.
#[derive(Clone, Copy)]
struct Networks<'n> {
    family: Family,
    networks: &'n [NetworkNeeds],
}

/// The host's 127.0.0.0/8 and ::1 are closed to containers (CVE-2020-8558), and their addresses to all links but our
/// bridges. As the sender of what begins, an address of a network is believed on its own bridge alone.
fn guards(all: Networks<'_>) -> Vec<String> {
    let loopback = words(all.family).loopback;
    let mut rules = vec![format!("{RANGE} -i lo -j RETURN")];
    rules.extend(all.bridges().map(|bridge| format!("{RANGE} -i {bridge} -j RETURN")));
    rules.extend(all.trusted().map(|(link, range)| format!("{RANGE} -d {range} -i {link} -j RETURN")));
    rules.push(format!("{RANGE} -j DROP"));
    rules.extend(all.bridges().map(|bridge| format!("{GUARD} -d {loopback} -i {bridge} -j DROP")));
    rules.extend(all.masqueraded().map(|range| format!("{GUARD} -d {range} -j {RANGE}")));
    // What follows is asked of what begins, and of what conntrack does not know.
    rules.push(format!("{GUARD} -m conntrack --ctstate ESTABLISHED -j RETURN"));
    rules.push(format!("{GUARD} -i lo -g {INVALID}"));
    for network in all.networks {
        let own = all.ranges_of(network);
        rules.extend(own.map(|own| format!("{GUARD} -s {} -i {} -g {INVALID}", own.range, network.bridge)));
    }
    rules.extend(all.ranges().map(|any| format!("{GUARD} -s {} -j DROP", any.range)));
    rules.push(format!("{GUARD} -j {INVALID}"));
    rules
}

/// What conntrack calls invalid is not translated: the host itself would answer with a reset.
fn judging(all: Networks<'_>) -> Vec<String> {
    let mut rules = vec![
        format!("{INVALID} -m conntrack ! --ctstate INVALID -j RETURN"),
        format!("{INVALID} -m addrtype ! --dst-type LOCAL -j RETURN"),
    ];
    rules.extend(all.bridges().map(|bridge| format!("{INVALID} -i {bridge} -j DROP")));
    rules.extend(on_any(all.family, INVALID, INVALID_ANY));
    rules
}

fn forwarding(all: Networks<'_>, base: &Base) -> Vec<String> {
    let mut rules = vec![
        format!("{FORWARD} -j {OPERATOR}"),
        format!("{IN} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"),
        format!("{IN} -m conntrack --ctstate DNAT -j RETURN"),
    ];
    if base.has_addressed {
        rules.extend(letting_in(all));
    } else {
        rules.push(format!("{IN} -j DROP"));
    }
    let networks = || all.networks.iter();
    rules.extend(networks().filter(|network| !network.icc).flat_map(|network| asking_for_names(all, network)));
    rules.extend(networks().filter(|network| network.internal).flat_map(|network| keeping_in(all, network)));
    rules.extend(networks().filter(|network| network.icc).flat_map(|network| within(all, network)));
    rules.extend(all.ranges().map(|any| format!("{WITHIN} -d {} -j DROP", any.range)));
    rules.extend(all.bridges().map(|bridge| format!("{FORWARD} -o {bridge} -g {IN}")));
    let from = |bridge, rest: &str| format!("{FORWARD} -i {bridge} {rest}");
    rules.extend(all.bridges().map(|bridge| from(bridge, "-m conntrack --ctstate INVALID -j DROP")));
    rules.extend(all.bridges().map(|bridge| from(bridge, "-j RETURN")));
    if base.close_forwarding.contains(all.family) {
        rules.push(closing());
    }
    rules
}

/// What a container that is kept apart from its siblings asks the name server, which has a port on the bridge, and the
/// answer. The host has no route there, so that nothing is led to it from elsewhere.
fn asking_for_names(all: Networks<'_>, network: &NetworkNeeds) -> Vec<String> {
    let bridge = &network.bridge;
    let rules = |server: IpAddr| {
        [
            format!("{FORWARD} -i {bridge} -o {bridge} -d {server} -j RETURN"),
            format!("{FORWARD} -i {bridge} -o {bridge} -s {server} -m conntrack --ctstate ESTABLISHED -j RETURN"),
        ]
    };
    NAME_SERVERS.into_iter().filter(|server| Family::of(*server) == all.family).flat_map(rules).collect()
}

/// What passes between siblings. What has the address of a container of another network is dropped: a frame that a
/// container sends to its own port comes here as one from the bridge to the bridge.
fn within(all: Networks<'_>, network: &NetworkNeeds) -> Vec<String> {
    let bridge = &network.bridge;
    let passes = |rest: String| format!("{FORWARD} -i {bridge} -o {bridge} {rest}");
    let own = all.ranges_of(network).map(|own| passes(format!("-d {} -j RETURN", own.range)));
    own.chain([passes(format!("-g {WITHIN}"))]).collect()
}

/// Of containers that other hosts address, these reach what was published, and the rest is dropped. The rules of ports
/// return to the chain from which `FORWARD` was called.
fn letting_in(all: Networks<'_>) -> Vec<String> {
    let icmp = words(all.family).icmp;
    let mut rules = vec![format!("{IN} -m conntrack ! --ctstate NEW -j DROP")];
    let routed = all.networks.iter().filter(|network| network.routed.contains(all.family));
    rules.extend(routed.map(|network| format!("{IN} -o {} -p {icmp} -j RETURN", network.bridge)));
    rules.extend(all.trusted().map(|(link, range)| format!("{IN} -d {range} -i {link} -g {TRUSTED}")));
    rules.extend([format!("{IN} -g {ROUTED}"), format!("{ROUTED} -j DROP"), format!("{TRUSTED} -j DROP")]);
    rules
}

/// Nothing passes between an internal network and another link. Of the host it reaches the gateway's addresses. These
/// rules stand before those for established connections: one that was there before the network became internal is cut.
fn keeping_in(all: Networks<'_>, network: &NetworkNeeds) -> Vec<String> {
    let NetworkNeeds { bridge, icc, .. } = network;
    let mut rules = if *icc {
        vec![
            format!("{FORWARD} -i {bridge} ! -o {bridge} -j DROP"),
            format!("{FORWARD} ! -i {bridge} -o {bridge} -j DROP"),
        ]
    } else {
        vec![format!("{FORWARD} -i {bridge} -j DROP"), format!("{FORWARD} -o {bridge} -j DROP")]
    };
    let gateways = all.ranges_of(network).filter_map(|range| range.gateway);
    rules.extend(gateways.map(|gateway| format!("{INPUT} -d {gateway} -i {bridge} -j RETURN")));
    let neighbours = words(all.family).neighbours;
    rules.extend(neighbours.iter().map(|question| format!("{INPUT} -i {bridge} {question} -j RETURN")));
    rules.push(format!("{INPUT} -i {bridge} -j DROP"));
    rules
}

/// The rule that keeps other hosts from using this one as a router.
pub fn closing() -> String {
    format!("{FORWARD} -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP")
}

/// What comes from outside is led to a container at once, or only when it comes from the input loop.
fn arriving(all: Networks<'_>, base: &Base) -> Vec<String> {
    if !Table::of(all.family, base).any(|table| table == Table::Security) {
        return vec![format!("{PREROUTING} -j {PUBLISH}")];
    }
    all.bridges().chain([EXIT]).map(|link| format!("{PREROUTING} -i {link} -j {PUBLISH}")).collect()
}

/// A copy of what the host's own rules have let in goes through the input loop.
fn asking() -> Vec<String> {
    vec![
        format!("{COPY} -j TEE --gateway 127.0.0.1 --oif {ENTRANCE}"),
        format!("{COPY} -j DROP"),
        format!("{ASK} -i lo -j RETURN"),
        format!("{ASK} -i {EXIT} -j RETURN"),
        format!("{ASK} -m conntrack ! --ctstate NEW -j RETURN"),
        format!("{ASK} -m addrtype ! --dst-type LOCAL -j RETURN"),
    ]
}

/// What leads from `chain` to ports that are published on every address: of the host's loopback, from the first address
/// alone.
fn on_any(family: Family, chain: &str, any: &str) -> Vec<String> {
    let Words { loopback, first, .. } = words(family);
    let first = first.map(|first| format!("{chain} -d {first} -j {any}"));
    first.into_iter().chain([format!("{chain} ! -d {loopback} -j {any}")]).collect()
}

fn masquerading(all: Networks<'_>, sources: &[Source]) -> Vec<String> {
    let mut rules: Vec<String> = all.masqueraded().map(|range| format!("{HAIRPIN} -d {range} -j MASQUERADE")).collect();
    let dnat = "-m conntrack --ctstate DNAT";
    rules.push(format!("{POSTROUTING} {dnat} -j {MASQUERADED}"));
    rules.extend(all.masqueraded().map(|range| format!("{POSTROUTING} -s {range} {dnat} -j {HAIRPIN}")));
    rules.push(format!("{POSTROUTING} -o lo -j RETURN"));
    let loopback = words(all.family).loopback;
    for bridge in all.bridges() {
        rules.push(format!("{POSTROUTING} -s {loopback} -o {bridge} -j MASQUERADE"));
        rules.push(format!("{POSTROUTING} -o {bridge} -j RETURN"));
    }
    let chosen = all.ranges().filter_map(|needs| Some((needs.range, needs.outbound?)));
    rules.extend(chosen.map(|(range, address)| format!("{POSTROUTING} -s {range} -j SNAT --to-source {address}")));
    // The senders that are chosen are of IPv4.
    let sources = if all.family == Family::V4 { sources } else { &[] };
    rules.extend(sources.iter().flat_map(|source| all.masqueraded().flat_map(|range| leaving(range, source))));
    rules.extend(all.masqueraded().map(|range| format!("{POSTROUTING} -s {range} -j MASQUERADE")));
    rules
}

impl<'n> Networks<'n> {
    fn bridges(self) -> impl Iterator<Item = &'n str> {
        self.networks.iter().map(|network| network.bridge.as_str())
    }

    fn ranges(self) -> impl Iterator<Item = &'n RangeNeeds> {
        self.networks.iter().flat_map(move |network| self.ranges_of(network))
    }

    fn ranges_of(self, network: &'n NetworkNeeds) -> impl Iterator<Item = &'n RangeNeeds> {
        network.ranges.iter().filter(move |needs| Family::of(needs.range.addr()) == self.family)
    }

    /// The links by which others may address a range, each with the range.
    fn trusted(self) -> impl Iterator<Item = (&'n str, IpNet)> {
        self.networks.iter().flat_map(move |network| {
            let own = move || self.ranges_of(network).map(|needs| needs.range);
            let trusted = network.trusted.iter().filter(move |_| !network.routed.contains(self.family));
            trusted.flat_map(move |link| own().map(move |range| (link.as_str(), range)))
        })
    }

    fn masqueraded(self) -> impl Iterator<Item = IpNet> {
        self.ranges().filter(|needs| needs.masquerade).map(|needs| needs.range)
    }
}

/// Where the table `security` stands on its hooks: who comes later is not asked. iptables-nft has numbers of its own.
pub fn priority_of_asking(kind: Kind) -> Option<i32> {
    match kind {
        Kind::IptablesNft => Some(150),
        Kind::IptablesLegacy => Some(50),
        Kind::Nftables | Kind::None => None,
    }
}

/// The rules of a published port, each with its table.
pub fn rules_of(port: &Publish, base: &Base) -> impl Iterator<Item = (Table, String)> {
    let family = Family::of(port.target.ip());
    let rules = move |table: Table| table.ports(family, std::slice::from_ref(port)).into_iter();
    Table::of(family, base).flat_map(move |table| rules(table).map(move |rule| (table, rule)))
}
