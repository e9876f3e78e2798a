//! Hosts on which published ports are chosen.

use std::collections::HashMap;

use ocinet::decide::plan::{self, HostPorts};
use ocinet::input::{HostPort, PublishRequest};
use ocinet::model::{HostAddress, PortMapping, Protocol};

/// A host on which every port is free.
#[derive(Default)]
pub struct EveryPort(u16);

impl HostPorts for EveryPort {
    type Error = ();

    fn is_free(&mut self, _: Protocol, _: HostAddress, _: u16) -> Result<bool, ()> {
        Ok(true)
    }

    /// From the lowest on: as near as can be to the ports that people name.
    fn any_free(&mut self, _: Protocol, _: HostAddress) -> Result<Option<u16>, ()> {
        self.0 = self.0.checked_add(1).ok_or(())?;
        Ok(Some(self.0))
    }

    fn none_free(&self, _: &PublishRequest) {}
}

/// A host on which only odd ports are free.
#[derive(Default)]
pub struct OddPorts(EveryPort);

impl HostPorts for OddPorts {
    type Error = ();

    fn is_free(&mut self, _: Protocol, _: HostAddress, port: u16) -> Result<bool, ()> {
        Ok(port % 2 == 1)
    }

    fn any_free(&mut self, protocol: Protocol, address: HostAddress) -> Result<Option<u16>, ()> {
        loop {
            let port = self.0.any_free(protocol, address)?;
            if port.is_none_or(|port| port % 2 == 1) {
                return Ok(port);
            }
        }
    }

    fn none_free(&self, _: &PublishRequest) {}
}

/// Chooses the ports of `list` on `host` and makes sure that every port of the container is led to once for each time it
/// was asked for, and that no port of the host leads to two.
pub fn disjoint<H: HostPorts>(list: &[PublishRequest], host: &mut H) {
    let Ok(mappings) = plan::ports(list, host) else { return };
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
