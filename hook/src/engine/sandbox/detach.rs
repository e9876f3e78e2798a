use slog::info;

use crate::decide::plan;
use crate::engine::{Engine, Failures, Result};
use crate::firewall::publish_needs;
use crate::kernel::{self, Place};
use crate::model::{Key, Sandbox, State};

impl Engine {
    /// Takes away everything of the container `key`. None there is no error: poststop comes after a failed attach, too.
    ///
    /// # Errors
    /// Those of the kernel and the store; the sandbox stays in the store, so that it can be tried again.
    pub fn detach(&mut self, key: &Key) -> Result<()> {
        let _alone = self.alone_at_sandbox(key)?;
        match self.detach_found(key) {
            Err(error) if Self::is_store_lost(&error) => {
                self.renew_store(&error)?;
                self.detach_found(key)
            }
            result => result,
        }
    }

    pub(in crate::engine) fn detach_found(&mut self, key: &Key) -> Result<()> {
        self.take_up_drains(key)?;
        match self.store.read().find(key)? {
            Some(sandbox) => self.detach_sandbox(sandbox),
            // A store that was lost may have had it. The name of its files follows from the key.
            None => self.remove_files(key),
        }
    }

    /// Goes on with earlier drains of the container that were cut off. The caller holds its sandbox lock.
    pub(in crate::engine) fn take_up_drains(&mut self, key: &Key) -> Result<()> {
        for sandbox in self.store.read().draining_of(key)? {
            let Some(drain) = self.locks.attempt(Place::Drain(sandbox.number))? else { continue };
            // It may have been finished before we had the lock.
            if self.store.read().sandbox(sandbox.number)?.is_some() {
                self.draining.push((sandbox, drain));
            }
        }
        Ok(())
    }

    /// Detaches a sandbox whose lock the caller holds. Nothing leads to its container any more then; its addresses
    /// stay leased until its links and flows are gone, which is left for [`Engine::finish`] or [`Engine::close`].
    pub(in crate::engine) fn detach_sandbox(&mut self, mut sandbox: Sandbox) -> Result<()> {
        if !sandbox.publish.is_empty() {
            self.withdraw(&mut sandbox)?;
            self.step("firewall");
        }
        self.remove_files(&sandbox.key())?;
        for step in plan::undo(&sandbox) {
            kernel::close(&mut self.links, &step)?;
        }
        // Where the links are gone already, flows are still to be forgotten.
        let draining = !sandbox.endpoints.is_empty();
        self.step("links");
        info!(self.log, "detached"; "container" => %sandbox.container, "draining" => draining);
        if draining {
            let drain = self.locks.exclusive(Place::Drain(sandbox.number))?;
            self.store.write(|store| store.set_state(&mut sandbox, State::Draining))?;
            self.draining.push((sandbox, drain));
        } else {
            self.store.write(|store| store.remove(sandbox.number))?;
        }
        self.step("store");
        Ok(())
    }

    /// Lets no published port lead to the container any more.
    fn withdraw(&mut self, sandbox: &mut Sandbox) -> Result<()> {
        self.finish_moving_rules()?;
        self.deletion_lock = Some(self.locks.shared(Place::Deletion)?);
        let lock = self.change_at_firewall()?;
        let row = self.store.write(|store| {
            // From here on a reload of the ruleset leaves the sandbox out.
            store.set_state(sandbox, State::Detaching)?;
            store.host_row()
        })?;
        let base = self.base_of(&row)?;
        self.backend_of(&row)?.remove(&publish_needs(sandbox), &base)?;
        drop(lock);
        Ok(())
    }

    /// Drains the sandboxes that were detached here. Some 20 ms a link.
    ///
    /// # Errors
    /// Those of the kernel and the store; what is left is collected later.
    pub fn finish(&mut self) -> Result<()> {
        let mut failures = Failures::default();
        for (sandbox, _drain) in std::mem::take(&mut self.draining) {
            let drained = self.drain(&sandbox);
            failures.note(format!("container {}", sandbox.container), drained)?;
        }
        failures.into_result()
    }

    /// Deletes what is left of a draining sandbox in the kernel, and then its row in the store. The caller holds its drain lock.
    pub(in crate::engine) fn drain(&mut self, sandbox: &Sandbox) -> Result<()> {
        self.clear_addresses(sandbox)?;
        Ok(self.store.write(|store| store.remove(sandbox.number))?)
    }

    /// Takes away what the kernel holds of `sandbox`, while its addresses are still leased.
    pub(in crate::engine) fn clear_addresses(&mut self, sandbox: &Sandbox) -> Result<()> {
        for step in plan::undo(sandbox) {
            kernel::undo(&mut self.links, &mut self.flows, &step)?;
        }
        Ok(())
    }
}
