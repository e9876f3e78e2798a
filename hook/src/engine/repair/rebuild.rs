//! A store that is lost or damaged, rebuilt from what the kernel holds.
//!
//! Only the host's side is believed. A link of ours tells its address by its name, its sandbox by its alias, its network by its
//! bridge and its MAC address by its guard; the firewall has the published ports. A container may have changed
//! everything on its own side, so what is read there is compared and reported, and never leased. The name of its interface is the
//! one exception: it means something in that container alone. What the host does not know is lost: the bundle's path, and
//! sandboxes that have no link. An address is never given out twice meanwhile, since the kernel has no second link of that name.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::IpNet;
use slog::{Logger, warn};

use crate::decide::plan;
use crate::driver;
use crate::engine::network::default_interface;
use crate::engine::{Engine, Error, Result};
use crate::firewall::{Kind, Publish};
use crate::input::config::{self, Config};
use crate::kernel::{self, ContainerInterface, Found, HostLinks, LockFile, Origin, OurLink};
use crate::model::{
    Alias, ContainerId, Endpoint, Gateway, InterfaceName, Key, Mac, Mode, Namespace, NetnsLocator, Network,
    PortMapping, Route, Sandbox, State, Subnet, Wire, quoted,
};
use crate::store::{self, Forwarding, Host, Store, Write, Writing};

/// What a store is opened and rebuilt with.
pub(in crate::engine) struct RebuildContext<'a> {
    pub state_dir: &'a Path,
    pub host: &'a Host,
    pub locks: &'a LockFile,
    /// The settings, which tell the range of a network whose bridge is gone.
    pub config: &'a Config,
    pub log: &'a Logger,
}

impl RebuildContext<'_> {
    /// Opens the store; where there is none, or none that is whole, makes it from what the kernel holds. True where it did.
    pub fn open(&self) -> Result<(Store, bool)> {
        match Store::open(self.state_dir, self.host, self.locks) {
            Ok(Some(store)) => Ok((store, false)),
            Ok(None) => Ok((self.rebuild(None)?, true)),
            Err(error) if error.is_damage() => Ok((self.rebuild(None)?, true)),
            Err(error) => Err(error.into()),
        }
    }

    /// The store as it is; where there is none, or none that is whole, one in memory. Nothing is changed.
    pub fn look(&self) -> Result<Store> {
        match Store::open(self.state_dir, self.host, self.locks) {
            Ok(Some(store)) => Ok(store),
            Ok(None) => self.seen(&format!("there is no store in {}", self.state_dir.display())),
            Err(error) if error.is_damage() => self.seen(&error.to_string()),
            Err(error) => Err(error.into()),
        }
    }

    /// A store in memory with what the kernel holds, since `why` there is no other.
    pub fn seen(&self, why: &str) -> Result<Store> {
        let inventory = Inventory::found(self.config)?;
        warn!(self.log, "{why}: this is what the kernel holds; ocinet doctor --fix makes the store anew");
        Ok(Store::in_memory(self.locks, |write| inventory.adopt(write).map(drop))?)
    }

    /// Makes a store anew. `damaged` is one that opens, and what is wrong with it all the same.
    pub fn rebuild(&self, damaged: Option<(&Store, &Error)>) -> Result<Store> {
        let writing = Writing::begin(self.locks)?;
        let opened = Store::open_to_write(self.state_dir, self.host, self.locks, &writing);
        let why = match (opened, damaged) {
            (Ok(Some(_)), Some((store, why))) if store.is_current()? => Some(why.to_string()),
            // Another process has rebuilt it.
            (Ok(Some(store)), _) => return Ok(store),
            (Ok(None), _) => None,
            (Err(error), _) if error.is_damage() => Some(error.to_string()),
            (Err(error), _) => return Err(error.into()),
        };
        let inventory = Inventory::found(self.config)?;
        let aside = why.is_some().then(|| Store::set_aside(self.state_dir, self.host, &writing)).transpose()?;
        let fill = |write: &Write<'_>| inventory.adopt(write).map(drop);
        let store = Store::create(self.state_dir, self.host, self.locks, &writing, fill)?;
        let found = inventory.sandboxes.len();
        match (why, aside) {
            (Some(why), Some(aside)) => {
                let aside = aside.display();
                warn!(self.log, "{why}; the store was set aside as {aside} and rebuilt with {found} containers found");
            }
            _ if found > 0 => warn!(self.log, "the store was missing; it was rebuilt with {found} containers found"),
            _ => {}
        }
        inventory.reports.iter().for_each(|report| warn!(self.log, "{report}"));
        Ok(store)
    }
}

impl Engine {
    /// Whether `error` says that the store is not, or not any more, the host's.
    pub(in crate::engine) fn is_store_lost(error: &Error) -> bool {
        match error {
            Error::Store(error) => error.is_damage() || matches!(error, store::Error::Replaced(_)),
            // A link of ours has an address that the store gave out once more.
            Error::Kernel(kernel::Error::Taken { alias, .. }) => Alias::is_ours(alias),
            Error::Rollback { attach, detach } => Self::is_store_lost(attach) || Self::is_store_lost(detach),
            _ => false,
        }
    }

    /// Goes on with a store that is whole and knows every link of ours, after `error` of the one so far.
    pub(in crate::engine) fn renew_store(&mut self, error: &Error) -> Result<()> {
        // What we were deleting must not be found again.
        for (sandbox, _drain) in std::mem::take(&mut self.drains.waiting) {
            self.clear_addresses(&sandbox)?;
        }
        let Self { state_dir, host, locks, config, log, .. } = self;
        let context = RebuildContext { state_dir, host, locks, config, log };
        self.store = context.rebuild(Some((&self.store, error)))?;
        self.adopt()?;
        self.reload_firewall_if_different()
    }

    /// Takes into the store every link of ours that it does not know, and says how many.
    pub(in crate::engine) fn adopt(&mut self) -> Result<usize> {
        let inventory = Inventory::found(&self.config)?;
        let adopted = self.store.write(|store| inventory.adopt(store))?;
        for sandbox in &adopted {
            // Its owner may have deleted it since we looked.
            if !self.has_a_link(sandbox)? {
                self.store.write(|store| store.remove(sandbox.number))?;
            }
        }
        Ok(adopted.len())
    }
}

/// What the kernel holds of ours.
struct Inventory {
    firewalls: Vec<Kind>,
    forwarding: Forwarding,
    respect_host_firewall: bool,
    networks: Vec<Network>,
    sandboxes: Vec<Sandbox>,
    /// What a person should know of: where a container's side is otherwise than the host's, and what was left alone.
    reports: Vec<String>,
}

impl Inventory {
    fn found(config: &Config) -> Result<Self> {
        let mut links = HostLinks::open()?;
        let ours = links.all_ours()?;
        let (mut networks, mut bridges) = (Vec::new(), BTreeMap::new());
        for link in &ours {
            let Alias::Network(name) = &link.alias else { continue };
            let subnets = links.addresses_of(link.index)?;
            let subnets = subnets.iter().map(|net| subnet_of(*net)).collect();
            let mut network = Network::of_bridge(name.clone(), link.name.clone(), subnets);
            network.options.mtu = link.mtu;
            bridges.insert(link.index, network.clone());
            networks.push(network);
        }
        let mut found = Self {
            firewalls: Vec::new(),
            forwarding: Forwarding::OfOthers,
            respect_host_firewall: ours.iter().any(|link| link.alias == Alias::InputLoop),
            networks,
            sandboxes: Vec::new(),
            reports: Vec::new(),
        };
        if ours.is_empty() {
            return Ok(found);
        }
        let published = found.read_firewalls()?;
        let namespaces = kernel::namespaces(&mut links, &Origin::here()?)?;
        let mut sandboxes = BTreeMap::<String, Sandbox>::new();
        for link in &ours {
            let Alias::Endpoint { key, container } = &link.alias else { continue };
            let Some(network) = found.network_of(link, &bridges, config) else { continue };
            let namespace = link.peer.and_then(|(nsid, _)| namespaces.get(&nsid));
            let inside = match (namespace, link.peer) {
                (Some(found), Some((_, index))) => kernel::interface_in(&found.netns, index)?,
                _ => None,
            };
            let Some(master) = network.link() else { continue };
            let endpoint = endpoint(link, &network, master, links.guarded_mac(link.index)?, inside.as_ref());
            found.reports.extend(inside.and_then(|inside| contradiction(container, &endpoint, &inside)));
            let sandbox = sandboxes.entry(key.hex()).or_insert_with(|| sandbox(*key, container, link, namespace));
            sandbox.endpoints.push(endpoint);
            if !link.is_up {
                // A detach shuts a link before it deletes it.
                sandbox.state = State::Draining;
            }
        }
        found.sandboxes = sandboxes.into_values().collect();
        for sandbox in found.sandboxes.iter_mut().filter(|sandbox| sandbox.state.is_wired()) {
            publish(sandbox, &published);
        }
        Ok(found)
    }

    /// Notes which firewalls have rules of ours, and returns the published ports in them.
    fn read_firewalls(&mut self) -> Result<Vec<Publish>> {
        self.firewalls = kernel::loaded()?;
        let (mut published, mut closes_forwarding) = (Vec::new(), false);
        for kind in &self.firewalls {
            let mut firewall = kernel::backend(*kind)?;
            published.extend(firewall.published()?);
            closes_forwarding |= firewall.closes_forwarding()?;
        }
        // Rules close only what is ours, be it that it was still to be switched on.
        self.forwarding = match (closes_forwarding, kernel::forwarding()?) {
            (false, _) => Forwarding::OfOthers,
            (true, false) => Forwarding::Intended,
            (true, true) => Forwarding::Ours,
        };
        Ok(published)
    }

    /// The network of a link: that of its bridge or, where the bridge is gone, the default network, with the range of the settings
    /// that holds the link's address. None, with a report, where there is no such range.
    fn network_of(&mut self, link: &OurLink, bridges: &BTreeMap<u32, Network>, config: &Config) -> Option<Network> {
        if let Some(network) = link.controller.and_then(|index| bridges.get(&index)) {
            return Some(network.clone());
        }
        let address = driver::address_of(&link.name);
        let subnet = address.and_then(|address| config.subnets().find(|subnet| subnet.range.contains(&address)));
        let Some(subnet) = subnet else {
            self.reports.push(format!(
                "link {} has lost its bridge, and no range of config.toml holds its address: it is left alone; set subnet there, \
                 and run ocinet doctor --fix",
                link.name
            ));
            return None;
        };
        let network = Network::of_bridge(config::default_bridge(), default_interface(), vec![subnet]);
        let known = self.networks.iter().find(|known| known.name == network.name);
        let network = known.cloned().unwrap_or(network);
        if !self.networks.contains(&network) {
            self.networks.push(network.clone());
        }
        Some(network)
    }

    /// Adds what `store` does not know, and returns the sandboxes that were added.
    fn adopt(&self, store: &Write<'_>) -> store::Result<Vec<Sandbox>> {
        if store.host_row()?.forwarding == Forwarding::OfOthers && self.forwarding != Forwarding::OfOthers {
            store.set_forwarding(self.forwarding)?;
        }
        if self.respect_host_firewall {
            store.set_respect_host_firewall(true)?;
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
        for sandbox in &self.sandboxes {
            if store.holds_none_of(sandbox)? {
                let mut sandbox = sandbox.clone();
                store.insert(&mut sandbox)?;
                adopted.push(sandbox);
            }
        }
        Ok(adopted)
    }
}

/// The range of a bridge's address, which is the gateway.
fn subnet_of(address: IpNet) -> Subnet {
    Subnet { range: address.trunc(), pool: None, gateway: Gateway::Host(address.addr()) }
}

fn sandbox(key: Key, container: &str, link: &OurLink, found: Option<&Found>) -> Sandbox {
    let id: ContainerId =
        container.parse().unwrap_or_else(|_| key.hex().parse().expect("hexadecimal digits are an id"));
    let nsid = link.peer.map(|(nsid, _)| nsid);
    let unseen =
        || Namespace { cookie: 0, locator: NetnsLocator::Unseen, seen_from_pid_ns: 0, seen_from_mnt_ns: 0, nsid };
    Sandbox {
        number: 0,
        name: (&id).into(),
        container: id,
        bundle: String::new(),
        adopted: Some(key),
        resolver: None,
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
    if let NetnsLocator::Path(path) = &found.locator
        && path.parent().is_some_and(|directory| directory.to_string_lossy().ends_with(&key.hex()))
    {
        namespace.locator = NetnsLocator::Made { path: path.clone(), requester: None };
    }
    namespace
}

/// The endpoint of a link. `mac` is the address that its guard lets pass; where it has none, the one that an address has by
/// default.
fn endpoint(
    link: &OurLink,
    network: &Network,
    master: &InterfaceName,
    mac: Option<Mac>,
    inside: Option<&ContainerInterface>,
) -> Endpoint {
    let address = driver::address_of(&link.name).and_then(|address| {
        let subnet = network.subnets.iter().find(|subnet| subnet.range.contains(&address))?;
        IpNet::new(address, subnet.range.prefix_len()).ok()
    });
    let default_mac = || Mac::of(address.map_or_else(|| Ipv4Addr::UNSPECIFIED.into(), |net| net.addr()));
    Endpoint {
        network: network.name.clone(),
        wire: Wire::Veth { master: master.clone(), host: link.name.clone() },
        interface: inside.map_or_else(plan::default_interface, |inside| inside.name.clone()),
        mac: mac.unwrap_or_else(default_mac),
        mtu: link.mtu,
        addresses: address.into_iter().collect(),
        routes: network.subnets.iter().filter_map(|subnet| subnet.gateway.address()).map(Route::Default).collect(),
    }
}

/// Where a container's side of `endpoint` is otherwise than the host's.
fn contradiction(container: &str, endpoint: &Endpoint, inside: &ContainerInterface) -> Option<String> {
    let foreign = inside.addresses.iter().filter(|address| !endpoint.addresses.contains(address));
    let mut has: Vec<String> = foreign.map(|address| format!("address {address}")).collect();
    if inside.mac != endpoint.mac {
        has.push(format!("MAC address {}", inside.mac));
    }
    (!has.is_empty()).then(|| {
        let (container, interface, has) = (quoted(container), &endpoint.interface, has.join(", "));
        format!("container {container} has {has} on {interface}, which was not leased to it and stays blocked")
    })
}

/// Gives `sandbox` the published ports that lead to its address, and the name that they are labelled with.
fn publish(sandbox: &mut Sandbox, published: &[Publish]) {
    let Some(address) = sandbox.endpoints.iter().find_map(Endpoint::ipv4) else { return };
    let mut ours: Vec<&Publish> = published.iter().filter(|port| port.target.ip() == address).collect();
    ours.sort_by_key(|port| (port.protocol.number(), port.host_address.ip(), port.host_port));
    if let Some(name) = ours.first().and_then(|port| port.label.parse().ok()) {
        sandbox.name = name;
    }
    for port in ours {
        let Publish { protocol, host_address, host_port, target, .. } = *port;
        let mapping = PortMapping { protocol, host_address, host_port, container_port: target.port(), count: 1 };
        if !sandbox.publish.last_mut().is_some_and(|last| last.absorb(&mapping)) {
            sandbox.publish.push(mapping);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::store::tests::{FIXTURES, place};

    /// A store of an earlier version is no damage: a rebuild upgrades it with the right to write that it holds already.
    #[test]
    fn an_old_store_is_upgraded_and_not_rebuilt() {
        let directory = std::env::temp_dir().join(format!("ocinet-rebuild-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        let (host, locks) = (Host { boot: "a".into(), cookie: 7 }, LockFile::new(directory.join("lock")));
        let log = Logger::root(slog::Discard, slog::o!());
        let config = Config::default();
        let context = RebuildContext { state_dir: &directory, host: &host, locks: &locks, config: &config, log: &log };
        for fixture in FIXTURES {
            place(&directory, &host, fixture);
            let began = Instant::now();
            assert_eq!(context.rebuild(None).unwrap().read().sandboxes().unwrap().len(), 2);
            assert!(began.elapsed() < Duration::from_secs(5), "it waited for itself: {:?}", began.elapsed());
            Store::remove(&directory, &host, &Writing::begin(&locks).unwrap()).unwrap();
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
