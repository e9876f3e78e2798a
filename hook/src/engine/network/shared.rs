//! What the endpoints of a network share on the host.

use crate::driver::{self, EndpointStep, NetworkStep};
use crate::engine::{Engine, Result};
use crate::kernel::perform;
use crate::model::Network;
use crate::store::Store;

impl Engine {
    /// Makes sure that what `step` of `network` describes exists with its settings. If it has to be made, the
    /// containers that were on it are connected again.
    pub(in crate::engine) fn ensure_shared(&mut self, network: &Network, step: &NetworkStep) -> Result<()> {
        perform::ensure(&mut self.links, &self.locks, step, || fellows(&self.store, network))
    }

    /// Makes what `step` of `network` describes, or completes it, and connects the containers on it again.
    pub(in crate::engine) fn restore_shared(&mut self, network: &Network, step: &NetworkStep) -> Result<()> {
        let fellows = fellows(&self.store, network)?;
        Ok(perform::make(&mut self.links, &self.locks, step, &fellows)?)
    }
}

/// What connects all the containers on `network`.
fn fellows(store: &Store, network: &Network) -> Result<Vec<EndpointStep>> {
    let mut steps = Vec::new();
    for sandbox in &store.read().sandboxes()? {
        let endpoints = sandbox.wired_endpoints().filter(|endpoint| endpoint.network == network.name);
        let step = |endpoint| driver::of_endpoint(network, endpoint, &sandbox.alias(endpoint));
        steps.extend(endpoints.flat_map(step));
    }
    Ok(steps)
}
