//! Putting right what is ours.

use slog::info;

use crate::decide::liveness::Sight;
use crate::decide::plan;
use crate::driver::{self, HostStep};
use crate::engine::{Engine, Result};
use crate::kernel::{self, Netns};
use crate::model::{Attachment, Sandbox, State};

impl Engine {
    /// Makes everything of ours as the store says, for the containers that run, and collects what the dead left. What is in
    /// order stays as it is.
    ///
    /// # Errors
    /// Those of the kernel and the store; what could be put right is. One container that cannot be keeps no other waiting.
    pub fn restore(&mut self) -> Result<()> {
        if let Err(error) = self.store.read().integrity().map_err(Into::into) {
            if !Self::is_store_lost(&error) {
                return Err(error);
            }
            self.renew_store(&error)?;
        }
        let mut failures = self.collect()?.failures;
        self.adopt()?;
        let row = self.ensure_configured_firewall()?;
        self.store_published_ports_setting(&row)?;
        let guarded = self.kind_of(&row)?.has_rules();
        for network in self.networks_in_use()? {
            if let Some(bridge) = driver::bridge_of(&network, guarded) {
                let restored = self.restore_bridge(&bridge);
                failures.note(format!("bridge {}", bridge.name), restored)?;
            }
        }
        for sandbox in self.store.read().sandboxes()? {
            let restored = self.restore_links(&sandbox);
            failures.note(format!("container {}", sandbox.container), restored)?;
        }
        if guarded && !self.networks_in_use()?.is_empty() && !kernel::forwarding()? {
            self.forward()?;
        }
        self.reload_firewall_if_different()?;
        if guarded {
            for network in self.networks_in_use()? {
                self.pass_foreign_firewalls(&network.bridge)?;
            }
        }
        let fallback = self.config.dns_fallback.clone();
        self.refresh_resolvers(&fallback, &mut failures)?;
        failures.into_result()
    }

    /// Connects a container again whose link was deleted, with everything that was on it. One whose namespace cannot be
    /// looked at is left as it is.
    fn restore_links(&mut self, listed: &Sandbox) -> Result<()> {
        let place = Self::place_of(listed);
        // Where another process has the lock, it is at work on the sandbox.
        let Some(_alone) = self.locks.attempt(place)? else { return Ok(()) };
        // It may have been detached before we had the lock.
        let Some(sandbox) = self.store.read().sandbox(listed.number)? else { return Ok(()) };
        if sandbox.state != State::Attached || self.stands(&sandbox)? {
            return Ok(());
        }
        let Sight::Alive(netns) = Netns::look(&sandbox.namespace, &self.origin) else { return Ok(()) };
        for endpoint in &sandbox.endpoints {
            let Attachment::Bridge { bridge, host_interface } = &endpoint.attachment;
            let alias = plan::alias(&sandbox);
            if self.links.named(host_interface, &alias)?.is_some() {
                continue;
            }
            // Left by a process that ended before it was done.
            if let Some(half) = self.links.ours(host_interface, &alias, bridge)? {
                self.links.delete(half)?;
            }
            let Some(network) = self.store.read().network(&endpoint.network)? else { continue };
            info!(self.log, "connecting again"; "container" => %sandbox.container, "link" => %host_interface);
            let guarded = self.firewall_kind()?.has_rules();
            let steps = driver::bridge(&network, endpoint, plan::alias(&sandbox), guarded);
            for step in &steps.host {
                let HostStep::Veth(pair) = step else { continue };
                self.links.connect_whole(pair, &netns, |peer| kernel::wire(&netns, &steps.sandbox, peer))?;
            }
        }
        Ok(())
    }
}
