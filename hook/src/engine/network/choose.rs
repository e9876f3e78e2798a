//! What a definition leaves open, and whether what it says can be had beside other networks and the host's routes.

use ipnet::IpNet;

use super::define::default_interface;
use crate::decide::ipam::{self, HostRoute, Standing};
use crate::decide::pool::{self, Choice, Taken};
use crate::decide::proxy;
use crate::engine::{Error, Result};
use crate::firewall::input_loop::{ENTRANCE, EXIT};
use crate::input::config::{self, Config};
use crate::input::network_file::Definition;
use crate::kernel::{self, HostLinks};
use crate::model::{Family, InterfaceName, Invalid, Network, NetworkName, Subnet};

/// How many ranges of IPv6 are tried for a network.
const UNIQUE_LOCALS: u32 = 16;

/// What other networks have.
#[derive(Debug, Default)]
pub(in crate::engine) struct Others {
    ranges: Vec<Taken>,
    links: Vec<(NetworkName, InterfaceName)>,
}

/// A range of a network that is a part of a wider route of the host.
pub(in crate::engine) struct Hidden {
    pub range: IpNet,
    pub route: IpNet,
}

impl Others {
    /// What all networks but `name` have: those of the store, and those that are defined.
    pub fn than(name: &NetworkName, networks: &[Network], definitions: &[Definition]) -> Self {
        let mut others = Self::default();
        for network in networks.iter().filter(|network| network.name != *name) {
            others.add(&network.name, network.link(), &network.subnets);
        }
        for definition in definitions.iter().filter(|definition| definition.name != *name) {
            others.add(&definition.name, definition.link.as_ref(), &definition.subnets);
        }
        others
    }

    fn add(&mut self, network: &NetworkName, link: Option<&InterfaceName>, subnets: &[Subnet]) {
        self.links.extend(link.map(|link| (network.clone(), link.clone())));
        self.ranges.extend(subnets.iter().map(|subnet| Taken { network: network.clone(), range: subnet.range }));
    }

    /// The ranges that they have.
    pub(super) fn ranges(&self) -> &[Taken] {
        &self.ranges
    }

    fn link_owner(&self, link: &InterfaceName) -> Option<&NetworkName> {
        self.links.iter().find(|(_, other)| other == link).map(|(network, _)| network)
    }

    /// Chooses what `definition` leaves open, and refuses what cannot be had. Returns which of its ranges are parts of
    /// wider routes.
    pub fn complete(&self, definition: &mut Definition, config: &Config, links: &mut HostLinks) -> Result<Vec<Hidden>> {
        let link = match definition.link.take() {
            Some(link) => self.free_link(&definition.name, link)?,
            None => pool::link(&definition.name, |link| self.link_owner(link).is_some()),
        };
        let routes = links.host_routes(&link, definition.families)?;
        definition.link = Some(link);
        let routes = proxy::minded(routes, &proxy::ranges(&definition.options, &definition.subnets));
        let ranges = definition.subnets.iter().map(|subnet| self.free_range(subnet.range, &routes));
        let mut hidden: Vec<Hidden> = ranges.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        for family in definition.open_families().iter() {
            let choice = match family {
                Family::V4 => {
                    let candidates = config.network_pools.iter().flat_map(|pool| pool.ranges());
                    pool::choose(candidates, &self.ranges, &routes)
                }
                Family::V6 => self.unique_local(&definition.name, &routes)?,
            };
            let chosen = choice.ok_or_else(|| exhausted(&definition.name, family, config))?;
            definition.subnets.extend(taken(chosen, &mut hidden));
        }
        Ok(hidden)
    }

    /// The range of IPv6 for the network `name`, beside its other ranges; it is added to `hidden` where it is a part of
    /// a wider route.
    pub fn subnet_of_ipv6(
        &self,
        name: &NetworkName,
        routes: &[HostRoute],
        hidden: &mut Vec<Hidden>,
        config: &Config,
    ) -> Result<Option<Subnet>> {
        let chosen = self.unique_local(name, routes)?.ok_or_else(|| exhausted(name, Family::V6, config))?;
        Ok(taken(chosen, hidden))
    }

    fn unique_local(&self, name: &NetworkName, routes: &[HostRoute]) -> Result<Option<Choice>> {
        let machine = kernel::machine_id()?;
        let nth = |nth| pool::unique_local(&machine, name, nth);
        Ok(pool::choose((0..UNIQUE_LOCALS).map(nth), &self.ranges, routes))
    }

    fn free_link(&self, name: &NetworkName, link: InterfaceName) -> Result<InterfaceName> {
        if link == default_interface() {
            return Err(Invalid::new(format!("network {name}: bridge"), link, "is that of network bridge").into());
        }
        if is_of_other_links(&link) {
            let why = "is a name that ocinet gives to other links; choose another";
            return Err(Invalid::new(format!("network {name}: bridge"), link, why).into());
        }
        match self.link_owner(&link) {
            Some(owner) => Err(Error::Conflict(format!("bridge {link} is that of network {owner}"))),
            None => Ok(link),
        }
    }

    fn free_range(&self, range: IpNet, routes: &[HostRoute]) -> Result<Option<Hidden>> {
        if let Some(taken) = pool::overlapped(&range, &self.ranges) {
            let Taken { network, range: other } = taken;
            return Err(Error::Conflict(format!("subnet {range} overlaps {other} of network {network}")));
        }
        match ipam::standing(&range, routes) {
            Standing::Free => Ok(None),
            Standing::Under(route) => Ok(Some(Hidden { range, route })),
            Standing::Conflict(route) => {
                let whose = "the host's addresses, or of a route of the host";
                Err(Error::Conflict(format!("subnet {range} overlaps {route} of {whose}; see ip route show table all")))
            }
        }
    }
}

/// Whether `link` is a name of those that endpoints, the name server and the input loop have.
fn is_of_other_links(link: &InterfaceName) -> bool {
    link.as_str().starts_with("ocv") || [ENTRANCE, EXIT].contains(&link.as_str())
}

/// The subnet of a range that was chosen.
fn taken(choice: Choice, hidden: &mut Vec<Hidden>) -> Option<Subnet> {
    let range = match choice {
        Choice::Free(range) => range,
        Choice::Under(range, route) => {
            hidden.push(Hidden { range, route });
            range
        }
    };
    Subnet::with_first_gateway(range)
}

fn exhausted(name: &NetworkName, family: Family, config: &Config) -> Error {
    if family == Family::V6 && *name == config::default_bridge() {
        let why = "no range of IPv6 is left for network bridge; set ipv6 = false in config.toml";
        return Error::Exhausted(why.into());
    }
    if family == Family::V6 {
        return Error::Exhausted(format!("no range of IPv6 is left for network {name}; say one with --subnet"));
    }
    let pools: Vec<String> =
        config.network_pools.iter().map(|pool| format!("{} by /{}", pool.base, pool.size)).collect();
    Error::Exhausted(format!(
        "no range is left for network {name}: other networks and routes of the host have all of {}; say one with \
         --subnet, or more in network_pools of config.toml",
        if pools.is_empty() { "none".to_owned() } else { pools.join(", ") }
    ))
}
