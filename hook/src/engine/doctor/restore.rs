//! Putting right what is ours.

use slog::info;

use crate::decide::liveness::Sight;
use crate::driver::{self, SandboxStep};
use crate::engine::locks::place_of;
use crate::engine::repair::Connected;
use crate::engine::rules::not_forwarded;
use crate::engine::{Engine, Error, Failures, Result};
use crate::firewall::NetworkNeeds;
use crate::kernel::Netns;
use crate::kernel::perform::{self, EndpointFault};
use crate::model::{Sandbox, State};

impl Engine {
    /// Makes everything of ours as the store says, for the containers that run, and collects what the dead left. What
    /// is in order stays as it is.
    ///
    /// # Errors
    /// Those of the kernel and the store; what could be put right is. One container that cannot be keeps no other
    /// waiting.
    pub fn restore(&mut self) -> Result<()> {
        if let Err(error) = self.store.read().integrity().map_err(Error::from) {
            if !error.is_store_lost() {
                return Err(error);
            }
            self.renew_store(&error)?;
        }
        // Collection has the name server run, for which its namespace must be right.
        let renewed = self.renew_names_namespace();
        let mut failures = self.collect()?.failures;
        failures.note("name server", renewed)?;
        self.adopt()?;
        self.forget_stray_neighbours()?;
        self.forget_stray_proxies()?;
        let row = self.rules.follow_config(&mut self.store, &mut self.links)?;
        let guarded = self.rules.keeper.kind_of(&row)?.has_rules();
        // Before the settings of single links: where some of them forward already, forwarding of all is refused.
        self.restore_forwarding(guarded, &mut failures)?;
        for network in self.networks_in_use()? {
            for step in driver::of_network(&network, guarded) {
                let restored = self.restore_shared(&network, &step);
                failures.note(step.to_string(), restored)?;
            }
            let restored = self.restore_names_port(&network);
            failures.note(format!("name server on network {}", network.name), restored)?;
        }
        for sandbox in self.store.read().sandboxes()? {
            let restored = self.restore_links(&sandbox);
            failures.note(format!("container {}", sandbox.container), restored)?;
        }
        self.restore_rules(guarded, &mut failures)?;
        let fallback = self.config.dns_fallback.clone();
        self.refresh_resolvers(&fallback, &mut failures)?;
        failures.into_result()
    }

    fn restore_forwarding(&mut self, guarded: bool, failures: &mut Failures) -> Result<()> {
        let needs: Vec<NetworkNeeds> = self.networks_in_use()?.iter().filter_map(NetworkNeeds::of).collect();
        if guarded && !needs.is_empty() {
            let families = not_forwarded(needs.iter());
            let forwarded =
                families.and_then(|families| self.rules.forward(families, &mut self.store, &mut self.links));
            failures.note("forwarding", forwarded)?;
        }
        Ok(())
    }

    /// Our rules, and the passes in the firewalls of others.
    fn restore_rules(&mut self, guarded: bool, failures: &mut Failures) -> Result<()> {
        let networks = self.networks_in_use()?;
        failures.note("rules", self.rules.reload_if_different(&self.store, &mut self.links))?;
        for network in networks.iter().filter(|network| guarded && network.link().is_some()) {
            let added = self.rules.passes.add_missing(&self.locks, std::slice::from_ref(network));
            failures.note(format!("network {}", network.name), added)?;
        }
        Ok(())
    }

    /// Connects a container again whose link was deleted, with everything that was on it. One whose namespace cannot be
    /// looked at is left as it is.
    fn restore_links(&mut self, listed: &Sandbox) -> Result<()> {
        let place = place_of(listed);
        // Where another process has the lock, it is at work on the sandbox.
        let Some(_alone) = self.locks.attempt(place)? else { return Ok(()) };
        // It may have been detached before we had the lock.
        let Some(sandbox) = self.store.read().sandbox(listed.number)? else { return Ok(()) };
        if sandbox.state != State::Attached {
            return Ok(());
        }
        let (mut broken, mut failures) = (Vec::new(), Failures::default());
        let connected = self.connected(&sandbox)?;
        let attached = connected.iter().filter(|connected| connected.endpoint.state == State::Attached);
        let known = attached.filter_map(|connected| Some((connected, connected.network.as_ref()?)));
        for (Connected { endpoint, steps, .. }, network) in known {
            for step in steps {
                let rejoined = match self.fault_of(&sandbox, endpoint, step) {
                    Ok(Some(EndpointFault::Missing)) => {
                        broken.push((*endpoint, network, step));
                        Ok(())
                    }
                    Ok(Some(
                        EndpointFault::NotConnected
                        | EndpointFault::NoEntries
                        | EndpointFault::OpenToIpv6
                        | EndpointFault::NotLedToHost,
                    )) => perform::rejoin(&mut self.links, step).map_err(Error::from),
                    // With its bridge it got its guard back, where the kernel has any.
                    Ok(Some(EndpointFault::Unguarded) | None) => Ok(()),
                    Err(error) => Err(error),
                };
                failures.note(format!("network {}", network.name), rejoined)?;
            }
            let answered = self.answer_for(endpoint);
            failures.note(format!("network {}", network.name), answered)?;
        }
        if broken.is_empty() {
            return failures.into_result();
        }
        let Sight::Alive(netns) = Netns::look(&sandbox.namespace, &self.origin) else { return failures.into_result() };
        for (endpoint, network, step) in broken {
            let link = endpoint.wire.host_link().map(ToString::to_string);
            info!(self.log, "connecting again"; "container" => %sandbox.container, "link" => link);
            // The filters come last, and the kernel may have none.
            let inside: Vec<_> =
                driver::in_sandbox(network, endpoint).into_iter().map(SandboxStep::without_filters).collect();
            let connected = perform::connect_whole(&mut self.links, step, &netns, &inside);
            failures.note(format!("network {}", network.name), connected.map_err(Error::from))?;
        }
        failures.into_result()
    }
}
