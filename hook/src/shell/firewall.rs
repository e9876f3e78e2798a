//! The rules of the firewall as commands.

use super::word;
use crate::firewall::{Base, Kind, Needs, Publish, iptables, nftables};

/// A published port, where `kind` keeps the rules.
pub fn port(kind: Kind, port: &Publish, base: &Base) -> Vec<String> {
    match kind {
        Kind::Nftables => {
            let add = |(family, set, element)| {
                let braces = format!("{{ {element} }}");
                format!("nft add element {family} {} {set} {}", nftables::TABLE, word(&braces))
            };
            nftables::elements_of(port, base).map(add).collect()
        }
        Kind::IptablesNft | Kind::IptablesLegacy => {
            iptables::rules_of(port, base).map(|(table, rule)| format!("iptables -t {table} -A {rule}")).collect()
        }
        Kind::None => Vec::new(),
    }
}

/// The program that puts `all` in place where `kind` keeps the rules, and its input. It takes for granted that nothing of
/// ours is there.
pub fn load(kind: Kind, all: &Needs) -> Option<(&'static str, String)> {
    match kind {
        Kind::Nftables => Some(("nft -f -", nftables::ruleset(all, &nftables::Held::default()))),
        Kind::IptablesNft | Kind::IptablesLegacy => {
            Some(("iptables-restore --noflush", iptables::load(all, &iptables::Held::default())))
        }
        Kind::None => None,
    }
}
