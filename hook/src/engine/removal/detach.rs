use slog::info;

use crate::decide::plan;
use crate::engine::locks::change_at_firewall;
use crate::engine::{Engine, Result};
use crate::firewall::{Change, publish_needs};
use crate::kernel::{Place, perform};
use crate::model::{Key, Sandbox, State};

impl Engine {
    /// Detaches the container `key`, whose lock the caller holds; none there is no error.
    pub(in crate::engine) fn detach_found(&mut self, key: &Key) -> Result<()> {
        self.take_up_drains(key)?;
        match self.store.read().find(key)? {
            Some(sandbox) => self.detach_sandbox(sandbox),
            // A store that was lost may have had it. The name of its files follows from the key.
            None => self.files.remove(key),
        }
    }

    /// Detaches a sandbox whose lock the caller holds. Nothing leads to its container any more then; its addresses
    /// stay leased until its links and flows are gone, which is left for [`Engine::finish`] or [`Engine::close`].
    pub(in crate::engine) fn detach_sandbox(&mut self, mut sandbox: Sandbox) -> Result<()> {
        if !sandbox.publish.is_empty() {
            self.withdraw(&mut sandbox)?;
            self.step("firewall");
        }
        self.files.remove(&sandbox.key())?;
        for step in plan::undo(&sandbox) {
            perform::close(&mut self.links, &step)?;
        }
        // Where the links are gone already, flows are still to be forgotten.
        let draining = !sandbox.endpoints.is_empty();
        self.step("links");
        info!(self.log, "detached"; "container" => %sandbox.container, "draining" => draining);
        if draining {
            let drain = self.locks.exclusive(Place::Drain(sandbox.number))?;
            self.store.write(|store| store.set_state(&mut sandbox, State::Draining))?;
            self.drains.waiting.push((sandbox, drain));
        } else {
            self.store.write(|store| store.remove(sandbox.number))?;
        }
        self.step("store");
        Ok(())
    }

    /// Takes away everything of a sandbox whose lock the caller holds, and waits until the kernel is done with it.
    pub(in crate::engine) fn take_away(&mut self, sandbox: Sandbox) -> Result<()> {
        match sandbox.state {
            State::Draining => self.drain(&sandbox),
            State::Attaching | State::Attached | State::Detaching => {
                self.detach_sandbox(sandbox)?;
                self.finish()
            }
        }
    }

    /// Lets no published port lead to the container any more.
    fn withdraw(&mut self, sandbox: &mut Sandbox) -> Result<()> {
        self.finish_moving_rules()?;
        self.drains.deletion_lock = Some(self.locks.shared(Place::Deletion)?);
        let lock = change_at_firewall(&self.locks)?;
        let row = self.store.write(|store| {
            // From here on a reload of the ruleset leaves the sandbox out.
            store.set_state(sandbox, State::Detaching)?;
            store.host_row()
        })?;
        let (base, ports) = (self.base_of(&row)?, publish_needs(sandbox));
        self.backend_of(&row)?.apply(&Change { base, remove: &ports, ..Change::default() })?;
        drop(lock);
        Ok(())
    }
}
