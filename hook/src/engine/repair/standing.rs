//! Whether the kernel holds what an attached sandbox says, and repair of what it does not.

use crate::driver::{self, EndpointStep};
use crate::engine::{Engine, Result};
use crate::kernel::perform::{self, EndpointFault};
use crate::model::{Endpoint, Network, Sandbox};

/// An endpoint with what connects it on the host.
pub(in crate::engine) struct Connected<'s> {
    pub endpoint: &'s Endpoint,
    /// None where the store does not know it.
    pub network: Option<Network>,
    /// None without the network.
    pub steps: Vec<EndpointStep>,
}

impl Engine {
    /// Whether everything on the host is as an attached sandbox says, after a repair of what can be repaired in place.
    /// False where a link is missing: then the container has to be wired anew.
    pub(in crate::engine) fn stands_again(&mut self, sandbox: &Sandbox) -> Result<bool> {
        let connected = self.connected(sandbox)?;
        for Connected { network, steps, .. } in &connected {
            if network.is_none() {
                return Ok(false);
            }
            for step in steps {
                if perform::endpoint_fault(&mut self.links, step)? == Some(EndpointFault::Missing) {
                    return Ok(false);
                }
            }
        }
        for Connected { network, steps, .. } in &connected {
            if let Some(network) = network {
                self.restore_missing(sandbox, network, steps)?;
            }
        }
        Ok(true)
    }

    /// What connects each endpoint of `sandbox`.
    pub(in crate::engine) fn connected<'s>(&self, sandbox: &'s Sandbox) -> Result<Vec<Connected<'s>>> {
        let alias = sandbox.alias();
        let mut connected = Vec::new();
        for endpoint in &sandbox.endpoints {
            let network = self.store.read().network(&endpoint.network)?;
            let steps = network.iter().flat_map(|network| driver::of_endpoint(network, endpoint, &alias)).collect();
            connected.push(Connected { endpoint, network, steps });
        }
        Ok(connected)
    }

    fn restore_missing(&mut self, sandbox: &Sandbox, network: &Network, steps: &[EndpointStep]) -> Result<()> {
        let guarded = self.rules.keeper.kind(&self.store)?.has_rules();
        for shared in driver::of_network(network, guarded) {
            if !perform::network_faults(&mut self.links, &shared)?.is_empty() {
                self.restore_shared(network, &shared)?;
            }
        }
        for step in steps {
            if perform::endpoint_fault(&mut self.links, step)?.is_some() {
                perform::rejoin(&mut self.links, step)?;
            }
        }
        if guarded {
            self.rules.restore_for(sandbox, network, &mut self.store, &mut self.links)?;
        }
        Ok(())
    }
}
