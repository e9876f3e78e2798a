//! containerd on a private host, with our shim, and `ctr` to talk to it.

use std::fs;
use std::ops::Deref;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::service::install_shim;
use crate::{Background, Host, Output, Place, Runtime, Sandbox, Settings, eventually};

/// The flags with which `ctr run` makes a container of a root file system, with our shim.
pub const FLAGS: &str = "--runtime io.containerd.ocinet.v2 --rootfs --env PATH=/bin";

/// containerd's socket on a private host.
pub(crate) const SOCKET: &str = "/mnt/containerd/socket";

/// Where containerd keeps the bundles of a namespace.
const BUNDLES: &str = "/run/containerd/io.containerd.runtime.v2.task";

/// containerd's settings. It may not lower its own oom score here, needs neither its CRI plugin nor /opt, and must not
/// try file systems for which the kernel would have to load a module.
const CONFIG: &str = r#"
version = 2
root = "/mnt/containerd/root"
state = "/run/containerd"
disabled_plugins = [
    "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
    "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
oom_score = 0
[grpc]
address = "/mnt/containerd/socket"
[ttrpc]
address = "/mnt/containerd/ttrpc"
"#;

/// The releases of containerd that the tests run with, by the folder in which `integration/debs` unpacked each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Release {
    /// 1.6, of Debian 12.
    V1_6,
    /// 1.7, of Debian 13.
    V1_7,
    /// 2.x, of the newest Debian.
    V2,
}

impl Release {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V1_6, Self::V1_7, Self::V2];

    fn programs(self) -> Result<String> {
        let name = match self {
            Self::V1_6 => "containerd-bookworm",
            Self::V1_7 => "containerd-trixie",
            Self::V2 => "containerd-sid",
        };
        unpacked(&format!("{name}/usr/bin"))
    }
}

/// A folder of a package that `integration/debs` unpacked.
pub(crate) fn unpacked(folder: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debs").join(folder);
    let path = path.canonicalize().with_context(|| format!("no {}: integration/test fetches it", path.display()))?;
    Ok(path.display().to_string())
}

/// A running containerd.
#[derive(Debug)]
pub struct Containerd<'h> {
    pub(crate) host: &'h Host,
    /// Its release.
    pub release: Release,
    /// The directory with the programs of that release.
    programs: String,
    /// containerd's namespace for the containers. It is also the name of their control group, which is removed with the
    /// host.
    pub namespace: String,
    /// containerd itself, unless it was stopped.
    daemon: Option<Background>,
}

/// A container that `ctr` started; as a [`Place`] its network namespace. Deleted when dropped.
#[derive(Debug)]
pub struct CtrContainer<'c> {
    containerd: &'c Containerd<'c>,
    /// Its id.
    pub id: String,
    /// Its first process.
    pub pid: u32,
    place: Place,
}

impl<'h> Containerd<'h> {
    /// Starts containerd on `host`, with our shim on its PATH.
    pub fn start(host: &'h Host, release: Release) -> Result<Self> {
        Self::start_with(host, release, CONFIG)
    }

    /// The same, with other settings.
    pub(crate) fn start_with(host: &'h Host, release: Release, config: &str) -> Result<Self> {
        fs::create_dir_all(host.path("/mnt/containerd"))?;
        fs::create_dir_all(host.path("/mnt/rootfs/run"))?;
        fs::write(host.path("/mnt/containerd/config.toml"), config)?;
        install_shim(host)?;
        let namespace = host.control_group("").trim_matches('/').to_owned();
        let mut containerd = Self { host, release, programs: release.programs()?, namespace, daemon: None };
        containerd.launch()?;
        Ok(containerd)
    }

    /// Starts the daemon, and waits until it answers.
    pub fn launch(&mut self) -> Result<()> {
        let script = format!(
            "PATH=/mnt/bin:/usr/local/bin:$PATH exec {}/containerd --config /mnt/containerd/config.toml >>/mnt/containerd/log 2>&1",
            self.programs
        );
        self.daemon = Some(self.host.background(&["sh", "-c", &script])?);
        let answers = || Ok(self.ctr("version")?.code == 0);
        eventually("containerd answers", answers).with_context(|| self.log())
    }

    /// Kills the daemon; its shims stay.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.host.sh("grep -v 'loading plugin' /mnt/containerd/log | tail -n 20").unwrap_or_default()
    }

    /// Runs `ctr` to its end, with arguments as one types them in a shell.
    pub fn ctr(&self, arguments: &str) -> Result<Output> {
        // A process that ctr leaves behind must not hold the test's pipes: the output goes to files.
        let script = format!(
            "cd /mnt; {} {arguments} </dev/null >/mnt/ctr.$$ 2>/mnt/ctr-err.$$ && code=0 || code=$?
             cat /mnt/ctr.$$; cat /mnt/ctr-err.$$ >&2; rm /mnt/ctr.$$ /mnt/ctr-err.$$; exit $code",
            self.ctr_command()
        );
        self.host.output(&["sh", "-uc", &script])
    }

    /// Shell commands that put this `ctr` and `containerd` on the PATH and set their defaults.
    pub fn environment(&self) -> String {
        let Self { programs, namespace, .. } = self;
        format!("PATH=$PATH:{programs} CONTAINERD_ADDRESS={SOCKET} CONTAINERD_NAMESPACE={namespace}")
    }

    /// `ctr` with its socket, as words of a shell command.
    pub fn ctr_command(&self) -> String {
        format!("{}/ctr --address {SOCKET} --namespace {}", self.programs, self.namespace)
    }

    /// Runs our shim to its end, as this containerd would.
    pub fn shim(&self, arguments: &str) -> Result<String> {
        let binary = format!("{}/containerd", self.programs);
        self.host
            .sh(&format!("exec /mnt/bin/containerd-shim-ocinet-v2 -publish-binary {binary} {arguments} </dev/null"))
    }

    /// `ctr run --detach`: a server called `id`, with more flags for ctr, on these ports.
    pub fn run(&self, id: &str, flags: &str, ports: &str) -> Result<CtrContainer<'_>> {
        self.attempt(id, flags, ports)?.success().with_context(|| self.log())?;
        self.container(id)
    }

    /// The same, but the start may fail.
    pub fn attempt(&self, id: &str, flags: &str, ports: &str) -> Result<Output> {
        let output = format!("--log-uri file:///mnt/containerd/{id}.out");
        let server = format!("/mnt/rootfs {id} /mnt/bin/probe serve {id} {ports}");
        self.ctr(&format!("run --detach {output} {FLAGS} {flags} {server}"))
    }

    /// A running container that another program started.
    pub fn container(&self, id: &str) -> Result<CtrContainer<'_>> {
        let pid = self.pid(id)?.with_context(|| format!("{id} has no process"))?;
        let container = CtrContainer { containerd: self, id: id.to_owned(), pid, place: self.host.of_process(pid) };
        self.host.lives(container.key(), container.place.clone());
        container.wait_until_ready()?;
        Ok(container)
    }

    /// The first process of the container `id`; none where containerd knows no such task.
    pub(crate) fn pid(&self, id: &str) -> Result<Option<u32>> {
        let list = self.ctr("task ls")?.success()?;
        let rows = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let pid = rows.into_iter().find(|row| row.first() == Some(&id)).and_then(|row| row.get(1)?.parse().ok());
        Ok(pid)
    }

    fn key(&self, id: &str) -> (String, String) {
        (id.to_owned(), format!("{BUNDLES}/{}/{id}", self.namespace))
    }

    /// Deletes every task and container, and notes that none of them is alive.
    pub fn clear(&self) -> Result<()> {
        let list = |what: &str| -> Result<Vec<String>> {
            Ok(self.ctr(&format!("{what} ls -q"))?.success()?.split_whitespace().map(String::from).collect())
        };
        for id in list("task")? {
            self.host.is_dead(&self.key(&id));
            self.ctr(&format!("task delete --force {id}"))?;
        }
        for id in list("container")? {
            self.ctr(&format!("container delete {id}"))?.success()?;
        }
        Ok(())
    }
}

impl CtrContainer<'_> {
    fn wait_until_ready(&self) -> Result<()> {
        let file = self.containerd.host.path(format!("/mnt/containerd/{}.out", self.id));
        eventually(&format!("the server of {} is ready", self.id), || {
            Ok(fs::read_to_string(&file).is_ok_and(|said| said.contains("ready")))
        })
    }

    /// Runs a program in the container.
    pub fn exec(&self, command: &str) -> Result<String> {
        let (id, exec) = (&self.id, format!("exec-{}", next_exec()));
        // ctr sometimes loses what a program prints just before its end, so the program prints to a file.
        let said = format!("/dev/shm/{exec}");
        let command = format!("/bin/busybox sh -c '{{ {command}; }} >{said}'");
        self.containerd.ctr(&format!("task exec --exec-id {exec} {id} {command}"))?.success()?;
        Ok(fs::read_to_string(self.containerd.host.path(format!("/proc/{}/root{said}", self.pid)))?)
    }

    /// Its sandbox in the store.
    pub fn sandbox(&self) -> Result<Sandbox> {
        let sandboxes = self.containerd.host.sandboxes()?;
        let ours = sandboxes.iter().find(|sandbox| (sandbox.container.clone(), sandbox.bundle.clone()) == self.key());
        ours.cloned().with_context(|| format!("no record of {} in {sandboxes:#?}", self.id))
    }

    /// Its address on the bridge.
    pub fn address(&self) -> Result<std::net::Ipv4Addr> {
        self.sandbox()?.address().with_context(|| format!("{} has no address", self.id))
    }

    /// Hands over to the caller, who ends the container. Returns its first process.
    pub fn ends(self) -> u32 {
        self.is_dead();
        let pid = self.pid;
        self.stays();
        pid
    }

    fn is_dead(&self) {
        self.containerd.host.is_dead(&self.key());
    }

    /// Kills it, and waits for its end.
    pub fn kill(&self) -> Result<()> {
        self.is_dead();
        self.containerd.ctr(&format!("task kill --signal KILL {}", self.id))?.success()?;
        eventually(&format!("{} has stopped", self.id), || {
            Ok(self.containerd.ctr("task ls")?.success()?.lines().any(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                words.first() == Some(&self.id.as_str()) && words.last() == Some(&"STOPPED")
            }))
        })
    }

    /// Keeps the container when this value is dropped.
    pub fn stays(self) {
        std::mem::forget(self);
    }

    /// Deletes it, whether it runs or not.
    pub fn delete(self) -> Result<()> {
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        self.is_dead();
        let gone = |output: &Output| output.stderr.contains("not found");
        for command in ["task delete --force", "container delete"] {
            let output = self.containerd.ctr(&format!("{command} {}", self.id))?;
            ensure!(output.code == 0 || gone(&output), "{output}");
        }
        Ok(())
    }

    fn key(&self) -> (String, String) {
        self.containerd.key(&self.id)
    }
}

fn next_exec() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

impl Deref for CtrContainer<'_> {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Drop for CtrContainer<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            self.containerd.host.accuse(format!("removing {}: {error:#}", self.id));
        }
    }
}

/// Runs a story about containerd with each release.
pub fn with_containerd(story: impl Fn(&Host, &mut Containerd<'_>) -> Result<()>) -> Result<()> {
    Release::ALL.into_iter().try_for_each(|release| with_release(release, &story))
}

/// Runs the story with one release.
pub fn with_release(release: Release, story: impl Fn(&Host, &mut Containerd<'_>) -> Result<()>) -> Result<()> {
    Settings::default().runtime(Runtime::Runc).test(|host| {
        let mut containerd = Containerd::start(host, release).with_context(|| format!("{release:?}"))?;
        story(host, &mut containerd).with_context(|| format!("with containerd {release:?}"))?;
        containerd.clear()
    })
}
