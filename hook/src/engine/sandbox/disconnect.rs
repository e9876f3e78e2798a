//! Disconnecting a container that runs from a network: the detach of one endpoint.

use std::cell::Cell;

use slog::info;

use crate::decide::liveness::Life;
use crate::engine::removal::{is_unfinished, leaving};
use crate::engine::repair::Try;
use crate::engine::{Engine, Error, Result};
use crate::model::{Key, NetworkName, Sandbox, quoted};

impl Engine {
    /// Disconnects the container that is called `container` from `network`. What leads to it by that network goes to the
    /// next one that it is on. The link is deleted when the engine is closed. Of a container that does not run, the
    /// connection is not made again with its next start.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such container, or it is not on that network; [`Error::Conflict`] where it
    /// does not run, and no connection of it to that network is kept.
    pub fn disconnect(&mut self, container: &str, network: &NetworkName) -> Result<()> {
        let was_on = Cell::new(false);
        self.with_whole_store(|engine, nth| match engine.disconnect_found(container, network, &was_on) {
            // The first try had shut its link, and a rebuild takes that for one that left.
            Err(Error::NotFound(_)) if nth == Try::AfterRebuild && was_on.get() => Ok(()),
            result => result,
        })
    }

    /// One try. It notes whether the container `was_on` that network before.
    pub(super) fn disconnect_found(
        &mut self,
        container: &str,
        network: &NetworkName,
        was_on: &Cell<bool>,
    ) -> Result<()> {
        let (mut sandbox, _alone) = match self.running(container) {
            Err(Error::NotFound(_)) if self.keep_no_more_by_name(container, network)? => return Ok(()),
            running => running?,
        };
        self.log_as(&sandbox);
        let key = sandbox.keeping_key();
        let netns = match self.namespace_of(&sandbox) {
            // Its endpoint goes with it. One that cannot be looked at may be on the network.
            Err(error) if self.life(&sandbox) == Life::Dead => {
                return if self.keep_no_more(&key, network)? { Ok(()) } else { Err(error) };
            }
            found => found?,
        };
        let on = |sandbox: &Sandbox| {
            sandbox.endpoints.iter().find(|endpoint| endpoint.network == *network).map(|endpoint| endpoint.number)
        };
        if is_unfinished(&sandbox) {
            // First, so that one that is cut off does not come back.
            let was_wanted = self.keep_no_more(&key, network)? || on(&sandbox).is_some();
            self.complete_disconnects(&sandbox)?;
            sandbox = self.store.read().sandbox(sandbox.number)?.unwrap_or(sandbox);
            if was_wanted && on(&sandbox).is_none() {
                return Ok(());
            }
        }
        let Some(endpoint) = on(&sandbox) else {
            // It can be kept all the same, and not be joined.
            return match self.keep_no_more(&key, network)? {
                true => Ok(()),
                false => Err(Error::NotFound(format!("container {} is not on network {network}", sandbox.container))),
            };
        };
        was_on.set(true);
        let after = self.rearrange(sandbox.number, Some(&netns), |store, sandbox| {
            leaving(sandbox, &[endpoint]);
            Ok(store.keep_no_more(&key, Some(network))?)
        })?;
        self.leave(&sandbox, &after, endpoint)?;
        info!(self.log, "disconnected"; "network" => %network);
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
}
