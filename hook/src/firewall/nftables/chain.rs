//! The chains of the ruleset. What a rule says of one family stands in braces, and such a rule is loaded for each
//! family, in place of the braces with the words of that. One that begins with [`ONLY_V6`] is loaded for IPv6 alone.

use std::fmt::Write;

use super::words::{Words, words};
use super::{Table, addressed, input_loop, internal, loopback};
use crate::firewall::Base;
use crate::model::Family;

/// A chain of the ruleset.
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Its hook, priority and policy; empty in a chain that others jump to.
    pub(super) base: &'static str,
    /// Its rules, in their order.
    pub(super) rules: &'static [&'static str],
}

/// Who is who.
pub(super) const GUARD: Chain = Chain {
    name: "guard",
    base: "type filter hook prerouting priority mangle; policy accept;",
    rules: &[
        "{ip} daddr {loopback} iifname @bridges drop",
        "{only6}ip6 saddr @stand_ins6 iifname != \"lo\" drop",
        "ct state established ct status & (snat | dnat) == dnat accept",
        "{ip} daddr @nat_subnets{4} iifname != @bridges iifname != \"lo\" drop",
        "ct state established accept",
        "{ip} saddr @nat_subnets{4} iifname != \"lo\" iifname . {ip} saddr != @networks{4} drop",
        "ct state != invalid accept",
        "fib daddr type != local accept",
        "iifname @bridges drop",
        "{any} meta l4proto . th dport @ports{4}_any drop",
        "{ip} daddr . meta l4proto . th dport @ports{4}_addr drop",
    ],
};

/// The chains of the table that are the same in every ruleset.
const CHAINS: &[Chain] = &[
    Chain {
        name: "publish",
        base: "",
        rules: &[
            "meta nfproto {ipv4} dnat {ip} to {ip} daddr . meta l4proto . th dport map @publish{4}_addr",
            "{any} dnat {ip} to meta l4proto . th dport map @publish{4}_any",
        ],
    },
    Chain {
        name: "output",
        base: "type nat hook output priority -100; policy accept;",
        rules: &[
            "{only6}ip6 daddr @stand_ins6 tcp flags & (fin | syn | rst | ack) != syn drop",
            "{only6}ip6 daddr @stand_ins6 dnat ip6 to meta l4proto . th dport map @publish6_loopback",
            "fib daddr type local jump publish",
        ],
    },
    Chain {
        name: "postrouting",
        base: "type nat hook postrouting priority srcnat; policy accept;",
        rules: &[
            "ct status dnat {ip} daddr @masqueraded{4} masquerade",
            "{ip} saddr != {loopback} {ip} saddr != @nat_subnets{4} accept",
            "ct status dnat {ip} saddr @nat_subnets{4} {ip} daddr @nat_subnets{4} masquerade",
            "{ip} saddr {loopback} oifname @bridges masquerade",
            "oifname != @bridges oifname != \"lo\" snat {ip} to {ip} saddr map @outbound{4}",
            "{ip} saddr @nat_subnets{4} oifname != @bridges snat {ip} to oifname . rt {ip} nexthop map @sources{4}_via",
            "{ip} saddr @nat_subnets{4} oifname != @bridges snat {ip} to oifname map @sources{4}_link",
            "{ip} saddr @nat_subnets{4} oifname != @bridges oifname != \"lo\" masquerade",
        ],
    },
];

/// What may pass.
///
/// A container can send a frame to its own port, which is a hairpin. Where frames on a bridge pass the IP hooks, it comes
/// here as one from the bridge to the bridge, whatever its destination is. So one to an address of another network is
/// dropped before the siblings' connections are accepted: conntrack would take it for the beginning of a connection, and
/// let both ends talk.
///
/// Likewise comes what a container asks the name server, which has a port on the bridge. The host has no route there, so
/// that nothing is led to it from elsewhere. Where siblings are kept apart, a rule of its own lets that pass.
pub(super) const FORWARD: Chain = Chain {
    name: "forward",
    base: "type filter hook forward priority filter; policy accept;",
    rules: &[
        "jump operator",
        "ct state established,related accept",
        "ct status dnat oifname @bridges accept",
        "oifname @bridges {ip} daddr @nat_subnets{4} oifname . {ip} daddr != @networks{4} drop",
        "iifname . oifname @intra accept",
        "oifname @bridges {ip} daddr {names} accept",
        "oifname @bridges drop",
        "iifname @bridges ct state invalid drop",
        "iifname @bridges accept",
        "meta nfproto @closed drop",
    ],
};

/// Where published ports lead to containers.
pub(super) const PREROUTING: Chain = Chain {
    name: "prerouting",
    base: "type nat hook prerouting priority dstnat; policy accept;",
    rules: &["{ip} daddr != {loopback} fib daddr type local jump publish"],
};

/// The chains that `base` calls for.
pub fn chains(base: &Base) -> impl Iterator<Item = &'static Chain> {
    inet_chains(base).chain(base.input_loop.is_used().then_some(&input_loop::CHAIN))
}

/// Those of the table `inet ocinet`.
pub(super) fn inet_chains(base: &Base) -> impl Iterator<Item = &'static Chain> {
    let forward = match (base.has_internal, base.has_addressed) {
        (false, false) => &FORWARD,
        (true, false) => &internal::FORWARD_WITH_INTERNAL,
        (false, true) => &addressed::FORWARD_WITH_ADDRESSED,
        (true, true) => &addressed::FORWARD_WITH_BOTH,
    };
    let guard = if base.has_addressed { &addressed::GUARD_WITH_ADDRESSED } else { &GUARD };
    let prerouting = if base.input_loop.is_used() { &input_loop::PREROUTING_WITH_LOOP } else { &PREROUTING };
    let input = base.has_internal.then_some(&internal::INPUT);
    let loopback = if base.has_ipv6 { loopback::CHAINS } else { &[] };
    [guard].into_iter().chain(CHAINS).chain([forward, prerouting]).chain(input).chain(loopback)
}

impl Chain {
    /// The table that it is in.
    pub fn table(&self) -> Table {
        if self.name == input_loop::CHAIN.name { Table::Ip } else { Table::Inet }
    }

    /// As it is loaded.
    pub(super) fn text(&self, comment: &str, families: &[Family]) -> String {
        let mut text = format!("    chain {} {{\n", self.name);
        if !comment.is_empty() {
            let _ = writeln!(text, "        comment \"{comment}\"");
        }
        if !self.base.is_empty() {
            let _ = writeln!(text, "        {}", self.base);
        }
        for rule in self.rules {
            for family in said_for(rule, families) {
                let _ = writeln!(text, "        {}", said_of(rule, words(*family)));
            }
        }
        text + "    }\n"
    }

    /// The chain's use count in the kernel: its rules and the jumps to it (`struct nft_chain`, nf_tables.h).
    pub fn uses(&self, base: &Base) -> u32 {
        let jump = format!("jump {}", self.name);
        let rules = || CHAINS.iter().chain([&PREROUTING]).flat_map(|chain| chain.rules);
        let jumps = rules().filter(|rule| rule.ends_with(&jump));
        let uses = self.rules.iter().chain(jumps).map(|rule| said_for(rule, base.families()).len()).sum::<usize>();
        u32::try_from(uses).expect("a handful of rules")
    }
}

/// The beginning of a rule that is for IPv6 alone.
const ONLY_V6: &str = "{only6}";

/// Those of `families` that a rule is loaded for; one that says nothing of a family is loaded once.
fn said_for<'f>(rule: &str, families: &'f [Family]) -> &'f [Family] {
    if rule.starts_with(ONLY_V6) {
        // The first is always IPv4.
        return &families[1..];
    }
    if rule.contains('{') { families } else { &families[..1] }
}

/// A rule with the words of a family in place of its braces.
fn said_of(rule: &str, words: &Words) -> String {
    let mut text = String::with_capacity(rule.len() + 32);
    let mut rest = rule;
    while let Some((before, (word, behind))) =
        rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        text.push_str(before);
        text.push_str(match word {
            "4" => words.digit,
            "any" => words.any,
            "icmp" => words.icmp,
            "ip" => words.header,
            "ipv4" => words.nfproto,
            "loopback" => words.loopback,
            "only6" => "",
            "names" => words.names,
            _ => unreachable!("no rule has another word"),
        });
        rest = behind;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::InputLoop;

    #[test]
    fn jumps_count_as_uses() {
        let both = Base { has_ipv6: true, ..Base::default() };
        let uses = |name, base: &Base| chains(base).find(|chain| chain.name == name).unwrap().uses(base);
        assert_eq!((uses("publish", &Base::default()), uses("forward", &Base::default())), (4, 10));
        assert_eq!((uses("publish", &both), uses("forward", &both)), (7, 12));
    }

    #[test]
    fn every_rule_is_said_of_every_family() {
        let internal = Base { input_loop: InputLoop::Made { link: 7 }, has_internal: true, ..Base::default() };
        let addressed = Base { has_addressed: true, ..Base::default() };
        let all = Base { has_addressed: true, ..internal };
        let all = [Base::default(), internal, addressed, all];
        let both = all.map(|base| Base { has_ipv6: true, ..base });
        let each = all.iter().chain(&both).flat_map(|base| chains(base).map(|chain| (chain, base.families())));
        for (chain, families) in each {
            let text = chain.text("", families);
            let lines = text.lines().filter(|line| line.starts_with("        "));
            assert!(lines.clone().all(|line| !line.contains(['{', '}'])), "{text}");
            let base = usize::from(!chain.base.is_empty());
            let rules: usize = chain.rules.iter().map(|rule| said_for(rule, families).len()).sum();
            assert_eq!(lines.count(), base + rules, "{text}");
        }
    }
}
