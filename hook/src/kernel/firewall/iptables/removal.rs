//! Taking published ports away.
//!
//! Where iptables writes to nf_tables, the rules are found and deleted over netlink (`encoded.rs`). A program would be
//! waited for until it ends: the kernel takes it up to 20 ms to close a socket after deletions.
//!
//! What is not understood there is left to the programs. A line `-D` makes one compare its rule with every rule before
//! it in the chain: with iptables-nft, 512 ports behind 4,096 others take seven seconds. So many ports are deleted by
//! handle there. A handle belongs to one rule as long as its table lives, and a rule never changes; where a chain has
//! the same handles before and after `iptables -S`, and as many rules were printed, each line stands for the handle in
//! its place.

use super::one_family::OneFamily;
use super::programs::Answer;
use crate::firewall::Publish;
use crate::firewall::iptables::{self as rules, Table, of_ports};
use crate::kernel::error::{Error, Result};
use crate::kernel::firewall::nftables::RulePlace;

/// How many ports one document takes away. With iptables-nft, that many behind 20,000 others take half of the program's
/// deadline.
const AT_ONCE: usize = 128;

/// The same with iptables-legacy, which is ten times as fast and has all of a table copied for each document.
const AT_ONCE_LEGACY: usize = 1024;

/// How often we look again where others change a chain meanwhile.
pub(super) const LOOKS: usize = 10;

impl OneFamily {
    /// Takes away those of `ports` that are there.
    pub(super) fn remove_ports(&mut self, ports: &[Publish]) -> Result<()> {
        // All that may hold them, whatever the base calls for now: the input loop may have been given up since they
        // were added. A table that the kernel lacks cannot be named in a document. No copy of a packet is sent around
        // for a port that leads nowhere any more, so `security` is the first.
        let at_containers: Vec<Publish> =
            ports.iter().filter(|port| port.reached_by.has_container()).cloned().collect();
        if !at_containers.is_empty() && !self.holding(&[Table::Filter], rules::is_ours)?.is_empty() {
            self.remove_there(Table::Filter, &at_containers, AT_ONCE)?;
        }
        let tables = self.holding(&[Table::Security, Table::Mangle, Table::Nat], rules::is_ours)?;
        if tables.is_empty() {
            return Ok(());
        }
        if !self.legacy && self.remove_encoded(ports, &tables)? {
            return Ok(());
        }
        let at_once = if self.legacy { AT_ONCE_LEGACY } else { AT_ONCE };
        if !self.legacy && ports.len() > at_once {
            return self.remove_by_handle(ports, &tables);
        }
        let mut rest = Vec::new();
        for portion in ports.chunks(at_once) {
            // One that is missing keeps all of its table in place.
            if let Answer::Absent(_) = self.restore(&rules::remove(self.family, portion, &tables))? {
                rest.extend_from_slice(portion);
            }
        }
        if rest.is_empty() {
            return Ok(());
        }
        tables.into_iter().try_for_each(|table| self.remove_there(table, &rest, at_once))
    }

    /// Takes away those of `ports` that are in `table`.
    fn remove_there(&mut self, table: Table, ports: &[Publish], at_once: usize) -> Result<()> {
        for _ in 0..LOOKS {
            let held = self.held_in(&[table])?;
            let mut all = true;
            for portion in held.rules_of(table, self.family, ports).chunks(at_once) {
                // Another program may have deleted one since we looked.
                all &= self.restore(&rules::remove_lines(table, portion))? == Answer::Done(());
            }
            if all {
                return Ok(());
            }
        }
        Err(self.changing(&[table]))
    }

    /// Takes away those of `ports` that are in `tables`.
    ///
    /// # Errors
    /// Also where a chain changes each time that it is looked at.
    fn remove_by_handle(&mut self, ports: &[Publish], tables: &[Table]) -> Result<()> {
        for table in tables.iter().copied() {
            let is_theirs = of_ports(table, self.family, ports);
            for chain in table.chains_of_ports() {
                if !self.remove_in(table, chain, &is_theirs)? {
                    return Err(self.changing(&[table]));
                }
            }
        }
        Ok(())
    }

    fn remove_in(&mut self, table: Table, chain: &'static str, is_theirs: &impl Fn(&str) -> bool) -> Result<bool> {
        let family = self.family;
        for _ in 0..LOOKS {
            let before = self.nft()?.handles(family, table.name(), chain)?;
            if before.is_empty() {
                return Ok(true);
            }
            let lines = self.rules(table, chain)?;
            if lines.len() != before.len() || self.nft()?.handles(family, table.name(), chain)? != before {
                continue;
            }
            let theirs = lines.iter().zip(before).filter(|(line, _)| is_theirs(line));
            let place = |(_, handle)| RulePlace { family, table: table.name(), chain, handle };
            if self.nft()?.delete_rules(&theirs.map(place).collect::<Vec<_>>())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn changing(&self, tables: &[Table]) -> Error {
        let tables = tables.iter().map(|table| table.name()).collect::<Vec<_>>().join(", ");
        Error::Busy(format!("table {tables} of {} changed each time it was looked at; try again", self.program))
    }
}
