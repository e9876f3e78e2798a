//! The rules by which the host reaches published ports at ::1. They are loaded only where a network has IPv6.
//!
//! A connection to 127.0.0.1 is translated, and with `route_localnet` its answers are let in by a bridge. For ::1 the
//! kernel has no such setting: it drops what comes in for it by another link than lo (`ip6_rcv_core`,
//! net/ipv6/ip6_input.c), and so what is turned back into that. So before conntrack sees it, what the host sends from
//! ::1 to a published port at ::1 gets the address of a stand-in at both ends ([`stand_in`](crate::model::stand_in)), and
//! after NAT has turned an answer back into one from the stand-in to itself, it gets ::1 at both ends again. In
//! between, the stand-in is what 127.0.0.1 is for IPv4: from outside no port leads there, and the gateway's address is
//! the sender on a bridge.
//!
//! What has a stand-in as its destination and is no answer of such a connection is dropped, wherever it came from. A
//! packet can be one only if it was sent to a stand-in and translated, and of such the host alone can be the sender: from
//! outside nothing is translated that was sent to a stand-in, and nothing passes that has one as its sender.
//!
//! A program of the host may ask another at ::1 from a port that is published. The answers are for that port, and are
//! no questions to the container: [`CLIENTS`] remembers who asked. What belongs to a connection of TCP that stood before the
//! port was published begins no connection to the container either (the chain `output`).

use super::chain::Chain;

/// The programs of the host that asked another at ::1 from a published port: protocol, that port, and the other's.
/// Packets fill it.
pub const CLIENTS: &str = "set loopback6_clients { type inet_proto . inet_service . inet_service; size 65535; flags dynamic,timeout; timeout 1d; }";

/// The chains. The last rule of the first notes a client: it asks whether the source port is published, and leaves the
/// packet as it was. An error, such as that no program is at a port of UDP, quotes the packet that it is about, behind 8 bytes
/// of its own (RFC 4443): the addresses of that are ::1 again, too. Its checksum stays, since the sum of a stand-in is
/// that of ::1. The first is of the type that routes a packet anew, before conntrack (-200); the second comes after NAT
/// (100).
pub const CHAINS: &[Chain] = &[
    Chain {
        name: "loopback_out",
        base: "type route hook output priority -310; policy accept;",
        rules: &[
            "ip6 daddr ::1 ip6 saddr ::1 meta l4proto . th dport . th sport @loopback6_clients accept",
            "ip6 daddr ::1 ip6 saddr ::1 ip6 saddr set meta l4proto . th dport map @loopback6 ip6 daddr set meta l4proto . th dport map @loopback6 accept",
            "ip6 daddr ::1 ip6 saddr ::1 ip6 saddr set meta l4proto . th sport map @loopback6 ip6 saddr set ::1 set update meta l4proto . th sport . th dport @loopback6_clients",
        ],
    },
    Chain {
        name: "loopback_in",
        base: "type filter hook input priority 310; policy accept;",
        rules: &[
            "meta nfproto != ipv6 accept",
            "ip6 daddr != @stand_ins6 accept",
            "ip6 saddr @stand_ins6 ct direction reply ct state related meta l4proto ipv6-icmp @th,128,128 set 0x1 @th,256,128 set 0x1",
            "ip6 saddr @stand_ins6 ct direction reply ct status dnat ip6 saddr set ::1 ip6 daddr set ::1 accept",
            "drop",
        ],
    },
    // Where the bridge has lost the address, no packet takes it out of the host.
    Chain {
        name: "loopback_kept",
        base: "type filter hook postrouting priority 310; policy accept;",
        rules: &["ip6 daddr @stand_ins6 oifname != \"lo\" drop"],
    },
];
