use slog::{info, warn};

use crate::decide::liveness::{Life, Verdict, verdict};
use crate::engine::files;
use crate::engine::locks::{alone_at, place_of};
use crate::engine::{Engine, Error, Failures, Result};
use crate::model::{Sandbox, State, quoted};

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
    /// How many sandboxes went.
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
        self.with_whole_store(|engine, _| engine.collect_all())
    }

    fn collect_all(&mut self) -> Result<Collected> {
        let mut collected = Collected::default();
        // Where they cannot move, containers without published ports can be collected all the same.
        let moved = self.finish_moving_rules();
        collected.failures.note("rules of another firewall", moved)?;
        for sandbox in self.store.read().sandboxes()? {
            let (container, draining) = (sandbox.container.to_string(), sandbox.state == State::Draining);
            let result = self.collect_sandbox(sandbox);
            match collected.failures.note(format!("container {container}"), result)? {
                Some(true) if draining => collected.drained += 1,
                Some(true) => collected.dead.push(container),
                Some(false) | None => {}
            }
        }
        files::collect(&self.files, &self.store, &self.locks, &mut collected.failures)?;
        Ok(collected)
    }

    /// Collects the sandbox of that number if it is dead, so that what it holds is free. True when it went.
    pub(in crate::engine) fn collect_if_dead(&mut self, number: i64) -> Result<bool> {
        if self.drains.waiting.iter().any(|(sandbox, _)| sandbox.number == number) {
            // Drained by this process, after an earlier attach of the container.
            self.finish()?;
            return Ok(true);
        }
        // Another process may begin to collect it meanwhile, and may leave the draining to a child.
        for _ in 0..4 {
            let Some(sandbox) = self.store.read().sandbox(number)? else { return Ok(true) };
            if self.collect_sandbox(sandbox.clone())? {
                return Ok(true);
            }
            if !self.is_leaving(&sandbox) {
                return Ok(false);
            }
            self.wait_for(&sandbox)?;
        }
        Ok(false)
    }

    /// Makes addresses free, or waits for one that another process is about to free. False where none can be expected.
    pub(in crate::engine) fn free_addresses(&mut self) -> Result<bool> {
        if !self.drains.waiting.is_empty() {
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
        for sandbox in self.store.read().sandboxes()? {
            if self.is_leaving(&sandbox) {
                self.wait_for(&sandbox)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether another process detaches the sandbox, or could collect it.
    fn is_leaving(&mut self, sandbox: &Sandbox) -> bool {
        matches!(sandbox.state, State::Detaching | State::Draining) || self.life(sandbox) == Life::Dead
    }

    fn collect_sandbox(&mut self, sandbox: Sandbox) -> Result<bool> {
        // Another process that holds it is at work on this sandbox.
        let place = place_of(&sandbox);
        let Some(lock) = self.locks.attempt(place)? else { return Ok(false) };
        lock.inherit()?;
        let Some(sandbox) = self.store.read().sandbox(sandbox.number)? else { return Ok(true) };
        if place_of(&sandbox) != place {
            // It drains by now, which has a lock of its own.
            drop(lock);
            return self.collect_sandbox(sandbox);
        }
        if verdict(sandbox.state, || self.life(&sandbox)) == Verdict::Keep {
            return Ok(false);
        }
        if sandbox.state != State::Draining {
            info!(self.log, "collecting"; "container" => %sandbox.container, "state" => %sandbox.state);
        }
        self.take_away(sandbox)?;
        Ok(true)
    }

    /// Detaches a container of which it is unknown whether it lives, because a person says that it does not. Returns its id.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such container, [`Error::Conflict`] where there are several or it lives.
    pub fn forget(&mut self, container: &str) -> Result<String> {
        let sandboxes = self.sandboxes_of(container)?;
        let [sandbox] = &sandboxes[..] else { return Err(several(container, &sandboxes)) };
        let Some((sandbox, _worker)) = alone_at(&self.locks, &self.store, sandbox)? else {
            return Ok(sandbox.container.to_string());
        };
        if sandbox.state == State::Attached && self.life(&sandbox) == Life::Alive {
            let why = "runs, or its network namespace is held by something else; stop it first";
            return Err(Error::Conflict(format!("container {} {why}", sandbox.container)));
        }
        let name = sandbox.container.to_string();
        info!(self.log, "forgetting"; "container" => &name);
        self.take_away(sandbox)?;
        Ok(name)
    }
}

fn several(container: &str, sandboxes: &[Sandbox]) -> Error {
    let of = |sandbox: &Sandbox| format!("{} of bundle {}", sandbox.container, sandbox.bundle);
    let all: Vec<String> = sandboxes.iter().map(of).collect();
    Error::Conflict(format!("several containers are called {}: {}", quoted(container), all.join(", ")))
}
