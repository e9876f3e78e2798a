//! Hosts on which published ports are chosen.

use std::collections::HashMap;

use ocinet::decide::plan::{Choice, TooFew};
use ocinet::input::{HostPort, PublishRequest};
use ocinet::model::{HostAddress, PortMapping, Protocol};

/// A host on which every port is free.
pub fn every_port(_: u16) -> bool {
    true
}

/// A host on which only odd ports are free.
pub fn odd_ports(port: u16) -> bool {
    port % 2 == 1
}

/// The ports of `list` on a host where `is_free` says which ports are free.
pub fn ports(list: &[PublishRequest], is_free: fn(u16) -> bool) -> Result<Vec<PortMapping>, TooFew<'_>> {
    let mut choice = Choice::of(list);
    for pool in choice.pools() {
        // From the lowest on: as near as can be to the ports that people name.
        let range = if let HostPort::OneOf(range) = &pool.choice { range.clone() } else { 1..=u16::MAX };
        pool.free = range.filter(|port| is_free(*port)).collect();
    }
    choice.ports()
}

/// Chooses the ports of `list` and makes sure that every port of the container is led to once for each time it
/// was asked for, and that no port of the host leads to two.
pub fn disjoint(list: &[PublishRequest], is_free: fn(u16) -> bool) {
    let Ok(mappings) = ports(list, is_free) else { return };
    let any = HostAddress::Any;
    let wanted: usize = list.iter().map(|request| request.container_ports.len()).sum();
    assert_eq!(mappings.iter().map(|mapping| mapping.pairs().count()).sum::<usize>(), wanted, "{list:?}");
    let mut led: HashMap<(Protocol, u16), Vec<HostAddress>> = HashMap::new();
    for one in &mappings {
        assert!((1..=PortMapping::MAX_COUNT).contains(&one.count) && one.host_port > 0 && one.container_port > 0);
        assert!(one.host_port.checked_add(one.count - 1).is_some(), "{one:?}");
        assert!(one.container_port.checked_add(one.count - 1).is_some(), "{one:?}");
        for (port, _) in one.pairs() {
            let others = led.entry((one.protocol, port)).or_default();
            let clear = |other: &HostAddress| *other != one.host_address && *other != any && one.host_address != any;
            assert!(others.iter().all(clear), "{port} of {one} leads to two ports for {list:?}");
            others.push(one.host_address);
        }
    }
    for request in list {
        let HostPort::Exactly(range) = &request.host_port else { continue };
        let ours = |m: &&PortMapping| m.protocol == request.protocol && m.host_address == request.host_address;
        let led = |pair: (u16, u16)| mappings.iter().filter(ours).any(|m| m.pairs().any(|led| led == pair));
        let ends = [(*range.start(), *request.container_ports.start()), (*range.end(), *request.container_ports.end())];
        assert!(ends.into_iter().all(led), "{request:?} in {mappings:?}");
    }
}
