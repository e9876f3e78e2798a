use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use super::{Kind, Run, Subject};
use crate::host::Container;
use crate::options::Options;

/// netavark, called as podman calls it for a container on its default network; the address is podman's choice. It uses
/// the firewall that it was built for.
pub struct Netavark {
    program: PathBuf,
    libraries: Option<PathBuf>,
}

impl Netavark {
    pub fn new(options: &Options) -> Self {
        Self { program: options.netavark.clone(), libraries: options.libraries.clone() }
    }

    fn call(&self, verb: &str, container: &Container, run: Run<'_>) -> Result<Value> {
        let mappings = container
            .ports
            .on_host()
            .map(|port| json!({"container_port": 80, "host_ip": "", "host_port": port, "protocol": "tcp", "range": 1}));
        let input = json!({
            "container_id": container.id(),
            "container_name": container.id(),
            "port_mappings": mappings.collect::<Vec<_>>(),
            "networks": {"podman": {"static_ips": [container.address("10.88")], "interface_name": "eth0"}},
            "network_info": {"podman": {
                "name": "podman",
                "id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
                "driver": "bridge",
                "network_interface": "podman0",
                "created": "2024-01-01T00:00:00Z",
                "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}],
                "ipv6_enabled": false,
                "internal": false,
                "dns_enabled": false,
                "ipam_options": {"driver": "host-local"},
            }},
        });
        let mut command = Command::new(&self.program);
        command.args(["--config", "/run/networks", "--rootless=false", verb, &container.namespace()?]);
        let output = run(&mut command, &input.to_string())?;
        Ok(serde_json::from_slice(&output).unwrap_or(Value::Null))
    }
}

impl Subject for Netavark {
    fn name(&self) -> &'static str {
        Kind::Netavark.name()
    }

    /// A netavark of a later Debian needs that one's C library, which runs this machine's programs too: on this host
    /// it takes the place of theirs.
    fn prepare(&self) -> Result<()> {
        fs::create_dir_all("/run/networks")?;
        let Some(folder) = &self.libraries else { return Ok(()) };
        for name in ["ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libgcc_s.so.1"] {
            let (new, Some(old)) = (folder.join(name), library(name)) else { continue };
            if new.exists() {
                // No program could be started between the first and the last of them.
                let none = None::<&str>;
                mount(Some(&new), &old, none, MsFlags::MS_BIND, none).with_context(|| old.display().to_string())?;
            }
        }
        Ok(())
    }

    fn attach(&self, container: &Container, run: Run<'_>) -> Result<Value> {
        self.call("setup", container, run)
    }

    fn detach(&self, container: &Container, _: &Value, run: Run<'_>) -> Result<()> {
        self.call("teardown", container, run).map(drop)
    }
}

/// This machine's library of that name.
fn library(name: &str) -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let found = folders.filter(|path| path.to_string_lossy().ends_with("-linux-gnu")).map(|path| path.join(name));
    found.chain([Path::new("/lib64").join(name)]).find(|path| path.exists())
}

/// What it says of itself, with the firewall.
pub fn version(options: &Options) -> Option<String> {
    let mut command = Command::new(&options.netavark);
    if let Some(folder) = &options.libraries {
        command = Command::new(folder.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(folder).arg(&options.netavark);
    }
    let said = command.arg("version").stderr(Stdio::null()).output().ok()?;
    let said: Value = serde_json::from_slice(&said.stdout).ok()?;
    let (version, firewall) = (said["version"].as_str()?, said["default_fw_driver"].as_str().unwrap_or("iptables"));
    Some(format!("netavark {version} ({firewall})"))
}
