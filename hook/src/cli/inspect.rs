use std::fmt::Write;

use slog::Logger;

use ocinet::engine::{Result, not_attached};
use ocinet::model::{Namespace, NetnsLocator, Sandbox, shown};

use super::{Options, print, print_json};

/// Show all about a container's network.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The container's id, its name, or the beginning of its id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Print JSON: an array, since ids are unique only within one root of a runtime
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let sandboxes = sandboxes(&self.container, options, log)?;
        if self.json {
            print_json(&sandboxes)
        } else {
            print(&sandboxes.iter().map(describe).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// The sandboxes that `container` names. None is an error.
pub(super) fn sandboxes(container: &str, options: &Options, log: &Logger) -> Result<Vec<Sandbox>> {
    match options.engine_to_look(log)? {
        Some(mut engine) => engine.sandboxes_of(container),
        None => Err(not_attached(container, &[])),
    }
}

fn describe(sandbox: &Sandbox) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{key:<12} {}", shown(&value.to_string()));
    };
    line("container", &sandbox.container);
    line("name", &sandbox.name);
    line("bundle", &sandbox.bundle);
    line("record", &format!("{} ({})", sandbox.number, sandbox.key().hex()));
    line("mode", &sandbox.mode);
    line("state", &sandbox.state);
    let Namespace { cookie, locator, seen_from_pid_ns, seen_from_mnt_ns, nsid } = &sandbox.namespace;
    match locator {
        NetnsLocator::Unseen => line("namespace", &"not seen: rebuilt from its link"),
        NetnsLocator::Path(path) | NetnsLocator::Made { path, .. } => line("namespace", &path.display()),
        NetnsLocator::Process { pid, started } => line("namespace", &format!("/proc/{pid}/ns/net (started {started})")),
    }
    line("cookie", cookie);
    if let Some(nsid) = nsid {
        line("nsid", nsid);
    }
    line("seen from", &format!("pid:[{seen_from_pid_ns}] mnt:[{seen_from_mnt_ns}]"));
    for endpoint in &sandbox.endpoints {
        line("network", &endpoint.network);
        line("interface", &endpoint.interface);
        if let Some(link) = endpoint.wire.host_link() {
            let master = endpoint.wire.master().map(|master| format!(" on bridge {master}"));
            line("host link", &format!("{link}{}", master.unwrap_or_default()));
        }
        line("mac", &endpoint.mac);
        line("mtu", &endpoint.mtu);
        if endpoint.unguarded {
            line("guard", &"off");
        }
        endpoint.addresses.iter().for_each(|address| line("address", address));
        endpoint.gateways().for_each(|gateway| line("gateway", &gateway));
    }
    let dormant = if sandbox.has_dormant_ports() { " (dormant: no network that it is on can publish)" } else { "" };
    sandbox.publish.iter().for_each(|mapping| line("published", &format!("{mapping}{dormant}")));
    text
}
