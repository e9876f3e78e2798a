//! The nftables ruleset.
//!
//! One static ruleset in the table `inet ocinet`, loaded whole and atomically. Networks and published ports are elements
//! of its sets and maps, so that a container adds no rule. The chain `operator` is made once, called first, and never
//! touched again: so the table itself is never deleted while that has rules. The rules, hook by hook:
//!
//! * `guard` closes what routing would leave open: the host's 127.0.0.0/8 from a container (CVE-2020-8558), container
//!   addresses from anywhere but our bridges (the LAN reaches published ports only), and container addresses as the sender of what
//!   comes by another link than their own bridge. `lo` is excepted, or the host would lose its own gateway address. It stands
//!   between conntrack (-200) and `prerouting` (-100): every packet that is no part of an established connection is judged
//!   before its connection is confirmed, so an established one passed all of it when it was new. Its last rules drop what
//!   conntrack calls invalid and the host would answer with a reset, since no NAT leads it further: what comes
//!   from a container, and what goes to a published port. What belongs to a published connection is let through before any set is
//!   asked: with a destination that was translated and a sender that was not, neither of its directions is addressed to a
//!   container, so the drop of such packets from outside has nothing to say.
//! * `prerouting` and `output` lead published ports to containers, for local destinations only, and from outside never
//!   for 127.0.0.0/8. A port published on every address is none of a resolver's at 127.0.0.53: of that range, it leads
//!   127.0.0.1 alone. Where the host's own rules are to be asked, what comes from outside goes through the input loop first (`nftables/input_loop.rs`).
//! * `postrouting` masquerades: a container that meets itself or a sibling through a published port (by address, since
//!   with br_netfilter such a packet does not show the bridge as `iifname` here), the host's 127.0.0.1 on its way into a
//!   bridge, and everything that leaves for the outside. What leaves by a default route with another sender than masquerading
//!   would choose (`firewall/source.rs`) gets that: by link and next hop, since other routes of the link have others. What comes from
//!   none of these, so every connection from outside, passes after one question.
//! * `forward` asks the operator first, then lets through what was answered, published, or stays on one bridge; drops the
//!   rest that enters a bridge (isolation) and what comes from one and is invalid, since no NAT would change its sender; lets
//!   containers out; and drops what passes between links of which none is ours, where we switched forwarding on (that of IPv4 alone: a
//!   host that routes IPv6 did so before).

mod element;
mod held;
mod input_loop;

pub use element::{Element, bridge_key, closed_key, elements, port_elements};
pub use held::{Held, Rule};

use std::fmt::Write;

use super::{Base, InputLoop, Needs, NetworkNeeds, Publish, RangeNeeds, Source, comment};
use crate::model::{HostAddress, Protocol};

/// The table's name; its family is `inet`.
pub const TABLE: &str = "ocinet";

/// The operator's chain: the first that forwarded packets meet. ocinet puts no rule into it.
pub const OPERATOR: &str = "operator";

/// A chain of the ruleset.
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    base: &'static str,
    rules: &'static [&'static str],
}

impl Chain {
    /// The family of the table that it is in.
    pub fn family(&self) -> &'static str {
        if self.name == input_loop::CHAIN.name { "ip" } else { "inet" }
    }

    /// As it is loaded.
    fn text(&self, comment: &str) -> String {
        let mut text = format!("    chain {} {{\n", self.name);
        if !comment.is_empty() {
            let _ = writeln!(text, "        comment \"{comment}\"");
        }
        for line in [self.base].iter().filter(|base| !base.is_empty()).chain(self.rules) {
            let _ = writeln!(text, "        {line}");
        }
        text + "    }\n"
    }

    /// The chain's use count in the kernel: its rules and the jumps to it (`struct nft_chain`, nf_tables.h).
    pub fn uses(&self) -> u32 {
        let jump = format!("jump {}", self.name);
        let jumps = CHAINS
            .iter()
            .chain([&PREROUTING])
            .flat_map(|chain| chain.rules)
            .filter(|rule| rule.ends_with(&jump))
            .count();
        u32::try_from(self.rules.len() + jumps).expect("a handful of rules")
    }
}

const SETS: [&str; 11] = [
    "set bridges { type ifname; }",
    "set intra { type ifname . ifname; }",
    "set nat_subnets4 { type ipv4_addr; flags interval; }",
    "set networks4 { type ifname . ipv4_addr; flags interval; }",
    "set closed { type nf_proto; }",
    "map publish4_any { type inet_proto . inet_service : ipv4_addr . inet_service; }",
    "map publish4_addr { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }",
    "set ports4_any { type inet_proto . inet_service; }",
    "set ports4_addr { type ipv4_addr . inet_proto . inet_service; }",
    "map sources4_via { type ifname . ipv4_addr : ipv4_addr; }",
    "map sources4_link { type ifname : ipv4_addr; }",
];

/// The chains of the table that are the same with an input loop and without.
const CHAINS: &[Chain] = &[
    Chain {
        name: "guard",
        base: "type filter hook prerouting priority mangle; policy accept;",
        rules: &[
            "ip daddr 127.0.0.0/8 iifname @bridges drop",
            "ct state established ct status & (snat | dnat) == dnat accept",
            "ip daddr @nat_subnets4 iifname != @bridges iifname != \"lo\" drop",
            "ct state established accept",
            "ip saddr @nat_subnets4 iifname != \"lo\" iifname . ip saddr != @networks4 drop",
            "ct state != invalid accept",
            "fib daddr type != local accept",
            "iifname @bridges drop",
            "ip daddr != 127.0.0.2-127.255.255.255 meta l4proto . th dport @ports4_any drop",
            "ip daddr . meta l4proto . th dport @ports4_addr drop",
        ],
    },
    Chain {
        name: "publish",
        base: "",
        rules: &[
            "meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @publish4_addr",
            "ip daddr != 127.0.0.2-127.255.255.255 dnat ip to meta l4proto . th dport map @publish4_any",
        ],
    },
    Chain {
        name: "output",
        base: "type nat hook output priority -100; policy accept;",
        rules: &["fib daddr type local jump publish"],
    },
    Chain {
        name: "postrouting",
        base: "type nat hook postrouting priority srcnat; policy accept;",
        rules: &[
            "ip saddr != 127.0.0.0/8 ip saddr != @nat_subnets4 accept",
            "ct status dnat ip saddr @nat_subnets4 ip daddr @nat_subnets4 masquerade",
            "ip saddr 127.0.0.0/8 oifname @bridges masquerade",
            "ip saddr @nat_subnets4 oifname != @bridges snat ip to oifname . rt ip nexthop map @sources4_via",
            "ip saddr @nat_subnets4 oifname != @bridges snat ip to oifname map @sources4_link",
            "ip saddr @nat_subnets4 oifname != @bridges oifname != \"lo\" masquerade",
        ],
    },
    Chain {
        name: "forward",
        base: "type filter hook forward priority filter; policy accept;",
        rules: &[
            "jump operator",
            "ct state established,related accept",
            "ct status dnat oifname @bridges accept",
            "iifname . oifname @intra accept",
            "oifname @bridges drop",
            "iifname @bridges ct state invalid drop",
            "iifname @bridges accept",
            "meta nfproto @closed drop",
        ],
    },
];

/// Where published ports lead to containers.
const PREROUTING: Chain = Chain {
    name: "prerouting",
    base: "type nat hook prerouting priority dstnat; policy accept;",
    rules: &["ip daddr != 127.0.0.0/8 fib daddr type local jump publish"],
};

/// The chains that `base` calls for.
pub fn chains(base: &Base) -> impl Iterator<Item = &'static Chain> {
    inet_chains(base).chain(base.input_loop.is_used().then_some(&input_loop::CHAIN))
}

/// Those of the table `inet ocinet`.
fn inet_chains(base: &Base) -> impl Iterator<Item = &'static Chain> {
    CHAINS.iter().chain([if base.input_loop.is_used() { &input_loop::PREROUTING_WITH_LOOP } else { &PREROUTING }])
}

/// The comment of the chain [`MARKED`]: what tells a ruleset of this version from others, and one whose input loop leads by
/// another link, or none, since a rule holds a link's index.
pub fn version(base: &Base) -> String {
    let input_loop = match base.input_loop {
        InputLoop::Unused => String::new(),
        InputLoop::ToBeMade => input_loop::table(),
        InputLoop::Made { link } => format!("{link} {}", input_loop::table()),
    };
    format!("ocinet {:08x}", crc32fast::hash(body(base, &input_loop).as_bytes()))
}

/// The chain that carries the version.
pub const MARKED: &str = "forward";

fn body(base: &Base, version: &str) -> String {
    let mut text: String = SETS.iter().map(|set| format!("    {set}\n")).collect();
    text.extend(inet_chains(base).map(|chain| chain.text(if chain.name == MARKED { version } else { "" })));
    text
}

/// Input of `nft -f -` that takes away what is `held`, in whatever version of ocinet it was loaded. What the operator's chain
/// leads to stays; where it has a name of ours, it stays empty.
pub fn clearing(held: &Held) -> String {
    let mut text = format!("table inet {TABLE} {{\n    chain {OPERATOR} {{}}\n}}\n");
    let is_todays = |name: &String| SETS.iter().any(|set| kind_and_name(set).1 == name);
    let commands = [
        ("flush chain", &held.chains),
        ("delete chain", &held.chains),
        ("delete set", &held.sets),
        ("delete map", &held.maps),
    ];
    for (command, names) in commands {
        for name in names {
            let _ = writeln!(text, "{command} inet {TABLE} {name}");
        }
    }
    for name in held.operators.iter().filter(|name| is_todays(name)) {
        let _ = writeln!(text, "flush set inet {TABLE} {name}");
    }
    text + input_loop::DELETION
}

/// Input of `nft -f -` that takes our tables away, be they there or not.
pub fn deletion() -> String {
    format!("table inet {TABLE} {{}}\ndelete table inet {TABLE}\n{}", input_loop::DELETION)
}

/// The whole ruleset with `all` in it, as input of `nft -f -`, which puts it in place of what is `held` in one transaction.
pub fn ruleset(all: &Needs, held: &Held) -> String {
    let mut text = format!("{}table inet {TABLE} {{\n{}}}\n", clearing(held), body(&all.base, &version(&all.base)));
    if all.base.input_loop.is_used() {
        text.push_str(&input_loop::table());
    }
    let mut element = |set: &str, element: String| {
        let _ = writeln!(text, "add element {} {TABLE} {set} {{ {element} }}", family(set));
    };
    if all.base.close_forwarding {
        element("closed", "ipv4".into());
    }
    for NetworkNeeds { bridge, icc, ranges } in &all.networks {
        element("bridges", format!("\"{bridge}\""));
        if *icc {
            element("intra", format!("\"{bridge}\" . \"{bridge}\""));
        }
        for RangeNeeds { range, masquerade } in ranges.iter().filter(|needs| needs.range.addr().is_ipv4()) {
            if *masquerade {
                element("nat_subnets4", range.to_string());
            }
            element("networks4", format!("\"{bridge}\" . {range}"));
        }
    }
    for Source { link, gateway, address, .. } in &all.sources {
        match gateway {
            Some(gateway) => element("sources4_via", format!("\"{link}\" . {gateway} : {address}")),
            None => element("sources4_link", format!("\"{link}\" : {address}")),
        }
    }
    for port in &all.publish {
        for (set, entry) in entries(port, &all.base) {
            element(set, entry);
        }
    }
    text
}

/// The elements of a published port as text: family of the table, set, element.
pub fn elements_of(port: &Publish, base: &Base) -> impl Iterator<Item = (&'static str, &'static str, String)> {
    entries(port, base).into_iter().map(|(set, element)| (family(set), set, element))
}

/// The sets that a published port is in, and its element there.
fn entries(port: &Publish, base: &Base) -> Vec<(&'static str, String)> {
    let keys = key_sets(port, base).map(|set| (set, key_text(port)));
    [(map_of(port), element_text(port))].into_iter().chain(keys).collect()
}

fn map_of(port: &Publish) -> &'static str {
    one_of(port, ["publish4_any", "publish4_addr"])
}

/// The sets beside the map: a map is no set, and can only be asked where to lead.
fn key_sets(port: &Publish, base: &Base) -> impl Iterator<Item = &'static str> {
    // Conntrack calls no packet of UDP invalid to which the host would answer.
    let judged = (port.protocol != Protocol::Udp).then(|| one_of(port, ["ports4_any", "ports4_addr"]));
    let asked = base.input_loop.is_used().then(|| one_of(port, ["asked4_any", "asked4_addr"]));
    judged.into_iter().chain(asked)
}

/// Of two sets, that for ports on any address or that for ports on one.
fn one_of(port: &Publish, [any, one]: [&'static str; 2]) -> &'static str {
    match port.host_address {
        HostAddress::Any => any,
        HostAddress::V4(_) | HostAddress::V6(_) => one,
    }
}

fn element_text(port: &Publish) -> String {
    let (key, target) = (key_text(port), port.target);
    format!("{key} comment \"{}\" : {} . {}", comment(port), target.ip(), target.port())
}

fn key_text(port: &Publish) -> String {
    let Publish { protocol, host_port, .. } = port;
    let host = match port.host_address {
        HostAddress::Any => String::new(),
        address => format!("{} . ", address.ip()),
    };
    format!("{host}{protocol} . {host_port}")
}

/// The sets and maps of the ruleset by their names.
pub fn set_names() -> impl Iterator<Item = &'static str> {
    SETS.iter().chain(&input_loop::SETS).map(|set| kind_and_name(set).1)
}

/// The family of the table that the set `name` is in.
pub fn family(name: &str) -> &'static str {
    if input_loop::SETS.iter().any(|set| kind_and_name(set).1 == name) { "ip" } else { "inet" }
}

/// `set` or `map`, and what it is called.
fn kind_and_name(set: &'static str) -> (&'static str, &'static str) {
    let mut words = set.split(' ');
    (words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::tests::network;

    fn port(host_address: HostAddress, label: &str) -> Publish {
        let target = "10.90.0.2:80".parse().unwrap();
        Publish { protocol: Protocol::Tcp, host_address, host_port: 8080, target, label: label.into() }
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        let needs = Needs { publish: vec![port(HostAddress::Any, "x\"; flush ruleset; \"\n")], ..Needs::default() };
        let text = ruleset(&needs, &Held::default());
        assert!(text.contains("comment \"x___flush_ruleset____\""), "{text}");
        assert!(!text.contains("flush ruleset"));
    }

    #[test]
    fn a_reader_finds_the_needs_in_the_text() {
        let local = port(HostAddress::V4([127, 0, 0, 1].into()), "web");
        let base = Base { close_forwarding: true, input_loop: InputLoop::Unused };
        let (link, gateway) = ("wan".parse().unwrap(), Some([10, 0, 0, 1].into()));
        let via = Source { link, gateway, address: [10, 0, 0, 9].into(), near: vec![] };
        let straight = Source { gateway: None, ..via.clone() };
        let text = ruleset(
            &Needs {
                base,
                networks: vec![network("ocinet0", "10.90.0.0/16")],
                publish: vec![local],
                sources: vec![via, straight],
            },
            &Held::default(),
        );
        for line in [
            "add element inet ocinet closed { ipv4 }",
            "add element inet ocinet bridges { \"ocinet0\" }",
            "add element inet ocinet intra { \"ocinet0\" . \"ocinet0\" }",
            "add element inet ocinet nat_subnets4 { 10.90.0.0/16 }",
            "add element inet ocinet networks4 { \"ocinet0\" . 10.90.0.0/16 }",
            "add element inet ocinet ports4_addr { 127.0.0.1 . tcp . 8080 }",
            "add element inet ocinet publish4_addr { 127.0.0.1 . tcp . 8080 comment \"web\" : 10.90.0.2 . 80 }",
            "add element inet ocinet sources4_via { \"wan\" . 10.0.0.1 : 10.0.0.9 }",
            "add element inet ocinet sources4_link { \"wan\" : 10.0.0.9 }",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_is_held_is_cleared_whatever_it_is_called() {
        let held = Held {
            chains: vec!["raw".into(), "forward".into()],
            sets: vec!["old".into()],
            maps: vec!["older".into()],
            operators: vec!["bridges".into(), "blocked".into()],
        };
        let text = clearing(&held);
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} in\n{text}"));
        assert!(at("flush chain inet ocinet forward") < at("delete chain inet ocinet raw"));
        assert!(at("delete chain inet ocinet forward") < at("delete set inet ocinet old"));
        at("delete map inet ocinet older");
        at("flush set inet ocinet bridges");
        assert!(!text.contains("blocked") && !text.contains("delete set inet ocinet bridges"), "{text}");
    }

    #[test]
    fn jumps_count_as_uses() {
        let uses = |name| CHAINS.iter().find(|chain| chain.name == name).unwrap().uses();
        assert_eq!((uses("publish"), uses("forward")), (4, 8));
    }
}
