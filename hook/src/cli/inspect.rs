use std::fmt::Write;

use slog::Logger;

use ocinet::engine::{Engine, Result};
use ocinet::model::{Record, Witness};

use super::{Options, print, print_json};

/// Show all about a container's network.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The container's id
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
    match options.engine(log)? {
        Some(engine) => engine.records_of(container),
        None => Err(Engine::not_attached(container)),
    }
}

fn describe(record: &Record) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{key:<12} {value}");
    };
    line("container", &record.container);
    line("bundle", &record.bundle);
    line("network", &record.mode);
    line("state", &record.state);
    match &record.namespace.witness {
        Witness::Path(path) => line("namespace", &path.display()),
        Witness::Process { pid, .. } => line("namespace", &format!("/proc/{pid}/ns/net")),
    }
    for endpoint in &record.endpoints {
        line("interface", &format!("{} on {}", endpoint.interface, endpoint.network));
        line("host link", endpoint.attachment.host_interface());
        line("mac", &endpoint.mac);
        line("mtu", &endpoint.mtu);
        endpoint.addresses.iter().for_each(|address| line("address", address));
        endpoint.gateways.iter().for_each(|gateway| line("gateway", gateway));
    }
    record.publish.iter().for_each(|mapping| line("published", mapping));
    text
}
