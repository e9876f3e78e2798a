use slog::{debug, info, warn};

use super::{Engine, Error, Result};
use crate::kernel::{self, Lock, Netns, Nftables, Place};
use crate::model::{HostAddress, Invalid, Mode, Namespace, Network, Protocol, Record, State, Witness};
use crate::oci::NetworkNamespace;
use crate::plan;
use crate::request::{Request, Wiring};

/// How an attach ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The sandbox was wired.
    Attached(Record),
    /// It was wired before, and all of it stands.
    Stands(Record),
    /// Another container owns the sandbox; this one shares what that one has.
    Member {
        /// The owner's record.
        of: Record,
    },
}

impl Engine {
    /// Wires the sandbox that `request` asks for, or finds it wired.
    ///
    /// # Errors
    /// With nothing of it left; where even that failed, [`Error::Rollback`].
    pub fn attach(&mut self, request: &Request) -> Result<Outcome> {
        for warning in &request.warnings {
            warn!(self.log, "{warning}");
        }
        let (netns, namespace) = self.namespace(request)?;
        self.step("namespace");
        let key = crate::model::Key::new(&request.container, &request.bundle);
        let _sandbox = self.locks.exclusive(Place::Sandbox(key.lock_offset()))?;
        if let Some(record) = self.store.read().find(&key)?
            && let Some(record) = self.settle(record, &namespace)?
        {
            return Ok(Outcome::Stands(record));
        }
        if let Some(of) = self.owner(request, &namespace)? {
            info!(self.log, "shares the network of container {}", of.container);
            if matches!(&request.wiring, Wiring::Bridge { publish, .. } if !publish.is_empty()) {
                warn!(
                    self.log,
                    "published ports have no effect in the network namespace of container {}", of.container
                );
            }
            return Ok(Outcome::Member { of });
        }
        let record = match &request.wiring {
            Wiring::Bridge { connection, publish } => {
                let network = self.network(&connection.network)?;
                let (record, change) = self.lease(request, connection, publish, &namespace, &network)?;
                self.step("lease");
                self.or_roll_back(record, |engine, record| engine.wire(record, &network, &netns, change))?
            }
            Wiring::None => {
                let record = self.lease_nothing(request, namespace)?;
                let steps = [crate::driver::SandboxStep::Loopback];
                self.or_roll_back(record, |_, _| Ok(kernel::wire(&netns, &steps)?))?
            }
            Wiring::Host => self.lease_nothing(request, namespace)?,
        };
        self.seal(record)
    }

    /// What is to become of an earlier record of the same container: `Some` if it stands as it should, `None` once it
    /// is out of the way.
    fn settle(&mut self, record: Record, namespace: &Namespace) -> Result<Option<Record>> {
        if record.namespace.cookie == namespace.cookie {
            if record.state == State::Attached && self.stands(&record)? {
                debug!(self.log, "is attached already");
                return Ok(Some(record));
            }
        } else if self.lives(&record)? {
            return Err(Error::Conflict(format!(
                "container {} of bundle {} is attached with another network namespace that is in use; stop that one first",
                record.container, record.bundle
            )));
        }
        let residue = self.detach_record(record)?;
        residue.finish_in_background(self)?;
        Ok(None)
    }

    /// The record of another container that owns this sandbox. Nobody owns the host's.
    fn owner(&mut self, request: &Request, namespace: &Namespace) -> Result<Option<Record>> {
        if request.wiring == Wiring::Host {
            return Ok(None);
        }
        match self.store.read().find_by_cookie(namespace.cookie)? {
            Some(record) if record.state != State::Attached && self.collect_if_dead(record.number)? => Ok(None),
            owner => Ok(owner),
        }
    }

    /// Whether the links of an attached record are there.
    fn stands(&mut self, record: &Record) -> Result<bool> {
        for endpoint in &record.endpoints {
            if self.links.ours(endpoint.attachment.host_interface())?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn wire(&mut self, record: &Record, network: &Network, netns: &Netns, change: Lock) -> Result<()> {
        let mut firewall = Nftables::open()?;
        self.open_firewall(&mut firewall, record, network, change)?;
        self.step("firewall");
        let udp = |mapping: &&crate::model::PortMapping| mapping.protocol == Protocol::Udp;
        let ports: Vec<(HostAddress, u16)> = record
            .publish
            .iter()
            .filter(udp)
            .flat_map(|mapping| mapping.pairs().map(|(port, _)| (mapping.host_address, port)))
            .collect();
        if !ports.is_empty() {
            self.warn_of(kernel::flush_host_flows(&ports));
            self.step("flows");
        }
        for steps in plan::steps(record, network) {
            for step in &steps.host {
                self.links.apply(step, netns, &self.locks)?;
            }
            self.step("links");
            kernel::wire(netns, &steps.sandbox)?;
            self.step("sandbox");
        }
        Ok(())
    }

    /// Runs `work`; when it fails, takes away whatever of `record` came to be.
    fn or_roll_back(&mut self, record: Record, work: impl FnOnce(&mut Self, &Record) -> Result<()>) -> Result<Record> {
        let Err(attach) = work(self, &record) else { return Ok(record) };
        debug!(self.log, "rolling back"; "error" => %attach);
        let taken_back = self.detach_record(record).and_then(|residue| residue.finish_in_background(self));
        Err(match taken_back {
            Ok(()) => attach,
            Err(detach) => Error::Rollback { attach: attach.into(), detach: detach.into() },
        })
    }

    fn seal(&mut self, mut record: Record) -> Result<Outcome> {
        self.store.write(|store| store.set_state(&mut record, State::Attached))?;
        self.step("seal");
        let addresses: Vec<String> =
            record.endpoints.iter().flat_map(|endpoint| &endpoint.addresses).map(ToString::to_string).collect();
        info!(self.log, "attached"; "mode" => %record.mode, "addresses" => addresses.join(" "));
        Ok(Outcome::Attached(record))
    }

    /// Finds the container's network namespace and how to recognise it later.
    fn namespace(&self, request: &Request) -> Result<(Netns, Namespace)> {
        let wrong = |error: kernel::Error| match &request.namespace {
            NetworkNamespace::At(path) => {
                Invalid::new("config: path of the network namespace", path.display(), error.to_string())
            }
            _ => Invalid::new("state: pid", request.pid, error.to_string()),
        };
        let (netns, witness) = match &request.namespace {
            NetworkNamespace::At(path) => (Netns::at(path).map_err(wrong)?, Witness::Path(path.clone())),
            NetworkNamespace::New | NetworkNamespace::Inherited => {
                let (netns, started) = Netns::of_process(request.pid).map_err(wrong)?;
                (netns, Witness::Process { pid: request.pid, started })
            }
        };
        let cookie = netns.cookie().map_err(wrong)?;
        match (request.wiring.mode(), cookie == self.host_cookie) {
            (Mode::Host, false) => {
                let why = "needs the host's network namespace, and a hook cannot change a container's afterwards; \
                           remove the entry of type network from linux.namespaces in config.json";
                return Err(Invalid::new("annotation io.ocinet.network", "host", why).into());
            }
            (Mode::Bridge | Mode::None, true) => {
                let why = "is wanted for a container that is in the host's own network namespace; \
                           give it one of its own with an entry of type network in linux.namespaces of config.json";
                return Err(Invalid::new("annotation io.ocinet.network", request.wiring.mode(), why).into());
            }
            _ => {}
        }
        let (seen_from_pid_ns, seen_from_mnt_ns) = (self.origin.pid_ns, self.origin.mnt_ns);
        Ok((netns, Namespace { cookie, witness, seen_from_pid_ns, seen_from_mnt_ns }))
    }
}
