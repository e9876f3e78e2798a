use super::{Bridge, HostStep, Program, SandboxStep, Steps, Veth};
use crate::model::{Alias, Attachment, Endpoint, Mac, Network};

/// The steps that connect `endpoint` to a bridge network, which rules of ours guard or not; `alias` marks the link that
/// belongs to it.
pub fn bridge(network: &Network, endpoint: &Endpoint, alias: Alias, guarded: bool) -> Steps {
    let mut sandbox = vec![
        SandboxStep::Loopback,
        SandboxStep::Interface { name: endpoint.interface.clone(), addresses: endpoint.addresses.clone() },
    ];
    sandbox.extend(endpoint.gateways.iter().map(|gateway| SandboxStep::DefaultRoute { gateway: *gateway }));
    let pair = HostStep::Veth(port(endpoint, alias));
    let host = bridge_of(network, guarded).map(HostStep::Bridge).into_iter().chain([pair]).collect();
    Steps { host, sandbox }
}

/// The pair that makes `endpoint` a port of its bridge.
pub fn port(endpoint: &Endpoint, alias: Alias) -> Veth {
    let Attachment::Bridge { bridge, host_interface } = &endpoint.attachment;
    Veth {
        name: host_interface.clone(),
        alias,
        bridge: bridge.clone(),
        peer: endpoint.interface.clone(),
        mac: endpoint.mac,
        mtu: endpoint.mtu,
        guard: Program::of_port(endpoint.mac, endpoint.addresses.iter().map(ipnet::IpNet::addr)),
    }
}

/// The bridge of `network`, which rules of ours guard or not; none where it has no address range to derive a MAC from.
pub fn bridge_of(network: &Network, guarded: bool) -> Option<Bridge> {
    Some(Bridge {
        name: network.bridge.clone(),
        alias: Alias::Network(network.name.clone()),
        mac: Mac::of(network.subnets.first()?.gateway),
        addresses: network.subnets.iter().map(|subnet| subnet.gateway_with_prefix()).collect(),
        route_localnet: guarded,
    })
}
