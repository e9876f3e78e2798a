//! The description of a container before it is started.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::spec::spec;
use crate::traffic::PROBE;
use crate::{Container, Host, Output};

/// The network namespace a container asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Namespace {
    /// One of its own, made by the runtime.
    Private,
    /// The existing namespace at this path.
    At(String),
    /// The host's.
    Host,
}

/// A container's description. The default is the network `bridge` and a server named by the container's id on port 80.
#[derive(Clone, Debug)]
pub struct Draft<'h> {
    pub(crate) host: &'h Host,
    pub(crate) id: String,
    pub(crate) annotations: Map<String, Value>,
    pub(crate) namespace: Namespace,
    /// The stages at which its spec calls the hook to attach it.
    pub(crate) stages: Vec<String>,
    /// Whether a hook after ours fails.
    pub(crate) later_hook_fails: bool,
    /// The state folder of its runtime, where it is not the default one.
    pub(crate) root: Option<String>,
    /// Whether its process has mount and UTS namespaces of its own although no runtime made them.
    pub(crate) isolated: bool,
    /// The ports that its server listens on.
    ports: Vec<String>,
    /// What it runs in the place of a server.
    command: Option<Vec<String>>,
    /// Programs of jq(1) that edit its spec.
    edits: Vec<String>,
}

impl<'h> Draft<'h> {
    /// The default container named `id`.
    pub(crate) fn new(host: &'h Host, id: &str) -> Self {
        let draft = Self {
            host,
            id: id.to_owned(),
            annotations: Map::new(),
            namespace: Namespace::Private,
            stages: vec!["createRuntime".to_owned()],
            later_hook_fails: false,
            root: None,
            isolated: false,
            ports: vec!["80".to_owned()],
            command: None,
            edits: Vec::new(),
        };
        draft.network("bridge")
    }

    /// The annotation `io.ocinet.network`.
    pub fn network(self, value: &str) -> Self {
        self.annotation("io.ocinet.network", value)
    }

    /// The annotation `io.ocinet.publish`.
    pub fn publish(self, value: &str) -> Self {
        self.annotation("io.ocinet.publish", value)
    }

    /// Any annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.into());
        self
    }

    /// No annotation at all.
    pub fn without_annotations(mut self) -> Self {
        self.annotations.clear();
        self
    }

    /// The container uses the namespace at `path`.
    pub fn in_namespace(mut self, path: &str) -> Self {
        self.namespace = Namespace::At(path.to_owned());
        self
    }

    /// The container stays in the host's namespace.
    pub fn in_host_namespace(mut self) -> Self {
        self.namespace = Namespace::Host;
        self
    }

    /// The stages at which the hook is called before the container runs.
    pub fn stages(mut self, stages: &[&str]) -> Self {
        self.stages = stages.iter().map(|stage| (*stage).to_owned()).collect();
        self
    }

    /// A hook of another program that comes after ours fails.
    pub fn later_hook_fails(mut self) -> Self {
        self.later_hook_fails = true;
        self
    }

    /// The runtime's state folder: ids are unique within one only.
    pub fn root(mut self, folder: &str) -> Self {
        self.root = Some(folder.to_owned());
        self
    }

    /// Without a runtime: the process also has mount and UTS namespaces of its own, and the bundle has no host name, so
    /// that the hook has the same work as under a runtime.
    pub fn isolated(mut self) -> Self {
        self.isolated = true;
        self
    }

    /// The ports its server listens on (`80`, `9000-9010`).
    pub fn serving(mut self, ports: &[&str]) -> Self {
        self.ports = ports.iter().map(|port| (*port).to_owned()).collect();
        self
    }

    /// Runs `argv` instead of the usual server.
    pub fn command(mut self, argv: &[&str]) -> Self {
        self.command = Some(argv.iter().map(|word| (*word).to_owned()).collect());
        self
    }

    /// Its root file system, on the host; writable.
    pub fn image(self, folder: &str) -> Self {
        self.edit(&format!(r#".root = {{path: "{folder}", readonly: false}}"#))
    }

    /// A change of its `config.json`, as a jq filter.
    pub fn edit(mut self, filter: &str) -> Self {
        self.edits.push(filter.to_owned());
        self
    }

    /// Starts the container: the runtime's `run`, or the bare process and the hook at each stage. It must succeed.
    pub fn run(self) -> Result<Container<'h>> {
        let what = format!("starting container {}", self.id);
        self.start().and_then(|(container, output)| container.with_context(|| output.to_string())).context(what)
    }

    /// Starts the container, which must fail. Returns the output.
    pub fn refused(self) -> Result<Output> {
        let id = self.id.clone();
        let (container, output) = self.start()?;
        ensure!(container.is_none(), "container {id} should have been refused");
        Ok(output)
    }

    /// Makes the bundle and, without a runtime, the process. The hook has not been called yet.
    pub fn prepare(self) -> Result<Container<'h>> {
        Container::prepare(self)
    }

    /// Starts the container. The output is that of the runtime, or of the hook that was called last.
    pub fn start(self) -> Result<(Option<Container<'h>>, Output)> {
        let mut container = self.prepare()?;
        let output = container.start()?;
        if output.code == 0 {
            return Ok((Some(container), output));
        }
        container.abandon()?;
        Ok((None, output))
    }

    /// The container's program.
    pub(crate) fn argv(&self) -> Vec<String> {
        let server = || [PROBE, "serve", &self.id].map(str::to_owned).into_iter().chain(self.ports.clone());
        self.command.clone().unwrap_or_else(|| server().collect())
    }

    /// Whether its network namespace is a new one that begins with the settings of a router.
    pub(crate) fn is_born_of_router(&self) -> bool {
        self.namespace == Namespace::Private && self.host.born_of_router()
    }

    /// Whether its program prints a line when it is ready.
    pub(crate) fn is_server(&self) -> bool {
        self.command.is_none()
    }

    /// Writes the bundle, and returns its path on the host.
    pub(crate) fn write_bundle(&self) -> Result<String> {
        let (bundle, cgroup) = self.host.next_bundle(&self.id);
        let folder = self.host.path(&bundle);
        fs::create_dir_all(&folder)?;
        let mut text = spec(self, &bundle, &cgroup).to_string();
        if !self.edits.is_empty() {
            text = Output::of(Command::new("jq").arg(self.edits.join(" | ")), text.as_bytes())?.success()?;
        }
        fs::write(folder.join("config.json"), text)?;
        Ok(bundle)
    }
}
