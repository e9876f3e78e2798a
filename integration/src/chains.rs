//! Reads and changes iptables rules by the crate `iptables`: a reader independent of `iptables-save` and of ocinet's
//! own code.

use std::error::Error;

use anyhow::{Result, anyhow, ensure};
use iptables::IPTables;

use crate::Place;

/// The chains that one variant of iptables has in a place.
pub struct Chains<'p> {
    place: &'p Place,
    /// The program of the variant, such as `iptables-nft`.
    program: &'static str,
}

impl<'p> Chains<'p> {
    /// The chains of the variant whose program is `program`.
    pub(crate) fn new(place: &'p Place, program: &'static str) -> Self {
        Self { place, program }
    }

    /// The rules of a table, as `iptables -S` prints them.
    pub fn rules(&self, table: &str) -> Result<Vec<String>> {
        self.execute(table, "-S")
    }

    /// Runs `command` on `table`, and returns the lines that it printed. An exit code other than 0 is an error: the
    /// crate's `list` and `exists` would report an empty chain and a missing rule instead.
    pub fn execute(&self, table: &str, command: &str) -> Result<Vec<String>> {
        let output = self.with(|tables| tables.execute(table, command))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} -t {table} {command}: {}: {said}", self.program, output.status);
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    /// Appends a rule.
    pub fn append(&self, table: &str, chain: &str, rule: &str) -> Result<()> {
        self.with(|tables| tables.append(table, chain, rule))
    }

    /// Puts a rule in front of all others.
    pub fn insert(&self, table: &str, chain: &str, rule: &str) -> Result<()> {
        self.with(|tables| tables.insert(table, chain, rule, 1))
    }

    /// Takes a rule away.
    pub fn delete(&self, table: &str, chain: &str, rule: &str) -> Result<()> {
        self.with(|tables| tables.delete(table, chain, rule))
    }

    fn with<T: Send>(&self, work: impl FnOnce(&IPTables) -> Result<T, Box<dyn Error>> + Send) -> Result<T> {
        // Every iptables that the tests run with has both options.
        let tables = IPTables { cmd: self.program, has_check: true, has_wait: true, is_numeric: true };
        self.place.visit(|| work(&tables).map_err(|error| anyhow!("{}: {error}", self.program)))
    }
}
