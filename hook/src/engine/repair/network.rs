use slog::info;

use crate::driver;
use crate::engine::locks::alone_at_firewall;
use crate::engine::{Engine, Result};
use crate::kernel::{Place, perform};
use crate::model::NetworkName;

impl Engine {
    /// Takes a network on which no endpoint is off the host and out of the store: its rules, what its endpoints shared,
    /// and at last its row, so that one that was cut off is done again. Its definition stays. False where an endpoint is
    /// on it, be it that it drains.
    ///
    /// # Errors
    /// Those of the kernel and the store.
    pub fn forget_network(&mut self, name: &NetworkName) -> Result<bool> {
        // While it is held, no address is leased.
        let _alone = alone_at_firewall(&self.locks)?;
        let Some(network) = self.store.read().network(name)? else { return Ok(true) };
        if self.store.read().is_network_used(name)? {
            return Ok(false);
        }
        info!(self.log, "removing what is left of a network"; "network" => %name);
        self.rules.load_without(&network, &self.store, &mut self.links)?;
        let _bridges = self.locks.exclusive(Place::Bridges)?;
        let networks = self.store.read().networks()?;
        self.remove_names_port(&network, &networks)?;
        for step in driver::undo_of_network(&network) {
            perform::undo_network(&mut self.links, &step)?;
        }
        self.store.write(|store| store.remove_network(name))?;
        Ok(true)
    }
}
