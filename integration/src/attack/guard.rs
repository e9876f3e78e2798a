//! The guards, and how each is removed.

use anyhow::{Result, ensure};

use super::Outcome;
use crate::Host;

/// A guard: something that stops an attack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Guard {
    /// All rules of our firewall. Removed as by `nft flush ruleset`.
    Rules,
    /// The rules that test the destination of a packet before they translate it to a container.
    Destinations,
    /// The rules that test a packet first: its source, and whether its connection is known.
    Origins,
    /// The rules for packets that are forwarded through the host.
    Forwarding,
    /// The classifiers at the containers' links.
    Links,
    /// The bridge's own settings.
    Settings,
}

impl Guard {
    fn take_out(self, host: &Host) -> Result<()> {
        let script = match (self, host.firewall().iptables()) {
            (Self::Rules, _) => return host.disarm(),
            (Self::Destinations, Some(iptables)) => format!(
                "for chain in PREROUTING OUTPUT; do
                     {iptables} -t nat -F $chain
                     {iptables} -t nat -A $chain -j OCINET-PUBLISH
                 done
                 {iptables} -t nat -I OCINET-PUBLISH -j OCINET-ANY"
            ),
            (Self::Destinations, None) => "nft -f - <<RULES
                flush chain inet ocinet prerouting
                flush chain inet ocinet output
                flush chain inet ocinet publish
                add rule inet ocinet prerouting jump publish
                add rule inet ocinet output jump publish
                add rule inet ocinet publish dnat ip to ip daddr . meta l4proto . th dport map @publish4_addr
                add rule inet ocinet publish dnat ip to meta l4proto . th dport map @publish4_any
RULES"
                .to_owned(),
            (Self::Origins, Some(iptables)) => format!("{iptables} -t mangle -F OCINET-GUARD"),
            (Self::Origins, None) => "nft flush chain inet ocinet guard".to_owned(),
            (Self::Forwarding, Some(iptables)) => format!("{iptables} -F OCINET-FORWARD"),
            (Self::Forwarding, None) => "nft flush chain inet ocinet forward".to_owned(),
            (Self::Links, _) => {
                "for link in /sys/class/net/ocv*; do
                    name=${link##*/}; tc qdisc del dev $name clsact
                    bridge fdb show dev $name | sed -n 's/ .*sticky.*//p' | xargs -rI MAC bridge fdb del MAC dev $name master
                done"
                    .to_owned()
            }
            (Self::Settings, _) => "sysctl -qw net.ipv6.conf.ocinet0.disable_ipv6=0 net.ipv6.conf.ocinet0.accept_ra=2 \
                 net.ipv6.conf.ocinet0.accept_ra_defrtr=1"
                .to_owned(),
        };
        host.sh(&script).map(drop)
    }

    /// Puts every guard back.
    fn restore(host: &Host) -> Result<()> {
        host.disarm()?;
        host.ocinet("doctor --fix")?.success().map(drop)
    }
}

/// Tries the attack against all `guards`, against each of them alone, and against none.
pub(super) fn duel(host: &Host, guards: &[Guard], mut attempt: impl FnMut() -> Result<bool>) -> Result<Outcome> {
    let guarded = attempt()?;
    if guards.len() > 1 {
        for alone in guards {
            guards.iter().filter(|guard| *guard != alone).try_for_each(|guard| guard.take_out(host))?;
            ensure!(!attempt()?, "{alone:?} alone: the attack succeeds");
            Guard::restore(host)?;
        }
    }
    guards.iter().try_for_each(|guard| guard.take_out(host))?;
    // On a busy machine an attack that should succeed can fail by chance.
    let mut unguarded = false;
    for _ in 0..20 {
        unguarded = unguarded || attempt()?;
    }
    Ok(Outcome { guarded, unguarded })
}
