use std::os::fd::AsFd;

use slog::{Discard, Logger, info, o};

use super::{Engine, Result};
use crate::config::Config;
use crate::kernel::{self, Lock, Nftables, Place};
use crate::model::{Key, Mode, Protocol, Record, State};

/// What a detach leaves for later: links that the kernel takes its time to delete, and a netfilter socket that it
/// takes as long to close. Nothing leads to the container any more; its addresses stay leased until the links are gone.
#[must_use = "until it is finished, the record drains"]
pub struct Residue {
    record: Record,
    /// Indexes of links to delete.
    links: Vec<u32>,
    firewall: Option<Nftables>,
    /// Tells others that somebody is at it.
    drain: Option<Lock>,
}

impl Engine {
    /// Takes away everything of the container `key`. None there is no error: poststop comes after a failed attach, too.
    ///
    /// # Errors
    /// Those of the kernel and the store; the record stays, so that it can be tried again.
    pub fn detach(&mut self, key: &Key) -> Result<()> {
        let _sandbox = self.locks.exclusive(Place::Sandbox(key.lock_offset()))?;
        let Some(record) = self.store.read().find(key)? else { return Ok(()) };
        self.detach_record(record)?.finish_in_background(self)
    }

    /// Detaches a record whose sandbox lock the caller holds.
    pub(super) fn detach_record(&mut self, mut record: Record) -> Result<Residue> {
        let firewall = self.withdraw(&mut record)?;
        self.step("firewall");
        let mut links = Vec::new();
        for endpoint in &record.endpoints {
            if let Some(index) = self.links.ours(endpoint.attachment.host_interface())? {
                self.links.close_port(index)?;
                links.push(index);
            }
        }
        self.step("links");
        info!(self.log, "detached"; "draining" => links.len());
        let mut drain = None;
        if links.is_empty() {
            self.store.write(|store| store.remove(record.number))?;
        } else {
            drain = Some(self.locks.exclusive(Place::Drain(record.number))?);
            self.store.write(|store| store.set_state(&mut record, State::Draining))?;
        }
        self.step("store");
        Ok(Residue { record, links, firewall, drain })
    }

    /// Lets nothing of the host lead to the container any more. Returns the socket over which elements were deleted:
    /// closing it takes the kernel 5 to 20 ms.
    fn withdraw(&mut self, record: &mut Record) -> Result<Option<Nftables>> {
        if record.mode != Mode::Bridge {
            return Ok(None);
        }
        let change = self.locks.shared(Place::Firewall)?;
        // From here on a reload of the ruleset leaves the record out.
        self.store.write(|store| store.set_state(record, State::Detaching))?;
        let mut firewall = Nftables::open()?;
        self.close_firewall(&mut firewall, record)?;
        drop(change);
        if record.publish.iter().any(|mapping| mapping.protocol == Protocol::Udp) {
            for address in record.endpoints.iter().filter_map(|endpoint| endpoint.ipv4()) {
                self.warn_of(kernel::flush_published_flows(address));
            }
        }
        Ok((!record.publish.is_empty()).then_some(firewall))
    }

    /// Deletes the links of a draining record, and then the record.
    pub(super) fn finish(&mut self, record: &Record) -> Result<()> {
        for endpoint in &record.endpoints {
            if let Some(index) = self.links.ours(endpoint.attachment.host_interface())? {
                self.links.delete(index)?;
            }
        }
        Ok(self.store.write(|store| store.remove(record.number))?)
    }
}

impl Residue {
    /// Finishes here and now; takes some 20 ms a link.
    pub(super) fn finish(self, engine: &mut Engine) -> Result<()> {
        if self.links.is_empty() { Ok(()) } else { engine.finish(&self.record) }
    }

    /// Finishes in a process of its own that nobody waits for. If it is killed, its lock is free, and collection goes on
    /// where it stopped.
    pub(super) fn finish_in_background(self, engine: &mut Engine) -> Result<()> {
        if self.links.is_empty() && self.firewall.is_none() {
            return Ok(());
        }
        let keep: Vec<_> = self.firewall.iter().map(AsFd::as_fd).chain(self.drain.iter().map(AsFd::as_fd)).collect();
        let (state_dir, record, links) = (&engine.state_dir, &self.record, &self.links);
        // The child has none of our descriptors, our log's and our store's included. What it leaves, `ocinet gc` finds.
        let work = || {
            if !links.is_empty() {
                let silent = Logger::root(Discard, o!());
                let _ = Engine::open(state_dir, Config::default(), silent).and_then(|mut engine| engine.finish(record));
            }
        };
        if kernel::in_background(&keep, work)? { Ok(()) } else { self.finish(engine) }
    }
}
