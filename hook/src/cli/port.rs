use std::net::SocketAddr;

use clap_complete::engine::ArgValueCandidates;
use slog::{Logger, warn};

use ocinet::decide::published::left_out;
use ocinet::engine::{Error, Result};
use ocinet::model::{Invalid, PortMapping, Protocol, Sandbox};

use super::inspect::sandboxes;
use super::{Options, print, print_json};

/// Show a container's published ports.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The container's id, its name, or the beginning of its id
    #[arg(value_name = "CONTAINER", add = ArgValueCandidates::new(crate::cli::complete::containers))]
    container: String,
    /// Only this port of the container: 80 or 53/udp
    #[arg(value_name = "PORT", add = ArgValueCandidates::new(crate::cli::complete::ports))]
    port: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let only = self.port.as_deref().map(parse).transpose()?;
        let sandboxes = sandboxes(&self.container, options, log)?;
        let dormant = sandboxes.iter().any(Sandbox::has_dormant_ports);
        let mappings: Vec<PortMapping> = sandboxes.iter().flat_map(Sandbox::reached_ports).collect();
        let single = mappings.iter().flat_map(|mapping| {
            mapping.pairs().map(|(host_port, container_port)| PortMapping {
                host_port,
                container_port,
                count: 1,
                ..mapping.clone()
            })
        });
        let shown: Vec<PortMapping> = single
            .filter(|one| only.is_none_or(|(port, protocol)| (one.container_port, one.protocol) == (port, protocol)))
            .collect();
        if let (Some((port, protocol)), true) = (only, shown.is_empty()) {
            let container = &self.container;
            return Err(Error::NotFound(format!("container {container} publishes no port {port}/{protocol}")));
        }
        if self.json {
            return print_json(&shown);
        }
        if dormant {
            warn!(log, "they lead nowhere now: none of the networks of container {} can publish", self.container);
        }
        for left_out in sandboxes.iter().filter_map(left_out) {
            warn!(log, "{left_out}");
        }
        let mark = if dormant { " (dormant)" } else { "" };
        print(&shown.iter().map(|one| line(one, only.is_some()) + mark + "\n").collect::<String>())
    }
}

/// The form of `docker port`: the container's port is left out if it was asked for.
fn line(mapping: &PortMapping, bare: bool) -> String {
    let host = SocketAddr::new(mapping.host_address.ip(), mapping.host_port);
    if bare { host.to_string() } else { format!("{}/{} -> {host}", mapping.container_port, mapping.protocol) }
}

fn parse(text: &str) -> Result<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = port.parse().ok().filter(|port| *port > 0);
    let number =
        number.ok_or_else(|| Invalid::new("port", text, "is no port from 1 to 65535, with /udp or /sctp behind it"))?;
    Ok((number, protocol.parse()?))
}
