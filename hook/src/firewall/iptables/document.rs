//! The documents for `iptables-restore --noflush`.
//!
//! A document goes through table by table, each of them whole or not at all. The rules of many ports are several
//! documents, each of bounded size: a program that is told too much at once would come to its deadline.

use std::fmt::Write;

use super::{Held, OPERATOR, Table};
use crate::firewall::{Base, Needs, NetworkNeeds, Publish, Source};
use crate::model::Family;

/// How many ports one document adds.
const ADDED: usize = 512;

/// The input that fills our chains of `family` with `all`, whatever is in them, and puts the jumps to them in front of
/// all others. What else is `held` of ours goes. It is one document for however many ports: it takes the place of what
/// was there at once.
pub fn load(family: Family, all: &Needs, held: &Held) -> String {
    document(Table::ALL, |table, lines| {
        if !Table::of(family, &all.base).any(|of| of == table) {
            return lines.extend(held.clearing(table, &[]));
        }
        lines.extend(table.chains(&all.base).iter().map(|chain| format!(":{chain} - [0:0]")));
        lines.extend(held.clearing(table, table.chains(&all.base)));
        let rules = table.rules(family, &all.networks, &all.base, &all.sources);
        lines.extend(rules.iter().map(|rule| format!("-A {rule}")));
        lines.extend(table.ports(family, &all.publish).iter().map(|rule| format!("{} {rule}", table.adding_port())));
        lines.extend(table.jumps(family, &all.base).iter().map(|jump| format!("{} {jump}", table.adding())));
    })
}

/// The portions of `ports` that one document each adds. There is one where there is no port, too: its document looks at
/// the base.
pub fn added_at_once(ports: &[Publish]) -> Vec<&[Publish]> {
    if ports.is_empty() { vec![ports] } else { ports.chunks(ADDED).collect() }
}

/// The input that fails without a change where not everything of `family` is there that `base` and `networks` need
/// beside the ports, and else adds those of `ports` that are of it.
pub fn add(family: Family, networks: &[NetworkNeeds], base: &Base, ports: &[Publish]) -> String {
    let base_and_nat = document(Table::of(family, base), |table, lines| {
        lines.extend(checks(table, family, networks, base, &[]));
        if table == Table::Nat {
            lines.extend(table.ports(family, ports).iter().map(|rule| format!("-A {rule}")));
        }
    });
    // These tables come a second time: in their first part nothing could be added yet, since the lines `-C` of `nat`
    // were still to come.
    let is_asked = Table::of(family, base).any(|table| table == Table::Security);
    let asked = if is_asked { changing(Table::Security, "-A", family, ports) } else { String::new() };
    let at_containers = changing(Table::Filter, Table::Filter.adding_port(), family, ports);
    base_and_nat + &changing(Table::Mangle, "-A", family, ports) + &at_containers + &asked
}

/// The input that fails where not everything of `family` is there that `all` needs beside the ports, and never changes
/// anything. The ports are looked for in what `iptables -S` prints: the program goes through the whole chain for each
/// line `-C`.
pub fn check(family: Family, all: &Needs) -> String {
    document(Table::of(family, &all.base), |table, lines| {
        lines.extend(checks(table, family, &all.networks, &all.base, &all.sources));
    })
}

fn checks(table: Table, family: Family, networks: &[NetworkNeeds], base: &Base, sources: &[Source]) -> Vec<String> {
    let jumps = table.jumps(family, base).iter().map(|jump| format!("-C {jump}"));
    jumps.chain(table.rules(family, networks, base, sources).iter().map(|rule| format!("-C {rule}"))).collect()
}

/// The input that takes those of `ports` that are of `family` away from `tables`. Where one is not there it fails, and
/// its table and those after it are as they were.
pub fn remove(family: Family, ports: &[Publish], tables: &[Table]) -> String {
    tables.iter().map(|table| changing(*table, "-D", family, ports)).collect()
}

/// The input that takes away `rules` of one table, which `iptables -S` printed.
pub fn remove_lines(table: Table, rules: &[&str]) -> String {
    document([table], |_, lines| lines.extend(rules.iter().map(|rule| rule.replacen("-A", "-D", 1))))
}

/// The input that does one thing to the rules of `ports` in one table.
fn changing(table: Table, verb: &str, family: Family, ports: &[Publish]) -> String {
    let rules = || table.ports(family, ports).into_iter().map(|rule| format!("{verb} {rule}"));
    document([table], |_, lines| lines.extend(rules()))
}

/// The input that takes away what is `held` of ours, but the operator's chain; empty where there is nothing.
pub fn unload(held: &Held) -> String {
    document(Table::ALL, |table, lines| lines.extend(held.clearing(table, &[])))
}

/// The input that takes the operator's chain away, which must be empty.
pub fn drop_operator() -> String {
    format!("*filter\n-X {OPERATOR}\nCOMMIT\n")
}

fn document(tables: impl IntoIterator<Item = Table>, fill: impl Fn(Table, &mut Vec<String>)) -> String {
    let mut text = String::new();
    for table in tables {
        let mut lines = Vec::new();
        fill(table, &mut lines);
        if !lines.is_empty() {
            let _ = writeln!(text, "*{table}\n{}\nCOMMIT", lines.join("\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::InputLoop;
    use crate::firewall::tests::{network, port};
    use crate::model::{Families, HostAddress, Protocol};

    #[test]
    fn what_one_network_checks_is_what_all_load() {
        let (one, other) = (network("ocinet0", "10.90.0.0/16"), network("ocn-1", "10.91.0.0/24"));
        for input_loop in [InputLoop::Unused, InputLoop::Made { link: 7 }] {
            let has_addressed = input_loop.is_used();
            let close_forwarding = Families::default().with(Family::V4);
            let base = Base { close_forwarding, input_loop, has_addressed, ..Base::default() };
            let needs = Needs { base, networks: vec![other.clone(), one.clone()], ..Needs::default() };
            let loaded = load(Family::V4, &needs, &Held::default());
            let has = |line: &str| loaded.lines().any(|loaded| loaded[2..] == line[2..]);
            for line in
                add(Family::V4, std::slice::from_ref(&one), &base, &[]).lines().filter(|line| line.starts_with("-C"))
            {
                assert!(has(line), "{line} in\n{loaded}");
            }
            assert_eq!(loaded.contains("*security"), input_loop.is_used(), "asking for a table makes it");
            assert!(!loaded.contains(&format!(":{OPERATOR}")), "declaring it would flush it");
        }
    }

    #[test]
    fn guards_come_first_and_a_check_before_any_change() {
        for input_loop in [InputLoop::Unused, InputLoop::Made { link: 7 }] {
            let base = Base { input_loop, ..Base::default() };
            let text = add(
                Family::V4,
                &[network("ocinet0", "10.90.0.0/16")],
                &base,
                &[port(Protocol::Udp, HostAddress::Any, "web")],
            );
            let at = |what: &str| text.find(what).unwrap();
            assert!(at("*mangle") < at("*filter") && at("*filter") < at("*nat"));
            assert!(text.rfind("-C ").unwrap() < at("-A "), "{text}");
        }
    }
}
