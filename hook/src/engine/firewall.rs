use slog::{info, warn};

use super::{Engine, Result};
use crate::firewall::{Backend, Needs, NetworkNeeds, Publish, publish_needs};
use crate::kernel::{self, Lock, Nftables, Place};
use crate::model::{Network, Record};

impl Engine {
    /// Puts in place what `record` needs. `change` is the shared lock under which its intent was written: until the
    /// kernel holds what the store says, nobody may load the ruleset from the store.
    pub(super) fn open_firewall(&mut self, record: &Record, network: &Network, change: Lock) -> Result<()> {
        let network = NetworkNeeds::from(network);
        let forwards = kernel::forwarding()?;
        if !forwards && self.config.close_forwarding && !self.store.read().closed_forwarding()? {
            self.store.write(|store| store.close_forwarding())?;
        }
        let closed = self.store.read().closed_forwarding()?;
        let whole = self.firewall()?.verify(&network, closed)?;
        if whole {
            self.firewall()?.apply(&publish_needs(record))?;
        }
        drop(change);
        if !whole {
            self.load_ruleset(&network, closed)?;
        }
        if !forwards {
            kernel::switch_forwarding_on()?;
        }
        if let Some(obstacle) = self.firewall()?.obstacle(&network)? {
            let (place, bridge, remedy) = (obstacle.place, network.bridge, obstacle.remedy);
            warn!(self.log, "chain {place} of another program drops what {bridge} forwards; to let it pass: {remedy}");
        }
        Ok(())
    }

    fn load_ruleset(&mut self, network: &NetworkNeeds, closed: bool) -> Result<()> {
        let _alone = self.alone_at_firewall()?;
        // Whoever loaded it while we waited read our record too.
        if self.firewall()?.verify(network, closed)? { Ok(()) } else { self.load_all() }
    }

    /// The firewall holds what the store says and nothing else: not the port of a container that nobody remembers, whose
    /// address is another's by now.
    pub(super) fn level_firewall(&mut self) -> Result<()> {
        let _alone = self.alone_at_firewall()?;
        let all = self.all_needs()?;
        if self.firewall()?.matches(&all)? { Ok(()) } else { self.load_all() }
    }

    fn load_all(&mut self) -> Result<()> {
        let all = self.all_needs()?;
        info!(self.log, "loading the ruleset"; "networks" => all.networks.len(), "ports" => all.publish.len());
        Ok(self.firewall()?.load(&all)?)
    }

    /// The lock under which the ruleset is loaded. Were it free while a program of ours still loads, that could put back what
    /// others change after us: the program holds it, too.
    pub(super) fn alone_at_firewall(&self) -> Result<Lock> {
        let alone = self.locks.exclusive(Place::Firewall)?;
        alone.inherit()?;
        Ok(alone)
    }

    /// What the store says that the firewall must hold.
    pub(super) fn all_needs(&self) -> Result<Needs> {
        let read = self.store.read();
        let publish: Vec<Publish> =
            read.records()?.iter().filter(|record| record.state.is_wired()).flat_map(publish_needs).collect();
        let networks = read.networks()?.iter().map(NetworkNeeds::from).collect();
        Ok(Needs { close_forwarding: read.closed_forwarding()?, networks, publish })
    }

    /// The firewall, opened when it is first needed and kept: to close it can take long.
    pub(super) fn firewall(&mut self) -> Result<&mut Nftables> {
        if self.firewall.is_none() {
            self.firewall = Some(Nftables::open()?);
        }
        Ok(self.firewall.as_mut().expect("it was opened just now"))
    }
}
