//! What is decided of all connections of a container together: what its interfaces are called, which of its endpoints
//! has the default route, and to which its published ports lead. Pure.

use crate::decide::request::EndpointRequest;
use crate::model::{Endpoint, InterfaceName, Invalid, Network, NetworkName, Publishing, Route};

/// What the name of an interface begins with, where its network does not say it.
const PREFIX: &str = "eth";

/// The name of each connection's interface: what it asks for, or else the first of `eth0`, `eth1`, ... that no other
/// has.
pub fn interfaces(connections: &[EndpointRequest], networks: &[Network]) -> Vec<InterfaceName> {
    let mut names: Vec<Option<InterfaceName>> = connections.iter().map(|one| one.interface.clone()).collect();
    for (nth, network) in networks.iter().enumerate().take(names.len()) {
        if names[nth].is_none() {
            let prefix = network.options.interface_prefix.as_ref().map_or(PREFIX, InterfaceName::as_str);
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
/// The default route is that of the highest priority, and among equal ones of the first that is listed. Published
/// ports lead there, too: the answers of a container leave by its default route, and by another link they would have a
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
    let leads_out = |nth: &usize| !networks[*nth].options.internal && endpoints[*nth].gateways().next().is_some();
    // Of several that are equal, `max_by_key` has the last.
    let way_out = (0..endpoints.len()).rev().filter(leads_out).max_by_key(|nth| priorities[*nth]);
    let is_publishable =
        |nth: &usize| leads_out(nth) && networks[*nth].link().is_some() && endpoints[*nth].wire.host_link().is_some();
    let target = match via {
        Some(via) => {
            let named = (0..endpoints.len()).find(|nth| networks[*nth].name == *via && is_publishable(nth));
            let why = "is internal, or has no gateway, so no published port can lead there";
            Some(named.ok_or_else(|| Invalid::new("network", via, why))?)
        }
        None => way_out.filter(is_publishable).or_else(|| (0..endpoints.len()).find(is_publishable)),
    };
    for (nth, endpoint) in endpoints.iter_mut().enumerate() {
        endpoint.publishing = match target == Some(nth) {
            true if way_out == Some(nth) && !leads_elsewhere => Publishing::Direct,
            true => Publishing::Masqueraded,
            false => Publishing::Off,
        };
        if way_out != Some(nth) {
            endpoint.routes.retain(|Route::Default(_)| false);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::plan;
    use crate::model::Subnet;

    fn networks(names: &str) -> Vec<Network> {
        let of = |(nth, name): (usize, &str)| {
            let subnet = Subnet::with_first_gateway(format!("10.64.{nth}.0/24").parse().unwrap()).unwrap();
            let link = format!("ocn-{nth}").parse().unwrap();
            let mut network = Network::of_bridge(name.parse().unwrap(), link, vec![subnet]);
            network.options.internal = name.starts_with("internal");
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
            let address = format!("10.64.{nth}.2/24").parse().unwrap();
            endpoints.push(plan::endpoint(connection, &networks[nth], address, name, 0));
        }
        let via = via.map(|via| via.parse().unwrap());
        arrange(&mut endpoints, &priorities(&connections), &networks, via.as_ref(), elsewhere)?;
        let of = |is: &dyn Fn(&&Endpoint) -> bool| {
            endpoints.iter().filter(is).map(|one| one.interface.to_string()).collect::<Vec<_>>().join(" ")
        };
        let ports = of(&|one| one.publishing == Publishing::Direct);
        let masqueraded = of(&|one| one.publishing == Publishing::Masqueraded);
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
