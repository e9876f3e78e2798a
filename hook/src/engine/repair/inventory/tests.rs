use super::*;
use crate::firewall::ReachedBy;
use crate::model::Protocol;

fn link(name: &str, alias: &str, index: u32, controller: Option<u32>) -> SeenLink {
    let (name, alias) = (name.parse().unwrap(), alias.parse().unwrap());
    let link = OurLink { name, alias, index, controller, isolated: false, mtu: 1400, peer: Some((9, 2)) };
    SeenLink { link, addresses: vec![], mac: None, unguarded: false, namespace: None, inside: None }
}

fn bridge() -> SeenLink {
    let addresses = vec!["10.90.0.1/16".parse().unwrap()];
    SeenLink { addresses, ..link("ocinet0", "ocinet:network:bridge", 3, None) }
}

fn web() -> SeenLink {
    let alias = format!("ocinet:{}:web", Key::new(&"web".parse().unwrap(), "/b").hex());
    link("ocv0a5a0002", &alias, 7, Some(3))
}

fn port(target: &str, host_port: u16) -> Publish {
    let target = target.parse().unwrap();
    let (protocol, host_address, label) = (Protocol::Tcp, HostAddress::Any, "shop".into());
    Publish {
        protocol,
        host_address,
        host_port,
        target,
        reached_by: ReachedBy::Host,
        masquerade: false,
        stand_in: None,
        label,
    }
}

fn inventory(links: Vec<SeenLink>, published: Vec<Publish>) -> Inventory {
    let rules = SeenRules { published, ..SeenRules::default() };
    Inventory::of(&Seen { links, rules, definitions: vec![] }, &Config::default())
}

#[test]
fn a_link_tells_all_but_the_bundle() {
    let published = vec![port("10.90.0.2:81", 8081), port("10.90.0.3:80", 80), port("10.90.0.2:80", 8080)];
    let found = inventory(vec![bridge(), web()], published);
    let [sandbox] = &found.sandboxes[..] else { panic!("{found:?}") };
    assert_eq!((sandbox.container.as_str(), sandbox.name.as_str(), sandbox.bundle.as_str()), ("web", "shop", ""));
    assert_eq!((sandbox.state, sandbox.namespace.nsid), (State::Attached, Some(9)));
    let ports: Vec<String> = sandbox.publish.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["0.0.0.0:8080-8081->80-81/tcp"], "its own, joined");
    let [endpoint] = &sandbox.endpoints[..] else { panic!("{sandbox:?}") };
    assert_eq!(endpoint.addresses, ["10.90.0.2/16".parse().unwrap()]);
    assert_eq!((endpoint.mac, endpoint.mtu), (Mac::of("10.90.0.2".parse().unwrap()), 1400));
    assert_eq!(found.networks[0].subnets[0].gateway, Gateway::Host("10.90.0.1".parse().unwrap()));
}

#[test]
fn a_link_that_was_shut_to_be_deleted_drains() {
    let mut web = web();
    web.link.alias = web.link.alias.draining();
    let found = inventory(vec![bridge(), web], vec![port("10.90.0.2:80", 8080)]);
    let [draining] = &found.draining[..] else { panic!("{found:?}") };
    assert_eq!((draining.endpoint.state, draining.container.as_str()), (State::Draining, "web"));
    assert!(found.sandboxes.is_empty(), "{found:?}");
}

/// A definition that cannot be read, or was opened while containers are on the network, opens nothing.
#[test]
fn a_network_stays_as_closed_as_rules_and_ports_keep_it() {
    let mut db = bridge();
    db.link.alias = Alias::Network("db".parse().unwrap());
    let mut port = web();
    port.link.isolated = true;
    let rules = SeenRules { internal: [db.link.name.clone()].into(), ..SeenRules::default() };
    let open = Network::of_bridge("db".parse().unwrap(), db.link.name.clone(), vec![]);
    for definitions in [vec![], vec![open]] {
        let (links, rules) = (vec![db.clone(), port.clone()], rules.clone());
        let found = Inventory::of(&Seen { links, rules, definitions }, &Config::default());
        let options = &found.networks[0].options;
        assert_eq!((options.internal, options.icc), (true, false));
        assert_eq!(found.sandboxes[0].endpoints[0].network.as_str(), "db");
    }
    let links = vec![db, web()];
    let found = Inventory::of(&Seen { links, ..Seen::default() }, &Config::default());
    assert_eq!((found.networks[0].options.internal, found.networks[0].options.icc), (false, true));
}

/// A container may have changed everything on its own side.
#[test]
fn the_containers_side_is_reported_and_not_believed() {
    let mut web = web();
    let (name, mac) = ("lan".parse().unwrap(), "02:00:00:00:00:01".parse().unwrap());
    web.inside =
        Some(ContainerInterface { name, mac, addresses: vec!["10.90.0.9/16".parse().unwrap()], gateways: vec![] });
    let found = inventory(vec![bridge(), web], vec![]);
    let endpoint = &found.sandboxes[0].endpoints[0];
    assert_eq!((endpoint.interface.as_str(), endpoint.addresses[0].to_string().as_str()), ("lan", "10.90.0.2/16"));
    assert!(found.reports[0].contains("10.90.0.9") && found.reports[0].contains("02:00:00:00:00:01"));
}

#[test]
fn without_its_bridge_a_link_belongs_to_the_range_of_its_address() {
    let found = inventory(vec![SeenLink { link: OurLink { controller: None, ..web().link }, ..web() }], vec![]);
    assert_eq!(found.sandboxes[0].endpoints[0].wire.master().unwrap().as_str(), "ocinet0");
    let mut far = web();
    far.link.name = "ocvcb007101".parse().unwrap();
    far.link.controller = None;
    let found = inventory(vec![far], vec![]);
    assert!(found.sandboxes.is_empty() && found.reports[0].contains("ocvcb007101"), "{found:?}");
}

#[test]
fn what_closes_the_host_tells_who_switched_forwarding_on() {
    let of = |close_forwarding: &[Family], forwards: &[Family]| {
        let [close_forwarding, forwards] =
            [close_forwarding, forwards].map(|families| families.iter().copied().collect());
        let rules = SeenRules { close_forwarding, forwards, ..SeenRules::default() };
        let found = Inventory::of(&Seen { rules, ..Seen::default() }, &Config::default()).forwarding;
        found.into_iter().map(|(_, forwarding)| forwarding).collect::<Vec<_>>()
    };
    let (v4, v6) = (Family::V4, Family::V6);
    assert_eq!(of(&[], &[v4]), [Forwarding::OfOthers; 2]);
    assert_eq!(of(&[v4, v6], &[v6]), [Forwarding::Intended, Forwarding::Ours]);
    assert_eq!(of(&[v4], &[v4, v6]), [Forwarding::Ours, Forwarding::OfOthers]);
}
