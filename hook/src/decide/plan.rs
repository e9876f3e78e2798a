//! Request + what is leased -> the endpoint, the ports and what undoes them. Pure.

use std::collections::HashSet;

use ipnet::IpNet;

use crate::decide::request::EndpointRequest;
use crate::driver::{self, Undo};
use crate::input::{HostPort, PublishRequest};
use crate::model::{
    Endpoint, HostAddress, InterfaceName, Mac, Network, PortMapping, Protocol, Publishing, Route, Sandbox, State,
};

/// Free ports of the host for requests that leave the choice to us: what the host was asked before anything is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPool {
    /// The protocol of its requests.
    pub protocol: Protocol,
    /// The host's address that they name.
    pub address: HostAddress,
    /// Which ports they may have.
    pub choice: HostPort,
    /// How many ports they want.
    pub wanted: usize,
    /// Those that were found free, in the order in which they are chosen.
    pub free: Vec<u16>,
}

impl PortPool {
    fn serves(&self, request: &PublishRequest) -> bool {
        (self.protocol, self.address) == (request.protocol, request.host_address) && self.choice == request.host_port
    }
}

/// That a pool does not have enough free ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFew<'r> {
    /// The index of the pool.
    pub pool: usize,
    /// The request that found none.
    pub request: &'r PublishRequest,
}

/// Where a request's ports of the host come from.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// It names them; this is the first.
    Named(u16),
    /// The pool of this index.
    Pool(usize),
}

/// The choice of the host's ports for requests.
#[derive(Debug)]
pub struct Choice<'r> {
    /// The requests, in their order, and where each one's ports come from.
    requests: Vec<(&'r PublishRequest, Source)>,
    /// The free ports that they choose from.
    pools: Vec<PortPool>,
}

impl<'r> Choice<'r> {
    /// The choice for `requests`, with pools that are not filled yet.
    pub fn of(requests: &'r [PublishRequest]) -> Self {
        let mut pools: Vec<PortPool> = Vec::new();
        let source = |request: &'r PublishRequest| match &request.host_port {
            HostPort::Exactly(range) => (request, Source::Named(*range.start())),
            HostPort::Free | HostPort::OneOf(_) => (request, Source::Pool(pool_for(request, &mut pools))),
        };
        Self { requests: requests.iter().map(source).collect(), pools }
    }

    /// The pools, to be filled.
    pub fn pools(&mut self) -> &mut [PortPool] {
        &mut self.pools
    }

    /// Chooses the host's ports, none of them twice. Those that were named exactly are taken as they are; whether they
    /// can be had is decided when they are leased.
    ///
    /// # Errors
    /// [`TooFew`] where a pool needs more free ports.
    pub fn ports(&self) -> Result<Vec<PortMapping>, TooFew<'r>> {
        let mut mappings: Vec<PortMapping> = Vec::new();
        let mut spoken_for: HashSet<(Protocol, u16)> =
            self.requests.iter().flat_map(|(request, _)| named(request)).collect();
        let mut left: Vec<_> = self.pools.iter().map(|pool| pool.free.iter().copied()).collect();
        for (request, source) in &self.requests {
            let PublishRequest { protocol, host_address, container_ports, .. } = request;
            let (protocol, host_address) = (*protocol, *host_address);
            for (container_port, nth) in container_ports.clone().zip(0..) {
                let host_port = match *source {
                    Source::Named(first) => first + nth,
                    Source::Pool(pool) => {
                        left[pool].find(|port| spoken_for.insert((protocol, *port))).ok_or(TooFew { pool, request })?
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
}

/// The index of the pool that `request` shares with others of the same choice. A new one is made for the first.
fn pool_for(request: &PublishRequest, pools: &mut Vec<PortPool>) -> usize {
    let known = pools.iter().position(|pool| pool.serves(request));
    let at = known.unwrap_or_else(|| {
        let PublishRequest { protocol, host_address: address, host_port, .. } = request;
        let (protocol, address, choice) = (*protocol, *address, host_port.clone());
        pools.push(PortPool { protocol, address, choice, wanted: 0, free: Vec::new() });
        pools.len() - 1
    });
    pools[at].wanted += request.container_ports.len();
    at
}

/// The ports of the host that a request names one by one.
fn named(request: &PublishRequest) -> impl Iterator<Item = (Protocol, u16)> + use<> {
    let (protocol, range) = (request.protocol, request.host_port.clone());
    let range = if let HostPort::Exactly(range) = range { Some(range) } else { None };
    range.into_iter().flatten().map(move |port| (protocol, port))
}

/// The endpoint of `connection` at `addresses`, at least one, still without a number, as if it was its container's only
/// one. Its link has the first of the names that it can have.
pub fn endpoint(
    connection: &EndpointRequest,
    network: &Network,
    addresses: Vec<IpNet>,
    interface: InterfaceName,
) -> Endpoint {
    let first = addresses[0].addr();
    Endpoint {
        number: 0,
        state: State::Attaching,
        network: network.name.clone(),
        wire: driver::wire(network, first, 0),
        interface,
        mac: connection.mac.unwrap_or_else(|| Mac::of(first)),
        mtu: connection.mtu.unwrap_or(network.options.mtu),
        routes: default_routes(network, &addresses),
        name_server: driver::name_server(network, &addresses),
        addresses,
        names: connection.aliases.clone(),
        publishing: Publishing::Direct,
        publishing6: None,
        gw_priority: connection.gw_priority.unwrap_or_default(),
        unguarded: connection.unguarded == Some(true),
        ndp_proxy: network.options.ndp_proxy,
    }
}

/// The default routes that an endpoint of `network` with these addresses could have.
pub fn default_routes(network: &Network, addresses: &[IpNet]) -> Vec<Route> {
    let subnet_of = |address: &IpNet| network.subnets.iter().find(|subnet| subnet.range.contains(&address.addr()));
    let gateways = addresses.iter().filter_map(subnet_of).filter_map(|subnet| subnet.gateway.address());
    gateways.map(Route::Default).collect()
}

/// The links on the host of all endpoints of `sandbox`, to be looked for and to be shut. A detach shuts all of them
/// before anything is forgotten of an address: until then packets could come by another link.
pub fn links(sandbox: &Sandbox) -> Vec<Undo> {
    let steps = sandbox.endpoints.iter().flat_map(|endpoint| driver::undo(endpoint, &sandbox.alias(endpoint)));
    steps.filter(|step| matches!(step, Undo::Link { .. })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::parse_publish;
    use crate::model::HostAddress;

    /// On a host where ten ports are in the range to choose from, and `taken` are not free.
    fn chosen(text: &str, taken: &[u16]) -> Result<Vec<String>, String> {
        let requests = parse_publish(text, HostAddress::Any, || Ok(Vec::new())).unwrap();
        let mut choice = Choice::of(&requests);
        for pool in choice.pools() {
            let range = if let HostPort::OneOf(range) = &pool.choice { range.clone() } else { 40_000..=40_009 };
            pool.free = range.filter(|port| !taken.contains(port)).collect();
        }
        let mappings = choice.ports().map_err(|few| format!("{:?}", few.request.host_port))?;
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

    #[test]
    fn requests_with_one_choice_share_a_pool() {
        let requests =
            parse_publish("80,81-82,9000-9003:1,9000-9003:2,83/udp,5:5", HostAddress::Any, || Ok(Vec::new())).unwrap();
        let mut choice = Choice::of(&requests);
        assert_eq!(choice.pools().iter().map(|pool| pool.wanted).collect::<Vec<_>>(), [3, 2, 1]);
        choice.pools()[0].free = vec![40_000, 40_001, 40_002];
        assert_eq!(choice.ports(), Err(TooFew { pool: 1, request: &requests[2] }));
    }
}
