//! The links of one container, and what is decided of all of them together: as at its attach, with what the kernel
//! tells of it.

use std::net::IpAddr;

use crate::decide::joined;
use crate::firewall::Publish;
use crate::kernel::ContainerInterface;
use crate::model::{Endpoint, Family, Network, NetworkName, Sandbox};

/// A sandbox while its links are found.
pub(super) struct Joined {
    sandbox: Sandbox,
    networks: Vec<Network>,
    /// The next hops of the default routes that the container has by each endpoint. They are believed of the container's
    /// side: they mean something in that container alone.
    gateways: Vec<Vec<IpAddr>>,
}

impl Joined {
    pub fn new(sandbox: Sandbox) -> Self {
        Self { sandbox, networks: Vec::new(), gateways: Vec::new() }
    }

    /// Adds an endpoint, with what its interface in the container has.
    pub fn add(&mut self, endpoint: Endpoint, network: Network, inside: Option<&ContainerInterface>) {
        let has = |gateway: &IpAddr| inside.is_some_and(|inside| inside.gateways.contains(gateway));
        self.gateways.push(endpoint.gateways().filter(has).collect());
        self.sandbox.endpoints.push(endpoint);
        self.networks.push(network);
    }

    /// The sandbox with the default route and the published ports at the endpoints that have them.
    pub fn arranged(self, published: &[Publish]) -> Sandbox {
        let Self { mut sandbox, networks, gateways } = self;
        let of_endpoint = |endpoint: &Endpoint| {
            let leads_there = |port: &&Publish| endpoint.addresses.iter().any(|net| net.addr() == port.target.ip());
            published.iter().find(leads_there).map(|port| (endpoint.network.clone(), port.masquerade))
        };
        let targets: Vec<(NetworkName, bool)> = sandbox.endpoints.iter().filter_map(of_endpoint).collect();
        let (via, leads_elsewhere) = match &targets[..] {
            [(network, masquerade)] => (Some(network), *masquerade),
            // Those of each family lead by its default route.
            _ => (None, false),
        };
        let priority = |nth: usize, family| {
            i32::from(
                gateways.get(nth).is_some_and(|all: &Vec<IpAddr>| all.iter().any(|one| Family::of(*one) == family)),
            )
        };
        let mut endpoints = sandbox.endpoints.clone();
        let arranged = joined::arrange(&mut endpoints, &priority, &networks, via, leads_elsewhere);
        // A definition that was changed may have made the network internal to which its ports still lead.
        if arranged.is_err() {
            let _ = joined::arrange(&mut endpoints, &priority, &networks, None, leads_elsewhere);
        }
        (sandbox.endpoints, sandbox.leads_elsewhere) = (endpoints, leads_elsewhere);
        sandbox
    }
}
