//! The name server's network namespace, and its port on each bridge whose containers have names.
//!
//! It has one address, which no network gives out. Containers reach it by a route of their own, so it needs no address
//! of any range, no rule of the firewall and no flow. That namespace must lead from no network to another: it forwards
//! nothing, and only its own packets are routed at all. A new namespace may inherit forwarding from the initial one
//! (`inet_init_net`, net/ipv4/devinet.c).

use std::net::IpAddr;

use ipnet::IpNet;

use super::{EndpointStep, FilterProgram, InterfaceIpv6, SandboxStep, Setting, Veth};
use crate::input::config;
pub use crate::model::NAME_SERVERS;
use crate::model::{Alias, Families, Family, InterfaceName, Mac, Network};

/// The domain of all containers (`internal` is reserved for such use, ICANN resolution 2024.07.29.06).
pub const ZONE: &str = "ocinet.internal";

/// Whether the containers of `network` find each other by their names. As in Docker, those of the default network do
/// not.
pub fn has_names(network: &Network) -> bool {
    network.name != config::default_bridge()
}

/// Where a container asks for names by its endpoint on `network` with `addresses`; none where it does not. It is one
/// address, since musl asks all that it knows.
pub fn name_server(network: &Network, addresses: &[IpNet]) -> Option<IpAddr> {
    let has = |server: &&IpAddr| addresses.iter().any(|net| net.addr().is_ipv4() == server.is_ipv4());
    NAME_SERVERS.iter().find(has).filter(|_| has_names(network)).copied()
}

/// The MAC address of every port of the name server.
pub(super) fn mac() -> Mac {
    Mac::of(NAME_SERVERS[0])
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
    let mut settings = Vec::new();
    for link in ["all", "default"] {
        let of = |family, name, value| Setting::of(family, link, name, value);
        settings.extend([
            of("ipv4", "forwarding", "0"),
            of("ipv4", "accept_redirects", "0"),
            of("ipv4", "send_redirects", "0"),
            of("ipv4", "accept_source_route", "0"),
            of("ipv4", "rp_filter", "1"),
            of("ipv6", "forwarding", "0"),
            of("ipv6", "accept_redirects", "0"),
            of("ipv6", "accept_source_route", "0"),
            of("ipv6", "accept_ra", "0"),
            of("ipv6", "autoconf", "0"),
            of("ipv6", "accept_dad", "0"),
        ]);
    }
    // `IN6_ADDR_GEN_MODE_EUI64`, which the guard lets pass.
    settings.push(Setting::of("ipv6", "default", "addr_gen_mode", "0"));
    let mut steps = vec![SandboxStep::Settings(settings), SandboxStep::RouteOwnAlone, SandboxStep::Loopback];
    steps.extend(NAME_SERVERS.map(|address| SandboxStep::OwnAddress(address.into())));
    steps
}

/// The name server's port on the bridge of `network`; none where its containers have no names.
pub fn names_port(network: &Network) -> Option<NamesPort> {
    let bridge = network.link().filter(|_| has_names(network))?;
    let digits = crc32fast::hash(bridge.as_str().as_bytes());
    // What stands in files of NetworkManager, networkd and firewalld for links of containers is for this one, too.
    let name: InterfaceName = format!("ocvn-{digits:08x}").parse().expect("thirteen letters and digits");
    let mac = mac();
    let families = network.families();
    let own = NAME_SERVERS.into_iter().filter(|address| families.contains(Family::of(*address)));
    let port = EndpointStep::Veth(Veth {
        name: name.clone(),
        alias: Alias::Names(network.name.clone()),
        bridge: bridge.clone(),
        peer: name.clone(),
        mac,
        mtu: network.options.mtu,
        addresses: Vec::new(),
        advertised: Vec::new(),
        guard: FilterProgram::of_port(mac, own),
        unguarded: false,
        intake: None,
        isolated: false,
        host_mac: None,
    });
    Some(NamesPort { port, inside: inside(&name, network, families) })
}

fn inside(name: &InterfaceName, network: &Network, families: Families) -> Vec<SandboxStep> {
    let of = |family, setting, value| Setting::of(family, name.as_str(), setting, value);
    // What waits for the MAC of a container counts against the socket that sent it, which others are answered by.
    let few_wait = |family| Setting::of_neighbours(family, name.as_str(), "unres_qlen_bytes", "4096");
    let before = vec![
        of("ipv4", "forwarding", "0"),
        of("ipv4", "rp_filter", "1"),
        of("ipv4", "send_redirects", "0"),
        few_wait("ipv4"),
    ];
    let interface = SandboxStep::Interface { name: name.clone(), addresses: Vec::new(), ipv6: InterfaceIpv6::Off };
    let mut steps = vec![SandboxStep::Settings(before), interface];
    if families.contains(Family::V6) {
        // With an address of the link's own, from which the kernel asks for a container's MAC.
        steps.push(SandboxStep::Settings(vec![
            of("ipv6", "forwarding", "0"),
            of("ipv6", "disable_ipv6", "0"),
            few_wait("ipv6"),
        ]));
    }
    let ranges = network.subnets.iter().map(|subnet| subnet.range);
    let source_of = |range: &IpNet| NAME_SERVERS.into_iter().find(|own| own.is_ipv4() == range.addr().is_ipv4());
    steps.extend(ranges.map(|to| SandboxStep::Near { name: name.clone(), to, source: source_of(&to) }));
    steps
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
        assert_eq!(pair.guard, FilterProgram::of_port(mac(), [NAME_SERVERS[0]]));
        assert_eq!(pair.alias.to_string(), "ocinet:names:front");
        let [.., SandboxStep::Near { to, source, .. }] = &inside[..] else { panic!("{inside:?}") };
        assert_eq!((to.to_string().as_str(), *source), ("10.64.0.0/24", Some(NAME_SERVERS[0])));
        let up = inside.iter().position(|step| matches!(step, SandboxStep::Interface { .. }));
        let forwarding = Setting::of("ipv4", pair.name.as_str(), "forwarding", "0");
        let off = inside
            .iter()
            .position(|step| matches!(step, SandboxStep::Settings(settings) if settings.contains(&forwarding)));
        assert!(off < up, "it forwards nothing before it is up");
        assert!(names_namespace().contains(&SandboxStep::RouteOwnAlone));
    }
}
