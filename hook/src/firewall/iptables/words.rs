//! What rules of one family say otherwise than those of another: a row of words for each.

use crate::model::Family;

/// The words of a family.
pub(super) struct Words {
    /// The addresses of the host alone.
    pub loopback: &'static str,
    /// That of them to which a port leads that is published on every address; none where no connection to it can be
    /// translated.
    pub first: Option<&'static str>,
    /// The protocol of its errors and questions.
    pub icmp: &'static str,
    /// Matches the questions and answers by which neighbours find each other, where these are packets of the family:
    /// Neighbor Solicitation and Neighbor Advertisement (RFC 4861).
    pub neighbours: &'static [&'static str],
    /// What leads from the kernel's chains of `nat` to ours.
    pub nat_jumps: &'static [Jump],
}

/// A rule in a chain of the kernel's that leads to one of ours.
#[derive(Debug)]
pub struct Jump {
    /// A chain of the kernel's.
    pub(super) from: &'static str,
    /// A chain of ours.
    pub(super) to: &'static str,
    /// With a blank at its end.
    pub(super) matching: &'static str,
}

const LOCAL: &str = "-m addrtype --dst-type LOCAL ";
const OUTPUT: Jump = Jump { from: "OUTPUT", to: super::PUBLISH, matching: LOCAL };
const POSTROUTING: Jump = Jump { from: "POSTROUTING", to: super::POSTROUTING, matching: "" };

/// From outside never for the addresses of the host alone, and never for what is not the host's.
const fn arriving(matching: &'static str) -> Jump {
    Jump { from: "PREROUTING", to: super::PREROUTING, matching }
}

const V4: Words = Words {
    loopback: "127.0.0.0/8",
    // 127.0.0.53 is a resolver's.
    first: Some("127.0.0.1"),
    icmp: "icmp",
    neighbours: &[],
    nat_jumps: &[arriving("! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL "), OUTPUT, POSTROUTING],
};

const V6: Words = Words {
    loopback: "::1/128",
    // A connection to ::1 that is translated gets no answer: that comes in by a bridge, and the kernel drops what comes
    // in for ::1 by another link than lo (`ip6_rcv_core`, net/ipv6/ip6_input.c).
    first: None,
    icmp: "ipv6-icmp",
    neighbours: &["-p ipv6-icmp -m icmp6 --icmpv6-type 135", "-p ipv6-icmp -m icmp6 --icmpv6-type 136"],
    nat_jumps: &[arriving("! -d ::1/128 -m addrtype --dst-type LOCAL "), OUTPUT, POSTROUTING],
};

/// The words of `family`.
pub(super) fn words(family: Family) -> &'static Words {
    match family {
        Family::V4 => &V4,
        Family::V6 => &V6,
    }
}
