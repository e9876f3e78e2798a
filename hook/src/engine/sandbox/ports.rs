//! The host's ports, as the store and the kernel know them.

use std::net::SocketAddr;

use crate::decide::plan::HostPorts;
use crate::engine::{Engine, Error, Result};
use crate::input::config::Firewall;
use crate::input::{HostPort, PublishRequest};
use crate::kernel::{self, FreeRange, Listeners};
use crate::model::{HostAddress, Invalid, Protocol};
use crate::store::Read;

/// How many ports of a place are asked for one by one before the store lists all that are held there.
const ONE_BY_ONE: usize = 8;

/// Ports that the plan may choose from.
pub(in crate::engine) struct Ports<'e> {
    read: Read<'e>,
    listeners: Listeners,
    places: Vec<Place>,
}

/// The ports of one protocol on one address.
struct Place {
    protocol: Protocol,
    address: HostAddress,
    /// How many were asked for.
    asked: usize,
    /// Whether a port is held, by its number; none as long as few were asked for.
    held: Option<Vec<bool>>,
    /// The ports that may be chosen, as far as they were not tried yet; none as long as there was no need to choose.
    untried: Option<Box<dyn Iterator<Item = u16>>>,
}

impl<'e> Ports<'e> {
    pub(in crate::engine) fn new(read: Read<'e>) -> Self {
        Self { read, listeners: Listeners::of_few(), places: Vec::new() }
    }

    fn place(&mut self, protocol: Protocol, address: HostAddress) -> &mut Place {
        let known = self.places.iter().position(|place| (place.protocol, place.address) == (protocol, address));
        let at = known.unwrap_or_else(|| {
            self.places.push(Place { protocol, address, asked: 0, held: None, untried: None });
            self.places.len() - 1
        });
        &mut self.places[at]
    }

    /// Whether a container has the port.
    fn is_held(&mut self, protocol: Protocol, address: HostAddress, port: u16) -> Result<bool> {
        let place = self.place(protocol, address);
        place.asked += 1;
        if let Some(held) = &place.held {
            return Ok(held[usize::from(port)]);
        }
        if place.asked <= ONE_BY_ONE {
            return Ok(self.read.port_holder(protocol, address, port, port)?.is_some());
        }
        let held = self.read.held_ports(protocol, address)?;
        let is_held = held[usize::from(port)];
        self.place(protocol, address).held = Some(held);
        Ok(is_held)
    }
}

impl HostPorts for Ports<'_> {
    type Error = Error;

    fn is_free(&mut self, protocol: Protocol, address: HostAddress, port: u16) -> Result<bool> {
        Ok(!self.is_held(protocol, address, port)? && !self.listeners.has(protocol, address, port)?)
    }

    fn any_free(&mut self, protocol: Protocol, address: HostAddress) -> Result<Option<u16>> {
        loop {
            let place = self.place(protocol, address);
            if place.untried.is_none() {
                place.untried = Some(Box::new(FreeRange::read()?.shuffled()?));
            }
            let Some(port) = place.untried.as_mut().and_then(Iterator::next) else { return Ok(None) };
            if self.is_free(protocol, address, port)? {
                return Ok(Some(port));
            }
        }
    }

    fn none_free(&self, request: &PublishRequest) -> Error {
        let protocol = request.protocol;
        match &request.host_port {
            HostPort::OneOf(range) | HostPort::Exactly(range) => {
                let (first, last) = (range.start(), range.end());
                Error::Exhausted(format!("no host port from {first} to {last}/{protocol} is free; name a larger range"))
            }
            HostPort::Free => {
                let range = FreeRange::read().map(|range| format!(" of {range}")).unwrap_or_default();
                Error::Exhausted(format!(
                    "no host port{range}/{protocol} is free, the range to choose from (sysctl net.ipv4.ip_local_port_range); \
                     stop a container, widen it, or name a port outside of it"
                ))
            }
        }
    }
}

impl Engine {
    /// Refuses host addresses that are not the host's, and ports asked for by number on which a process of the host
    /// listens.
    pub(in crate::engine) fn refuse_unpublishable(
        &self,
        publish: &[PublishRequest],
        ports: &mut Ports<'_>,
    ) -> Result<()> {
        if let (Firewall::None, Some(request)) = (self.config.firewall, publish.first()) {
            let why = "cannot be published with firewall = \"none\" in config.toml, which leaves all rules to you";
            let port = format!("{}/{}", request.container_ports.start(), request.protocol);
            return Err(Invalid::new("annotation io.ocinet.publish: port", port, why).into());
        }
        for request in publish {
            let (protocol, address) = (request.protocol, request.host_address);
            if address != HostAddress::Any && !kernel::is_local(address.ip())? {
                let field = "annotation io.ocinet.publish: host address";
                return Err(Invalid::new(field, address.ip(), "is not one of this host's").into());
            }
            let HostPort::Exactly(range) = &request.host_port else { continue };
            for port in range.clone() {
                if ports.listeners.has(protocol, address, port)? {
                    let free = self.next_free_port(protocol, address, port);
                    let socket = SocketAddr::new(address.ip(), port);
                    return Err(Error::Conflict(format!(
                        "{socket}/{protocol} is in use by a process of this host{free}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// `; 8081 is free`, for people whose port is taken.
    pub(in crate::engine) fn next_free_port(&self, protocol: Protocol, address: HostAddress, port: u16) -> String {
        let mut ports = Ports::new(self.store.read());
        let mut free = |port: &u16| ports.is_free(protocol, address, *port).unwrap_or(false);
        (port..u16::MAX)
            .map(|port| port + 1)
            .find(|port| free(port))
            .map(|port| format!("; {port} is free"))
            .unwrap_or_default()
    }
}
