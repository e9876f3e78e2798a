use ipnet::IpNet;

use crate::driver::{self, Undo};
use crate::engine::locks::{place_of, place_of_draining};
use crate::engine::{Engine, Error, Failures, Result};
use crate::kernel::{Flows, HostLinks, Lock, LockFile, Place, perform};
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
        let (waiting, _locks): (Vec<_>, Vec<_>) = std::mem::take(&mut self.drains.waiting).into_iter().unzip();
        self.drainer().drain_all(&waiting)?.into_result()
    }

    /// What drains endpoints in this process.
    pub(in crate::engine) fn drainer(&mut self) -> Drainer<'_> {
        let Self { store, links, flows, locks, .. } = self;
        Drainer { store, links, flows, locks }
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

/// Removes draining endpoints from the kernel and then from the store.
pub(in crate::engine) struct Drainer<'a> {
    pub store: &'a mut Store,
    pub links: &'a mut HostLinks,
    pub flows: &'a mut Flows,
    pub locks: &'a LockFile,
}

impl Drainer<'_> {
    /// Deletes what the kernel holds of the endpoints in `listed`, and then their rows. The caller holds the drain lock
    /// of each.
    ///
    /// # Errors
    /// That the store is lost. What stays is a failure among those of the answer.
    pub fn drain_all(&mut self, listed: &[DrainingEndpoint]) -> Result<Failures> {
        let mut failures = Failures::default();
        let mut linkless = Vec::new();
        for draining in listed {
            let deleted = self.delete_links(draining);
            if failures.note(format!("container {}", draining.container), deleted)? == Some(true) {
                linkless.push(draining);
            }
        }
        let removed = self.remove_rows(&linkless);
        failures.note("detached endpoints", removed)?;
        Ok(failures)
    }

    /// The same for one endpoint.
    ///
    /// # Errors
    /// Those of the kernel and the store.
    pub fn drain(&mut self, draining: &DrainingEndpoint) -> Result<()> {
        if self.delete_links(draining)? { self.remove_rows(&[draining]) } else { Ok(()) }
    }

    /// Deletes its links, with what leads to its addresses. False where its row is not in the store.
    fn delete_links(&mut self, draining: &DrainingEndpoint) -> Result<bool> {
        // A store that was rebuilt meanwhile gives the same numbers again.
        if self.store.read().draining(draining.endpoint.number)?.as_ref() != Some(draining) {
            return Ok(false);
        }
        for step in driver::undo(&draining.endpoint, &draining.alias()) {
            if !matches!(step, Undo::Flows(_)) {
                perform::undo(self.links, self.flows, &step)?;
            }
        }
        Ok(true)
    }

    /// Removes the rows of endpoints whose links are gone, after their flows. One walk through conntrack, some 10 ms,
    /// serves all processes that drain.
    fn remove_rows(&mut self, linkless: &[&DrainingEndpoint]) -> Result<()> {
        if linkless.is_empty() {
            return Ok(());
        }
        // The rows go while no process walks. Otherwise it could delete the flows of the next container at an address.
        let _round = self.locks.join_round(Place::Flows, || {
            let draining = self.store.read().all_draining()?;
            let addresses = draining.iter().flat_map(|draining| &draining.endpoint.addresses);
            let addresses: Vec<_> = addresses.map(IpNet::addr).collect();
            Ok::<_, Error>(self.flows.conntrack()?.forget_flows_of(&addresses)?)
        })?;
        Ok(self.store.write(|store| linkless.iter().try_for_each(|draining| store.remove_draining(draining)))?)
    }
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
