//! The rules for networks whose containers are addressed by other hosts: routed ones, those with trusted links, and
//! those that are not masqueraded. They are loaded only where there is such a network: every packet that is forwarded
//! meets those of the chain `forward`.
//!
//! Of such a container, others reach what was published and nothing else. What conntrack calls invalid is no new
//! connection, and so is dropped with the rest that enters a bridge.

use super::chain::{Chain, FORWARD, GUARD};
use super::internal::FORWARD_WITH_INTERNAL;

/// What is sent to a bridge of a routed network, and to a published port from everywhere or from a trusted link.
const ICMP: &str = "oifname @routed{4} ct state new meta l4proto {icmp} accept";
const ROUTED: &str = "oifname @routed{4} ct state new {ip} daddr . meta l4proto . th dport @routed{4}_ports accept";
const TRUSTED: &str =
    "iifname . {ip} daddr @trusted{4} ct state new {ip} daddr . meta l4proto . th dport @trusted{4}_ports accept";

/// As of a network that is masqueraded.
const STRANGE: &str = "oifname @bridges {ip} daddr @addressed{4} oifname . {ip} daddr != @networks{4} drop";

/// The chain `forward` of a ruleset with such networks.
pub const FORWARD_WITH_ADDRESSED: Chain = Chain {
    rules: &[
        FORWARD.rules[0],
        FORWARD.rules[1],
        FORWARD.rules[2],
        FORWARD.rules[3],
        STRANGE,
        FORWARD.rules[4],
        FORWARD.rules[5],
        ICMP,
        ROUTED,
        TRUSTED,
        FORWARD.rules[6],
        FORWARD.rules[7],
        FORWARD.rules[8],
        FORWARD.rules[9],
    ],
    ..FORWARD
};

/// The same with internal networks: nothing passes between one and a routed one.
pub const FORWARD_WITH_BOTH: Chain = Chain {
    rules: &[
        FORWARD_WITH_INTERNAL.rules[0],
        FORWARD_WITH_INTERNAL.rules[1],
        FORWARD_WITH_INTERNAL.rules[2],
        FORWARD_WITH_INTERNAL.rules[3],
        FORWARD_WITH_INTERNAL.rules[4],
        FORWARD_WITH_INTERNAL.rules[5],
        FORWARD_WITH_INTERNAL.rules[6],
        FORWARD_WITH_INTERNAL.rules[7],
        STRANGE,
        FORWARD_WITH_INTERNAL.rules[8],
        FORWARD_WITH_INTERNAL.rules[9],
        ICMP,
        ROUTED,
        TRUSTED,
        FORWARD_WITH_INTERNAL.rules[10],
        FORWARD_WITH_INTERNAL.rules[11],
        FORWARD_WITH_INTERNAL.rules[12],
        FORWARD_WITH_INTERNAL.rules[13],
    ],
    ..FORWARD
};

/// The chain `guard`: a trusted link may address a range that no other does, and an address of a range that others
/// address is believed as a sender on its own bridge alone, like that of any other.
pub const GUARD_WITH_ADDRESSED: Chain = Chain {
    rules: &[
        GUARD.rules[0],
        GUARD.rules[1],
        GUARD.rules[2],
        "{ip} daddr @nat_subnets{4} iifname != @bridges iifname != \"lo\" iifname . {ip} daddr != @trusted{4} drop",
        GUARD.rules[4],
        GUARD.rules[5],
        "{ip} saddr @addressed{4} iifname != \"lo\" iifname . {ip} saddr != @networks{4} drop",
        GUARD.rules[6],
        GUARD.rules[7],
        GUARD.rules[8],
        GUARD.rules[9],
        GUARD.rules[10],
    ],
    ..GUARD
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_rules_are_those_of_every_ruleset() {
        let is_other = |rule: &&&str| ["@routed", "@trusted", "@addressed"].iter().all(|set| !rule.contains(set));
        for (with, without) in [(&FORWARD_WITH_ADDRESSED, &FORWARD), (&FORWARD_WITH_BOTH, &FORWARD_WITH_INTERNAL)] {
            let others: Vec<_> = with.rules.iter().filter(is_other).collect();
            assert_eq!(others, without.rules.iter().collect::<Vec<_>>());
        }
        let others = GUARD_WITH_ADDRESSED.rules.iter().filter(is_other);
        let kept = GUARD.rules.iter().filter(|rule| !rule.contains("daddr @nat_subnets"));
        assert_eq!(others.collect::<Vec<_>>(), kept.collect::<Vec<_>>());
    }
}
