use std::fmt::Write;

use slog::Logger;

use ocinet::engine::{Engine, Result};
use ocinet::model::{Attachment, Namespace, Record, Witness, shown};

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
        let records = records(&self.container, options, log)?;
        if self.json {
            print_json(&records)
        } else {
            print(&records.iter().map(describe).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// The records of a container that must be there.
pub(super) fn records(container: &str, options: &Options, log: &Logger) -> Result<Vec<Record>> {
    match options.engine_to_look(log)? {
        Some(mut engine) => engine.records_of(container),
        None => Err(Engine::not_attached(container, &[])),
    }
}

fn describe(record: &Record) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{key:<12} {}", shown(&value.to_string()));
    };
    line("container", &record.container);
    line("name", &record.name);
    line("bundle", &record.bundle);
    line("record", &format!("{} ({})", record.number, record.key().hex()));
    line("mode", &record.mode);
    line("state", &record.state);
    let Namespace { cookie, witness, seen_from_pid_ns, seen_from_mnt_ns, nsid } = &record.namespace;
    match witness {
        Witness::Unseen => line("namespace", &"not seen: rebuilt from its link"),
        Witness::Path(path) | Witness::Made { path, .. } => line("namespace", &path.display()),
        Witness::Process { pid, started } => line("namespace", &format!("/proc/{pid}/ns/net (started {started})")),
    }
    line("cookie", cookie);
    if let Some(nsid) = nsid {
        line("nsid", nsid);
    }
    line("seen from", &format!("pid:[{seen_from_pid_ns}] mnt:[{seen_from_mnt_ns}]"));
    for endpoint in &record.endpoints {
        let Attachment::Bridge { bridge, host_interface } = &endpoint.attachment;
        line("network", &endpoint.network);
        line("interface", &endpoint.interface);
        line("host link", &format!("{host_interface} on bridge {bridge}"));
        line("mac", &endpoint.mac);
        line("mtu", &endpoint.mtu);
        endpoint.addresses.iter().for_each(|address| line("address", address));
        endpoint.gateways.iter().for_each(|gateway| line("gateway", gateway));
    }
    record.publish.iter().for_each(|mapping| line("published", mapping));
    text
}
