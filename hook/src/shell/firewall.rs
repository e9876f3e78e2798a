//! The rules of the firewall as commands.

use super::word;
use crate::firewall::{Base, Kind, Needs, Publish, iptables, nftables};

/// A published port, where `kind` keeps the rules.
pub fn port(kind: Kind, port: &Publish, base: &Base) -> Vec<String> {
    match kind {
        Kind::Nftables => {
            let add = |element: nftables::Element| {
                let braces = format!("{{ {} }}", element.text());
                format!("nft add element {} {}", element.set.place(), word(&braces))
            };
            nftables::port_elements(port, base).into_iter().map(add).collect()
        }
        Kind::IptablesNft | Kind::IptablesLegacy => iptables::rules_of(port, base)
            .map(|(table, rule)| format!("iptables -t {table} {} {rule}", table.adding_port()))
            .collect(),
        Kind::None => Vec::new(),
    }
}

/// The program that puts `all` in place where `kind` keeps the rules, and its input. It takes for granted that nothing
/// of ours is there.
pub fn load(kind: Kind, all: &Needs) -> Option<(&'static str, String)> {
    match kind {
        Kind::Nftables => Some(("nft -f -", nftables::ruleset(all, &nftables::Held::default()))),
        Kind::IptablesNft | Kind::IptablesLegacy => {
            Some(("iptables-restore --noflush", iptables::load(all, &iptables::Held::default())))
        }
        Kind::None => None,
    }
}
