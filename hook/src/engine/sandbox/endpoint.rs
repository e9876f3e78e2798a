//! What an endpoint gets that no other has.

use super::address::addresses;
use super::outcome::{LeaseConflict, Leased, Wanted};
use crate::decide::request::EndpointRequest;
use crate::decide::{ipam, plan};
use crate::driver;
use crate::engine::Error;
use crate::model::{Endpoint, IPV6_MIN_MTU, InterfaceName, Invalid, Key, Network};
use crate::store::Write;

/// The endpoint of `connection`, with an address and a MAC address that no other has.
pub(in crate::engine) fn endpoint(
    store: &Write<'_>,
    key: &Key,
    connection: &EndpointRequest,
    network: &Network,
    interface: InterfaceName,
) -> Leased<Endpoint> {
    if let Some(mac) = connection.mac {
        ipam::check_mac(&network.subnets, mac)?;
    }
    let addresses = addresses(store, key, connection, network)?;
    let endpoint = plan::endpoint(connection, network, addresses, interface);
    check_mtu(&endpoint)?;
    match store.mac_holder(&network.name, endpoint.mac)? {
        Some(by) => Err(LeaseConflict::Held { by, what: Wanted::Mac(endpoint.mac.to_string()) }),
        None => Ok(endpoint),
    }
}

/// With a smaller MTU, the kernel takes IPv6 away from a link.
fn check_mtu(endpoint: &Endpoint) -> Leased<()> {
    if endpoint.mtu >= IPV6_MIN_MTU || endpoint.addresses.iter().all(|address| address.addr().is_ipv4()) {
        return Ok(());
    }
    let why = format!("is too small for IPv6 on network {}, which needs {IPV6_MIN_MTU}", endpoint.network);
    Err(Invalid::new("mtu", endpoint.mtu, why).into())
}

/// Gives the link of `endpoint` on the host a name that no other has, neither in the store nor of those `beside` it in
/// its container: the `nth` of those that it can have, or a later one. Those of different addresses of IPv6 can be the
/// same.
pub(super) fn name_link(
    store: &Write<'_>,
    network: &Network,
    endpoint: &mut Endpoint,
    nth: u8,
    beside: &[Endpoint],
) -> Leased<()> {
    let address = endpoint.addresses[0].addr();
    for nth in nth..driver::LINK_NAMES {
        let wire = driver::wire(network, address, nth);
        let is_free = match wire.host_link() {
            None => true,
            Some(link) if beside.iter().any(|other| other.wire.host_link() == Some(link)) => false,
            Some(link) => store.link_holder(link)?.is_none(),
        };
        if is_free {
            endpoint.wire = wire;
            return Ok(());
        }
    }
    let why =
        format!("other containers have every name that the link of {address} on network {} can have", network.name);
    Err(LeaseConflict::Failed(Error::Exhausted(why)))
}
