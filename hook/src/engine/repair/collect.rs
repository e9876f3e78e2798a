use slog::{info, warn};

use crate::decide::liveness::Life;
use crate::engine::{Engine, Error, Failures, Result};
use crate::model::{Record, State, quoted};

/// What a collection took away.
#[derive(Debug, Default)]
pub struct Collected {
    /// The containers whose sandboxes were dead.
    pub dead: Vec<String>,
    /// Drains that had been cut off, now finished.
    pub drained: usize,
    /// What could not be collected; it stays, and is tried again by the next collection.
    pub failures: Failures,
}

impl Collected {
    /// How many records went.
    pub fn count(&self) -> usize {
        self.dead.len() + self.drained
    }
}

impl Engine {
    /// Takes away all that is left of sandboxes which died without a poststop, and of attaches and detaches that were
    /// killed. What another process works on, what lives, and what is not proved to be dead stays.
    ///
    /// # Errors
    /// Those of the store. What cannot be collected is a failure among those of the answer.
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
        let mut collected = Collected::default();
        // Where they cannot move, containers without published ports can be collected all the same.
        let moved = self.finish_moving_rules();
        collected.failures.note("rules of another firewall", moved)?;
        for record in self.store.read().records()? {
            let (container, draining) = (record.container.to_string(), record.state == State::Draining);
            let result = self.collect_record(record);
            match collected.failures.note(format!("container {container}"), result)? {
                Some(true) if draining => collected.drained += 1,
                Some(true) => collected.dead.push(container),
                Some(false) | None => {}
            }
        }
        self.collect_files(&mut collected.failures)?;
        Ok(collected)
    }

    /// Collects the record of that number if it is dead, so that what it holds is free. True when it went.
    pub(in crate::engine) fn collect_if_dead(&mut self, number: i64) -> Result<bool> {
        if self.draining.iter().any(|(record, _)| record.number == number) {
            // Ours, from an earlier attach of this container.
            self.finish()?;
            return Ok(true);
        }
        // Another process may begin with it while we look, and may leave the draining to a child.
        for _ in 0..4 {
            let Some(record) = self.store.read().record(number)? else { return Ok(true) };
            if self.collect_record(record.clone())? {
                return Ok(true);
            }
            if !self.is_leaving(&record) {
                return Ok(false);
            }
            self.wait_for(&record)?;
        }
        Ok(false)
    }

    /// Makes addresses free, or waits for one that another process is about to free. False where none can be expected.
    pub(in crate::engine) fn free_addresses(&mut self) -> Result<bool> {
        if !self.draining.is_empty() {
            self.finish()?;
            return Ok(true);
        }
        let collected = self.collect()?;
        let any = collected.count() > 0;
        // What cannot be collected is no fault of the container that wants an address.
        if let Err(failures) = collected.failures.into_result() {
            warn!(self.log, "not collected: {failures}");
        }
        if any {
            return Ok(true);
        }
        for record in self.store.read().records()? {
            if self.is_leaving(&record) {
                self.wait_for(&record)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether another process takes the record away, or could.
    fn is_leaving(&mut self, record: &Record) -> bool {
        matches!(record.state, State::Detaching | State::Draining) || self.life(record) == Life::Dead
    }

    fn collect_record(&mut self, record: Record) -> Result<bool> {
        // Another process that holds it is at work on this record.
        let place = Self::place_of(&record);
        let Some(lock) = self.locks.attempt(place)? else { return Ok(false) };
        lock.inherit()?;
        let Some(record) = self.store.read().record(record.number)? else { return Ok(true) };
        if Self::place_of(&record) != place {
            // It drains by now, which has a lock of its own.
            drop(lock);
            return self.collect_record(record);
        }
        match record.state {
            State::Draining => self.drain(&record)?,
            State::Attached if self.life(&record) != Life::Dead => return Ok(false),
            // The process that was attaching or detaching it has ended: its lock is free.
            State::Attached | State::Attaching | State::Detaching => {
                info!(self.log, "collecting"; "container" => %record.container, "state" => %record.state);
                self.detach_record(record)?;
                self.finish()?;
            }
        }
        Ok(true)
    }

    /// Takes away what a container holds of which it cannot be told whether it lives: a person knows better. Its record's
    /// container is the answer.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such container, [`Error::Conflict`] where there are several or it lives.
    pub fn forget(&mut self, container: &str) -> Result<String> {
        let records = self.records_of(container)?;
        let [record] = &records[..] else { return Err(several(container, &records)) };
        let Some((record, _worker)) = self.alone_at(record)? else { return Ok(record.container.to_string()) };
        if record.state == State::Attached && self.life(&record) == Life::Alive {
            let why = "runs, or its network namespace is held by something else; stop it first";
            return Err(Error::Conflict(format!("container {} {why}", record.container)));
        }
        let name = record.container.to_string();
        info!(self.log, "forgetting"; "container" => &name);
        match record.state {
            State::Draining => self.drain(&record)?,
            _ => self.detach_record(record)?,
        }
        self.finish()?;
        Ok(name)
    }
}

fn several(container: &str, records: &[Record]) -> Error {
    let of = |record: &Record| format!("{} of bundle {}", record.container, record.bundle);
    let all: Vec<String> = records.iter().map(of).collect();
    Error::Conflict(format!("several containers are called {}: {}", quoted(container), all.join(", ")))
}
