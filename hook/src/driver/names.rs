//! The name server's network namespace, and its port on each bridge whose containers have names.
//!
//! It has one address, which no network gives out. Containers reach it by a route of their own, so it needs no address
//! of any range, no rule of the firewall and no flow. That namespace must lead from no network to another: it forwards
//! nothing, and only its own packets are routed at all. A new namespace may inherit forwarding from the initial one
//! (`inet_init_net`, net/ipv4/devinet.c).

use std::net::{IpAddr, Ipv4Addr};

use super::{EndpointStep, FilterProgram, SandboxStep, Setting, Veth};
use crate::input::config;
use crate::model::{Alias, InterfaceName, Mac, Network, NetworkName};

/// Where the name server answers: a link-local address (RFC 3927), so that it is in no range of a network.
pub const NAME_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 53, 53));

/// The domain of all containers (`internal` is reserved for such use, ICANN resolution 2024.07.29.06).
pub const ZONE: &str = "ocinet.internal";

/// Whether the containers of `network` find each other by their names. As in Docker, those of the default network do
/// not.
pub fn has_names(network: &NetworkName) -> bool {
    *network != config::default_bridge()
}

/// The name server's connection to one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesPort {
    /// On the host.
    pub port: EndpointStep,
    /// In the name server's namespace.
    pub inside: Vec<SandboxStep>,
}

/// What makes the namespace of the name server, from inside it. Nothing is connected to it yet.
pub fn names_namespace() -> Vec<SandboxStep> {
    let of = |family, link, name, value| SandboxStep::Setting(Setting::of(family, link, name, value));
    let mut steps = Vec::new();
    for link in ["all", "default"] {
        steps.extend([
            of("ipv4", link, "forwarding", "0"),
            of("ipv4", link, "accept_redirects", "0"),
            of("ipv4", link, "send_redirects", "0"),
            of("ipv4", link, "accept_source_route", "0"),
            of("ipv4", link, "rp_filter", "1"),
            of("ipv6", link, "forwarding", "0"),
            of("ipv6", link, "disable_ipv6", "1"),
        ]);
    }
    steps.extend([SandboxStep::RouteOwnAlone, SandboxStep::OwnAddress(NAME_SERVER.into()), SandboxStep::Loopback]);
    steps
}

/// The name server's port on the bridge of `network`; none where its containers have no names.
pub fn names_port(network: &Network) -> Option<NamesPort> {
    let bridge = network.link().filter(|_| has_names(&network.name))?;
    let digits = crc32fast::hash(bridge.as_str().as_bytes());
    // What stands in files of NetworkManager, networkd and firewalld for links of containers is for this one, too.
    let name: InterfaceName = format!("ocvn-{digits:08x}").parse().expect("thirteen letters and digits");
    let mac = Mac::of(NAME_SERVER);
    let port = EndpointStep::Veth(Veth {
        name: name.clone(),
        alias: Alias::Names(network.name.clone()),
        bridge: bridge.clone(),
        peer: name.clone(),
        mac,
        mtu: network.options.mtu,
        addresses: Vec::new(),
        guard: FilterProgram::of_port(mac, [NAME_SERVER]),
        unguarded: false,
        isolated: false,
    });
    let of = |setting, value| SandboxStep::Setting(Setting::of("ipv4", name.as_str(), setting, value));
    let mut inside = vec![of("forwarding", "0"), of("rp_filter", "1"), of("send_redirects", "0")];
    inside.push(SandboxStep::Interface { name: name.clone(), addresses: Vec::new() });
    let ranges = network.subnets.iter().map(|subnet| subnet.range).filter(|range| range.addr().is_ipv4());
    inside.extend(ranges.map(|to| SandboxStep::Near { name: name.clone(), to, source: Some(NAME_SERVER) }));
    Some(NamesPort { port, inside })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Subnet;

    fn network(name: &str, link: &str) -> Network {
        let subnet = Subnet::with_first_gateway("10.64.0.0/24".parse().unwrap()).unwrap();
        Network::of_bridge(name.parse().unwrap(), link.parse().unwrap(), vec![subnet])
    }

    #[test]
    fn networks_of_ones_own_have_a_port_that_speaks_for_the_name_server_alone() {
        assert_eq!(names_port(&network("bridge", "ocinet0")), None);
        let NamesPort { port: EndpointStep::Veth(pair), inside } =
            names_port(&network("front", "ocn-12345678")).unwrap();
        assert_eq!(pair.guard, FilterProgram::of_port(Mac::of(NAME_SERVER), [NAME_SERVER]));
        assert_eq!(pair.alias.to_string(), "ocinet:names:front");
        let [.., SandboxStep::Near { to, source, .. }] = &inside[..] else { panic!("{inside:?}") };
        assert_eq!((to.to_string().as_str(), *source), ("10.64.0.0/24", Some(NAME_SERVER)));
        let up = inside.iter().position(|step| matches!(step, SandboxStep::Interface { .. }));
        let off = inside
            .iter()
            .position(|step| step == &SandboxStep::Setting(Setting::of("ipv4", pair.name.as_str(), "forwarding", "0")));
        assert!(off < up, "it forwards nothing before it is up");
        assert!(names_namespace().contains(&SandboxStep::RouteOwnAlone));
    }
}
