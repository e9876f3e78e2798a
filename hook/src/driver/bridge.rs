use super::{HostStep, SandboxStep, Steps};
use crate::model::{Attachment, Endpoint, Mac, Network};

/// The steps that connect `endpoint` to a bridge network; `alias` marks the link that belongs to it.
pub fn bridge(network: &Network, endpoint: &Endpoint, alias: String) -> Steps {
    let Attachment::Bridge { bridge, host_interface } = &endpoint.attachment;
    let mut sandbox = vec![
        SandboxStep::Loopback,
        SandboxStep::Interface { name: endpoint.interface.clone(), addresses: endpoint.addresses.clone() },
    ];
    sandbox.extend(endpoint.gateways.iter().map(|gateway| SandboxStep::DefaultRoute { gateway: *gateway }));
    let mut host = Vec::new();
    if let Some(first) = network.subnets.first() {
        host.push(HostStep::Bridge {
            name: bridge.clone(),
            mac: Mac::of(first.gateway),
            mtu: endpoint.mtu,
            addresses: network.subnets.iter().map(|subnet| subnet.gateway_with_prefix()).collect(),
        });
    }
    host.push(HostStep::Veth {
        name: host_interface.clone(),
        alias,
        bridge: bridge.clone(),
        peer: endpoint.interface.clone(),
        mac: endpoint.mac,
        mtu: endpoint.mtu,
    });
    Steps { host, sandbox }
}
