//! Whether the kernel holds what an attached sandbox says, and repair of what it does not.

use crate::decide::plan;
use crate::driver::{self, Bridge};
use crate::engine::{Engine, Result};
use crate::firewall::{NetworkNeeds, publish_needs};
use crate::kernel;
use crate::model::{Attachment, Endpoint, Network, Sandbox};

impl Engine {
    /// Whether the links of an attached sandbox are there, and lead to its networks.
    pub(in crate::engine) fn stands(&mut self, sandbox: &Sandbox) -> Result<bool> {
        for endpoint in &sandbox.endpoints {
            let Attachment::Bridge { bridge, host_interface } = &endpoint.attachment;
            if !self.links.is_joined(host_interface, &plan::alias(sandbox), bridge)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether everything on the host is as an attached sandbox says, after a repair of what can be repaired in place. False
    /// where a link is missing: then the container has to be wired anew.
    pub(in crate::engine) fn stands_again(&mut self, sandbox: &Sandbox) -> Result<bool> {
        for endpoint in &sandbox.endpoints {
            let Attachment::Bridge { host_interface, .. } = &endpoint.attachment;
            if self.links.named(host_interface, &plan::alias(sandbox))?.is_none() {
                return Ok(false);
            }
        }
        for endpoint in &sandbox.endpoints {
            let Some(network) = self.store.read().network(&endpoint.network)? else { return Ok(false) };
            self.restore_missing(sandbox, endpoint, &network)?;
        }
        Ok(true)
    }

    fn restore_missing(&mut self, sandbox: &Sandbox, endpoint: &Endpoint, network: &Network) -> Result<()> {
        let guarded = self.firewall_kind()?.has_rules();
        if let Some(bridge) = driver::bridge_of(network, guarded)
            && !self.faults_of_bridge(network, &bridge)?.is_empty()
        {
            self.restore_bridge(&bridge)?;
        }
        let port = driver::port(endpoint, plan::alias(sandbox));
        let joined = self.links.is_joined(&port.name, &port.alias, &port.bridge)?;
        if !joined || !self.links.is_guarded(&port.name, &port.guard)? {
            self.links.rejoin(&port)?;
        }
        if guarded {
            self.restore_rules(sandbox, network)?;
        }
        Ok(())
    }

    /// The differences between the bridge of `network` and how it was made, as sentences about it.
    pub(in crate::engine) fn faults_of_bridge(&mut self, network: &Network, bridge: &Bridge) -> Result<Vec<String>> {
        let Some(found) = self.links.find_bridge(bridge)? else {
            return Ok(vec![format!("of network {} is missing, or down", network.name)]);
        };
        let mut faults = Vec::new();
        if found.mtu != bridge.mtu {
            faults.push(format!("has MTU {}, and its network {}", found.mtu, bridge.mtu));
        }
        let there = self.links.addresses_of_link(&bridge.name)?;
        let missing = bridge.addresses.iter().filter(|address| !there.contains(address));
        faults.extend(missing.map(|address| format!("has lost its address {address}")));
        let differing = found.differing.iter();
        faults
            .extend(differing.map(|setting| format!("has another value than {} in {}", setting.value, setting.path())));
        Ok(faults)
    }

    /// Loads the ruleset where anything of it, or a published port of `sandbox`, is missing, and lets the host forward.
    fn restore_rules(&mut self, sandbox: &Sandbox, network: &Network) -> Result<()> {
        let needs = NetworkNeeds::from(network);
        if !kernel::forwarding()? {
            self.forward()?;
        }
        self.load_ruleset(&needs, &publish_needs(sandbox))?;
        self.pass_foreign_firewalls(&needs.bridge)
    }
}
