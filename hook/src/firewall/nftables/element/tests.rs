use std::net::Ipv6Addr;

use super::*;
use crate::firewall::InputLoop;
use crate::firewall::tests::{self, network};
use crate::model::Families;

fn port(host_address: HostAddress, label: &str) -> Publish {
    tests::port(Protocol::Tcp, host_address, label)
}

/// Needs with an element in every set.
fn needs() -> Needs {
    let via = Source {
        link: "wan".parse().unwrap(),
        gateway: Some([10, 0, 0, 1].into()),
        address: [10, 0, 0, 9].into(),
        near: vec![],
    };
    let mut everything = NetworkNeeds { internal: true, ..network("ocinet0", "10.90.0.0/16") };
    everything.ranges[0].outbound = Some([192, 0, 2, 9].into());
    let over_v4 = Families::default().with(Family::V4);
    let mut routed = NetworkNeeds { routed: over_v4, ..network("ocn-7", "10.64.0.0/24") };
    routed.ranges[0].masquerade = false;
    let trusting = NetworkNeeds { trusted: vec!["vpn0".parse().unwrap()], ..network("ocn-8", "10.65.0.0/24") };
    let straight = Source { gateway: None, ..via.clone() };
    Needs {
        base: Base {
            close_forwarding: Families::default().with(Family::V4).with(Family::V6),
            input_loop: InputLoop::Made { link: 7 },
            has_internal: true,
            has_addressed: true,
            has_ipv6: false,
        },
        networks: vec![everything, routed, trusting],
        publish: vec![
            Publish { masquerade: true, ..port(HostAddress::Any, "web") },
            Publish { reached_by: ReachedBy::HostAndContainer, ..port(HostAddress::V4([127, 0, 0, 1].into()), "db") },
            Publish { reached_by: ReachedBy::Container, ..port(HostAddress::Any, "api") },
        ],
        sources: vec![via, straight],
    }
}

/// A link's name in its field.
fn link(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

#[test]
fn text_and_bytes_say_the_same_in_every_set() {
    let (bridge, wan) = (link("ocinet0"), link("wan"));
    let (range, one) = ([10, 90, 0, 0], [127, 0, 0, 1]);
    let (port, target) = ([6, 0, 0, 0, 0x1f, 0x90, 0, 0], [10, 90, 0, 2, 0, 80, 0, 0]);
    let (open, at_container) = (link("ocn-7"), vec![10, 90, 0, 2, 6, 0, 0, 0, 0, 80, 0, 0]);
    let (on_one, trusting) = ([&one[..], &port].concat(), link("ocn-8"));
    let expected: Vec<(&str, &str, Vec<u8>, &[u8])> = vec![
        ("closed", "ipv4", vec![2], &[]),
        ("bridges", "\"ocinet0\"", bridge.clone(), &[]),
        ("intra", "\"ocinet0\" . \"ocinet0\"", bridge.repeat(2), &[]),
        ("internal", "\"ocinet0\"", bridge.clone(), &[]),
        ("gateways4", "\"ocinet0\" . 10.90.0.1", [&bridge[..], &[10, 90, 0, 1]].concat(), &[]),
        ("nat_subnets4", "10.90.0.0/16", range.to_vec(), &[]),
        ("outbound4", "10.90.0.0/16 : 192.0.2.9", range.to_vec(), &[192, 0, 2, 9]),
        ("networks4", "\"ocinet0\" . 10.90.0.0/16", [&bridge[..], &range].concat(), &[]),
        ("bridges", "\"ocn-7\"", open.clone(), &[]),
        ("intra", "\"ocn-7\" . \"ocn-7\"", open.repeat(2), &[]),
        ("routed4", "\"ocn-7\"", open.clone(), &[]),
        ("addressed4", "10.64.0.0/24", vec![10, 64, 0, 0], &[]),
        ("networks4", "\"ocn-7\" . 10.64.0.0/24", [&open[..], &[10, 64, 0, 0]].concat(), &[]),
        ("bridges", "\"ocn-8\"", trusting.clone(), &[]),
        ("intra", "\"ocn-8\" . \"ocn-8\"", trusting.repeat(2), &[]),
        ("nat_subnets4", "10.65.0.0/24", vec![10, 65, 0, 0], &[]),
        ("trusted4", "\"vpn0\" . 10.65.0.0/24", [&link("vpn0")[..], &[10, 65, 0, 0]].concat(), &[]),
        ("networks4", "\"ocn-8\" . 10.65.0.0/24", [&trusting[..], &[10, 65, 0, 0]].concat(), &[]),
        ("sources4_via", "\"wan\" . 10.0.0.1 : 10.0.0.9", [&wan[..], &[10, 0, 0, 1]].concat(), &[10, 0, 0, 9]),
        ("sources4_link", "\"wan\" : 10.0.0.9", wan, &[10, 0, 0, 9]),
        ("publish4_any", "tcp . 8080 comment \"web\" : 10.90.0.2 . 80", port.to_vec(), &target),
        ("ports4_any", "tcp . 8080", port.to_vec(), &[]),
        ("asked4_any", "tcp . 8080", port.to_vec(), &[]),
        ("masqueraded4", "10.90.0.2", vec![10, 90, 0, 2], &[]),
        ("publish4_addr", "127.0.0.1 . tcp . 8080 comment \"db\" : 10.90.0.2 . 80", on_one.clone(), &target),
        ("ports4_addr", "127.0.0.1 . tcp . 8080", on_one.clone(), &[]),
        ("asked4_addr", "127.0.0.1 . tcp . 8080", on_one, &[]),
        ("trusted4_ports", "10.90.0.2 . tcp . 80 comment \"db\"", at_container.clone(), &[]),
        ("routed4_ports", "10.90.0.2 . tcp . 80 comment \"api\"", at_container, &[]),
    ];
    let elements = elements(&needs());
    assert_eq!(elements.len(), expected.len());
    for (element, (set, text, key, data)) in elements.iter().zip(expected) {
        let encoded = element.encode();
        assert_eq!((&element.set.name()[..], &element.text()[..]), (set, text));
        assert_eq!((encoded.key, &encoded.data[..]), (key, data), "{set}");
    }
    let sets: BTreeSet<Set> = elements.iter().map(|element| element.set).collect();
    assert_eq!(sets, Set::of(&[Family::V4]).collect(), "every set has one");
}

#[test]
fn fields_are_of_the_types_that_their_set_declares() {
    let is_of = |field: &Field, of: &Type| match (field, of) {
        (Field::Address(address), Type::Address(family)) => Family::of(*address) == *family,
        (Field::Range(range), Type::Address(family)) => Family::of(range.addr()) == *family,
        (Field::Link(_), Type::Link) | (Field::Family(_), Type::Family) => true,
        (Field::Protocol(_), Type::Protocol) | (Field::Port(_), Type::Port) => true,
        _ => false,
    };
    let are_of = |fields: &[Field], types: &[Type]| {
        fields.len() == types.len() && fields.iter().zip(types).all(|(field, of)| is_of(field, of))
    };
    for Element { set, key, data, .. } in elements(&needs()) {
        let shape = set.shape();
        assert!(are_of(&key, &shape.key) && are_of(&data, &shape.data), "{}", shape.declaration());
        for (field, of) in key.iter().zip(&shape.key) {
            assert_eq!(field.bytes().len(), of.length(), "{}", shape.declaration());
        }
    }
}

#[test]
fn what_is_of_two_families_has_no_element() {
    let v6: HostAddress = HostAddress::V6(Ipv6Addr::LOCALHOST);
    assert_eq!(port_elements(&port(v6, "web"), &Base::default()), []);
}

#[test]
fn the_elements_of_ipv6_are_in_sets_of_their_own() {
    let base = Base { has_ipv6: true, input_loop: InputLoop::Unused, ..needs().base };
    let stand_in: Ipv6Addr = "fdcc::7".parse().unwrap();
    let target = "[fd00::2]:80".parse().unwrap();
    let to_v6 = Publish { target, stand_in: Some(stand_in), ..port(HostAddress::Any, "web") };
    let at = |address: &str| Publish {
        host_address: HostAddress::V6(address.parse().unwrap()),
        masquerade: true,
        ..to_v6.clone()
    };
    let mut network = NetworkNeeds { internal: true, stand_ins: vec![stand_in], ..network("ocinet0", "fd00::/64") };
    network.ranges[0].gateway = Some("fd00::1".parse().unwrap());
    network.ranges[0].outbound = Some("2001:db8::9".parse().unwrap());
    let all = Needs {
        base,
        networks: vec![network],
        publish: vec![to_v6.clone(), at("2001:db8::1"), at("::1")],
        sources: Vec::new(),
    };
    let lines: Vec<String> = elements(&all).iter().map(|e| format!("{} {}", e.set.name(), e.text())).collect();
    assert_eq!(
        lines,
        [
            "closed ipv4",
            "closed ipv6",
            "bridges \"ocinet0\"",
            "intra \"ocinet0\" . \"ocinet0\"",
            "internal \"ocinet0\"",
            "gateways6 \"ocinet0\" . fd00::1",
            "nat_subnets6 fd00::/64",
            "outbound6 fd00::/64 : 2001:db8::9",
            "networks6 \"ocinet0\" . fd00::/64",
            "stand_ins6 fdcc::7",
            "publish6_any tcp . 8080 comment \"web\" : fd00::2 . 80",
            "ports6_any tcp . 8080",
            "loopback6 tcp . 8080 : fdcc::7",
            "publish6_addr 2001:db8::1 . tcp . 8080 comment \"web\" : fd00::2 . 80",
            "ports6_addr 2001:db8::1 . tcp . 8080",
            "masqueraded6 fd00::2",
            "publish6_loopback tcp . 8080 comment \"web\" : fd00::2 . 80",
            "masqueraded6 fd00::2",
            "loopback6 tcp . 8080 : fdcc::7",
        ]
    );
    let closed: Vec<_> = base_elements(&all.base).map(|element| element.encode().family()).collect();
    assert_eq!(closed, [Some(Family::V4), Some(Family::V6)], "as the kernel has them");
    let encoded = encoded_ports(&all.publish, &all.base);
    let read: Vec<_> = encoded.iter().filter_map(Encoded::publish).collect();
    let without = |port: &Publish| Publish { stand_in: None, masquerade: false, ..port.clone() };
    assert_eq!(read, all.publish.iter().map(without).collect::<Vec<_>>(), "what leads somewhere, and nothing else");
    let asked = encoded_ports(&all.publish, &Base { input_loop: InputLoop::Made { link: 7 }, ..all.base });
    assert_eq!(asked, [], "the host's own rules cannot be asked about them");
}

#[test]
fn a_comment_is_user_data() {
    let [element, ..] = &port_elements(&port(HostAddress::Any, "web"), &Base::default())[..] else { panic!() };
    assert_eq!(element.encode().userdata, b"\0\x04web\0");
}

#[test]
fn a_published_port_is_read_back_from_its_element() {
    let (any, one) = (HostAddress::Any, HostAddress::V4([127, 0, 0, 1].into()));
    for (address, label) in [(any, "web"), (any, "web/ipv4"), (any, "web/ipv6"), (one, "web")] {
        let port = port(address, label);
        assert_eq!(port.label.to_string(), label);
        let encoded = encoded_ports(std::slice::from_ref(&port), &Base::default());
        assert_eq!(encoded[0].publish(), Some(port));
        assert_eq!(encoded[1].publish(), None, "it leads nowhere");
        let short = Encoded { key: vec![6], ..encoded[0].clone() };
        assert_eq!(short.publish(), None);
    }
    assert_eq!(bridge_element(&"ocinet0".parse().unwrap()).encode().publish(), None);
}
