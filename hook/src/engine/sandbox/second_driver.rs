//! What a second driver costs: `driver/slice.rs`, an arm in `driver/mod.rs`, and its data in the model. All other code
//! that is tested here is that of every driver.

use crate::decide::plan;
use crate::driver::{self, Facts, NetworkStep, NetworkUndo, SandboxStep, Undo};
use crate::engine::sandbox::fixture::{lease, on, store};
use crate::engine::sandbox::outcome::LeaseConflict;
use crate::firewall::NetworkNeeds;
use crate::model::{Driver, Endpoint, Gateway, Network, Slice, Subnet, Wire};
use crate::shell;
use crate::store::{Error, Holder, Store};

/// Addresses come from 10.8.5.0/30 of a range that others give out as well, and another machine is the gateway.
fn network(name: &str, bridge: &str) -> Network {
    let subnet = Subnet {
        range: "10.8.0.0/16".parse().unwrap(),
        pool: Some("10.8.5.0/30".parse().unwrap()),
        aux: std::collections::BTreeMap::new(),
        gateway: Gateway::Router { router: "10.8.5.1".parse().unwrap() },
    };
    let driver = Driver::Slice(Slice { parent: "lan0".parse().unwrap(), bridge: bridge.parse().unwrap() });
    Network { name: name.parse().unwrap(), driver, subnets: vec![subnet], options: Box::default() }
}

#[test]
fn addresses_come_from_its_slice() {
    let mut store = store(&[network("lan", "slice7")]);
    let mut address =
        |id: &str| lease(&mut store, id, &on("lan")).map(|sandbox| sandbox.endpoints[0].addresses[0].to_string());
    // The first is the network's gateway, the others are given out by other hosts.
    let leased = ["a", "b", "c"].map(|id| address(id).unwrap_or_else(|_| panic!("{id}")));
    assert_eq!(leased, ["10.8.5.0/16", "10.8.5.2/16", "10.8.5.3/16"]);
    assert!(matches!(address("d"), Err(LeaseConflict::NoAddress { .. })));
}

#[test]
fn it_is_connected_without_a_link_on_the_host() {
    let network = network("lan", "slice7");
    let mut store = store(std::slice::from_ref(&network));
    let sandbox = lease(&mut store, "a", &on("lan")).unwrap_or_else(|_| panic!("no lease"));
    let endpoint = &sandbox.endpoints[0];
    assert_eq!((endpoint.wire.host_link(), network.link(), NetworkNeeds::of(&network)), (None, None, None));
    assert!(sandbox.port_targets().is_empty(), "no rule could lead to it");
    let steps = driver::steps(&network, endpoint, &Facts { alias: sandbox.alias(endpoint), guarded: true });
    assert!(matches!(&steps.network[..], [NetworkStep::Bridge(bridge)] if bridge.name.as_str() == "slice7"));
    let commands: Vec<String> = steps.network.iter().flat_map(shell::network_step).collect();
    assert!(commands[0].starts_with("ip link add slice7 ") && commands.last().unwrap().contains("ocinet:network:lan"));
    assert_eq!(steps.endpoint, []);
    assert!(steps.sandbox.contains(&SandboxStep::DefaultRoute { gateway: "10.8.5.1".parse().unwrap() }));
}

/// Nothing of the host is asked for when it goes, and its row keeps the address until its flows are forgotten.
#[test]
fn it_is_taken_away_by_its_row_alone() {
    let mut store = store(&[network("lan", "slice7")]);
    let sandbox = lease(&mut store, "a", &on("lan")).unwrap_or_else(|_| panic!("no lease"));
    let address = sandbox.endpoints[0].addresses[0].addr();
    assert_eq!(plan::links(&sandbox), []);
    let draining = store.write::<_, Error>(|write| write.end(&sandbox)).unwrap();
    let (name, number) = ("lan".parse().unwrap(), sandbox.endpoints[0].number);
    let holder = Holder { sandbox: sandbox.number, endpoint: Some(number) };
    assert_eq!(store.read().address_holder(&name, address).unwrap(), Some(holder));
    assert_eq!(driver::undo(&draining[0].endpoint, &draining[0].alias()), [Undo::Flows(address)]);
    store.write::<_, Error>(|write| write.remove_draining(&draining[0])).unwrap();
    assert_eq!(store.read().address_holder(&name, address).unwrap(), None);
}

#[test]
fn what_its_endpoints_share_is_taken_away_by_its_network_alone() {
    let network = network("lan", "slice7");
    let [NetworkUndo::Bridge { name, alias, .. }] = &driver::undo_of_network(&network)[..] else { panic!("one step") };
    assert_eq!((name.as_str(), alias.to_string().as_str()), ("slice7", "ocinet:network:lan"));
}

#[test]
fn a_sandbox_is_shut_by_the_links_that_it_has() {
    let mut store = store(&[network("lan", "slice7")]);
    let mut sandbox = lease(&mut store, "a", &on("lan")).unwrap_or_else(|_| panic!("no lease"));
    let bridge = Network::of_bridge("front".parse().unwrap(), "ocinet9".parse().unwrap(), vec![]);
    let wire = driver::wire(&bridge, "10.90.0.2".parse().unwrap(), 0);
    let second = Endpoint { wire, network: bridge.name, ..sandbox.endpoints[0].clone() };
    sandbox.endpoints.push(second);
    let links = plan::links(&sandbox);
    assert!(matches!(&links[..], [Undo::Link { name, .. }] if name.as_str() == "ocv0a5a0002"), "{links:?}");
}

/// The bridge is the network's and outlives the container. The store tells how many endpoints its parent has.
#[test]
fn the_endpoints_of_a_parent_can_be_counted() {
    let mut store = store(&[network("lan", "slice7"), network("voice", "slice8")]);
    for (id, network) in [("a", "lan"), ("b", "voice")] {
        lease(&mut store, id, &on(network)).unwrap_or_else(|_| panic!("{id}"));
    }
    let users = |store: &Store| {
        let sandboxes = store.read().sandboxes().unwrap();
        let endpoints = sandboxes.iter().flat_map(|sandbox| &sandbox.endpoints);
        endpoints
            .filter(|endpoint| matches!(&endpoint.wire, Wire::Child { parent } if parent.as_str() == "lan0"))
            .count()
    };
    assert_eq!(users(&store), 2);
    let first = store.read().sandboxes().unwrap()[0].number;
    store.write::<_, Error>(|write| write.remove(first)).unwrap();
    assert_eq!(users(&store), 1);
    assert_eq!(store.read().networks().unwrap().len(), 2, "with their bridges");
}
