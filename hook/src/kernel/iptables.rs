//! The iptables backends: changes in bulk through one `iptables-restore`, questions and the operator's chain through
//! `iptables`.
//!
//! Both variants may be in use on one host, and the kernel heeds the rules of both. Ours are in the one that `iptables`
//! means when they are first loaded.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::{Doing, Error, Result};
use super::lock::holders;
use super::program;
use crate::firewall::iptables::{self as rules, Jump, OPERATOR, Table};
use crate::firewall::{Backend, Base, Kind, Needs, NetworkNeeds, Publish};

/// How long we wait for the lock of iptables-legacy: as long as for any of our own.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long its programs wait for it, in seconds: less than they may take, so that it is they who say what they waited for.
const PROGRAMS_PATIENCE: &str = "10";

/// That lock (`XT_LOCK_NAME`, iptables/xshared.h).
const LOCK: &str = "/run/xtables.lock";

/// One variant of iptables.
pub struct Iptables {
    legacy: bool,
    restore: &'static str,
    program: &'static str,
}

impl Iptables {
    /// The variant that `iptables` means on this host; none where it is not installed.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn preferred() -> Result<Option<Kind>> {
        if !program::is_installed("iptables-restore") {
            return Ok(None);
        }
        let version = program::run("iptables", &["--version"], "")?;
        Ok(Some(if version.contains("nf_tables") { Kind::IptablesNft } else { Kind::IptablesLegacy }))
    }

    /// Whether the programs of `kind` are installed.
    pub fn is_installed(kind: Kind) -> bool {
        Self::names(kind == Kind::IptablesLegacy).is_some()
    }

    /// The variant `kind`.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn open(kind: Kind) -> Result<Self> {
        let legacy = kind == Kind::IptablesLegacy;
        let (program, restore) = Self::names(legacy).ok_or_else(|| {
            Error::Program(format!("{kind} holds ocinet's rules, and is not installed; install iptables"))
        })?;
        Ok(Self { legacy, restore, program })
    }

    /// What its programs are called; where there is but one variant, it may have the plain names.
    fn names(legacy: bool) -> Option<(&'static str, &'static str)> {
        let own = if legacy {
            ("iptables-legacy", "iptables-legacy-restore")
        } else {
            ("iptables-nft", "iptables-nft-restore")
        };
        [own, ("iptables", "iptables-restore")].into_iter().find(|(_, restore)| program::is_installed(restore))
    }

    /// Whether `input` went through; not where something that it names is not there.
    fn restore(&self, input: &str) -> Result<std::result::Result<(), String>> {
        let ended = program::end_of(self.restore, &["--noflush", "-w", PROGRAMS_PATIENCE], input)?;
        match ended.code {
            0 => Ok(Ok(())),
            _ => self.unless_locked(&ended.complaint).map(|()| Err(ended.complaint)),
        }
    }

    /// The lines that `command` prints; none where something that it names is not there.
    fn ask(&self, table: Table, command: &str) -> Result<Option<Vec<String>>> {
        let table = table.to_string();
        let words: Vec<&str> = ["-t", &table, "-w", PROGRAMS_PATIENCE].into_iter().chain(command.split(' ')).collect();
        let ended = program::end_of(self.program, &words, "")?;
        match ended.code {
            0 => Ok(Some(ended.stdout.lines().map(str::to_owned).collect())),
            _ => self.unless_locked(&ended.complaint).map(|()| None),
        }
    }

    /// An error where it was the lock that could not be had: no exit code tells that.
    fn unless_locked(&self, complaint: &str) -> Result<()> {
        if complaint.contains("xtables lock") { Err(self.locked(PROGRAMS_PATIENCE)) } else { Ok(()) }
    }

    fn locked(&self, seconds: impl fmt::Display) -> Error {
        let who = match holders(Path::new(LOCK), 0) {
            holders if holders.is_empty() => "somebody else".to_owned(),
            holders => holders.join(", "),
        };
        let program = self.program;
        Error::Deadline(format!("waited {seconds} s for {LOCK}, the lock of {program}; {who} holds it"))
    }

    /// The chains of a table.
    fn chains(&self, table: Table) -> Result<BTreeSet<String>> {
        if !self.has_table(table) {
            return Ok(BTreeSet::new());
        }
        let lines = self.ask(table, "-S")?.unwrap_or_default();
        Ok(lines.iter().filter_map(|line| line.strip_prefix("-N ")).map(str::to_owned).collect())
    }

    /// To ask for a table of the legacy variant would make it.
    fn has_table(&self, table: Table) -> bool {
        let tables = || fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
        !self.legacy || tables().lines().any(|name| name == table.to_string())
    }

    fn has_jump(&self, table: Table, jump: &Jump) -> Result<bool> {
        Ok(self.has_table(table) && self.ask(table, &format!("-C {jump}"))?.is_some())
    }

    /// The jumps of ours that are there.
    fn jumps(&self) -> Result<Vec<String>> {
        let mut there = Vec::new();
        for table in Table::ALL {
            for jump in table.jumps() {
                if self.has_jump(table, jump)? {
                    there.push(key(table, jump));
                }
            }
        }
        Ok(there)
    }

    /// The rules of a chain.
    fn rules(&self, table: Table, chain: &str) -> Result<Vec<String>> {
        if !self.has_table(table) {
            return Ok(Vec::new());
        }
        let lines = self.ask(table, &format!("-S {chain}"))?.unwrap_or_default();
        Ok(lines.into_iter().filter(|line| line.starts_with("-A ")).collect())
    }

    /// What takes away of ours what is in `tables`, but the operator's chain; empty where there is nothing.
    fn leaving(&self, tables: &[Table]) -> Result<String> {
        let mut chains = Vec::new();
        for table in tables {
            chains.extend(self.chains(*table)?.into_iter().map(|chain| (*table, chain)));
        }
        let has = |table, name: &str| chains.iter().any(|(of, chain)| *of == table && chain == name);
        if !tables.iter().any(|table| table.chains().iter().any(|chain| has(*table, chain))) {
            return Ok(String::new());
        }
        let jumps = self.jumps()?;
        let there = |table, jump: &Jump| tables.contains(&table) && jumps.contains(&key(table, jump));
        Ok(rules::unload(has, there))
    }

    /// Takes away those of `ports` that are in `table`.
    fn remove_there(&self, table: Table, ports: &[Publish]) -> Result<()> {
        if ports.is_empty() {
            return Ok(());
        }
        self.restore(&rules::changing(table, "-D", ports))?.map_err(|complaint| self.failed(&complaint))
    }

    /// Those of `ports` about which the host's rules are asked.
    fn asked(&self, ports: &[Publish]) -> Result<Vec<Publish>> {
        let there = self.rules(Table::Security, rules::ASK)?;
        let is_asked = |port: &&Publish| there.contains(&format!("-A {}", rules::asked(port)));
        Ok(ports.iter().filter(is_asked).cloned().collect())
    }

    /// What the host lacks if `security` could not be filled.
    fn cannot_ask(&self) -> Error {
        Error::Program(format!(
            "published_ports = \"respect-host-firewall\" in config.toml needs table security and target TEE of {}, one of which is \
             missing; load the kernel modules iptable_security and xt_TEE, or set firewall = \"nftables\"",
            self.program
        ))
    }

    fn failed(&self, complaint: &str) -> Error {
        Error::Program(format!("{} failed: {complaint}", self.restore))
    }
}

impl Backend for Iptables {
    type Error = Error;

    fn ready(&mut self) -> Result<()> {
        if !self.legacy {
            return Ok(());
        }
        // As iptables opens it.
        let what = || format!("open {LOCK}");
        let mut options = File::options();
        let mut lock =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(LOCK).doing(what)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
                Ok(_) => return Ok(()),
                Err((lock, Errno::EWOULDBLOCK)) if Instant::now() < deadline => lock,
                Err((_, Errno::EWOULDBLOCK)) => return Err(self.locked(PATIENCE.as_secs())),
                Err((_, error)) => return Err(Error::refused(format!("lock {LOCK}"), error)),
            };
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn apply(&mut self, network: &NetworkNeeds, base: &Base, ports: &[Publish]) -> Result<bool> {
        Ok(is_laid(base) && self.restore(&rules::apply(network, base, ports))?.is_ok())
    }

    fn holds(&mut self, network: &NetworkNeeds, base: &Base, ports: &[Publish]) -> Result<bool> {
        let needs = Needs { base: *base, networks: vec![network.clone()], publish: ports.to_vec() };
        Ok(is_laid(base) && self.restore(&rules::check(&needs))?.is_ok())
    }

    fn remove(&mut self, ports: &[Publish], base: &Base) -> Result<()> {
        if ports.is_empty() || self.restore(&rules::remove(ports, base))?.is_ok() {
            return Ok(());
        }
        // One that is missing keeps all of its table in place.
        let ours = |there: &Publish| ports.iter().any(|port| port.is_same_port(there));
        self.remove_there(Table::Security, &self.asked(ports)?)?;
        let left: Vec<Publish> = self.published()?.into_iter().filter(ours).collect();
        self.remove_there(Table::Nat, &left)
    }

    fn load(&mut self, all: &Needs) -> Result<()> {
        let before = self.is_loaded()?;
        if self.ask(Table::Filter, &format!("-S {OPERATOR}"))?.is_none() {
            self.ask(Table::Filter, &format!("-N {OPERATOR}"))?;
        }
        let jumps = self.jumps()?;
        let mut input = rules::load(all, |table, jump| !jumps.contains(&key(table, jump)));
        if all.base.detour.is_none() {
            input.push_str(&self.leaving(&[Table::Security])?);
        }
        let Err(complaint) = self.restore(&input)? else { return Ok(()) };
        let can_ask = all.base.detour.is_none() || !self.rules(Table::Security, rules::COPY)?.is_empty();
        if !before {
            // Each table is changed by itself, and the first may have been.
            self.unload()?;
        }
        Err(if can_ask { self.failed(&complaint) } else { self.cannot_ask() })
    }

    fn unload(&mut self) -> Result<()> {
        let mut input = self.leaving(&Table::ALL)?;
        let has_operator = self.chains(Table::Filter)?.contains(OPERATOR);
        if has_operator && self.rules(Table::Filter, OPERATOR)?.is_empty() {
            input.push_str(&rules::drop_operator());
        }
        if input.is_empty() {
            return Ok(());
        }
        self.restore(&input)?.map_err(|complaint| self.failed(&complaint))
    }

    fn operators_chain(&mut self) -> Result<Option<&'static str>> {
        let has_rules = !self.rules(Table::Filter, OPERATOR)?.is_empty();
        Ok(has_rules.then_some("chain OCINET-OPERATOR of table filter"))
    }

    fn is_loaded(&mut self) -> Result<bool> {
        Ok(self.chains(Table::Filter)?.iter().any(|chain| Table::Filter.chains().contains(&chain.as_str())))
    }

    fn matches(&mut self, all: &Needs) -> Result<bool> {
        if self.restore(&rules::check(all))?.is_err() {
            return Ok(false);
        }
        let (mut found, mut expected) = (0, all.publish.len());
        for table in Table::ALL {
            expected += table.rules(&all.networks, &all.base).len();
            if table == Table::Security && all.base.detour.is_some() {
                expected += all.publish.len();
            }
            for chain in table.chains() {
                found += self.rules(table, chain)?.len();
            }
        }
        Ok(found == expected)
    }

    fn published(&mut self) -> Result<Vec<Publish>> {
        let mut published = Vec::new();
        for chain in rules::PUBLISHED {
            published.extend(self.rules(Table::Nat, chain)?.iter().filter_map(|rule| rules::published(rule)));
        }
        Ok(published)
    }

    fn closes_forwarding(&mut self) -> Result<bool> {
        Ok(self.has_table(Table::Filter) && self.ask(Table::Filter, &format!("-C {}", rules::closing()))?.is_some())
    }

    fn slow_socket(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Whether the rules can be whole: where the detour is called for and not there, it is laid when they are loaded.
fn is_laid(base: &Base) -> bool {
    base.detour != Some(0)
}

fn key(table: Table, jump: &Jump) -> String {
    format!("{table} {jump}")
}
