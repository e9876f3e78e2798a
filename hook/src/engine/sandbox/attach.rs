use slog::{debug, info, warn};

use super::lease::Lease;
use crate::decide::liveness::Life;
use crate::decide::plan;
use crate::decide::request::{Request, Wiring};
use crate::driver::{self, Facts, SandboxStep};
use crate::engine::locks::FirewallLock;
use crate::engine::{Engine, Error, Result};
use crate::input::NetworkNamespace;
use crate::kernel::{self, Netns, Process};
use crate::model::{
    Alias, HostAddress, Invalid, Key, Mode, Namespace, NetnsLocator, Network, Protocol, Sandbox, State,
};

/// How an attach ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The sandbox was wired.
    Attached(Sandbox),
    /// It was wired before, and all of it stands.
    Stands(Sandbox),
    /// The network namespace belongs to another container, whose sandbox this is; the two share it.
    Member(Sandbox),
}

/// How many names of a link are tried before the attach fails.
const NAMES: u8 = 4;

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
        let _alone = self.alone_at_sandbox(&request.key())?;
        let outcome = match self.attach_under_a_free_name(request, &target) {
            Err(error) if Self::is_store_lost(&error) => {
                self.renew_store(&error)?;
                // It may hold what we made before, or not all of it: from the beginning, then.
                self.detach_found(&request.key())?;
                self.attach_under_a_free_name(request, &target)?
            }
            result => result?,
        };
        let outcome = match outcome {
            Outcome::Stands(owner) if request.has_owner => Outcome::Member(owner),
            outcome => outcome,
        };
        if let (Outcome::Member(owner), Some(process)) = (&outcome, &target.process)
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
            let row = self.ensure_configured_firewall()?;
            self.store_published_ports_setting(&row)?;
            self.backend_of(&row)?.ready()?;
        }
        Ok(())
    }

    /// The sandbox with the id that the host's network namespace has for its own. That a bridge cannot be joined for want of
    /// rights shows here, before anything is leased: it could not be taken back either.
    pub(in crate::engine) fn identified(
        &mut self,
        request: &Request,
        mut target: AttachTarget,
    ) -> Result<AttachTarget> {
        let nsid = match request.wiring.mode() {
            Mode::Bridge => self.links.identify(&target.netns, target.namespace.cookie)?,
            // It needs nothing on the host, and not the rights to change it.
            Mode::None => self.links.identify(&target.netns, target.namespace.cookie).unwrap_or(None),
            Mode::Host => None,
        };
        target.namespace.nsid = nsid;
        self.step("identity");
        Ok(target)
    }

    /// A link of another program keeps its name, and ours gets another.
    pub(in crate::engine) fn attach_under_a_free_name(
        &mut self,
        request: &Request,
        target: &AttachTarget,
    ) -> Result<Outcome> {
        self.take_up_drains(&request.key())?;
        let mut name = 0;
        loop {
            match self.attach_once(request, target, name) {
                Err(Error::Kernel(kernel::Error::Taken { alias, .. })) if name < NAMES && !Alias::is_ours(&alias) => {
                    name += 1;
                }
                result => return result,
            }
        }
    }

    /// One try, with the `name`th of the names that its link can have.
    fn attach_once(&mut self, request: &Request, target: &AttachTarget, name: u8) -> Result<Outcome> {
        let lease = match self.lease(request, &target.namespace, name) {
            Ok(lease) => lease,
            Err(error) => return Err(self.take_back_intent(&request.key(), error)),
        };
        self.step("lease");
        match lease {
            Lease::Done(outcome) => Ok(outcome),
            Lease::Nothing(sandbox) => self.complete(sandbox, |engine, sandbox| {
                if sandbox.mode == Mode::None {
                    kernel::wire(&target.netns, &[SandboxStep::Loopback], None)?;
                }
                engine.provide_files(request, sandbox, target.process.as_ref())
            }),
            Lease::Endpoint { sandbox, network, firewall_lock } => self.complete(sandbox, |engine, sandbox| {
                engine.wire(sandbox, &network, &target.netns, firewall_lock)?;
                engine.provide_files(request, sandbox, target.process.as_ref())
            }),
        }
    }

    /// An earlier sandbox of the same container: `Some` if it stands as it should, or does so again, `None` once it is out of
    /// the way.
    pub(in crate::engine) fn handle_earlier(
        &mut self,
        sandbox: Sandbox,
        namespace: &Namespace,
    ) -> Result<Option<Sandbox>> {
        if sandbox.namespace.cookie == namespace.cookie {
            if sandbox.state == State::Attached && self.stands_again(&sandbox)? {
                return Ok(Some(sandbox));
            }
        } else {
            let life = self.life(&sandbox);
            if life != Life::Dead {
                return Err(in_use(&sandbox, &life));
            }
        }
        self.detach_sandbox(sandbox)?;
        Ok(None)
    }

    /// The sandbox belongs to `owner`. Whether it will be wired is decided only when the owner's attach has ended, so that is
    /// waited for, and the lease begins again.
    pub(in crate::engine) fn handle_owned(&mut self, owner: Sandbox) -> Result<Option<Outcome>> {
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
            Outcome::Attached(sandbox) => {
                let addresses = sandbox.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
                let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
                info!(self.log, "attached"; "mode" => %sandbox.mode, "addresses" => addresses.join(" "));
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

    fn wire(&mut self, sandbox: &Sandbox, network: &Network, netns: &Netns, firewall_lock: FirewallLock) -> Result<()> {
        self.open_firewall(sandbox, network, firewall_lock)?;
        self.step("firewall");
        self.forget_earlier_flows(sandbox);
        let facts = Facts { alias: plan::alias(sandbox), guarded: self.firewall_kind()?.has_rules() };
        for endpoint in &sandbox.endpoints {
            let steps = driver::steps(network, endpoint, &facts);
            for step in &steps.network {
                self.ensure_shared(network, step)?;
            }
            let mut peer = None;
            for step in &steps.endpoint {
                let connected = kernel::connect(&mut self.links, step, netns)?;
                peer = connected.peer;
                if !connected.is_guarded {
                    let why = kernel::NO_GUARD;
                    warn!(self.log, "nothing keeps the container from sending under its neighbours' names: {why}");
                }
            }
            self.step("links");
            kernel::wire(netns, &steps.sandbox, peer)?;
            self.step("sandbox");
        }
        Ok(())
    }

    /// A UDP client that keeps sending keeps its flow, and would never reach this container. TCP tells its client with a reset.
    fn forget_earlier_flows(&mut self, sandbox: &Sandbox) {
        let udp = sandbox.publish.iter().filter(|mapping| mapping.protocol == Protocol::Udp);
        let ports: Vec<(HostAddress, u16)> =
            udp.flat_map(|mapping| mapping.pairs().map(|(port, _)| (mapping.host_address, port))).collect();
        let target = sandbox.endpoints.iter().find_map(|endpoint| endpoint.ipv4());
        if let Some(target) = target.filter(|_| !ports.is_empty()) {
            let forgotten = self.flows.conntrack().and_then(|conntrack| conntrack.forget_flows_to(&ports, target));
            self.warn_of(forgotten);
            self.step("flows");
        }
    }

    /// Does the `work` that `sandbox` intends, and says so in the store. When it fails, whatever came to be is taken away.
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

    /// A transaction that failed may be in the store all the same: SQLite gives its locks back after the commit, and says so
    /// where that fails. The caller holds the lock of the sandbox, so an unfinished attach there is none but this one.
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
                (process.net.try_clone().map_err(wrong)?, NetnsLocator::Process { pid, started: process.started })
            }
        };
        let cookie = netns.cookie().map_err(wrong)?;
        self.refuse_misplaced(request, cookie == self.host.cookie)?;
        Ok((netns, self.seen_from_here(cookie, locator)))
    }

    pub(in crate::engine) fn seen_from_here(&self, cookie: u64, locator: NetnsLocator) -> Namespace {
        let (seen_from_pid_ns, seen_from_mnt_ns) = (self.origin.pid_ns, self.origin.mnt_ns);
        Namespace { cookie, locator, seen_from_pid_ns, seen_from_mnt_ns, nsid: None }
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

/// That the container of `sandbox` is not proved to be dead, and another one of its key cannot be.
pub(in crate::engine) fn in_use(sandbox: &Sandbox, life: &Life) -> Error {
    let Sandbox { container, bundle, .. } = sandbox;
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
