use slog::info;

use super::{Engine, Result};
use crate::kernel::{Netns, Place};
use crate::model::{Attachment, Record, State};
use crate::plan;

/// What a collection took away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// The containers whose sandboxes were dead.
    pub dead: Vec<String>,
    /// Drains that had been cut off, now finished.
    pub drained: usize,
}

impl Collected {
    /// How many records went.
    pub fn count(&self) -> usize {
        self.dead.len() + self.drained
    }
}

impl Engine {
    /// Takes away all that is left of sandboxes which died without a poststop, and of attaches and detaches that were
    /// killed. What somebody works on, what lives, and what cannot be seen from here stays.
    ///
    /// # Errors
    /// Those of the kernel and the store.
    pub fn collect(&mut self) -> Result<Collected> {
        match self.collect_all() {
            Err(error) if Self::is_store_lost(&error) => {
                self.renew_store(&error)?;
                self.collect_all()
            }
            result => result,
        }
    }

    fn collect_all(&mut self) -> Result<Collected> {
        self.finish_moving_rules()?;
        let mut collected = Collected::default();
        for record in self.store.read().records()? {
            let (container, draining) = (record.container.to_string(), record.state == State::Draining);
            if !self.collect_record(record)? {
                continue;
            }
            if draining {
                collected.drained += 1;
            } else {
                collected.dead.push(container);
            }
        }
        self.collect_files()?;
        Ok(collected)
    }

    /// Collects the record of that number if it is dead, so that what it holds is free. True when it went.
    pub(super) fn collect_if_dead(&mut self, number: i64) -> Result<bool> {
        if self.draining.iter().any(|(record, _)| record.number == number) {
            // Ours, from an earlier attach of this container: nobody else will.
            self.finish()?;
            return Ok(true);
        }
        // Whoever is at it may have begun when we looked away, and may leave the draining to a child.
        for _ in 0..4 {
            let Some(record) = self.store.read().record(number)? else { return Ok(true) };
            if self.collect_record(record.clone())? {
                return Ok(true);
            }
            if !self.is_leaving(&record)? {
                return Ok(false);
            }
            self.wait_for(&record)?;
        }
        Ok(false)
    }

    /// Makes addresses free, or waits for one that somebody else is about to free. False where none can be expected.
    pub(super) fn free_addresses(&mut self) -> Result<bool> {
        if !self.draining.is_empty() {
            self.finish()?;
            return Ok(true);
        }
        if self.collect()?.count() > 0 {
            return Ok(true);
        }
        for record in self.store.read().records()? {
            if self.is_leaving(&record)? {
                self.wait_for(&record)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether somebody takes the record away, or could.
    fn is_leaving(&mut self, record: &Record) -> Result<bool> {
        Ok(matches!(record.state, State::Detaching | State::Draining) || !self.lives(record)?)
    }

    /// Waits until nobody works on the record. Where somebody takes it away, that is a matter of some 20 ms.
    fn wait_for(&mut self, record: &Record) -> Result<()> {
        // Who waits must hold nothing that the others could be waiting for.
        self.finish()?;
        drop(self.locks.exclusive(Self::place_of(record))?);
        Ok(())
    }

    fn collect_record(&mut self, record: Record) -> Result<bool> {
        // Whoever holds it is at work on this record.
        let place = Self::place_of(&record);
        let Some(lock) = self.locks.attempt(place)? else { return Ok(false) };
        lock.inherit()?;
        let Some(record) = self.store.read().record(record.number)? else { return Ok(true) };
        if Self::place_of(&record) != place {
            // It drains by now, and that is another's to lock.
            drop(lock);
            return self.collect_record(record);
        }
        match record.state {
            State::Draining => self.drain(&record)?,
            State::Attached if self.lives(&record)? => return Ok(false),
            // Whoever was attaching or detaching it is gone: its lock is free.
            State::Attached | State::Attaching | State::Detaching => {
                info!(self.log, "collecting"; "container" => %record.container, "state" => %record.state);
                self.detach_record(record)?;
                self.finish()?;
            }
        }
        Ok(true)
    }

    /// The lock of whoever works on `record`.
    pub(super) fn place_of(record: &Record) -> Place {
        match record.state {
            State::Draining => Place::Drain(record.number),
            _ => Place::Sandbox(record.key().lock_offset()),
        }
    }

    /// Whether the sandbox lives. Where that cannot be seen from here, it does as long as the host's end of one of its
    /// links is there: a dying namespace takes its links along.
    pub(super) fn lives(&mut self, record: &Record) -> Result<bool> {
        if let Some(lives) = Netns::lives(&record.namespace, &self.origin) {
            return Ok(lives);
        }
        Ok(self.links_of(record)?.len() == record.endpoints.len())
    }

    /// The indexes of those links of `record` that are there.
    pub(super) fn links_of(&mut self, record: &Record) -> Result<Vec<u32>> {
        let alias = plan::alias(record);
        let mut indexes = Vec::new();
        for endpoint in &record.endpoints {
            let Attachment::Bridge { bridge, host_interface } = &endpoint.attachment;
            indexes.extend(self.links.ours(host_interface, &alias, bridge)?);
        }
        Ok(indexes)
    }
}
