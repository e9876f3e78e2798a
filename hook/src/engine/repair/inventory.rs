//! What the kernel holds, as sandboxes and networks. Pure.

mod joined_links;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use self::joined_links::Joined;
use crate::decide::{joined, plan};
use crate::driver;
use crate::engine::network::default_interface;
use crate::firewall::{Kind, Publish};
use crate::input::config::{self, Config};
use crate::kernel::{ContainerInterface, OurLink};
use crate::model::{
    Alias, ContainerId, DrainingEndpoint, Endpoint, Families, Family, Gateway, HostAddress, InterfaceName, Key, Mac,
    Mode, Namespace, NetnsLocator, Network, PortMapping, Publishing, Sandbox, State, Subnet, Wire, quoted, stand_in,
};
use crate::store::Forwarding;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub links: Vec<SeenLink>,
    pub rules: SeenRules,
    /// What files say of networks: of those whose bridges are there, and where a link has lost its bridge, of all.
    pub definitions: Vec<Network>,
}

/// A link of ours.
#[derive(Debug, Clone)]
pub(super) struct SeenLink {
    pub link: OurLink,
    /// Those of a bridge.
    pub addresses: Vec<IpNet>,
    /// What the guard of an endpoint lets pass; none where it has no guard.
    pub mac: Option<Mac>,
    /// Whether that guard lets all else pass, too.
    pub unguarded: bool,
    /// The namespace of its other end, where that can be seen.
    pub namespace: Option<Namespace>,
    /// Its other end.
    pub inside: Option<ContainerInterface>,
}

/// The rules of ours.
#[derive(Debug, Clone, Default)]
pub(super) struct SeenRules {
    /// Which firewalls have some.
    pub firewalls: Vec<Kind>,
    /// The published ports in them.
    pub published: Vec<Publish>,
    /// The bridges that they cut off from all but the host's gateway addresses.
    pub internal: Vec<InterfaceName>,
    /// The families of which they close the host to what is not for our networks.
    pub close_forwarding: Families,
    /// What the host forwards.
    pub forwards: Families,
}

/// What the kernel holds of ours.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub firewalls: Vec<Kind>,
    pub forwarding: Vec<(Family, Forwarding)>,
    pub respect_host_firewall: bool,
    pub networks: Vec<Network>,
    pub sandboxes: Vec<Sandbox>,
    pub draining: Vec<DrainingEndpoint>,
    /// What a person should know of: where a container's side is otherwise than the host's, and what was left alone.
    pub reports: Vec<String>,
}

impl Inventory {
    /// What was `seen`, in the model's words. `config` tells the range of a network whose bridge is gone.
    pub fn of(seen: &Seen, config: &Config) -> Self {
        let Seen { links, rules, definitions } = seen;
        // Rules close only what is ours, be it that it was still to be switched on.
        let forwarding = |family| match (rules.close_forwarding.contains(family), rules.forwards.contains(family)) {
            (false, _) => Forwarding::OfOthers,
            (true, false) => Forwarding::Intended,
            (true, true) => Forwarding::Ours,
        };
        let bridges: BTreeMap<u32, Network> = links.iter().filter_map(|link| network(link, seen)).collect();
        let is_lost = |network: &&Network| {
            network.name != config::default_bridge() && !definitions.iter().any(|known| known.name == network.name)
        };
        let lost = bridges.values().filter(is_lost).map(|network| {
            let why =
                "has no definition that can be read, so of its options those alone are known that rules and links tell";
            format!("network {} on bridge {} {why}", network.name, network.link().map_or("", InterfaceName::as_str))
        });
        let mut found = Self {
            firewalls: rules.firewalls.clone(),
            forwarding: Family::ALL.map(|family| (family, forwarding(family))).into(),
            respect_host_firewall: links.iter().any(|seen| seen.link.alias == Alias::InputLoop),
            networks: bridges.values().cloned().collect(),
            reports: lost.collect(),
            ..Self::default()
        };
        found.sandboxes = found.sandboxes_of(seen, &bridges, config);
        for sandbox in &mut found.sandboxes {
            publish(sandbox, &rules.published);
        }
        found
    }

    fn sandboxes_of(&mut self, all: &Seen, bridges: &BTreeMap<u32, Network>, config: &Config) -> Vec<Sandbox> {
        let mut sandboxes = BTreeMap::<String, Joined>::new();
        for seen in &all.links {
            let (Alias::Endpoint { key, container, .. } | Alias::Draining { key, container, .. }) = &seen.link.alias
            else {
                continue;
            };
            let Some(network) = self.network_of(&seen.link, bridges, &all.definitions, config) else { continue };
            let Some(wire) = driver::wire_by_link(&network, &seen.link.name) else { continue };
            let endpoint = endpoint(seen, &network, wire);
            let inside = seen.inside.as_ref();
            self.reports.extend(inside.and_then(|inside| contradiction(container, &endpoint, inside)));
            let sandbox = || sandbox(*key, container, seen);
            // By its alias alone: a link that is down may have been shut by an operator.
            if matches!(seen.link.alias, Alias::Draining { .. }) {
                self.draining.push(DrainingEndpoint::of(&sandbox(), &endpoint));
            } else {
                let joined = sandboxes.entry(key.hex()).or_insert_with(|| Joined::new(sandbox()));
                joined.add(endpoint, network, inside);
            }
        }
        sandboxes.into_values().map(|joined| joined.arranged(&all.rules.published)).collect()
    }

    /// The network of a link: that of its bridge or, where the bridge is gone, the one that is defined with a range that
    /// holds the link's address, or the default network with such a range of the settings. None, with a report, where
    /// there is no such range.
    fn network_of(
        &mut self,
        link: &OurLink,
        bridges: &BTreeMap<u32, Network>,
        definitions: &[Network],
        config: &Config,
    ) -> Option<Network> {
        if let Some(network) = link.controller.and_then(|index| bridges.get(&index)) {
            return Some(network.clone());
        }
        let address = addresses_of(link).next();
        let holds = |network: &&Network| {
            network.subnets.iter().any(|subnet| address.is_some_and(|address| subnet.range.contains(&address)))
        };
        if let Some(network) = definitions.iter().find(holds) {
            if !self.networks.iter().any(|known| known.name == network.name) {
                self.networks.push(network.clone());
            }
            return Some(network.clone());
        }
        let subnet = address.and_then(|address| config.subnets().find(|subnet| subnet.range.contains(&address)));
        let Some(subnet) = subnet else {
            self.reports.push(format!(
                "link {} has lost its bridge, and no range of config.toml holds its address: it is left alone; set subnet there, \
                 and run ocinet doctor --fix",
                link.name
            ));
            return None;
        };
        // Its range of IPv6 is always a /64 with the first address for the host.
        let of_ipv6 = addresses_of(link).find(IpAddr::is_ipv6).and_then(|address| IpNet::new(address, 64).ok());
        let subnets = std::iter::once(subnet).chain(of_ipv6.and_then(Subnet::with_first_gateway)).collect();
        let network = Network::of_bridge(config::default_bridge(), default_interface(), subnets);
        let known = self.networks.iter().find(|known| known.name == network.name);
        let network = known.cloned().unwrap_or(network);
        if !self.networks.contains(&network) {
            self.networks.push(network.clone());
        }
        Some(network)
    }
}

/// The network of a bridge, by the bridge's index: what its file says. Where that was changed since the bridge was
/// made, its ranges are those of the bridge's addresses, and it stays as closed as rules and ports keep it.
fn network(bridge: &SeenLink, all: &Seen) -> Option<(u32, Network)> {
    let Seen { links, rules, definitions } = all;
    let SeenLink { link, addresses, .. } = bridge;
    let Alias::Network(name) = &link.alias else { return None };
    // Every bridge with IPv6 has a link-local one, and stand-ins for ::1: these are of no range of the network.
    let stand_ins: Vec<Ipv6Addr> = addresses.iter().copied().filter_map(stand_in).collect();
    let is_other = |v6: Ipv6Addr| v6.is_unicast_link_local() || stand_ins.contains(&v6);
    let is_of_range = |net: &&IpNet| !matches!(net, IpNet::V6(v6) if is_other(v6.addr()));
    let addresses: Vec<IpNet> = addresses.iter().filter(is_of_range).copied().collect();
    let subnets = addresses.iter().map(|net| subnet_of(*net)).collect();
    let mut network = Network::of_bridge(name.clone(), link.name.clone(), subnets);
    if let Some(definition) = definitions.iter().find(|definition| definition.name == *name) {
        network.options = definition.options.clone();
        if definition.host_addresses().collect::<BTreeSet<_>>() == addresses.iter().copied().collect() {
            network.subnets.clone_from(&definition.subnets);
        }
    }
    let keeps_apart = |port: &SeenLink| port.link.controller == Some(link.index) && port.link.isolated;
    network.options.internal |= rules.internal.contains(&link.name);
    network.options.icc &= !links.iter().any(keeps_apart);
    network.options.mtu = link.mtu;
    Some((link.index, network))
}

/// The range of a bridge's address, which is the gateway.
fn subnet_of(address: IpNet) -> Subnet {
    Subnet { range: address.trunc(), pool: None, aux: BTreeMap::new(), gateway: Gateway::Host(address.addr()) }
}

fn sandbox(key: Key, container: &str, seen: &SeenLink) -> Sandbox {
    let id: ContainerId =
        container.parse().unwrap_or_else(|_| key.hex().parse().expect("hexadecimal digits are an id"));
    let nsid = seen.link.peer.map(|(nsid, _)| nsid);
    let unseen =
        || Namespace { cookie: 0, locator: NetnsLocator::Unseen, seen_from_pid_ns: 0, seen_from_mnt_ns: 0, nsid };
    Sandbox {
        number: 0,
        name: (&id).into(),
        container: id,
        bundle: String::new(),
        adopted: Some(key),
        resolver: None,
        mode: Mode::Networks,
        state: State::Attached,
        since: None,
        namespace: seen.namespace.as_ref().map_or_else(unseen, |found| recognised(key, found)),
        endpoints: Vec::new(),
        publish: Vec::new(),
        publish_via: None,
        routed: false,
        leads_elsewhere: false,
        kept_by: None,
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

/// The endpoint of a link of `network`, which `wire` connects. Where the link has no guard, its MAC address is the one
/// that an address has by default.
fn endpoint(seen: &SeenLink, network: &Network, wire: Wire) -> Endpoint {
    let SeenLink { link, mac, unguarded, inside, .. } = seen;
    let with_prefix = |address: IpAddr| {
        let subnet = network.subnets.iter().find(|subnet| subnet.range.contains(&address))?;
        IpNet::new(address, subnet.range.prefix_len()).ok()
    };
    let addresses: Vec<IpNet> = addresses_of(link).filter_map(with_prefix).collect();
    let default_mac = || Mac::of(addresses.first().map_or_else(|| Ipv4Addr::UNSPECIFIED.into(), IpNet::addr));
    Endpoint {
        number: 0,
        state: State::Attached,
        network: network.name.clone(),
        wire,
        interface: inside.as_ref().map_or_else(joined::default_interface, |inside| inside.name.clone()),
        mac: mac.unwrap_or_else(default_mac),
        mtu: link.mtu,
        routes: plan::default_routes(network, &addresses),
        name_server: driver::name_server(network, &addresses),
        addresses,
        names: Vec::new(),
        publishing: Publishing::Direct,
        publishing6: None,
        gw_priority: 0,
        unguarded: *unguarded,
        ndp_proxy: network.options.ndp_proxy,
    }
}

/// The addresses of the container at `link`: that of IPv4, which its name tells, and that of IPv6 in its alias.
fn addresses_of(link: &OurLink) -> impl Iterator<Item = IpAddr> {
    let ipv6 = match &link.alias {
        Alias::Endpoint { ipv6, .. } | Alias::Draining { ipv6, .. } => *ipv6,
        Alias::Network(_) | Alias::Names(_) | Alias::InputLoop => None,
    };
    driver::address_of(&link.name).into_iter().chain(ipv6.map(IpAddr::V6))
}

/// Where a container's side of `endpoint` is otherwise than the host's.
fn contradiction(container: &str, endpoint: &Endpoint, inside: &ContainerInterface) -> Option<String> {
    // The kernel gives each interface a link-local one, and the guard lets that of its MAC pass.
    let is_local = |net: &IpNet| matches!(net, IpNet::V6(v6) if v6.addr().is_unicast_link_local());
    let is_foreign = |address: &&IpNet| !endpoint.addresses.contains(address) && !is_local(address);
    let foreign = inside.addresses.iter().filter(is_foreign);
    let mut has: Vec<String> = foreign.map(|address| format!("address {address}")).collect();
    if inside.mac != endpoint.mac {
        has.push(format!("MAC address {}", inside.mac));
    }
    (!has.is_empty()).then(|| {
        let (container, interface, has) = (quoted(container), &endpoint.interface, has.join(", "));
        format!("container {container} has {has} on {interface}, which was not leased to it and stays blocked")
    })
}

/// Gives `sandbox` the published ports that lead to its address, and the name that they are labelled with. Of a family that
/// is routed beside one that is not, rules tell only what is published for that alone: the others are those of the host.
fn publish(sandbox: &mut Sandbox, published: &[Publish]) {
    let targets = sandbox.port_targets();
    sandbox.routed = sandbox.is_routed();
    let routed = sandbox.routed_families();
    let is_reached = |port: &&Publish| match routed.contains(Family::of(port.target.ip())) {
        true => !port.reached_by.has_host() && (sandbox.routed || port.label.only.is_some()),
        false => port.reached_by.has_host(),
    };
    let to_it = published.iter().filter(|port| targets.contains(&port.target.ip())).filter(is_reached);
    let mut ours: Vec<&Publish> = to_it.collect();
    let place = |port: &&Publish| {
        let Publish { protocol, host_address, host_port, target, label, .. } = port;
        (protocol.number(), host_address.ip(), label.only, *host_port, target.port())
    };
    ours.sort_by_key(place);
    // One that is published on every address leads to an address of each family.
    ours.dedup_by_key(|port| place(port));
    if let Some(name) = ours.first().and_then(|port| port.label.container.parse().ok()) {
        sandbox.name = name;
    }
    for port in ours {
        let Publish { protocol, host_address, host_port, target, ref label, .. } = *port;
        let host_address = match (host_address, label.only) {
            (HostAddress::Any, Some(family)) => HostAddress::AnyOf(family),
            _ => host_address,
        };
        let mapping = PortMapping { protocol, host_address, host_port, container_port: target.port(), count: 1 };
        if !sandbox.publish.last_mut().is_some_and(|last| last.absorb(&mapping)) {
            sandbox.publish.push(mapping);
        }
    }
}

#[cfg(test)]
mod tests;
