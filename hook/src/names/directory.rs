//! Who is on which network, and is found there by which names. Pure.
//!
//! A container asks from an address that only it can send from, which its link's guard sees to. So its address says who
//! asks, and with that which networks it is on: of other networks it learns no name and no address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use ocinet::driver::{self, NAME_SERVERS};
use ocinet::engine::Member as Sharer;
use ocinet::model::{ContainerId, ContainerName, Key, Network, NetworkName, Sandbox};

/// How much of a container's id is a name of it, as in Docker.
const SHORT_ID: usize = 12;

/// All containers on networks with names.
#[derive(Debug, Default)]
pub struct Directory {
    /// By the numbers of their sandboxes.
    members: BTreeMap<i64, Member>,
    by_address: BTreeMap<IpAddr, i64>,
    by_name: BTreeMap<NetworkName, BTreeMap<String, Vec<i64>>>,
    /// All networks of the host, those without names included.
    networks: Vec<Network>,
    /// The containers that share another's network, and are found at its addresses.
    sharers: Vec<Sharer>,
}

/// A container.
#[derive(Debug)]
pub struct Member {
    key: Key,
    connections: Vec<Connection>,
    /// The name servers that it or its networks chose; none for the host's.
    pub dns: Vec<IpAddr>,
}

/// A connection of a container to a network.
#[derive(Debug)]
struct Connection {
    network: NetworkName,
    addresses: Vec<IpAddr>,
    /// Whether names are asked for by it, and lead to it.
    has_names: bool,
    /// In small letters; the first is its own name.
    names: Vec<String>,
}

impl Directory {
    /// The networks of the host from now on.
    pub fn set_networks(&mut self, networks: Vec<Network>) {
        self.networks = networks;
    }

    /// The containers that share another's network from now on. Returns the numbers of the sandboxes whose network others
    /// than before share, which are to be put again.
    pub fn set_sharers(&mut self, sharers: Vec<Sharer>) -> Vec<i64> {
        let before = std::mem::replace(&mut self.sharers, sharers);
        let new = self.sharers.iter().filter(|sharer| !before.contains(sharer));
        let gone = before.iter().filter(|sharer| !self.sharers.contains(sharer));
        let owners: Vec<Key> = new.chain(gone).map(|sharer| Key::new(&sharer.owner, &sharer.owner_bundle)).collect();
        self.members.iter().filter(|(_, member)| owners.contains(&member.key)).map(|(number, _)| *number).collect()
    }

    /// Whether no container has a name.
    pub fn is_empty(&self) -> bool {
        !self.members.values().any(Member::has_names)
    }

    /// The number of containers.
    pub fn len(&self) -> usize {
        self.members.values().filter(|member| member.has_names()).count()
    }

    /// The networks on which containers have names.
    pub fn networks_with_names(&self) -> Vec<NetworkName> {
        self.networks.iter().filter(|one| driver::has_names(one)).map(|network| network.name.clone()).collect()
    }

    /// Forgets all containers.
    pub fn clear(&mut self) {
        self.members.clear();
        self.by_address.clear();
        self.by_name.clear();
    }

    /// What the sandbox of that number is from now on; none where it is gone.
    pub fn put(&mut self, number: i64, sandbox: Option<&Sandbox>) {
        if let Some(before) = self.members.remove(&number) {
            self.forget(number, &before);
        }
        let Some(sandbox) = sandbox else { return };
        let sharers: Vec<&Sharer> = self.sharers.iter().filter(|sharer| sharer.is_of(sandbox)).collect();
        let connections: Vec<Connection> = sandbox
            .wired_endpoints()
            .map(|endpoint| Connection {
                network: endpoint.network.clone(),
                addresses: endpoint.addresses.iter().map(IpNet::addr).collect(),
                has_names: endpoint.name_server.is_some(),
                names: names(sandbox, endpoint.names.iter().map(|name| name.as_str()), &sharers),
            })
            .collect();
        let dns = sandbox.resolver.as_ref().map(|resolver| resolver.dns.clone()).unwrap_or_default();
        let member = Member { key: sandbox.key(), connections, dns };
        for Connection { network, addresses, has_names, names } in &member.connections {
            self.by_address.extend(addresses.iter().map(|address| (*address, number)));
            if *has_names {
                let of_network = self.by_name.entry(network.clone()).or_default();
                names.iter().for_each(|name| of_network.entry(name.clone()).or_default().push(number));
            }
        }
        self.members.insert(number, member);
    }

    fn forget(&mut self, number: i64, member: &Member) {
        for Connection { network, addresses, names, .. } in &member.connections {
            for address in addresses {
                // Another container may have it by now.
                if self.by_address.get(address) == Some(&number) {
                    self.by_address.remove(address);
                }
            }
            let Some(of_network) = self.by_name.get_mut(network) else { continue };
            for name in names {
                let Some(numbers) = of_network.get_mut(name) else { continue };
                numbers.retain(|other| *other != number);
                if numbers.is_empty() {
                    of_network.remove(name);
                }
            }
        }
    }

    /// Who asks from that address; none for others than containers with names.
    pub fn at(&self, address: IpAddr) -> Option<&Member> {
        self.members.get(self.by_address.get(&address)?).filter(|member| member.has_names())
    }

    /// The addresses that `name`, in small letters, has on `network`; none where it has no such name.
    pub fn find(&self, network: &NetworkName, name: &str) -> Option<Vec<IpAddr>> {
        let numbers = self.by_name.get(network)?.get(name)?;
        let members = numbers.iter().filter_map(|number| self.members.get(number));
        let on_it = members.flat_map(|member| &member.connections).filter(|one| one.network == *network);
        let called = on_it.filter(|one| one.names.iter().any(|own| own == name));
        Some(called.flat_map(|one| one.addresses.iter().copied()).collect())
    }

    /// The name and the network of the container that has `address`, if `member` is on that network.
    pub fn name_of(&self, member: &Member, address: IpAddr) -> Option<(&str, &NetworkName)> {
        let found = self.members.get(self.by_address.get(&address)?)?;
        let connection = found.connections.iter().find(|one| one.addresses.contains(&address))?;
        let is_known = member.networks().any(|network| *network == connection.network);
        is_known.then(|| Some((connection.names.first()?.as_str(), &connection.network))).flatten()
    }

    /// Whether the address is in the range of a network of this host, or this name server's own.
    pub fn is_ours(&self, address: IpAddr) -> bool {
        NAME_SERVERS.contains(&address) || self.networks.iter().any(|network| has(network, address))
    }

    /// Whether `member` reaches a server at `address`, which is in the range of a network that it is on: where siblings
    /// do not reach each other, that is the gateway alone.
    fn reaches(&self, member: &Member, address: IpAddr) -> bool {
        let mut on = self.networks.iter().filter(|network| member.networks().any(|name| *name == network.name));
        on.any(|network| {
            let is_gateway = || network.subnets.iter().any(|subnet| subnet.gateway.address() == Some(address));
            has(network, address) && (network.options.icc || is_gateway())
        })
    }

    /// Whether all networks of `member` are internal. One that is not known is not known to lead out.
    pub fn is_shut_in(&self, member: &Member) -> bool {
        let leads_out = |name: &NetworkName| self.networks.iter().any(|one| one.name == *name && !one.options.internal);
        !member.connections.is_empty() && !member.networks().any(leads_out)
    }

    /// Whether `sandbox` is on a network of which nothing is known.
    pub fn is_on_unknown(&self, sandbox: &Sandbox) -> bool {
        let is_known = |name: &NetworkName| self.networks.iter().any(|one| one.name == *name);
        sandbox.wired_endpoints().any(|endpoint| !is_known(&endpoint.network))
    }

    /// Those of the name servers that `member` or its networks chose that it could ask itself: this process asks them
    /// from the host, to which more is open. What of the rest is an address of the host shows when it is asked.
    pub fn allowed_servers(&self, member: &Member) -> Vec<IpAddr> {
        let is_allowed = |server: &&IpAddr| {
            let server = server.to_canonical();
            is_ordinary(server)
                && if self.is_ours(server) { self.reaches(member, server) } else { !self.is_shut_in(member) }
        };
        member.dns.iter().filter(is_allowed).copied().collect()
    }
}

impl Member {
    fn has_names(&self) -> bool {
        self.connections.iter().any(|one| one.has_names)
    }

    /// The networks that it is on.
    pub fn networks(&self) -> impl Iterator<Item = &NetworkName> + Clone {
        self.connections.iter().map(|one| &one.network)
    }
}

fn has(network: &Network, address: IpAddr) -> bool {
    network.subnets.iter().any(|subnet| subnet.range.contains(&address))
}

/// Whether it is the address of one other host, which is not the name server itself.
fn is_ordinary(address: IpAddr) -> bool {
    let is_special = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    let is_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !is_special && !is_local && !NAME_SERVERS.contains(&address)
}

/// Its own name, its id, the beginning of its id, and `others`, each once; and those of the containers that share its
/// network.
fn names<'n>(sandbox: &'n Sandbox, others: impl Iterator<Item = &'n str>, sharers: &[&'n Sharer]) -> Vec<String> {
    let of = |name: &'n ContainerName, id: &'n ContainerId| {
        let id = id.as_str();
        [name.as_str(), id, id.get(..SHORT_ID).unwrap_or(id)]
    };
    let of_sharers = sharers.iter().flat_map(|sharer| of(&sharer.name, &sharer.container));
    let mut names: Vec<String> = Vec::new();
    for name in of(&sandbox.name, &sandbox.container).into_iter().chain(others).chain(of_sharers) {
        let name = name.to_ascii_lowercase();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
