use std::borrow::Cow;

use slog::{debug, info, warn};

use super::kept::naming_kept;
use super::outcome::{Lease, LeaseConflict, Outcome};
use crate::decide::published;
use crate::decide::request::{Request, Wiring};
use crate::driver::{self, Facts, SandboxStep};
use crate::engine::locks::{FirewallLock, alone_at_sandbox};
use crate::engine::repair::Try;
use crate::engine::{Engine, Error, Result};
use crate::input::NetworkNamespace;
use crate::kernel::{self, Netns, Place, Process, perform};
use crate::model::{Alias, Endpoint, Invalid, Key, Mode, Namespace, NetnsLocator, Network, Sandbox, State};

/// How often a lease is tried again.
pub(super) const TRIES: usize = 16;

/// How many names of a link are tried before the attach fails.
pub(super) const NAMES: u8 = 4;

/// What is to be wired.
pub(in crate::engine) struct AttachTarget {
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
        let target = AttachTarget { netns, namespace, process: Some(process) };
        self.step("namespace");
        let target = self.identified(request, target)?;
        self.be_ready_for(request)?;
        let _alone = alone_at_sandbox(&self.locks, &request.key())?;
        let outcome = self.with_whole_store(|engine, nth| {
            if nth == Try::AfterRebuild {
                engine.detach_found(&request.key())?;
            }
            engine.attach_under_a_free_name(request, &target)
        })?;
        let outcome = match outcome {
            Outcome::Stands(owner) if request.has_owner => Outcome::Member(owner),
            outcome => outcome,
        };
        if let (Outcome::Member(owner), Some(process)) = (&outcome, &target.process)
            && request.has_owner
        {
            self.files.share(request, owner, process)?;
        }
        if let (Outcome::Member(owner), Some(process)) = (&outcome, &target.process) {
            self.note_member(request, owner, NetnsLocator::Process { pid, started: process.started }, &target);
        }
        self.tell(&outcome, request);
        Ok(outcome)
    }

    /// Asks for all that an attach will need of the firewall before anything is leased: without it, the attach could
    /// not be taken back either.
    pub(in crate::engine) fn be_ready_for(&mut self, request: &Request) -> Result<()> {
        if request.wiring.mode() == Mode::Networks {
            let row = self.rules.follow_config(&mut self.store, &mut self.links)?;
            self.rules.keeper.backend_of(&row)?.ready()?;
        }
        Ok(())
    }

    /// The sandbox with the id that the host's network namespace has for its own. That a network cannot be joined for
    /// want of rights shows here, before anything is leased: it could not be taken back either.
    pub(in crate::engine) fn identified(
        &mut self,
        request: &Request,
        mut target: AttachTarget,
    ) -> Result<AttachTarget> {
        let nsid = match request.wiring.mode() {
            Mode::Networks => self.links.identify(&target.netns, target.namespace.cookie)?,
            // It needs nothing on the host, and not the rights to change it.
            Mode::None => self.links.identify(&target.netns, target.namespace.cookie).unwrap_or(None),
            Mode::Host => None,
        };
        target.namespace.nsid = nsid;
        self.step("identity");
        Ok(target)
    }

    /// Leases, and resolves the conflicts that are met, one after the other.
    fn lease_in_turn(&mut self, request: &Request, target: &AttachTarget, nth: u8) -> Result<Lease> {
        let (mut request, mut rejoined, mut decided) = (Cow::Borrowed(request), Vec::new(), None);
        // Each network may have to be defined first, and each endpoint from before to be drained.
        let tries = TRIES + 3 * request.wiring.connections().len();
        for _ in 0..tries {
            let conflict = match self.lease(&request, target, nth, decided.take()) {
                Ok(lease) => return Ok(lease),
                Err(LeaseConflict::Kept(kept)) => {
                    let kept = self.still_to_join(&request, kept)?;
                    request.to_mut().wiring.join(&kept);
                    rejoined.extend(kept.into_iter().map(|kept| kept.network));
                    continue;
                }
                Err(LeaseConflict::Moved(by)) => {
                    decided = Some(by);
                    continue;
                }
                Err(conflict) => conflict,
            };
            let resolved = self.resolve(conflict, &request, &target.namespace);
            if let Some(outcome) = resolved.map_err(|error| naming_kept(error, &rejoined, &request))? {
                return Ok(Lease::Done(outcome));
            }
        }
        Err(Error::Conflict(format!("lost {tries} races for what container {} asks for; try again", request.container)))
    }

    /// A link of another program keeps its name, and ours gets another.
    pub(in crate::engine) fn attach_under_a_free_name(
        &mut self,
        request: &Request,
        target: &AttachTarget,
    ) -> Result<Outcome> {
        let mut nth = 0;
        loop {
            match self.attach_once(request, target, nth) {
                Err(Error::Kernel(kernel::Error::Taken { alias, .. }))
                    if nth < NAMES && !Alias::may_be_of_endpoint(&alias) =>
                {
                    nth += 1;
                }
                result => return result,
            }
        }
    }

    /// One try, with the `nth` of the names that its link can have.
    fn attach_once(&mut self, request: &Request, target: &AttachTarget, nth: u8) -> Result<Outcome> {
        let lease = match self.lease_in_turn(request, target, nth) {
            Ok(lease) => lease,
            Err(error) => return Err(self.take_back_intent(&request.key(), error)),
        };
        self.step("lease");
        match lease {
            Lease::Done(outcome) => Ok(outcome),
            Lease::Nothing(sandbox) => self.complete(sandbox, |engine, sandbox| {
                if sandbox.mode == Mode::None {
                    perform::inside(&target.netns, &[SandboxStep::Loopback], None)?;
                }
                engine.provide_files(request, sandbox, target)
            }),
            Lease::Endpoints { sandbox, networks, firewall_lock } => self.complete(sandbox, |engine, sandbox| {
                engine.wire(sandbox, &networks, &target.netns, firewall_lock)?;
                engine.ensure_agent(sandbox.endpoints.iter())?;
                engine.provide_files(request, sandbox, target)
            }),
        }
    }

    /// Warns only once the attach is done: a failure is one line.
    pub(in crate::engine) fn tell(&self, outcome: &Outcome, request: &Request) {
        for warning in &request.warnings {
            warn!(self.log, "{warning}");
        }
        match outcome {
            Outcome::Attached(sandbox) => {
                let addresses = sandbox.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
                let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
                info!(
                    self.log, "attached";
                    "name" => %sandbox.name, "mode" => %sandbox.mode, "addresses" => addresses.join(" ")
                );
                if sandbox.has_dormant_ports() {
                    warn!(
                        self.log,
                        "published ports lead nowhere: the container is on no network that is not internal"
                    );
                }
                if let Some(left_out) = published::left_out(sandbox) {
                    warn!(self.log, "{left_out}");
                }
            }
            Outcome::Stands(_) => info!(self.log, "is attached already"),
            Outcome::Member(owner) => {
                // A member of a pod that comes back finds its ports published since it was there first.
                let is_served = request.has_owner && !owner.publish.is_empty();
                let owner = &owner.container;
                info!(self.log, "shares the network of container {owner}");
                if matches!(&request.wiring, Wiring::Networks { publish, .. } if !publish.is_empty() && !is_served) {
                    warn!(self.log, "published ports have no effect in the network namespace of container {owner}");
                }
            }
        }
    }

    /// Connects each endpoint to the network in its place.
    fn wire(
        &mut self,
        sandbox: &Sandbox,
        networks: &[Network],
        netns: &Netns,
        firewall_lock: FirewallLock,
    ) -> Result<()> {
        let guarded = self.rules.keeper.kind_of(&firewall_lock.row)?.has_rules();
        self.rules.open_for(sandbox, networks, firewall_lock, &mut self.store, &mut self.links)?;
        self.step("firewall");
        self.forget_earlier_flows(sandbox);
        let _wiring = self.locks.exclusive(Place::Links)?;
        for (endpoint, network) in sandbox.endpoints.iter().zip(networks) {
            let facts = Facts { alias: sandbox.alias(endpoint), guarded };
            self.wire_endpoint(endpoint, network, &facts, netns)?;
        }
        Ok(())
    }

    /// Connects one endpoint to its network. The caller holds the lock of the links.
    pub(in crate::engine) fn wire_endpoint(
        &mut self,
        endpoint: &Endpoint,
        network: &Network,
        facts: &Facts,
        netns: &Netns,
    ) -> Result<()> {
        let steps = driver::steps(network, endpoint, facts);
        for step in &steps.network {
            self.ensure_shared(network, step)?;
        }
        self.ensure_names_port(network)?;
        let (mut peer, mut sandbox) = (None, steps.sandbox);
        for step in &steps.endpoint {
            let connected = perform::connect(&mut self.links, step, netns)?;
            peer = connected.peer;
            if !connected.filters.is_guarded {
                let why = kernel::NO_GUARD;
                warn!(self.log, "nothing keeps the container from sending under its neighbours' names: {why}");
                sandbox = sandbox.into_iter().map(SandboxStep::without_filters).collect();
            }
            if !connected.filters.is_led_to_host {
                let why = kernel::NO_REDIRECT;
                warn!(self.log, "the container may not reach published ports of its siblings: {why}");
            }
            if !connected.is_advertised {
                warn!(
                    self.log,
                    "no packet socket could be had to tell the containers on network {} a new address: those that knew \
                     another container there may take 44 seconds to reach it over IPv6",
                    network.name
                );
            }
        }
        self.step("links");
        perform::inside(netns, &sandbox, peer)?;
        self.step("sandbox");
        self.answer_for(endpoint)
    }

    fn provide_files(&mut self, request: &Request, sandbox: &Sandbox, target: &AttachTarget) -> Result<()> {
        self.files.provide(request, sandbox, target.process.as_ref(), &self.config.dns_fallback)?;
        self.step("files");
        Ok(())
    }

    /// Does the `work` that `sandbox` intends, and says so in the store. When it fails, whatever came to be is taken
    /// away.
    fn complete(
        &mut self,
        mut sandbox: Sandbox,
        work: impl FnOnce(&mut Self, &Sandbox) -> Result<()>,
    ) -> Result<Outcome> {
        let done = work(self, &sandbox).and_then(|()| {
            self.store.write(|store| store.set_state(&mut sandbox, State::Attached))?;
            Ok(())
        });
        if let Err(attach) = done {
            return Err(self.roll_back(sandbox, attach));
        }
        self.step("seal");
        Ok(Outcome::Attached(sandbox))
    }

    /// Takes away everything of an attach that failed with `attach`, and returns what to say of it.
    fn roll_back(&mut self, sandbox: Sandbox, attach: Error) -> Error {
        debug!(self.log, "rolling back"; "error" => %attach);
        attach.after(self.detach_sandbox(sandbox))
    }

    /// A transaction that failed may be in the store all the same: SQLite gives its locks back after the commit, and
    /// says so where that fails. The caller holds the lock of the sandbox, so an unfinished attach there is none but
    /// this one.
    fn take_back_intent(&mut self, key: &Key, attach: Error) -> Error {
        let found = self.store.read().find(key);
        match found {
            Ok(Some(sandbox)) if sandbox.state == State::Attaching => self.roll_back(sandbox, attach),
            // Where the store cannot be read, collection finds the sandbox.
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
        let (netns, locator) = match &request.namespace {
            NetworkNamespace::At(path) => (Netns::at(path).map_err(wrong)?, NetnsLocator::Path(path.clone())),
            NetworkNamespace::New | NetworkNamespace::Inherited => {
                (process.net().map_err(wrong)?, NetnsLocator::Process { pid, started: process.started })
            }
        };
        netns.keep_socket().map_err(wrong)?;
        let cookie = netns.cookie().map_err(wrong)?;
        self.refuse_misplaced(request, cookie == self.host.cookie)?;
        Ok((netns, self.seen_from_here(cookie, locator)?))
    }

    pub(in crate::engine) fn seen_from_here(&self, cookie: u64, locator: NetnsLocator) -> Result<Namespace> {
        let kernel::Namespaces { pid_ns: seen_from_pid_ns, mnt_ns: seen_from_mnt_ns } = self.origin.here()?;
        Ok(Namespace { cookie, locator, seen_from_pid_ns, seen_from_mnt_ns, nsid: None })
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
                "needs the host's network namespace, and this container was made with another: hostNetwork asks for it in \
                 a pod of Kubernetes, --network=none of podman leaves it to ocinet, and elsewhere ocinet prepare takes the entry \
                 of type network out of linux.namespaces in config.json"
            }
            (Mode::Host, false) => {
                "needs the host's network namespace, and a hook cannot change a container's afterwards; \
                 ocinet prepare takes the entry of type network out of linux.namespaces in config.json"
            }
            (Mode::Networks | Mode::None, true) => {
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
