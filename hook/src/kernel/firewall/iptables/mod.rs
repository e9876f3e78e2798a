//! The iptables backends: changes in bulk through one `iptables-restore`, questions and the operator's chain through
//! `iptables`.
//!
//! Both variants may be in use on one host, and the kernel heeds the rules of both. Ours are in the one that `iptables`
//! means when they are first loaded.

mod encoded;
mod programs;
mod removal;

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use self::programs::{Answer, LOCK};
use super::{Nftables, has_table};
use crate::firewall::iptables::{self as rules, Held, OPERATOR, Table};
use crate::firewall::{Backend, Base, Change, Inventory, Kind, Needs, NetworkNeeds, Publish};
use crate::kernel::child_process;
use crate::kernel::error::{Doing, Error, Result};
use crate::model::Family;

/// How long we wait for the lock of iptables-legacy: as long as for any of our own.
const PATIENCE: Duration = Duration::from_secs(20);

/// One variant of iptables.
pub struct Iptables {
    /// Whether it is iptables-legacy.
    legacy: bool,
    /// The program that reads documents.
    restore: &'static str,
    /// The program that runs one command.
    program: &'static str,
    /// Opened when it is first needed and kept open, since closing it can take long. iptables-legacy needs none.
    nft: Option<Nftables>,
}

impl Iptables {
    /// The variant that `iptables` means on this host; none where it is not installed.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn preferred() -> Result<Option<Kind>> {
        if !child_process::is_installed("iptables-restore") {
            return Ok(None);
        }
        let version = child_process::run("iptables", &["--version"], "")?;
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
        Ok(Self { legacy, restore, program, nft: None })
    }

    /// What its programs are called; where there is but one variant, it may have the plain names.
    fn names(legacy: bool) -> Option<(&'static str, &'static str)> {
        let own = if legacy {
            ("iptables-legacy", "iptables-legacy-restore")
        } else {
            ("iptables-nft", "iptables-nft-restore")
        };
        [own, ("iptables", "iptables-restore")].into_iter().find(|(_, restore)| child_process::is_installed(restore))
    }

    /// The connection to nf_tables.
    fn nft(&mut self) -> Result<&mut Nftables> {
        match &mut self.nft {
            Some(nft) => Ok(nft),
            closed => Ok(closed.insert(Nftables::open()?)),
        }
    }

    /// Those of `tables` that may have such a chain. To ask iptables-legacy for a table would make it; and iptables-nft
    /// cannot read a table of its own name that others filled with `nft`, which is no matter where no chain of ours is
    /// in it.
    fn holding(&mut self, tables: &[Table], is_chain: impl Fn(&str) -> bool) -> Result<Vec<Table>> {
        let mut holding = Vec::new();
        let chains = if self.legacy { Vec::new() } else { self.nft()?.chains_of_iptables()? };
        for table in tables.iter().copied() {
            let holds = if self.legacy {
                has_table(table.name())?
            } else {
                chains.iter().any(|chain| chain.table == table.name() && is_chain(&chain.name))
            };
            if holds {
                holding.push(table);
            }
        }
        Ok(holding)
    }

    /// What is in the tables that have chains of ours.
    fn held(&mut self) -> Result<Held> {
        self.held_in(&Table::ALL)
    }

    /// What is in those of `tables` that have some.
    fn held_in(&mut self, tables: &[Table]) -> Result<Held> {
        let mut held = Held::default();
        for table in self.holding(tables, rules::is_ours)? {
            held.0.insert(table, self.listed(table, "-S")?.unwrap_or_default());
        }
        Ok(held)
    }

    /// The rules of a chain; none where there is no such chain.
    fn rules_if_there(&mut self, table: Table, chain: &str) -> Result<Option<Vec<String>>> {
        if self.holding(&[table], |name| name == chain)?.is_empty() {
            return Ok(None);
        }
        let lines = self.listed(table, &format!("-S {chain}"))?;
        Ok(lines.map(|lines| lines.into_iter().filter(|line| line.starts_with("-A ")).collect()))
    }

    /// The rules of a chain, be it there or not.
    fn rules(&mut self, table: Table, chain: &str) -> Result<Vec<String>> {
        Ok(self.rules_if_there(table, chain)?.unwrap_or_default())
    }

    /// What `command` lists; none where that is not there.
    fn listed(&self, table: Table, command: &str) -> Result<Option<Vec<String>>> {
        match self.ask(table, command)? {
            Answer::Done(lines) => Ok(Some(lines)),
            Answer::Absent(_) => Ok(None),
        }
    }

    /// The operator's chain is there.
    fn make_operators_chain(&mut self) -> Result<()> {
        if self.rules_if_there(Table::Filter, OPERATOR)?.is_none() {
            let answer = self.ask(Table::Filter, &format!("-N {OPERATOR}"))?;
            if let Answer::Absent(complaint) = answer {
                return Err(Error::Program(format!("{} -N {OPERATOR} failed: {complaint}", self.program)));
            }
        }
        Ok(())
    }

    /// Adds the ports of `change` where the base and what its networks need are whole; else it adds none and says
    /// false.
    fn add_ports(&mut self, change: &Change<'_>) -> Result<bool> {
        let Change { base, networks, add, .. } = change;
        let alike = if self.legacy { None } else { rules::alike(add) };
        let Some(alike) = alike else { return self.tell_ports(base, networks, add) };
        if !self.tell_ports(base, networks, &alike.told)? {
            return Ok(false);
        }
        let added = match self.add_alike(base, &alike) {
            Ok(false) => self.tell_ports(base, networks, &alike.others),
            added => added,
        };
        if !matches!(added, Ok(true)) {
            // As in `tell_ports`.
            let _ = self.remove_ports(add);
        }
        added
    }

    /// Tells a program to add `ports`; the rest is as with [`Self::add_ports`].
    fn tell_ports(&mut self, base: &Base, networks: &[NetworkNeeds], ports: &[Publish]) -> Result<bool> {
        let mut told = 0;
        for portion in rules::added_at_once(ports) {
            let answer = self.restore(&rules::add(networks, base, portion));
            told += portion.len();
            match answer {
                Ok(Answer::Done(())) => {}
                // What the base lacks shows before any port is added, but for a chain that goes in that moment. The
                // ports that are in `nat` then are flushed by the loading that follows.
                Ok(Answer::Absent(_)) if told == portion.len() => return Ok(false),
                failed => {
                    // The document that failed, too, may have changed some of its tables. The first error says what is
                    // wrong. What a failed removal leaves, the caller takes away when it detaches the container.
                    let _ = self.remove_ports(&ports[..told]);
                    return failed.map(|_| false);
                }
            }
        }
        Ok(true)
    }

    /// Whether what is `held` has the rule that keeps other hosts from using this one as a router.
    fn closes_forwarding(&self, held: &Held) -> Result<bool> {
        let closing = rules::closing();
        let chain = closing.split(' ').next().unwrap_or_default();
        // Where the chain is not there, neither is the rule.
        Ok(held.chains(Table::Filter).contains(&chain)
            && matches!(self.ask(Table::Filter, &format!("-C {closing}"))?, Answer::Done(_)))
    }

    /// What is wrong where `security` could not be filled, and else `failed`.
    fn why(&mut self, all: &Needs, failed: Error) -> Error {
        let mut lacks_security = || {
            all.base.input_loop.is_used()
                && self.rules(Table::Security, rules::COPY).is_ok_and(|rules| rules.is_empty())
        };
        if !matches!(failed, Error::Program(_)) || !lacks_security() {
            return failed;
        }
        Error::Program(format!(
            "published_ports = \"respect-host-firewall\" in config.toml needs table security and target TEE of {}, one of which is \
             missing; load the kernel modules iptable_security and xt_TEE, or set firewall = \"nftables\" ({failed})",
            self.program
        ))
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

    fn apply(&mut self, change: &Change<'_>) -> Result<bool> {
        if !change.remove.is_empty() {
            self.remove_ports(change.remove)?;
        }
        if change.only_removes() {
            return Ok(true);
        }
        if change.base.input_loop.may_have_rules() { self.add_ports(change) } else { Ok(false) }
    }

    fn holds(&mut self, part: &Needs) -> Result<bool> {
        if !part.base.input_loop.may_have_rules() || self.restore(&rules::check(part))? != Answer::Done(()) {
            return Ok(false);
        }
        if part.publish.is_empty() {
            return Ok(true);
        }
        let held = self.held()?;
        Ok(Table::of(&part.base).all(|table| held.has_all(table, &part.publish)))
    }

    fn matches(&mut self, all: &Needs) -> Result<bool> {
        Ok(self.restore(&rules::check(all))? == Answer::Done(()) && self.held()?.is_as_many(all))
    }

    fn load(&mut self, all: &Needs) -> Result<()> {
        let held = self.held()?;
        self.make_operators_chain()?;
        let Err(failed) = self.restore_all(&rules::load(all, &held)) else { return Ok(()) };
        let failed = self.why(all, failed);
        if !has_chains(&held) {
            // Each table is changed by itself, and the first may have been.
            if let Err(left) = self.unload() {
                return Err(Error::Program(format!("{failed}; and what was loaded could not be taken away: {left}")));
            }
        }
        Err(failed)
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
        self.restore_all(&input)
    }

    fn inventory(&mut self) -> Result<Inventory> {
        let held = self.held()?;
        if !has_chains(&held) {
            return Ok(Inventory::default());
        }
        Ok(Inventory {
            is_loaded: true,
            published: held.published(),
            internal: held.internal().collect(),
            closes_forwarding: self.closes_forwarding(&held)?.then_some(Family::V4).into_iter().collect(),
            operators_chain: held.operator_has_rules().then_some("chain OCINET-OPERATOR of table filter"),
        })
    }

    fn slow_socket(&self) -> Option<BorrowedFd<'_>> {
        self.nft.as_ref().and_then(Nftables::slow_socket)
    }
}

/// Whether chains of ours are there; in whatever version, the filter has one.
fn has_chains(held: &Held) -> bool {
    !held.chains(Table::Filter).is_empty()
}
