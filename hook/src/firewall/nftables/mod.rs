//! The nftables ruleset.
//!
//! One static ruleset in the table `inet ocinet`, loaded whole and atomically. Networks and published ports are
//! elements of its sets and maps, so that a container adds no rule. The chain `operator` is made once, called first,
//! and never touched again: so the table itself is never deleted while that has rules. The rules, hook by hook:
//!
//! * `guard` closes what routing would leave open: the host's 127.0.0.0/8 from a container (CVE-2020-8558), container
//!   addresses from anywhere but our bridges (the LAN reaches published ports only), and container addresses as the
//!   sender of what comes by another link than their own bridge. `lo` is excepted, or the host would lose its own
//!   gateway address. It stands between conntrack (-200) and `prerouting` (-100): every packet that is no part of an
//!   established connection is judged before its connection is confirmed, so an established one passed all of it when
//!   it was new. Its last rules drop what conntrack calls invalid and the host would answer with a reset, since no NAT
//!   leads it further: what comes from a container, and what goes to a published port. What belongs to a published
//!   connection is let through before any set is asked: with a destination that was translated and a sender that was
//!   not, neither of its directions is addressed to a container, so the drop of such packets from outside has nothing
//!   to say.
//! * `prerouting` and `output` lead published ports to containers, for local destinations only, and from outside never
//!   for 127.0.0.0/8. A port published on every address is none of a resolver's at 127.0.0.53: of that range, it leads
//!   127.0.0.1 alone. Where the host's own rules are to be asked, what comes from outside goes through the input loop
//!   first (`nftables/input_loop.rs`).
//! * `postrouting` masquerades: what comes by a published port to a container that would answer by another link, and a container that meets itself or a sibling through a published port (by address, since
//!   with br_netfilter such a packet does not show the bridge as `iifname` here), the host's 127.0.0.1 on its way into
//!   a bridge, and everything that leaves for the outside. What leaves by a default route with another sender than
//!   masquerading would choose (`firewall/source.rs`) gets that: by link and next hop, since other routes of the link
//!   have others. What comes from none of these, so every connection from outside, passes after one question.
//! * `forward` asks the operator first, then lets through what was answered, published, or stays on one bridge; drops
//!   the rest that enters a bridge (isolation) and what comes from one and is invalid, since no NAT would change its
//!   sender; lets containers out; and drops what passes between links of which none is ours, where we switched
//!   forwarding on (that of IPv4 alone: a host that routes IPv6 did so before).
//! * Where a network is internal, `forward` drops what passes between it and another link before all that, and `input`
//!   leaves it the gateway's addresses alone (`nftables/internal.rs`).
//! * `loopback_out` and `loopback_in` give what the host sends to a published port at ::1 an address that an answer can
//!   be led to, and take it back (`nftables/loopback.rs`).
//! * Where other hosts address the containers of a network, `guard` and `forward` let them (`nftables/addressed.rs`).

mod addressed;
mod chain;
mod element;
mod field;
mod held;
mod input_loop;
mod internal;
mod loopback;
mod set;
mod words;

pub use chain::{Chain, chains};
pub use element::{Element, Encoded, base_elements, bridge_element, elements, encoded_ports, port_elements};
pub use field::Field;
pub use held::{Held, Rule};
pub use set::{Set, Table};

use std::fmt::Write;

use self::chain::inet_chains;
use self::words::words;
use super::{Base, InputLoop, Needs};
use crate::model::{Families, Family};

/// The table's name; its family is `inet`.
pub const TABLE: &str = "ocinet";

/// The operator's chain: the first that forwarded packets meet. ocinet puts no rule into it.
pub const OPERATOR: &str = "operator";

/// The comment of the chain [`MARKED`]: what tells a ruleset of this version from others, and one whose input loop
/// leads by another link, or none, since a rule holds a link's index.
pub fn version(base: &Base) -> String {
    if plain().contains(base) { PLAIN.to_owned() } else { computed(base) }
}

/// The version of the ruleset that most hosts have. An attach compares the version, and to write the whole ruleset for
/// that was a tenth of its instructions.
const PLAIN: &str = "ocinet 696f6a96";

/// The rulesets that are the plain one: whether we forward IPv4 is told by an element.
fn plain() -> [Base; 2] {
    let closed = [Families::default(), Families::default().with(Family::V4)];
    closed.map(|close_forwarding| Base { close_forwarding, ..Base::default() })
}

fn computed(base: &Base) -> String {
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
    let mut text = sets(Table::Inet, base.families());
    if base.has_ipv6 {
        let _ = writeln!(text, "    {}", loopback::CLIENTS);
    }
    let comment = |chain: &Chain| if chain.name == MARKED { version } else { "" };
    text.extend(inet_chains(base).map(|chain| chain.text(comment(chain), base.families())));
    text
}

/// The sets of a table for `families`.
fn sets(table: Table, families: &'static [Family]) -> String {
    let of_table = Set::of(families).map(Set::shape).filter(|shape| shape.table == table);
    of_table.map(|shape| format!("    {}\n", shape.declaration())).collect()
}

/// Input of `nft -f -` that takes away what is `held`, in whatever version of ocinet it was loaded. What the operator's
/// chain leads to stays; where it has a name of ours, it stays empty.
pub fn clearing(held: &Held) -> String {
    let mut text = format!("table inet {TABLE} {{\n    chain {OPERATOR} {{}}\n}}\n");
    let is_todays = |name: &String| Set::all().any(|set| set.table() == Table::Inet && set.name() == *name);
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

/// The whole ruleset with `all` in it, as input of `nft -f -`, which puts it in place of what is `held` in one
/// transaction.
pub fn ruleset(all: &Needs, held: &Held) -> String {
    let mut text = format!("{}table inet {TABLE} {{\n{}}}\n", clearing(held), body(&all.base, &version(&all.base)));
    if all.base.input_loop.is_used() {
        text.push_str(&input_loop::table());
    }
    for element in elements(all) {
        let _ = writeln!(text, "add element {} {{ {} }}", element.set.place(), element.text());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::tests::port;
    use crate::model::{HostAddress, Protocol};

    #[test]
    fn the_version_of_the_plain_ruleset_is_known() {
        assert_eq!(plain().each_ref().map(computed), [PLAIN, PLAIN]);
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        let publish = vec![port(Protocol::Tcp, HostAddress::Any, "x\"; flush ruleset; \"\n")];
        let needs = Needs { publish, ..Needs::default() };
        let text = ruleset(&needs, &Held::default());
        assert!(text.contains("comment \"x___flush_ruleset____\""), "{text}");
        assert!(!text.contains("flush ruleset"));
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
}
