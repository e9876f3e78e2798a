//! Which address comes next, and which range. Pure: the caller says what is taken.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::model::{Family, Invalid, Mac, Network, Subnet, quoted};

/// A route of the host, as far as a range of ours may come into its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostRoute {
    /// The addresses that it is for.
    pub range: IpNet,
    /// Whether these are addresses of the host, or of hosts on its links. Those behind a gateway or a tunnel, and those
    /// of a route that refuses packets, are neither.
    pub is_near: bool,
}

/// What a range has to do with the routes of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// None is for any of its addresses.
    Free,
    /// It is a part of this one, which would not lead to that part any more.
    Under(IpNet),
    /// It would take away what this one leads to, or this one a part of it.
    Conflict(IpNet),
}

/// What `range` has to do with `routes`. A default route is no matter: every range is under that.
pub fn standing(range: &IpNet, routes: &[HostRoute]) -> Standing {
    let mut standing = Standing::Free;
    for route in routes.iter().filter(|route| route.range.prefix_len() > 0) {
        let is_wider = route.range.contains(range) && route.range != *range;
        if range.contains(&route.range) || (is_wider && route.is_near) {
            return Standing::Conflict(route.range);
        }
        if is_wider {
            standing = Standing::Under(route.range);
        }
    }
    standing
}

/// The first of `candidates` that is free, or else the first that is part of a wider route, with that route.
///
/// # Errors
/// The first route that is in conflict with one of them, where all have one.
pub fn choose(
    candidates: impl IntoIterator<Item = Subnet>,
    routes: &[HostRoute],
) -> Result<(Subnet, Option<IpNet>), Option<IpNet>> {
    let (mut under, mut conflict) = (None, None);
    for subnet in candidates {
        match standing(&subnet.range, routes) {
            Standing::Free => return Ok((subnet, None)),
            Standing::Under(route) => under = under.or(Some((subnet, Some(route)))),
            Standing::Conflict(route) => conflict = conflict.or(Some(route)),
        }
    }
    under.ok_or(conflict)
}

/// The next free address after `last`, going round: an address that was just given back is the last to be given out
/// again, since others may still remember who had it.
///
/// Returns `None` where every address is taken.
///
/// # Errors
/// Whatever `taken` fails with.
pub fn next<E>(
    subnet: &Subnet,
    last: Option<IpAddr>,
    mut taken: impl FnMut(IpAddr) -> Result<bool, E>,
) -> Result<Option<IpAddr>, E> {
    let (first, end) = usable(subnet);
    let start = last.map(to_number).filter(|n| (first..end).contains(n)).map_or(first, |n| n + 1);
    for number in (start..=end).chain(first..start) {
        let address = to_address(number, &subnet.range);
        if Some(address) != subnet.gateway.address() && reserved_for(subnet, address).is_none() && !taken(address)? {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

/// The address of `subnet`, which is of IPv6, that has the IPv4 address `address` in its low 32 bits; none where the
/// range leaves no room for them, or does not give that one out.
pub fn embedding(subnet: &Subnet, address: Ipv4Addr) -> Option<IpAddr> {
    let IpNet::V6(range) = subnet.range else { return None };
    let whole = Ipv6Addr::from(u128::from(range.network()) | u128::from(u32::from(address)));
    (range.prefix_len() <= 96).then_some(whole.into()).filter(|address| is_given_out(subnet, *address))
}

/// Whether `address` is one of those that are given out in `subnet` to containers that ask for none.
pub fn is_given_out(subnet: &Subnet, address: IpAddr) -> bool {
    let (first, end) = usable(subnet);
    check(subnet, address).is_ok() && (first..=end).contains(&to_number(address))
}

/// How many addresses are given out in `subnet` to containers that ask for none.
pub fn room(subnet: &Subnet) -> u128 {
    let (first, end) = usable(subnet);
    let kept: BTreeSet<IpAddr> = subnet.gateway.address().into_iter().chain(subnet.aux.values().copied()).collect();
    let kept = kept.into_iter().map(to_number).filter(|number| (first..=end).contains(number)).count();
    (end + 1).saturating_sub(first).saturating_sub(kept as u128)
}

/// Whether a container may have `address` in `subnet` at all. It may be outside of the pool, as in Docker; a driver
/// whose range several hosts share has to refuse that itself.
///
/// # Errors
/// [`Invalid`] says why not.
pub fn check(subnet: &Subnet, address: IpAddr) -> Result<(), Invalid> {
    let range = &subnet.range;
    let (first, end) = bounds(range);
    let why = match to_number(address) {
        _ if !range.contains(&address) => format!("is outside the network's range {range}"),
        _ if Some(address) == subnet.gateway.address() => "is the gateway's".to_owned(),
        _ if let Some(name) = reserved_for(subnet, address) => format!("is reserved for {}", quoted(name)),
        n if n < first => format!("is the network address of {range}"),
        n if n > end => format!("is the broadcast address of {range}"),
        _ => return Ok(()),
    };
    Err(Invalid::new("ip", address, why))
}

/// The subnet of `network` in which a container may have `address`.
///
/// # Errors
/// [`Invalid`] says why it may not.
pub fn subnet_for(network: &Network, address: IpAddr) -> Result<&Subnet, Invalid> {
    let is_of_family = |subnet: &&Subnet| Family::of(subnet.range.addr()) == Family::of(address);
    let mut subnets = network.subnets.iter().filter(is_of_family);
    let around = subnets.clone().find(|subnet| subnet.range.contains(&address));
    let Some(subnet) = around.or_else(|| subnets.next()) else {
        let (field, family) = (if address.is_ipv4() { "ip" } else { "ip6" }, Family::of(address));
        let why = format!("cannot be had, since network {} has no {family}", network.name);
        return Err(Invalid::new(field, address, why));
    };
    check(subnet, address).map(|()| subnet)
}

/// What `address` is reserved for in `subnet`, which no container gets.
fn reserved_for(subnet: &Subnet, address: IpAddr) -> Option<&str> {
    subnet.aux.iter().find(|(_, reserved)| **reserved == address).map(|(name, _)| name.as_str())
}

/// Whether a container may have `mac` on the network of `subnets` at all.
///
/// # Errors
/// [`Invalid`] says why not.
pub fn check_mac(subnets: &[Subnet], mac: Mac) -> Result<(), Invalid> {
    let gateways = subnets.iter().filter_map(|subnet| subnet.gateway.of_host());
    match gateways.into_iter().find(|gateway| Mac::of(*gateway) == mac) {
        Some(gateway) => Err(Invalid::new("mac", mac, format!("is that of the gateway {gateway}"))),
        None => Ok(()),
    }
}

/// The first and last number that is given out in `subnet`: those of its pool that a host may have.
fn usable(subnet: &Subnet) -> (u128, u128) {
    let (first, last) = bounds(&subnet.range);
    match subnet.pool {
        Some(pool) => (first.max(to_number(pool.network())), last.min(to_number(pool.broadcast()))),
        None => (first, last),
    }
}

/// The first and last number a host may have: not the network address (in IPv6 the subnet routers' anycast address),
/// in IPv4 not the broadcast address.
fn bounds(range: &IpNet) -> (u128, u128) {
    let last = to_number(range.broadcast());
    (to_number(range.network()) + 1, if range.network().is_ipv4() { last - 1 } else { last })
}

fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn to_address(number: u128, range: &IpNet) -> IpAddr {
    match range {
        IpNet::V4(_) => Ipv4Addr::from(u32::try_from(number).expect("a number of an IPv4 range")).into(),
        IpNet::V6(_) => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn subnet(range: &str) -> Subnet {
        Subnet::with_first_gateway(range.parse().unwrap()).unwrap()
    }

    fn next_of(range: &str, last: Option<&str>, taken: &[&str]) -> Option<String> {
        let taken = |a: IpAddr| Ok::<_, Infallible>(taken.contains(&a.to_string().as_str()));
        next(&subnet(range), last.map(|l| l.parse().unwrap()), taken).unwrap().map(|a| a.to_string())
    }

    #[test]
    fn the_room_of_a_subnet() {
        assert_eq!(room(&subnet("10.90.0.0/16")), 65_533);
        let mut small = subnet("10.90.0.0/29");
        assert_eq!(room(&small), 5);
        small.aux = [("a".into(), "10.90.0.6".parse().unwrap()), ("b".into(), "10.90.0.6".parse().unwrap())].into();
        assert_eq!(room(&small), 4);
        small.pool = Some("10.90.0.4/30".parse().unwrap());
        assert_eq!(room(&small), 2);
        assert_eq!(room(&subnet("fd00::/64")), (1 << 64) - 2);
    }

    fn chosen(routes: &[(&str, bool)]) -> Result<(String, Option<String>), Option<String>> {
        let route = |(range, is_near): &(&str, bool)| HostRoute { range: range.parse().unwrap(), is_near: *is_near };
        let routes: Vec<_> = routes.iter().map(route).collect();
        let text = |net: IpNet| net.to_string();
        choose(["10.90.0.0/16", "10.91.0.0/16", "172.31.0.0/16"].map(subnet), &routes)
            .map(|(subnet, route)| (text(subnet.range), route.map(text)))
            .map_err(|route| route.map(text))
    }

    #[test]
    fn a_range_takes_nothing_away() {
        let ok = |range: &str, route: Option<&str>| Ok((range.to_owned(), route.map(str::to_owned)));
        assert_eq!(chosen(&[("0.0.0.0/0", false), ("192.168.0.0/16", true)]), ok("10.90.0.0/16", None));
        for (narrow, is_near) in [("10.90.7.0/24", false), ("10.90.0.9/32", true), ("10.90.0.0/16", false)] {
            assert_eq!(chosen(&[(narrow, is_near)]), ok("10.91.0.0/16", None), "{narrow}");
        }
        assert_eq!(chosen(&[("10.0.0.0/8", false)]), ok("172.31.0.0/16", None), "first what is under no route");
        assert_eq!(chosen(&[("10.0.0.0/8", true)]), ok("172.31.0.0/16", None), "neighbours are there");
        let vpn = [("0.0.0.0/1", false), ("128.0.0.0/1", false)];
        assert_eq!(chosen(&vpn), ok("10.90.0.0/16", Some("0.0.0.0/1")), "in their order where all are under one");
        assert_eq!(chosen(&[&vpn[..], &[("10.90.0.0/24", true)]].concat()), ok("10.91.0.0/16", Some("0.0.0.0/1")));
        assert_eq!(chosen(&[("10.0.0.0/8", true), ("172.16.0.0/12", true)]), Err(Some("10.0.0.0/8".to_owned())));
    }

    #[test]
    fn a_macs_owner_is_named() {
        let subnets = [subnet("10.90.0.0/16")];
        let error = check_mac(&subnets, Mac::of("10.90.0.1".parse().unwrap())).unwrap_err().to_string();
        assert!(error.contains("02:0c:0a:5a:00:01") && error.contains("gateway 10.90.0.1"), "{error}");
        assert_eq!(check_mac(&subnets, Mac::of("10.90.0.2".parse().unwrap())), Ok(()));
    }

    #[test]
    fn goes_round() {
        assert_eq!(next_of("10.0.0.0/29", None, &[]).as_deref(), Some("10.0.0.2"));
        assert_eq!(next_of("10.0.0.0/29", Some("10.0.0.3"), &["10.0.0.4"]).as_deref(), Some("10.0.0.5"));
        assert_eq!(next_of("10.0.0.0/29", Some("10.0.0.6"), &[]).as_deref(), Some("10.0.0.2"));
        assert_eq!(next_of("10.0.0.0/29", Some("192.0.2.1"), &[]).as_deref(), Some("10.0.0.2"));
        assert_eq!(next_of("10.0.0.0/30", None, &["10.0.0.2"]), None);
        assert_eq!(next_of("fd00::/64", None, &[]).as_deref(), Some("fd00::2"));
    }

    #[test]
    fn the_ipv4_address_is_in_that_of_ipv6() {
        let of = |range: &str, address: &str| {
            embedding(&subnet(range), address.parse().unwrap()).map(|address| address.to_string())
        };
        assert_eq!(of("fd00:1::/64", "10.64.0.2").as_deref(), Some("fd00:1::a40:2"));
        assert_eq!(of("fd00:1::/96", "10.64.0.2").as_deref(), Some("fd00:1::a40:2"));
        assert_eq!(of("fd00:1::/112", "10.64.0.2"), None);
        assert_eq!(of("10.64.0.0/24", "10.64.0.2"), None);
        let mut narrow = subnet("fd00:1::/64");
        narrow.pool = Some("fd00:1::ff00:0/112".parse().unwrap());
        assert_eq!(embedding(&narrow, "10.64.0.2".parse().unwrap()), None, "it is not given out");
    }

    #[test]
    fn addresses_nobody_may_have() {
        let rows = [
            ("10.0.0.0", "network address"),
            ("10.0.0.255", "broadcast"),
            ("10.0.0.1", "gateway"),
            ("10.0.1.1", "outside"),
            ("fd00::5", "outside"),
        ];
        for (address, part) in rows {
            let error = check(&subnet("10.0.0.0/24"), address.parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(address), "{error}");
        }
        assert_eq!(check(&subnet("10.0.0.0/24"), "10.0.0.254".parse().unwrap()), Ok(()));
    }

    proptest! {
        #[test]
        fn hands_out_every_address_once(bits in 24u8..30, seed: u32) {
            let subnet = subnet(&format!("10.{}.{}.0/{bits}", seed >> 8 & 255, seed & 255));
            let mut given = BTreeSet::new();
            let mut last = None;
            while let Some(address) = next(&subnet, last, |a| Ok::<_, Infallible>(given.contains(&a))).unwrap() {
                prop_assert!(check(&subnet, address).is_ok());
                prop_assert!(given.insert(address));
                last = Some(address);
            }
            prop_assert_eq!(given.len(), (1usize << (32 - bits)) - 3);
        }
    }
}
