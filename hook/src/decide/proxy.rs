//! For which addresses the host answers its neighbours, and on which links. Pure: the caller says what the kernel has.

use std::fmt;
use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

use super::ipam::HostRoute;
use crate::model::{InterfaceName, Options, Subnet};

/// A route of the host to neighbours on one of its links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearRoute {
    /// The neighbours' range.
    pub range: Ipv6Net,
    /// The link.
    pub link: InterfaceName,
}

/// An entry by which the host answers the neighbours on a link for an address (`ip -6 neigh show proxy`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyEntry {
    /// The link.
    pub link: InterfaceName,
    /// The address.
    pub address: Ipv6Addr,
}

/// As messages name it.
impl fmt::Display for ProxyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.address, self.link)
    }
}

/// The entries for `address`, which is of the network on `bridge`: on each other link whose neighbours take it for one
/// of them, by a route of `near` with the longest prefix; where there is none, on the links that the default routes leave
/// by, `out`. A tunnel has wide routes and no neighbours that look.
pub fn entries(
    address: Ipv6Addr,
    bridge: Option<&InterfaceName>,
    near: &[NearRoute],
    out: &[InterfaceName],
) -> Vec<ProxyEntry> {
    let is_other = |link: &&InterfaceName| Some(*link) != bridge;
    let around = || near.iter().filter(|route| route.range.contains(&address) && is_other(&&route.link));
    let longest = around().map(|route| route.range.prefix_len()).max();
    let among = distinct(around().filter(|route| Some(route.range.prefix_len()) == longest).map(|route| &route.link));
    let links = if among.is_empty() { distinct(out.iter().filter(is_other)) } else { among };
    links.into_iter().map(|link| ProxyEntry { link, address }).collect()
}

/// `links`, each once.
pub fn distinct<'l>(links: impl Iterator<Item = &'l InterfaceName>) -> Vec<InterfaceName> {
    let mut once: Vec<InterfaceName> = Vec::new();
    for link in links {
        if !once.contains(link) {
            once.push(link.clone());
        }
    }
    once
}

/// Those of our `entries` whose address is none of the `answered` ones.
pub fn stray(entries: Vec<ProxyEntry>, answered: &[Ipv6Addr]) -> Vec<ProxyEntry> {
    entries.into_iter().filter(|entry| !answered.contains(&entry.address)).collect()
}

/// The ranges of `subnets` for which the host answers its neighbours, where `options` say that it does.
pub fn ranges(options: &Options, subnets: &[Subnet]) -> Vec<Ipv6Net> {
    let subnets = if options.ndp_proxy { subnets } else { &[] };
    subnets.iter().filter_map(|subnet| if let IpNet::V6(range) = subnet.range { Some(range) } else { None }).collect()
}

/// Those of `routes` that a network with the ranges `proxied` has to mind: not those to the neighbours that the host
/// answers for it, of whose range its own is a part.
pub fn minded(routes: Vec<HostRoute>, proxied: &[Ipv6Net]) -> Vec<HostRoute> {
    let is_around = |route: &HostRoute, range: IpNet| route.range.contains(&range) && route.range != range;
    let is_answered =
        |route: &HostRoute| route.is_near && proxied.iter().any(|range| is_around(route, (*range).into()));
    routes.into_iter().filter(|route| !is_answered(route)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::ipam::{Standing, standing};

    fn link(name: &str) -> InterfaceName {
        name.parse().unwrap()
    }

    fn near(range: &str, name: &str) -> NearRoute {
        NearRoute { range: range.parse().unwrap(), link: link(name) }
    }

    #[test]
    fn neighbours_are_answered_where_they_look() {
        let near = [
            near("2001:db8:1::/64", "eth0"),
            near("2001:db8:1::/80", "ocn-1"),
            near("2001:db8:1::/64", "eth1"),
            near("2001:db8::/32", "wg0"),
            near("2001:db8:2::/64", "eth2"),
        ];
        let out = [link("ppp0"), link("ocn-1"), link("ppp0")];
        let on = |address: &str, near: &[NearRoute], out: &[InterfaceName]| {
            let entries = entries(address.parse().unwrap(), Some(&link("ocn-1")), near, out);
            entries.into_iter().map(|entry| entry.link.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(on("2001:db8:1::5", &near, &out), ["eth0", "eth1"], "each once");
        assert_eq!(on("2001:db8:2::5", &near[4..], &out), ["eth2"]);
        assert_eq!(on("2001:db8:1::5", &near[1..2], &out), ["ppp0"], "the network's own bridge is no uplink");
        assert_eq!(on("fd00::5", &near, &out), ["ppp0"]);
        assert!(on("fd00::5", &near, &[]).is_empty());
    }

    #[test]
    fn an_entry_without_an_endpoint_is_stray() {
        let entry = |address: &str| ProxyEntry { link: link("eth0"), address: address.parse().unwrap() };
        let known = ["2001:db8::2".parse().unwrap(), "2001:db8::4".parse().unwrap()];
        let entries = ["2001:db8::2", "2001:db8::3"].map(entry).to_vec();
        assert_eq!(stray(entries, &known), [entry("2001:db8::3")]);
    }

    #[test]
    fn a_part_of_the_neighbours_range_can_be_had_with_a_proxy() {
        let range: Ipv6Net = "2001:db8:1:2:5::/80".parse().unwrap();
        let stands = |routes: &[&str]| {
            let near = |range: &&str| HostRoute { range: range.parse().unwrap(), is_near: true };
            standing(&range.into(), &minded(routes.iter().map(near).collect(), &[range]))
        };
        let conflict = |route: &str| Standing::Conflict(route.parse().unwrap());
        assert_eq!(stands(&["2001:db8:1:2::/64", "fe80::/64"]), Standing::Free);
        assert_eq!(stands(&["2001:db8:1:2:5::/80"]), conflict("2001:db8:1:2:5::/80"), "all of it");
        assert_eq!(stands(&["2001:db8:1:2:5::7/128"]), conflict("2001:db8:1:2:5::7/128"), "an address of the host");
        let without = [HostRoute { range: "2001:db8:1:2::/64".parse().unwrap(), is_near: true }];
        assert_eq!(standing(&range.into(), &minded(without.to_vec(), &[])), conflict("2001:db8:1:2::/64"));
    }
}
