use crate::engine::{Definitions, Engine, Error, Result};
use crate::model::NetworkName;

/// How often a removal waits for endpoints that drain.
const TRIES: usize = 4;

impl Definitions {
    /// Removes the definition of `name`, and what is left of the network on the host. `engine` is `None` on an unused
    /// host.
    ///
    /// # Errors
    /// [`Error::Conflict`] where containers are on it, with their names.
    pub fn remove(&self, engine: Option<Engine>, name: &NetworkName) -> Result<()> {
        let Some(mut engine) = engine else { return self.change()?.remove(name) };
        engine.with_whole_store(|engine, _| self.remove_found(engine, name))
    }

    fn remove_found(&self, engine: &mut Engine, name: &NetworkName) -> Result<()> {
        for _ in 0..TRIES {
            // Those that are waited for may take long, and meanwhile others choose and define networks.
            engine.await_all_drained(name)?;
            let changing = self.change()?;
            engine.refuse_network_in_use(name)?;
            if engine.forget_network(name)? {
                engine.store.write(|store| store.keep_none_to(name))?;
                return changing.remove(name);
            }
        }
        engine.refuse_network_in_use(name)?;
        Err(Error::Conflict(format!("links of network {name} are still being deleted; try again")))
    }
}

impl Engine {
    /// Waits until no endpoint on the network drains any more.
    fn await_all_drained(&mut self, name: &NetworkName) -> Result<()> {
        self.refuse_network_in_use(name)?;
        for draining in self.store.read().all_draining()? {
            if draining.endpoint.network == *name {
                self.await_drained(draining.endpoint.number)?;
            }
        }
        Ok(())
    }

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
}
