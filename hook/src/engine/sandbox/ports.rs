//! The host's ports, as the store and the kernel know them.

use std::collections::HashSet;
use std::net::SocketAddr;

use slog::warn;

use super::lease::AskedNetworks;
use crate::decide::joined;
use crate::decide::plan::{Choice, PortPool};
use crate::decide::published::{self, PublishedBy};
use crate::decide::request::EndpointRequest;
use crate::engine::network::Declared;
use crate::engine::{Engine, Error, Result};
use crate::input::config::Firewall;
use crate::input::{HostPort, PublishRequest};
use crate::kernel::{self, FreeRange, Listeners};
use crate::model::{Families, Family, HostAddress, Invalid, Network, PortMapping, Protocol};
use crate::store::Read;

/// How many more ports are asked about at least, where the first ones were not enough.
const MORE: usize = 16;

/// What says whether a port of the host is free: the store for containers, the kernel for other programs.
struct HostPorts<'e> {
    read: Read<'e>,
    listeners: Listeners,
    /// The families of the containers' addresses.
    families: Families,
}

/// The ports that may be in a pool, as far as nothing was asked about them yet.
type Untried = Box<dyn Iterator<Item = u16>>;

impl HostPorts<'_> {
    /// Which of `candidates` are free: no container has them, and no process of the host listens on them.
    fn free_of(&mut self, protocol: Protocol, address: HostAddress, candidates: &[u16]) -> Result<Vec<u16>> {
        let mut free = Vec::new();
        for span in candidates.chunk_by(|one, next| one < next) {
            let (first, last) = (span[0], span[span.len() - 1]);
            let held = self.read.held_ports(protocol, address, first, last)?;
            let held: HashSet<u16> = held.iter().flat_map(|run| run.first.max(first)..=run.last.min(last)).collect();
            for port in span.iter().filter(|port| !held.contains(port)) {
                if listened_on(&mut self.listeners, protocol, address, self.families, *port)?.is_none() {
                    free.push(*port);
                }
            }
        }
        Ok(free)
    }

    /// Asks about `count` more ports for `pool`; false where there are none.
    fn fill(&mut self, pool: &mut PortPool, untried: &mut Untried, count: usize) -> Result<bool> {
        let candidates: Vec<u16> = untried.take(count).collect();
        pool.free.extend(self.free_of(pool.protocol, pool.address, &candidates)?);
        Ok(!candidates.is_empty())
    }

    /// The mappings of `requests`. As many ports are asked about as are wanted, and more only where some of them are
    /// taken: each time twice as many, since thousands in a row may be.
    fn choose(&mut self, requests: &[PublishRequest]) -> Result<Vec<PortMapping>> {
        let mut choice = Choice::of(requests);
        let mut sources = Vec::new();
        for pool in choice.pools() {
            let mut untried: Untried = match &pool.choice {
                HostPort::OneOf(range) | HostPort::Exactly(range) => Box::new(range.clone()),
                HostPort::Free => Box::new(FreeRange::read()?.shuffled()?),
            };
            self.fill(pool, &mut untried, pool.wanted)?;
            sources.push((untried, pool.wanted.max(MORE)));
        }
        loop {
            let few = match choice.ports() {
                Ok(mappings) => return Ok(mappings),
                Err(few) => few,
            };
            let (untried, count) = &mut sources[few.pool];
            if !self.fill(&mut choice.pools()[few.pool], untried, *count)? {
                return Err(none_free(few.request));
            }
            *count *= 2;
        }
    }
}

/// The address at which a process of the host has a port that a container with addresses of `families` would take.
fn listened_on(
    listeners: &mut Listeners,
    protocol: Protocol,
    address: HostAddress,
    families: Families,
    port: u16,
) -> Result<Option<HostAddress>> {
    for one in address.of_families(families) {
        if listeners.has(protocol, one, port)? {
            return Ok(Some(one));
        }
    }
    Ok(None)
}

/// Refuses a host address of a family of which the container has no address, or has one to which none of the host leads.
fn refuse_untranslatable(publish: &[PublishRequest], by: &PublishedBy) -> Result<()> {
    let field = "annotation io.ocinet.publish: host address";
    if let Some((request, family)) = by.unroutable(publish) {
        let why = format!(
            "is an address of {family}, over which the network is routed, so that no port of the host leads there; name no \
             address, or one of the other family"
        );
        return Err(Invalid::new(field, request.host_address.ip(), why).into());
    }
    let Some(request) = by.untranslatable(publish) else { return Ok(()) };
    let (has, lacks) = match request.host_address.family() {
        Some(Family::V6) => (Family::V4, Family::V6),
        _ => (Family::V6, Family::V4),
    };
    let why = format!(
        "is an address of {lacks}, and the network to which the container's ports lead has {has} alone: no rule leads \
         from one to the other"
    );
    Err(Invalid::new(field, request.host_address.ip(), why).into())
}

/// That none is free of the ports that `request` could have.
fn none_free(request: &PublishRequest) -> Error {
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

impl Engine {
    /// What decides of the published ports of a container that joins networks: the one to which they will lead, as it is
    /// in the store, or is going to be by what the files say, or as it is among those that are `new`.
    pub(in crate::engine) fn published_by(
        &mut self,
        asked_networks: AskedNetworks<'_>,
        declared: &[Declared],
        new: &[Network],
        leads_elsewhere: bool,
    ) -> Result<PublishedBy> {
        let AskedNetworks { connections, publish, publish_via } = asked_networks;
        // The default network decides nothing but its families.
        if publish.is_empty() {
            return Ok(PublishedBy::default());
        }
        if let [Declared::Default(families)] = declared {
            return Ok(PublishedBy::default().over(*families));
        }
        let mut networks = Vec::new();
        for (EndpointRequest { network: name, .. }, declared) in connections.iter().zip(declared) {
            let read = self.store.read();
            let stored = read.network(name)?;
            let stays = |stored: &Network| Ok::<_, Error>(declared.is_met_by(stored) || read.is_network_used(name)?);
            if let Some(stored) = stored
                && stays(&stored)?
            {
                networks.push(stored);
                continue;
            }
            let defined = declared.network().or_else(|| new.iter().find(|new| new.name == *name)).cloned();
            match (defined, declared) {
                (Some(defined), _) => networks.push(defined),
                (None, Declared::Default(_)) => networks.push(self.new_network(name)?),
                // The lease finds out that it is missing.
                (None, Declared::Open | Declared::Whole(_)) => return Ok(PublishedBy::default()),
            }
        }
        let priorities = joined::priorities(connections);
        joined::published_by(&networks, &|nth, _| priorities[nth], publish_via, leads_elsewhere)
            .map_err(|error| error.within("annotation io.ocinet.publish-via").into())
    }

    /// The ports of the host that `publish` asks for or leaves open, or those of the container in a routed network.
    pub(in crate::engine) fn choose_ports(
        &self,
        publish: &[PublishRequest],
        by: &PublishedBy,
    ) -> Result<Vec<PortMapping>> {
        if by.is_routed() {
            for PublishRequest { container_ports, protocol, .. } in published::without_meaning(publish) {
                let port = container_ports.start();
                let why = "is reached at the container's own address, for its network is routed";
                warn!(self.log, "published port {port}/{protocol} {why}; what was said of the host has no effect");
            }
            return Ok(published::routed(publish));
        }
        let publish = &*by.bound(publish)?;
        let mut host = HostPorts { read: self.store.read(), listeners: Listeners::of_few(), families: by.of_host() };
        refuse_untranslatable(publish, by)?;
        self.refuse_unpublishable(publish, &mut host)?;
        host.choose(publish)
    }

    /// Refuses host addresses that are not the host's, and ports asked for by number on which a process of the host
    /// listens.
    fn refuse_unpublishable(&self, publish: &[PublishRequest], host: &mut HostPorts<'_>) -> Result<()> {
        if let (Firewall::None, Some(request)) = (self.config.firewall, publish.first()) {
            let why = "cannot be published with firewall = \"none\" in config.toml, which leaves all rules to you";
            let port = format!("{}/{}", request.container_ports.start(), request.protocol);
            return Err(Invalid::new("annotation io.ocinet.publish: port", port, why).into());
        }
        for request in publish {
            let (protocol, address) = (request.protocol, request.host_address);
            if let Some(one) = address.one()
                && !kernel::is_local(one)?
            {
                let field = match request.names_address {
                    true => "annotation io.ocinet.publish: host address",
                    false => {
                        "publish_default_address in config.toml, or host_binding of the network to which ports lead,"
                    }
                };
                return Err(Invalid::new(field, address.ip(), "is not one of this host's").into());
            }
            let HostPort::Exactly(range) = &request.host_port else { continue };
            for port in range.clone() {
                if let Some(at) = listened_on(&mut host.listeners, protocol, address, host.families, port)? {
                    let free = self.next_free_port(protocol, address, port);
                    let socket = SocketAddr::new(at.ip(), port);
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
        // Whichever of them the container has.
        let families = Family::ALL.into_iter().collect();
        let mut host = HostPorts { read: self.store.read(), listeners: Listeners::of_few(), families };
        let mut untried = port.saturating_add(1)..=u16::MAX;
        let mut count = 1;
        loop {
            let candidates: Vec<u16> = untried.by_ref().filter(|next| *next > port).take(count).collect();
            let free = host.free_of(protocol, address, &candidates).unwrap_or_default();
            match free.first() {
                Some(port) => return format!("; {port} is free"),
                None if candidates.is_empty() => return String::new(),
                None => count = count.max(MORE) * 2,
            }
        }
    }
}
