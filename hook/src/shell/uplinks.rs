//! Commands that keep answers on the uplink by which they were asked.

use super::word;
use crate::decide::uplinks::{PolicyRule, WayOut, answers_may_stray};
use crate::firewall::Kind;
use crate::model::InterfaceName;

/// Commands that keep the answers of published ports on the uplink by which they were asked, where rules choose between
/// several and no marks do that yet. A rule for the host's address does not: the answer has the container's as its
/// source until it is on its way. So a connection remembers by a mark where it came in, and an answer has that when it
/// is routed. The mark is the table's number.
pub fn keep_uplinks(ways: &[WayOut], rules: &[PolicyRule], kind: Kind, bridges: &[InterfaceName]) -> Vec<String> {
    if !answers_may_stray(ways, rules) {
        return Vec::new();
    }
    let mut commands: Vec<String> = match kind {
        Kind::Nftables => vec![nft(ways, bridges)],
        Kind::IptablesNft | Kind::IptablesLegacy => iptables(ways, bridges),
        Kind::None => return Vec::new(),
    };
    let mut tables: Vec<u32> = ways.iter().map(|way| way.table).collect();
    tables.sort_unstable();
    tables.dedup();
    commands.extend(tables.iter().map(|table| format!("ip rule add fwmark {table} lookup {table} priority 100")));
    commands
}

/// In a table of the operator's: an answer has to be marked before it is routed, which the chain `operator` is too late
/// for.
fn nft(ways: &[WayOut], bridges: &[InterfaceName]) -> String {
    let mut text = "add table ip uplinks; \
        add chain ip uplinks keep { type filter hook prerouting priority mangle; }"
        .to_owned();
    for WayOut { link, table } in ways {
        text += &format!("; add rule ip uplinks keep iifname \"{link}\" ct state new ct mark set {table}");
    }
    for bridge in bridges {
        text += &format!("; add rule ip uplinks keep iifname \"{bridge}\" ct mark != 0 meta mark set ct mark");
    }
    format!("nft {}", word(&text))
}

fn iptables(ways: &[WayOut], bridges: &[InterfaceName]) -> Vec<String> {
    let add = |link: &InterfaceName, rest: &str| {
        format!("iptables -t mangle -A PREROUTING -i {} -m {rest}", word(link.as_str()))
    };
    let mark = |way: &WayOut| add(&way.link, &format!("conntrack --ctstate NEW -j CONNMARK --set-mark {}", way.table));
    let restore = |bridge| add(bridge, "connmark ! --mark 0 -j CONNMARK --restore-mark");
    ways.iter().map(mark).chain(bridges.iter().map(restore)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(link: &str, table: u32) -> WayOut {
        WayOut { link: link.parse().unwrap(), table }
    }

    fn rule(priority: u32, table: u32, mark: Option<u32>) -> PolicyRule {
        PolicyRule { priority, table, mark }
    }

    #[test]
    fn several_uplinks_with_rules_are_kept_apart() {
        let standard = [rule(0, 255, None), rule(32_766, 254, None), rule(32_767, 253, None)];
        let chosen = [&standard[..], &[rule(1000, 100, None)]].concat();
        let marked = [&chosen[..], &[rule(100, 100, Some(100)), rule(100, 254, Some(254))]].concat();
        let bridges = ["ocinet0".parse().unwrap()];
        let (one, two) = (vec![way("wan", 254)], vec![way("wan", 254), way("wan2", 100)]);
        let of = |ways: &[WayOut], rules: &[PolicyRule]| keep_uplinks(ways, rules, Kind::Nftables, &bridges);
        assert!(of(&[], &chosen).is_empty() && of(&one, &chosen).is_empty(), "there is nothing to choose from");
        assert!(of(&two, &standard).is_empty(), "the second is for when the first is gone");
        assert!(of(&two, &marked).is_empty(), "it was done");
        assert_eq!(
            of(&two, &chosen),
            [
                "nft 'add table ip uplinks; add chain ip uplinks keep { type filter hook prerouting priority mangle; }; \
                 add rule ip uplinks keep iifname \"wan\" ct state new ct mark set 254; \
                 add rule ip uplinks keep iifname \"wan2\" ct state new ct mark set 100; \
                 add rule ip uplinks keep iifname \"ocinet0\" ct mark != 0 meta mark set ct mark'",
                "ip rule add fwmark 100 lookup 100 priority 100",
                "ip rule add fwmark 254 lookup 254 priority 100",
            ]
        );
    }
}
