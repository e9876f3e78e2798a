//! Commands by which the operator lets our packets through the firewalls of other programs.

use super::word;
use crate::firewall::pass::{Closed, FORWARD, ForeignDrop, PassPlace, Tables, Variant, ZONE};
use crate::model::InterfaceName;

/// The command that lets pass what `bridge` forwards.
pub fn accept_in(chain: &ForeignDrop, bridge: &InterfaceName) -> String {
    let bridge = word(bridge.as_str());
    let one = |side: char| match chain {
        ForeignDrop::Nft { family, table, chain } => {
            format!("nft insert rule {family} {} {} {side}ifname {bridge} accept", word(table), word(chain))
        }
        ForeignDrop::Legacy(family) => {
            let program = Tables { variant: Variant::Legacy, family: *family }.program();
            format!("{program} -w -I {FORWARD} -{side} {bridge} -j ACCEPT")
        }
    };
    format!("{} && {}", one('i'), one('o'))
}

/// The command that lets pass what `bridge` forwards, and what is sent to it; ocinet's own rules judge it still.
pub fn accept_bridge(closed: Closed, bridge: &InterfaceName) -> String {
    let bridge = word(bridge.as_str());
    match closed {
        Closed::Iptables(tables, PassPlace::DockerUser) => {
            let program = tables.program();
            let one = |side| format!("{program} -w -I DOCKER-USER -{side} {bridge} -j ACCEPT");
            format!("{} && {}", one('i'), one('o'))
        }
        Closed::Iptables(..) => format!("ufw route allow in on {bridge} && ufw route allow out on {bridge}"),
        Closed::Firewalld => {
            format!("firewall-cmd --zone=trusted --add-interface={bridge}, which opens the host to it")
        }
    }
}

/// The commands that make our zone of firewalld.
pub fn firewalld_zone() -> String {
    let permanent = format!("firewall-cmd --permanent --zone={ZONE}");
    [
        format!("firewall-cmd --permanent --new-zone={ZONE}"),
        format!("{permanent} --set-target=ACCEPT"),
        format!("{permanent} --add-rich-rule='rule priority=32767 reject'"),
        format!("{permanent} --add-service=dns"),
        format!("{permanent} --add-protocol=icmp"),
        format!("{permanent} --add-interface=ocinet+ --add-interface=ocn-+"),
        "firewall-cmd --reload".into(),
    ]
    .join(" && ")
}
