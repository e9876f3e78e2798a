//! Request + what is leased -> the endpoint, the ports and what undoes them. Pure.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::decide::request::Connection;
use crate::driver::{self, Undo};
use crate::input::{HostPort, PublishRequest};
use crate::model::{Alias, Endpoint, HostAddress, InterfaceName, Mac, Network, PortMapping, Protocol, Route, Sandbox};

/// Which ports of the host can be had. The kernel and the store know.
pub trait HostPorts {
    /// What it fails with.
    type Error;

    /// Whether a port is free on an address.
    ///
    /// # Errors
    /// When the host cannot be asked.
    fn is_free(&mut self, protocol: Protocol, address: HostAddress, port: u16) -> Result<bool, Self::Error>;

    /// Any free port, each time another; none where there is none left.
    ///
    /// # Errors
    /// When the host cannot be asked.
    fn any_free(&mut self, protocol: Protocol, address: HostAddress) -> Result<Option<u16>, Self::Error>;

    /// That none is free of those that `request` could have.
    fn none_free(&self, request: &PublishRequest) -> Self::Error;
}

/// Chooses the host's ports, none of them twice. Those that were named exactly are taken as they are; whether they can be
/// had is decided when they are leased.
///
/// # Errors
/// Those of `host`.
pub fn ports<H: HostPorts>(requests: &[PublishRequest], host: &mut H) -> Result<Vec<PortMapping>, H::Error> {
    let mut mappings: Vec<PortMapping> = Vec::new();
    let mut spoken_for: HashSet<(Protocol, u16)> = requests.iter().flat_map(named).collect();
    for request in requests {
        let PublishRequest { protocol, host_address, host_port, container_ports } = request;
        let (protocol, host_address) = (*protocol, *host_address);
        for (container_port, nth) in container_ports.clone().zip(0..) {
            let host_port = match host_port {
                HostPort::Exactly(range) => range.start() + nth,
                HostPort::Free => loop {
                    let port = host.any_free(protocol, host_address)?.ok_or_else(|| host.none_free(request))?;
                    if spoken_for.insert((protocol, port)) {
                        break port;
                    }
                },
                HostPort::OneOf(range) => {
                    let mut free = None;
                    for port in range.clone() {
                        if !spoken_for.contains(&(protocol, port)) && host.is_free(protocol, host_address, port)? {
                            spoken_for.insert((protocol, port));
                            free = Some(port);
                            break;
                        }
                    }
                    free.ok_or_else(|| host.none_free(request))?
                }
            };
            let mapping = PortMapping { protocol, host_address, host_port, container_port, count: 1 };
            if !mappings.last_mut().is_some_and(|last| last.absorb(&mapping)) {
                mappings.push(mapping);
            }
        }
    }
    Ok(mappings)
}

/// The ports of the host that a request names one by one.
fn named(request: &PublishRequest) -> impl Iterator<Item = (Protocol, u16)> + use<> {
    let (protocol, range) = (request.protocol, request.host_port.clone());
    let range = if let HostPort::Exactly(range) = range { Some(range) } else { None };
    range.into_iter().flatten().map(move |port| (protocol, port))
}

/// The endpoint of `connection` at `address`; `nth` numbers the names that its link on the host can have.
pub fn endpoint(connection: &Connection, network: &Network, address: IpNet, nth: u8) -> Endpoint {
    let gateways = network.subnets.iter().filter_map(|subnet| subnet.gateway.address());
    let is_of_its_family = |gateway: &IpAddr| gateway.is_ipv4() == address.addr().is_ipv4();
    Endpoint {
        network: network.name.clone(),
        wire: driver::wire(network, address.addr(), nth),
        interface: connection.interface.clone().unwrap_or_else(default_interface),
        mac: connection.mac.unwrap_or_else(|| Mac::of(address.addr())),
        mtu: connection.mtu.unwrap_or(network.options.mtu),
        addresses: vec![address],
        routes: gateways.filter(is_of_its_family).map(Route::Default).collect(),
    }
}

/// What takes the endpoints of `sandbox` away, in this order.
pub fn undo(sandbox: &Sandbox) -> Vec<Undo> {
    let alias = alias(sandbox);
    sandbox.endpoints.iter().flat_map(|endpoint| driver::undo(endpoint, &alias)).collect()
}

/// The alias of the sandbox's links.
pub fn alias(sandbox: &Sandbox) -> Alias {
    Alias::endpoint(sandbox.key(), sandbox.container.as_str())
}

/// The interface in a container where the request names none.
pub fn default_interface() -> InterfaceName {
    "eth0".parse().expect("a constant that follows the kernel's rule")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::parse_publish;
    use crate::model::HostAddress;
    use std::collections::BTreeSet;

    struct Taken(BTreeSet<u16>);

    impl HostPorts for Taken {
        type Error = String;

        fn is_free(&mut self, _: Protocol, _: HostAddress, port: u16) -> Result<bool, String> {
            Ok(!self.0.contains(&port))
        }

        fn any_free(&mut self, _: Protocol, _: HostAddress) -> Result<Option<u16>, String> {
            Ok((40_000..40_010).find(|port| self.0.insert(*port)))
        }

        fn none_free(&self, request: &PublishRequest) -> String {
            format!("{:?}", request.host_port)
        }
    }

    fn chosen(text: &str, taken: &[u16]) -> Result<Vec<String>, String> {
        let requests = parse_publish(text, HostAddress::Any).unwrap();
        let mappings = ports(&requests, &mut Taken(taken.iter().copied().collect()))?;
        Ok(mappings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn ports_are_chosen_and_joined() {
        assert_eq!(chosen("8080:80", &[8080]).unwrap(), ["0.0.0.0:8080->80/tcp"], "decided when leased");
        assert_eq!(chosen("9000-9009:80-89", &[]).unwrap(), ["0.0.0.0:9000-9009->80-89/tcp"]);
        assert_eq!(chosen("80:80,81:81,83:83", &[]).unwrap(), ["0.0.0.0:80-81->80-81/tcp", "0.0.0.0:83->83/tcp"]);
        assert_eq!(chosen("9000-9002:80", &[9000]).unwrap(), ["0.0.0.0:9001->80/tcp"]);
        assert_eq!(chosen("9000-9001:80,9000-9001:80", &[]).unwrap().len(), 2);
        assert_eq!(chosen("80,443", &[40_000]).unwrap(), ["0.0.0.0:40001->80/tcp", "0.0.0.0:40002->443/tcp"]);
        assert!(chosen("9000-9001:80", &[9000, 9001]).is_err());
        assert_eq!(chosen("80-90", &[]), Err("Free".into()), "ten are free");
    }

    #[test]
    fn no_port_is_chosen_twice() {
        let of = |text: &str| chosen(text, &[]).unwrap();
        assert_eq!(of("8000-8001:80,8000:81"), ["0.0.0.0:8001->80/tcp", "0.0.0.0:8000->81/tcp"], "named further on");
        assert_eq!(of("8000-8001:80-81,8001-8002:90")[1], "0.0.0.0:8002->90/tcp", "the end of a range");
        assert_eq!(of("80,40000:81")[0], "0.0.0.0:40001->80/tcp", "a free one that is named");
        assert!(chosen("8000-8001:80,8000-8001:81-82", &[]).is_err());
    }
}
