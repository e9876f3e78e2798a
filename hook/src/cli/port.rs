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
        let of = |sandbox: &Sandbox| {
            let ports = sandbox.reached_ports().into_iter();
            ports.map(|mapping| (sandbox.is_dormant(&mapping), mapping)).collect::<Vec<_>>()
        };
        let single = sandboxes.iter().flat_map(of).flat_map(|(is_dormant, mapping)| {
            let one =
                |(host_port, container_port)| PortMapping { host_port, container_port, count: 1, ..mapping.clone() };
            mapping.pairs().map(one).map(|one| (is_dormant, one)).collect::<Vec<_>>()
        });
        let is_asked = |one: &PortMapping| only.is_none_or(|asked| (one.container_port, one.protocol) == asked);
        let shown: Vec<(bool, PortMapping)> = single.filter(|(_, one)| is_asked(one)).collect();
        if let (Some((port, protocol)), true) = (only, shown.is_empty()) {
            let container = &self.container;
            return Err(Error::NotFound(format!("container {container} publishes no port {port}/{protocol}")));
        }
        if self.json {
            return print_json(&shown.iter().map(|(_, one)| one).collect::<Vec<_>>());
        }
        if shown.iter().any(|(is_dormant, _)| *is_dormant) {
            let container = &self.container;
            warn!(
                log,
                "what is dormant leads nowhere now: none of the networks of container {container} can publish it"
            );
        }
        for left_out in sandboxes.iter().filter_map(left_out) {
            warn!(log, "{left_out}");
        }
        let mark = |is_dormant: bool| if is_dormant { " (dormant)" } else { "" };
        let lines = shown.iter().map(|(is_dormant, one)| line(one, only.is_some()) + mark(*is_dormant) + "\n");
        print(&lines.collect::<String>())
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
