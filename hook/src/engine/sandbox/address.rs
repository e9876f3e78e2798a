//! Which address an endpoint gets.

use std::net::IpAddr;

use ipnet::IpNet;

use super::outcome::{LeaseConflict, Leased, Wanted};
use crate::decide::ipam;
use crate::decide::request::EndpointRequest;
use crate::model::{Key, Mac, Network, NetworkName, Subnet};
use crate::store::{self, Write};

/// The address that was asked for, or the one that the container had, or the next free one: of several ranges, in the
/// first that has one.
pub(in crate::engine) fn address(
    store: &Write<'_>,
    key: &Key,
    connection: &EndpointRequest,
    network: &Network,
) -> Leased<IpNet> {
    let with_prefix = |subnet: &Subnet, address| {
        IpNet::new(address, subnet.range.prefix_len()).expect("a prefix length of the same family")
    };
    let none = || LeaseConflict::NoAddress(network.clone());
    let Some(wanted) = connection.addresses.first() else {
        let free = FreeAddresses { store, connection, name: &network.name };
        if let Some((subnet, address)) = free.past(key, &network.subnets)? {
            return Ok(with_prefix(subnet, address));
        }
        for subnet in &network.subnets {
            if let Some(address) = free.next(subnet)? {
                store.set_last_address(&network.name, address)?;
                return Ok(with_prefix(subnet, address));
            }
        }
        return Err(none());
    };
    let around = network.subnets.iter().find(|subnet| subnet.range.contains(wanted));
    let subnet = around.or(network.subnets.first()).ok_or_else(none)?;
    ipam::check(subnet, *wanted).map_err(|e| e.within("annotation io.ocinet.network"))?;
    match store.address_holder(&network.name, *wanted)? {
        Some(by) => Err(LeaseConflict::Held { by, what: Wanted::Address(*wanted) }),
        None => Ok(with_prefix(subnet, *wanted)),
    }
}

/// The addresses of a network that a container could get.
struct FreeAddresses<'r> {
    store: &'r Write<'r>,
    connection: &'r EndpointRequest,
    name: &'r NetworkName,
}

impl FreeAddresses<'_> {
    /// The address that the container of `key` had, with its subnet, where it is free and one that is given out.
    fn past<'s>(&self, key: &Key, subnets: &'s [Subnet]) -> store::Result<Option<(&'s Subnet, IpAddr)>> {
        for address in self.store.past_addresses(key, self.name)? {
            let given_out = subnets.iter().find(|subnet| ipam::is_given_out(subnet, address));
            if let Some(subnet) = given_out
                && !self.is_taken(address)?
            {
                return Ok(Some((subnet, address)));
            }
        }
        Ok(None)
    }

    /// The next free one of `subnet`.
    fn next(&self, subnet: &Subnet) -> store::Result<Option<IpAddr>> {
        ipam::next(subnet, self.store.last_address(self.name)?, |address| self.is_taken(address))
    }

    fn is_taken(&self, address: IpAddr) -> store::Result<bool> {
        // Another container may have asked for the MAC that follows from the address.
        let is_mac_taken = || match self.connection.mac {
            Some(_) => Ok(false),
            None => self.store.mac_holder(self.name, Mac::of(address)).map(|holder| holder.is_some()),
        };
        Ok(self.store.address_holder(self.name, address)?.is_some() || is_mac_taken()?)
    }
}
