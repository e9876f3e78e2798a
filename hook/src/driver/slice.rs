//! A second driver, of a very different kind, to show what a further driver needs: its endpoints have no link on the
//! host, it has a parent that several networks share, addresses from a part of a range, and a bridge that outlives the
//! container. Its endpoints would be made by a kind of step that `kernel/perform` does not have yet.

use std::net::IpAddr;

use super::{BridgeLink, Decisions, EndpointStep, NetworkStep};
use crate::model::{Alias, Endpoint, InterfaceName, Mac, Network, Slice, Wire};

impl Decisions for Slice {
    fn wire(&self, _address: IpAddr, _nth: u8) -> Wire {
        Wire::Child { parent: self.parent.clone() }
    }

    fn wire_by_link(&self, _link: &InterfaceName) -> Option<Wire> {
        None
    }

    fn of_network(&self, network: &Network, guarded: bool) -> Vec<NetworkStep> {
        vec![NetworkStep::Bridge(BridgeLink {
            name: self.bridge.clone(),
            alias: Alias::Network(network.name.clone()),
            mac: Mac::of([0, 0, 0, 0].into()),
            mtu: network.options.mtu,
            addresses: Vec::new(),
            stand_ins: Vec::new(),
            has_ipv6: false,
            guarded,
        })]
    }

    fn of_endpoint(&self, _network: &Network, _endpoint: &Endpoint, _alias: &Alias) -> Vec<EndpointStep> {
        Vec::new()
    }

    fn mac_of_gateway(&self, _network: &Network, _gateway: IpAddr) -> Option<Mac> {
        None
    }

    fn may_be_misremembered(&self, _network: &Network) -> bool {
        true
    }
}
