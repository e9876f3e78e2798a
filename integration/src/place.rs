//! Where programs run: the mount and process namespaces of a private host, and one of its network namespaces.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};
use serde::de::DeserializeOwned;

use crate::{Background, Chains, Output};

/// Longer than any command of a story takes. A command that hangs is killed after it, so that a test fails rather than
/// hangs.
const DEADLINE: &str = "60";

/// A network namespace on a private host, seen by programs of that host: the host itself, its peer, a container.
#[derive(Clone, Debug)]
pub struct Place {
    /// The first process of the host, whose other namespaces programs enter.
    init: u32,
    /// The network namespace.
    net: PathBuf,
}

impl Place {
    /// The host whose first process has the pid `init`.
    pub(crate) fn host(init: u32) -> Self {
        Self { init, net: format!("/proc/{init}/ns/net").into() }
    }

    /// The network namespace of the file `file` on the same host.
    pub fn beside(&self, file: &str) -> Self {
        Self { init: self.init, net: self.path(file) }
    }

    /// The network namespace of process `pid` of the same host.
    pub fn of_process(&self, pid: u32) -> Self {
        self.beside(&format!("/proc/{pid}/ns/net"))
    }

    /// The path by which this process can open a file of the host.
    pub fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        let file = file.as_ref();
        Path::new(&format!("/proc/{}/root", self.init)).join(file.strip_prefix("/").unwrap_or(file))
    }

    /// A command that enters this place. The program and its arguments are still to be added.
    pub(crate) fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--mount", "--pid"]);
        command.arg(format!("--net={}", self.net.display())).arg("--").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs `work` in a thread that has the network namespace, the files and the programs of this place. It stays in
    /// the caller's process namespace.
    pub(crate) fn visit<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        // A thread that took another mount namespace cannot come back.
        let visit = || {
            let (net, mount) = (File::open(&self.net)?, File::open(format!("/proc/{}/ns/mnt", self.init))?);
            unshare(CloneFlags::CLONE_FS)?;
            setns(net, CloneFlags::CLONE_NEWNET)?;
            setns(mount, CloneFlags::CLONE_NEWNS)?;
            work()
        };
        thread::scope(|scope| scope.spawn(visit).join()).map_err(|_| anyhow!("the visitor panicked"))?
    }

    /// The chains of `program`, a variant of iptables, in this place.
    pub fn chains(&self, program: &'static str) -> Chains<'_> {
        Chains::new(self, program)
    }

    /// A command that runs a program here, to be started by the caller.
    pub fn command(&self, argv: &[&str]) -> Command {
        let mut command = self.enter();
        command.args(["timeout", "--signal=KILL", DEADLINE]).args(argv);
        command
    }

    /// Runs a program to its end.
    pub fn output(&self, argv: &[&str]) -> Result<Output> {
        Output::of(&mut self.command(argv), &[])
    }

    /// Runs a shell script that must succeed, and returns what it printed.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.output(&["sh", "-euc", script])?.success()
    }

    /// Runs a shell script that must succeed, and reads what it printed as JSON.
    pub fn json<T: DeserializeOwned>(&self, script: &str) -> Result<T> {
        let text = self.sh(script)?;
        serde_json::from_str(&text).with_context(|| format!("{script} printed {text:?}"))
    }

    /// Starts a program in the background.
    pub fn background(&self, argv: &[&str]) -> Result<Background> {
        Background::start(self, argv)
    }
}
