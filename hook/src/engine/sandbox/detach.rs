use ipnet::IpNet;
use slog::info;

use crate::engine::{Engine, Failures, Result};
use crate::firewall::publish_needs;
use crate::kernel::Place;
use crate::model::{Attachment, Key, Record, State};

impl Engine {
    /// Takes away everything of the container `key`. None there is no error: poststop comes after a failed attach, too.
    ///
    /// # Errors
    /// Those of the kernel and the store; the record stays, so that it can be tried again.
    pub fn detach(&mut self, key: &Key) -> Result<()> {
        let _sandbox = self.alone_at_sandbox(key)?;
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
            Some(record) => self.detach_record(record),
            // A store that was lost may have known it; its files are known by their name.
            None => self.remove_files(key),
        }
    }

    /// Goes on with earlier drains of the container, whose sandbox lock the caller holds, where whoever was at it was killed.
    pub(in crate::engine) fn take_up_drains(&mut self, key: &Key) -> Result<()> {
        for record in self.store.read().draining_of(key)? {
            let Some(drain) = self.locks.attempt(Place::Drain(record.number))? else { continue };
            // It may have been finished before we had the lock.
            if self.store.read().record(record.number)?.is_some() {
                self.draining.push((record, drain));
            }
        }
        Ok(())
    }

    /// Detaches a record whose sandbox lock the caller holds. Nothing leads to its container any more then; its addresses
    /// stay leased until its links and flows are gone, which is left for [`Engine::finish`] or [`Engine::close`].
    pub(in crate::engine) fn detach_record(&mut self, mut record: Record) -> Result<()> {
        if !record.publish.is_empty() {
            self.withdraw(&mut record)?;
            self.step("firewall");
        }
        self.remove_files(&record.key())?;
        for index in self.links_of(&record)? {
            self.links.shut(index)?;
        }
        // Where the links are gone already, flows are still to be forgotten.
        let draining = !record.endpoints.is_empty();
        self.step("links");
        info!(self.log, "detached"; "container" => %record.container, "draining" => draining);
        if draining {
            let drain = self.locks.exclusive(Place::Drain(record.number))?;
            self.store.write(|store| store.set_state(&mut record, State::Draining))?;
            self.draining.push((record, drain));
        } else {
            self.store.write(|store| store.remove(record.number))?;
        }
        self.step("store");
        Ok(())
    }

    /// Lets no published port lead to the container any more.
    fn withdraw(&mut self, record: &mut Record) -> Result<()> {
        self.finish_moving_rules()?;
        self.settling = Some(self.locks.shared(Place::Settling)?);
        let lock = self.change_at_firewall()?;
        let row = self.store.write(|store| {
            // From here on a reload of the ruleset leaves the record out.
            store.set_state(record, State::Detaching)?;
            store.host_row()
        })?;
        let base = self.base_of(&row)?;
        self.backend_of(&row)?.remove(&publish_needs(record), &base)?;
        drop(lock);
        Ok(())
    }

    /// Drains the records that were detached here. Some 20 ms a link.
    ///
    /// # Errors
    /// Those of the kernel and the store; what is left is collected later.
    pub fn finish(&mut self) -> Result<()> {
        let mut failures = Failures::default();
        for (record, _drain) in std::mem::take(&mut self.draining) {
            let drained = self.drain(&record);
            failures.note(format!("container {}", record.container), drained)?;
        }
        failures.into_result()
    }

    /// Deletes what is left of a draining record in the kernel, and then the record, whose drain lock the caller holds.
    pub(in crate::engine) fn drain(&mut self, record: &Record) -> Result<()> {
        self.clear_addresses(record)?;
        Ok(self.store.write(|store| store.remove(record.number))?)
    }

    /// Deletes the links of `record`, and then what would lead into the next container at its addresses: flows and neighbours. To
    /// be called while the addresses are still leased.
    pub(in crate::engine) fn clear_addresses(&mut self, record: &Record) -> Result<()> {
        for index in self.links_of(record)? {
            self.links.delete(index)?;
        }
        for endpoint in &record.endpoints {
            let Attachment::Bridge { bridge, .. } = &endpoint.attachment;
            for address in endpoint.addresses.iter().map(IpNet::addr) {
                self.conntrack()?.forget_flows_of(address)?;
                // Packets of those flows may have been on their way.
                self.links.forget_neighbour(bridge, address)?;
            }
        }
        Ok(())
    }
}
