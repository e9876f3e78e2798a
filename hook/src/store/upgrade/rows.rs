//! What the bodies of versions 1 to 6 say, as those versions wrote them. What is stored today may change; this does
//! not.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use crate::model::{
    ContainerId, ContainerName, Endpoint, Gateway, HostAddress, InterfaceName, Key, Mac, Mode, Namespace, NetnsLocator,
    Network, NetworkName, Options, PortMapping, Protocol, Publishing, Requester, ResolverChoice, Route, Sandbox, State,
    Subnet, Wire,
};

/// The body of a network.
#[derive(Deserialize)]
pub(super) struct NetworkRow {
    pub name: NetworkName,
    bridge: InterfaceName,
    subnets: Vec<SubnetRow>,
    /// Since version 5.
    #[serde(default = "ethernet")]
    mtu: u32,
}

#[derive(Deserialize)]
struct SubnetRow {
    range: IpNet,
    gateway: IpAddr,
}

/// The body of a sandbox. Its number is a column, or in the key.
#[derive(Deserialize)]
pub(super) struct SandboxRow {
    container: ContainerId,
    bundle: String,
    adopted: Option<Key>,
    resolver: Option<Box<ResolverChoice>>,
    name: ContainerName,
    mode: Mode,
    state: State,
    namespace: NamespaceRow,
    endpoints: Vec<EndpointRow>,
    publish: Vec<PortsRow>,
}

#[derive(Deserialize)]
struct NamespaceRow {
    cookie: u64,
    witness: WitnessRow,
    seen_from_pid_ns: u64,
    seen_from_mnt_ns: u64,
    nsid: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum WitnessRow {
    Path(PathBuf),
    Process { pid: i32, started: u64 },
    Made { path: PathBuf, patron: Option<PatronRow> },
    Unseen,
}

#[derive(Deserialize)]
struct PatronRow {
    pid: i32,
    started: u64,
    bundle: PathBuf,
}

/// All were of the driver `bridge`.
#[derive(Deserialize)]
struct EndpointRow {
    network: NetworkName,
    bridge: InterfaceName,
    host_interface: InterfaceName,
    interface: InterfaceName,
    mac: Mac,
    mtu: u32,
    addresses: Vec<IpNet>,
    gateways: Vec<IpAddr>,
}

#[derive(Deserialize)]
struct PortsRow {
    protocol: Protocol,
    host_address: HostAddress,
    host_port: u16,
    container_port: u16,
    #[serde(default = "one")]
    count: u16,
}

fn ethernet() -> u32 {
    1500
}

fn one() -> u16 {
    1
}

impl From<NetworkRow> for Network {
    fn from(row: NetworkRow) -> Self {
        let NetworkRow { name, bridge, subnets, mtu } = row;
        let subnet = |SubnetRow { range, gateway }| Subnet {
            range,
            pool: None,
            aux: BTreeMap::new(),
            gateway: Gateway::Host(gateway),
        };
        let network = Self::of_bridge(name, bridge, subnets.into_iter().map(subnet).collect());
        Self { options: Options { mtu, ..Options::default() }.into(), ..network }
    }
}

impl SandboxRow {
    /// The sandbox of the row with that number.
    pub fn sandbox(self, number: u32) -> Sandbox {
        Sandbox {
            number: number.into(),
            container: self.container,
            bundle: self.bundle,
            adopted: self.adopted,
            resolver: self.resolver,
            name: self.name,
            mode: self.mode,
            state: self.state,
            since: None,
            namespace: self.namespace.into(),
            endpoints: self.endpoints.into_iter().map(|row| row.endpoint(self.state)).collect(),
            publish: self.publish.into_iter().map(PortMapping::from).collect(),
            publish_via: None,
            routed: false,
            leads_elsewhere: false,
            kept_by: None,
        }
    }
}

impl From<NamespaceRow> for Namespace {
    fn from(row: NamespaceRow) -> Self {
        let NamespaceRow { cookie, witness, seen_from_pid_ns, seen_from_mnt_ns, nsid } = row;
        let requester = |PatronRow { pid, started, bundle }: PatronRow| Requester { pid, started, bundle };
        let locator = match witness {
            WitnessRow::Path(path) => NetnsLocator::Path(path),
            WitnessRow::Process { pid, started } => NetnsLocator::Process { pid, started },
            WitnessRow::Made { path, patron } => NetnsLocator::Made { path, requester: patron.map(requester) },
            WitnessRow::Unseen => NetnsLocator::Unseen,
        };
        Self { cookie, locator, seen_from_pid_ns, seen_from_mnt_ns, nsid }
    }
}

impl EndpointRow {
    /// The endpoint of a sandbox in `state`, still without a number.
    fn endpoint(self, state: State) -> Endpoint {
        let Self { network, bridge, host_interface, interface, mac, mtu, addresses, gateways } = self;
        let wire = Wire::Veth { master: bridge, host: host_interface };
        let routes = gateways.into_iter().map(Route::Default).collect();
        Endpoint {
            number: 0,
            state,
            network,
            wire,
            interface,
            mac,
            mtu,
            addresses,
            routes,
            names: Vec::new(),
            name_server: None,
            publishing: Publishing::Direct,
            publishing6: None,
            gw_priority: 0,
            unguarded: false,
            ndp_proxy: false,
        }
    }
}

impl From<PortsRow> for PortMapping {
    fn from(row: PortsRow) -> Self {
        let PortsRow { protocol, host_address, host_port, container_port, count } = row;
        Self { protocol, host_address, host_port, container_port, count }
    }
}
