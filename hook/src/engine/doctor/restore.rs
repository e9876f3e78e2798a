//! Putting right what is ours.

use slog::{info, warn};

use crate::driver::{self, HostStep};
use crate::engine::{Engine, Result};
use crate::kernel::{self, Netns};
use crate::model::{Attachment, Record, State};
use crate::plan;

impl Engine {
    /// Makes everything of ours as the store says, for the containers that run, and collects what the dead left. What is in
    /// order stays as it is.
    ///
    /// # Errors
    /// Those of the kernel and the store; what was put right until then stays so.
    pub fn restore(&mut self) -> Result<()> {
        if let Err(error) = self.store.read().integrity().map_err(Into::into) {
            if !Self::is_store_lost(&error) {
                return Err(error);
            }
            self.renew_store(&error)?;
        }
        self.collect()?;
        self.adopt()?;
        let row = self.settle_firewall()?;
        self.settle_published_ports(&row)?;
        let guarded = self.kind_of(&row)?.has_rules();
        for network in self.networks_in_use()? {
            if let Some(bridge) = driver::bridge_of(&network, guarded) {
                self.restore_bridge(&bridge)?;
            }
        }
        for record in self.store.read().records()? {
            if record.state == State::Attached && !self.stands(&record)? {
                // What one container makes of its namespace does not keep the others waiting.
                if let Err(error) = self.restore_links(&record) {
                    warn!(self.log, "container {}: {error}", record.container);
                }
            }
        }
        if guarded && !self.networks_in_use()?.is_empty() && !kernel::forwarding()? {
            self.forward()?;
        }
        self.level_firewall()?;
        if guarded {
            for network in self.networks_in_use()? {
                self.pass_neighbours(&network.bridge)?;
            }
        }
        Ok(())
    }

    /// Connects a container again whose link was deleted, with everything that was on it.
    fn restore_links(&mut self, record: &Record) -> Result<()> {
        // Whoever holds it is at work on this record.
        let Some(_sandbox) = self.locks.attempt(Self::place_of(record))? else { return Ok(()) };
        let Some(netns) = Netns::find(&record.namespace, &self.origin) else { return Ok(()) };
        for endpoint in &record.endpoints {
            let Attachment::Bridge { bridge, host_interface } = &endpoint.attachment;
            if self.links.ours(host_interface, &plan::alias(record), bridge)?.is_some() {
                continue;
            }
            let Some(network) = self.store.read().network(&endpoint.network)? else { continue };
            info!(self.log, "connecting again"; "container" => %record.container, "link" => %host_interface);
            let guarded = self.firewall_kind()?.has_rules();
            let steps = driver::bridge(&network, endpoint, plan::alias(record), guarded);
            for step in &steps.host {
                let HostStep::Veth(pair) = step else { continue };
                let connected = self.links.connect(pair, &netns)?;
                kernel::wire(&netns, &steps.sandbox, connected.peer)?;
            }
        }
        Ok(())
    }
}
