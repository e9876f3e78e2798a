use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Scene;
use crate::decide::plan::default_routes;
use crate::driver::{NAME_SERVERS, name_server};
use crate::model::{Endpoint, Mode, Network, Route, Sandbox, Subnet};

/// One end of a way, as it was asked for.
#[derive(Debug, Clone)]
pub struct Party<'s> {
    /// Who it is.
    pub who: Who<'s>,
    /// Its address, where that was asked for.
    pub address: Option<IpAddr>,
}

/// Who sends, or is sent to.
#[derive(Debug, Clone)]
pub enum Who<'s> {
    /// A container; one in the host's network is the host.
    Container(&'s Sandbox),
    /// Any container of a network, of which nothing more is known.
    Network(&'s Network),
    /// The host.
    Host,
    /// A machine elsewhere.
    Lan,
    /// The name server, which has no address of a network.
    NameServer,
    /// An address of a network that no container has.
    Unused(IpAddr),
}

/// Who gets a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receiver {
    /// The container of the sandbox with this number: several may have one name, where one of them has ended.
    Container(i64, String),
    /// Any container of the network of that name.
    Network(String),
    /// A process of the host.
    Host,
    /// A machine elsewhere.
    Lan,
    /// The name server.
    NameServer,
}

impl Receiver {
    pub(super) fn of(sandbox: &Sandbox) -> Self {
        Self::Container(sandbox.number, sandbox.name.to_string())
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container(_, name) | Self::Network(name) => name,
            Self::Host => "host",
            Self::Lan => "lan",
            Self::NameServer => "name server",
        })
    }
}

/// A connection of a container to a network.
pub(super) struct Leg<'s> {
    pub network: &'s Network,
    /// The name of the interface.
    pub interface: String,
    pub addresses: Vec<IpAddr>,
    /// The next hops of its default routes.
    pub gateways: Vec<IpAddr>,
    /// Where the container asks for names by it.
    pub name_server: Option<IpAddr>,
    /// Whether its link has no guard, as the container asked for.
    pub unguarded: bool,
}

impl<'s> Party<'s> {
    /// One of which no address was asked for.
    pub fn any(who: Who<'s>) -> Self {
        Self { who, address: None }
    }

    /// Who has `address`, and that it was asked for.
    pub fn at(address: IpAddr, scene: &Scene<'s>) -> Self {
        let who = match scene.holder(address) {
            Some(sandbox) => Who::Container(sandbox),
            None if (scene.is_host)(address) => Who::Host,
            None if scene.network_of(address).is_some() => Who::Unused(address),
            None if NAME_SERVERS.contains(&address) => Who::NameServer,
            None => Who::Lan,
        };
        Self { who, address: Some(address) }
    }

    /// It as a destination of what `from` sends: a loopback address is that of the container that sends to it.
    pub(super) fn meant_by(self, from: &Self) -> Self {
        match (self.address, &from.who) {
            (Some(address), Who::Container(_) | Who::Network(_)) if address.is_loopback() && !from.is_host() => {
                Self { who: from.who.clone(), ..self }
            }
            _ => self,
        }
    }

    /// Whether it is the host, or a container in the host's network.
    pub(super) fn is_host(&self) -> bool {
        match self.who {
            Who::Host => true,
            Who::Container(sandbox) => sandbox.mode == Mode::Host,
            Who::Network(_) | Who::Lan | Who::NameServer | Who::Unused(_) => false,
        }
    }

    /// The connections of a container. Of a network as a whole, an address is taken that is as good as any: the last of
    /// each range.
    pub(super) fn legs(&self, networks: &'s [Network]) -> Vec<Leg<'s>> {
        match self.who {
            Who::Container(sandbox) if sandbox.mode == Mode::Networks => {
                let named = |endpoint: &Endpoint| networks.iter().find(|network| network.name == endpoint.network);
                let legs = sandbox.wired_endpoints().filter_map(|endpoint| Some(leg(named(endpoint)?, endpoint)));
                legs.collect()
            }
            Who::Network(network) => vec![any_leg(network)],
            _ => Vec::new(),
        }
    }

    /// It as the one that gets a packet; none where no container has the address.
    pub(super) fn receiver(&self) -> Option<Receiver> {
        match self.who {
            Who::Container(sandbox) => Some(Receiver::of(sandbox)),
            Who::Network(network) => Some(Receiver::Network(network.name.to_string())),
            Who::Host => Some(Receiver::Host),
            Who::Lan => Some(Receiver::Lan),
            Who::NameServer => Some(Receiver::NameServer),
            Who::Unused(_) => None,
        }
    }

    /// What it is called.
    pub fn name(&self) -> String {
        let name = match self.who {
            Who::Container(sandbox) => format!("container {}", sandbox.name),
            Who::Network(network) => format!("a container of network {}", network.name),
            Who::Host => "the host".to_owned(),
            Who::Lan => "another machine (lan)".to_owned(),
            Who::NameServer => "the name server".to_owned(),
            Who::Unused(address) => return format!("{address}, which no container has"),
        };
        self.address.map(|address| format!("{name} at {address}")).unwrap_or(name)
    }
}

fn leg<'s>(network: &'s Network, endpoint: &Endpoint) -> Leg<'s> {
    Leg {
        network,
        interface: endpoint.interface.to_string(),
        addresses: endpoint.addresses.iter().map(IpNet::addr).collect(),
        gateways: endpoint.gateways().collect(),
        name_server: endpoint.name_server,
        unguarded: endpoint.unguarded,
    }
}

fn any_leg(network: &Network) -> Leg<'_> {
    let last = |subnet: &Subnet| IpNet::new(last_host(subnet.range), subnet.range.prefix_len()).ok();
    let nets: Vec<IpNet> = network.subnets.iter().filter_map(last).collect();
    let routes = if network.options.internal { Vec::new() } else { default_routes(network, &nets) };
    Leg {
        network,
        interface: "eth0".into(),
        addresses: nets.iter().map(IpNet::addr).collect(),
        gateways: routes.iter().map(|Route::Default(gateway)| *gateway).collect(),
        name_server: name_server(network, &nets),
        unguarded: false,
    }
}

/// The last address of a range that a container could have. A range of IPv6 is too large to go through.
fn last_host(range: IpNet) -> IpAddr {
    match range {
        IpNet::V4(v4) => IpAddr::V4(u32::from(v4.broadcast()).saturating_sub(1).into()),
        IpNet::V6(v6) => IpAddr::V6(v6.broadcast()),
    }
}
