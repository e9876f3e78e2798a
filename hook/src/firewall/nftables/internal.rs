//! The rules for internal networks. They are loaded only where there is such a network, since every packet that is
//! forwarded meets those of the chain `forward`: a connection that was established before its network became internal,
//! or while the rules were missing, is cut like any other.

use super::chain::{Chain, FORWARD};

/// The chain `forward` of a ruleset with internal networks: nothing passes between one and another link. Within one, what
/// is asked of the name server does, and its answer.
pub const FORWARD_WITH_INTERNAL: Chain = Chain {
    rules: &[
        FORWARD.rules[0],
        "iifname @internal oifname @internal {ip} daddr {names} accept",
        "iifname @internal oifname @internal {ip} saddr {names} ct state established accept",
        "iifname @internal iifname . oifname != @intra drop",
        "oifname @internal iifname . oifname != @intra drop",
        FORWARD.rules[1],
        FORWARD.rules[2],
        FORWARD.rules[3],
        FORWARD.rules[4],
        FORWARD.rules[5],
        FORWARD.rules[6],
        FORWARD.rules[7],
        FORWARD.rules[8],
        FORWARD.rules[9],
    ],
    ..FORWARD
};

/// The chain that leaves of the host the gateway addresses alone to internal networks, and the questions and answers by
/// which neighbours find each other, which are for other addresses: those of IPv4 are no packets of IP.
pub const INPUT: Chain = Chain {
    name: "input",
    base: "type filter hook input priority filter; policy accept;",
    rules: &[
        "iifname != @internal accept",
        "iifname . {ip} daddr @gateways{4} accept",
        "{only6}icmpv6 type 135-136 accept",
        "drop",
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_rules_are_those_of_every_ruleset() {
        let others: Vec<_> = FORWARD_WITH_INTERNAL.rules.iter().filter(|rule| !rule.contains("@internal")).collect();
        assert_eq!(others, FORWARD.rules.iter().collect::<Vec<_>>());
    }
}
