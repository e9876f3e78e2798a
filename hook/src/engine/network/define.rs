use ipnet::IpNet;
use slog::warn;

use super::Definitions;
use crate::decide::ipam;
use crate::engine::{Engine, Error, Result};
use crate::input::config::{self, Config};
use crate::kernel::HostLinks;
use crate::model::{InterfaceName, Invalid, Network, NetworkName};

/// The network `bridge` as its first container would define it now. Nothing is kept: another route may take its range
/// until then.
///
/// # Errors
/// When the host has no range left for it, or its routes cannot be read.
pub fn default_network(config: &Config) -> Result<Network> {
    Ok(undefined(&config::default_bridge(), config, &mut HostLinks::open()?)?.0)
}

impl Engine {
    /// Defines a network, when it is first used: the default one, or one of its own definition.
    pub(in crate::engine) fn define_network(&mut self, name: &NetworkName) -> Result<()> {
        let (network, hidden) = self.undefined(name)?;
        let is_new = self.store.write(|store| match store.network(name)? {
            // Another process defined it first.
            Some(_) => Ok::<_, Error>(false),
            None => Ok(store.add_network(&network).map(|()| true)?),
        })?;
        if let (true, Some(route), Some(subnet)) = (is_new, hidden, network.subnets.first()) {
            let range = subnet.range;
            warn!(
                self.log,
                "network {name} has {range}, a part of the host's route {route}, which leads there no more; to have it \
                 elsewhere: ocinet reset, with subnet set in config.toml"
            );
        }
        Ok(())
    }

    /// The network as it would be defined now.
    pub(in crate::engine) fn new_network(&mut self, name: &NetworkName) -> Result<Network> {
        Ok(self.undefined(name)?.0)
    }

    /// The network `name` as its file says; none where it has none.
    ///
    /// # Errors
    /// When the file cannot be read, or says what it may not.
    pub(in crate::engine) fn definition(&mut self, name: &NetworkName) -> Result<Option<Network>> {
        let definition = Definitions::of(&self.config, &self.state_dir).read(name)?;
        Ok(definition.and_then(|definition| definition.network()))
    }

    /// The network as it would be defined now, and the wider route of the host that its range is a part of.
    fn undefined(&mut self, name: &NetworkName) -> Result<(Network, Option<IpNet>)> {
        if *name == config::default_bridge() {
            return undefined(name, &self.config, &mut self.links);
        }
        let network = self.definition(name)?.ok_or_else(|| not_defined(name))?;
        Ok((network, None))
    }
}

fn not_defined(name: &NetworkName) -> Error {
    Error::NotFound(format!("network {name} does not exist; to make it: ocinet network create {name}"))
}

/// The bridge of the default network.
pub(in crate::engine) fn default_interface() -> InterfaceName {
    "ocinet0".parse().expect("a constant that follows the kernel's rule")
}

/// The default network as it would be defined now, and the wider route of the host that its range is a part of.
fn undefined(name: &NetworkName, config: &Config, links: &mut HostLinks) -> Result<(Network, Option<IpNet>)> {
    let bridge = default_interface();
    let routes = links.host_routes(&bridge)?;
    let (subnet, hidden) = ipam::choose(config.subnets(), &routes).map_err(|route| no_range(config, route))?;
    let mut network = Network::of_bridge(name.clone(), bridge, vec![subnet]);
    network.options.derived_macs = true;
    Ok((network, hidden))
}

fn no_range(config: &Config, route: Option<IpNet>) -> Error {
    let route = route.map(|route| format!(", such as {route}")).unwrap_or_default();
    match config.subnet {
        Some(range) => {
            let why = format!("overlaps addresses or neighbours of the host{route}; choose another range");
            Invalid::new("config: subnet", range, why).into()
        }
        None => Error::Exhausted(format!(
            "every range in 10.90.0.0 to 10.127.255.255, 172.16.0.0/12 and 192.168.0.0/16 overlaps addresses or neighbours of \
             the host{route}; set subnet in config.toml"
        )),
    }
}
