use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use serde_json::Value;

use super::{Run, Subject};
use crate::fixture::run;
use crate::host::Container;

/// A folder of its own for the settings: the machine's are not read.
const CONFIG: &str = "/run/bench-config";

/// ocinet, called as a runtime calls a hook.
pub struct Ocinet {
    name: &'static str,
    program: PathBuf,
    firewall: &'static str,
    namespace_ends_first: bool,
}

impl Ocinet {
    /// With this firewall.
    pub fn new(name: &'static str, firewall: &'static str, namespace_ends_first: bool) -> Result<Self> {
        Ok(Self { name, program: ocinet_integration::ocinet()?, firewall, namespace_ends_first })
    }

    fn hook(&self, stage: &str, container: &Container, run: Run<'_>) -> Result<()> {
        let mut command = Command::new(&self.program);
        run(command.args(["--config-dir", CONFIG, "hook", stage]), &container.sandbox.state).map(drop)
    }
}

impl Subject for Ocinet {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&self) -> Result<()> {
        fs::create_dir_all(CONFIG)?;
        Ok(fs::write(format!("{CONFIG}/config.toml"), format!("firewall = \"{}\"\n", self.firewall))?)
    }

    fn namespace_ends_first(&self) -> bool {
        self.namespace_ends_first
    }

    fn attach(&self, container: &Container, run: Run<'_>) -> Result<Value> {
        self.hook("createRuntime", container, run).map(|()| Value::Null)
    }

    fn detach(&self, container: &Container, _: &Value, run: Run<'_>) -> Result<()> {
        self.hook("poststop", container, run)
    }

    /// With the last of them the name server ends.
    fn collect(&self) -> Result<()> {
        run(Command::new(&self.program).args(["--config-dir", CONFIG, "gc"]), "").map(drop)
    }
}

/// Defines a network with this name on the host that this thread is in. `options` are those of `network create`.
pub fn define(network: &str, options: &[&str]) -> Result<()> {
    let mut command = Command::new(ocinet_integration::ocinet()?);
    let command = command.args(["--config-dir", CONFIG, "network", "create"]).args(options).arg(network);
    run(command, "").map(drop)
}

/// What it says of itself.
pub fn version() -> Option<String> {
    crate::machine::first_line(Command::new(ocinet_integration::ocinet().ok()?).arg("--version"))
}
