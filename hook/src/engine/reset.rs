use slog::info;

use super::files::CONTAINERS;
use super::{Engine, Error, Failures, Result};
use crate::firewall::Kind;
use crate::kernel::{self, Place};
use crate::liveness::Life;
use crate::model::{Alias, InterfaceName, Record, State};
use crate::store::{Store, Writing};

/// What a reset took off the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reset {
    /// The containers that were cut off, or had left something.
    pub containers: Vec<String>,
    /// The bridges.
    pub bridges: Vec<InterfaceName>,
    /// Who kept the rules.
    pub firewalls: Vec<Kind>,
    /// The firewalls of other programs whose door for containers is closed again.
    pub doors: Vec<String>,
    /// Whether IP forwarding, which we had switched on, is off again.
    pub forwarding_off: bool,
}

impl Engine {
    /// Takes everything of ours off the host: links, rules, settings, files and the store. The lock file stays, since
    /// somebody may be waiting for it.
    ///
    /// # Errors
    /// [`Error::Conflict`] while containers run, or may run, unless they are to be cut off; those of the kernel and the store.
    pub fn reset(&mut self, cut_off: bool) -> Result<Reset> {
        self.adopt()?;
        if !cut_off {
            self.refuse_while_attached()?;
        }
        let mut reset = Reset::default();
        let mut failures = Failures::default();
        for record in self.records()? {
            let result = self.reset_container(&record, cut_off);
            if let Some(()) = failures.note(format!("container {}", record.container), result)? {
                reset.containers.push(record.container.to_string());
            }
        }
        failures.into_result()?;
        let _alone = self.alone_at_firewall()?;
        let _bridges = self.locks.exclusive(Place::Bridges)?;
        let writing = Writing::begin(&self.locks)?;
        if let Some(record) = self.store.read().records()?.first() {
            return Err(Error::Conflict(format!("container {} was attached meanwhile; try again", record.container)));
        }
        reset.forwarding_off = self.forward_no_more()?;
        for link in self.links.all_ours()?.into_iter().filter(|link| matches!(link.alias, Alias::Network(_))) {
            self.links.delete(link.index)?;
            reset.bridges.push(link.name);
        }
        reset.doors = self.close_doors()?;
        for kind in kernel::loaded()? {
            kernel::backend(kind)?.unload()?;
            reset.firewalls.push(kind);
        }
        self.links.delete_detour()?;
        self.collect_files()?;
        kernel::remove_if_empty(&self.state_dir.join(CONTAINERS));
        Store::remove(&self.state_dir, &self.host, &writing)?;
        Ok(reset)
    }

    fn reset_container(&mut self, listed: &Record, cut_off: bool) -> Result<()> {
        info!(self.log, "resetting"; "container" => %listed.container);
        let worker = self.locks.exclusive(Self::place_of(listed))?;
        worker.inherit()?;
        // It may have been attached meanwhile, or detached.
        let Some(record) = self.store.read().record(listed.number)? else { return Ok(()) };
        if !cut_off && self.may_run(&record) {
            return Err(Error::Conflict("was attached meanwhile; stop it, or say --force".into()));
        }
        match record.state {
            State::Draining => self.drain(&record)?,
            _ => self.detach_record(record)?,
        }
        self.finish()
    }

    /// Whether a container is attached, and not proved to be dead.
    fn may_run(&mut self, record: &Record) -> bool {
        record.state == State::Attached && self.life(record) != Life::Dead
    }

    fn refuse_while_attached(&mut self) -> Result<()> {
        let mut attached = Vec::new();
        for record in self.records()? {
            if self.may_run(&record) {
                attached.push(record.container.to_string());
            }
        }
        if attached.is_empty() {
            return Ok(());
        }
        let (number, names) = (attached.len(), attached.iter().take(5).cloned().collect::<Vec<_>>().join(", "));
        let more = if number > 5 { ", ..." } else { "" };
        Err(Error::Conflict(format!(
            "{number} containers run and would lose their network ({names}{more}); stop them, or say --force"
        )))
    }
}
