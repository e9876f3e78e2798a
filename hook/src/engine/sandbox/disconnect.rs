//! Disconnecting a container that runs from a network: the detach of one endpoint.

use slog::info;

use super::connect::leaving;
use crate::decide::liveness::Life;
use crate::decide::plan;
use crate::driver::SandboxStep;
use crate::engine::{Engine, Error, Result};
use crate::kernel::{Netns, perform};
use crate::model::{Endpoint, Key, NetworkName, Route, Sandbox, State, quoted};

impl Engine {
    /// Disconnects the container that is called `container` from `network`. What leads to it by that network goes to the
    /// next one that it is on. The link is deleted when the engine is closed. Of a container that does not run, the
    /// connection is not made again with its next start.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such container, or it is not on that network; [`Error::Conflict`] where it
    /// does not run, and no connection of it to that network is kept.
    pub fn disconnect(&mut self, container: &str, network: &NetworkName) -> Result<()> {
        let (mut sandbox, _alone) = match self.running(container) {
            Err(Error::NotFound(_)) if self.keep_no_more_by_name(container, network)? => return Ok(()),
            running => running?,
        };
        // First, so that one that is cut off does not come back.
        let was_kept = self.keep_no_more(&sandbox.keeping_key(), network)?;
        let netns = match self.namespace_of(&sandbox) {
            // Its endpoint goes with it. One that cannot be looked at may be on the network.
            Err(_) if was_kept && self.life(&sandbox) == Life::Dead => return Ok(()),
            found => found?,
        };
        let is_on = |sandbox: &Sandbox| sandbox.endpoints.iter().any(|endpoint| endpoint.network == *network);
        let was_on = is_on(&sandbox);
        if self.complete_disconnects(sandbox.number)? {
            sandbox = self.store.read().sandbox(sandbox.number)?.unwrap_or(sandbox);
            if was_on && !is_on(&sandbox) {
                return Ok(());
            }
        }
        let found = sandbox.endpoints.iter().find(|endpoint| endpoint.network == *network);
        let Some(endpoint) = found.map(|endpoint| endpoint.number) else {
            return Err(Error::NotFound(format!("container {} is not on network {network}", sandbox.container)));
        };
        self.rearrange(sandbox.number, Some(&netns), leaving(&[endpoint]))?;
        self.leave(&sandbox, endpoint)?;
        info!(self.log, "disconnected"; "container" => %sandbox.container, "network" => %network);
        Ok(())
    }

    /// Keeps no connection to `network` any more of the container that is not attached and is called so. False where it
    /// had none.
    fn keep_no_more_by_name(&mut self, container: &str, network: &NetworkName) -> Result<bool> {
        let keeping = self.store.read().keeping()?;
        let mut called = keeping.iter().filter(|(_, kept)| kept.is_called(container) && kept.has(network));
        match (called.next(), called.next()) {
            (None, _) => Ok(false),
            (Some((key, _)), None) => self.keep_no_more(key, network),
            (Some(_), Some(_)) => Err(Error::Conflict(format!(
                "several containers with a connection to {network} are called {}; say the whole id of one",
                quoted(container)
            ))),
        }
    }

    /// True where one was kept.
    fn keep_no_more(&mut self, key: &Key, network: &NetworkName) -> Result<bool> {
        let is_kept = self.store.read().kept_connections(key)?.iter().any(|kept| kept.network == *network);
        if is_kept {
            self.store.write(|store| store.keep_no_more(key, Some(network)))?;
        }
        Ok(is_kept)
    }

    /// Goes on with connects and disconnects of a container that were cut off: the endpoint goes. True where there were
    /// any. The caller holds the sandbox's lock.
    pub(in crate::engine) fn complete_disconnects(&mut self, number: i64) -> Result<bool> {
        let Some(sandbox) = self.store.read().sandbox(number)? else { return Ok(false) };
        let unfinished: Vec<i64> = unfinished(&sandbox).collect();
        if unfinished.is_empty() {
            return Ok(false);
        }
        let netns = self.netns_if_alive(&sandbox)?;
        self.rearrange(number, netns.as_ref(), leaving(&unfinished))?;
        // Before the store forgets them: a command that goes on after this one was cut off would see nothing to move.
        self.follow_the_store(&sandbox, netns.as_ref())?;
        unfinished.iter().try_for_each(|endpoint| self.leave(&sandbox, *endpoint))?;
        Ok(true)
    }

    /// The namespace of a sandbox; none where it is gone.
    ///
    /// # Errors
    /// [`Error::Conflict`] where it cannot be looked at.
    fn netns_if_alive(&mut self, sandbox: &Sandbox) -> Result<Option<Netns>> {
        match self.namespace_of(sandbox) {
            Ok(netns) => Ok(Some(netns)),
            Err(_) if self.life(sandbox) == Life::Dead => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has the default route and the published ports of a container lead where the store says, whatever was moved before
    /// a connect or disconnect of `before` was cut off.
    fn follow_the_store(&mut self, before: &Sandbox, netns: Option<&Netns>) -> Result<()> {
        self.rules.reload_if_different(&self.store, &mut self.links)?;
        let (Some(netns), Some(now)) = (netns, self.store.read().sandbox(before.number)?) else { return Ok(()) };
        for endpoint in before.endpoints.iter().filter(|endpoint| endpoint.state != State::Attached) {
            let Some(network) = self.store.read().network(&endpoint.network)? else { continue };
            for Route::Default(from) in plan::default_routes(&network, &endpoint.addresses) {
                let mut gateways = now.endpoints.iter().flat_map(Endpoint::gateways);
                let to = gateways.find(|to| to.is_ipv4() == from.is_ipv4());
                self.warn_of(perform::inside(netns, &[SandboxStep::MoveDefaultRoute { from, to }], None));
            }
        }
        Ok(())
    }
}

/// The endpoints of an attached sandbox that are not attached.
fn unfinished(sandbox: &Sandbox) -> impl Iterator<Item = i64> {
    sandbox.endpoints.iter().filter(|endpoint| endpoint.state != State::Attached).map(|endpoint| endpoint.number)
}
