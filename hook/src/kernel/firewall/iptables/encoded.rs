//! Rules of published ports without a program, where iptables writes to nf_tables: it is asked over netlink what the
//! chains hold. What is there that is not understood is left to the programs.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::one_family::OneFamily;
use super::removal::LOOKS;
use crate::firewall::iptables::{self as rules, Alike, PortRule, Table};
use crate::firewall::{Base, Publish};
use crate::kernel::error::Result;
use crate::kernel::firewall::nftables::{NewRule, RulePlace, XtChain};

/// How many rules a chain may have for each that is added by the pattern of one of them: more would take longer to look
/// through than a program takes to add.
const LOOKED_THROUGH: usize = 8;

/// The rules of ports in a table, by chain.
type ByChain = BTreeMap<&'static str, HashSet<PortRule>>;

/// The expressions of rules, by what they say.
type Patterns = HashMap<PortRule, Vec<u8>>;

impl OneFamily {
    /// Takes away those of `ports` that are in `tables`. False where their chains have rules that are not understood and
    /// may be theirs; then nothing was changed.
    ///
    /// # Errors
    /// Also where a chain changes each time that it is looked at.
    pub(super) fn remove_encoded(&mut self, ports: &[Publish], tables: &[Table]) -> Result<bool> {
        for _ in 0..LOOKS {
            let Some(found) = self.find_encoded(ports, tables)? else { return Ok(false) };
            if self.nft()?.delete_rules(&found)? {
                return Ok(true);
            }
        }
        Err(self.changing(tables))
    }

    /// Where the rules of `ports` are; none where they may be among rules that are not understood.
    fn find_encoded(&mut self, ports: &[Publish], tables: &[Table]) -> Result<Option<Vec<RulePlace>>> {
        let mut places = Vec::new();
        for table in tables {
            for (chain, wanted) in by_chain(*table, ports) {
                let family = self.family;
                let (mut found, mut is_understood) = (HashSet::new(), true);
                for listed in self.nft()?.rules(family, table.name(), chain)? {
                    let rule = rules::decoded(family, &listed.expressions);
                    is_understood &= rule.is_some();
                    if let Some(rule) = rule.filter(|rule| wanted.contains(rule)) {
                        found.insert(rule);
                        places.push(RulePlace { family, table: table.name(), chain, handle: listed.handle });
                    }
                }
                if !is_understood && found.len() < wanted.len() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(places))
    }

    /// Adds the ports that a program was not told, after it has added those that it was. False where what it made of
    /// them is not understood; then nothing was changed.
    ///
    /// # Errors
    /// When the kernel refuses; then some may have been added.
    pub(super) fn add_alike(&mut self, base: &Base, ports: &Alike) -> Result<bool> {
        let family = self.family;
        let chains = self.nft()?.chains_of_iptables(family)?;
        let mut made = Vec::new();
        // In the order in which documents add them.
        for table in [Table::Nat, Table::Mangle, Table::Security] {
            if !Table::of(family, base).any(|of| of == table) {
                continue;
            }
            let Some(patterns) = self.patterns(table, ports, &chains)? else { return Ok(false) };
            for port in &ports.others {
                let Some((chain, rule)) = rules::rule_in(table, port) else { continue };
                let told = ports.like(port).and_then(|told| rules::rule_in(table, told));
                let pattern = told.and_then(|(_, told)| patterns.get(&told));
                let expressions = pattern.and_then(|pattern| rules::with_ports_of(port, &rule, pattern));
                let Some(expressions) = expressions else { return Ok(false) };
                made.push(NewRule { family, table: table.name(), chain, expressions });
            }
        }
        self.nft()?.add_rules(&made)?;
        Ok(true)
    }

    /// The rules that the program made of those that it was told; none where a chain has too many rules.
    fn patterns(&mut self, table: Table, ports: &Alike, chains: &[XtChain]) -> Result<Option<Patterns>> {
        let mut patterns = Patterns::new();
        for (chain, wanted) in by_chain(table, &ports.told) {
            let has_few = |of: &XtChain| of.uses as usize <= LOOKED_THROUGH * ports.others.len();
            if !chains.iter().any(|of| of.table == table.name() && of.name == chain && has_few(of)) {
                return Ok(None);
            }
            // What else is attached to a rule may speak of its ports, too.
            let family = self.family;
            let listed = self.nft()?.rules(family, table.name(), chain)?;
            for listed in listed.into_iter().filter(|listed| !listed.has_userdata) {
                let rule = rules::decoded(family, &listed.expressions).filter(|rule| wanted.contains(rule));
                patterns.extend(rule.map(|rule| (rule, listed.expressions)));
            }
        }
        Ok(Some(patterns))
    }
}

fn by_chain(table: Table, ports: &[Publish]) -> ByChain {
    let mut chains = ByChain::new();
    for (chain, rule) in ports.iter().filter_map(|port| rules::rule_in(table, port)) {
        chains.entry(chain).or_default().insert(rule);
    }
    chains
}
