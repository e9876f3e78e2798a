//! Which address an endpoint gets.

use std::net::IpAddr;

use ipnet::IpNet;

use super::outcome::{LeaseConflict, Leased, Wanted};
use crate::decide::ipam;
use crate::decide::request::EndpointRequest;
use crate::model::{Family, Key, Mac, Network, NetworkName, Subnet};
use crate::store::{self, Write};

/// The addresses of an endpoint: one of each family that the network has, that of IPv4 first.
pub(in crate::engine) fn addresses(
    store: &Write<'_>,
    key: &Key,
    connection: &EndpointRequest,
    network: &Network,
) -> Leased<Vec<IpNet>> {
    connection.addresses.iter().try_for_each(|wanted| ipam::subnet_for(network, *wanted).map(drop))?;
    let mut found: Vec<IpNet> = Vec::new();
    for family in Family::ALL {
        if network.subnets.iter().any(|subnet| is_of(family, subnet)) {
            let free = FreeAddresses { store, connection, name: &network.name, first: found.first().map(IpNet::addr) };
            found.push(free.address(family, key, network)?);
        }
    }
    if found.is_empty() { Err(no_address_left(store, network)?) } else { Ok(found) }
}

fn no_address_left(store: &Write<'_>, network: &Network) -> store::Result<LeaseConflict> {
    let holders = store.address_holders(&network.name)?;
    Ok(LeaseConflict::NoAddress { network: Box::new(network.clone()), holders })
}

fn is_of(family: Family, subnet: &Subnet) -> bool {
    Family::of(subnet.range.addr()) == family
}

/// The addresses of a network that a container could get.
struct FreeAddresses<'r> {
    store: &'r Write<'r>,
    connection: &'r EndpointRequest,
    name: &'r NetworkName,
    /// The address of the endpoint from which its MAC address follows, where it has one already.
    first: Option<IpAddr>,
}

impl FreeAddresses<'_> {
    /// The address of `family` that was asked for, or the one that the container had, or one that embeds its IPv4
    /// address, or the next free one: of several ranges, in the first that has one.
    fn address(&self, family: Family, key: &Key, network: &Network) -> Leased<IpNet> {
        let subnets: Vec<&Subnet> = network.subnets.iter().filter(|subnet| is_of(family, subnet)).collect();
        let with_prefix = |subnet: &Subnet, address| {
            IpNet::new(address, subnet.range.prefix_len()).expect("a prefix length of the same family")
        };
        if let Some(wanted) = self.connection.addresses.iter().find(|address| Family::of(**address) == family) {
            let subnet = ipam::subnet_for(network, *wanted)?;
            return match self.store.address_holder(self.name, *wanted)? {
                Some(by) => Err(LeaseConflict::Held { by, what: Wanted::Address(*wanted) }),
                None => Ok(with_prefix(subnet, *wanted)),
            };
        }
        if let Some((subnet, address)) = self.past(key, &subnets)? {
            return Ok(with_prefix(subnet, address));
        }
        if let Some((subnet, address)) = self.embedding(&subnets)? {
            return Ok(with_prefix(subnet, address));
        }
        for subnet in subnets {
            if let Some(address) = self.next(subnet)? {
                self.store.set_last_address(self.name, address)?;
                return Ok(with_prefix(subnet, address));
            }
        }
        Err(no_address_left(self.store, network)?)
    }

    /// The address that the container of `key` had, with its subnet, where it is free and one that is given out.
    fn past<'s>(&self, key: &Key, subnets: &[&'s Subnet]) -> store::Result<Option<(&'s Subnet, IpAddr)>> {
        for address in self.store.past_addresses(key, self.name)? {
            let given_out = subnets.iter().find(|subnet| ipam::is_given_out(subnet, address));
            if let Some(subnet) = given_out.copied()
                && !self.is_taken(address)?
            {
                return Ok(Some((subnet, address)));
            }
        }
        Ok(None)
    }

    /// The one that embeds the IPv4 address of the endpoint, with its subnet, where it is free.
    fn embedding<'s>(&self, subnets: &[&'s Subnet]) -> store::Result<Option<(&'s Subnet, IpAddr)>> {
        let Some(IpAddr::V4(v4)) = self.first else { return Ok(None) };
        for subnet in subnets {
            if let Some(address) = ipam::embedding(subnet, v4)
                && !self.is_taken(address)?
            {
                return Ok(Some((subnet, address)));
            }
        }
        Ok(None)
    }

    /// The next free one of `subnet`.
    fn next(&self, subnet: &Subnet) -> store::Result<Option<IpAddr>> {
        ipam::next(subnet, self.store.last_address(self.name, Family::of(subnet.range.addr()))?, |address| {
            self.is_taken(address)
        })
    }

    fn is_taken(&self, address: IpAddr) -> store::Result<bool> {
        // Another container may have asked for the MAC that follows from the address.
        let is_mac_taken = || match (self.connection.mac, self.first) {
            (Some(_), _) | (_, Some(_)) => Ok(false),
            (None, None) => self.store.mac_holder(self.name, Mac::of(address)).map(|holder| holder.is_some()),
        };
        Ok(self.store.address_holder(self.name, address)?.is_some() || is_mac_taken()?)
    }
}
