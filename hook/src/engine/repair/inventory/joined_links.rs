//! The links of one container, and what is decided of all of them together: as at its attach, with what the kernel
//! tells of it.

use crate::decide::joined;
use crate::firewall::Publish;
use crate::kernel::ContainerInterface;
use crate::model::{Endpoint, Network, NetworkName, Sandbox};

/// A sandbox while its links are found.
pub(super) struct Joined {
    sandbox: Sandbox,
    networks: Vec<Network>,
    /// Of each endpoint, 1 where the container has its default route by it. That is believed of the container's side:
    /// it means something in that container alone.
    priorities: Vec<i32>,
}

impl Joined {
    pub fn new(sandbox: Sandbox) -> Self {
        Self { sandbox, networks: Vec::new(), priorities: Vec::new() }
    }

    /// Adds an endpoint, with what its interface in the container has.
    pub fn add(&mut self, endpoint: Endpoint, network: Network, inside: Option<&ContainerInterface>) {
        let has = |gateway| inside.is_some_and(|inside| inside.gateways.contains(&gateway));
        self.priorities.push(endpoint.gateways().any(has).into());
        self.sandbox.endpoints.push(endpoint);
        self.networks.push(network);
    }

    /// The sandbox with the default route and the published ports at the endpoints that have them.
    pub fn arranged(self, published: &[Publish]) -> Sandbox {
        let Self { mut sandbox, networks, priorities } = self;
        let target = sandbox.endpoints.iter().find_map(|endpoint| {
            let leads_there = |port: &&Publish| endpoint.addresses.iter().any(|net| net.addr() == port.target.ip());
            published.iter().find(leads_there).map(|port| (endpoint.network.clone(), port.masquerade))
        });
        let (via, leads_elsewhere): (Option<NetworkName>, bool) =
            target.map_or((None, false), |(network, masquerade)| (Some(network), masquerade));
        let mut endpoints = sandbox.endpoints.clone();
        let arranged = joined::arrange(&mut endpoints, &priorities, &networks, via.as_ref(), leads_elsewhere);
        // A definition that was changed may have made the network internal to which its ports still lead.
        if arranged.is_err() {
            let _ = joined::arrange(&mut endpoints, &priorities, &networks, None, leads_elsewhere);
        }
        (sandbox.endpoints, sandbox.leads_elsewhere) = (endpoints, leads_elsewhere);
        sandbox
    }
}
