//! The output of `ocinet ps --json`, read by its documentation alone.

use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;

/// One sandbox of the store.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Sandbox {
    /// The runtime's id of the container.
    pub container: String,
    /// The bundle, as the runtime stated it.
    pub bundle: String,
    /// The container's name. By default its id.
    pub name: String,
    /// Its kind of network.
    pub mode: Mode,
    /// The state of its attach or detach.
    pub state: State,
    /// Its connections, one a network.
    pub endpoints: Vec<Endpoint>,
    /// Its ports on the host.
    pub publish: Vec<Publish>,
}

/// The kinds of networking.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Connected to a bridge.
    Bridge,
    /// Loopback only.
    None,
    /// The host's own namespace.
    Host,
}

/// The state of a sandbox.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Chosen and stored. The kernel may not have it yet.
    Attaching,
    /// Complete.
    Attached,
    /// Being taken down.
    Detaching,
    /// Taken down, but its link still exists.
    Draining,
}

/// A sandbox's connection to one network.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Endpoint {
    /// The network's name.
    pub network: String,
    /// The network's interface on the host.
    pub bridge: String,
    /// The interface inside the container.
    pub interface: String,
    /// The host's end of the veth pair.
    pub host_interface: String,
    /// The interface's hardware address.
    pub mac: String,
    /// The interface's MTU.
    pub mtu: u32,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// The default routes' next hops.
    pub gateways: Vec<String>,
    /// `masqueraded`, `routed`, `trusted` or `off`, where published ports do not just lead to it.
    pub publishing: Option<String>,
    /// The same of IPv6, where that differs.
    pub publishing6: Option<String>,
}

impl Endpoint {
    /// What it has to do with published ports of IPv4, or of IPv6.
    pub fn publishing_of(&self, is_ipv4: bool) -> &str {
        let v6 = self.publishing6.as_deref().filter(|_| !is_ipv4);
        v6.or(self.publishing.as_deref()).unwrap_or("direct")
    }
}

/// A host port that leads into a container.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Publish {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The one address it is published on, or every address of its family; `None` for every address of the host.
    pub host_address: Option<IpAddr>,
    /// The port on the host, or the first of several.
    pub host_port: u16,
    /// The port in the container.
    pub container_port: u16,
    /// The number of consecutive ports.
    #[serde(default = "one")]
    pub count: u16,
}

fn one() -> u16 {
    1
}

impl Publish {
    /// Each host port with its container port.
    pub fn pairs(&self) -> impl Iterator<Item = (u16, u16)> {
        (0..self.count).map(|offset| (self.host_port + offset, self.container_port + offset))
    }
}

impl Sandbox {
    /// The addresses that published ports lead to, one of each family by which the container answers, with what its
    /// endpoint has to do with them; none where they are dormant.
    pub fn publishing_addresses(&self) -> Vec<(IpAddr, &str)> {
        let mut found: Vec<(IpAddr, &str)> = Vec::new();
        for endpoint in &self.endpoints {
            let gateways: Vec<IpAddr> = endpoint.gateways.iter().filter_map(|gateway| gateway.parse().ok()).collect();
            let addresses = endpoint.addresses.iter().filter_map(|address| address.split_once('/')?.0.parse().ok());
            let all = addresses.map(|address: IpAddr| (address, endpoint.publishing_of(address.is_ipv4())));
            found.extend(all.filter(|(address, publishing)| match *publishing {
                "off" => false,
                "masqueraded" => true,
                _ => gateways.iter().any(|gateway| gateway.is_ipv4() == address.is_ipv4()),
            }));
        }
        found
    }

    /// Its endpoint on `network`.
    pub fn on(&self, network: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.network == network)
    }

    /// The first address, without its prefix length.
    pub fn address(&self) -> Option<Ipv4Addr> {
        let (address, _) = self.endpoints.first()?.addresses.first()?.split_once('/')?;
        address.parse().ok()
    }
}
