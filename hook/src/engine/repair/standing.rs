//! Whether the kernel holds what an attached sandbox says, and repair of what it does not.

use crate::decide::plan;
use crate::driver::{self, EndpointStep};
use crate::engine::{Engine, Result};
use crate::firewall::{NetworkNeeds, publish_needs};
use crate::kernel::{self, EndpointFault};
use crate::model::{Endpoint, Network, Sandbox};

/// An endpoint with what connects it on the host.
pub(in crate::engine) struct Connection<'s> {
    pub endpoint: &'s Endpoint,
    pub network: Network,
    pub steps: Vec<EndpointStep>,
}

impl Engine {
    /// Whether everything on the host is as an attached sandbox says, after a repair of what can be repaired in place. False
    /// where a link is missing: then the container has to be wired anew.
    pub(in crate::engine) fn stands_again(&mut self, sandbox: &Sandbox) -> Result<bool> {
        let Some(connections) = self.connections(sandbox)? else { return Ok(false) };
        for connection in &connections {
            for step in &connection.steps {
                if kernel::endpoint_fault(&mut self.links, step)? == Some(EndpointFault::Missing) {
                    return Ok(false);
                }
            }
        }
        for Connection { network, steps, .. } in &connections {
            self.restore_missing(sandbox, network, steps)?;
        }
        Ok(true)
    }

    /// What connects each endpoint of `sandbox`; none where the network of one is not in the store.
    pub(in crate::engine) fn connections<'s>(&self, sandbox: &'s Sandbox) -> Result<Option<Vec<Connection<'s>>>> {
        let alias = plan::alias(sandbox);
        let mut connections = Vec::new();
        for endpoint in &sandbox.endpoints {
            let Some(network) = self.store.read().network(&endpoint.network)? else { return Ok(None) };
            let steps = driver::of_endpoint(&network, endpoint, &alias);
            connections.push(Connection { endpoint, network, steps });
        }
        Ok(Some(connections))
    }

    fn restore_missing(&mut self, sandbox: &Sandbox, network: &Network, steps: &[EndpointStep]) -> Result<()> {
        let guarded = self.firewall_kind()?.has_rules();
        for shared in driver::of_network(network, guarded) {
            if !kernel::network_faults(&mut self.links, &shared)?.is_empty() {
                self.restore_shared(network, &shared)?;
            }
        }
        for step in steps {
            if kernel::endpoint_fault(&mut self.links, step)?.is_some() {
                kernel::rejoin(&mut self.links, step)?;
            }
        }
        if guarded {
            self.restore_rules(sandbox, network)?;
        }
        Ok(())
    }

    /// Loads the ruleset where anything of it, or a published port of `sandbox`, is missing, and lets the host forward.
    fn restore_rules(&mut self, sandbox: &Sandbox, network: &Network) -> Result<()> {
        let Some(needs) = NetworkNeeds::of(network) else { return Ok(()) };
        if !kernel::forwarding()? {
            self.forward()?;
        }
        self.load_ruleset(&needs, &publish_needs(sandbox))?;
        self.passes.add_missing(&self.locks, &needs.bridge)
    }
}
