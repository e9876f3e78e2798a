//! The detour, for hosts whose own rules are to decide who from outside reaches a published port.
//!
//! A packet that is led to a container is forwarded, and never meets the host's rules for what comes in. So the first of a
//! connection is left alone: it goes where it says, to the host, and meets them as they are, whoever wrote them. Behind the last
//! of them stands the chain here, which leads a copy of the packet around by a cable from the host to itself, and drops
//! the packet, for which nobody listens. The copy is new to the kernel, and what comes out of that cable is led to the container.
//! All later packets follow their connection.
//!
//! The table is `ip ocinet`: that of our other rules is of a family that cannot copy. The copy is sent to 127.0.0.1, which
//! says nothing to a cable without ARP, and goes nowhere but to the host itself should the cable be missing.

use super::Chain;

/// The chain.
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

/// The published ports.
pub const SETS: [&str; 2] = [
    "set asked4_any { type inet_proto . inet_service; }",
    "set asked4_addr { type ipv4_addr . inet_proto . inet_service; }",
];

/// Takes the table away, be it there or not.
pub const DELETION: &str = "table ip ocinet {}\ndelete table ip ocinet\n";

/// The table.
pub fn table() -> String {
    let mut text = "table ip ocinet {\n".to_owned();
    text.extend(SETS.map(|set| format!("    {set}\n")));
    text.push_str(&CHAIN.text(""));
    text + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::{DETOUR_IN, DETOUR_OUT};

    #[test]
    fn the_rules_name_the_cable() {
        for link in [DETOUR_IN, DETOUR_OUT] {
            assert!(table().contains(&format!("\"{link}\"")));
        }
    }
}
