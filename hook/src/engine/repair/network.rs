use slog::info;

use crate::driver;
use crate::engine::locks::alone_at_firewall;
use crate::engine::{Definitions, Engine, Error, Result};
use crate::kernel::{Place, perform};
use crate::model::NetworkName;

impl Definitions {
    /// Removes the definition of `name`, and what is left of the network on the host. `engine` is `None` on an unused
    /// host.
    ///
    /// # Errors
    /// [`Error::Conflict`] where containers are on it, with their names.
    pub fn remove(&self, engine: Option<Engine>, name: &NetworkName) -> Result<()> {
        let changing = self.change()?;
        if let Some(mut engine) = engine {
            engine.refuse_network_in_use(name)?;
            for draining in engine.store.read().all_draining()? {
                if draining.endpoint.network == *name {
                    engine.await_drained(draining.endpoint.number)?;
                }
            }
            // Where a container has joined it since, it is said once more which.
            if !engine.forget_network(name)? {
                engine.refuse_network_in_use(name)?;
            }
            engine.store.write(|store| store.keep_none_to(name))?;
        }
        changing.remove(name)
    }
}

impl Engine {
    /// Refuses what would cut containers off.
    fn refuse_network_in_use(&mut self, name: &NetworkName) -> Result<()> {
        let sandboxes = self.sandboxes()?;
        let is_on = |network: &NetworkName| network == name;
        let on = sandboxes.iter().filter(|sandbox| sandbox.endpoints.iter().any(|endpoint| is_on(&endpoint.network)));
        let containers: Vec<&str> = on.map(|sandbox| sandbox.container.as_str()).collect();
        if containers.is_empty() {
            return Ok(());
        }
        let all = containers.join(", ");
        let remedy = format!("delete them, or disconnect them: ocinet network disconnect {name} {}", containers[0]);
        Err(Error::Conflict(format!("network {name} is in use by {all}; {remedy}")))
    }

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
        for step in driver::undo_of_network(&network) {
            perform::undo_network(&mut self.links, &step)?;
        }
        self.store.write(|store| store.remove_network(name))?;
        Ok(true)
    }
}
