//! Leasing: what a container gets, decided in one transaction.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Engine, Error, Result};
use crate::ipam;
use crate::kernel::{self, Lock, Place, PortGuard};
use crate::model::{
    Endpoint, HostAddress, HostPort, Invalid, Mode, Namespace, Network, PortMapping, Protocol, PublishRequest, Record,
    State,
};
use crate::plan::{self, HostPorts};
use crate::request::{Connection, Request};
use crate::store::{self, Read, Write};

/// How often a lease that somebody snatched away is tried again.
const TRIES: usize = 16;

/// What stands in the way of a lease.
enum Claim {
    /// Another record holds this.
    Held {
        by: i64,
        what: Wanted,
    },
    /// All addresses of the network are given away.
    NoAddress,
    Failed(Error),
}

/// What was wanted and is held.
enum Wanted {
    Address(IpAddr),
    Mac(String),
    Port { protocol: Protocol, address: HostAddress, port: u16 },
}

impl From<store::Error> for Claim {
    fn from(error: store::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Invalid> for Claim {
    fn from(error: Invalid) -> Self {
        Self::Failed(error.into())
    }
}

impl Engine {
    /// Writes a record without endpoints, for a container that holds nothing.
    pub(super) fn lease_nothing(&mut self, request: &Request, namespace: Namespace) -> Result<Record> {
        let mut record = intent(request, namespace, request.wiring.mode(), Vec::new(), Vec::new());
        self.store.write(|store| store.insert(&mut record))?;
        Ok(record)
    }

    /// Leases an address and the ports, and writes the intent. The lock that comes with the record is the one under which
    /// the firewall must follow.
    pub(super) fn lease(
        &mut self,
        request: &Request,
        connection: &Connection,
        publish: &[PublishRequest],
        namespace: &Namespace,
        network: &Network,
    ) -> Result<(Record, Lock)> {
        for address in publish.iter().map(|request| request.host_address) {
            if address != HostAddress::Any && !kernel::is_local(address.ip()) {
                return Err(Invalid::new(
                    "annotation io.ocinet.publish: host address",
                    address.ip(),
                    "is not one of this host's",
                )
                .into());
            }
        }
        let mtu = self.links.uplink()?.map(|uplink| uplink.mtu);
        let mut collected_all = false;
        for _ in 0..TRIES {
            let mut ports = Ports { read: self.store.read(), guards: Vec::new() };
            let mappings = plan::ports(publish, &mut ports)?;
            let guards = ports.guards;
            self.refuse_listeners(publish)?;
            let change = self.locks.shared(Place::Firewall)?;
            let nonce =
                getrandom::u64().map_err(|e| kernel::Error::refused("get random bytes", std::io::Error::other(e)))?;
            let leased = self.store.write(|store| {
                free_of_others(store, &mappings)?;
                let address = address(store, connection, network)?;
                let endpoint = plan::endpoint(connection, network, address, mtu, nonce);
                if let Some(by) = store.mac_holder(&network.name, endpoint.mac)? {
                    return Err(Claim::Held { by, what: Wanted::Mac(endpoint.mac.to_string()) });
                }
                let mut record = intent(request, namespace.clone(), Mode::Bridge, vec![endpoint], mappings.clone());
                store.insert(&mut record)?;
                store.set_last_address(&network.name, address.addr())?;
                Ok(record)
            });
            drop(guards);
            match leased {
                Ok(record) => return Ok((record, change)),
                Err(Claim::Failed(error)) => return Err(error),
                Err(Claim::Held { by, what }) => {
                    drop(change);
                    if !self.collect_if_dead(by)? {
                        self.refuse_held(by, &what, publish)?;
                    }
                }
                Err(Claim::NoAddress) => {
                    drop(change);
                    if std::mem::replace(&mut collected_all, true) || self.collect()?.count() == 0 {
                        return Err(no_address(network));
                    }
                }
            }
        }
        Err(Error::Conflict(format!("lost {TRIES} races for what container {} asks for; try again", request.container)))
    }

    /// Refuses ports that were asked for by number and on which a process of the host listens.
    fn refuse_listeners(&self, publish: &[PublishRequest]) -> Result<()> {
        for request in publish {
            let HostPort::Exactly(range) = &request.host_port else { continue };
            let (protocol, address) = (request.protocol, request.host_address);
            for port in range.clone() {
                if kernel::listener_on(protocol, address, port)? {
                    let free = self.next_free(protocol, address, port);
                    let socket = SocketAddr::new(address.ip(), port);
                    return Err(Error::Conflict(format!(
                        "{socket}/{protocol} is in use by a process of this host{free}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// The error about something held by a living container; none where a port that nobody named was snatched away.
    fn refuse_held(&self, by: i64, what: &Wanted, publish: &[PublishRequest]) -> Result<()> {
        let Some(holder) = self.store.read().record(by)? else { return Ok(()) };
        let owner = &holder.container;
        Err(Error::Conflict(match what {
            Wanted::Address(address) => format!("address {address} is leased to container {owner}"),
            Wanted::Mac(mac) => format!("MAC address {mac} is leased to container {owner}"),
            Wanted::Port { protocol, address, port } => {
                let named = |request: &PublishRequest| matches!(&request.host_port, HostPort::Exactly(range) if range.contains(port));
                if !publish.iter().any(named) {
                    return Ok(());
                }
                let free = self.next_free(*protocol, *address, *port);
                format!("{}/{protocol} is published by container {owner}{free}", SocketAddr::new(address.ip(), *port))
            }
        }))
    }

    /// `; 8081 is free`, for people whose port is taken.
    fn next_free(&self, protocol: Protocol, address: HostAddress, port: u16) -> String {
        let read = self.store.read();
        let free = |port: &u16| {
            matches!(read.port_holder(protocol, address, *port, *port), Ok(None))
                && matches!(kernel::listener_on(protocol, address, *port), Ok(false))
        };
        (port..u16::MAX).map(|port| port + 1).find(free).map(|port| format!("; {port} is free")).unwrap_or_default()
    }
}

fn intent(
    request: &Request,
    namespace: Namespace,
    mode: Mode,
    endpoints: Vec<Endpoint>,
    publish: Vec<PortMapping>,
) -> Record {
    Record {
        number: 0,
        container: request.container.clone(),
        bundle: request.bundle.clone(),
        name: request.name.clone(),
        mode,
        state: State::Attaching,
        namespace,
        endpoints,
        publish,
    }
}

fn free_of_others(store: &Write<'_>, mappings: &[PortMapping]) -> std::result::Result<(), Claim> {
    for mapping in mappings {
        let PortMapping { protocol, host_address: address, host_port, .. } = *mapping;
        if let Some(owner) = store.port_holder(protocol, address, host_port, mapping.last_host_port())? {
            return Err(Claim::Held { by: owner.number, what: Wanted::Port { protocol, address, port: owner.port } });
        }
    }
    Ok(())
}

/// The address that was asked for, or the next free one.
fn address(store: &Write<'_>, connection: &Connection, network: &Network) -> std::result::Result<IpNet, Claim> {
    let subnet = network.subnets.first().ok_or(Claim::NoAddress)?;
    let name = &network.name;
    let address = match connection.addresses.first() {
        Some(wanted) => {
            ipam::check(subnet, *wanted).map_err(|e| e.within("annotation io.ocinet.network"))?;
            if let Some(by) = store.address_holder(name, *wanted)? {
                return Err(Claim::Held { by, what: Wanted::Address(*wanted) });
            }
            *wanted
        }
        None => {
            let taken = |address| store.address_holder(name, address).map(|holder| holder.is_some());
            ipam::next(subnet, store.last_address(name)?, taken)?.ok_or(Claim::NoAddress)?
        }
    };
    Ok(IpNet::new(address, subnet.range.prefix_len()).expect("a prefix length of the same family"))
}

fn no_address(network: &Network) -> Error {
    let ranges: Vec<String> = network.subnets.iter().map(|subnet| subnet.range.to_string()).collect();
    Error::Exhausted(format!("network {} has no free address left in {}", network.name, ranges.join(", ")))
}

/// The host's ports, as the store and the kernel know them.
struct Ports<'e> {
    read: Read<'e>,
    guards: Vec<PortGuard>,
}

impl HostPorts for Ports<'_> {
    type Error = Error;

    fn is_free(&mut self, protocol: Protocol, address: HostAddress, port: u16) -> Result<bool> {
        let held = self.read.port_holder(protocol, address, port, port)?.is_some();
        Ok(!held && !kernel::listener_on(protocol, address, port)?)
    }

    fn any_free(&mut self, protocol: Protocol, address: HostAddress) -> Result<u16> {
        // The kernel knows its listeners, the store the published ports; the guards make the kernel go on.
        loop {
            let (port, guard) = kernel::free_port(protocol, address)?;
            self.guards.push(guard);
            if self.read.port_holder(protocol, address, port, port)?.is_none() {
                return Ok(port);
            }
        }
    }

    fn none_free(&self, request: &PublishRequest) -> Error {
        let HostPort::OneOf(range) = &request.host_port else {
            return Error::Exhausted("no host port is free".into());
        };
        let (first, last, protocol) = (range.start(), range.end(), request.protocol);
        Error::Exhausted(format!("no host port from {first} to {last}/{protocol} is free; name a larger range"))
    }
}
