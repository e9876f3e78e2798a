use crate::model::{Endpoint, Mac, Network};
use crate::store::{self, Write};

/// Remembers where `endpoint` of `network` has another MAC than the one that follows from its address, or may use any:
/// from now on, a host on the network may know that for an address that another container gets.
pub(in crate::engine) fn remember_mac(
    store: &Write<'_>,
    network: &mut Network,
    endpoint: &Endpoint,
) -> store::Result<()> {
    // The MAC follows from the first address.
    let is_other = endpoint.addresses.first().is_some_and(|address| Mac::of(address.addr()) != endpoint.mac);
    let is_chosen = is_other || endpoint.unguarded;
    if network.options.derived_macs && is_chosen {
        network.options.derived_macs = false;
        store.set_network(network)?;
    }
    Ok(())
}
