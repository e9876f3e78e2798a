//! Whether the kernel holds what an attached sandbox says, and repair of what it does not.

use crate::driver::{self, EndpointStep};
use crate::engine::{Engine, Result};
use crate::kernel::perform::{self, EndpointFault};
use crate::model::{Endpoint, Network, Sandbox, State};

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
        for Connected { endpoint, network, steps } in &connected {
            if let Some(network) = network {
                self.restore_missing(sandbox, network, steps)?;
                self.answer_for(endpoint)?;
            }
        }
        Ok(true)
    }

    /// Whether a link of an attached sandbox is missing, or not as it was made; none where the sandbox went meanwhile.
    /// Its rules and files are not looked at.
    ///
    /// # Errors
    /// When the kernel or the store cannot be asked.
    pub fn is_damaged(&mut self, sandbox: &Sandbox) -> Result<Option<bool>> {
        if !self.has_fault(sandbox)? {
            return Ok(Some(false));
        }
        // A detach, or a disconnect, may have begun since the store was read.
        match self.store.read().sandbox(sandbox.number)? {
            Some(now) if now == *sandbox => Ok(Some(true)),
            Some(now) => Ok(Some(now.state == State::Attached && self.has_fault(&now)?)),
            None => Ok(None),
        }
    }

    fn has_fault(&mut self, sandbox: &Sandbox) -> Result<bool> {
        for Connected { endpoint, network, steps } in self.connected(sandbox)? {
            if endpoint.state != State::Attached {
                continue;
            }
            for step in &steps {
                if perform::endpoint_fault(&mut self.links, step)?.is_some() {
                    return Ok(true);
                }
            }
            if network.is_none() || !self.answers_for(endpoint)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What connects each endpoint of `sandbox`.
    pub(in crate::engine) fn connected<'s>(&self, sandbox: &'s Sandbox) -> Result<Vec<Connected<'s>>> {
        let mut connected = Vec::new();
        for endpoint in &sandbox.endpoints {
            let (network, alias) = (self.store.read().network(&endpoint.network)?, sandbox.alias(endpoint));
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
