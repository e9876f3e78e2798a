use std::net::IpAddr;

use crate::decide::ipam;
use crate::model::{Endpoint, Mac, Network};
use crate::store::{self, Write};

/// Remembers where `endpoint` of `network` has another MAC than the one that follows from its address, or may use any:
/// from now on, a host on the network may know that for an address that another container gets.
pub(in crate::engine) fn remember_mac(
    store: &Write<'_>,
    network: &mut Network,
    endpoint: &Endpoint,
) -> store::Result<()> {
    if network.options.derived_macs && (endpoint.unguarded || !is_derived(network, endpoint)) {
        network.options.derived_macs = false;
        store.set_network(network)?;
    }
    Ok(())
}

/// Whether the MAC follows from each of the addresses: it follows from the first, so that one of IPv6 behind it has to
/// follow from that.
fn is_derived(network: &Network, endpoint: &Endpoint) -> bool {
    let mut addresses = endpoint.addresses.iter().map(ipnet::IpNet::addr);
    let Some(first) = addresses.next() else { return true };
    let embeds_first = |address: IpAddr| match first {
        IpAddr::V4(v4) => network.subnets.iter().any(|subnet| ipam::embedding(subnet, v4) == Some(address)),
        IpAddr::V6(_) => false,
    };
    Mac::of(first) == endpoint.mac && addresses.all(embeds_first)
}
