//! What the kernel holds of ours, whichever version of ocinet loaded it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::port::{plain, published};
use super::{INPUT, OPERATOR, Table};
use crate::firewall::pass::PASS_CHAIN;
use crate::firewall::{Needs, Publish};
use crate::model::{Family, InterfaceName};

/// What the kernel holds in a table, line by line as `iptables -S` prints it.
#[derive(Debug, Clone, Default)]
pub struct Held(pub BTreeMap<Table, Vec<String>>);

impl Held {
    fn lines(&self, table: Table) -> &[String] {
        self.0.get(&table).map(Vec::as_slice).unwrap_or_default()
    }

    /// Our chains there, in whatever version of ocinet they were made, but the operator's.
    pub fn chains(&self, table: Table) -> Vec<&str> {
        self.lines(table).iter().filter_map(|line| line.strip_prefix("-N ")).filter(|chain| is_ours(chain)).collect()
    }

    /// The rules in them.
    pub fn rules(&self, table: Table) -> impl Iterator<Item = &str> {
        self.lines(table).iter().map(String::as_str).filter(|line| chain_of(line).is_some_and(is_ours))
    }

    /// The rules in others that lead to them.
    fn jumps(&self, table: Table) -> impl Iterator<Item = &str> {
        let leads_to_us = |line: &&str| match line.rsplit(' ').collect::<Vec<_>>()[..] {
            [target, "-j" | "-g", ..] => is_ours(target),
            _ => false,
        };
        let others = |line: &&str| chain_of(line).is_some_and(|chain| !is_ours(chain) && chain != OPERATOR);
        self.lines(table).iter().map(String::as_str).filter(others).filter(leads_to_us)
    }

    /// Whether the operator has rules in their chain.
    pub fn operator_has_rules(&self) -> bool {
        self.lines(Table::Filter).iter().any(|line| chain_of(line) == Some(OPERATOR))
    }

    /// The bridges of internal networks: what comes from them to the host is dropped.
    pub fn internal(&self) -> impl Iterator<Item = InterfaceName> {
        let bridge = |rule: &str| {
            let dropped = rule.strip_prefix("-A ")?.strip_prefix(INPUT)?.strip_prefix(" -i ")?;
            dropped.strip_suffix(" -j DROP")?.parse().ok()
        };
        self.rules(Table::Filter).filter_map(bridge)
    }

    /// The published ports.
    pub fn published(&self) -> Vec<Publish> {
        let rules = || self.rules(Table::Nat);
        let masqueraded: HashSet<String> = rules().map(plain).collect();
        let is_masqueraded =
            |port: &Publish| super::port::masqueraded(port).is_some_and(|rule| masqueraded.contains(&plain(&rule)));
        let with = |port| Publish { masquerade: true, ..port };
        let all = rules().filter_map(published);
        let routed = self.rules(Table::Filter).filter_map(published).filter(|port| !port.reached_by.has_host());
        let all = all.chain(routed);
        all.map(|port| Publish { masquerade: is_masqueraded(&with(port.clone())), ..port }).collect()
    }

    /// Whether they are as many as `all` calls for of `family`, each chain of ours is there and none else, and so is each port.
    /// That the rules beside the ports are the right ones is for a document of checks to say.
    pub fn is_as_many(&self, family: Family, all: &Needs) -> bool {
        Table::ALL.into_iter().all(|table| {
            let called_for = Table::of(family, &all.base).any(|of| of == table);
            let chains = if called_for { table.chains(&all.base) } else { &[] };
            let found: BTreeSet<&str> = self.chains(table).into_iter().collect();
            let (rules, ports) = if called_for {
                (table.rules(family, &all.networks, &all.base, &all.sources), table.ports(family, &all.publish))
            } else {
                (Vec::new(), Vec::new())
            };
            found == chains.iter().copied().collect()
                && self.rules(table).count() == rules.len() + ports.len()
                && self.has_ports(table, &ports)
        })
    }

    /// Whether the table has the rules of all `ports` of `family`. The time it takes grows as their numbers do.
    pub fn has_all(&self, table: Table, family: Family, ports: &[Publish]) -> bool {
        self.has_ports(table, &table.ports(family, ports))
    }

    fn has_ports(&self, table: Table, wanted: &[String]) -> bool {
        let there: HashSet<String> =
            if wanted.is_empty() { HashSet::new() } else { self.rules(table).map(plain).collect() };
        wanted.iter().all(|rule| there.contains(&plain(rule)))
    }

    /// The rules of `ports` of `family` that are in the table, whatever their comments say.
    pub fn rules_of(&self, table: Table, family: Family, ports: &[Publish]) -> Vec<&str> {
        let of = of_ports(table, family, ports);
        self.rules(table).filter(|rule| of(rule)).collect()
    }

    /// The lines that take away what leads to our chains, and then the chains but those `kept`.
    pub(super) fn clearing(&self, table: Table, kept: &[&str]) -> Vec<String> {
        let jumps = self.jumps(table).map(|jump| jump.replacen("-A", "-D", 1));
        let stale = || self.chains(table).into_iter().filter(|chain| !kept.contains(chain));
        let (flush, delete) = (stale().map(|chain| format!("-F {chain}")), stale().map(|chain| format!("-X {chain}")));
        jumps.chain(flush).chain(delete).collect()
    }
}

/// Tells the rules of `ports` of `family` in a table, whatever their comments say.
pub fn of_ports(table: Table, family: Family, ports: &[Publish]) -> impl Fn(&str) -> bool {
    let wanted: HashSet<String> = table.ports(family, ports).iter().map(|rule| plain(rule)).collect();
    move |rule| wanted.contains(&plain(rule))
}

/// Whether the name is of a chain that comes and goes with our rules.
pub fn is_ours(chain: &str) -> bool {
    chain.starts_with("OCINET-") && chain != OPERATOR && chain != PASS_CHAIN
}

/// The chain that a rule is in, as `iptables -S` prints it.
fn chain_of(line: &str) -> Option<&str> {
    line.strip_prefix("-A ")?.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::super::{load, unload};
    use super::*;
    use crate::firewall::Needs;
    use crate::firewall::tests::network;

    /// What an older version left, whose guards had another chain in another table; beside it, what others have there.
    #[test]
    fn chains_of_another_version_are_cleared() {
        let raw = "-N OCINET-RAW\n-N OTHER\n-A PREROUTING -j OCINET-RAW\n-A PREROUTING -j OTHER\n-A OCINET-RAW -i lo -j RETURN";
        let filter = "-N OCINET-FORWARD\n-N OCINET-OLD\n-N OCINET-OPERATOR\n-N OCINET-PASSAGE\n-A DOCKER-USER -j OCINET-PASSAGE\n\
                      -A FORWARD -j OCINET-FORWARD\n-A OCINET-FORWARD -j OCINET-OPERATOR\n-A OCINET-FORWARD -g OCINET-OLD";
        let lines = |text: &str| text.lines().map(str::to_owned).collect();
        let held = Held(BTreeMap::from([(Table::Raw, lines(raw)), (Table::Filter, lines(filter))]));
        let cleared = "*raw\n-D PREROUTING -j OCINET-RAW\n-F OCINET-RAW\n-X OCINET-RAW\nCOMMIT\n";
        let all = "*filter\n-D FORWARD -j OCINET-FORWARD\n-F OCINET-FORWARD\n-F OCINET-OLD\n-X OCINET-FORWARD\n-X OCINET-OLD\nCOMMIT\n";
        assert_eq!(unload(&held), format!("{all}{cleared}"));
        let networks = vec![network("ocinet0", "10.90.0.0/16")];
        let loaded = load(Family::V4, &Needs { networks, ..Needs::default() }, &held);
        assert!(loaded.ends_with(cleared), "{loaded}");
        assert!(loaded.contains("-D FORWARD -j OCINET-FORWARD\n-F OCINET-OLD\n-X OCINET-OLD\n"), "{loaded}");
        assert_eq!(unload(&Held::default()), "");
    }
}
