use std::path::Path;

use slog::{info, warn};

use crate::decide::liveness::{Life, Verdict, verdict};
use crate::engine::files;
use crate::engine::locks::{alone_at, place_of, place_of_draining};
use crate::engine::{Engine, Error, Failures, Result};
use crate::kernel;
use crate::model::{DrainingEndpoint, Sandbox, State, quoted};
use crate::store::{self, Holder, Read};

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
    /// How many sandboxes and draining endpoints went.
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
        let moved = self.rules.finish_moving(&mut self.store, &mut self.links);
        collected.failures.note("rules of another firewall", moved)?;
        for sandbox in self.store.read().sandboxes()? {
            let container = sandbox.container.to_string();
            let result = self.collect_sandbox(&sandbox);
            if collected.failures.note(format!("container {container}"), result)? == Some(true) {
                collected.dead.push(container);
            }
        }
        for draining in self.store.read().all_draining()? {
            let result = self.collect_draining(&draining);
            if collected.failures.note(format!("container {}", draining.container), result)? == Some(true) {
                collected.drained += 1;
            }
        }
        files::collect(&self.files, &self.store, &self.locks, &mut collected.failures)?;
        let members = self.files.collect_members(&self.origin);
        collected.failures.note("containers that share a network", members)?;
        let revived = self.revive_agent();
        collected.failures.note("name server", revived)?;
        let forgotten = self.keep_nothing_of_the_gone();
        collected.failures.note("connections that are kept", forgotten)?;
        Ok(collected)
    }

    /// Keeps no connections of containers whose bundles are gone, or others. A bundle that cannot be looked at is not
    /// gone.
    fn keep_nothing_of_the_gone(&mut self) -> Result<()> {
        for (key, kept) in self.store.read().keeping()? {
            let Some(then) = kept.directory else { continue };
            let bundle = Path::new(&kept.bundle);
            let is_other = || kernel::identity_of(bundle).is_some_and(|now| then.is_other(&now));
            if (kernel::is_gone(bundle) || is_other()) && self.store.read().find(&key)?.is_none() {
                self.store.write(|store| store.keep_no_more(&key, None))?;
            }
        }
        Ok(())
    }

    /// Collects the sandbox of that number if it is dead, so that what it holds is free. True when it went.
    pub(in crate::engine) fn collect_if_dead(&mut self, number: i64) -> Result<bool> {
        // Another process may begin to collect it meanwhile.
        for _ in 0..4 {
            let Some(sandbox) = self.store.read().sandbox(number)? else { return Ok(true) };
            if self.collect_sandbox(&sandbox)? {
                return Ok(true);
            }
            if !self.is_leaving(&sandbox) {
                return Ok(false);
            }
            self.wait_for(&sandbox)?;
        }
        Ok(false)
    }

    /// Waits until the endpoint of that number does not drain any more, after taking up a drain that was cut off.
    pub(in crate::engine) fn await_drained(&mut self, number: i64) -> Result<()> {
        // This process may drain it, after an earlier attach of the container.
        self.finish()?;
        // The process that drains it may be killed meanwhile.
        for _ in 0..4 {
            let Some(draining) = self.store.read().draining(number)? else { break };
            if self.collect_draining(&draining)? {
                break;
            }
            self.wait_at(place_of_draining(&draining))?;
        }
        Ok(())
    }

    /// Makes free what `holder` has, if that is dead or drains. True when it went.
    pub(in crate::engine) fn make_free(&mut self, holder: Holder) -> Result<bool> {
        let Some(number) = holder.endpoint else { return self.collect_if_dead(holder.sandbox) };
        // It may begin to drain meanwhile, while its container lives on or goes.
        for _ in 0..4 {
            let read = self.store.read();
            let (drains, is_connected) = read
                .at_one_moment(|store| Ok((store.draining(number)?.is_some(), has_endpoint(store, holder, number)?)))?;
            if drains {
                self.await_drained(number)?;
            } else if !is_connected {
                return Ok(true);
            } else if !self.collect_if_dead(holder.sandbox)? && has_endpoint(&self.store.read(), holder, number)? {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Makes one of the addresses free that `holders` had when there was none left, or waits for one that another
    /// process is about to free. False where all of them live.
    pub(in crate::engine) fn free_addresses(&mut self, holders: &[Holder]) -> Result<bool> {
        if !self.drains.waiting.is_empty() {
            self.finish()?;
            return Ok(true);
        }
        // What cannot be collected is no fault of the container that wants an address.
        let mut failures = self.collect()?.failures;
        for holder in holders {
            let freed = self.make_free(*holder);
            if failures.note("an address", freed)? == Some(true) {
                return Ok(true);
            }
        }
        if let Err(failures) = failures.into_result() {
            warn!(self.log, "not made free: {failures}");
        }
        Ok(false)
    }

    /// Whether another process detaches the sandbox, or could collect it.
    pub(in crate::engine) fn is_leaving(&mut self, sandbox: &Sandbox) -> bool {
        sandbox.state == State::Detaching || self.life(sandbox) == Life::Dead
    }

    /// Collects the sandbox that was `listed` if it is dead. True when it is gone.
    fn collect_sandbox(&mut self, listed: &Sandbox) -> Result<bool> {
        // Another process that holds it is at work on this sandbox.
        let Some(lock) = self.locks.attempt(place_of(listed))? else { return Ok(false) };
        lock.inherit()?;
        // A store that was rebuilt meanwhile has given other numbers.
        let Some(sandbox) = self.store.read().find(&listed.key())? else { return Ok(true) };
        if verdict(sandbox.state, || self.life(&sandbox)) == Verdict::Keep {
            if self.complete_disconnects(&sandbox)? {
                info!(self.log, "took a connection back that was cut off"; "container" => %sandbox.container);
            }
            return Ok(false);
        }
        info!(self.log, "collecting"; "container" => %sandbox.container, "state" => %sandbox.state);
        self.take_away(sandbox)?;
        Ok(true)
    }

    /// Goes on with a drain that was cut off. True when the endpoint is gone, false where another process drains it.
    fn collect_draining(&mut self, listed: &DrainingEndpoint) -> Result<bool> {
        let Some(_lock) = self.locks.attempt(place_of_draining(listed))? else { return Ok(false) };
        if let Some(draining) = self.store.read().draining(listed.endpoint.number)?
            && draining == *listed
        {
            self.drainer().drain(&draining)?;
        }
        Ok(true)
    }

    /// Detaches a container of which it is unknown whether it lives, because a person says that it does not. Returns
    /// its id.
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

/// Whether the sandbox of `holder` has its endpoint, which does not drain then.
fn has_endpoint(store: &Read<'_>, holder: Holder, number: i64) -> store::Result<bool> {
    let sandbox = store.sandbox(holder.sandbox)?;
    Ok(sandbox.is_some_and(|sandbox| sandbox.endpoints.iter().any(|one| one.number == number)))
}

fn several(container: &str, sandboxes: &[Sandbox]) -> Error {
    let of = |sandbox: &Sandbox| format!("{} of bundle {}", sandbox.container, sandbox.bundle);
    let all: Vec<String> = sandboxes.iter().map(of).collect();
    Error::Conflict(format!("several containers are called {}: {}", quoted(container), all.join(", ")))
}
