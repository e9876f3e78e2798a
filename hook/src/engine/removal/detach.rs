use slog::info;

use crate::decide::plan;
use crate::engine::locks::change_at_firewall;
use crate::engine::{Engine, Error, Result};
use crate::kernel::{self, Place, perform};
use crate::model::{Endpoint, Key, Sandbox, State};

/// How often a detach waits for rules that move.
const TRIES: usize = 4;

impl Engine {
    /// Detaches the container `key`, whose lock the caller holds; none there is no error.
    pub(in crate::engine) fn detach_found(&mut self, key: &Key) -> Result<()> {
        let (draining, sandbox) =
            self.store.read().at_one_moment(|store| Ok((store.draining_of(key)?, store.find(key)?)))?;
        self.take_up(draining)?;
        match sandbox {
            Some(sandbox) => self.detach_sandbox(sandbox),
            // It shared another's network, or a store that was lost had it: the names of its files follow from the key.
            None => {
                self.files.forget(key)?;
                self.files.remove(key)
            }
        }
    }

    /// Detaches a sandbox whose lock the caller holds. Nothing leads to its container any more then; its addresses
    /// stay leased until its links and flows are gone, which is left for [`Engine::finish`] or [`Engine::close`].
    pub(in crate::engine) fn detach_sandbox(&mut self, mut sandbox: Sandbox) -> Result<()> {
        // A connect or disconnect was cut off, or a detach that would have seen so: ports may still lead where the store
        // does not say any more.
        let was_moving = sandbox.state == State::Detaching
            || sandbox.state == State::Attached
                && sandbox.endpoints.iter().any(|endpoint| endpoint.state != State::Attached);
        if !sandbox.publish.is_empty() {
            self.withdraw(&mut sandbox)?;
            if was_moving {
                self.rules.reload_if_different(&self.store, &mut self.links)?;
            }
            self.step("firewall");
        }
        self.files.remove(&sandbox.key())?;
        for step in plan::links(&sandbox) {
            perform::shut(&mut self.links, &step)?;
        }
        self.step("links");
        // Where a link is gone already, flows are still to be forgotten. The locks come first: from the write on, a
        // collection takes up what has none.
        let lock = |endpoint: &Endpoint| self.locks.exclusive(Place::Drain(endpoint.number));
        let locks = sandbox.endpoints.iter().map(lock).collect::<kernel::Result<Vec<_>>>()?;
        let draining = self.store.write(|store| store.end(&sandbox))?;
        info!(self.log, "detached"; "container" => %sandbox.container, "name" => %sandbox.name, "draining" => !draining.is_empty());
        self.drains.waiting.extend(draining.into_iter().zip(locks));
        self.step("store");
        Ok(())
    }

    /// Takes away everything of a sandbox whose lock the caller holds, and waits until the kernel is done with it.
    pub(in crate::engine) fn take_away(&mut self, sandbox: Sandbox) -> Result<()> {
        self.detach_sandbox(sandbox)?;
        self.finish()
    }

    /// Lets no published port lead to the container any more.
    fn withdraw(&mut self, sandbox: &mut Sandbox) -> Result<()> {
        self.drains.deletion_lock = Some(self.locks.shared(Place::Deletion)?);
        for _ in 0..TRIES {
            let lock = change_at_firewall(&self.locks)?;
            let row = self.store.write(|store| {
                // From here on a reload of the ruleset leaves the sandbox out.
                store.set_state(sandbox, State::Detaching)?;
                store.host_row()
            })?;
            if row.former_firewalls.is_empty() {
                return self.rules.close_for(sandbox, &row, &mut self.links);
            }
            // A process that moves the rules was killed before it did: the former firewall has the ports.
            drop(lock);
            self.rules.finish_moving(&mut self.store, &mut self.links)?;
        }
        Err(Error::Conflict("the rules were being moved to another firewall each time; try again".into()))
    }
}
