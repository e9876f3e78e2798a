//! The life of a container, with the same interface under a runtime and without one.

use std::fs;
use std::ops::Deref;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::draft::Namespace;
use crate::host::NEWBORN;
use crate::runtime::Handle;
use crate::{Background, Draft, Host, Output, Place, Sandbox, eventually};

/// A container, and as a [`Place`] its network namespace seen with the host's programs. Deleted when dropped.
#[derive(Debug)]
pub struct Container<'h> {
    host: &'h Host,
    /// What it was made from.
    draft: Draft<'h>,
    bundle: String,
    /// The pid from the runtime; 0 until the container has started.
    pid: u32,
    /// Its network namespace; the host's until it has started.
    place: Place,
    /// Without a runtime: the container's process, until it is killed.
    process: Option<Background>,
    /// Whether the runtime has still to delete the container, or poststop is still to be called.
    owed: bool,
}

impl Deref for Container<'_> {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl<'h> Container<'h> {
    /// Writes its bundle. Without a runtime its process is started, too.
    pub(crate) fn prepare(draft: Draft<'h>) -> Result<Self> {
        let host = draft.host;
        let bundle = draft.write_bundle()?;
        let mut container =
            Self { host, draft, bundle, pid: 0, place: host.place().clone(), process: None, owed: false };
        if host.runtime().program().is_none() {
            container.start_process()?;
        }
        Ok(container)
    }

    /// Starts the program in the namespace that the draft asks for, but without a root file system of its own.
    fn start_process(&mut self) -> Result<()> {
        let into = match &self.draft.namespace {
            Namespace::Private => "--net".to_owned(),
            Namespace::At(path) => format!("--net={path}"),
            Namespace::Host => "--net=/proc/1/ns/net".to_owned(),
        };
        let enter = if self.draft.namespace == Namespace::Private { "unshare" } else { "nsenter" };
        let program = self.draft.argv();
        let more: &[&str] = if self.draft.isolated { &["--mount", "--uts"] } else { &[] };
        let words = [enter, &into].into_iter().chain(more.iter().copied()).chain(["--"]);
        let argv: Vec<_> = words.chain(program.iter().map(String::as_str)).collect();
        let mut process = self.host.background(&argv)?;
        if self.draft.is_server() {
            ensure!(process.line()? == "ready", "the server of {} did not get ready", self.draft.id);
        }
        self.born(process.pid());
        self.process = Some(process);
        if self.draft.namespace == Namespace::Private {
            let namespace = |pid| fs::read_link(self.host.path(format!("/proc/{pid}/ns/net")));
            eventually("it has a namespace of its own", || Ok(namespace(self.pid)? != namespace(1)?))?;
        }
        if self.draft.is_born_of_router() {
            self.output(&[NEWBORN])?.success()?;
        }
        Ok(())
    }

    /// The rest of the start, after [`Draft::prepare`]: the runtime's `run`, or the hook at each stage.
    pub(crate) fn start(&mut self) -> Result<Output> {
        self.owed = true;
        let Some(handle) = self.handle() else { return self.call_each_stage() };
        let output = handle.run(self.host, &self.bundle)?;
        if output.code == 0 {
            self.born(fs::read_to_string(self.host.path(format!("{}/pid", self.bundle)))?.parse()?);
            self.wait_until_ready()?;
        }
        Ok(output)
    }

    fn call_each_stage(&self) -> Result<Output> {
        let mut outputs = self.draft.stages.iter().map(|stage| self.hook(stage));
        let first = outputs.next().context("a container without a stage")??;
        outputs.try_fold(first, |last, next| if last.code == 0 { next } else { Ok(last) })
    }

    fn wait_until_ready(&self) -> Result<()> {
        let stdout = self.host.path(format!("{}/stdout", self.bundle));
        let is_ready = || Ok(!self.draft.is_server() || fs::read_to_string(&stdout)?.contains("ready"));
        eventually(&format!("the server of {} is ready", self.draft.id), is_ready)
    }

    fn born(&mut self, pid: u32) {
        self.pid = pid;
        self.place = self.host.of_process(pid);
        self.host.lives(self.key(), self.place.clone());
    }

    /// Its id and its bundle, which together identify it on the host.
    pub(crate) fn key(&self) -> (String, String) {
        (self.draft.id.clone(), self.bundle.clone())
    }

    /// Its first process, as seen on the host.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its bundle, on the host.
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// The state that a runtime would pass to a hook at `stage`, without `pid` if the process is dead.
    pub fn state(&self, stage: &str) -> Value {
        let Self { draft, bundle, pid, .. } = self;
        let status = if stage == "poststop" { "stopped" } else { "creating" };
        let mut state = json!({
            "ociVersion": "1.0.2", "id": draft.id, "status": status, "bundle": bundle, "annotations": draft.annotations,
        });
        if stage != "poststop" {
            state["pid"] = json!(pid);
        }
        state
    }

    /// Calls the hook as a runtime would.
    pub fn hook(&self, stage: &str) -> Result<Output> {
        self.host.hook(stage, self.state(stage).to_string())
    }

    /// Its sandbox in the store; there must be one.
    pub fn sandbox(&self) -> Result<Sandbox> {
        let (id, bundle) = self.key();
        let sandboxes = self.host.sandboxes()?;
        // A store that was lost and rebuilt has no bundle paths.
        let is_ours =
            |sandbox: &&Sandbox| sandbox.container == id && (sandbox.bundle == bundle || sandbox.bundle.is_empty());
        let ours = sandboxes.iter().find(is_ours);
        ours.cloned().with_context(|| format!("the store has no record of {id} in {bundle}, but {sandboxes:#?}"))
    }

    /// `ADDRESS:PORT` of a port inside it.
    pub fn at(&self, port: u16) -> Result<String> {
        let address = self.sandbox()?.address().with_context(|| format!("{} has no address", self.draft.id))?;
        Ok(format!("{address}:{port}"))
    }

    /// The host's end of its veth pair.
    pub fn host_interface(&self) -> Result<String> {
        let sandbox = self.sandbox()?;
        let endpoint = sandbox.endpoints.first().with_context(|| format!("{} has no endpoint", self.draft.id))?;
        Ok(endpoint.host_interface.clone())
    }

    /// Runs a program in the container, with the runtime's `exec`.
    pub fn exec(&self, argv: &[&str]) -> Result<String> {
        self.handle().context("exec needs a runtime")?.exec(self.host, argv)
    }

    /// Kills its processes and calls no hook.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            return process.kill();
        }
        if self.pid != 0 {
            self.host.sh(&format!("kill -KILL {} 2>/dev/null || true", self.pid))?;
            let process = self.host.path(format!("/proc/{}", self.pid));
            eventually(&format!("process {} is gone", self.pid), || Ok(!process.exists()))?;
        }
        Ok(())
    }

    /// Stops and deletes it: the runtime's `delete`, or the end of the process and poststop.
    pub fn delete(mut self) -> Result<()> {
        self.end()
    }

    /// Stops and deletes it, and starts it again from the same bundle.
    pub fn restart(&mut self) -> Result<()> {
        self.end()?;
        if self.host.runtime().program().is_none() {
            self.start_process()?;
        }
        self.start()?.success().map(drop)
    }

    /// Kills it; poststop is never called.
    pub fn abandon(mut self) -> Result<()> {
        self.owed = false;
        self.kill()?;
        self.host.is_dead(&self.key());
        Ok(())
    }

    /// Leaves its process running until the end of the host, unless it is killed; poststop is never called. For
    /// containers without a runtime only.
    pub(crate) fn leave(self) -> u32 {
        let pid = self.pid;
        std::mem::forget(self);
        pid
    }

    fn end(&mut self) -> Result<()> {
        let owed = std::mem::replace(&mut self.owed, false);
        self.kill()?;
        self.host.is_dead(&self.key());
        match self.handle() {
            Some(handle) if owed => handle.delete(self.host),
            None if owed => self.hook("poststop")?.exits(0).map(drop),
            _ => Ok(()),
        }
    }

    fn handle(&self) -> Option<Handle> {
        let runtime = self.host.runtime();
        let root = self.draft.root.clone().unwrap_or_else(|| runtime.root());
        Some(Handle { program: runtime.program()?, root, id: self.draft.id.clone() })
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            self.host.accuse(format!("deleting container {}: {error:#}", self.draft.id));
        }
    }
}
