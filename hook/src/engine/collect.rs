use slog::{info, warn};

use super::{Engine, Error, Failures, Result};
use crate::decide::liveness::{Evidence, Life, judge};
use crate::decide::plan;
use crate::kernel::{self, Lock, Netns, Place};
use crate::model::{Attachment, Record, State, Witness, quoted};

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
    pub(super) fn collect_if_dead(&mut self, number: i64) -> Result<bool> {
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
    pub(super) fn free_addresses(&mut self) -> Result<bool> {
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

    /// Waits until no other process works on the record. Where one takes it away, that is a matter of some 20 ms.
    pub(super) fn wait_for(&mut self, record: &Record) -> Result<()> {
        // Who waits must hold nothing that the others could be waiting for.
        self.finish()?;
        drop(self.locks.exclusive(Self::place_of(record))?);
        Ok(())
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

    /// The record that was `listed`, as it is now, and the lock under which it is changed, held alone; none where it is gone. While
    /// the lock was waited for, the record may have begun to drain, which is done under another one.
    pub(super) fn alone_at(&self, listed: &Record) -> Result<Option<(Record, Lock)>> {
        let mut place = Self::place_of(listed);
        loop {
            let alone = self.locks.exclusive(place)?;
            alone.inherit()?;
            let Some(record) = self.store.read().record(listed.number)? else { return Ok(None) };
            if Self::place_of(&record) == place {
                return Ok(Some((record, alone)));
            }
            place = Self::place_of(&record);
        }
    }

    /// The lock of the process that works on `record`.
    pub(super) fn place_of(record: &Record) -> Place {
        match record.state {
            State::Draining => Place::Drain(record.number),
            _ => Place::Sandbox(record.key().lock_offset()),
        }
    }

    /// Whether the sandbox lives. What cannot be looked at is unknown.
    pub fn life(&mut self, record: &Record) -> Life {
        let sight = Netns::look(&record.namespace, &self.origin);
        judge(&sight, || self.evidence(record))
    }

    /// What the host's own network namespace says of the sandbox.
    fn evidence(&mut self, record: &Record) -> Result<Evidence> {
        let cookie = record.namespace.cookie;
        let nsid = record.namespace.nsid.map(|nsid| self.has_nsid(nsid, cookie)).transpose()?;
        let link = nsid.is_none() && !self.links_of(record)?.is_empty();
        Ok(Evidence { nsid, link, link_alone: record.namespace.witness == Witness::Unseen })
    }

    /// Whether the host still has the id `nsid` for the namespace of that cookie. An id that the kernel chose is given again: it is
    /// gone, too, where it is seen to lead to a namespace of another cookie.
    fn has_nsid(&mut self, nsid: i32, cookie: u64) -> Result<bool> {
        if !self.links.has_nsid(nsid)? {
            return Ok(false);
        }
        if kernel::is_lasting(nsid) || cookie == 0 {
            return Ok(true);
        }
        let found = kernel::namespaces(&mut self.links, &self.origin)?;
        Ok(found.get(&nsid).is_none_or(|found| found.namespace.cookie == cookie))
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

fn several(container: &str, records: &[Record]) -> Error {
    let of = |record: &Record| format!("{} of bundle {}", record.container, record.bundle);
    let all: Vec<String> = records.iter().map(of).collect();
    Error::Conflict(format!("several containers are called {}: {}", quoted(container), all.join(", ")))
}
