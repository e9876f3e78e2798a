//! Which address comes next. Pure: the caller says what is taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::model::{Invalid, Subnet};

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
    let (first, end) = usable(&subnet.range);
    let start = last.map(to_number).filter(|n| (first..end).contains(n)).map_or(first, |n| n + 1);
    for number in (start..=end).chain(first..start) {
        let address = to_address(number, &subnet.range);
        if address != subnet.gateway && !taken(address)? {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

/// Whether a container may have `address` in `subnet` at all.
///
/// # Errors
/// [`Invalid`] says why not.
pub fn check(subnet: &Subnet, address: IpAddr) -> Result<(), Invalid> {
    let range = &subnet.range;
    let (first, end) = usable(range);
    let why = match to_number(address) {
        _ if !range.contains(&address) => format!("is outside the network's range {range}"),
        _ if address == subnet.gateway => "is the gateway's".to_owned(),
        n if n < first => format!("is the network address of {range}"),
        n if n > end => format!("is the broadcast address of {range}"),
        _ => return Ok(()),
    };
    Err(Invalid::new("ip", address, why))
}

/// The first and last number a host may have: not the network address (in IPv6 the subnet routers' anycast address),
/// in IPv4 not the broadcast address.
fn usable(range: &IpNet) -> (u128, u128) {
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
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    fn subnet(range: &str) -> Subnet {
        Subnet::with_first_gateway(range.parse().unwrap()).unwrap()
    }

    fn next_of(range: &str, last: Option<&str>, taken: &[&str]) -> Option<String> {
        let taken = |a: IpAddr| Ok::<_, Infallible>(taken.contains(&a.to_string().as_str()));
        next(&subnet(range), last.map(|l| l.parse().unwrap()), taken).unwrap().map(|a| a.to_string())
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
