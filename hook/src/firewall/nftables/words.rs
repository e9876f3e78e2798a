//! What rules of one family say otherwise than those of another: a row of words for each.

use crate::model::Family;

/// The words of a family.
pub(super) struct Words {
    /// What names of its sets have in them.
    pub digit: &'static str,
    /// Its number (`NFPROTO_*`, linux/netfilter.h), and its name.
    pub number: u8,
    /// Its name in rules, after `meta nfproto`.
    pub nfproto: &'static str,
    /// The type of an address.
    pub address: &'static str,
    /// The protocol of its errors and questions.
    pub icmp: &'static str,
    /// The header that has the addresses.
    pub header: &'static str,
    /// The addresses of the host alone. For ::1, what stands for it (`nftables/loopback.rs`).
    pub loopback: &'static str,
    /// Where the name server answers.
    pub names: &'static str,
    /// Matches what a port published on every address is for: of the addresses of the host alone, the first.
    pub any: &'static str,
}

const V6: Words = Words {
    digit: "6",
    number: 10,
    nfproto: "ipv6",
    address: "ipv6_addr",
    icmp: "ipv6-icmp",
    header: "ip6",
    loopback: "@stand_ins6",
    names: "fd6f:6369:6e65:7400::53",
    // What is sent to ::1 and is for a published port has a stand-in's address here.
    any: "ip6 daddr != ::1",
};

const V4: Words = Words {
    digit: "4",
    number: 2,
    nfproto: "ipv4",
    address: "ipv4_addr",
    icmp: "icmp",
    header: "ip",
    loopback: "127.0.0.0/8",
    names: "169.254.53.53",
    any: "ip daddr != 127.0.0.2-127.255.255.255",
};

/// The words of `family`.
pub(super) fn words(family: Family) -> &'static Words {
    match family {
        Family::V4 => &V4,
        Family::V6 => &V6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::NAME_SERVERS;

    #[test]
    fn the_name_server_is_where_containers_ask() {
        assert_eq!(NAME_SERVERS.map(|address| words(Family::of(address)).names.parse()), NAME_SERVERS.map(Ok));
    }
}
