use super::{Engine, Error, Result};
use crate::config::{self, Config};
use crate::driver::{self, Bridge};
use crate::kernel::HostLinks;
use crate::model::{InterfaceName, Invalid, Network, NetworkName, Subnet};
use crate::plan;

/// The network `bridge` as its first container would define it now. Nothing is kept: another route may take its range
/// until then.
///
/// # Errors
/// When the host has no range left for it, or its routes cannot be read.
pub fn default_network(config: &Config) -> Result<Network> {
    undefined(&config::default_bridge(), config, &mut HostLinks::open()?)
}

impl Engine {
    /// The bridge is there and guarded. Where it has to be made, the containers that were on it are on it again.
    pub(super) fn ensure_bridge(&mut self, bridge: &Bridge) -> Result<()> {
        match self.links.find_bridge(bridge)? {
            Some(found) => Ok(self.links.level_bridge(bridge, &found)?),
            None => self.restore_bridge(bridge),
        }
    }

    /// The bridge is as it was made, whatever it is now, and the containers that were on it are on it again.
    pub(super) fn restore_bridge(&mut self, bridge: &Bridge) -> Result<()> {
        let mut ports = Vec::new();
        for record in self.store.read().records()?.iter().filter(|record| record.state.is_wired()) {
            let all = record.endpoints.iter().map(|endpoint| driver::port(endpoint, plan::alias(record)));
            ports.extend(all.filter(|port| port.bridge == bridge.name));
        }
        Ok(self.links.make_bridge(bridge, &ports, &self.locks)?)
    }

    /// Defines the default network, when it is first used.
    pub(super) fn define_network(&mut self, name: &NetworkName) -> Result<()> {
        let network = self.new_network(name)?;
        self.store.write(|store| match store.network(name)? {
            // Somebody else was faster.
            Some(_) => Ok(()),
            None => Ok(store.add_network(&network)?),
        })
    }

    /// The default network as it would be defined now.
    pub(super) fn new_network(&mut self, name: &NetworkName) -> Result<Network> {
        undefined(name, &self.config, &mut self.links)
    }
}

/// The bridge of the default network.
pub(super) fn default_interface() -> InterfaceName {
    "ocinet0".parse().expect("a constant that follows the kernel's rule")
}

fn undefined(name: &NetworkName, config: &Config, links: &mut HostLinks) -> Result<Network> {
    let bridge = default_interface();
    let subnets = vec![free_subnet(&bridge, config, links)?];
    Ok(Network { name: name.clone(), bridge, subnets, mtu: Network::DEFAULT_MTU })
}

/// The first range that no route of the host overlaps, those of our own bridge aside.
fn free_subnet(bridge: &InterfaceName, config: &Config, links: &mut HostLinks) -> Result<Subnet> {
    let routed = links.routed_ranges(bridge)?;
    let overlapped = |subnet: &Subnet| {
        routed.iter().find(|route| route.contains(&subnet.range.network()) || subnet.range.contains(&route.network()))
    };
    let free = config.subnets().find(|subnet| overlapped(subnet).is_none());
    if let (None, Some(range)) = (free, config.subnet) {
        let why = "overlaps a route of the host; choose another range";
        return Err(Invalid::new("config: subnet", range, why).into());
    }
    free.ok_or_else(|| {
        Error::Exhausted(
            "every range from 10.90.0.0/16 on overlaps a route of the host; set subnet in config.toml".into(),
        )
    })
}
