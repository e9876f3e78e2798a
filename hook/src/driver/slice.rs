//! A second driver, of a very different kind, to show what a further driver needs: it has no link on the host, a parent
//! that several networks share, addresses from a part of a range, and a VLAN that outlives the container.

use std::net::IpAddr;

use super::{Decisions, EndpointStep, NetworkStep};
use crate::model::{Alias, Endpoint, Network, Slice, Wire};

impl Decisions for Slice {
    fn wire(&self, _address: IpAddr, _nth: u8) -> Wire {
        Wire::Child { parent: self.parent.clone() }
    }

    fn of_network(&self, _network: &Network, _guarded: bool) -> Vec<NetworkStep> {
        vec![NetworkStep::Vlan { parent: self.parent.clone(), id: self.vlan }]
    }

    fn of_endpoint(&self, endpoint: &Endpoint, _alias: &Alias) -> Vec<EndpointStep> {
        let (parent, name) = (self.parent.clone(), endpoint.interface.clone());
        vec![EndpointStep::Child { parent, name, mac: endpoint.mac }]
    }
}
