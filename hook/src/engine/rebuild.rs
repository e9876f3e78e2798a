//! A store that is lost or damaged, rebuilt from what the kernel holds.
//!
//! A link of ours tells its address by its name, its record by its alias and its network by its bridge; the rest is read
//! in the container's namespace, and the published ports in the firewall. What the kernel does not know is lost: the
//! bundle's path, and records that have no link. An address is never given out twice meanwhile, since the kernel has
//! no second link of that name.

use std::collections::BTreeMap;
use std::path::Path;

use ipnet::IpNet;
use slog::{Logger, warn};

use super::{Engine, Error, Result, network};
use crate::config;
use crate::firewall::{Kind, Publish};
use crate::kernel::{self, Found, HostLinks, Inside, LockFile, Origin, OurLink};
use crate::model::{
    Alias, Attachment, ContainerId, Endpoint, Key, Mac, Mode, Namespace, Network, PortMapping, Record, State, Subnet,
    Witness,
};
use crate::plan;
use crate::store::{self, Forwarding, Host, Store, Write, Writing};

/// Why and what a store is rebuilt for.
pub(super) struct Site<'a> {
    pub state_dir: &'a Path,
    pub host: &'a Host,
    pub locks: &'a LockFile,
    pub log: &'a Logger,
}

impl Site<'_> {
    /// Opens the store; where there is none, or none that is whole, makes it from what the kernel holds. True where it did.
    pub fn open(&self) -> Result<(Store, bool)> {
        match Store::open(self.state_dir, self.host, self.locks) {
            Ok(Some(store)) => Ok((store, false)),
            Ok(None) => Ok((self.rebuild(None)?, true)),
            Err(error) if error.is_damage() => Ok((self.rebuild(None)?, true)),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a store anew. `damaged` is one that opens, and what is wrong with it all the same.
    pub fn rebuild(&self, damaged: Option<(&Store, &Error)>) -> Result<Store> {
        let writing = Writing::begin(self.locks)?;
        let why = match (Store::open_to_write(self.state_dir, self.host, self.locks, &writing), damaged) {
            (Ok(Some(_)), Some((damaged, why))) if damaged.is_current() => Some(why.to_string()),
            // Somebody else was faster.
            (Ok(Some(store)), _) => return Ok(store),
            (Ok(None), _) => None,
            (Err(error), _) if error.is_damage() => Some(error.to_string()),
            (Err(error), _) => return Err(error.into()),
        };
        let holdings = Holdings::found()?;
        let aside = why.is_some().then(|| Store::set_aside(self.state_dir, self.host, &writing)).transpose()?;
        let fill = |write: &Write<'_>| holdings.adopt(write).map(drop);
        let store = Store::create(self.state_dir, self.host, self.locks, &writing, fill)?;
        let found = holdings.records.len();
        match (why, aside) {
            (Some(why), Some(aside)) => {
                let aside = aside.display();
                warn!(self.log, "{why}; the store was set aside as {aside} and rebuilt with {found} containers found");
            }
            _ if found > 0 => warn!(self.log, "the store was missing; it was rebuilt with {found} containers found"),
            _ => {}
        }
        Ok(store)
    }
}

impl Engine {
    /// Whether `error` says that the store is not, or not any more, the host's.
    pub(super) fn is_store_lost(error: &Error) -> bool {
        match error {
            Error::Store(error) => error.is_damage() || matches!(error, store::Error::Replaced(_)),
            // A link of ours has an address that the store gave out once more.
            Error::Kernel(kernel::Error::Taken { alias, .. }) => Alias::is_ours(alias),
            Error::Rollback { attach, detach } => Self::is_store_lost(attach) || Self::is_store_lost(detach),
            _ => false,
        }
    }

    /// Goes on with a store that is whole and knows every link of ours, after `error` of the one so far.
    pub(super) fn renew_store(&mut self, error: &Error) -> Result<()> {
        // What we were deleting must not be found again.
        for (record, _drain) in std::mem::take(&mut self.draining) {
            for index in self.links_of(&record)? {
                self.links.delete(index)?;
            }
        }
        let site = Site { state_dir: &self.state_dir, host: &self.host, locks: &self.locks, log: &self.log };
        self.store = site.rebuild(Some((&self.store, error)))?;
        self.adopt()?;
        self.level_firewall()
    }

    /// Takes into the store every link of ours that it does not know, and says how many.
    pub(super) fn adopt(&mut self) -> Result<usize> {
        let holdings = Holdings::found()?;
        let adopted = self.store.write(|store| holdings.adopt(store))?;
        for record in &adopted {
            // Its owner may have deleted it since we looked.
            if self.links_of(record)?.is_empty() {
                self.store.write(|store| store.remove(record.number))?;
            }
        }
        Ok(adopted.len())
    }
}

/// What of ours the kernel holds.
struct Holdings {
    firewalls: Vec<Kind>,
    forwarding: Forwarding,
    asks_host: bool,
    networks: Vec<Network>,
    records: Vec<Record>,
}

impl Holdings {
    fn found() -> Result<Self> {
        let mut links = HostLinks::open()?;
        let ours = links.all_ours()?;
        let (mut networks, mut bridges) = (Vec::new(), BTreeMap::new());
        for link in &ours {
            let Alias::Network(name) = &link.alias else { continue };
            let subnets = links.addresses_of(link.index)?;
            let subnets = subnets.iter().map(|net| Subnet { range: net.trunc(), gateway: net.addr() }).collect();
            let network = Network { name: name.clone(), bridge: link.name.clone(), subnets, mtu: link.mtu };
            bridges.insert(link.index, network.clone());
            networks.push(network);
        }
        let asks_host = ours.iter().any(|link| link.alias == Alias::Detour);
        if ours.is_empty() {
            let (firewalls, records) = (Vec::new(), Vec::new());
            return Ok(Self { firewalls, forwarding: Forwarding::OfOthers, asks_host, networks, records });
        }
        let (firewalls, mut published, mut closes_forwarding) = (kernel::loaded()?, Vec::new(), false);
        for kind in &firewalls {
            let mut firewall = kernel::backend(*kind)?;
            published.extend(firewall.published()?);
            closes_forwarding |= firewall.closes_forwarding()?;
        }
        let namespaces = kernel::namespaces(&mut links, &Origin::here()?)?;
        let mut records = BTreeMap::<String, Record>::new();
        for link in &ours {
            let Alias::Endpoint { key, container } = &link.alias else { continue };
            let found = link.peer.and_then(|(number, _)| namespaces.get(&number));
            let inside = match (found, link.peer) {
                (Some(found), Some((_, index))) => kernel::interface_in(&found.netns, index)?,
                _ => None,
            };
            let network = match link.controller.and_then(|index| bridges.get(&index)).cloned() {
                Some(network) => network,
                None => match inside.as_ref().and_then(network_of) {
                    Some(network) => network,
                    // Neither its bridge nor its container can be seen.
                    None => continue,
                },
            };
            let record = records.entry(key.hex()).or_insert_with(|| record(*key, container, found));
            record.endpoints.push(endpoint(link, &network, inside));
            if !networks.contains(&network) {
                networks.push(network);
            }
            if !link.is_up {
                // Whoever set it up, or was about to delete it, is gone.
                record.state = State::Draining;
            }
        }
        let mut records: Vec<Record> = records.into_values().collect();
        for record in records.iter_mut().filter(|record| record.state.is_wired()) {
            publish(record, &published);
        }
        // Rules close only what is ours, be it that it was still to be switched on.
        let forwarding = match (closes_forwarding, kernel::forwarding()?) {
            (false, _) => Forwarding::OfOthers,
            (true, false) => Forwarding::Intended,
            (true, true) => Forwarding::Ours,
        };
        Ok(Self { firewalls, forwarding, asks_host, networks, records })
    }

    /// Adds what `store` does not know, and returns the records that were added.
    fn adopt(&self, store: &Write<'_>) -> store::Result<Vec<Record>> {
        if store.host_row()?.forwarding == Forwarding::OfOthers && self.forwarding != Forwarding::OfOthers {
            store.set_forwarding(self.forwarding)?;
        }
        if self.asks_host {
            store.set_asks_host(true)?;
        }
        if let (Some((kind, former)), None) = (self.firewalls.split_first(), store.host_row()?.firewall) {
            store.set_firewall(*kind, former)?;
        }
        for network in &self.networks {
            if store.network(&network.name)?.is_none() {
                store.add_network(network)?;
            }
        }
        let mut adopted = Vec::new();
        for record in &self.records {
            if store.holds_none_of(record)? {
                let mut record = record.clone();
                store.insert(&mut record)?;
                adopted.push(record);
            }
        }
        Ok(adopted)
    }
}

fn record(key: Key, container: &str, found: Option<&Found>) -> Record {
    let id: ContainerId =
        container.parse().unwrap_or_else(|_| key.hex().parse().expect("hexadecimal digits are an id"));
    let unseen = || Namespace { cookie: 0, witness: Witness::Unseen, seen_from_pid_ns: 0, seen_from_mnt_ns: 0 };
    Record {
        number: 0,
        name: (&id).into(),
        container: id,
        bundle: String::new(),
        adopted: Some(key),
        mode: Mode::Bridge,
        state: State::Attached,
        namespace: found.map_or_else(unseen, |found| recognised(key, &found.namespace)),
        endpoints: Vec::new(),
        publish: Vec::new(),
    }
}

/// How to recognise the namespace of the container `key`; one that we made is in its directory.
fn recognised(key: Key, found: &Namespace) -> Namespace {
    let mut namespace = found.clone();
    if let Witness::Path(path) = &found.witness
        && path.parent().is_some_and(|directory| directory.to_string_lossy().ends_with(&key.hex()))
    {
        namespace.witness = Witness::Made { path: path.clone(), patron: None };
    }
    namespace
}

/// The default network, where its bridge is gone, as the container knows it.
fn network_of(inside: &Inside) -> Option<Network> {
    let (net, gateway) = inside.addresses.first().zip(inside.gateways.first())?;
    let subnets = vec![Subnet { range: net.trunc(), gateway: *gateway }];
    Some(Network {
        name: config::default_bridge(),
        bridge: network::default_interface(),
        subnets,
        mtu: Network::DEFAULT_MTU,
    })
}

/// The endpoint of a link; where its container cannot be seen, as it would be by default.
fn endpoint(link: &OurLink, network: &Network, inside: Option<Inside>) -> Endpoint {
    let address = plan::address_of(&link.name).and_then(|address| {
        let subnet = network.subnets.iter().find(|subnet| subnet.range.contains(&address))?;
        IpNet::new(address, subnet.range.prefix_len()).ok()
    });
    let inside = inside.unwrap_or_else(|| Inside {
        name: plan::default_interface(),
        mac: Mac::of(address.map_or_else(|| std::net::Ipv4Addr::UNSPECIFIED.into(), |net| net.addr())),
        addresses: Vec::new(),
        gateways: network.subnets.iter().map(|subnet| subnet.gateway).collect(),
    });
    let mut addresses: Vec<IpNet> = address.into_iter().collect();
    addresses.extend(inside.addresses.into_iter().filter(|net| Some(*net) != address));
    Endpoint {
        network: network.name.clone(),
        attachment: Attachment::Bridge { bridge: network.bridge.clone(), host_interface: link.name.clone() },
        interface: inside.name,
        mac: inside.mac,
        mtu: link.mtu,
        addresses,
        gateways: inside.gateways,
    }
}

/// Gives `record` the published ports that lead to its address, and the name that they are labelled with.
fn publish(record: &mut Record, published: &[Publish]) {
    let Some(address) = record.endpoints.iter().find_map(Endpoint::ipv4) else { return };
    let mut ours: Vec<&Publish> = published.iter().filter(|port| port.target.ip() == address).collect();
    ours.sort_by_key(|port| (port.protocol.number(), port.host_address.ip(), port.host_port));
    if let Some(name) = ours.first().and_then(|port| port.label.parse().ok()) {
        record.name = name;
    }
    for port in ours {
        let Publish { protocol, host_address, host_port, target, .. } = *port;
        let mapping = PortMapping { protocol, host_address, host_port, container_port: target.port(), count: 1 };
        if !record.publish.last_mut().is_some_and(|last| last.absorb(&mapping)) {
            record.publish.push(mapping);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::store::tests::{FIXTURES, place};

    /// Found by whoever rebuilds: one that is old is no damage, and is upgraded with the right that is held already.
    #[test]
    fn an_old_store_is_upgraded_and_not_rebuilt() {
        let directory = std::env::temp_dir().join(format!("ocinet-rebuild-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        let (host, locks) = (Host { boot: "a".into(), cookie: 7 }, LockFile::new(directory.join("lock")));
        let log = Logger::root(slog::Discard, slog::o!());
        let site = Site { state_dir: &directory, host: &host, locks: &locks, log: &log };
        for fixture in FIXTURES {
            place(&directory, &host, fixture);
            let began = Instant::now();
            assert_eq!(site.rebuild(None).unwrap().read().records().unwrap().len(), 2);
            assert!(began.elapsed() < Duration::from_secs(5), "it waited for itself: {:?}", began.elapsed());
            Store::remove(&directory, &host, &Writing::begin(&locks).unwrap()).unwrap();
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
