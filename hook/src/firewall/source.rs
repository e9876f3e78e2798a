//! The sender of what leaves the host. The kernel's masquerade takes an address of the link and ignores the preferred
//! source of the route (`nf_nat_masquerade_ipv4`, net/netfilter/nf_nat_masquerade.c), which the host's own packets
//! have. Where the two differ, a rule of its own gives containers the host's sender. Pure: the caller says what the
//! kernel has.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::InterfaceName;

/// What containers send by a default route has an address of the host as its sender that masquerading would not choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The route's link.
    pub link: InterfaceName,
    /// The route's gateway; none where everything beyond the link is reached without one.
    pub gateway: Option<Ipv4Addr>,
    /// The sender.
    pub address: Ipv4Addr,
    /// What the link reaches without the gateway, by another route: for iptables, which does not see a packet's next
    /// hop.
    pub near: Vec<Ipv4Net>,
}

/// A default route of the host's table `main`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Its link.
    pub link: InterfaceName,
    /// The link's index.
    pub index: u32,
    /// Its gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Its preferred source (ip-route(8), `src`).
    pub source: Option<Ipv4Addr>,
    /// Of several the lowest is used.
    pub metric: u32,
}

/// An address of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkAddress {
    /// The index of its link.
    pub index: u32,
    /// The address.
    pub address: Ipv4Addr,
    /// What is reached by it on the link: for a link between two, the other end.
    pub range: Ipv4Net,
    /// Whether it is of global scope, and the first of its range on the link: no other is masquerading's choice.
    pub is_primary: bool,
}

/// The senders that masquerading would not choose, at most one for a link. One that is no address of the host's is left
/// out: its answers would go elsewhere.
pub fn sources(mut routes: Vec<DefaultRoute>, addresses: &[LinkAddress]) -> Vec<Source> {
    routes.sort_by_key(|route| (route.index, route.metric));
    routes.dedup_by_key(|route| route.index);
    routes.into_iter().filter_map(|route| source(route, addresses)).collect()
}

fn source(route: DefaultRoute, addresses: &[LinkAddress]) -> Option<Source> {
    let DefaultRoute { link, index, gateway, source, .. } = route;
    let address = source?;
    let is_ours = addresses.iter().any(|ours| ours.address == address);
    if !is_ours || !is_plain(&link) || masquerade(index, gateway, addresses) == Some(address) {
        return None;
    }
    let on_link = addresses.iter().filter(|ours| ours.index == index && gateway.is_some());
    let mut near: Vec<Ipv4Net> = on_link.map(|ours| ours.range.trunc()).collect();
    near.sort_unstable();
    near.dedup();
    Some(Source { link, gateway, address, near })
}

/// The address that masquerading takes for what leaves by the link `index`: the first in whose range the gateway is,
/// else the first (`inet_select_addr`, net/ipv4/devinet.c).
fn masquerade(index: u32, gateway: Option<Ipv4Addr>, addresses: &[LinkAddress]) -> Option<Ipv4Addr> {
    let on_link = || addresses.iter().filter(|ours| ours.index == index && ours.is_primary);
    let beside = gateway.and_then(|gateway| on_link().find(|ours| ours.range.contains(&gateway)));
    beside.or_else(|| on_link().next()).map(|ours| ours.address)
}

/// Whether no firewall takes the name for more than a name: `*` and `+` stand for any ending there.
fn is_plain(link: &InterfaceName) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    link.as_str().chars().all(plain) && !link.as_str().starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAN: u32 = 2;

    fn route(source: &str, gateway: &str, metric: u32) -> DefaultRoute {
        let [source, gateway] = [source, gateway].map(|address| address.parse().ok());
        DefaultRoute { link: "wan".parse().unwrap(), index: WAN, gateway, source, metric }
    }

    fn address(index: u32, address: &str, is_primary: bool) -> LinkAddress {
        let range: Ipv4Net = address.parse().unwrap();
        LinkAddress { index, address: range.addr(), range, is_primary }
    }

    /// Two of one range, one of another, and one on `lo`.
    fn addresses() -> [LinkAddress; 4] {
        [
            address(1, "203.0.113.7/32", true),
            address(WAN, "198.51.100.1/24", true),
            address(WAN, "192.0.2.1/24", true),
            address(WAN, "198.51.100.9/24", false),
        ]
    }

    fn of(routes: Vec<DefaultRoute>) -> Vec<String> {
        sources(routes, &addresses()).iter().map(|source| source.address.to_string()).collect()
    }

    #[test]
    fn a_source_that_masquerading_chooses_itself_needs_no_rule() {
        let none: [&str; 0] = [];
        assert_eq!(of(vec![route("198.51.100.1", "198.51.100.2", 0)]), none);
        assert_eq!(of(vec![route("192.0.2.1", "192.0.2.2", 0)]), none, "the gateway is beside it");
        assert_eq!(of(vec![route("198.51.100.1", "", 0)]), none, "it is the first");
        assert_eq!(of(vec![route("", "198.51.100.2", 0)]), none, "nothing is preferred");
    }

    #[test]
    fn any_other_address_of_the_host_is_a_source() {
        for source in ["198.51.100.9", "192.0.2.1", "203.0.113.7"] {
            assert_eq!(of(vec![route(source, "198.51.100.2", 0)]), [source]);
        }
        assert_eq!(of(vec![route("192.0.2.1", "", 0)]), ["192.0.2.1"]);
        assert!(of(vec![route("198.51.100.10", "198.51.100.2", 0)]).is_empty(), "it is not the host's");
    }

    #[test]
    fn the_route_that_is_used_decides() {
        let (first, second) = (route("198.51.100.9", "198.51.100.2", 100), route("192.0.2.1", "198.51.100.3", 200));
        assert_eq!(of(vec![second.clone(), first.clone()]), ["198.51.100.9"]);
        let usual = route("", "198.51.100.2", 50);
        assert!(of(vec![second, first.clone(), usual]).is_empty());
        let other = DefaultRoute { link: "wan2".parse().unwrap(), index: 3, ..route("192.0.2.1", "10.0.0.1", 500) };
        assert_eq!(of(vec![other, first]), ["198.51.100.9", "192.0.2.1"], "each link has its own");
    }

    #[test]
    fn what_is_on_the_link_is_near_unless_there_is_no_gateway() {
        let near = |route| sources(vec![route], &addresses()).remove(0).near;
        let ranges = ["192.0.2.0/24", "198.51.100.0/24"].map(|range| range.parse().unwrap());
        assert_eq!(near(route("198.51.100.9", "198.51.100.2", 0)), ranges);
        assert!(near(route("198.51.100.9", "", 0)).is_empty());
    }

    #[test]
    fn a_link_whose_name_a_firewall_would_not_take_as_it_is_has_none() {
        for name in ["wan+", "wan*", "w;n", "-wan"] {
            let odd = DefaultRoute { link: name.parse().unwrap(), ..route("198.51.100.9", "198.51.100.2", 0) };
            assert!(of(vec![odd]).is_empty(), "{name}");
        }
    }
}
