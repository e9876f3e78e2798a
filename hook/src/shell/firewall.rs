//! The rules of the firewall as commands.

use std::net::IpAddr;

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

/// No published port there any more.
pub fn no_port(kind: Kind, port: &Publish, base: &Base) -> Vec<String> {
    match kind {
        Kind::Nftables => {
            let delete = |element: nftables::Element| {
                let braces = format!("{{ {} }}", element.key_text());
                format!("nft delete element {} {}", element.set.place(), word(&braces))
            };
            nftables::port_elements(port, base).into_iter().map(delete).collect()
        }
        Kind::IptablesNft | Kind::IptablesLegacy => {
            iptables::rules_of(port, base).map(|(table, rule)| format!("iptables -t {table} -D {rule}")).collect()
        }
        Kind::None => Vec::new(),
    }
}

/// The connections that were led to `target` are forgotten; none there is no error.
pub fn no_flows(target: IpAddr) -> String {
    format!("conntrack -D --reply-src {target} || true")
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
