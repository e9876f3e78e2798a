use std::net::Ipv6Addr;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

/// The address that stands for ::1 where the host reaches containers of the range of `address` by ::1; none for IPv4.
///
/// The kernel drops an answer to ::1 that comes in by another link than lo (`ip6_rcv_core`, net/ipv6/ip6_input.c). So
/// such a connection has this address at both of its ends until its packets arrive. The address is on the bridge of
/// the network, leaves the host in no packet, and follows from the range: it is the same after a restart, and another
/// one for each network. Its sum is that of ::1 (RFC 1071), so that a checksum over one is a checksum over the other
/// (as in RFC 6296): where an error quotes a packet, nothing else of it has to be changed.
pub fn stand_in(address: IpNet) -> Option<Ipv6Addr> {
    let IpNet::V6(range) = address.trunc() else { return None };
    let digest = Sha256::new().chain_update(b"::1").chain_update(range.to_string()).finalize();
    let mut octets = [0; 16];
    octets.copy_from_slice(&digest[..16]);
    // Unique local, and assigned by no registry (RFC 4193).
    octets[0] = 0xfd;
    let sum: u32 = octets[..14].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let last = u16::try_from((1 + 7 * MODULUS - sum) % MODULUS).expect("it is below the modulus");
    octets[14..].copy_from_slice(&last.to_be_bytes());
    Some(octets.into())
}

/// That of sums in checksums: ones' complement of 16 bits.
const MODULUS: u32 = 0xffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_from_the_range_alone() {
        let of = |net: &str| stand_in(net.parse().unwrap());
        assert_eq!(of("10.90.0.1/16"), None);
        let one = of("fd00::1/64").unwrap();
        assert!(one.is_unique_local());
        assert_eq!(of("fd00::2/64"), Some(one));
        assert_ne!(of("fd00:0:0:1::1/64"), Some(one));
        assert_ne!(of("fd00::1/80"), Some(one), "another network may have a part of the range");
    }

    #[test]
    fn its_sum_is_that_of_the_loopback_address() {
        for n in 0..1000 {
            let address = stand_in(format!("fd00:{n:x}::/64").parse().unwrap()).unwrap();
            let sum: u32 = address.segments().into_iter().map(u32::from).sum();
            assert_eq!(sum % MODULUS, 1, "{address}");
        }
    }
}
