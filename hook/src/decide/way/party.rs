use std::net::IpAddr;

use ipnet::IpNet;

use crate::decide::plan::default_routes;
use crate::model::{Endpoint, Mode, Network, Route, Sandbox, Subnet};

/// Who sends, or is sent to.
#[derive(Debug, Clone)]
pub enum Party<'s> {
    /// A container; one in the host's network is the host.
    Container(&'s Sandbox),
    /// Any container of a network, of which nothing more is known.
    Network(&'s Network),
    /// The host, at this address or any.
    Host(Option<IpAddr>),
    /// A machine elsewhere, with this address or any.
    Lan(Option<IpAddr>),
    /// An address of a network that no container has.
    Nobody(IpAddr),
}

/// A connection of a container to a network.
pub(super) struct Leg<'s> {
    pub network: &'s Network,
    /// The name of the interface.
    pub interface: String,
    pub addresses: Vec<IpAddr>,
    /// The next hops of its default routes.
    pub gateways: Vec<IpAddr>,
}

impl<'s> Party<'s> {
    /// The connections of a container. Of a network as a whole, an address is taken that is as good as any: the last of
    /// each range.
    pub(super) fn legs(&self, networks: &'s [Network]) -> Vec<Leg<'s>> {
        match self {
            Self::Container(sandbox) if sandbox.mode == Mode::Networks => {
                let leg = |endpoint: &Endpoint| {
                    let network = networks.iter().find(|network| network.name == endpoint.network)?;
                    let addresses = endpoint.addresses.iter().map(IpNet::addr).collect();
                    let (interface, gateways) = (endpoint.interface.to_string(), endpoint.gateways().collect());
                    Some(Leg { network, interface, addresses, gateways })
                };
                sandbox.wired_endpoints().filter_map(leg).collect()
            }
            Self::Network(network) => {
                let last = |subnet: &Subnet| IpNet::new(last_host(subnet.range), subnet.range.prefix_len()).ok();
                let nets: Vec<IpNet> = network.subnets.iter().filter_map(last).collect();
                let routes = if network.options.internal { Vec::new() } else { default_routes(network, &nets) };
                let gateways = routes.iter().map(|Route::Default(gateway)| *gateway).collect();
                let addresses = nets.iter().map(IpNet::addr).collect();
                vec![Leg { network, interface: "eth0".into(), addresses, gateways }]
            }
            _ => Vec::new(),
        }
    }

    /// What it is called.
    pub fn name(&self) -> String {
        match self {
            Self::Container(sandbox) => format!("container {}", sandbox.name),
            Self::Network(network) => format!("a container of network {}", network.name),
            Self::Host(Some(address)) => format!("the host at {address}"),
            Self::Host(None) => "the host".to_owned(),
            Self::Lan(Some(address)) => format!("{address}, which is elsewhere"),
            Self::Lan(None) => "another machine".to_owned(),
            Self::Nobody(address) => format!("{address}, which no container has"),
        }
    }
}

/// The last address of a range that a container could have. A range of IPv6 is too large to go through.
fn last_host(range: IpNet) -> IpAddr {
    match range {
        IpNet::V4(v4) => IpAddr::V4((u32::from(v4.broadcast()) - 1).into()),
        IpNet::V6(v6) => IpAddr::V6(v6.broadcast()),
    }
}
