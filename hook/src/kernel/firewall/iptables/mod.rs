//! The iptables backends. Each family has programs and tables of its own (`one_family.rs`), and those of IPv6 have rules
//! only where a network has IPv6.
//!
//! Both variants may be in use on one host, and the kernel heeds the rules of both. Ours are in the one that `iptables`
//! means when they are first loaded.

mod encoded;
mod one_family;
mod programs;
mod removal;

use std::os::fd::BorrowedFd;

use self::one_family::OneFamily;
use crate::firewall::{Backend, Change, Inventory, Kind, Needs, Publish};
use crate::kernel::child_process;
use crate::kernel::error::{Error, Result};
use crate::model::{Families, Family};

/// One variant of iptables.
pub struct Iptables {
    legacy: bool,
    v4: OneFamily,
    /// Opened when it is first needed: a host without networks of IPv6 may lack its programs.
    v6: Option<OneFamily>,
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
        OneFamily::is_installed(Family::V4, kind == Kind::IptablesLegacy)
    }

    /// The variant `kind`.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn open(kind: Kind) -> Result<Self> {
        let legacy = kind == Kind::IptablesLegacy;
        Ok(Self { legacy, v4: OneFamily::open(Family::V4, legacy)?, v6: None })
    }

    /// Its part for `family`.
    fn of(&mut self, family: Family) -> Result<&mut OneFamily> {
        match (family, &mut self.v6) {
            (Family::V4, _) => Ok(&mut self.v4),
            (Family::V6, Some(open)) => Ok(open),
            (Family::V6, closed) => Ok(closed.insert(OneFamily::open(family, self.legacy)?)),
        }
    }

    /// That of IPv6, where it may hold rules: those of programs that are not installed are not there.
    fn installed_v6(&mut self) -> Result<Option<&mut OneFamily>> {
        if OneFamily::is_installed(Family::V6, self.legacy) { self.of(Family::V6).map(Some) } else { Ok(None) }
    }

    /// Adds the ports of `change` to the tables of each family; none where one of these is not whole.
    fn add_ports(&mut self, change: &Change<'_>) -> Result<bool> {
        for (nth, family) in change.base.families().iter().enumerate() {
            let add = ports_of(*family, change.add);
            let added = self.of(*family)?.add_ports(&Change { add: &add, ..*change });
            if !matches!(added, Ok(true)) {
                for before in &change.base.families()[..nth] {
                    // The first error says what is wrong. What a failed removal leaves, the caller takes away when it
                    // detaches the container.
                    let _ = self.of(*before)?.remove_ports(&ports_of(*before, change.add));
                }
                return added;
            }
        }
        Ok(true)
    }
}

fn ports_of(family: Family, ports: &[Publish]) -> Vec<Publish> {
    ports.iter().filter(|port| port.family() == Some(family)).cloned().collect()
}

impl Backend for Iptables {
    type Error = Error;

    fn ready(&mut self) -> Result<()> {
        self.v4.ready()
    }

    fn apply(&mut self, change: &Change<'_>) -> Result<bool> {
        for family in Family::ALL {
            let remove = ports_of(family, change.remove);
            if !remove.is_empty() {
                self.of(family)?.remove_ports(&remove)?;
            }
        }
        if change.only_removes() {
            return Ok(true);
        }
        if change.base.input_loop.may_have_rules() { self.add_ports(change) } else { Ok(false) }
    }

    fn holds(&mut self, part: &Needs) -> Result<bool> {
        if !part.base.input_loop.may_have_rules() {
            return Ok(false);
        }
        for family in part.base.families() {
            if !self.of(*family)?.holds(part)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn matches(&mut self, all: &Needs) -> Result<bool> {
        for family in all.base.families() {
            if !self.of(*family)?.matches(all)? {
                return Ok(false);
            }
        }
        match self.installed_v6()? {
            Some(v6) if !all.base.has_ipv6 => Ok(!v6.is_loaded()?),
            _ => Ok(true),
        }
    }

    fn load(&mut self, all: &Needs) -> Result<()> {
        // Each family is changed by itself. What fails first is what the host may lack.
        if all.base.has_ipv6 {
            self.of(Family::V6)?.load(all)?;
        }
        self.v4.load(all)?;
        match self.installed_v6()? {
            Some(v6) if !all.base.has_ipv6 => v6.unload(),
            _ => Ok(()),
        }
    }

    fn unload(&mut self) -> Result<()> {
        if let Some(v6) = self.installed_v6()? {
            v6.unload()?;
        }
        self.v4.unload()
    }

    fn inventory(&mut self) -> Result<Inventory> {
        let mut found = self.v4.inventory()?;
        let Some(v6) = self.installed_v6()? else { return Ok(found) };
        let Inventory { is_loaded, published, internal, closes_forwarding, operators_chain } = v6.inventory()?;
        found.is_loaded |= is_loaded;
        found.published.extend(published);
        found.internal.extend(internal);
        found.closes_forwarding = closes_forwarding.iter().fold(found.closes_forwarding, Families::with);
        found.operators_chain = found.operators_chain.or(operators_chain);
        Ok(found)
    }

    fn slow_sockets(&self) -> Vec<BorrowedFd<'_>> {
        [Some(&self.v4), self.v6.as_ref()].into_iter().flatten().filter_map(OneFamily::slow_socket).collect()
    }
}
