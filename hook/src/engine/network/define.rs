use ipnet::IpNet;
use slog::warn;

use super::Definitions;
use super::choose::{Hidden, Others};
use crate::decide::{ipam, pool, similar};
use crate::engine::{Engine, Error, Result};
use crate::input::config::{self, Config};
use crate::input::network_file::Definition;
use crate::kernel::HostLinks;
use crate::model::{InterfaceName, Invalid, Network, NetworkName};

/// The network `bridge` as its first container would define it now beside these `definitions`. Nothing is kept: another
/// route may take its range until then.
///
/// # Errors
/// When the host has no range left for it, or its routes cannot be read.
pub fn default_network(config: &Config, definitions: &[Definition]) -> Result<Network> {
    Ok(undefined_default(config, definitions, &mut HostLinks::open()?)?.0)
}

impl Engine {
    /// Defines a network, when it is first used: the default one, or one of its own definition.
    pub(in crate::engine) fn define_network(&mut self, name: &NetworkName) -> Result<()> {
        let definitions = self.definitions();
        if *name != config::default_bridge() {
            // What it leaves open is chosen, before the lock is taken.
            self.definition(name)?;
        }
        // What others choose meanwhile would not be seen.
        let _changing = definitions.change()?;
        let (network, hidden) = self.undefined(name)?;
        let is_new = self.store.write(|store| match store.network(name)? {
            // Another process defined it first.
            Some(_) => Ok::<_, Error>(false),
            None => Ok(store.add_network(&network).map(|()| true)?),
        })?;
        for Hidden { range, route } in hidden.iter().filter(|_| is_new) {
            let elsewhere = match *name == config::default_bridge() {
                true if range.addr().is_ipv4() => "ocinet reset, with subnet set in config.toml".to_owned(),
                true => "ocinet reset, with ipv6 = false in config.toml".to_owned(),
                false => format!("ocinet network rm {name}, and create it with another --subnet"),
            };
            warn!(
                self.log,
                "network {name} has {range}, a part of the host's route {route}, which leads there no more; to have it \
                 elsewhere: {elsewhere}"
            );
        }
        Ok(())
    }

    /// The network as it would be defined now.
    pub(in crate::engine) fn new_network(&mut self, name: &NetworkName) -> Result<Network> {
        Ok(self.undefined(name)?.0)
    }

    /// The network `name` as its file says; none where it has none. What the file leaves open is chosen, and added to
    /// it.
    ///
    /// # Errors
    /// When the file cannot be read, or says what it may not, or no range is left.
    pub(in crate::engine) fn definition(&mut self, name: &NetworkName) -> Result<Option<Network>> {
        let Some(definition) = self.definitions().read(name)? else { return Ok(None) };
        match definition.network() {
            Some(network) => Ok(Some(network)),
            None => self.complete_definition(name),
        }
    }

    /// The definitions of this host's networks.
    pub(in crate::engine) fn definitions(&self) -> Definitions {
        Definitions::of(&self.config, &self.state_dir)
    }

    fn complete_definition(&mut self, name: &NetworkName) -> Result<Option<Network>> {
        let definitions = self.definitions();
        let changing = if self.only_looks { None } else { Some(definitions.change()?) };
        // Another process may have completed it meanwhile.
        let Some(mut definition) = definitions.read(name)? else { return Ok(None) };
        if definition.network().is_none() {
            self.others_than(name)?.complete(&mut definition, &self.config, &mut self.links)?;
            if let Some(changing) = changing
                && let Err(error) = changing.complete(&definition)
            {
                warn!(self.log, "what was chosen for network {name} may change when the host restarts: {error}");
            }
        }
        Ok(definition.network())
    }

    fn others_than(&mut self, name: &NetworkName) -> Result<Others> {
        let sound = self.definitions().sound()?;
        let networks = with_default(self.store.read().networks()?, &sound, &self.config, &mut self.links);
        Ok(Others::than(name, &networks, &sound))
    }

    /// The network as it would be defined now, and which of its ranges are parts of wider routes of the host.
    fn undefined(&mut self, name: &NetworkName) -> Result<(Network, Vec<Hidden>)> {
        if *name == config::default_bridge() {
            let definitions = self.definitions().sound()?;
            return undefined_default(&self.config, &definitions, &mut self.links);
        }
        let Some(mut definition) = self.definitions().read(name)? else {
            return Err(no_such(name, &self.definitions().sound()?));
        };
        // Of what is chosen already, only what is used can be in the way.
        let others = match definition.network() {
            Some(_) => Others::than(name, &self.store.read().networks()?, &[]),
            None => self.others_than(name)?,
        };
        let hidden = others.complete(&mut definition, &self.config, &mut self.links)?;
        let mut network = definition.network().ok_or_else(|| not_defined(name))?;
        network.options.derived_macs = true;
        Ok((network, hidden))
    }
}

/// The error that there is no network `name`.
pub(in crate::engine) fn not_defined(name: &NetworkName) -> Error {
    Error::NotFound(format!("network {name} does not exist; to make it: ocinet network create {name}"))
}

/// The error that a container asks for a network which does not exist; `others` do.
pub(in crate::engine) fn no_such(name: &NetworkName, others: &[Definition]) -> Error {
    let others = others.iter().map(|definition| definition.name.as_str());
    let near = similar(name.as_str(), std::iter::once("bridge").chain(others));
    // What Docker, podman and libvirt call theirs.
    let default = ["default", "docker0", "podman", "nat", "bridged", "virbr0", "ocinet0"].contains(&name.as_str());
    if let Some(why) = of_others(name.as_str()) {
        return Invalid::new("network", name, why).into();
    }
    let why = match near.or(default.then_some("bridge")) {
        Some(near) => format!("does not exist; did you mean {near}?"),
        None => format!("does not exist; to make it: ocinet network create {name}"),
    };
    Invalid::new("network", name, why).into()
}

/// What is no network here, and a way to be wired elsewhere.
fn of_others(name: &str) -> Option<&'static str> {
    match name {
        "pasta" | "slirp4netns" | "private" => Some(
            "is podman's; here there are bridge, networks of ocinet network create, host, none and container:CONTAINER",
        ),
        "macvlan" | "ipvlan" | "overlay" | "vlan" => {
            Some("is a driver that ocinet does not have; its networks are bridges, as those of ocinet network create")
        }
        _ => None,
    }
}

/// The bridge of the default network.
pub(in crate::engine) fn default_interface() -> InterfaceName {
    "ocinet0".parse().expect("a constant that follows the kernel's rule")
}

/// The default network as it would be defined now beside these `definitions`, and which of its ranges are parts of wider
/// routes of the host.
pub(super) fn undefined_default(
    config: &Config,
    definitions: &[Definition],
    links: &mut HostLinks,
) -> Result<(Network, Vec<Hidden>)> {
    let (name, bridge) = (config::default_bridge(), default_interface());
    let others = Others::than(&name, &[], definitions);
    if let Some(range) = config.subnet
        && let Some(taken) = pool::overlapped(&range.into(), others.ranges())
    {
        let why = format!("overlaps {} of network {}; choose another range", taken.range, taken.network);
        return Err(Invalid::new("config: subnet", range, why).into());
    }
    let routes = links.host_routes(&bridge, config.bridge_families())?;
    let candidates = config.subnets().filter(|subnet| pool::overlapped(&subnet.range, others.ranges()).is_none());
    let (subnet, route) = ipam::choose(candidates, &routes).map_err(|route| no_range(config, route))?;
    let mut hidden: Vec<Hidden> = route.map(|route| Hidden { range: subnet.range, route }).into_iter().collect();
    let mut subnets = vec![subnet];
    if config.ipv6 {
        subnets.extend(others.subnet_of_ipv6(&name, &routes, &mut hidden, config)?);
    }
    let mut network = Network::of_bridge(name, bridge, subnets);
    network.options.derived_macs = true;
    Ok((network, hidden))
}

/// The networks that are used, and the default one as it would be.
pub(in crate::engine) fn with_default(
    mut networks: Vec<Network>,
    definitions: &[Definition],
    config: &Config,
    links: &mut HostLinks,
) -> Vec<Network> {
    if !networks.iter().any(|network| network.name == config::default_bridge()) {
        // A host without a range for it can have other networks.
        networks.extend(undefined_default(config, definitions, links).ok().map(|(network, _)| network));
    }
    networks
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
