use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::{Map, Value};
use slog::Logger;

use ocinet::decide::ipam;
use ocinet::engine::{Engine, Failures, Result};
use ocinet::kernel::{self, Records, Traffic};
use ocinet::model::{Family, Network, Protocol, Sandbox};

use super::ps::Line;
use super::{Options, print};

/// Write what Prometheus reads of this host.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The file, which is replaced at once; without it, to stdout
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Arguments {
    /// What cannot be had is left out: a text without it is worth more than none.
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let (mut text, mut failures) = (Text::default(), Failures::default());
        text.family("build_info", "gauge", "The version of ocinet");
        text.add("build_info", &[("version", ocinet::version!())], 1);
        let engine = failures.note("open the store", options.engine_to_look(log))?.flatten();
        if let Some(mut engine) = engine {
            let told = of_containers(&mut engine, &mut text);
            failures.note("look at the containers", told)?;
            if let Some(whole) = failures.note("look at the rules", engine.has_whole_rules())? {
                text.family(
                    "rules_whole",
                    "gauge",
                    "Whether the rules of the firewall are those that the containers need",
                );
                text.add("rules_whole", &[], u8::from(whole));
            }
        }
        let records = Records::of(&options.state_dir).read().more();
        let records = failures.note("read the log", records.map_err(Into::into))?.unwrap_or_default();
        of_records(records.iter().filter_map(|line| serde_json::from_str(line).ok()), &mut text);
        match self.file {
            Some(file) => kernel::write_public(&file, &text.0)?,
            None => print(&text.0)?,
        }
        failures.into_result()
    }
}

fn of_containers(engine: &mut Engine, text: &mut Text) -> Result<()> {
    let (all, networks, traffic) = (engine.all_after(0, u32::MAX)?, engine.networks()?, engine.traffic()?);
    let lines = engine.sandboxes()?.into_iter().map(|sandbox| Line::of(sandbox, engine));
    let lines: Vec<Line> = lines.filter_map(Result::transpose).collect::<Result<_>>()?;
    statuses(&lines, text);
    addresses(&all, &networks, text);
    ports(&lines, text);
    bytes(&lines, &traffic, text);
    Ok(())
}

fn statuses(lines: &[Line], text: &mut Text) {
    text.family("containers", "gauge", "Containers by status, see ocinet(1)");
    for status in ["attaching", "up", "damaged", "dead", "unknown", "detaching"] {
        text.add("containers", &[("status", status)], lines.iter().filter(|line| line.status == status).count());
    }
}

/// What is on each network, and what is left there.
fn addresses(all: &[Sandbox], networks: &[Network], text: &mut Text) {
    let held: BTreeSet<IpAddr> = all.iter().flat_map(Sandbox::every_address).collect();
    let (mut endpoints, mut free) = (Vec::new(), Vec::new());
    for network in networks {
        let of = |sandbox: &&Sandbox| sandbox.wired_endpoints().any(|endpoint| endpoint.network == network.name);
        endpoints.push((network.name.as_str(), all.iter().filter(of).count()));
        for family in Family::ALL.into_iter().filter(|family| network.families().contains(*family)) {
            let subnets = || network.subnets.iter().filter(|subnet| Family::of(subnet.range.addr()) == family);
            let room: u128 = subnets().map(ipam::room).sum();
            let given = held.iter().filter(|held| subnets().any(|subnet| ipam::is_given_out(subnet, **held))).count();
            free.push((network.name.as_str(), family, room.saturating_sub(given as u128)));
        }
    }
    text.family("endpoints", "gauge", "Containers on each network");
    endpoints.iter().for_each(|(network, count)| text.add("endpoints", &[("network", network)], count));
    text.family("free_addresses", "gauge", "Addresses that the next containers of a network can get");
    for (network, family, count) in free {
        text.add("free_addresses", &[("network", network), ("family", &family.to_string())], count);
    }
}

fn ports(lines: &[Line], text: &mut Text) {
    text.family("published_ports", "gauge", "Ports of the host that are published");
    for protocol in Protocol::ALL {
        let published = lines.iter().flat_map(|line| line.sandbox.reached_ports());
        let count: u64 = published.filter(|port| port.protocol == protocol).map(|port| u64::from(port.count)).sum();
        text.add("published_ports", &[("protocol", &protocol.to_string())], count);
    }
}

/// A column of what was counted.
type Column = fn(&Traffic) -> u64;

/// What went through the link of each container to each of its networks.
fn bytes(lines: &[Line], traffic: &BTreeMap<String, Traffic>, text: &mut Text) {
    let columns: [(&str, &str, Column); 4] = [
        ("container_receive_bytes_total", "Bytes to a container", |counted| counted.received_bytes),
        ("container_receive_packets_total", "Packets to a container", |counted| counted.received_packets),
        ("container_transmit_bytes_total", "Bytes from a container", |counted| counted.sent_bytes),
        ("container_transmit_packets_total", "Packets from a container", |counted| counted.sent_packets),
    ];
    for (name, help, column) in columns {
        text.family(name, "counter", help);
        for Line { sandbox, .. } in lines {
            for endpoint in &sandbox.endpoints {
                let Some(counted) = endpoint.wire.host_link().and_then(|link| traffic.get(link.as_str())) else {
                    continue;
                };
                let labels = [
                    ("id", sandbox.container.as_str()),
                    ("name", sandbox.name.as_str()),
                    ("network", endpoint.network.as_str()),
                ];
                text.add(name, &labels, column(counted));
            }
        }
    }
}

/// The upper bounds of the times of attaches, in microseconds, as they are written in seconds.
const BOUNDS: [(u64, &str); 10] = [
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (1_000_000, "1"),
    (u64::MAX, "+Inf"),
];

/// What the records that are still kept tell. They are not all that there were, so that no number only grows.
fn of_records(records: impl Iterator<Item = Map<String, Value>>, text: &mut Text) {
    let (mut refused, mut took) = (BTreeMap::<u64, u64>::new(), Vec::new());
    for record in records {
        if let Some(code) = record.get("exit").and_then(Value::as_u64) {
            *refused.entry(code).or_default() += 1;
        }
        if record.get("message").and_then(Value::as_str) == Some("attached") {
            took.extend(record.get("us").and_then(Value::as_u64));
        }
    }
    text.family("recent_refusals", "gauge", "Refusals among the records that are kept, by exit code");
    refused.iter().for_each(|(code, count)| text.add("recent_refusals", &[("exit", &code.to_string())], count));
    let help = "Time of the attaches among the records that are kept: ask for quantiles of it without rate()";
    text.family("recent_attach_seconds", "histogram", help);
    for (bound, written) in BOUNDS {
        let count = took.iter().filter(|took| **took <= bound).count();
        text.add("recent_attach_seconds_bucket", &[("le", written)], count);
    }
    let sum: u64 = took.iter().sum();
    text.add("recent_attach_seconds_sum", &[], format_args!("{}.{:06}", sum / 1_000_000, sum % 1_000_000));
    text.add("recent_attach_seconds_count", &[], took.len());
}

/// Prometheus's text format.
#[derive(Default)]
struct Text(String);

impl Text {
    /// Begins the samples of one name.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP ocinet_{name} {help}.\n# TYPE ocinet_{name} {kind}");
    }

    /// Names and ids are others' text: in a value of a label, these three characters are escaped.
    fn add(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "ocinet_{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_records_tell() {
        let records = [
            json!({"message": "attached", "us": 2_500}),
            json!({"message": "attached", "us": 4_000_001}),
            json!({"message": "attached"}),
            json!({"message": "detached", "us": 7}),
            json!({"message": "no", "exit": 3}),
            json!({"message": "no", "exit": 3}),
        ];
        let mut text = Text::default();
        of_records(records.iter().filter_map(|record| record.as_object().cloned()), &mut text);
        for line in [
            "ocinet_recent_refusals{exit=\"3\"} 2\n",
            "_bucket{le=\"0.001\"} 0\n",
            "_bucket{le=\"0.0025\"} 1\n",
            "_bucket{le=\"1\"} 1\n",
            "_bucket{le=\"+Inf\"} 2\n",
            "_sum 4.002501\n",
            "_count 2\n",
        ] {
            assert!(text.0.contains(line), "{line} in\n{}", text.0);
        }
    }

    #[test]
    fn texts_of_others_stay_in_their_labels() {
        let mut text = Text::default();
        text.add("x", &[("name", "a\"} 9\n\\")], 1);
        assert_eq!(text.0, "ocinet_x{name=\"a\\\"} 9\\n\\\\\"} 1\n");
    }
}
