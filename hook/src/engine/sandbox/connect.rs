//! Connecting a container that runs to a further network: the attach of one endpoint.
//!
//! The endpoint is wired first, while no default route and no published port leads to it. Then the container is
//! rearranged (`removal/rearrange.rs`), and at last the endpoint is said to be attached. A connection that was cut off is taken
//! back by the next command that works on the container, and by collection.

use std::cell::Cell;

use slog::{debug, info, o, warn};

use super::attach::{NAMES, TRIES};
use super::endpoint::{endpoint, name_link};
use super::kept::directory_of;
use super::lease::network_of;
use super::outcome::{LeaseConflict, Leased};
use crate::decide::joined;
use crate::decide::request::EndpointRequest;
use crate::driver::Facts;
use crate::engine::locks::{FirewallLock, alone_at, change_at_firewall};
use crate::engine::network::{Declared, remember_mac};
use crate::engine::removal::leaving;
use crate::engine::repair::Try;
use crate::engine::{Engine, Error, Result};
use crate::kernel::{self, Lock, Netns, Place};
use crate::model::{Alias, Endpoint, InterfaceName, KeptConnection, Mode, Network, Publishing, Sandbox, State};
use crate::store::Write;

/// An endpoint that is stored and is to be wired.
struct Connection {
    /// The sandbox with the endpoint, which is the last of it.
    sandbox: Sandbox,
    network: Network,
    /// Held since the lease was written, until the kernel has the network's rules.
    firewall_lock: FirewallLock,
}

/// How long a connection that is made while its container runs is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is made again with each start of the container, until it is disconnected or the container is gone.
    OverRestarts,
    /// Until the container is deleted.
    Once,
}

impl Engine {
    /// Connects the container that runs and is called `container`, by its id, its name or the beginning of its id, as
    /// `request` asks.
    ///
    /// # Errors
    /// With nothing left of it. [`Error::NotFound`] where there is no such container, [`Error::Conflict`] where it does
    /// not run, is on that network, or another has what is asked for.
    pub fn connect(&mut self, container: &str, request: &EndpointRequest, lifetime: Kept) -> Result<Sandbox> {
        self.links.permitted()?;
        let was_free = Cell::new(false);
        self.with_whole_store(|engine, nth| {
            if nth == Try::AfterRebuild && was_free.get() {
                // The first try may have wired it, and a rebuild knows it as connected.
                match engine.disconnect_found(container, &request.network, &Cell::default()) {
                    Ok(()) | Err(Error::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            engine.connect_found(container, request, lifetime, &was_free)
        })
    }

    /// One try. It notes whether the container `was_free` of that network before.
    fn connect_found(
        &mut self,
        container: &str,
        request: &EndpointRequest,
        lifetime: Kept,
        was_free: &Cell<bool>,
    ) -> Result<Sandbox> {
        let row = self.rules.follow_config(&mut self.store, &mut self.links)?;
        self.rules.keeper.backend_of(&row)?.ready()?;
        let (sandbox, _alone) = self.running(container)?;
        self.log_as(&sandbox);
        let netns = self.namespace_of(&sandbox)?;
        let sandbox = match self.complete_disconnects(&sandbox)? {
            true => self.store.read().sandbox(sandbox.number)?.unwrap_or(sandbox),
            false => sandbox,
        };
        was_free.set(!sandbox.endpoints.iter().any(|endpoint| endpoint.network == request.network));
        let mut nth = 0;
        loop {
            match self.connect_once(&sandbox, request, lifetime, &netns, nth) {
                Err(Error::Kernel(kernel::Error::Taken { alias, .. }))
                    if nth < NAMES && !Alias::may_be_of_endpoint(&alias) =>
                {
                    nth += 1;
                }
                Ok(sandbox) => {
                    info!(self.log, "connected"; "network" => %request.network);
                    return Ok(sandbox);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Notes the container with what is logged from now on: `ocinet log` finds it by that.
    pub(in crate::engine) fn log_as(&mut self, sandbox: &Sandbox) {
        self.log = self.log.new(o!("container" => sandbox.container.to_string(), "name" => sandbox.name.to_string()));
    }

    /// The one sandbox of networks that is called so and is attached, as it is now, with its lock.
    pub(in crate::engine) fn running(&mut self, container: &str) -> Result<(Sandbox, Lock)> {
        let listed = self.the_one(container)?;
        let gone = || Error::NotFound(format!("container {} was detached meanwhile", listed.container));
        let (sandbox, alone) = alone_at(&self.locks, &self.store, &listed)?.ok_or_else(gone)?;
        refuse_unconnectable(&sandbox)?;
        Ok((sandbox, alone))
    }

    /// The same without its lock, for who changes nothing.
    pub(in crate::engine) fn seen_running(&mut self, container: &str) -> Result<(Sandbox, Netns)> {
        let sandbox = self.the_one(container)?;
        refuse_unconnectable(&sandbox)?;
        let netns = self.namespace_of(&sandbox)?;
        Ok((sandbox, netns))
    }

    fn the_one(&mut self, container: &str) -> Result<Sandbox> {
        match &self.sandboxes_of(container)?[..] {
            [sandbox] => Ok(sandbox.clone()),
            several => {
                let all: Vec<String> =
                    several.iter().map(|one| format!("{} of {}", one.container, one.bundle)).collect();
                Err(Error::Conflict(format!("several containers are called so: {}", all.join(", "))))
            }
        }
    }

    /// One try for `before`, with the `nth` of the names that its link can have.
    fn connect_once(
        &mut self,
        before: &Sandbox,
        request: &EndpointRequest,
        lifetime: Kept,
        netns: &Netns,
        nth: u8,
    ) -> Result<Sandbox> {
        let number = before.number;
        let leased = self.lease_connection_in_turn(number, request, netns, nth);
        let connection = leased.map_err(|error| match error {
            // The commit may have been made all the same.
            Error::Store(_) => error.after(self.complete_disconnects_of(number)),
            error => error,
        })?;
        self.step("lease");
        let endpoint = connection.sandbox.endpoints.last().map(|endpoint| endpoint.number).unwrap_or_default();
        let network = connection.network.clone();
        let reached: Vec<Endpoint> = connection.sandbox.endpoints.last().cloned().into_iter().collect();
        let connected = self.wire_connection(connection, netns).and_then(|()| {
            self.ensure_agent(reached.iter())?;
            let arranged = self.rearrange(number, Some(netns), |_, _| Ok(()))?;
            self.rules.refuse_unpassed(&arranged, &network, &self.store)?;
            self.rewrite_hosts(before, &arranged)?;
            self.files.follow_names(before, &arranged, &self.config.dns_fallback)?;
            self.step("files");
            self.seal_connection(before, endpoint, (lifetime == Kept::OverRestarts).then(|| request.into()))
        });
        connected.map_err(|error| {
            debug!(self.log, "taking the connection back"; "error" => %error);
            error.after(self.take_back(before, endpoint, netns))
        })
    }

    /// Takes away an endpoint whose connection failed, and keeps none of it: its last write may have been made all the
    /// same.
    fn take_back(&mut self, before: &Sandbox, endpoint: i64, netns: &Netns) -> Result<()> {
        let network = |sandbox: &Sandbox| {
            sandbox.endpoints.iter().find(|one| one.number == endpoint).map(|endpoint| endpoint.network.clone())
        };
        if let Some(network) = self.store.read().sandbox(before.number)?.as_ref().and_then(network) {
            self.store.write(|store| store.keep_no_more(&before.keeping_key(), Some(&network)))?;
        }
        self.rearrange(before.number, Some(netns), |_, sandbox| {
            leaving(sandbox, &[endpoint]);
            Ok(())
        })?;
        self.complete_disconnects_of(before.number)
    }

    /// Says in the store that the endpoint is there, and that its connection is `kept`.
    fn seal_connection(&mut self, before: &Sandbox, endpoint: i64, kept: Option<KeptConnection>) -> Result<Sandbox> {
        let is_asked = kept.is_some();
        // What is kept goes with the bundle.
        let kept = kept.filter(|_| !before.bundle.is_empty());
        let directory = kept.as_ref().and_then(|_| directory_of(before));
        let sealed = self.store.write(|store| {
            let gone = || Error::NotFound("the container was detached meanwhile".into());
            let mut sandbox = store.sandbox(before.number)?.ok_or_else(gone)?;
            sandbox
                .endpoints
                .iter_mut()
                .filter(|one| one.number == endpoint)
                .for_each(|one| one.state = State::Attached);
            store.set_sandbox(&sandbox)?;
            kept.as_ref().map_or(Ok(()), |kept| store.keep(&sandbox, kept, directory))?;
            Ok::<_, Error>(sandbox)
        })?;
        self.step("seal");
        if is_asked && kept.is_none() {
            warn!(
                self.log,
                "its next start does not join the network: the store was lost since container {} was started, and its \
                 bundle is not known",
                before.container
            );
        }
        Ok(sealed)
    }

    fn lease_connection_in_turn(
        &mut self,
        number: i64,
        request: &EndpointRequest,
        netns: &Netns,
        nth: u8,
    ) -> Result<Connection> {
        for _ in 0..TRIES {
            match self.lease_connection(number, request, netns, nth) {
                Ok(connection) => return Ok(connection),
                Err(conflict) => self.make_room(conflict, &[])?,
            }
        }
        Err(Error::Conflict(format!("lost {TRIES} races for what is asked for on {}; try again", request.network)))
    }

    /// Leases what `request` asks for, and writes the intent.
    fn lease_connection(
        &mut self,
        number: i64,
        request: &EndpointRequest,
        netns: &Netns,
        nth: u8,
    ) -> Leased<Connection> {
        let declared = self.declared(&request.network)?;
        let mtu = self.links.uplink()?.map(|uplink| uplink.mtu);
        // An endpoint of ours that drains has its name until it is gone, and comes first.
        let draining = self.store.read().at_one_moment(|store| match store.sandbox(number)? {
            Some(sandbox) => store.draining_in(sandbox.namespace.cookie),
            None => Ok(None),
        })?;
        if let Some(draining) = draining {
            return Err(LeaseConflict::Draining(draining));
        }
        // Other programs may have made some: in a pod of Kubernetes, eth0 is CNI's.
        let taken = kernel::taken_in(netns, &joined::further_names(request, declared.network()))?;
        let lock = change_at_firewall(&self.locks)?;
        let (sandbox, network, row) = self.store.write(|store| {
            let (sandbox, network) = add_endpoint(store, number, request, &declared, mtu, nth, &taken)?;
            Ok::<_, LeaseConflict>((sandbox, network, store.host_row()?))
        })?;
        Ok(Connection { sandbox, network, firewall_lock: FirewallLock { lock, row } })
    }

    fn wire_connection(&mut self, connection: Connection, netns: &Netns) -> Result<()> {
        let Connection { sandbox, network, firewall_lock } = connection;
        let Some(added) = sandbox.endpoints.last() else { return Ok(()) };
        let facts =
            Facts { alias: sandbox.alias(added), guarded: self.rules.keeper.kind_of(&firewall_lock.row)?.has_rules() };
        self.rules.open_network(&sandbox, &network, firewall_lock, &mut self.store, &mut self.links)?;
        self.step("firewall");
        let _wiring = self.locks.exclusive(Place::Links)?;
        self.wire_endpoint(added, &network, &facts, netns)
    }
}

/// Refuses a container that is on no networks, or does not run.
fn refuse_unconnectable(sandbox: &Sandbox) -> Result<()> {
    let why = match (sandbox.mode, sandbox.state) {
        (Mode::Networks, State::Attached) => return Ok(()),
        (Mode::Host, _) => "has the host's own network, which it cannot leave".to_owned(),
        (Mode::None, _) => "was started with network none; start it on a network to connect it to others".to_owned(),
        (Mode::Networks, state) => format!("is {state}"),
    };
    Err(Error::Conflict(format!("container {} {why}", sandbox.container)))
}

/// Adds an endpoint as `request` asks to the sandbox of that number, with all that it leases. It is the last of the
/// sandbox, and nothing leads to it yet. `mtu` is that of the host's uplink, `nth` counts the names of its link, and
/// `taken` are names of interfaces in the container.
pub(in crate::engine) fn add_endpoint(
    store: &Write<'_>,
    number: i64,
    request: &EndpointRequest,
    declared: &Declared,
    mtu: Option<u32>,
    nth: u8,
    taken: &[InterfaceName],
) -> Leased<(Sandbox, Network)> {
    let gone = || Error::NotFound("the container was detached meanwhile".into());
    let mut sandbox = store.sandbox(number)?.ok_or_else(gone)?;
    if sandbox.endpoints.iter().any(|endpoint| endpoint.network == request.network) {
        let on = format!("container {} is on network {} already", sandbox.container, request.network);
        return Err(LeaseConflict::Failed(Error::Conflict(on)));
    }
    // Its interface may still have the name that the new one gets, and its address comes back with it.
    if let Some(number) = store.draining_in(sandbox.namespace.cookie)? {
        return Err(LeaseConflict::Draining(number));
    }
    let mut network = network_of(store, &request.network, declared, mtu)?;
    let interface = joined::further_interface(request, &network, &sandbox.endpoints, taken);
    if sandbox.endpoints.iter().any(|endpoint| endpoint.interface == interface) {
        let taken = format!("container {} has an interface {interface} already", sandbox.container);
        return Err(LeaseConflict::Failed(Error::Conflict(taken)));
    }
    let mut added = endpoint(store, &sandbox.key(), request, &network, interface)?;
    name_link(store, &network, &mut added, nth, &[])?;
    added.routes = Vec::new();
    added.set_publishing(|_| Publishing::Off);
    remember_mac(store, &mut network, &added)?;
    store.connect(&mut sandbox, added)?;
    Ok((sandbox, network))
}
