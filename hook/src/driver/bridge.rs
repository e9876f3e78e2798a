use std::net::IpAddr;

use super::{Bridge, FilterProgram, HostStep, SandboxStep, Setting, Steps, Veth};
use crate::model::{Alias, Attachment, Endpoint, Mac, Network};

/// The steps that connect `endpoint` to a bridge network, which rules of ours guard or not; `alias` marks the link that
/// belongs to it.
pub fn bridge(network: &Network, endpoint: &Endpoint, alias: Alias, guarded: bool) -> Steps {
    let mut sandbox = vec![
        SandboxStep::Loopback,
        SandboxStep::Interface { name: endpoint.interface.clone(), addresses: endpoint.addresses.clone() },
    ];
    let announce = |gateway: &IpAddr| SandboxStep::Announce { name: endpoint.interface.clone(), gateway: *gateway };
    sandbox.extend(endpoint.gateways.iter().map(announce));
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
        guard: FilterProgram::of_port(endpoint.mac, endpoint.addresses.iter().map(ipnet::IpNet::addr)),
    }
}

/// The bridge of `network`, which rules of ours guard or not; none where it has no address range to derive a MAC from.
pub fn bridge_of(network: &Network, guarded: bool) -> Option<Bridge> {
    Some(Bridge {
        name: network.bridge.clone(),
        alias: Alias::Network(network.name.clone()),
        mac: Mac::of(network.subnets.first()?.gateway),
        mtu: network.mtu,
        addresses: network.subnets.iter().map(|subnet| subnet.gateway_with_prefix()).collect(),
        guarded,
    })
}

impl Bridge {
    /// What it needs before it is up: no address or route from a router advertisement of a container (CVE-2020-13401) and
    /// no IPv6. Behind rules of ours also a way for the host's own 127.0.0.1 to published ports, which without them would
    /// be open the other way round as well (CVE-2020-8558), and forwarding where the host's default for new links is off.
    pub fn settings(&self) -> Vec<Setting> {
        let of = |family, name, value| Setting::of(family, self.name.as_str(), name, value);
        let mut settings = vec![
            of("ipv6", "accept_ra", "0"),
            of("ipv6", "disable_ipv6", "1"),
            of("ipv4", "route_localnet", if self.guarded { "1" } else { "0" }),
        ];
        if self.guarded {
            settings.push(of("ipv4", "forwarding", "1"));
        }
        settings
    }

    /// An MTU next to `mtu`, to come from: the kernel takes no notice of one that the bridge has already
    /// (`netif_set_mtu_ext`, net/core/dev.c). It is on the same side of 1280, under which a link loses its IPv6 settings.
    pub fn other_mtu(mtu: u32) -> u32 {
        mtu ^ 1
    }
}
