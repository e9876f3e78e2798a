//! A container as `ps` shows it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use ocinet::decide::{liveness::Life, moment};
use ocinet::engine::{Engine, Result};
use ocinet::kernel::Traffic;
use ocinet::model::{ContainerId, Endpoint, Mode, PortMapping, Sandbox, State};

use super::sidecar::Sidecar;

/// The status of one that is as it should be.
pub(super) const UP: &str = "up";

/// How many characters of an id are shown, as in Docker.
const SHORT: usize = 12;

/// The length of the ids that podman, containerd's clients and Docker make.
const LONG: usize = 64;

/// A container as it is printed.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Line {
    #[serde(flatten)]
    pub sandbox: Sandbox,
    /// How it is now, which is not in the store.
    pub status: String,
    /// The containers that share its network.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Sidecar>,
    /// What went through its links, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<LinkTraffic>,
}

/// What went through the link to one network.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct LinkTraffic {
    network: String,
    #[serde(flatten)]
    counted: Traffic,
}

impl Line {
    /// The line of `sandbox`; none where it went meanwhile.
    ///
    /// # Errors
    /// When the kernel or the store cannot be asked.
    pub fn of(sandbox: Sandbox, engine: &mut Engine) -> Result<Option<Self>> {
        let status = match sandbox.state {
            State::Attached => match engine.life(&sandbox) {
                Life::Dead => "dead".into(),
                Life::Unknown(_) => "unknown".into(),
                Life::Alive => match engine.is_damaged(&sandbox) {
                    Ok(Some(true)) => "damaged".into(),
                    Ok(Some(false)) => UP.into(),
                    Ok(None) => return Ok(None),
                    // The others are listed all the same.
                    Err(error) if !error.is_store_lost() => "unknown".into(),
                    Err(error) => return Err(error),
                },
            },
            state => state.to_string(),
        };
        Ok(Some(Self { sandbox, status, members: Vec::new(), traffic: Vec::new() }))
    }

    /// Notes what went through its links, as `counted` by the host.
    pub fn count(&mut self, counted: &BTreeMap<String, Traffic>) {
        let of = |endpoint: &Endpoint| {
            let counted = endpoint.wire.host_link().and_then(|link| counted.get(link.as_str()));
            LinkTraffic { network: endpoint.network.to_string(), counted: counted.copied().unwrap_or_default() }
        };
        self.traffic = self.sandbox.endpoints.iter().map(of).collect();
    }

    /// The rows of a table of what went through its links, one for each.
    pub fn counted(&self, whole: bool) -> Vec<[String; 7]> {
        let cell = |bytes, packets| format!("{} ({packets})", size(bytes));
        let row = |(nth, traffic): (usize, &LinkTraffic)| {
            let first = |text: String| if nth == 0 { text } else { String::new() };
            let Traffic { received_bytes, received_packets, sent_bytes, sent_packets } = traffic.counted;
            let address = self.sandbox.endpoints.get(nth).and_then(|endpoint| endpoint.addresses.first());
            [
                first(self.id(whole)),
                first(self.sandbox.name.to_string()),
                traffic.network.clone(),
                address.map(|address| address.addr().to_string()).unwrap_or_default(),
                cell(received_bytes, received_packets),
                cell(sent_bytes, sent_packets),
                first(self.status.clone()),
            ]
        };
        self.traffic.iter().enumerate().map(row).collect()
    }

    /// The id: its first characters where an engine made it, which are as many as anyone types, or all of it.
    pub fn id(&self, whole: bool) -> String {
        id(&self.sandbox.container, whole)
    }

    /// The rows of a table: as many as it has networks, addresses or ports.
    pub fn rows(&self, whole: bool, now: i64) -> Vec<[String; 7]> {
        let (networks, ports) = (self.networks(), self.ports());
        let cell = |cells: &[String], nth: usize| cells.get(nth).cloned().unwrap_or_default();
        let row = |nth: usize| {
            let (network, address) = networks.get(nth).cloned().unwrap_or_default();
            let port = cell(&ports, nth);
            if nth > 0 {
                return [String::new(), String::new(), network, address, port, String::new(), String::new()];
            }
            let name = self.sandbox.name.to_string();
            [self.id(whole), name, network, address, port, self.age(now), self.status.clone()]
        };
        (0..networks.len().max(ports.len()).max(1)).map(row).collect()
    }

    /// What Docker's templates know of a container; all are texts.
    pub fn fields(&self, whole: bool, now: i64) -> Value {
        let networks = self.networks();
        let names: Vec<&str> = self.sandbox.endpoints.iter().map(|endpoint| endpoint.network.as_str()).collect();
        let addresses: Vec<&str> =
            networks.iter().map(|(_, address)| address.as_str()).filter(|address| !address.is_empty()).collect();
        json!({
            "ID": self.id(whole),
            "Names": self.sandbox.name.as_str(),
            "Networks": if names.is_empty() { self.sandbox.mode.to_string() } else { names.join(",") },
            "Addresses": addresses.join(", "),
            "Ports": self.ports().join(", "),
            "CreatedAt": self.sandbox.since.map(moment::written).unwrap_or_default(),
            "RunningFor": self.age(now),
            "State": self.sandbox.state.to_string(),
            "Status": self.status,
        })
    }

    /// Each network with an address on it. One that has left its last network is on none; other modes have none.
    fn networks(&self) -> Vec<(String, String)> {
        let Sandbox { endpoints, mode, .. } = &self.sandbox;
        let mut all = Vec::new();
        for endpoint in endpoints {
            let mut addresses = endpoint.addresses.iter().map(|address| address.addr().to_string());
            all.push((endpoint.network.to_string(), addresses.next().unwrap_or_default()));
            all.extend(addresses.map(|address| (String::new(), address)));
        }
        if all.is_empty() {
            let none = if *mode == Mode::Networks { "-".to_owned() } else { mode.to_string() };
            all.push((none, String::new()));
        }
        all
    }

    /// The published ports; dormant ones lead nowhere.
    fn ports(&self) -> Vec<String> {
        let dormant = |mapping: &PortMapping| if self.sandbox.is_dormant(mapping) { " (dormant)" } else { "" };
        self.sandbox.reached_ports().iter().map(|mapping| format!("{mapping}{}", dormant(mapping))).collect()
    }

    /// How long ago it was attached; `-` where that is not known.
    fn age(&self, now: i64) -> String {
        self.sandbox.since.map_or_else(|| "-".into(), |since| age(since, now))
    }
}

/// How long ago `since` was, in the largest unit of which there is one.
pub(super) fn age(since: i64, now: i64) -> String {
    let seconds = now.saturating_sub(since).max(0);
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    match units.iter().find(|(length, _)| seconds >= *length) {
        Some((length, unit)) => format!("{}{unit}", seconds / length),
        None => format!("{seconds}s"),
    }
}

/// A number of bytes, in units of a thousand as Docker's.
fn size(bytes: u64) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.iter().find(|(length, _)| bytes >= *length) {
        Some((length, unit)) => format!("{}.{} {unit}", bytes / length, bytes % length * 10 / length),
        None => format!("{bytes} B"),
    }
}

/// An id as it is shown.
pub(super) fn id(container: &ContainerId, whole: bool) -> String {
    let id = container.as_str();
    if whole || !is_made(id) { id.to_owned() } else { id[..SHORT].to_owned() }
}

/// What stands above a field in a table.
pub(super) fn head(field: &str) -> String {
    match field {
        "ID" => "CONTAINER ID".into(),
        "CreatedAt" => "CREATED AT".into(),
        "RunningFor" => "AGE".into(),
        other => other.to_uppercase(),
    }
}

/// Whether an engine made this id, rather than a person.
fn is_made(id: &str) -> bool {
    id.len() == LONG && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn line(id: &str, networks: &[&str], publish: &[Value]) -> Line {
        let endpoint = |(nth, network): (usize, &&str)| {
            json!({
                "endpoint": nth, "state": "attached", "network": network, "driver": "bridge", "bridge": "ocn-1",
                "host_interface": "ocv1", "interface": format!("eth{nth}"), "mac": "02:00:00:00:00:01", "mtu": 1500,
                "addresses": [format!("10.64.{nth}.2/24")], "gateways": [],
            })
        };
        let sandbox = json!({
            "record": 1, "container": id, "bundle": "/b", "name": "shop", "mode": "bridge", "state": "attached",
            "since": 1000, "endpoints": networks.iter().enumerate().map(endpoint).collect::<Vec<_>>(),
            "namespace": {"cookie": 1, "witness": {"path": "/n"}, "seen_from_pid_ns": 1, "seen_from_mnt_ns": 1},
            "publish": publish,
        });
        Line {
            sandbox: serde_json::from_value(sandbox).unwrap(),
            status: UP.into(),
            members: Vec::new(),
            traffic: Vec::new(),
        }
    }

    pub fn port(host_port: u16) -> Value {
        json!({"protocol": "tcp", "host_address": null, "host_port": host_port, "container_port": 80, "count": 1})
    }

    #[test]
    fn a_container_has_as_many_rows_as_it_needs() {
        let shop = line("web", &["front", "back"], &[port(80), port(81), port(82)]);
        let rows = shop.rows(false, 1000 + 3 * 3600);
        assert_eq!(rows[0], ["web", "shop", "front", "10.64.0.2", "0.0.0.0:80->80/tcp", "3h", "up"]);
        assert_eq!(rows[1], ["", "", "back", "10.64.1.2", "0.0.0.0:81->80/tcp", "", ""]);
        assert_eq!(rows[2], ["", "", "", "", "0.0.0.0:82->80/tcp", "", ""]);
        assert_eq!(line("web", &[], &[]).rows(false, 0), [["web", "shop", "-", "", "", "0s", "up"]]);
    }

    #[test]
    fn ids_of_engines_are_shortened() {
        let long = "0123456789abcdef".repeat(4);
        assert_eq!(line(&long, &[], &[]).id(false), "0123456789ab");
        assert_eq!(line(&long, &[], &[]).id(true), long);
        assert_eq!(line("a-name-that-a-person-chose", &[], &[]).id(false), "a-name-that-a-person-chose");
    }

    #[test]
    fn what_went_through_links() {
        let mut shop = line("web", &["front", "back"], &[]);
        let counted = Traffic { received_bytes: 1_234_567, received_packets: 900, sent_bytes: 999, sent_packets: 7 };
        shop.count(&BTreeMap::from([("ocv1".to_owned(), counted)]));
        let rows = shop.counted(false);
        assert_eq!(rows[0], ["web", "shop", "front", "10.64.0.2", "1.2 MB (900)", "999 B (7)", "up"]);
        assert_eq!(rows[1][..4], ["", "", "back", "10.64.1.2"]);
        assert_eq!(serde_json::to_value(&shop).unwrap()["traffic"][1]["sent_bytes"], 999);
    }

    #[test]
    fn ages() {
        let age = |seconds: i64| line("web", &[], &[]).age(1000 + seconds);
        let rows = [(0, "0s"), (-5, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (90_000, "1d")];
        rows.iter().for_each(|(seconds, expected)| assert_eq!(age(*seconds), *expected));
    }
}
