//! Which range and which link a network of one's own gets. Pure: the caller says what is taken.

use ipnet::{IpNet, Ipv6Net};
use sha2::{Digest, Sha256};

use super::ipam::{self, HostRoute, Standing};
use crate::model::{InterfaceName, NetworkName};

/// A range that a network has already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The network.
    pub network: NetworkName,
    /// The range.
    pub range: IpNet,
}

/// The first of `taken` that has addresses of `range`.
pub fn overlapped<'t>(range: &IpNet, taken: &'t [Taken]) -> Option<&'t Taken> {
    taken.iter().find(|taken| taken.range.contains(range) || range.contains(&taken.range))
}

/// What to do with the ranges of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This one, which is under no route.
    Free(IpNet),
    /// This one, a part of the route behind it, since none is free.
    Under(IpNet, IpNet),
}

/// The first of `candidates` that no network has and that is under no route, or else the first that is a part of a
/// wider route. None where all are taken, or hold what the host reaches by other routes.
pub fn choose(candidates: impl IntoIterator<Item = IpNet>, taken: &[Taken], routes: &[HostRoute]) -> Option<Choice> {
    let mut under = None;
    for range in candidates {
        if overlapped(&range, taken).is_some() {
            continue;
        }
        match ipam::standing(&range, routes) {
            Standing::Free => return Some(Choice::Free(range)),
            Standing::Under(route) => under = under.or(Some(Choice::Under(range, route))),
            Standing::Conflict(_) => {}
        }
    }
    under
}

/// The range of IPv6 of `network` on this host: a unique local one (RFC 4193), whose 40 bits of the host follow from
/// `machine`, so that a restart gives the same. `nth` tells those apart that two names would share.
pub fn unique_local(machine: &[u8], network: &NetworkName, nth: u32) -> IpNet {
    // What identifies the machine is not to be read from the range (machine-id(5)).
    let host = Sha256::new().chain_update(b"ocinet").chain_update(machine).finalize();
    let own = Sha256::new().chain_update(network.as_str()).chain_update(nth.to_be_bytes()).finalize();
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&host[..5]);
    octets[6..8].copy_from_slice(&own[..2]);
    IpNet::V6(Ipv6Net::new_assert(octets.into(), 64))
}

/// The link of the bridge of `network`: `ocn-` and eight hexadecimal digits, which follow from the name unless another
/// network has them.
pub fn link(network: &NetworkName, is_taken: impl Fn(&InterfaceName) -> bool) -> InterfaceName {
    let nth = |nth: u32| {
        let digest = Sha256::new().chain_update(network.as_str()).chain_update(nth.to_be_bytes()).finalize();
        let digits: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("ocn-{digits}").parse().expect("letters, digits and a hyphen, within 15 bytes")
    };
    (0..).map(nth).find(|link| !is_taken(link)).expect("there are more digits than networks")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::config::Pool;

    fn range(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn taken(ranges: &[&str]) -> Vec<Taken> {
        let network = |nth: usize| format!("n{nth}").parse().unwrap();
        ranges.iter().enumerate().map(|(nth, text)| Taken { network: network(nth), range: range(text) }).collect()
    }

    fn chosen(taken_ranges: &[&str], routes: &[(&str, bool)]) -> Option<Choice> {
        let pool = Pool { base: "10.64.0.0/22".parse().unwrap(), size: 24 };
        let route = |(text, is_near): &(&str, bool)| HostRoute { range: range(text), is_near: *is_near };
        choose(pool.ranges(), &taken(taken_ranges), &routes.iter().map(route).collect::<Vec<_>>())
    }

    #[test]
    fn the_first_range_that_is_neither_taken_nor_routed() {
        let free = |text: &str| Some(Choice::Free(range(text)));
        assert_eq!(chosen(&[], &[("0.0.0.0/0", false)]), free("10.64.0.0/24"));
        assert_eq!(chosen(&["10.64.0.0/24"], &[]), free("10.64.1.0/24"));
        assert_eq!(chosen(&["10.64.0.128/25", "10.64.1.0/28"], &[]), free("10.64.2.0/24"));
        assert_eq!(chosen(&["10.64.0.0/23"], &[("10.64.2.7/32", true)]), free("10.64.3.0/24"));
        // A route to a part of it leads elsewhere with it; a wider one to neighbours would lose some.
        assert_eq!(chosen(&[], &[("10.64.0.0/25", false), ("10.64.1.0/24", false)]), free("10.64.2.0/24"));
        assert_eq!(chosen(&[], &[("10.64.0.0/23", true)]), free("10.64.2.0/24"));
        assert_eq!(chosen(&[], &[("10.64.0.0/23", false)]), free("10.64.2.0/24"), "under no route first");
    }

    #[test]
    fn a_part_of_a_wider_route_is_the_last_resort() {
        let under = Choice::Under(range("10.64.1.0/24"), range("10.0.0.0/8"));
        assert_eq!(chosen(&["10.64.0.0/24"], &[("10.0.0.0/8", false)]), Some(under));
    }

    #[test]
    fn a_range_of_ipv6_is_the_hosts_and_the_networks() {
        let of = |machine: &[u8], name: &str, nth| unique_local(machine, &name.parse().unwrap(), nth);
        let range = of(b"m", "web", 0);
        assert_eq!((range, range.trunc(), range.prefix_len()), (of(b"m", "web", 0), range, 64));
        assert!(range.to_string().starts_with("fd"));
        let (IpNet::V6(web), IpNet::V6(db)) = (range, of(b"m", "db", 0)) else { panic!() };
        assert_eq!(web.addr().octets()[..6], db.addr().octets()[..6], "one host");
        assert!(web != db && range != of(b"m", "web", 1) && range != of(b"n", "web", 0));
    }

    #[test]
    fn a_pool_is_exhausted() {
        assert_eq!(chosen(&["10.64.0.0/22"], &[]), None);
        assert_eq!(chosen(&["10.0.0.0/8"], &[]), None);
        assert_eq!(chosen(&[], &[("10.64.0.0/16", true)]), None);
        assert_eq!(chosen(&["10.64.0.0/23", "10.64.2.0/24"], &[("10.64.3.9/32", true)]), None);
    }

    #[test]
    fn what_a_range_overlaps_is_named() {
        let taken = taken(&["10.64.0.0/24", "10.65.0.0/16"]);
        let name = |text: &str| overlapped(&range(text), &taken).map(|taken| taken.network.to_string());
        assert_eq!(name("10.65.3.0/24").as_deref(), Some("n1"));
        assert_eq!(name("10.64.0.0/12").as_deref(), Some("n0"));
        assert_eq!(name("10.66.0.0/16"), None);
    }

    #[test]
    fn no_two_networks_have_one_link() {
        let name: NetworkName = "web".parse().unwrap();
        let first = link(&name, |_| false);
        assert_eq!(first, link(&name, |_| false), "the same at each boot");
        assert!(first.as_str().starts_with("ocn-") && first.as_str().len() == 12, "{first}");
        let second = link(&name, |link| *link == first);
        assert_ne!(first, second);
        assert_ne!(first, link(&"db".parse().unwrap(), |_| false));
    }

    /// So that neither takes a range from the other.
    #[test]
    fn the_default_pool_has_no_range_of_the_default_network() {
        let config = crate::input::config::Config::default();
        let pool = IpNet::V4(config.network_pools[0].base);
        for candidate in config.subnets() {
            assert!(!pool.contains(&candidate.range) && !candidate.range.contains(&pool), "{}", candidate.range);
        }
    }
}
