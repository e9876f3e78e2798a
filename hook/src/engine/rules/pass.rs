//! Forward passes through the firewalls of other programs. A pass that cannot be added is a warning, and no failure of
//! the attach: the container may need nothing from outside.

use std::os::fd::{AsFd, BorrowedFd};

use slog::{Logger, info, warn};

use crate::engine::locks::alone_at_firewall;
use crate::engine::{Error, Result};
use crate::firewall::pass::{self, Closed, ForeignDrop, MissingPass, Survey};
use crate::kernel::{self, ForeignFirewalls, LockFile};
use crate::model::{Families, Family, InterfaceName, Network, Sandbox};
use crate::shell;

/// The passes, and what reads the firewalls that they are in.
pub(in crate::engine) struct Passes {
    /// Opened when it is first needed and kept open, since closing it can take long.
    firewalls: Option<ForeignFirewalls>,
    log: Logger,
}

/// The families of which passes are needed for `networks`: IPv4 in any case.
pub(in crate::engine) fn passed_families(networks: &[Network]) -> Families {
    let of_ipv4 = Families::default().with(Family::V4);
    if networks.iter().any(Network::has_ipv6) { of_ipv4.with(Family::V6) } else { of_ipv4 }
}

/// That there is no pass for a network.
pub(in crate::engine) struct Unpassed {
    /// The firewall.
    pub subject: String,
    /// What it does.
    pub trouble: String,
    /// What a person can do.
    pub remedy: String,
}

impl Unpassed {
    fn of(closed: Closed, network: &Network, bridge: &InterfaceName) -> Self {
        let name = &network.name;
        let accept = shell::accept_bridge(closed, bridge);
        let (trouble, instead) = if pass::is_known(bridge) {
            let trouble = format!("drops what others send to the containers of network {name} at their own addresses");
            (trouble, "publish their ports in mode nat without trusted_interfaces".to_owned())
        } else {
            let trouble = format!("drops what {bridge} of network {name} forwards: its pass is for ocinet* and ocn-*");
            (trouble, "give the bridge such a name".to_owned())
        };
        Self { subject: closed.subject(), trouble, remedy: format!("{instead}, or let it pass: {accept}") }
    }
}

impl Passes {
    pub fn new(log: &Logger) -> Self {
        Self { firewalls: None, log: log.clone() }
    }

    /// Adds every missing pass for the families of `networks`, and warns of drops that have no place for one and concern
    /// one of their bridges. Returns what the other programs' firewalls do then.
    pub fn add_missing(&mut self, locks: &LockFile, networks: &[Network]) -> Result<Survey> {
        let families = passed_families(networks);
        let mut survey = self.survey(families)?;
        if !survey.missing_passes().is_empty() {
            let _alone = alone_at_firewall(locks)?;
            // Another process may have added it while this one waited for the lock.
            survey = self.survey(families)?;
            for missing in survey.missing_passes() {
                self.add(missing);
            }
        }
        for network in networks {
            let Some(bridge) = network.link() else { continue };
            for foreign in self.obstacles(&survey, network)? {
                let (place, remedy) = (foreign.place(), shell::accept_in(foreign, bridge));
                let what = format!("drops what {bridge} forwards; to let it pass: {remedy}");
                warn!(self.log, "chain {place} of another program {what}");
            }
        }
        Ok(survey)
    }

    /// Refuses a container that no pass lets through: on a bridge that none is for, or with ports that are reached at
    /// its own address.
    ///
    /// # Errors
    /// [`Error::Conflict`], which names the firewall.
    pub fn refuse_unpassed(&mut self, survey: &Survey, sandbox: &Sandbox, networks: &[Network]) -> Result<()> {
        for network in networks {
            let addressed = sandbox.addressed_on(&network.name);
            if let Some(Unpassed { subject, trouble, remedy }) = self.unpassed(survey, network, addressed)? {
                return Err(Error::Conflict(format!("{subject} {trouble}; {remedy}")));
            }
        }
        Ok(())
    }

    /// The first firewall through which there is no pass for `network`, whose containers are to be reached at their own
    /// addresses over the families `addressed`.
    pub fn unpassed(&mut self, survey: &Survey, network: &Network, addressed: Families) -> Result<Option<Unpassed>> {
        let Some(bridge) = network.link() else { return Ok(None) };
        let is_closed = |family: Family| {
            network.families().contains(family) && (addressed.contains(family) || !pass::is_known(bridge))
        };
        let family = |of_ipv6: bool| if of_ipv6 { Family::V6 } else { Family::V4 };
        for closed in survey.closed().into_iter().filter(|closed| is_closed(family(closed.is_of_ipv6()))) {
            let mut is_decided = false;
            for place in closed.decisions() {
                is_decided = is_decided || self.firewalls()?.mentions(&place, bridge)?;
            }
            if !is_decided {
                return Ok(Some(Unpassed::of(closed, network, bridge)));
            }
        }
        Ok(None)
    }

    fn add(&self, missing: MissingPass) {
        let (subject, trouble) = (missing.subject(), missing.trouble());
        if missing.is_the_operators() {
            let remedy = shell::firewalld_zone();
            warn!(self.log, "{subject} {trouble}; to let it pass: {remedy}");
            return;
        }
        info!(self.log, "adding a forward pass"; "of" => &subject);
        let added = match missing {
            MissingPass::Iptables(tables, place) => kernel::add_pass(tables, place),
            MissingPass::Firewalld(_) => kernel::change_zone(true),
        };
        if let Err(error) = added {
            warn!(self.log, "{subject} {trouble}, and could not be changed: {error}");
        }
    }

    /// The chains that drop what the bridge of `network` forwards, and are not ours to change.
    pub fn obstacles<'s>(&mut self, survey: &'s Survey, network: &Network) -> Result<Vec<&'s ForeignDrop>> {
        let mut obstacles = Vec::new();
        let Some(bridge) = network.link() else { return Ok(obstacles) };
        for foreign in survey.foreign_drops.iter().filter(|foreign| network.has_ipv6() || !foreign.is_of_ipv6()) {
            if !self.firewalls()?.mentions(foreign, bridge)? {
                obstacles.push(foreign);
            }
        }
        Ok(obstacles)
    }

    /// Removes every pass, and returns where.
    pub fn remove(&mut self) -> Result<Vec<String>> {
        let survey = self.survey(Family::ALL.into_iter().collect())?;
        let filters = survey.filters.iter().filter(|filter| filter.has_chain());
        let mut passes: Vec<_> = filters
            .map(|filter| (format!("the rules of {}", filter.tables.program()), kernel::remove_pass(filter.tables)))
            .collect();
        if survey.firewalld.is_some_and(|firewalld| firewalld.is_open && !firewalld.is_permanent) {
            passes.push(("firewalld".to_owned(), kernel::change_zone(false)));
        }
        let mut removed = Vec::new();
        for (place, result) in passes {
            match result {
                Ok(()) => removed.push(place),
                Err(error) => warn!(self.log, "the forward pass through {place} stays: {error}"),
            }
        }
        Ok(removed)
    }

    /// What other programs' firewalls do with what our networks forward of `families`.
    pub fn survey(&mut self, families: Families) -> Result<Survey> {
        Ok(self.firewalls()?.survey(families)?)
    }

    /// The socket that takes the kernel long to close after elements of a firewall were deleted.
    pub fn slow_socket(&self) -> Option<BorrowedFd<'_>> {
        self.firewalls.as_ref().map(AsFd::as_fd)
    }

    fn firewalls(&mut self) -> Result<&mut ForeignFirewalls> {
        match &mut self.firewalls {
            Some(firewalls) => Ok(firewalls),
            closed => Ok(closed.insert(ForeignFirewalls::open()?)),
        }
    }
}
