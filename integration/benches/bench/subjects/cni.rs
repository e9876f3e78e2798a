use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Run, Subject};
use crate::host::Container;
use crate::options::Options;

/// The plugins that are called, and those that they call.
pub const PROGRAMS: [&str; 4] = ["bridge", "host-local", "portmap", "firewall"];

/// The only folder on the PATH with nftables: at a DEL, `bridge` also takes away what it might have put into iptables
/// earlier, and fails where Debian's iptables says so in other words than it knows. It is a host without iptables, then.
const WITHOUT_IPTABLES: &str = "/run/bench-path";

/// The chain of plugins that podman and nerdctl configure for a bridge, called as libcni does.
pub struct Cni {
    name: &'static str,
    folder: PathBuf,
    firewall: &'static str,
}

impl Cni {
    /// With this firewall. The plugin `firewall` has none but iptables and firewalld: with nftables it is left out, as
    /// nothing forbids forwarding there.
    pub fn new(name: &'static str, firewall: &'static str, options: &Options) -> Self {
        Self { name, folder: options.cni.clone(), firewall }
    }

    fn plugins(&self, container: &Container) -> Vec<Value> {
        let ports = container.ports.on_host();
        let mappings = ports.map(|port| json!({"hostPort": port, "containerPort": 80, "protocol": "tcp"}));
        let bridge = json!({
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "ipMasqBackend": self.firewall,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": "/run/cni", "routes": [{"dst": "0.0.0.0/0"}],
                "ranges": [[{"subnet": "10.89.0.0/16"}]],
            },
        });
        let portmap = json!({
            "type": "portmap", "backend": self.firewall, "capabilities": {"portMappings": true},
            "runtimeConfig": {"portMappings": mappings.collect::<Vec<_>>()},
        });
        let firewall = (self.firewall == "iptables").then(|| json!({"type": "firewall", "backend": "iptables"}));
        [bridge, portmap].into_iter().chain(firewall).collect()
    }

    /// Calls one plugin with the result so far.
    fn call(&self, verb: &str, container: &Container, plugin: &Value, previous: Value, run: Run<'_>) -> Result<Value> {
        let mut input = plugin.clone();
        input["cniVersion"] = json!("1.0.0");
        input["name"] = json!("bench");
        if !previous.is_null() {
            input["prevResult"] = previous;
        }
        let name = plugin["type"].as_str().context("a plugin's name")?;
        let mut command = Command::new(self.folder.join(name));
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container.id())
            .env("CNI_NETNS", container.namespace()?)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.folder);
        if self.firewall == "nftables" {
            command.env("PATH", WITHOUT_IPTABLES);
        }
        let output = run(&mut command, &input.to_string())?;
        Ok(serde_json::from_slice(&output).unwrap_or(Value::Null))
    }
}

impl Subject for Cni {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&self) -> Result<()> {
        fs::create_dir_all(WITHOUT_IPTABLES)?;
        // The shell is for the counter of system calls.
        for program in ["nft", "sh"] {
            let installed = super::installed(program).with_context(|| format!("no {program}"))?;
            symlink(installed, Path::new(WITHOUT_IPTABLES).join(program)).context(WITHOUT_IPTABLES)?;
        }
        Ok(())
    }

    fn attach(&self, container: &Container, run: Run<'_>) -> Result<Value> {
        let mut plugins = self.plugins(container).into_iter();
        plugins.try_fold(Value::Null, |previous, plugin| self.call("ADD", container, &plugin, previous, run))
    }

    fn detach(&self, container: &Container, attached: &Value, run: Run<'_>) -> Result<()> {
        let mut plugins = self.plugins(container).into_iter().rev();
        plugins.try_for_each(|plugin| self.call("DEL", container, &plugin, attached.clone(), run).map(drop))
    }
}

/// Whether the plugins can do without iptables: from 1.6 on.
pub fn knows_nftables(options: &Options) -> bool {
    let version = version(options).unwrap_or_default();
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(1), Some(6))
}

/// What the plugins say of themselves. Debian's do not know their version; its changelog does.
pub fn version(options: &Options) -> Option<String> {
    let said = Command::new(options.cni.join("bridge")).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    let own = said.split_whitespace().find(|word| word.starts_with('v') && word.contains('.')).map(str::to_owned);
    let changelog = options.cni.join("../../share/doc/containernetworking-plugins/changelog.Debian.gz");
    let debian = || {
        let line = crate::machine::first_line(Command::new("zcat").arg(changelog))?;
        Some(line.split_once('(')?.1.split_once(')')?.0.to_owned())
    };
    Some(format!("CNI plugins {}", own.or_else(debian)?))
}
