//! What is decided of all connections of a container together: what its interfaces are called, which of its endpoints
//! has the default route, and to which its published ports lead. Pure.

use crate::decide::plan;
use crate::decide::published::PublishedBy;
use crate::decide::request::EndpointRequest;
use crate::model::{Endpoint, Families, Family, InterfaceName, Invalid, Network, NetworkName, Publishing, Route};

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
/// Published ports of a family lead where its default route is: the answers of a container leave by that, and by another
/// link they would have a foreign source. Where it is none of ours (`leads_elsewhere`), or `via` names another network,
/// the container sees the gateway as the sender, which it answers by the same link. What is returned is what the
/// networks decide of the published ports.
///
/// # Errors
/// Where no port can lead to `via`.
pub fn arrange(
    endpoints: &mut [Endpoint],
    priorities: Priorities<'_>,
    networks: &[Network],
    via: Option<&NetworkName>,
    leads_elsewhere: bool,
) -> Result<PublishedBy, Invalid> {
    let has_gateway = |nth: usize, family| endpoints[nth].gateways().any(|gateway| Family::of(gateway) == family);
    let has_link = |nth: usize| endpoints[nth].wire.host_link().is_some();
    let ways_out = Family::ALL.map(|family| way_out(networks, |nth| priorities(nth, family), family, &has_gateway));
    let targets =
        Targets::of(networks, via, ways_out, leads_elsewhere, |nth, family| has_link(nth) && has_gateway(nth, family))?;
    for (nth, endpoint) in endpoints.iter_mut().enumerate() {
        endpoint.set_publishing(|family| targets.publishing(nth, networks, family));
        let has_it = |gateway| Family::ALL.into_iter().zip(ways_out).any(|way| way == (Family::of(gateway), Some(nth)));
        endpoint.routes.retain(|Route::Default(gateway)| has_it(*gateway));
    }
    Ok(targets.published_by(networks))
}

/// The priority of the endpoint in that place for the default route of a family.
pub type Priorities<'p> = &'p dyn Fn(usize, Family) -> i32;

/// What is going to be decided of the published ports of a container on `networks`, as [`arrange`] decides it.
///
/// # Errors
/// Where no port can lead to `via`.
pub fn published_by(
    networks: &[Network],
    priorities: Priorities<'_>,
    via: Option<&NetworkName>,
    leads_elsewhere: bool,
) -> Result<PublishedBy, Invalid> {
    let gateways = |nth: usize| networks[nth].subnets.iter().filter_map(|subnet| subnet.gateway.address());
    let has_gateway = |nth, family| gateways(nth).any(|gateway| Family::of(gateway) == family);
    let ways_out = Family::ALL.map(|family| way_out(networks, |nth| priorities(nth, family), family, &has_gateway));
    Ok(Targets::of(networks, via, ways_out, leads_elsewhere, has_gateway)?.published_by(networks))
}

/// The network that has the default route of `family`. Of several that are equal, `max_by_key` has the last.
fn way_out(
    networks: &[Network],
    priority: impl Fn(usize) -> i32,
    family: Family,
    has_gateway: &impl Fn(usize, Family) -> bool,
) -> Option<usize> {
    let leads_out = |nth: &usize| !networks[*nth].options.internal && has_gateway(*nth, family);
    (0..networks.len()).rev().filter(leads_out).max_by_key(|nth| priority(*nth))
}

/// The endpoints to which published ports lead.
struct Targets {
    /// That of IPv4, or where there is none, that of IPv6.
    first: Option<usize>,
    /// Whether the container answers by it as it is asked.
    is_direct: bool,
    /// That of IPv6, where the default route of IPv6 is by another endpoint, whose network has the same address of the host
    /// for published ports.
    beside: Option<usize>,
    /// The families of which any lead to one of them.
    families: Families,
}

impl Targets {
    fn of(
        networks: &[Network],
        via: Option<&NetworkName>,
        ways_out: [Option<usize>; 2],
        leads_elsewhere: bool,
        has_gateway: impl Fn(usize, Family) -> bool,
    ) -> Result<Self, Invalid> {
        let way_out = ways_out.into_iter().flatten().next();
        let of_ours = way_out.filter(|_| !leads_elsewhere);
        // At a routed one, the container answers others at their own addresses, so that it has to have the default route.
        let is_reachable = |nth: usize, family| !networks[nth].options.is_routed(family) || of_ours == Some(nth);
        let can_lead =
            |nth| Family::ALL.into_iter().any(|family| has_gateway(nth, family) && is_reachable(nth, family));
        let first = target(networks, via, way_out, can_lead)?;
        let is_direct = first.is_some() && first == of_ours;
        let decides = |nth: usize| PublishedBy::of(&networks[nth]);
        let is_beside = |other: &usize| {
            let Some(first) = first.filter(|_| is_direct && via.is_none()) else { return false };
            let can_publish = !networks[*other].options.internal && networks[*other].link().is_some();
            *other != first && can_publish && decides(first).is_alike(&decides(*other))
        };
        let beside = ways_out[1].filter(is_beside);
        let leads = |family: &Family| match first {
            Some(first) if !is_direct => has_gateway(first, *family) && is_reachable(first, *family),
            Some(first) => Family::ALL.into_iter().zip(ways_out).any(|way| way == (*family, Some(first))),
            None => false,
        };
        let of_first: Families = Family::ALL.into_iter().filter(leads).collect();
        let families = if beside.is_some() { of_first.with(Family::V6) } else { of_first };
        Ok(Self { first, is_direct, beside, families })
    }

    /// What the endpoint in that place has to do with published ports of `family`.
    fn publishing(&self, nth: usize, networks: &[Network], family: Family) -> Publishing {
        match (self.first == Some(nth), self.beside == Some(nth)) {
            (true, _) if !self.is_direct && networks[nth].options.is_routed(family) => Publishing::Off,
            (true, _) if !self.is_direct => Publishing::Masqueraded,
            (true, _) | (_, true) => directly(&networks[nth], family),
            (false, false) => Publishing::Off,
        }
    }

    /// What is decided of published ports.
    fn published_by(&self, networks: &[Network]) -> PublishedBy {
        let Some(first) = self.first else { return PublishedBy::default() };
        let first = PublishedBy::of(&networks[first]);
        match self.beside {
            Some(beside) => first.beside(&PublishedBy::of(&networks[beside])),
            None => first.over(self.families),
        }
    }
}

/// The network to which published ports lead.
fn target(
    networks: &[Network],
    via: Option<&NetworkName>,
    way_out: Option<usize>,
    can_lead: impl Fn(usize) -> bool,
) -> Result<Option<usize>, Invalid> {
    let is_publishable = |nth: &usize| {
        let Network { options, .. } = &networks[*nth];
        !options.internal && networks[*nth].link().is_some() && can_lead(*nth)
    };
    let Some(via) = via else {
        return Ok(way_out.filter(is_publishable).or_else(|| (0..networks.len()).find(is_publishable)));
    };
    let named = (0..networks.len()).find(|nth| networks[*nth].name == *via);
    if let Some(nth) = named.filter(is_publishable) {
        return Ok(Some(nth));
    }
    let why = match named {
        Some(nth) if !networks[nth].routed().is_empty() => {
            "is routed, and the container has its default route elsewhere, so no published port can lead there"
        }
        _ => "is internal, or has no gateway, so no published port can lead there",
    };
    Err(Invalid::new("network", via, why))
}

/// How published ports of `family` are reached at an endpoint of `network` that answers by the link by which it is asked.
fn directly(network: &Network, family: Family) -> Publishing {
    match (network.options.is_routed(family), network.options.trusted_interfaces.is_empty()) {
        (true, _) => Publishing::Routed,
        (false, true) => Publishing::Direct,
        (false, false) => Publishing::Trusted,
    }
}

/// Decides the same anew for the endpoints of a container that runs, each on the network in its place. A network `via`
/// that it has left decides no more.
pub fn rearrange(
    endpoints: &mut [Endpoint],
    networks: &[Network],
    via: Option<&NetworkName>,
    leads_elsewhere: bool,
) -> Result<PublishedBy, Invalid> {
    for (endpoint, network) in endpoints.iter_mut().zip(networks) {
        endpoint.routes = plan::default_routes(network, &endpoint.addresses);
    }
    let all: Vec<i32> = endpoints.iter().map(|endpoint| endpoint.gw_priority).collect();
    let via = via.filter(|via| networks.iter().any(|network| network.name == **via));
    arrange(endpoints, &|nth, _| all[nth], networks, via, leads_elsewhere)
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
    use crate::model::{GatewayMode, Subnet};

    fn networks(names: &str) -> Vec<Network> {
        let of = |(nth, name): (usize, &str)| {
            let subnet = |range: String| Subnet::with_first_gateway(range.parse().unwrap()).unwrap();
            let v4 = (!name.starts_with("six")).then(|| subnet(format!("10.64.{nth}.0/24")));
            let has_v6 = name.starts_with("six") || name.contains("dual");
            let v6 = has_v6.then(|| subnet(format!("fd00:{nth}::/64")));
            let link = format!("ocn-{nth}").parse().unwrap();
            let mut network = Network::of_bridge(name.parse().unwrap(), link, v4.into_iter().chain(v6).collect());
            network.options.host_binding = name.starts_with("bound").then(|| [127, 0, 0, 1].into());
            network.options.internal = name.starts_with("internal");
            // Routed over one of both families.
            network.options.mode6 = name.starts_with("mixed").then_some(GatewayMode::Routed);
            if name.starts_with("only4") {
                network.options.mode6 = Some(GatewayMode::Nat);
            }
            network.options.mode = if name.starts_with("routed") || name.starts_with("only4") {
                GatewayMode::Routed
            } else {
                GatewayMode::Nat
            };
            network
        };
        names.split(' ').enumerate().map(of).collect()
    }

    /// What becomes of `text` on `networks`: the interface with the default route, and the one of the published ports.
    fn arranged(text: &str, via: Option<&str>, elsewhere: bool) -> Result<(String, String), Invalid> {
        arranged_over(text, via, elsewhere).map(|(route, ports, _)| (route, ports))
    }

    /// The same with the families of which ports lead there.
    fn arranged_over(text: &str, via: Option<&str>, elsewhere: bool) -> Result<(String, String, String), Invalid> {
        let connections: Vec<EndpointRequest> = text.split(';').map(|one| one.parse().unwrap()).collect();
        let names: Vec<&str> = connections.iter().map(|one| one.network.as_str()).collect();
        let networks = networks(&names.join(" "));
        let names = interfaces(&connections, &networks);
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (nth, (connection, name)) in connections.iter().zip(names).enumerate() {
            let second = |subnet: &Subnet| subnet.range.to_string().replace("0/24", "2/24").replace("::/", "::2/");
            let addresses = networks[nth].subnets.iter().map(|subnet| second(subnet).parse().unwrap()).collect();
            endpoints.push(plan::endpoint(connection, &networks[nth], addresses, name));
        }
        let via = via.map(|via| via.parse().unwrap());
        let priorities = priorities(&connections);
        let priority = |nth: usize, _| priorities[nth];
        let foreseen = published_by(&networks, &priority, via.as_ref(), elsewhere)?;
        let decided = arrange(&mut endpoints, &priority, &networks, via.as_ref(), elsewhere)?;
        assert_eq!(foreseen, decided, "{text}");
        let of = |is: &dyn Fn(&&Endpoint) -> bool| {
            endpoints.iter().filter(is).map(|one| one.interface.to_string()).collect::<Vec<_>>().join(" ")
        };
        let published_as = |publishing: Publishing| {
            of(&|one| Family::ALL.into_iter().any(|family| one.publishing_of(family) == publishing))
        };
        let ports =
            [(Publishing::Direct, ""), (Publishing::Routed, "routed "), (Publishing::Masqueraded, "masqueraded ")];
        let ports = ports.map(|(publishing, word)| (published_as(publishing), word));
        let ports = ports.iter().filter(|(to, _)| !to.is_empty()).map(|(to, word)| format!("{word}{to}"));
        let ports = ports.collect::<Vec<_>>().join(" ");
        let families: Vec<String> = decided.families.iter().map(|family| family.to_string()).collect();
        Ok((of(&|one| one.gateways().next().is_some()), ports, families.join(" ")))
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

    /// Those of each family lead where its default route is, as long as both networks decide the same of them.
    #[test]
    fn ports_of_each_family_lead_by_its_default_route() {
        for (text, via, elsewhere, ports, families) in [
            ("dual", None, false, "eth0", "IPv4 IPv6"),
            ("a;dual", None, false, "eth0 eth1", "IPv4 IPv6"),
            ("a;six", None, false, "eth0 eth1", "IPv4 IPv6"),
            ("six;dual", None, false, "eth0 eth1", "IPv4 IPv6"),
            ("dual1;dual2:gw-priority=1", None, false, "eth1", "IPv4 IPv6"),
            ("dual;six:gw-priority=1", None, false, "eth0 eth1", "IPv4 IPv6"),
            ("six", None, false, "eth0", "IPv6"),
            ("a;internal-dual", None, false, "eth0", "IPv4"),
            ("bound;dual", None, false, "eth0", "IPv4"),
            ("a;routed-dual", None, false, "eth0 routed eth1", "IPv4 IPv6"),
            ("mixed-dual", None, false, "eth0 routed eth0", "IPv4 IPv6"),
            ("mixed-dual", None, true, "masqueraded eth0", "IPv4"),
            ("only4-dual", None, false, "eth0 routed eth0", "IPv4 IPv6"),
            ("only4-dual", None, true, "masqueraded eth0", "IPv6"),
            ("a;only4-dual", Some("only4-dual"), false, "masqueraded eth1", "IPv6"),
            ("a;mixed-dual", None, false, "eth0 eth1 routed eth1", "IPv4 IPv6"),
            ("a;mixed-dual", Some("mixed-dual"), false, "masqueraded eth1", "IPv4"),
            ("mixed-dual;dual:gw-priority=1", None, false, "eth1", "IPv4 IPv6"),
            ("a;dual", Some("a"), false, "eth0", "IPv4"),
            ("a;dual", Some("dual"), false, "masqueraded eth1", "IPv4 IPv6"),
            ("a;dual", None, true, "masqueraded eth0", "IPv4"),
        ] {
            let (_, found, over) = arranged_over(text, via, elsewhere).unwrap();
            assert_eq!((found.as_str(), over.as_str()), (ports, families), "{text} {via:?} {elsewhere}");
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
