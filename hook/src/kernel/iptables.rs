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
use super::program;
use crate::firewall::iptables::{self as rules, Held, OPERATOR, Table};
use crate::firewall::{Backend, Base, Kind, Needs, NetworkNeeds, Publish};
use crate::kernel::fs::holders;

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

    /// To ask for a table of the legacy variant would make it.
    fn has_table(&self, table: Table) -> bool {
        let tables = || fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
        !self.legacy || tables().lines().any(|name| name == table.to_string())
    }

    /// What is in the tables that are there.
    fn held(&self) -> Result<Held> {
        let mut held = Held::default();
        for table in Table::ALL.into_iter().filter(|table| self.has_table(*table)) {
            held.0.insert(table, self.ask(table, "-S")?.unwrap_or_default());
        }
        Ok(held)
    }

    /// The rules of a chain; none where there is no such chain.
    fn rules_if_there(&self, table: Table, chain: &str) -> Result<Option<Vec<String>>> {
        if !self.has_table(table) {
            return Ok(None);
        }
        let lines = self.ask(table, &format!("-S {chain}"))?;
        Ok(lines.map(|lines| lines.into_iter().filter(|line| line.starts_with("-A ")).collect()))
    }

    /// The rules of a chain, be it there or not.
    fn rules(&self, table: Table, chain: &str) -> Result<Vec<String>> {
        Ok(self.rules_if_there(table, chain)?.unwrap_or_default())
    }

    /// Takes away those of `ports` that are in `table`.
    fn remove_there(&self, table: Table, ports: &[Publish]) -> Result<()> {
        if ports.is_empty() {
            return Ok(());
        }
        self.restore(&rules::changing(table, "-D", ports))?.map_err(|complaint| self.failed(&complaint))
    }

    /// Those of `ports` whose rules are in `table`, of which `iptables -S` prints the very text.
    fn there(&self, table: Table, ports: &[Publish]) -> Result<Vec<Publish>> {
        let lines = if self.has_table(table) { self.ask(table, "-S")?.unwrap_or_default() } else { Vec::new() };
        let there: BTreeSet<&str> = lines.iter().filter_map(|line| line.strip_prefix("-A ")).collect();
        let of =
            |port: &&Publish| table.ports(std::slice::from_ref(*port)).iter().any(|rule| there.contains(rule.as_str()));
        Ok(ports.iter().filter(of).cloned().collect())
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
        let needs =
            Needs { base: *base, networks: vec![network.clone()], publish: ports.to_vec(), sources: Vec::new() };
        Ok(is_laid(base) && self.restore(&rules::check(&needs))?.is_ok())
    }

    fn remove(&mut self, ports: &[Publish], base: &Base) -> Result<()> {
        if ports.is_empty() || self.restore(&rules::remove(ports, base))?.is_ok() {
            return Ok(());
        }
        // One that is missing keeps all of its table in place.
        let ours = |there: &Publish| ports.iter().any(|port| port.is_same_port(there));
        for table in [Table::Security, Table::Mangle] {
            self.remove_there(table, &self.there(table, ports)?)?;
        }
        let left: Vec<Publish> = self.published()?.into_iter().filter(ours).collect();
        self.remove_there(Table::Nat, &left)
    }

    fn load(&mut self, all: &Needs) -> Result<()> {
        let held = self.held()?;
        let before = has_chains(&held);
        if self.ask(Table::Filter, &format!("-S {OPERATOR}"))?.is_none() {
            self.ask(Table::Filter, &format!("-N {OPERATOR}"))?;
        }
        let Err(complaint) = self.restore(&rules::load(all, &held))? else { return Ok(()) };
        let can_ask = all.base.detour.is_none() || !self.rules(Table::Security, rules::COPY)?.is_empty();
        if !before {
            // Each table is changed by itself, and the first may have been.
            self.unload()?;
        }
        Err(if can_ask { self.failed(&complaint) } else { self.cannot_ask() })
    }

    fn unload(&mut self) -> Result<()> {
        let mut input = rules::unload(&self.held()?);
        let operator = self.rules_if_there(Table::Filter, OPERATOR)?;
        if operator.is_some_and(|rules| rules.is_empty()) {
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
        Ok(has_chains(&self.held()?))
    }

    fn matches(&mut self, all: &Needs) -> Result<bool> {
        if self.restore(&rules::check(all))?.is_err() {
            return Ok(false);
        }
        let held = self.held()?;
        Ok(Table::ALL.into_iter().all(|table| {
            let called_for = Table::of(&all.base).any(|of| of == table);
            let chains = if called_for { table.chains() } else { &[] };
            let rules = if called_for {
                table.rules(&all.networks, &all.base, &all.sources).len() + table.ports(&all.publish).len()
            } else {
                0
            };
            let found: BTreeSet<&str> = held.chains(table).into_iter().collect();
            found == chains.iter().copied().collect() && held.rules(table).count() == rules
        }))
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

/// Whether chains of ours are there; in whatever version, the filter has one.
fn has_chains(held: &Held) -> bool {
    !held.chains(Table::Filter).is_empty()
}
