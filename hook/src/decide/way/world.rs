//! A host with one container of each kind on one network of each kind. What is said of it here is compared with real
//! packets in `integration/tests/suite/explain.rs`.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::*;
use crate::model::Mode;

/// The host's address in the LAN.
const UPLINK: &str = "198.51.100.1";
const UPLINK6: &str = "2001:db8::1";

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
        network("trusty", &[("10.64.8.0/24", "10.64.8.1")], json!({"trusted_interfaces": ["wg0"]})),
        network(
            "shown",
            &[("10.64.9.0/24", "10.64.9.1"), ("fd00:9::/64", "fd00:9::1")],
            json!({"masquerade": "198.51.100.9"}),
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
            "trusty" => "trusted",
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
    let of_udp = json!({"protocol": "udp", "host_address": null, "host_port": 5300, "container_port": 53});
    let of = |mode, number, name| Sandbox { mode, ..sandbox(number, name, &[], json!([])) };
    let mut router = sandbox(13, "router", &[("vpn", "10.64.7.2", &["10.64.7.1"])], json!([]));
    router.endpoints[0].unguarded = true;
    let mut pod = sandbox(14, "pod", &[("own", "10.64.1.5", &[])], json!([]));
    pod.leads_elsewhere = true;
    let mut keeper = sandbox(18, "keeper", &[("apart", "10.64.3.4", &["10.64.3.1"])], json!([]));
    keeper.endpoints[0].unguarded = true;
    vec![
        sandbox(1, "web", &[("own", "10.64.1.2;fd00:1::2", both)], json!([port(None, 8080, 80), of_udp])),
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
        sandbox(19, "friend", &[("trusty", "10.64.8.2", &["10.64.8.1"])], json!([port(None, 8019, 80)])),
        sandbox(20, "seen", &[("shown", "10.64.9.2;fd00:9::2", &["10.64.9.1", "fd00:9::1"])], json!([])),
        sandbox(15, "caller", &[("vpn", "10.64.7.3", &["10.64.7.1"])], json!([])),
    ]
}

/// A host with these containers.
pub(super) struct World {
    pub networks: Vec<Network>,
    pub sandboxes: Vec<Sandbox>,
    pub frames_to_ip_hooks: Families,
    pub closes: Families,
    pub asks_host: bool,
    pub keeper: Kind,
}

impl Default for World {
    fn default() -> Self {
        let (networks, sandboxes) = (networks(), sandboxes());
        let (frames_to_ip_hooks, closes) = (Families::default(), Families::default());
        Self { networks, sandboxes, frames_to_ip_hooks, closes, asks_host: false, keeper: Kind::Nftables }
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
    pub fn way(&self, from: &str, to: &str) -> Way {
        self.answer(from, to, |answer| answer.way)
    }

    /// What `read` makes of the whole answer.
    pub fn answer<T>(&self, from: &str, to: &str, read: impl FnOnce(Answer<'_>) -> T) -> T {
        let is_host = |address: IpAddr| {
            let is_gateway = |network: &Network| network.host_addresses().any(|own| own.addr() == address);
            let is_stand_in = |network: &Network| network.stand_ins().any(|own| own == address);
            let is_uplink = [UPLINK, UPLINK6].contains(&address.to_string().as_str());
            address.is_loopback() || is_uplink || self.networks.iter().any(|own| is_gateway(own) || is_stand_in(own))
        };
        let gateways = self.networks.iter().flat_map(Network::host_addresses).map(|net| net.addr());
        let uplinks = [UPLINK, UPLINK6].map(|address| address.parse().unwrap());
        let addresses: Vec<IpAddr> = uplinks.into_iter().chain(gateways).collect();
        let scene = Scene {
            networks: &self.networks,
            sandboxes: &self.sandboxes,
            addresses: &addresses,
            is_host: &is_host,
            frames_to_ip_hooks: self.frames_to_ip_hooks,
            closes: self.closes,
            asks_host: self.asks_host,
            keeper: self.keeper,
        };
        let (to, port) = to.split_once(' ').map_or((to, None), |(to, port)| (to, Some(port.parse().unwrap())));
        let target = Target { party: party(to, &scene), port, protocol: Protocol::Tcp };
        read(answer(&scene, &party(from, &scene), target))
    }

    /// Every row is a way, its verdict, who gets it, and words of what is said.
    pub fn says(&self, rows: &[(&str, &str, Verdict, Option<&str>, &str)]) {
        for (from, to, verdict, receiver, words) in rows {
            let way = self.way(from, to);
            let got_by = way.receiver.as_ref().map(ToString::to_string);
            assert_eq!((way.verdict, got_by.as_deref()), (*verdict, *receiver), "{from} to {to}: {way:#?}");
            let said = way.hops.join("\n") + "\n" + &way.rule;
            assert!(said.contains(words), "{from} to {to}: {way:#?}");
        }
    }
}
