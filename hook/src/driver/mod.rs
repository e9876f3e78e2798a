//! The steps by which the kernel connects an endpoint, one file per driver. Pure: steps are data, which
//! `kernel/perform` performs, verifies and undoes.
//!
//! A driver is one file here with its [`Decisions`], and one arm in [`decisions`]. Beside a rebuild of a lost store,
//! which knows bridges by their aliases and addresses by the names of links (`engine/repair/inventory.rs`), no other
//! code depends on the driver of a network.

mod bridge;
mod guard;
mod interface_ipv6;
mod names;
mod setting;
#[cfg(test)]
mod slice;

pub use bridge::address_of;
pub use guard::{FilterProgram, Guard};
pub use interface_ipv6::{GROUPS, GROUPS_METRIC, InterfaceIpv6};
pub use names::{NAME_SERVERS, NamesPort, ZONE, has_names, name_server, names_namespace, names_port};
pub use setting::Setting;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::model::{Alias, Driver, Endpoint, InterfaceName, Mac, Network, Route, StaticRoute, Subnet, Wire};

/// Facts that a step needs besides the network and the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The alias of the endpoint's links.
    pub alias: Alias,
    /// Whether rules of ours guard the network.
    pub guarded: bool,
}

/// The steps of an endpoint, in the order in which they are performed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    /// In the host's namespace, for all endpoints of the network.
    pub network: Vec<NetworkStep>,
    /// In the host's namespace, for this endpoint alone.
    pub endpoint: Vec<EndpointStep>,
    /// In the container's namespace, after the host's.
    pub sandbox: Vec<SandboxStep>,
}

/// The decisions that drivers differ in.
trait Decisions {
    /// What connects an endpoint with `address`; `nth`, below [`LINK_NAMES`], numbers the names that its link on the host
    /// can have.
    fn wire(&self, address: IpAddr, nth: u8) -> Wire;

    /// What connects the endpoint that has `link` on the host; none where endpoints have no link there.
    fn wire_by_link(&self, link: &InterfaceName) -> Option<Wire>;

    /// What all endpoints of `network` share on the host.
    fn of_network(&self, network: &Network, guarded: bool) -> Vec<NetworkStep>;

    /// What connects `endpoint` of `network`; `alias` marks its links.
    fn of_endpoint(&self, network: &Network, endpoint: &Endpoint, alias: &Alias) -> Vec<EndpointStep>;

    /// The MAC of a next hop of `network`, where we gave it one that stays.
    fn mac_of_gateway(&self, network: &Network, gateway: IpAddr) -> Option<Mac>;

    /// Whether a host on `network` may remember a MAC for an address of a new endpoint that is not the endpoint's.
    fn may_be_misremembered(&self, network: &Network) -> bool;
}

fn decisions(driver: &Driver) -> &dyn Decisions {
    match driver {
        Driver::Bridge(bridge) => bridge,
        #[cfg(test)]
        Driver::Slice(slice) => slice,
    }
}

/// How many names the link of an endpoint on the host can have.
pub const LINK_NAMES: u8 = 10;

/// What connects an endpoint of `network` with `address`; `nth`, below [`LINK_NAMES`], numbers the names that its link on
/// the host can have.
pub fn wire(network: &Network, address: IpAddr, nth: u8) -> Wire {
    decisions(&network.driver).wire(address, nth)
}

/// What connects the endpoint of `network` that has `link` on the host; none where its endpoints have no link there.
pub fn wire_by_link(network: &Network, link: &InterfaceName) -> Option<Wire> {
    decisions(&network.driver).wire_by_link(link)
}

/// What all endpoints of `network` share on the host. `guarded` is whether our rules guard the network.
pub fn of_network(network: &Network, guarded: bool) -> Vec<NetworkStep> {
    decisions(&network.driver).of_network(network, guarded)
}

/// What removes all that the endpoints of `network` share on the host, in this order.
pub fn undo_of_network(network: &Network) -> Vec<NetworkUndo> {
    // Whether rules guard the network decides about settings alone, and these go with their links.
    let guarded = false;
    of_network(network, guarded).iter().rev().map(NetworkStep::undo).collect()
}

/// What connects `endpoint` of `network` on the host; `alias` marks its links.
pub fn of_endpoint(network: &Network, endpoint: &Endpoint, alias: &Alias) -> Vec<EndpointStep> {
    decisions(&network.driver).of_endpoint(network, endpoint, alias)
}

/// The steps that connect `endpoint` to `network`.
pub fn steps(network: &Network, endpoint: &Endpoint, facts: &Facts) -> Steps {
    Steps {
        network: of_network(network, facts.guarded),
        endpoint: of_endpoint(network, endpoint, &facts.alias),
        sandbox: in_sandbox(network, endpoint),
    }
}

/// What `endpoint` of `network` needs in the container's namespace.
pub fn in_sandbox(network: &Network, endpoint: &Endpoint) -> Vec<SandboxStep> {
    let (decisions, name) = (decisions(&network.driver), || endpoint.interface.clone());
    let mut steps = vec![
        SandboxStep::Loopback,
        SandboxStep::Interface {
            name: name(),
            addresses: endpoint.addresses.clone(),
            ipv6: InterfaceIpv6::of(endpoint),
        },
    ];
    let is_in = |subnet: &&Subnet| endpoint.addresses.iter().any(|net| subnet.range.contains(&net.addr()));
    let gateways = network.subnets.iter().filter(is_in).filter_map(|subnet| subnet.gateway.address());
    let known = |gateway| decisions.mac_of_gateway(network, gateway).map(|mac| (gateway, mac));
    let neighbours = gateways.filter_map(known);
    steps.extend(neighbours.map(|(address, mac)| SandboxStep::Neighbour { name: name(), address, mac }));
    if decisions.may_be_misremembered(network) {
        // A question of IPv6 goes to those alone that have the address (RFC 4861, section 4.3), so it announces nothing:
        // the host advertises it (`Veth::advertised`).
        let addresses = endpoint.addresses.iter().map(IpNet::addr).filter(IpAddr::is_ipv4);
        steps.extend(addresses.map(|address| SandboxStep::Announce { name: name(), address }));
    }
    steps.extend(endpoint.routes.iter().map(|Route::Default(gateway)| SandboxStep::DefaultRoute { gateway: *gateway }));
    // The next hop is an address of the interface's own range, or the route cannot be made.
    let is_near =
        |route: &&StaticRoute| network.subnets.iter().filter(is_in).any(|subnet| subnet.range.contains(&route.via));
    steps.extend(network.options.routes.iter().filter(is_near).copied().map(SandboxStep::Route));
    if let Some(server) = endpoint.name_server {
        steps.push(SandboxStep::Neighbour { name: name(), address: server, mac: names::mac() });
        steps.push(SandboxStep::Near { name: name(), to: server.into(), source: None });
    }
    steps
}

/// The steps that remove `endpoint`, in this order. They need only the endpoint: its network may be gone.
pub fn undo(endpoint: &Endpoint, alias: &Alias) -> Vec<Undo> {
    let Endpoint { wire, addresses, .. } = endpoint;
    let link = wire.host_link().map(|name| Undo::Link {
        name: name.clone(),
        alias: alias.clone(),
        master: wire.master().cloned(),
    });
    let of_address = |address: IpAddr| {
        let neighbour = wire.master().map(|link| Undo::Neighbour { link: link.clone(), address });
        [Some(Undo::Flows(address)), neighbour].into_iter().flatten()
    };
    let proxies = endpoint.proxied_addresses().map(Undo::Proxy);
    link.into_iter().chain(addresses.iter().map(IpNet::addr).flat_map(of_address)).chain(proxies).collect()
}

/// One thing that is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// A link of the host's namespace, if it has this alias, or if it has none and is a port of `master`: then its
    /// attach was interrupted.
    Link {
        /// Its name.
        name: InterfaceName,
        /// The alias of its owner.
        alias: Alias,
        /// The link that it is a port of.
        master: Option<InterfaceName>,
    },
    /// The flows that conntrack remembers of an address. They would lead into the next container at that address.
    Flows(IpAddr),
    /// The neighbour entry of an address on a link, and the packets of those flows that wait for its MAC address.
    Neighbour {
        /// The link.
        link: InterfaceName,
        /// The address.
        address: IpAddr,
    },
    /// The entries of ours by which the host answers its own neighbours for an address, on whichever link.
    Proxy(Ipv6Addr),
}

/// One thing that the endpoints of a network share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkStep {
    /// A bridge of ours is there and up.
    Bridge(BridgeLink),
}

/// One thing that the endpoints of a network shared, to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkUndo {
    /// A bridge, if it has this alias, or if it has none and has this MAC: then its making was interrupted.
    Bridge {
        /// Its name.
        name: InterfaceName,
        /// The alias of its network.
        alias: Alias,
        /// The MAC that it was made with.
        mac: Mac,
    },
}

impl NetworkStep {
    /// What removes the result of the step, complete or not.
    pub fn undo(&self) -> NetworkUndo {
        match self {
            Self::Bridge(BridgeLink { name, alias, mac, .. }) => {
                NetworkUndo::Bridge { name: name.clone(), alias: alias.clone(), mac: *mac }
            }
        }
    }
}

/// One thing on the host that connects one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointStep {
    /// A veth pair connects the container to a bridge.
    Veth(Veth),
}

/// As messages name it.
impl fmt::Display for NetworkStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge(bridge) => write!(f, "bridge {}", bridge.name),
        }
    }
}

/// As messages name it.
impl fmt::Display for NetworkUndo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge { name, .. } => write!(f, "bridge {name}"),
        }
    }
}

/// The metric of the route by which a bridge with stand-ins leads to ::1, in table `local`. It is for packets that have to
/// leave by that bridge: all others go by the kernel's own route to ::1, which has the metric 0.
pub const LOOPBACK_METRIC: u32 = 4096;

/// A bridge of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeLink {
    /// Its name.
    pub name: InterfaceName,
    /// The alias that identifies its owner, shown by `ip -d link`.
    pub alias: Alias,
    /// Its own MAC, since udev and the kernel would otherwise change it with the ports.
    pub mac: Mac,
    /// Its MTU in bytes. A bridge that was never told one follows its smallest port (`br_mtu_auto_adjust`,
    /// net/bridge/br_if.c), so that one container's `mtu=` would hold for all.
    pub mtu: u32,
    /// The gateway addresses, and with IPv6 a link-local one.
    pub addresses: Vec<IpNet>,
    /// What stands for ::1 of the host ([`stand_in`](crate::model::stand_in)): addresses that the kernel chooses as a
    /// sender only where there is no other. With them comes the route of [`LOOPBACK_METRIC`].
    pub stand_ins: Vec<Ipv6Addr>,
    /// Whether its network has IPv6.
    pub has_ipv6: bool,
    /// Whether rules of ours guard the network.
    pub guarded: bool,
}

/// A veth pair: one end a port of the bridge, its peer created in the container's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Veth {
    /// The host's end.
    pub name: InterfaceName,
    /// The alias that identifies its owner, shown by `ip -d link`.
    pub alias: Alias,
    /// The bridge.
    pub bridge: InterfaceName,
    /// The container's end.
    pub peer: InterfaceName,
    /// The MAC of the container's end.
    pub mac: Mac,
    /// The MTU of both ends.
    pub mtu: u32,
    /// The container's addresses. The host has permanent neighbour entries for them, and the bridge a static one for
    /// the MAC. So a packet to the container needs no ARP, and is not flooded to its siblings when the container was
    /// silent for so long that a learned entry would have ended.
    pub addresses: Vec<IpAddr>,
    /// Its addresses of IPv6 for which others on the bridge may remember another MAC, so that they are told this one.
    pub advertised: Vec<Ipv6Addr>,
    /// The filter for packets that come in by the host's end.
    pub guard: FilterProgram,
    /// Whether it lets all of them pass. Then the bridge learns other MACs by it, and floods to it what is for none that
    /// it knows: behind the container there may be more.
    pub unguarded: bool,
    /// The filter for packets that go to the container by the host's end; none where all may.
    pub intake: Option<FilterProgram>,
    /// Whether the bridge passes nothing between it and other ports that are so.
    pub isolated: bool,
    /// The host's MAC on the bridge, where frames to the host are taken off the port before the bridge sees them. The
    /// host's end has this MAC, too: the kernel drops a packet that is not to the MAC of the link that it comes in by
    /// (`eth_type_trans`, net/ethernet/eth.c).
    ///
    /// Between isolated ports that is the way to a published port of a sibling. Where frames on a bridge pass the IP hooks,
    /// the bridge would send a frame that is translated to another of its ports there at once
    /// (`br_nf_pre_routing_finish`, net/bridge/br_netfilter_hooks.c), and pass nothing.
    pub host_mac: Option<Mac>,
}

/// One thing in the container's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxStep {
    /// The loopback interface is up.
    Loopback,
    /// An interface has its addresses and is up.
    Interface {
        /// Its name.
        name: InterfaceName,
        /// Its addresses with prefix length.
        addresses: Vec<IpNet>,
        /// What it has of IPv6.
        ipv6: InterfaceIpv6,
    },
    /// A permanent neighbour entry.
    Neighbour {
        /// The interface.
        name: InterfaceName,
        /// The address.
        address: IpAddr,
        /// Its MAC.
        mac: Mac,
    },
    /// Announces the interface's MAC to the other hosts on the network: it asks who has its own address, and all of
    /// them see the question (RFC 5227, section 3).
    Announce {
        /// The interface.
        name: InterfaceName,
        /// Its address.
        address: IpAddr,
    },
    /// A route of the network.
    Route(StaticRoute),
    /// Settings of the kernel for the namespace.
    Settings(Vec<Setting>),
    /// An address of the namespace's own, by whichever link it is reached: it is on the loopback interface.
    OwnAddress(IpNet),
    /// Only packets of this namespace's own are routed, whatever its settings say of forwarding.
    RouteOwnAlone,
    /// The addresses `to` are reached directly by an interface. A route to them by another interface stays, too, and is
    /// used once this one is gone.
    Near {
        /// The interface.
        name: InterfaceName,
        /// The addresses.
        to: IpNet,
        /// The own address that packets to them have, where the kernel is not to choose.
        source: Option<IpAddr>,
    },
    /// The addresses `to` are not reached directly by an interface any more.
    NotNear {
        /// The interface.
        name: InterfaceName,
        /// The addresses.
        to: IpNet,
    },
    /// The default route, unless the namespace has one already.
    DefaultRoute {
        /// The next hop.
        gateway: IpAddr,
    },
    /// The default route by `from`, if the namespace has that, goes by `to` from then on.
    MoveDefaultRoute {
        /// The next hop so far.
        from: IpAddr,
        /// The next hop from then on, of the same family; none where the route ends.
        to: Option<IpAddr>,
    },
}
