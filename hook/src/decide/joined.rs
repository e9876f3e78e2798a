//! What is decided of all connections of a container together: what its interfaces are called, which of its endpoints
//! has the default route, and to which its published ports lead. Pure.

use crate::decide::plan;
use crate::decide::request::EndpointRequest;
use crate::model::{Endpoint, Family, GatewayMode, InterfaceName, Invalid, Network, NetworkName, Publishing, Route};

/// What the name of an interface begins with, where its network does not say it.
const PREFIX: &str = "eth";

/// The name of each connection's interface: what it asks for, or else the first of `eth0`, `eth1`, ... that no other
/// has.
pub fn interfaces(connections: &[EndpointRequest], networks: &[Network]) -> Vec<InterfaceName> {
    let mut names: Vec<Option<InterfaceName>> = connections.iter().map(|one| one.interface.clone()).collect();
    for (nth, network) in networks.iter().enumerate().take(names.len()) {
        if names[nth].is_none() {
            let prefix = prefix_of(Some(network));
            let free = (0..).filter_map(|number| format!("{prefix}{number}").parse::<InterfaceName>().ok());
            names[nth] = free.take(names.len() + 1).find(|name| !names.iter().flatten().any(|taken| taken == name));
        }
    }
    names.into_iter().map(|name| name.unwrap_or_else(default_interface)).collect()
}

/// The interface in a container where nothing else is said.
pub fn default_interface() -> InterfaceName {
    "eth0".parse().expect("a constant that follows the kernel's rule")
}

/// The `gw-priority` of each connection.
pub fn priorities(connections: &[EndpointRequest]) -> Vec<i32> {
    connections.iter().map(|one| one.gw_priority.unwrap_or_default()).collect()
}

/// Decides which of `endpoints` has the default route, and to which the published ports lead. Each endpoint is on the
/// network in its place, and has the `gw-priority` there.
///
/// The default route of each family is that of the highest priority, and among equal ones of the first that is listed.
/// Published ports lead where that of IPv4 is, or of IPv6 where there is none of the former: the answers of a container leave by its default route, and by another link they would have a
/// foreign source. Where that route is none of ours (`leads_elsewhere`), or `via` names another network, the container
/// sees the gateway as the sender, which it answers by the same link.
///
/// # Errors
/// Where no port can lead to `via`.
pub fn arrange(
    endpoints: &mut [Endpoint],
    priorities: &[i32],
    networks: &[Network],
    via: Option<&NetworkName>,
    leads_elsewhere: bool,
) -> Result<(), Invalid> {
    let has_gateway = |nth: usize, family| endpoints[nth].gateways().any(|gateway| Family::of(gateway) == family);
    let ways_out = Family::ALL.map(|family| way_out(networks, priorities, |nth| has_gateway(nth, family)));
    let way_out = ways_out.into_iter().flatten().next();
    let of_ours = way_out.filter(|_| !leads_elsewhere);
    let can_lead = |nth: usize| endpoints[nth].gateways().next().is_some() && endpoints[nth].wire.host_link().is_some();
    let target = target(networks, via, way_out, of_ours, can_lead)?;
    for (nth, endpoint) in endpoints.iter_mut().enumerate() {
        endpoint.publishing = match target == Some(nth) {
            true if way_out == Some(nth) && !leads_elsewhere => directly(&networks[nth]),
            true => Publishing::Masqueraded,
            false => Publishing::Off,
        };
        let has_it = |gateway| Family::ALL.into_iter().zip(ways_out).any(|way| way == (Family::of(gateway), Some(nth)));
        endpoint.routes.retain(|Route::Default(gateway)| has_it(*gateway));
    }
    Ok(())
}

/// The network to which the published ports of a container on `networks` are going to lead, as [`arrange`] decides it.
///
/// # Errors
/// Where no port can lead to `via`.
pub fn ports_lead_to<'n>(
    networks: &'n [Network],
    priorities: &[i32],
    via: Option<&NetworkName>,
    leads_elsewhere: bool,
) -> Result<Option<&'n Network>, Invalid> {
    let gateways = |nth: usize| networks[nth].subnets.iter().filter_map(|subnet| subnet.gateway.address());
    let has_gateway = |nth, family| gateways(nth).any(|gateway| Family::of(gateway) == family);
    let mut ways_out =
        Family::ALL.into_iter().map(|family| way_out(networks, priorities, |nth| has_gateway(nth, family)));
    let way_out = ways_out.find_map(|way| way);
    let of_ours = way_out.filter(|_| !leads_elsewhere);
    let can_lead = |nth| gateways(nth).next().is_some();
    Ok(target(networks, via, way_out, of_ours, can_lead)?.map(|nth| &networks[nth]))
}

/// The network that has the default route. Of several that are equal, `max_by_key` has the last.
fn way_out(networks: &[Network], priorities: &[i32], has_gateway: impl Fn(usize) -> bool) -> Option<usize> {
    let leads_out = |nth: &usize| !networks[*nth].options.internal && has_gateway(*nth);
    (0..networks.len()).rev().filter(leads_out).max_by_key(|nth| priorities[*nth])
}

/// The network to which published ports lead. At a routed one, the container answers others at their own addresses, so
/// that it has to have the container's default route (`of_ours`).
fn target(
    networks: &[Network],
    via: Option<&NetworkName>,
    way_out: Option<usize>,
    of_ours: Option<usize>,
    can_lead: impl Fn(usize) -> bool,
) -> Result<Option<usize>, Invalid> {
    let is_publishable = |nth: &usize| {
        let Network { options, .. } = &networks[*nth];
        let answers = options.mode != GatewayMode::Routed || of_ours == Some(*nth);
        !options.internal && answers && networks[*nth].link().is_some() && can_lead(*nth)
    };
    let Some(via) = via else {
        return Ok(way_out.filter(is_publishable).or_else(|| (0..networks.len()).find(is_publishable)));
    };
    let named = (0..networks.len()).find(|nth| networks[*nth].name == *via);
    if let Some(nth) = named.filter(is_publishable) {
        return Ok(Some(nth));
    }
    let why = match named {
        Some(nth) if networks[nth].options.mode == GatewayMode::Routed => {
            "is routed, and the container has its default route elsewhere, so no published port can lead there"
        }
        _ => "is internal, or has no gateway, so no published port can lead there",
    };
    Err(Invalid::new("network", via, why))
}

/// How published ports are reached at an endpoint of `network` that answers by the link by which it is asked.
fn directly(network: &Network) -> Publishing {
    match network.options.mode {
        GatewayMode::Routed => Publishing::Routed,
        _ if network.options.trusted_interfaces.is_empty() => Publishing::Direct,
        _ => Publishing::Trusted,
    }
}

/// Decides the same anew for the endpoints of a container that runs, each on the network in its place. A network `via`
/// that it has left decides no more.
pub fn rearrange(
    endpoints: &mut [Endpoint],
    networks: &[Network],
    via: Option<&NetworkName>,
    leads_elsewhere: bool,
) -> Result<(), Invalid> {
    for (endpoint, network) in endpoints.iter_mut().zip(networks) {
        endpoint.routes = plan::default_routes(network, &endpoint.addresses);
    }
    let priorities: Vec<i32> = endpoints.iter().map(|endpoint| endpoint.gw_priority).collect();
    let via = via.filter(|via| networks.iter().any(|network| network.name == **via));
    arrange(endpoints, &priorities, networks, via, leads_elsewhere)
}

/// The names that the interface of a further connection may get on a network of that definition, the first that is free
/// first: as many as are looked for in the container. None where one is asked for.
pub fn further_names(connection: &EndpointRequest, definition: Option<&Network>) -> Vec<InterfaceName> {
    const LOOKED_FOR: usize = 16;
    let count = if connection.interface.is_some() { 0 } else { LOOKED_FOR };
    numbered(prefix_of(definition), count).collect()
}

/// The name of the interface of a further connection of a container that has `others`, and interfaces of other programs
/// with the names that are `taken`.
pub fn further_interface(
    connection: &EndpointRequest,
    network: &Network,
    others: &[Endpoint],
    taken: &[InterfaceName],
) -> InterfaceName {
    let is_free = |name: &InterfaceName| !others.iter().any(|other| other.interface == *name) && !taken.contains(name);
    let mut all = numbered(prefix_of(Some(network)), others.len() + taken.len() + 1);
    connection.interface.clone().or_else(|| all.find(is_free)).unwrap_or_else(default_interface)
}

fn numbered(prefix: &str, count: usize) -> impl Iterator<Item = InterfaceName> {
    (0..count).filter_map(move |number| format!("{prefix}{number}").parse().ok())
}

fn prefix_of(network: Option<&Network>) -> &str {
    network.and_then(|network| network.options.interface_prefix.as_ref()).map_or(PREFIX, InterfaceName::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Subnet;

    fn networks(names: &str) -> Vec<Network> {
        let of = |(nth, name): (usize, &str)| {
            let subnet = Subnet::with_first_gateway(format!("10.64.{nth}.0/24").parse().unwrap()).unwrap();
            let link = format!("ocn-{nth}").parse().unwrap();
            let mut network = Network::of_bridge(name.parse().unwrap(), link, vec![subnet]);
            network.options.internal = name.starts_with("internal");
            network.options.mode = if name.starts_with("routed") { GatewayMode::Routed } else { GatewayMode::Nat };
            network
        };
        names.split(' ').enumerate().map(of).collect()
    }

    /// What becomes of `text` on `networks`: the interface with the default route, and the one of the published ports.
    fn arranged(text: &str, via: Option<&str>, elsewhere: bool) -> Result<(String, String), Invalid> {
        let connections: Vec<EndpointRequest> = text.split(';').map(|one| one.parse().unwrap()).collect();
        let names: Vec<&str> = connections.iter().map(|one| one.network.as_str()).collect();
        let networks = networks(&names.join(" "));
        let names = interfaces(&connections, &networks);
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (nth, (connection, name)) in connections.iter().zip(names).enumerate() {
            let addresses = vec![format!("10.64.{nth}.2/24").parse().unwrap()];
            endpoints.push(plan::endpoint(connection, &networks[nth], addresses, name, 0));
        }
        let via = via.map(|via| via.parse().unwrap());
        let foreseen = ports_lead_to(&networks, &priorities(&connections), via.as_ref(), elsewhere)?;
        arrange(&mut endpoints, &priorities(&connections), &networks, via.as_ref(), elsewhere)?;
        let target = endpoints.iter().find(|endpoint| endpoint.publishing != Publishing::Off);
        assert_eq!(foreseen.map(|network| &network.name), target.map(|endpoint| &endpoint.network));
        let of = |is: &dyn Fn(&&Endpoint) -> bool| {
            endpoints.iter().filter(is).map(|one| one.interface.to_string()).collect::<Vec<_>>().join(" ")
        };
        let ports = of(&|one| one.publishing == Publishing::Direct);
        let masqueraded = of(&|one| one.publishing == Publishing::Masqueraded);
        let routed = of(&|one| one.publishing == Publishing::Routed);
        let ports = if routed.is_empty() { ports } else { format!("{ports}routed {routed}") };
        let ports = if masqueraded.is_empty() { ports } else { format!("{ports}masqueraded {masqueraded}") };
        Ok((of(&|one| one.gateways().next().is_some()), ports))
    }

    #[test]
    fn the_first_that_leads_out_has_the_default_route_and_the_ports() {
        for (text, route, ports) in [
            ("a", "eth0", "eth0"),
            ("a;b;c", "eth0", "eth0"),
            ("internal;b", "eth1", "eth1"),
            ("a;b:gw-priority=1", "eth1", "eth1"),
            ("a:gw-priority=-1;b;c", "eth1", "eth1"),
            ("internal:gw-priority=9;b;c:gw-priority=1", "eth2", "eth2"),
            ("internal1;internal2", "", ""),
        ] {
            assert_eq!(arranged(text, None, false).unwrap(), (route.into(), ports.into()), "{text}");
        }
    }

    #[test]
    fn elsewhere_ports_are_masqueraded() {
        for (text, via, elsewhere, ports) in [
            ("a;b", None, true, "masqueraded eth0"),
            ("internal;b", None, true, "masqueraded eth1"),
            ("a;b", Some("b"), false, "masqueraded eth1"),
            ("a;b", Some("a"), false, "eth0"),
            ("internal", None, true, ""),
        ] {
            assert_eq!(arranged(text, via, elsewhere).unwrap().1, ports, "{text}");
        }
        let error = arranged("a;internal", Some("internal"), false).unwrap_err().to_string();
        assert!(error.contains("\"internal\": is internal"), "{error}");
    }

    /// A container of a routed network answers others itself, which it does by its default route.
    #[test]
    fn ports_lead_to_a_routed_network_by_the_default_route_alone() {
        for (text, via, elsewhere, ports) in [
            ("routed;b", None, false, "routed eth0"),
            ("b;routed", None, false, "eth0"),
            ("routed;b", None, true, "masqueraded eth1"),
            ("routed", None, true, ""),
            ("routed;b", Some("b"), false, "masqueraded eth1"),
        ] {
            assert_eq!(arranged(text, via, elsewhere).unwrap().1, ports, "{text}");
        }
        let error = arranged("b;routed", Some("routed"), false).unwrap_err().to_string();
        assert!(error.contains("default route elsewhere"), "{error}");
    }

    #[test]
    fn interfaces_are_numbered_in_their_order_around_those_that_are_named() {
        let names = |text: &str| -> Vec<String> {
            let connections: Vec<EndpointRequest> = text.split(';').map(|one| one.parse().unwrap()).collect();
            let mut networks = networks(&vec!["x"; connections.len()].join(" "));
            networks[1].options.interface_prefix = Some("lan".parse().unwrap());
            interfaces(&connections, &networks).iter().map(ToString::to_string).collect()
        };
        assert_eq!(names("a;b;c;d"), ["eth0", "lan0", "eth1", "eth2"]);
        assert_eq!(names("a;b:interface=eth0;c:interface=eth2;d"), ["eth1", "eth0", "eth2", "eth3"]);
    }
}
