use crate::driver;
use crate::engine::locks::{place_of, place_of_draining};
use crate::engine::{Engine, Failures, Result};
use crate::kernel::{Flows, HostLinks, Lock, Place, perform};
use crate::model::{DrainingEndpoint, Sandbox};
use crate::store::Store;

/// What the kernel is not done with yet.
#[derive(Default)]
pub(in crate::engine) struct Drains {
    /// Held from a deletion in the firewall on until the kernel is done with it.
    pub deletion_lock: Option<Lock>,
    /// Endpoints whose links are still to be deleted, each with its drain lock.
    pub waiting: Vec<(DrainingEndpoint, Lock)>,
}

impl Engine {
    /// Goes on with earlier drains of a container that were cut off. The caller holds its sandbox lock.
    pub(in crate::engine) fn take_up(&mut self, drains: Vec<DrainingEndpoint>) -> Result<()> {
        for draining in drains {
            let Some(lock) = self.locks.attempt(place_of_draining(&draining))? else { continue };
            // It may have been finished before we had the lock.
            if self.store.read().draining(draining.endpoint.number)?.is_some() {
                self.drains.waiting.push((draining, lock));
            }
        }
        Ok(())
    }

    /// Drains the endpoints that were detached here. Some 20 ms a link.
    ///
    /// # Errors
    /// Those of the kernel and the store; what is left is collected later.
    pub fn finish(&mut self) -> Result<()> {
        let mut failures = Failures::default();
        for (draining, _lock) in std::mem::take(&mut self.drains.waiting) {
            let drained = drain(&mut self.store, &mut self.links, &mut self.flows, &draining);
            failures.note(format!("container {}", draining.container), drained)?;
        }
        failures.into_result()
    }

    /// Waits until no other process works on the sandbox.
    pub(in crate::engine) fn wait_for(&mut self, sandbox: &Sandbox) -> Result<()> {
        self.wait_at(place_of(sandbox))
    }

    /// Waits until no other process has the lock of that place. A detach takes some 20 ms.
    pub(in crate::engine) fn wait_at(&mut self, place: Place) -> Result<()> {
        // A process that waits must hold no lock that the others could wait for.
        self.finish()?;
        drop(self.locks.exclusive(place)?);
        Ok(())
    }
}

/// Deletes what is left of a draining endpoint in the kernel, and then its row in the store. The caller holds its drain
/// lock.
pub(in crate::engine) fn drain(
    store: &mut Store,
    links: &mut HostLinks,
    flows: &mut Flows,
    draining: &DrainingEndpoint,
) -> Result<()> {
    // A store that was rebuilt meanwhile gives the same numbers again.
    if store.read().draining(draining.endpoint.number)?.as_ref() != Some(draining) {
        return Ok(());
    }
    clear_addresses(links, flows, draining)?;
    Ok(store.write(|store| store.remove_draining(draining))?)
}

/// Takes away what the kernel holds of `draining`, while its addresses are still leased.
pub(in crate::engine) fn clear_addresses(
    links: &mut HostLinks,
    flows: &mut Flows,
    draining: &DrainingEndpoint,
) -> Result<()> {
    for step in driver::undo(&draining.endpoint, &draining.alias()) {
        perform::undo(links, flows, &step)?;
    }
    Ok(())
}
