//! A private host: a machine of its own for one test, made of namespaces.
//!
//! One process holds everything: the first of a process namespace, in a network and a mount namespace of its own (see
//! `host/setup.sh`). When it ends the kernel kills every other process on the host, and with them go namespaces, mounts
//! and links. It ends when its stdin is closed, which happens even where the test itself is killed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::check::{self, Snapshot};
use crate::{Draft, Firewall, Output, Place, Runtime, Sandbox, Settings, State, binary, eventually};

/// The host's address in the LAN.
pub const UPLINK: &str = "198.51.100.1";
/// The LAN peer's address; it routes to the rest of the world, and has 203.0.113.1 too.
pub const PEER: &str = "198.51.100.2";
/// The host's address on the network `bridge`.
pub const GATEWAY: &str = "10.90.0.1";
/// The program under test, on a private host.
pub const OCINET: &str = "/mnt/bin/ocinet";

/// The script that gives a network namespace the settings that a new one inherits, see `host/setup.sh`.
pub(crate) const NEWBORN: &str = "/mnt/bin/newborn";

/// Containers by id and bundle, with their network namespaces.
pub(crate) type Live = BTreeMap<(String, String), Place>;

/// A private host; as a [`Place`] its own network namespace.
#[derive(Debug)]
pub struct Host {
    place: Place,
    settings: Settings,
    /// The control group of all its containers.
    cgroup: String,
    /// How many bundles there are.
    bundles: AtomicU32,
    /// The containers that run.
    live: Mutex<Live>,
    /// Failures that could not be returned.
    accusations: Mutex<Vec<String>>,
    /// The host as it was made.
    before: Snapshot,
    _machine: Machine,
}

impl Deref for Host {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Host {
    /// Makes a host.
    pub fn new(settings: Settings) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let cgroup = format!("ocinet-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let machine = Machine::boot(&settings, &cgroup)?;
        let place = Place::host(machine.init);
        let before = Snapshot::take(&place)?;
        Ok(Self {
            place,
            settings,
            cgroup,
            bundles: AtomicU32::default(),
            live: Mutex::default(),
            accusations: Mutex::default(),
            before,
            _machine: machine,
        })
    }

    /// The runtime of this host's containers.
    pub fn runtime(&self) -> Runtime {
        self.settings.runtime
    }

    /// Deletes all rules of ours, and keeps chains, sets and links. What the rules protected is open then.
    pub fn disarm(&self) -> Result<()> {
        self.sh(&self.settings.firewall.flush("")).map(drop)
    }

    /// Deletes all rules of ours except those of the operator's chain.
    pub fn disarm_all_but_the_operator(&self) -> Result<()> {
        self.sh(&self.settings.firewall.flush("OCINET-OPERATOR")).map(drop)
    }

    /// Whether new namespaces begin with the settings of a router.
    pub(crate) fn born_of_router(&self) -> bool {
        self.settings.born_of_router
    }

    /// The firewall that holds the rules here.
    pub fn firewall(&self) -> Firewall {
        self.settings.firewall
    }

    /// The host's own network namespace.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The LAN peer.
    pub fn peer(&self) -> Place {
        self.beside("/run/netns/peer")
    }

    /// A draft of a container on this host.
    pub fn container(&self, id: &str) -> Draft<'_> {
        Draft::new(self, id)
    }

    /// Runs `ocinet` with arguments separated by spaces.
    pub fn ocinet(&self, arguments: &str) -> Result<Output> {
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        self.output(&[&[OCINET], &arguments[..]].concat())
    }

    /// Calls the hook with `state` on its stdin.
    pub fn hook(&self, stage: &str, state: impl AsRef<[u8]>) -> Result<Output> {
        Output::of(&mut self.hook_command(stage), state.as_ref())
    }

    /// The hook, to be started by the caller.
    pub fn hook_command(&self, stage: &str) -> Command {
        self.command(&[OCINET, "hook", stage])
    }

    /// Everything in the store.
    pub fn sandboxes(&self) -> Result<Vec<Sandbox>> {
        self.json(&format!("{OCINET} ps --all --json"))
    }

    /// Everything in the store, once no sandbox is draining any more.
    pub fn settled_sandboxes(&self) -> Result<Vec<Sandbox>> {
        let mut sandboxes = Vec::new();
        eventually("no record drains", || {
            sandboxes = self.sandboxes()?;
            Ok(!sandboxes.iter().any(|sandbox| sandbox.state == State::Draining))
        })
        .with_context(|| format!("the store holds {sandboxes:#?}"))?;
        Ok(sandboxes)
    }

    /// Waits until the store is empty. Then no container's namespace is left either.
    pub fn settles(&self) -> Result<()> {
        let sandboxes = self.settled_sandboxes()?;
        ensure!(sandboxes.is_empty(), "the store should be empty, but holds {sandboxes:#?}");
        let left = self.sh("grep /run/ocinet/containers /proc/self/mounts || true")?;
        ensure!(left.is_empty(), "namespaces are left:\n{left}");
        eventually("the name server has ended", || Ok(self.name_servers()?.is_empty()))
    }

    /// The name servers, by the pids of their supervisors.
    pub fn name_servers(&self) -> Result<Vec<u32>> {
        // A worker's parent is another of them.
        let found = self.sh(r#"all=$(pidof ocinet-agent || true)
            for pid in $all; do
                parent=$(awk '/^PPid:/ { print $2 }' /proc/$pid/status 2>/dev/null) || continue
                case " $all " in *" $parent "*) ;; *) echo $pid ;; esac
            done"#)?;
        found.split_whitespace().map(|pid| pid.parse().context("a pid")).collect()
    }

    /// Runs the checker: the store and the kernel agree, and what is not ours is unchanged.
    pub fn check(&self) -> Result<()> {
        check::agreement(self, &self.living())?;
        check::same("before", &self.before.foreign(), "now", &Snapshot::take(&self.place)?.foreign())
    }

    /// Makes sure that `deed` changes nothing on the host except files of ours.
    pub fn unchanged_by<T>(&self, deed: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = Snapshot::take(&self.place)?.without_our_files();
        let result = deed()?;
        let after = Snapshot::take(&self.place)?.without_our_files();
        check::same("before", &before, "after", &after)?;
        Ok(result)
    }

    /// The path of a control group `name` that no other host's containers are in. It goes with the host.
    pub fn control_group(&self, name: &str) -> String {
        format!("/{}/{name}", self.cgroup)
    }

    /// The end of a story: no failure was noted, the checker finds no fault, and the store is empty.
    pub(crate) fn farewell(&self) -> Result<()> {
        let accusations = lock(&self.accusations).join("\n");
        ensure!(accusations.is_empty(), "{accusations}");
        self.check()?;
        self.settles()
    }

    /// Notes that a container runs.
    pub(crate) fn lives(&self, key: (String, String), place: Place) {
        lock(&self.live).insert(key, place);
    }

    /// The containers that run.
    pub(crate) fn living(&self) -> Live {
        lock(&self.live).clone()
    }

    /// Notes that a container runs no more.
    pub(crate) fn is_dead(&self, key: &(String, String)) {
        lock(&self.live).remove(key);
    }

    /// Notes a failure that could not be returned; the story's end reports it.
    pub(crate) fn accuse(&self, accusation: String) {
        lock(&self.accusations).push(accusation);
    }

    /// An unused bundle folder, and the path of an unused control group.
    pub(crate) fn next_bundle(&self, id: &str) -> (String, String) {
        let number = self.bundles.fetch_add(1, Ordering::Relaxed);
        (format!("/mnt/bundles/{number}-{id}"), self.control_group(&number.to_string()))
    }
}

/// Ignores that a thread panicked while it held the mutex: every change is a single step, so the data is consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process that holds a host, from the outside.
#[derive(Debug)]
struct Machine {
    keeper: Child,
    init: u32,
    cgroup: String,
}

impl Machine {
    fn boot(settings: &Settings, cgroup: &str) -> Result<Self> {
        let mut keeper = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", include_str!("host/setup.sh")])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("OCINET", binary::ocinet()?)
            .env("AGENT", binary::agent()?)
            .env("PROBE", binary::helper("probe")?)
            .env("ASKER", binary::helper("asker")?)
            .env("CALLER", binary::helper("caller")?)
            .env("SYSCTLS", include_str!("host/sysctls.sh"))
            .env("INHERIT", &settings.inherit)
            .env("MTU", settings.mtu.to_string())
            .env("BORN_OF_ROUTER", u8::from(settings.born_of_router).to_string())
            .env("BRIDGE_NF", u8::from(settings.bridge_nf).to_string())
            .env("PREPARE", format!("{}\n{}", settings.firewall.setup(), settings.prepare))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("unshare")?;
        let (stdout, stderr) = (keeper.stdout.take(), keeper.stderr.take());
        let mut machine = Self { keeper, init: 0, cgroup: cgroup.to_owned() };
        let mut line = String::new();
        BufReader::new(stdout.context("stdout is piped")?).read_line(&mut line)?;
        let mut complaint = String::new();
        if line.is_empty() {
            stderr.context("stderr is piped")?.read_to_string(&mut complaint)?;
        }
        machine.init = line.trim().parse().with_context(|| format!("host/setup.sh: {complaint}"))?;
        Ok(machine)
    }

    /// Removes the control groups of the containers, in each hierarchy of this machine.
    fn remove_cgroups(&self) {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        for hierarchy in hierarchies.chain(["/sys/fs/cgroup".into()]) {
            remove_cgroup(&hierarchy.join(&self.cgroup));
        }
    }
}

/// Removes a control group after those in it: the group of a pod holds those of its containers.
fn remove_cgroup(group: &Path) {
    for inner in fs::read_dir(group).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        remove_cgroup(&inner.path());
    }
    let _ = fs::remove_dir(group);
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        if let Err(error) = self.keeper.wait() {
            eprintln!("waiting for the end of {}: {error}", self.cgroup);
        }
        self.remove_cgroups();
    }
}
