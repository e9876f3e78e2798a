//! podman on a private host, with our hook directory.

use std::ops::Deref;

use anyhow::{Context, Result};

use crate::{Host, Output, Place, Runtime, Sandbox, eventually};

/// The preparation of a private host, to be run before the first snapshot: folders of its own for all of podman's
/// state, podman's settings for such a host, and our hook directory where podman looks for one. podman 5 never deletes
/// its lock file.
pub const PREPARE: &str = r#"
    mkdir -p /run/lock; : >>/run/lock/netavark.lock
    mkdir -p /mnt/podman /mnt/over /mnt/work
    mount -t overlay -o lowerdir=/usr/share,upperdir=/mnt/over,workdir=/mnt/work overlay /usr/share
    mount -t tmpfs tmpfs /dev/shm
    printf '%s\n' '[containers]' 'default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]' \
        '[engine]' 'cgroup_manager = "cgroupfs"' 'events_logger = "file"' 'tmp_dir = "/mnt/podman/tmp"' \
        >/etc/containers/containers.conf
    printf '%s\n' '[storage]' 'driver = "overlay"' 'graphroot = "/mnt/podman/storage"' 'runroot = "/mnt/podman/run"' \
        >/etc/containers/storage.conf
"#;

/// Where podman looks for hooks.
const HOOKS: &str = "/usr/share/containers/oci/hooks.d";

/// podman with one runtime.
#[derive(Debug)]
pub struct Podman<'h> {
    host: &'h Host,
    /// The OCI runtime that it calls.
    runtime: &'static str,
}

/// A container that podman started; as a [`Place`] its network namespace. Removed when dropped.
#[derive(Debug)]
pub struct PodmansContainer<'p> {
    podman: &'p Podman<'p>,
    /// Its id.
    pub id: String,
    place: Place,
}

impl<'h> Podman<'h> {
    /// podman on `host`, which was made with [`PREPARE`], with the hook files of this tree.
    pub fn new(host: &'h Host) -> Result<Self> {
        let files = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/hooks.d");
        host.sh(&format!(
            "mkdir -p {HOOKS}; for file in {files}/*.json; do sed 's:/usr/bin/ocinet:{}:' $file >{HOOKS}/${{file##*/}}; done",
            crate::OCINET
        ))?;
        Self::installed(host)
    }

    /// podman on `host`, with the hook files that are installed there.
    pub fn installed(host: &'h Host) -> Result<Self> {
        let runtime = host.runtime().program().context("podman needs a runtime")?;
        Ok(Self { host, runtime })
    }

    /// Runs podman to its end, with arguments as one types them.
    pub fn run(&self, arguments: &str) -> Result<Output> {
        // A process that podman leaves behind must not hold the test's pipes: the output goes to files.
        let script = format!(
            "podman --runtime {} {arguments} </dev/null >/mnt/podman.$$ 2>/mnt/podman-err.$$ && code=0 || code=$?
             cat /mnt/podman.$$; cat /mnt/podman-err.$$ >&2; rm /mnt/podman.$$ /mnt/podman-err.$$; exit $code",
            self.runtime
        );
        self.host.output(&["sh", "-uc", &script])
    }

    /// `podman run --detach`: a server called `name`, with more flags for podman, on these ports.
    pub fn start(&self, name: &str, flags: &str, ports: &str) -> Result<PodmansContainer<'_>> {
        let id = self.attempt(name, flags, ports)?.success()?.trim().to_owned();
        let mut container = PodmansContainer { podman: self, id, place: self.host.place().clone() };
        container.found()?;
        Ok(container)
    }

    /// The same, but the start may fail.
    pub fn attempt(&self, name: &str, flags: &str, ports: &str) -> Result<Output> {
        self.run(&format!(
            "run --detach --name {name} {flags} --rootfs /mnt/rootfs:O /mnt/bin/probe serve {name} {ports}"
        ))
    }
}

impl PodmansContainer<'_> {
    /// Finds its process after a start, and waits until its server is ready.
    pub fn found(&mut self) -> Result<()> {
        let pid: u32 = self.inspect("{{.State.Pid}}")?.trim().parse()?;
        self.place = self.podman.host.of_process(pid);
        self.podman.host.lives(self.key(), self.place.clone());
        eventually(&format!("the server of {} is ready", self.id), || {
            Ok(self.podman.run(&format!("logs {}", self.id))?.stdout.contains("ready"))
        })
    }

    /// The output of `podman inspect` for a template of Go's.
    pub fn inspect(&self, format: &str) -> Result<String> {
        self.podman.run(&format!("inspect --format '{format}' {}", self.id))?.success()
    }

    /// Runs podman with a command for this container.
    pub fn does(&self, command: &str) -> Result<Output> {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let before = if verb == "exec" { "" } else { rest };
        let after = if verb == "exec" { rest } else { "" };
        self.podman.run(&format!("{verb} {before} {} {after}", self.id))
    }

    /// The same, for a command that ends the container.
    pub fn ends_by(&self, command: &str) -> Result<()> {
        self.podman.host.is_dead(&self.key());
        self.does(command)?.success().map(drop)
    }

    /// Notes that the container has ended without a command of podman's.
    pub fn is_dead(&self) {
        self.podman.host.is_dead(&self.key());
    }

    /// Its sandbox in the store.
    pub fn sandbox(&self) -> Result<Sandbox> {
        let sandboxes = self.podman.host.sandboxes()?;
        let ours = sandboxes.into_iter().find(|sandbox| sandbox.container == self.id);
        ours.with_context(|| format!("no record of {}", self.id))
    }

    fn key(&self) -> (String, String) {
        (self.id.clone(), format!("/mnt/podman/storage/overlay-containers/{}/userdata", self.id))
    }
}

impl Deref for PodmansContainer<'_> {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Drop for PodmansContainer<'_> {
    fn drop(&mut self) {
        self.podman.host.is_dead(&self.key());
        if let Err(error) = self.does("rm --force --ignore --time 0").and_then(Output::success) {
            self.podman.host.accuse(format!("removing {}: {error:#}", self.id));
        }
    }
}

/// The settings of a host on which podman uses `runtime`.
pub fn settings(runtime: Runtime) -> crate::Settings {
    crate::Settings::default().runtime(runtime).prepare(PREPARE)
}

/// Runs a story about podman under both runtimes.
pub fn with_podman(story: impl Fn(&Host, &Podman<'_>) -> Result<()>) -> Result<()> {
    [Runtime::Runc, Runtime::Crun]
        .into_iter()
        .try_for_each(|runtime| settings(runtime).test(|host| story(host, &Podman::new(host)?)))
}
