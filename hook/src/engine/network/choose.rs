//! What a definition leaves open, and whether what it says can be had beside other networks and the host's routes.

use ipnet::IpNet;

use super::define::default_interface;
use crate::decide::ipam::{self, HostRoute, Standing};
use crate::decide::pool::{self, Choice, Taken};
use crate::engine::{Error, Result};
use crate::input::config::Config;
use crate::input::network_file::Definition;
use crate::kernel::HostLinks;
use crate::model::{InterfaceName, Invalid, Network, NetworkName, Subnet};

/// What other networks have.
#[derive(Debug, Default)]
pub(super) struct Others {
    ranges: Vec<Taken>,
    links: Vec<(NetworkName, InterfaceName)>,
}

/// A range of a network that is a part of a wider route of the host.
pub(super) struct Hidden {
    pub(super) range: IpNet,
    pub(super) route: IpNet,
}

impl Others {
    /// What all networks but `name` have: those of the store, and those that are defined.
    pub(super) fn than(name: &NetworkName, networks: &[Network], definitions: &[Definition]) -> Self {
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
    pub(super) fn complete(
        &self,
        definition: &mut Definition,
        config: &Config,
        links: &mut HostLinks,
    ) -> Result<Vec<Hidden>> {
        let link = match definition.link.take() {
            Some(link) => self.free_link(&definition.name, link)?,
            None => pool::link(&definition.name, |link| self.link_owner(link).is_some()),
        };
        let routes = links.host_routes(&link)?;
        definition.link = Some(link);
        if !definition.subnets.is_empty() {
            let ranges = definition.subnets.iter().map(|subnet| subnet.range);
            return Ok(ranges
                .map(|range| self.free_range(range, &routes))
                .collect::<Result<Vec<_>>>()?
                .into_iter()
                .flatten()
                .collect());
        }
        let candidates = config.network_pools.iter().flat_map(|pool| pool.ranges());
        let (range, hidden) = match pool::choose(candidates, &self.ranges, &routes) {
            Some(Choice::Free(range)) => (range, None),
            Some(Choice::Under(range, route)) => (range, Some(Hidden { range, route })),
            None => return Err(exhausted(&definition.name, config)),
        };
        definition.subnets.extend(Subnet::with_first_gateway(range));
        Ok(hidden.into_iter().collect())
    }

    fn free_link(&self, name: &NetworkName, link: InterfaceName) -> Result<InterfaceName> {
        if link == default_interface() {
            return Err(Invalid::new(format!("network {name}: bridge"), link, "is that of network bridge").into());
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

fn exhausted(name: &NetworkName, config: &Config) -> Error {
    let pools: Vec<String> =
        config.network_pools.iter().map(|pool| format!("{} by /{}", pool.base, pool.size)).collect();
    Error::Exhausted(format!(
        "no range is left for network {name}: other networks and routes of the host have all of {}; say one with \
         --subnet, or more in network_pools of config.toml",
        if pools.is_empty() { "none".to_owned() } else { pools.join(", ") }
    ))
}
