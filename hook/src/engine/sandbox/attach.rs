use slog::{debug, info, warn};

use super::lease::Lease;
use crate::decide::liveness::Life;
use crate::decide::plan;
use crate::decide::request::{Request, Wiring};
use crate::driver::{HostStep, SandboxStep};
use crate::engine::locks::Turn;
use crate::engine::{Engine, Error, Result};
use crate::input::NetworkNamespace;
use crate::kernel::{self, Netns, Process};
use crate::model::{Alias, HostAddress, Invalid, Key, Mode, Namespace, Network, Protocol, Record, State, Witness};

/// How an attach ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The sandbox was wired.
    Attached(Record),
    /// It was wired before, and all of it stands.
    Stands(Record),
    /// Another container, this one's record, owns the sandbox; it shares what that one has.
    Member(Record),
}

/// How many names of a link are tried before strangers are taken to have them all.
const NAMES: u8 = 4;

/// What is to be wired.
pub(in crate::engine) struct Sandbox {
    pub(in crate::engine) netns: Netns,
    /// How to recognise it later.
    pub(in crate::engine) namespace: Namespace,
    /// The container's first process; none where it is yet to be.
    pub(in crate::engine) process: Option<Process>,
}

impl Engine {
    /// Wires the sandbox of the process `pid` as `request` asks, or finds it wired.
    ///
    /// # Errors
    /// With nothing of it left; where even that failed, [`Error::Rollback`].
    pub fn attach(&mut self, request: &Request, pid: i32) -> Result<Outcome> {
        let process = Process::open(pid).map_err(|error| {
            Error::about_input(error, |why| Invalid::new("state: pid", pid, format!("is no running process: {why}")))
        })?;
        let (netns, namespace) = self.namespace(request, pid, &process)?;
        let sandbox = Sandbox { netns, namespace, process: Some(process) };
        self.step("namespace");
        let sandbox = self.identified(request, sandbox)?;
        self.be_ready_for(request)?;
        let _sandbox = self.alone_at_sandbox(&request.key())?;
        let outcome = match self.attach_under_a_free_name(request, &sandbox) {
            Err(error) if Self::is_store_lost(&error) => {
                self.renew_store(&error)?;
                // It may hold what we made before, or not all of it: from the beginning, then.
                self.detach_found(&request.key())?;
                self.attach_under_a_free_name(request, &sandbox)?
            }
            result => result?,
        };
        let outcome = match outcome {
            Outcome::Stands(owner) if request.has_owner => Outcome::Member(owner),
            outcome => outcome,
        };
        if let (Outcome::Member(owner), Some(process)) = (&outcome, &sandbox.process)
            && request.has_owner
        {
            self.share_files(request, owner, process)?;
        }
        self.tell(&outcome, request);
        Ok(outcome)
    }

    /// Asks for all that an attach will need of the firewall before anything is leased: without it, the attach could not be
    /// taken back either.
    pub(in crate::engine) fn be_ready_for(&mut self, request: &Request) -> Result<()> {
        if request.wiring.mode() == Mode::Bridge {
            let row = self.settle_firewall()?;
            self.settle_published_ports(&row)?;
            self.backend_of(&row)?.ready()?;
        }
        Ok(())
    }

    /// The sandbox with the id that the host's network namespace has for its own. That a bridge cannot be joined for want of
    /// rights shows here, before anything is leased: it could not be taken back either.
    pub(in crate::engine) fn identified(&mut self, request: &Request, mut sandbox: Sandbox) -> Result<Sandbox> {
        let nsid = match request.wiring.mode() {
            Mode::Bridge => self.links.identify(&sandbox.netns, sandbox.namespace.cookie)?,
            // It needs nothing on the host, and not the rights to change it.
            Mode::None => self.links.identify(&sandbox.netns, sandbox.namespace.cookie).unwrap_or(None),
            Mode::Host => None,
        };
        sandbox.namespace.nsid = nsid;
        self.step("identity");
        Ok(sandbox)
    }

    /// A stranger's link keeps its name, and ours is called otherwise.
    pub(in crate::engine) fn attach_under_a_free_name(
        &mut self,
        request: &Request,
        sandbox: &Sandbox,
    ) -> Result<Outcome> {
        self.take_up_drains(&request.key())?;
        let mut name = 0;
        loop {
            match self.attach_once(request, sandbox, name) {
                Err(Error::Kernel(kernel::Error::Taken { alias, .. })) if name < NAMES && !Alias::is_ours(&alias) => {
                    name += 1;
                }
                result => return result,
            }
        }
    }

    /// One try, with the `name`th of the names that its link can have.
    fn attach_once(&mut self, request: &Request, sandbox: &Sandbox, name: u8) -> Result<Outcome> {
        let lease = match self.lease(request, &sandbox.namespace, name) {
            Ok(lease) => lease,
            Err(error) => return Err(self.take_back_intent(&request.key(), error)),
        };
        self.step("lease");
        match lease {
            Lease::Settled(outcome) => Ok(outcome),
            Lease::Nothing(record) => self.complete(record, |engine, record| {
                if record.mode == Mode::None {
                    kernel::wire(&sandbox.netns, &[SandboxStep::Loopback], None)?;
                }
                engine.provide_files(request, record, sandbox.process.as_ref())
            }),
            Lease::Endpoint { record, network, turn } => self.complete(record, |engine, record| {
                engine.wire(record, &network, &sandbox.netns, turn)?;
                engine.provide_files(request, record, sandbox.process.as_ref())
            }),
        }
    }

    /// An earlier record of the same container: `Some` if it stands as it should, or does so again, `None` once it is out of
    /// the way.
    pub(in crate::engine) fn settle_earlier(
        &mut self,
        record: Record,
        namespace: &Namespace,
    ) -> Result<Option<Record>> {
        if record.namespace.cookie == namespace.cookie {
            if record.state == State::Attached && self.stands_again(&record)? {
                return Ok(Some(record));
            }
        } else {
            let life = self.life(&record);
            if life != Life::Dead {
                return Err(in_use(&record, &life));
            }
        }
        self.detach_record(record)?;
        Ok(None)
    }

    /// The sandbox belongs to `owner`. Whether it will be wired is decided only when the owner's attach has ended, so that is
    /// waited for, and the lease begins again.
    pub(in crate::engine) fn settle_owned(&mut self, owner: Record) -> Result<Option<Outcome>> {
        if owner.state == State::Attached {
            return Ok(Some(Outcome::Member(owner)));
        }
        self.wait_for(&owner)?;
        // Where that attach was killed, it is taken back here.
        self.collect_if_dead(owner.number)?;
        Ok(None)
    }

    /// Warns only once the attach is done: a failure is one line.
    pub(in crate::engine) fn tell(&self, outcome: &Outcome, request: &Request) {
        for warning in &request.warnings {
            warn!(self.log, "{warning}");
        }
        match outcome {
            Outcome::Attached(record) => {
                let addresses = record.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
                let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
                info!(self.log, "attached"; "mode" => %record.mode, "addresses" => addresses.join(" "));
            }
            Outcome::Stands(_) => info!(self.log, "is attached already"),
            Outcome::Member(owner) => {
                // A member of a pod that comes back finds its ports published since it was there first.
                let is_served = request.has_owner && !owner.publish.is_empty();
                let owner = &owner.container;
                info!(self.log, "shares the network of container {owner}");
                if matches!(&request.wiring, Wiring::Bridge { publish, .. } if !publish.is_empty() && !is_served) {
                    warn!(self.log, "published ports have no effect in the network namespace of container {owner}");
                }
            }
        }
    }

    fn wire(&mut self, record: &Record, network: &Network, netns: &Netns, turn: Turn) -> Result<()> {
        self.open_firewall(record, network, turn)?;
        self.step("firewall");
        self.forget_earlier_flows(record);
        let guarded = self.firewall_kind()?.has_rules();
        for steps in plan::steps(record, network, guarded) {
            let mut peer = None;
            for step in &steps.host {
                match step {
                    HostStep::Bridge(bridge) => self.ensure_bridge(bridge)?,
                    HostStep::Veth(pair) => {
                        let connected = self.links.connect(pair, netns)?;
                        peer = connected.peer;
                        if !connected.is_guarded {
                            warn!(
                                self.log,
                                "nothing keeps the container from sending under its neighbours' names: {}",
                                kernel::NO_GUARD
                            );
                        }
                    }
                }
            }
            self.step("links");
            kernel::wire(netns, &steps.sandbox, peer)?;
            self.step("sandbox");
        }
        Ok(())
    }

    /// A UDP client that keeps sending keeps its flow, and would never reach this container. TCP tells its client with a reset.
    fn forget_earlier_flows(&mut self, record: &Record) {
        let udp = record.publish.iter().filter(|mapping| mapping.protocol == Protocol::Udp);
        let ports: Vec<(HostAddress, u16)> =
            udp.flat_map(|mapping| mapping.pairs().map(|(port, _)| (mapping.host_address, port))).collect();
        let target = record.endpoints.iter().find_map(|endpoint| endpoint.ipv4());
        if let Some(target) = target.filter(|_| !ports.is_empty()) {
            let forgotten = self.conntrack().and_then(|conntrack| conntrack.forget_flows_to(&ports, target));
            self.warn_of(forgotten);
            self.step("flows");
        }
    }

    /// Does the `work` that `record` intends, and says so in the store. When it fails, whatever came to be is taken away.
    fn complete(&mut self, mut record: Record, work: impl FnOnce(&mut Self, &Record) -> Result<()>) -> Result<Outcome> {
        let done = work(self, &record).and_then(|()| {
            self.store.write(|store| store.set_state(&mut record, State::Attached))?;
            Ok(())
        });
        if let Err(attach) = done {
            return Err(self.roll_back(record, attach));
        }
        self.step("seal");
        Ok(Outcome::Attached(record))
    }

    /// Takes away everything of an attach that failed with `attach`, and returns what to say of it.
    fn roll_back(&mut self, record: Record, attach: Error) -> Error {
        debug!(self.log, "rolling back"; "error" => %attach);
        attach.after(self.detach_record(record))
    }

    /// A transaction that failed may be in the store all the same: SQLite gives its locks back after the commit, and says so
    /// where that fails. The caller holds the lock of the sandbox, so an unfinished attach there is none but this one.
    fn take_back_intent(&mut self, key: &Key, attach: Error) -> Error {
        let found = self.store.read().find(key);
        match found {
            Ok(Some(record)) if record.state == State::Attaching => self.roll_back(record, attach),
            // Where the store cannot be read, collection finds the record.
            _ => attach,
        }
    }

    /// The container's network namespace, and how to recognise it later.
    fn namespace(&mut self, request: &Request, pid: i32, process: &Process) -> Result<(Netns, Namespace)> {
        let wrong = |error: kernel::Error| {
            Error::about_input(error, |why| match &request.namespace {
                NetworkNamespace::At(path) => {
                    Invalid::new("config: path of the network namespace", path.display(), why)
                }
                _ => Invalid::new("state: pid", pid, why),
            })
        };
        let (netns, witness) = match &request.namespace {
            NetworkNamespace::At(path) => (Netns::at(path).map_err(wrong)?, Witness::Path(path.clone())),
            NetworkNamespace::New | NetworkNamespace::Inherited => {
                (process.net.try_clone().map_err(wrong)?, Witness::Process { pid, started: process.started })
            }
        };
        let cookie = netns.cookie().map_err(wrong)?;
        self.refuse_misplaced(request, cookie == self.host.cookie)?;
        Ok((netns, self.seen_from_here(cookie, witness)))
    }

    pub(in crate::engine) fn seen_from_here(&self, cookie: u64, witness: Witness) -> Namespace {
        let (seen_from_pid_ns, seen_from_mnt_ns) = (self.origin.pid_ns, self.origin.mnt_ns);
        Namespace { cookie, witness, seen_from_pid_ns, seen_from_mnt_ns, nsid: None }
    }

    /// Refuses to wire the host's own namespace, and to call another the host's.
    pub(in crate::engine) fn refuse_misplaced(&mut self, request: &Request, is_hosts: bool) -> Result<()> {
        if let Wiring::Member(owner) = &request.wiring {
            return self.refuse_outsider(request, owner, is_hosts);
        }
        let mode = request.wiring.mode();
        let has_path = matches!(request.namespace, NetworkNamespace::At(_));
        let why = match (mode, is_hosts) {
            (Mode::Host, false) if has_path => {
                "needs the host's network namespace, and whoever made this container gave it another: hostNetwork asks for it in \
                 a pod of Kubernetes, --network=none of podman leaves it to ocinet, and elsewhere ocinet prepare takes the entry \
                 of type network out of linux.namespaces in config.json"
            }
            (Mode::Host, false) => {
                "needs the host's network namespace, and a hook cannot change a container's afterwards; \
                 ocinet prepare takes the entry of type network out of linux.namespaces in config.json"
            }
            (Mode::Bridge | Mode::None, true) => {
                "is wanted for a container whose network namespace is the host's own; \
                 ocinet prepare gives it one of its own, with an entry of type network in linux.namespaces of config.json"
            }
            _ => return Ok(()),
        };
        let place = match &request.namespace {
            NetworkNamespace::At(path) => format!(" (its path is {})", path.display()),
            NetworkNamespace::New | NetworkNamespace::Inherited => String::new(),
        };
        Err(Invalid::new("annotation io.ocinet.network", mode, format!("{why}{place}")).into())
    }
}

/// That the container of `record` is not proved to be dead, and another one of its key cannot be.
pub(in crate::engine) fn in_use(record: &Record, life: &Life) -> Error {
    let Record { container, bundle, .. } = record;
    let why = match life {
        Life::Unknown(why) => format!(
            "cannot be looked at ({why}); stop that one first, or, where it is gone for certain: ocinet gc --forget {container}"
        ),
        Life::Alive | Life::Dead => "is in use; stop that one first".to_owned(),
    };
    Error::Conflict(format!(
        "container {container} of bundle {bundle} is attached with another network namespace that {why}"
    ))
}
