use crate::decide::plan;
use crate::engine::locks::place_of;
use crate::engine::{Engine, Failures, Result};
use crate::kernel::{Lock, Place, perform};
use crate::model::{Key, Sandbox};

/// What the kernel is not done with yet.
#[derive(Default)]
pub(in crate::engine) struct Drains {
    /// Held from a deletion in the firewall on until the kernel is done with it.
    pub deletion_lock: Option<Lock>,
    /// Sandboxes whose links are still to be deleted, each with its drain lock.
    pub waiting: Vec<(Sandbox, Lock)>,
}

impl Engine {
    /// Goes on with earlier drains of the container that were cut off. The caller holds its sandbox lock.
    pub(in crate::engine) fn take_up_drains(&mut self, key: &Key) -> Result<()> {
        for sandbox in self.store.read().draining_of(key)? {
            let Some(drain) = self.locks.attempt(Place::Drain(sandbox.number))? else { continue };
            // It may have been finished before we had the lock.
            if self.store.read().sandbox(sandbox.number)?.is_some() {
                self.drains.waiting.push((sandbox, drain));
            }
        }
        Ok(())
    }

    /// Drains the sandboxes that were detached here. Some 20 ms a link.
    ///
    /// # Errors
    /// Those of the kernel and the store; what is left is collected later.
    pub fn finish(&mut self) -> Result<()> {
        let mut failures = Failures::default();
        for (sandbox, _drain) in std::mem::take(&mut self.drains.waiting) {
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
            perform::undo(&mut self.links, &mut self.flows, &step)?;
        }
        Ok(())
    }

    /// Waits until no other process works on the sandbox. A detach takes some 20 ms.
    pub(in crate::engine) fn wait_for(&mut self, sandbox: &Sandbox) -> Result<()> {
        // A process that waits must hold no lock that the others could wait for.
        self.finish()?;
        drop(self.locks.exclusive(place_of(sandbox))?);
        Ok(())
    }
}
