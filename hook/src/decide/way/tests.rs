//! A host with one container of each kind on one network of each kind. What is said of it here is compared with real
//! packets in `integration/tests/suite/explain.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};

use super::*;
use crate::firewall::{Base, Kind, Needs, nftables};
use crate::model::Mode;

/// The host's address in the LAN.
const UPLINK: &str = "198.51.100.1";

fn network(name: &str, ranges: &[(&str, &str)], options: Value) -> Network {
    let subnets: Vec<Value> =
        ranges.iter().map(|(range, gateway)| json!({ "range": range, "gateway": gateway })).collect();
    let mut network = json!({
        "name": name, "driver": "bridge", "bridge": format!("ocn-{name}"), "subnets": subnets, "mtu": 1500,
    });
    network.as_object_mut().unwrap().extend(options.as_object().cloned().unwrap());
    serde_json::from_value(network).unwrap()
}

fn networks() -> Vec<Network> {
    vec![
        network("bridge", &[("10.90.0.0/16", "10.90.0.1")], json!({})),
        network("own", &[("10.64.1.0/24", "10.64.1.1"), ("fd00:1::/64", "fd00:1::1")], json!({})),
        network("inside", &[("10.64.2.0/24", "10.64.2.1")], json!({"internal": true})),
        network("apart", &[("10.64.3.0/24", "10.64.3.1")], json!({"icc": false})),
        network("routed", &[("10.64.4.0/24", "10.64.4.1")], json!({"mode": "routed"})),
        network("bare", &[("10.64.5.0/24", "10.64.5.1")], json!({"masquerade": "off"})),
        network("six", &[("fd00:6::/64", "fd00:6::1")], json!({})),
        network(
            "vpn",
            &[("10.64.7.0/24", "10.64.7.1")],
            json!({"static_routes": [{"to": "172.20.0.0/16", "via": "10.64.7.2"}]}),
        ),
    ]
}

/// A connection to a network: its name, addresses with `;` between them, and the gateways of its default routes.
type Connection<'c> = (&'c str, &'c str, &'c [&'c str]);

fn sandbox(number: i64, name: &str, connections: &[Connection<'_>], publish: Value) -> Sandbox {
    let endpoint = |(nth, (network, addresses, gateways)): (usize, &Connection<'_>)| {
        let prefix = |address: &str| if address.contains(':') { 64 } else { 24 };
        let nets: Vec<_> = addresses.split(';').map(|address| format!("{address}/{}", prefix(address))).collect();
        let publishing = match *network {
            "routed" => "routed",
            "inside" => "off",
            _ => "direct",
        };
        json!({
            "endpoint": number * 10, "state": "attached", "network": network, "driver": "bridge", "bridge": "b",
            "host_interface": format!("ocv{number}{nth}"), "interface": format!("eth{nth}"), "mac": "02:00:00:00:00:01",
            "mtu": 1500, "addresses": nets, "gateways": gateways, "publishing": publishing,
            "name_server": if *network == "own" { Some("169.254.53.53") } else { None },
        })
    };
    let endpoints: Vec<Value> = connections.iter().enumerate().map(endpoint).collect();
    let sandbox = json!({
        "record": number, "container": format!("{name}-0123"), "bundle": "/b", "name": name, "state": "attached",
        "mode": "bridge", "endpoints": endpoints, "publish": publish,
        "namespace": {"cookie": number, "witness": {"path": "/n"}, "seen_from_pid_ns": 1, "seen_from_mnt_ns": 1},
    });
    serde_json::from_value(sandbox).unwrap()
}

fn port(address: Option<&str>, host: u16, container: u16) -> Value {
    json!({"protocol": "tcp", "host_address": address, "host_port": host, "container_port": container})
}

fn sandboxes() -> Vec<Sandbox> {
    let both: &[&str] = &["10.64.1.1", "fd00:1::1"];
    let of = |mode, number, name| Sandbox { mode, ..sandbox(number, name, &[], json!([])) };
    let mut router = sandbox(13, "router", &[("vpn", "10.64.7.2", &["10.64.7.1"])], json!([]));
    router.endpoints[0].unguarded = true;
    let mut pod = sandbox(14, "pod", &[("own", "10.64.1.5", &[])], json!([]));
    pod.leads_elsewhere = true;
    let mut keeper = sandbox(18, "keeper", &[("apart", "10.64.3.4", &["10.64.3.1"])], json!([]));
    keeper.endpoints[0].unguarded = true;
    vec![
        sandbox(1, "web", &[("own", "10.64.1.2;fd00:1::2", both)], json!([port(None, 8080, 80)])),
        sandbox(2, "db", &[("own", "10.64.1.3;fd00:1::3", both)], json!([port(Some("127.0.0.1"), 5432, 5432)])),
        sandbox(3, "plain", &[("bridge", "10.90.0.2", &["10.90.0.1"])], json!([])),
        sandbox(4, "closed", &[("inside", "10.64.2.2", &[])], json!([port(None, 8084, 80)])),
        sandbox(5, "vault", &[("inside", "10.64.2.3", &[])], json!([])),
        sandbox(6, "one", &[("apart", "10.64.3.2", &["10.64.3.1"])], json!([port(None, 8086, 80)])),
        sandbox(7, "two", &[("apart", "10.64.3.3", &["10.64.3.1"])], json!([])),
        sandbox(8, "open", &[("routed", "10.64.4.2", &["10.64.4.1"])], json!([port(None, 80, 80)])),
        sandbox(9, "joined", &[("own", "10.64.1.4", &["10.64.1.1"]), ("inside", "10.64.2.4", &[])], json!([])),
        sandbox(10, "six", &[("six", "fd00:6::2", &["fd00:6::1"])], json!([port(None, 8010, 80)])),
        sandbox(16, "bare", &[("bare", "10.64.5.2", &["10.64.5.1"])], json!([port(None, 8005, 80)])),
        sandbox(17, "second", &[("bare", "10.64.5.3", &["10.64.5.1"])], json!([])),
        of(Mode::Host, 11, "hosts"),
        of(Mode::None, 12, "alone"),
        router,
        pod,
        keeper,
        sandbox(15, "caller", &[("vpn", "10.64.7.3", &["10.64.7.1"])], json!([])),
    ]
}

/// A host with these containers.
struct World {
    networks: Vec<Network>,
    sandboxes: Vec<Sandbox>,
    frames_to_ip_hooks: Families,
    asks_host: bool,
    keeper: Kind,
}

impl Default for World {
    fn default() -> Self {
        let (networks, sandboxes) = (networks(), sandboxes());
        let frames_to_ip_hooks = Families::default();
        Self { networks, sandboxes, frames_to_ip_hooks, asks_host: false, keeper: Kind::Nftables }
    }
}

fn party<'s>(text: &str, scene: &Scene<'s>) -> Party<'s> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Party::at(address, scene);
    }
    let container = scene.sandboxes.iter().find(|sandbox| sandbox.name.as_str() == text).map(Who::Container);
    let network = || scene.networks.iter().find(|network| network.name.as_str() == text).map(Who::Network);
    Party::any(match text {
        "host" => Who::Host,
        "lan" => Who::Lan,
        "any-inside" => Who::Network(&scene.networks[2]),
        _ => container.or_else(network).unwrap(),
    })
}

impl World {
    /// The way from `from` to `to`, a port of TCP behind a blank where there is one.
    fn way(&self, from: &str, to: &str) -> Way {
        let is_host = |address: IpAddr| {
            let is_gateway = |network: &Network| network.host_addresses().any(|own| own.addr() == address);
            address.is_loopback() || address.to_string() == UPLINK || self.networks.iter().any(is_gateway)
        };
        let scene = Scene {
            networks: &self.networks,
            sandboxes: &self.sandboxes,
            is_host: &is_host,
            frames_to_ip_hooks: self.frames_to_ip_hooks,
            asks_host: self.asks_host,
            keeper: self.keeper,
        };
        let (to, port) = to.split_once(' ').map_or((to, None), |(to, port)| (to, Some(port.parse().unwrap())));
        let target = Target { party: party(to, &scene), port, protocol: Protocol::Tcp };
        way(&scene, &party(from, &scene), &target)
    }

    /// Every row is a way, its verdict, who gets it, and words of what is said.
    fn says(&self, rows: &[(&str, &str, Verdict, Option<&str>, &str)]) {
        for (from, to, verdict, receiver, words) in rows {
            let way = self.way(from, to);
            assert_eq!((way.verdict, way.receiver.as_deref()), (*verdict, *receiver), "{from} to {to}: {way:#?}");
            let said = way.hops.join("\n") + "\n" + &way.rule;
            assert!(said.contains(words), "{from} to {to}: {way:#?}");
        }
    }
}

use Verdict::{Arrives, Dropped, NoWay, OthersDecide};

#[test]
fn containers_reach_their_network_and_what_is_outside() {
    World::default().says(&[
        ("web", "db 5432", Arrives, Some("db"), "@intra accept; both are on one network"),
        ("web", "db", Arrives, Some("db"), "10.64.1.2 sends to 10.64.1.3 by eth0 on network own, directly"),
        ("web", "plain 80", Dropped, None, "oifname @bridges drop"),
        ("web", "lan 443", Arrives, Some("lan"), "the sender becomes that of the host"),
        ("web", "192.0.2.9 443", Arrives, Some("lan"), "by its default route via 10.64.1.1"),
        ("open", "lan", Arrives, Some("lan"), "the sender stays"),
        ("one", "two 80", Dropped, None, "icc = false"),
        ("web", "open 80", Arrives, Some("open"), "@routed accept"),
        ("web", "open 81", Dropped, None, "oifname @bridges drop"),
        ("web", "alone 80", NoWay, None, "no address that it could reach"),
        ("alone", "web 80", NoWay, None, "loopback alone"),
        ("web", "127.0.0.1 80", NoWay, None, "its own loopback"),
        ("web", "web 80", Arrives, Some("web"), "its own address"),
        ("web", "10.64.1.99 80", NoWay, None, "no container has the address 10.64.1.99"),
        ("10.64.1.99", "web 80", NoWay, None, "no container has the address 10.64.1.99"),
        ("web", "169.254.53.53 53", Arrives, Some("name server"), "has a route to 169.254.53.53"),
        ("own", "db 80", Arrives, Some("db"), "container of network own"),
        ("bridge", "own 80", Dropped, None, "oifname @bridges drop"),
        ("router", "lan", Arrives, Some("lan"), "no guard (guard=off)"),
        ("web", "lan", Arrives, Some("lan"), "the guard at its link"),
        ("caller", "172.20.0.1 80", OthersDecide, Some("another machine at 172.20.0.1"), "10.64.7.2 is the next hop"),
        ("pod", "lan 443", OthersDecide, Some("another machine"), "of another program"),
    ]);
}

#[test]
fn an_internal_network_is_closed() {
    World::default().says(&[
        ("closed", "vault 80", Arrives, Some("vault"), "@intra accept"),
        ("closed", "lan 443", NoWay, None, "no route of IPv4"),
        ("closed", "web 80", NoWay, None, "no route of IPv4"),
        ("web", "closed 80", Dropped, None, "nothing leads into an internal network"),
        ("joined", "closed 80", Arrives, Some("closed"), "by eth1 on network inside, directly"),
        ("joined", "web 80", Arrives, Some("web"), "by eth0 on network own, directly"),
        ("closed", "10.64.2.1 22", Arrives, Some("host"), "a process of the host"),
        ("closed", "joined 80", Arrives, Some("joined"), "10.64.2.4"),
        ("any-inside", "vault 80", Arrives, Some("vault"), "@intra"),
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

#[test]
fn published_ports_lead_to_their_container() {
    World::default().says(&[
        ("lan", "host 8080", Arrives, Some("web"), "leads to 10.64.1.2:80 of web"),
        ("lan", "198.51.100.1 8080", Arrives, Some("web"), "ct status dnat"),
        ("lan", "host 9090", Arrives, Some("host"), "a process of the host"),
        ("lan", "web 80", Dropped, None, "guard:"),
        ("lan", "open 80", Arrives, Some("open"), "@routed accept"),
        ("lan", "open 81", Dropped, None, "@bridges drop"),
        ("lan", "host 80", Arrives, Some("host"), "a process of the host"),
        ("lan", "host 5432", Arrives, Some("host"), "a process of the host"),
        ("lan", "10.64.1.1 8080", Dropped, None, "guard:"),
        ("host", "host 8080", Arrives, Some("web"), "output: jump publish"),
        ("host", "127.0.0.1 8080", Arrives, Some("web"), "output: jump publish"),
        ("host", "127.0.0.53 8080", Arrives, Some("host"), "a process of the host"),
        ("host", "127.0.0.1 5432", Arrives, Some("db"), "output: jump publish"),
        ("host", "host 5432", Arrives, Some("db"), "output: jump publish"),
        ("hosts", "host 8080", Arrives, Some("web"), "what it sends is the host's"),
        ("lan", "hosts 8080", Arrives, Some("web"), "leads to 10.64.1.2:80"),
        ("db", "host 8080", Arrives, Some("web"), "the sender becomes the host's address"),
        ("web", "198.51.100.1 8080", Arrives, Some("web"), "the sender becomes the host's address"),
        ("plain", "198.51.100.1 8080", Arrives, Some("web"), "ct status dnat"),
        ("two", "198.51.100.1 8086", Arrives, Some("one"), "ct status dnat"),
        ("one", "198.51.100.1 8086", Arrives, Some("one"), "ct status dnat"),
        ("closed", "10.64.2.1 8080", Dropped, None, "nothing leads out of an internal network"),
        ("lan", "host 8084", Arrives, Some("host"), "the port is kept for closed, and leads nowhere (dormant)"),
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
        ("lan", "198.51.100.1 8010", Arrives, Some("host"), "a process of the host"),
        ("host", "::1 8010", Arrives, Some("six"), "leads to [fd00:6::2]:80 of six"),
        ("host", "::1 5432", Arrives, Some("host"), "a process of the host"),
        ("six", "fd00:6::1 8010", Arrives, Some("six"), "the sender becomes the host's address"),
    ]);
}

/// What leads ::1 of the host to containers is built of nftables alone.
#[test]
fn iptables_does_not_lead_the_loopback_of_ipv6() {
    World { keeper: Kind::IptablesNft, ..World::default() }.says(&[
        ("host", "::1 8010", Arrives, Some("host"), "a process of the host"),
        ("host", "127.0.0.1 8080", Arrives, Some("web"), "output: jump publish"),
        ("lan", "host 8010", Arrives, Some("six"), "leads to [fd00:6::2]:80 of six"),
    ]);
}

#[test]
fn without_rules_the_operator_decides() {
    World { keeper: Kind::None, ..World::default() }.says(&[
        ("web", "db 80", Arrives, Some("db"), "no rule of ocinet's: both are on one network"),
        ("one", "two 80", Dropped, None, "isolated"),
        ("web", "plain 80", OthersDecide, Some("plain"), "firewall = \"none\""),
        ("web", "lan 443", OthersDecide, Some("lan"), "firewall = \"none\""),
        ("lan", "web 80", OthersDecide, Some("web"), "firewall = \"none\""),
        ("lan", "host 8080", Arrives, Some("host"), "kept for web, and leads nowhere: config.toml has firewall"),
        ("host", "web 80", Arrives, Some("web"), "the host reaches its containers"),
    ]);
}

/// The rules of nftables, by their chains.
fn chains() -> BTreeMap<String, Vec<String>> {
    let base = Base { has_internal: true, has_addressed: true, ..Base::default() };
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
    let (world, chains) = (World::default(), chains());
    let mut named = BTreeSet::new();
    let addresses = ["198.51.100.1 8080", "198.51.100.1 8084", "10.64.2.1 22", "127.0.0.1 8080", "192.0.2.1 80"];
    let ports = ["web 80", "closed 80", "two 80", "open 80", "plain 80"];
    for from in ["web", "closed", "joined", "one", "open", "host", "lan", "any-inside"] {
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
    assert!(known > 7, "{named:#?}");
}
