//! The rules of one family: changes in bulk through one `iptables-restore`, questions and the operator's chain through
//! `iptables`, or for IPv6 `ip6tables-restore` and `ip6tables`.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::programs::{Answer, LOCK};
use crate::firewall::iptables::{self as rules, Held, OPERATOR, Table};
use crate::firewall::{Base, Change, Inventory, Needs, NetworkNeeds, Publish};
use crate::kernel::child_process;
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::firewall::{Nftables, has_table};
use crate::model::Family;

/// How long we wait for the lock of iptables-legacy: as long as for any of our own.
const PATIENCE: Duration = Duration::from_secs(20);

/// One family of one variant of iptables.
pub(super) struct OneFamily {
    /// Which.
    pub(super) family: Family,
    /// Whether it is iptables-legacy.
    pub(super) legacy: bool,
    /// The program that reads documents.
    pub(super) restore: &'static str,
    /// The program that runs one command.
    pub(super) program: &'static str,
    /// Opened when it is first needed and kept open, since closing it can take long. iptables-legacy needs none.
    nft: Option<Nftables>,
}

impl OneFamily {
    /// That of a variant.
    ///
    /// # Errors
    /// When its programs are not installed.
    pub fn open(family: Family, legacy: bool) -> Result<Self> {
        let (program, restore) = Self::names(family, legacy).ok_or_else(|| {
            let (kind, lacks) = match (family, legacy) {
                (Family::V4, false) => ("iptables-nft", "iptables"),
                (Family::V4, true) => ("iptables-legacy", "iptables"),
                (Family::V6, _) => ("iptables", "ip6tables"),
            };
            Error::Program(format!("{kind} holds ocinet's rules, and {lacks} is not installed; install iptables"))
        })?;
        Ok(Self { family, legacy, restore, program, nft: None })
    }

    /// Whether its programs are installed.
    pub fn is_installed(family: Family, legacy: bool) -> bool {
        Self::names(family, legacy).is_some()
    }

    /// What its programs are called; where there is but one variant, it may have the plain names.
    fn names(family: Family, legacy: bool) -> Option<(&'static str, &'static str)> {
        let (own, plain) = match (family, legacy) {
            (Family::V4, true) => (("iptables-legacy", "iptables-legacy-restore"), ("iptables", "iptables-restore")),
            (Family::V4, false) => (("iptables-nft", "iptables-nft-restore"), ("iptables", "iptables-restore")),
            (Family::V6, true) => {
                (("ip6tables-legacy", "ip6tables-legacy-restore"), ("ip6tables", "ip6tables-restore"))
            }
            (Family::V6, false) => (("ip6tables-nft", "ip6tables-nft-restore"), ("ip6tables", "ip6tables-restore")),
        };
        [own, plain].into_iter().find(|(_, restore)| child_process::is_installed(restore))
    }

    /// The connection to nf_tables.
    pub(super) fn nft(&mut self) -> Result<&mut Nftables> {
        match &mut self.nft {
            Some(nft) => Ok(nft),
            closed => Ok(closed.insert(Nftables::open()?)),
        }
    }

    /// Those of `tables` that may have such a chain. To ask iptables-legacy for a table would make it; and iptables-nft
    /// cannot read a table of its own name that others filled with `nft`, which is no matter where no chain of ours is
    /// in it.
    pub(super) fn holding(&mut self, tables: &[Table], is_chain: impl Fn(&str) -> bool) -> Result<Vec<Table>> {
        let mut holding = Vec::new();
        let family = self.family;
        let chains = if self.legacy { Vec::new() } else { self.nft()?.chains_of_iptables(family)? };
        for table in tables.iter().copied() {
            let holds = if self.legacy {
                has_table(family, table.name())?
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
    pub(super) fn held_in(&mut self, tables: &[Table]) -> Result<Held> {
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
    pub(super) fn rules(&mut self, table: Table, chain: &str) -> Result<Vec<String>> {
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
    pub fn add_ports(&mut self, change: &Change<'_>) -> Result<bool> {
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
            let answer = self.restore(&rules::add(self.family, networks, base, portion));
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
            Table::of(self.family, &all.base).any(|table| table == Table::Security)
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

impl OneFamily {
    /// As [`Backend::ready`](crate::firewall::Backend::ready); the lock is one for both families.
    pub fn ready(&self) -> Result<()> {
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

    /// Whether all of `part` that is of this family is there.
    pub fn holds(&mut self, part: &Needs) -> Result<bool> {
        if self.restore(&rules::check(self.family, part))? != Answer::Done(()) {
            return Ok(false);
        }
        if part.publish.is_empty() {
            return Ok(true);
        }
        let held = self.held()?;
        Ok(Table::of(self.family, &part.base).all(|table| held.has_all(table, self.family, &part.publish)))
    }

    /// Whether the kernel holds what `all` needs of this family, and nothing else of ours.
    pub fn matches(&mut self, all: &Needs) -> Result<bool> {
        let is_there = self.restore(&rules::check(self.family, all))? == Answer::Done(());
        Ok(is_there && self.held()?.is_as_many(self.family, all))
    }

    /// Puts what `all` needs of this family in place.
    pub fn load(&mut self, all: &Needs) -> Result<()> {
        let held = self.held()?;
        self.make_operators_chain()?;
        let Err(failed) = self.restore_all(&rules::load(self.family, all, &held)) else { return Ok(()) };
        let failed = self.why(all, failed);
        if !has_chains(&held) {
            // Each table is changed by itself, and the first may have been.
            if let Err(left) = self.unload() {
                return Err(Error::Program(format!("{failed}; and what was loaded could not be taken away: {left}")));
            }
        }
        Err(failed)
    }

    /// Takes everything of ours away but an operator's chain that has rules.
    pub fn unload(&mut self) -> Result<()> {
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

    /// Whether it holds anything that [`Self::unload`] would take away.
    pub fn is_loaded(&mut self) -> Result<bool> {
        Ok(has_chains(&self.held()?))
    }

    /// What the kernel holds of ours.
    pub fn inventory(&mut self) -> Result<Inventory> {
        let held = self.held()?;
        if !has_chains(&held) {
            return Ok(Inventory::default());
        }
        Ok(Inventory {
            is_loaded: true,
            published: held.published(),
            internal: held.internal().collect(),
            closes_forwarding: self.closes_forwarding(&held)?.then_some(self.family).into_iter().collect(),
            operators_chain: held.operator_has_rules().then_some(match self.family {
                Family::V4 => "chain OCINET-OPERATOR of table filter",
                Family::V6 => "chain OCINET-OPERATOR of table filter of ip6tables",
            }),
        })
    }

    /// The socket that takes the kernel long to close after rules were deleted.
    pub fn slow_socket(&self) -> Option<BorrowedFd<'_>> {
        self.nft.as_ref().map(AsFd::as_fd)
    }
}

/// Whether chains of ours are there; in whatever version, the filter has one.
fn has_chains(held: &Held) -> bool {
    !held.chains(Table::Filter).is_empty()
}
