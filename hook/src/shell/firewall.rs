//! The rules of the firewall as commands.

use std::net::IpAddr;

use super::{fed, word};
use crate::firewall::{Base, Kind, Needs, Publish, iptables, nftables};
use crate::model::Family;

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
            .map(|(table, rule)| format!("{} -t {table} {} {rule}", program(port), table.adding_port()))
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
            let delete = |(table, rule)| format!("{} -t {table} -D {rule}", program(port));
            iptables::rules_of(port, base).map(delete).collect()
        }
        Kind::None => Vec::new(),
    }
}

/// The connections that were led to `target` are forgotten; none there is no error.
pub fn no_flows(target: IpAddr) -> String {
    format!("conntrack -D --reply-src {target} || true")
}

/// The commands that put `all` in place where `kind` keeps the rules. They take for granted that nothing of ours is
/// there but the operator's chain.
pub fn load(kind: Kind, all: &Needs) -> Vec<String> {
    match kind {
        Kind::Nftables => vec![fed("nft -f -", &nftables::ruleset(all, &nftables::Held::default()))],
        Kind::IptablesNft | Kind::IptablesLegacy => {
            let operator = iptables::OPERATOR;
            let of = |family: &Family| {
                let program = iptables_of(*family);
                let restore = format!("{program}-restore --noflush");
                [
                    format!("{program} -S {operator} >/dev/null 2>&1 || {program} -N {operator}"),
                    fed(&restore, &iptables::load(*family, all, &iptables::Held::default())),
                ]
            };
            all.base.families().iter().flat_map(of).collect()
        }
        Kind::None => Vec::new(),
    }
}

/// The program that changes rules of `port`.
fn program(port: &Publish) -> &'static str {
    iptables_of(Family::of(port.target.ip()))
}

fn iptables_of(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}
