//! The input loop, for hosts whose own rules decide which hosts reach a published port.
//!
//! A packet that is translated to a container is forwarded, and does not pass the host's input rules. So the first
//! packet of a connection is not translated: it goes to the host, and passes all input rules, of whatever program. The
//! chain here comes after them. It sends a copy of the packet into a link pair whose two ends are on the host, and
//! drops the packet. The copy has no connection yet when it comes out of the other end, and is translated to the
//! container. All later packets follow their connection.
//!
//! The table is `ip ocinet`, since the family `inet` of our other rules has no `dup`. The next hop of the copy is
//! 127.0.0.1: the link pair has no ARP and needs none, and without the pair the copy reaches nothing but the host
//! itself.

use super::chain::{Chain, PREROUTING};
use super::{Table, sets};
use crate::model::Family;

/// The chain `prerouting` of a ruleset with the loop: what comes from outside is translated when it comes out of the
/// loop alone.
pub const PREROUTING_WITH_LOOP: Chain = Chain {
    rules: &["meta nfproto ipv4 iifname != @bridges iifname != \"ocn-detour-out\" accept", PREROUTING.rules[0]],
    ..PREROUTING
};

/// The chain that copies.
pub const CHAIN: Chain = Chain {
    name: "detour",
    base: "type filter hook input priority 2147483646; policy accept;",
    rules: &[
        "iifname \"lo\" accept",
        "iifname \"ocn-detour-out\" accept",
        "ct state != new accept",
        "fib daddr type != local accept",
        "ip daddr . meta l4proto . th dport @asked4_addr dup to 127.0.0.1 device \"ocn-detour-in\" drop",
        "meta l4proto . th dport @asked4_any dup to 127.0.0.1 device \"ocn-detour-in\" drop",
    ],
};

/// Takes the table away, be it there or not.
pub const DELETION: &str = "table ip ocinet {}\ndelete table ip ocinet\n";

/// Those that it is for.
const FAMILIES: &[Family] = &[Family::V4];

/// The table.
pub fn table() -> String {
    format!("table ip ocinet {{\n{}{}}}\n", sets(Table::Ip, FAMILIES), CHAIN.text("", FAMILIES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::input_loop::{ENTRANCE, EXIT};

    #[test]
    fn the_rules_name_the_link_pair() {
        for link in [ENTRANCE, EXIT] {
            assert!(table().contains(&format!("\"{link}\"")));
        }
    }
}
