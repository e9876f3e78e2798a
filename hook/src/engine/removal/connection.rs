//! One endpoint of a container that runs goes: by a disconnect, or since a connect or disconnect was cut off.

use slog::warn;

use crate::decide::liveness::{Life, Sight};
use crate::decide::plan;
use crate::driver::{self, SandboxStep};
use crate::engine::{Engine, Error, Failures, Result, alive};
use crate::kernel::{Netns, Place, perform};
use crate::model::{Endpoint, Route, Sandbox, State};

impl Engine {
    /// The network namespace of a container that runs.
    pub(in crate::engine) fn namespace_of(&self, sandbox: &Sandbox) -> Result<Netns> {
        let why = match Netns::look(&sandbox.namespace, &self.origin) {
            Sight::Alive(netns) => return Ok(netns),
            Sight::Gone => "does not run any more".to_owned(),
            Sight::Missing(why) | Sight::Hidden(why) | Sight::Failed(why) => {
                format!("cannot be looked at, so it stays as it is: {why}")
            }
        };
        Err(Error::Conflict(format!("container {} {why}", sandbox.container)))
    }

    /// Takes away an endpoint of a container that runs, to which nothing leads any more: its link is shut at once, and
    /// deleted when the engine is closed. `before` is the sandbox before anything moved, and `sandbox` since. All that a
    /// later command would have to repeat comes before the store says that the endpoint is gone; it is only tried for
    /// the container's files, which the container can have made such that they cannot be written.
    pub(in crate::engine) fn leave(&mut self, before: &Sandbox, sandbox: &Sandbox, endpoint: i64) -> Result<()> {
        let Some(leaving) = sandbox.endpoints.iter().find(|one| one.number == endpoint).cloned() else { return Ok(()) };
        for step in driver::undo(&leaving, &sandbox.alias(&leaving)) {
            perform::shut(&mut self.links, &step)?;
        }
        self.step("links");
        let mut failures = Failures::default();
        failures.note("hosts", self.rewrite_hosts(before, sandbox))?;
        let followed = self.files.follow_names(before, sandbox, &self.config.dns_fallback);
        failures.note("resolv.conf", followed)?;
        if let Err(failures) = failures.into_result() {
            warn!(self.log, "the files of container {} stay as they were: {failures}", sandbox.container);
        }
        self.step("files");
        let lock = self.locks.exclusive(Place::Drain(endpoint))?;
        let draining = self.store.write(|store| {
            let Some(mut now) = store.sandbox(before.number)? else { return Ok(None) };
            store.disconnect(&mut now, endpoint)
        })?;
        self.drains.waiting.extend(draining.map(|draining| (draining, lock)));
        self.step("store");
        Ok(())
    }

    /// Goes on with connects and disconnects of `sandbox` that were cut off: their endpoints go. True where there were any.
    /// The caller holds the sandbox's lock.
    pub(in crate::engine) fn complete_disconnects(&mut self, sandbox: &Sandbox) -> Result<bool> {
        let unfinished: Vec<i64> = unfinished(sandbox).collect();
        if unfinished.is_empty() {
            return Ok(false);
        }
        let netns = self.netns_if_alive(sandbox)?;
        let after = self.rearrange(sandbox.number, netns.as_ref(), |_, sandbox| {
            leaving(sandbox, &unfinished);
            Ok(())
        })?;
        // Before the store forgets them: a command that goes on after this one was cut off would see nothing to move.
        self.follow_the_store(sandbox, netns.as_ref())?;
        let mut failures = Failures::default();
        for endpoint in unfinished {
            let left = self.leave(sandbox, &after, endpoint);
            failures.note(format!("container {}", sandbox.container), left)?;
        }
        failures.into_result().map(|()| true)
    }

    /// The same of the sandbox of that number, as it is now.
    pub(in crate::engine) fn complete_disconnects_of(&mut self, number: i64) -> Result<()> {
        let found = self.store.read().sandbox(number)?;
        found.map_or(Ok(()), |sandbox| self.complete_disconnects(&sandbox).map(drop))
    }

    /// The namespace of a sandbox; none where it is gone.
    ///
    /// # Errors
    /// [`Error::Conflict`] where it cannot be looked at.
    fn netns_if_alive(&mut self, sandbox: &Sandbox) -> Result<Option<Netns>> {
        match self.namespace_of(sandbox) {
            Ok(netns) => Ok(Some(netns)),
            Err(_) if alive::life(&mut self.links, &self.origin, sandbox) == Life::Dead => Ok(None),
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

/// Says of those endpoints that they leave.
pub(in crate::engine) fn leaving(sandbox: &mut Sandbox, endpoints: &[i64]) {
    let all = sandbox.endpoints.iter_mut().filter(|one| endpoints.contains(&one.number));
    all.for_each(|one| one.state = State::Detaching);
}

/// Whether a connect or disconnect of the sandbox was cut off.
pub(in crate::engine) fn is_unfinished(sandbox: &Sandbox) -> bool {
    unfinished(sandbox).next().is_some()
}

/// The endpoints of an attached sandbox that are not attached.
fn unfinished(sandbox: &Sandbox) -> impl Iterator<Item = i64> {
    sandbox.endpoints.iter().filter(|endpoint| endpoint.state != State::Attached).map(|endpoint| endpoint.number)
}
