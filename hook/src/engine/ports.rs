//! The host's ports, as the store and the kernel know them.

use std::net::SocketAddr;

use super::{Engine, Error, Result};
use crate::config::Firewall;
use crate::kernel::{self, PortGuard};
use crate::model::{HostAddress, HostPort, Invalid, Protocol, PublishRequest};
use crate::plan::HostPorts;
use crate::store::Read;

/// Ports that the plan may choose from. What it chose stays chosen until the guards go.
pub(super) struct Ports<'e> {
    read: Read<'e>,
    guards: Vec<PortGuard>,
}

impl<'e> Ports<'e> {
    pub(super) fn new(read: Read<'e>) -> Self {
        Self { read, guards: Vec::new() }
    }

    pub(super) fn into_guards(self) -> Vec<PortGuard> {
        self.guards
    }
}

impl HostPorts for Ports<'_> {
    type Error = Error;

    fn is_free(&mut self, protocol: Protocol, address: HostAddress, port: u16) -> Result<bool> {
        let held = self.read.port_holder(protocol, address, port, port)?.is_some();
        Ok(!held && !kernel::listener_on(protocol, address, port)?)
    }

    fn any_free(&mut self, protocol: Protocol, address: HostAddress) -> Result<u16> {
        // The kernel knows its sockets, the store the published ports; the guards make the kernel go on.
        loop {
            let (port, guard) = kernel::free_port(protocol, address)?;
            self.guards.push(guard);
            if self.read.port_holder(protocol, address, port, port)?.is_none() {
                return Ok(port);
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
            HostPort::Free => Error::Exhausted(format!("no host port for {protocol} is free")),
        }
    }
}

impl Engine {
    /// Refuses host addresses that are not the host's, and ports asked for by number on which a process of the host
    /// listens.
    pub(super) fn refuse_unpublishable(&self, publish: &[PublishRequest]) -> Result<()> {
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
                if kernel::listener_on(protocol, address, port)? {
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
    pub(super) fn next_free_port(&self, protocol: Protocol, address: HostAddress, port: u16) -> String {
        let mut ports = Ports::new(self.store.read());
        let mut free = |port: &u16| ports.is_free(protocol, address, *port).unwrap_or(false);
        (port..u16::MAX)
            .map(|port| port + 1)
            .find(|port| free(port))
            .map(|port| format!("; {port} is free"))
            .unwrap_or_default()
    }
}
