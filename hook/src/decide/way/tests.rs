//! What is said of the host of `world.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::Elsewhere;
use super::Verdict::{Arrives, Dropped, NoWay, OthersDecide};
use super::world::World;
use crate::firewall::{Base, Kind, Needs, nftables};
use crate::model::{Families, Family};

#[test]
fn containers_reach_their_network_and_what_is_outside() {
    World::default().says(&[
        ("web", "db 5432", Arrives, Some("db"), "no rule: both are on one network"),
        ("web", "db", Arrives, Some("db"), "10.64.1.2 sends to 10.64.1.3 by eth0 on network own, directly"),
        ("web", "plain 80", Dropped, None, "oifname @bridges drop"),
        ("web", "lan 443", Arrives, Some("lan"), "the sender's address becomes the host's"),
        ("web", "192.0.2.9 443", Arrives, Some("lan"), "by its default route via 10.64.1.1"),
        ("open", "lan", Arrives, Some("lan"), "the sender's address stays"),
        ("one", "two 80", Dropped, None, "icc = false"),
        ("web", "open 80", Arrives, Some("open"), "@routed accept"),
        ("web", "open 81", Dropped, None, "oifname @bridges drop"),
        ("web", "alone 80", NoWay, None, "no address that it could reach"),
        ("alone", "web 80", NoWay, None, "loopback alone"),
        ("web", "127.0.0.1 80", Arrives, Some("web"), "its own loopback, and not the host's"),
        ("alone", "::1 80", Arrives, Some("alone"), "its own loopback"),
        ("own", "127.0.0.1 80", Arrives, Some("own"), "its own loopback"),
        ("hosts", "127.0.0.1 8080", Arrives, Some("web"), "what it sends is the host's"),
        ("web", "web 80", Arrives, Some("web"), "its own address"),
        ("web", "10.64.1.99 80", NoWay, None, "no container has the address 10.64.1.99"),
        ("10.64.1.99", "web 80", NoWay, None, "no container has the address 10.64.1.99"),
        ("web", "169.254.53.53 53", Arrives, Some("name server"), "has a route to 169.254.53.53"),
        ("own", "db 80", Arrives, Some("db"), "container of network own: its address sends to 10.64.1.3"),
        ("own", "own 80", Arrives, Some("own"), "its address sends to a container of network own"),
        ("apart", "apart 80", Dropped, None, "icc = false"),
        ("lan", "own 80", Dropped, None, "another machine sends to a container of network own"),
        ("host", "own 80", Arrives, Some("own"), "the host sends to a container of network own"),
        ("apart", "one", Dropped, None, "icc = false"),
        ("own", "10.64.1.254 80", NoWay, None, "no container has the address 10.64.1.254"),
        ("plain", "169.254.53.53 53", NoWay, None, "from networks with names alone"),
        ("host", "169.254.53.53 53", NoWay, None, "from networks with names alone"),
        ("seen", "192.0.2.9 443", Arrives, Some("lan"), "becomes 198.51.100.9 on"),
        ("seen", "2001:db8::9 443", Arrives, Some("lan"), "becomes the host's on"),
        ("bridge", "own 80", Dropped, None, "oifname @bridges drop"),
        ("router", "lan", Arrives, Some("lan"), "no filter (guard=off)"),
        ("web", "lan", Arrives, Some("lan"), "the filter at its link"),
        ("caller", "172.20.0.1 80", OthersDecide, Some("lan"), "10.64.7.2 is the next hop"),
        ("pod", "lan 443", OthersDecide, Some("lan"), "of another program"),
    ]);
}

#[test]
fn an_internal_network_is_closed() {
    World::default().says(&[
        ("closed", "vault 80", Arrives, Some("vault"), "no rule: both are on one network"),
        ("closed", "lan 443", NoWay, None, "no route of IPv4"),
        ("closed", "web 80", NoWay, None, "no route of IPv4"),
        ("web", "closed 80", Dropped, None, "nothing leads into an internal network"),
        ("joined", "closed 80", Arrives, Some("closed"), "by eth1 on network inside, directly"),
        ("joined", "web 80", Arrives, Some("web"), "by eth0 on network own, directly"),
        ("closed", "10.64.2.1 22", Arrives, Some("host"), "a process of the host"),
        ("closed", "joined 80", Arrives, Some("joined"), "10.64.2.4"),
        ("any-inside", "vault 80", Arrives, Some("vault"), "no rule: both are"),
        ("lan", "closed 80", Dropped, None, "guard:"),
        ("host", "closed 80", Arrives, Some("closed"), "the host reaches its containers"),
    ]);
}

/// An address that is asked for is the one that the packet goes to, and none on a common network.
#[test]
fn the_asked_address_is_kept() {
    World::default().says(&[
        ("joined", "10.64.2.2 80", Arrives, Some("closed"), "sends to 10.64.2.2"),
        ("web", "10.64.2.4 80", Dropped, None, "sends to 10.64.2.4"),
        ("web", "joined 80", Arrives, Some("joined"), "sends to 10.64.1.4"),
        ("web", "fd00:1::3 80", Arrives, Some("db"), "fd00:1::2 sends to fd00:1::3"),
        (
            "host",
            "10.64.2.4 80",
            Arrives,
            Some("joined"),
            "the host sends to 10.64.2.4 by the bridge of network inside",
        ),
        ("web", "10.64.1.1 22", Arrives, Some("host"), "sends to 10.64.1.1"),
        ("web", "198.51.100.1 22", Arrives, Some("host"), "sends to 198.51.100.1"),
    ]);
}

/// So is the sender's.
#[test]
fn the_asked_sender_is_kept() {
    World::default().says(&[
        ("fd00:1::2", "db 80", Arrives, Some("db"), "fd00:1::2 sends to fd00:1::3"),
        ("fd00:1::2", "10.64.1.3 80", NoWay, None, "fd00:1::2 is of IPv6, and 10.64.1.3 of IPv4"),
        ("fd00:1::2", "plain 80", NoWay, None, "fd00:1::2 is of IPv6, and 10.90.0.2 of IPv4"),
        ("10.64.2.4", "closed 80", Arrives, Some("closed"), "10.64.2.4 sends to 10.64.2.2 by eth1"),
        ("10.64.2.4", "plain 80", Dropped, None, "10.64.2.4 is not its address on network own"),
        ("2001:db8::9", "host 8080", Arrives, Some("web"), "leads to [fd00:1::2]:80"),
        ("192.0.2.9", "host 8080", Arrives, Some("web"), "leads to 10.64.1.2:80"),
        ("192.0.2.9", "host 8010", OthersDecide, Some("host"), "published on addresses of IPv6 alone, by six"),
        ("192.0.2.9", "fd00:1::2 80", NoWay, None, "192.0.2.9 is of IPv4"),
        ("192.0.2.9", "six 80", NoWay, None, "container six has no address of IPv4"),
        ("2001:db8::9", "web 80", Dropped, None, "sends to fd00:1::2"),
        ("::1", "host 8010", Arrives, Some("six"), "leads to [fd00:6::2]:80 of six"),
    ]);
}

/// Where no address of the host is asked for, that is said of which the answer is, and where it is another.
#[test]
fn the_address_of_the_host_is_said() {
    let rows: [(&str, &str, &str, &[&str]); 10] = [
        ("lan", "host 8080", "the host at 198.51.100.1", &[]),
        ("lan", "host 8010", "the host at 2001:db8::1", &["198.51.100.1 OthersDecide"]),
        ("lan", "host 5432", "the host at 198.51.100.1", &[]),
        ("lan", "hosts 8080", "container hosts at 198.51.100.1", &[]),
        ("host", "host 5432", "the host at 127.0.0.1", &["::1 198.51.100.1 2001:db8::1 OthersDecide"]),
        ("plain", "host 8080", "the host at 10.90.0.1", &[]),
        ("closed", "host 22", "the host at 10.64.2.1", &["198.51.100.1 NoWay"]),
        ("2001:db8::9", "host 22", "the host at 2001:db8::1", &[]),
        ("alone", "host 22", "the host", &[]),
        ("web", "127.0.0.1 80", "container web at 127.0.0.1", &[]),
    ];
    for (from, to, name, elsewhere) in rows {
        let said = World::default().answer(from, to, |answer| {
            let one = |one: &Elsewhere| {
                let addresses: Vec<String> = one.addresses.iter().map(ToString::to_string).collect();
                format!("{} {:?}", addresses.join(" "), one.way.verdict)
            };
            (answer.to.name(), answer.elsewhere.iter().map(one).collect::<Vec<_>>())
        });
        assert_eq!(
            (said.0.as_str(), said.1),
            (name, elsewhere.iter().map(ToString::to_string).collect()),
            "{from} to {to}"
        );
    }
}

/// What stands for ::1 is for the host alone, and nothing but nftables keeps it so.
#[test]
fn stand_ins_of_the_loopback_are_no_addresses_of_the_host() {
    let world = World::default();
    let stand_in = world.networks[6].stand_ins().next().unwrap();
    let to = format!("{stand_in} 8010");
    world.says(&[
        ("six", &to, Dropped, None, "guard: ip6 daddr @stand_ins6"),
        ("lan", &to, Dropped, None, "loopback_in: drop"),
        ("host", &to, Dropped, None, "loopback_in: drop"),
    ]);
    World { keeper: Kind::IptablesNft, ..world }.says(&[("lan", &to, Arrives, Some("six"), "ct status dnat")]);
}

#[test]
fn trusted_links_reach_published_ports_at_the_address() {
    let by = "by the trusted link wg0";
    World::default().says(&[
        ("lan", "friend 80", OthersDecide, Some("friend"), by),
        ("lan", "friend 81", Dropped, None, "but published ports by the trusted link wg0"),
        ("lan", "friend", Dropped, None, "guard:"),
        ("lan", "10.64.8.1 8019", OthersDecide, Some("friend"), by),
        ("lan", "10.64.8.1 22", OthersDecide, Some("host"), by),
        ("lan", "host 8019", Arrives, Some("friend"), "ct status dnat"),
        ("web", "friend 80", Dropped, None, "@bridges drop"),
    ]);
    let mut closed = World::default();
    closed.networks[8].options.internal = true;
    closed.says(&[("lan", "friend 80", Dropped, None, "guard:")]);
    World { keeper: Kind::None, ..World::default() }.says(&[(
        "lan",
        "friend 80",
        OthersDecide,
        Some("friend"),
        "none",
    )]);
}

/// Where we switched forwarding on, it is for containers alone.
#[test]
fn nothing_passes_between_others_where_the_host_is_closed() {
    let world = World { closes: Families::default().with(Family::V4), ..World::default() };
    world.says(&[
        ("lan", "lan 80", Dropped, None, "forward: meta nfproto @closed drop"),
        ("lan", "192.0.2.1", Dropped, None, "forward: meta nfproto @closed drop"),
        ("lan", "2001:db8::9", OthersDecide, Some("lan"), "the host's own rules decide"),
        ("web", "lan 443", Arrives, Some("lan"), "@bridges accept"),
    ]);
    World { keeper: Kind::None, ..world }.says(&[("lan", "lan", OthersDecide, Some("lan"), "own rules")]);
}

#[test]
fn published_ports_lead_to_their_container() {
    World::default().says(&[
        ("lan", "host 8080", Arrives, Some("web"), "leads to 10.64.1.2:80 of web"),
        ("lan", "198.51.100.1 8080", Arrives, Some("web"), "ct status dnat"),
        ("lan", "host 9090", Arrives, Some("host"), "a process of the host, and ocinet does not look whether one"),
        ("lan", "host", Arrives, Some("host"), "it is for the host itself"),
        (
            "lan",
            "host 5300",
            OthersDecide,
            Some("host"),
            "5300/udp is published on addresses of IPv4 and on addresses of IPv6 alone",
        ),
        ("lan", "web 80", Dropped, None, "guard:"),
        ("lan", "open 80", Arrives, Some("open"), "@routed accept"),
        ("lan", "open 81", Dropped, None, "@bridges drop"),
        (
            "lan",
            "host 80",
            OthersDecide,
            Some("host"),
            "80/tcp is published at its own address 10.64.4.2 (the network is routed) alone, by open",
        ),
        ("lan", "host 5432", OthersDecide, Some("host"), "5432/tcp is published on 127.0.0.1 alone, by db"),
        ("lan", "10.64.1.1 8080", Dropped, None, "guard:"),
        ("host", "host 8080", Arrives, Some("web"), "output: jump publish"),
        ("host", "127.0.0.1 8080", Arrives, Some("web"), "output: jump publish"),
        ("host", "127.0.0.53 8080", OthersDecide, Some("host"), "of 127.0.0.0/8 on 127.0.0.1 and"),
        ("host", "127.0.0.1 5432", Arrives, Some("db"), "output: jump publish"),
        ("host", "host 5432", Arrives, Some("db"), "output: jump publish"),
        ("hosts", "host 8080", Arrives, Some("web"), "what it sends is the host's"),
        ("lan", "hosts 8080", Arrives, Some("web"), "leads to 10.64.1.2:80"),
        ("db", "host 8080", Arrives, Some("web"), "the sender's address becomes the host's"),
        ("web", "198.51.100.1 8080", Arrives, Some("web"), "the sender's address becomes the host's"),
        ("plain", "198.51.100.1 8080", Arrives, Some("web"), "ct status dnat"),
        ("two", "198.51.100.1 8086", Arrives, Some("one"), "ct status dnat"),
        ("one", "198.51.100.1 8086", Arrives, Some("one"), "ct status dnat"),
        ("closed", "10.64.2.1 8080", Dropped, None, "nothing leads out of an internal network"),
        ("lan", "host 8084", OthersDecide, Some("host"), "8084/tcp is kept for closed, and leads nowhere (dormant)"),
        ("lan", "127.0.0.1 8080", NoWay, None, "loopback"),
        ("lan", "192.0.2.1", OthersDecide, Some("lan"), "the host's own rules decide"),
        ("host", "lan 443", Arrives, Some("lan"), "the host's own"),
        ("lan", "10.64.1.99 80", Dropped, None, "guard:"),
        ("lan", "bare 80", Dropped, None, "@bridges drop"),
        ("web", "198.51.100.1 8005", Arrives, Some("bare"), "ct status dnat"),
        ("bare", "198.51.100.1 8080", Arrives, Some("web"), "ct status dnat"),
        ("bare", "198.51.100.1 8005", NoWay, None, "the answer does not come back"),
        ("second", "198.51.100.1 8005", NoWay, None, "the answer does not come back"),
    ]);
    let hooks = World { frames_to_ip_hooks: Families::default().with(Family::V4), ..World::default() };
    hooks.says(&[
        ("web", "db 5432", Arrives, Some("db"), "forward: iifname . oifname @intra accept; both are on one network"),
        ("web", "fd00:1::3 80", Arrives, Some("db"), "no rule: both are on one network"),
        ("two", "198.51.100.1 8086", Arrives, Some("one"), "ct status dnat"),
        ("keeper", "198.51.100.1 8086", Dropped, None, "bridge-nf-call-iptables"),
        ("one", "198.51.100.1 8086", Arrives, Some("one"), "ct status dnat"),
        ("second", "198.51.100.1 8005", Arrives, Some("bare"), "ct status dnat"),
    ]);
    let asks = World { asks_host: true, ..World::default() };
    asks.says(&[
        ("lan", "host 8080", OthersDecide, Some("web"), "the host's input rules are asked first"),
        ("host", "host 8080", Arrives, Some("web"), "output: jump publish"),
    ]);
}

#[test]
fn ipv6_has_ways_of_its_own() {
    World::default().says(&[
        ("six", "lan 443", Arrives, Some("lan"), "fd00:6::2 sends to another machine by eth0 on network six"),
        ("six", "web 80", Dropped, None, "fd00:6::2 sends to fd00:1::2"),
        ("six", "plain 80", NoWay, None, "no route of IPv4 to 10.90.0.2"),
        ("plain", "six 80", NoWay, None, "no route of IPv6 to fd00:6::2"),
        ("lan", "fd00:6::2 80", Dropped, None, "guard:"),
        ("lan", "host 8010", Arrives, Some("six"), "leads to [fd00:6::2]:80 of six"),
        ("lan", "198.51.100.1 8010", OthersDecide, Some("host"), "published on addresses of IPv6 alone, by six"),
        ("host", "::1 8010", Arrives, Some("six"), "leads to [fd00:6::2]:80 of six"),
        ("host", "::1 5432", OthersDecide, Some("host"), "5432/tcp is published on 127.0.0.1 alone, by db"),
        ("six", "fd00:6::1 8010", Arrives, Some("six"), "the sender's address becomes the host's"),
    ]);
}

/// What leads ::1 of the host to containers is built of nftables alone.
#[test]
fn iptables_does_not_lead_the_loopback_of_ipv6() {
    World { keeper: Kind::IptablesNft, ..World::default() }.says(&[
        ("host", "::1 8010", OthersDecide, Some("host"), "addresses of IPv6 (on ::1 with nftables)"),
        ("host", "127.0.0.1 8080", Arrives, Some("web"), "output: jump publish"),
        ("lan", "host 8010", Arrives, Some("six"), "leads to [fd00:6::2]:80 of six"),
    ]);
}

#[test]
fn without_rules_the_operator_decides() {
    World { keeper: Kind::None, ..World::default() }.says(&[
        ("web", "db 80", Arrives, Some("db"), "no rule: both are on one network"),
        ("one", "two 80", Dropped, None, "isolated"),
        ("web", "plain 80", OthersDecide, Some("plain"), "firewall = \"none\""),
        ("web", "lan 443", OthersDecide, Some("lan"), "firewall = \"none\""),
        ("lan", "web 80", OthersDecide, Some("web"), "firewall = \"none\""),
        ("lan", "host 8080", OthersDecide, Some("host"), "kept for web, and leads nowhere: config.toml has firewall"),
        ("host", "web 80", Arrives, Some("web"), "the host reaches its containers"),
    ]);
}

/// The rules of nftables, by their chains.
fn chains() -> BTreeMap<String, Vec<String>> {
    let base = Base { has_internal: true, has_addressed: true, has_ipv6: true, ..Base::default() };
    let text = nftables::ruleset(&Needs { base, ..Needs::default() }, &nftables::Held::default());
    let (mut chains, mut chain) = (BTreeMap::<String, Vec<String>>::new(), String::new());
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("chain ") {
            chain = name.trim_end_matches(" {").to_owned();
        }
        chains.entry(chain.clone()).or_default().push(line.to_owned());
    }
    chains
}

/// Whether `rule` has the words of `said`, in their order. A set is said without its family.
fn has_words(rule: &str, said: &str) -> bool {
    let mut words = rule.split(' ');
    said.split(' ').all(|one| words.any(|word| word == one || one.starts_with('@') && word.starts_with(one)))
}

/// Every rule that a way names is one of nftables.
#[test]
fn the_rules_that_are_named_are_there() {
    let chains = chains();
    let both = Families::default().with(Family::V4).with(Family::V6);
    let world = World { frames_to_ip_hooks: both, closes: both, ..World::default() };
    let stand_in = format!("{} 8010", world.networks[6].stand_ins().next().unwrap());
    let mut named = BTreeSet::new();
    let addresses = ["198.51.100.1 8080", "198.51.100.1 8084", "10.64.2.1 22", "127.0.0.1 8080", "192.0.2.1 80"];
    let ports = ["web 80", "closed 80", "two 80", "open 80", "plain 80", "friend 80", &stand_in];
    for from in ["web", "closed", "joined", "one", "open", "six", "host", "lan", "any-inside"] {
        for to in addresses.iter().chain(&ports) {
            named.insert(world.way(from, to).rule);
        }
    }
    let mut known = 0;
    for (chain, rest) in named.iter().filter_map(|rule| rule.split_once(": ")) {
        let Some(rules) = chains.get(chain) else { continue };
        let said = rest.split(';').next().unwrap_or_default();
        assert!(rules.iter().any(|rule| has_words(rule, said)), "{chain}: {said} is not in {rules:#?}");
        known += 1;
    }
    assert!(known > 10, "{named:#?}");
}
