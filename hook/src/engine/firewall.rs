use slog::{info, warn};

use super::{Engine, Result};
use crate::firewall::{Backend, Needs, NetworkNeeds, Publish, publish_needs};
use crate::kernel::{self, Lock, Nftables, Place};
use crate::model::{Network, Record, State};

impl Engine {
    /// Puts in place what `record` needs. `change` is the shared lock under which its intent was written: until the
    /// kernel holds what the store says, nobody may load the ruleset from the store.
    pub(super) fn open_firewall(
        &mut self,
        firewall: &mut Nftables,
        record: &Record,
        network: &Network,
        change: Lock,
    ) -> Result<()> {
        let needs = NetworkNeeds::from(network);
        let forwards = kernel::forwarding()?;
        let closes = !forwards && self.config.close_forwarding && !self.store.read().closed_forwarding()?;
        if closes {
            self.store.write(|store| store.close_forwarding())?;
        }
        let whole = !closes && firewall.verify(&needs)?;
        if whole {
            firewall.apply(&publish_needs(record))?;
        }
        drop(change);
        if !whole {
            self.load_ruleset(firewall, &needs, closes)?;
        }
        if !forwards {
            kernel::switch_forwarding_on()?;
        }
        if let Some(obstacle) = firewall.obstacle(&needs)? {
            warn!(
                self.log,
                "chain {} of another program drops what containers forward; to let network {} pass: {}",
                obstacle.place,
                network.name,
                obstacle.remedy
            );
        }
        Ok(())
    }

    /// Takes away what `record` has in the firewall.
    pub(super) fn close_firewall(&mut self, firewall: &mut Nftables, record: &Record) -> Result<()> {
        Ok(firewall.remove(&publish_needs(record))?)
    }

    fn load_ruleset(&mut self, firewall: &mut Nftables, network: &NetworkNeeds, changed: bool) -> Result<()> {
        let _alone = self.locks.exclusive(Place::Firewall)?;
        if !changed && firewall.verify(network)? {
            // Whoever loaded it while we waited read our record too.
            return Ok(());
        }
        let all = self.all_needs()?;
        info!(self.log, "loading the ruleset"; "networks" => all.networks.len(), "ports" => all.publish.len());
        Ok(firewall.load(&all)?)
    }

    /// What the store says that the firewall must hold.
    fn all_needs(&self) -> Result<Needs> {
        let read = self.store.read();
        let wired = |record: &Record| matches!(record.state, State::Attaching | State::Attached);
        let publish: Vec<Publish> =
            read.records()?.iter().filter(|record| wired(record)).flat_map(publish_needs).collect();
        let networks = read.networks()?.iter().map(NetworkNeeds::from).collect();
        Ok(Needs { close_forwarding: read.closed_forwarding()?, networks, publish })
    }
}
