use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Write};

use serde_json::{Value, json};
use slog::Logger;

use ocinet::decide::moment;
use ocinet::engine::Result;
use ocinet::kernel;
use ocinet::model::{ContainerId, ContainerName, Invalid, NetworkName, Sandbox, shown, shown_json};
use ocinet::resident::{Change, Follower, Known};

use super::Options;

/// Follow what happens on this host.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only those of which this holds: container=, network=, event=attached; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// A change in the words of the command.
struct Event {
    word: &'static str,
    container: Option<(ContainerId, ContainerName)>,
    /// The network of the event; for a container that comes or goes, all that it is on.
    networks: BTreeSet<NetworkName>,
    /// The container as it is now.
    sandbox: Option<Sandbox>,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let filters = self.filter.iter().map(|filter| parsed(filter)).collect::<Result<Vec<_>>>()?;
        kernel::state_dir(&options.state_dir)?;
        let mut follower = Follower::new(&options.state_dir, options.definitions(), log.clone())?;
        while let Some(changes) = follower.next(NO_TOKEN)? {
            for event in changes.into_iter().map(Event::from) {
                if accepts(&filters, &event) && !self.tell(&event)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// False where the reader has gone.
    fn tell(&self, event: &Event) -> Result<bool> {
        let time = moment::written(kernel::now());
        let line = if self.json {
            shown_json(&event.json(&time).to_string())
        } else {
            shown(&format!("{time} {}", event.text()))
        };
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            written => Ok(written.map(|()| true).map_err(|error| kernel::Error::refused("write to stdout", error))?),
        }
    }
}

/// The follower ends at a file of that name in the state directory; none can have it.
const NO_TOKEN: &str = "/";

impl From<Change> for Event {
    fn from(change: Change) -> Self {
        let of = |sandbox: &Sandbox| Some((sandbox.container.clone(), sandbox.name.clone()));
        let on = |network| BTreeSet::from([network]);
        match change {
            Change::Attached(sandbox) => {
                let networks = sandbox.endpoints.iter().map(|endpoint| endpoint.network.clone()).collect();
                Self { word: "attached", container: of(&sandbox), networks, sandbox: Some(sandbox) }
            }
            Change::Detached(Known { container, name, networks, .. }) => {
                Self { word: "detached", container: Some((container, name)), networks, sandbox: None }
            }
            Change::Connected(sandbox, network) => {
                Self { word: "connected", container: of(&sandbox), networks: on(network), sandbox: Some(sandbox) }
            }
            Change::Disconnected(sandbox, network) => {
                Self { word: "disconnected", container: of(&sandbox), networks: on(network), sandbox: Some(sandbox) }
            }
            Change::NetworkCreated(network) => {
                Self { word: "created", container: None, networks: on(network), sandbox: None }
            }
            Change::NetworkRemoved(network) => {
                Self { word: "removed", container: None, networks: on(network), sandbox: None }
            }
        }
    }
}

impl Event {
    fn text(&self) -> String {
        let networks = self.networks.iter().map(NetworkName::as_str).collect::<Vec<_>>().join(", ");
        let Some((container, _)) = &self.container else { return format!("{} network {networks}", self.word) };
        match (self.word, &self.sandbox) {
            ("connected", _) => format!("connected {container} to network {networks}"),
            ("disconnected", _) => format!("disconnected {container} from network {networks}"),
            (word, Some(sandbox)) => {
                let addresses = sandbox.own_addresses().into_iter().map(|address| address.to_string());
                let ports = sandbox.reached_ports().into_iter().map(|port| port.to_string());
                let words = [word.to_owned(), container.to_string()].into_iter().chain(addresses).chain(ports);
                words.collect::<Vec<_>>().join(" ")
            }
            (word, None) => format!("{word} {container}"),
        }
    }

    fn json(&self, time: &str) -> Value {
        let mut event = json!({ "time": time, "event": self.word, "networks": self.networks });
        if let Some((id, name)) = &self.container {
            (event["container"], event["name"]) = (json!(id), json!(name));
        }
        if let Some(sandbox) = &self.sandbox {
            event["record"] = json!(sandbox);
        }
        event
    }
}

/// `KEY=VALUE`.
fn parsed(filter: &str) -> Result<(String, String)> {
    let wrong = |why: &str| Invalid::new("--filter", filter, why);
    let (key, value) = filter.split_once('=').ok_or_else(|| wrong("is not of the form KEY=VALUE"))?;
    if !["container", "network", "event"].contains(&key) {
        return Err(wrong("is none of container=, network=, event=").into());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Whether one filter of each key holds of the event.
fn accepts(filters: &[(String, String)], event: &Event) -> bool {
    let holds = |key: &str, value: &str| match key {
        "container" => {
            let called =
                |(id, name): &(ContainerId, ContainerName)| id.as_str().starts_with(value) || name.as_str() == value;
            event.container.as_ref().is_some_and(called)
        }
        "network" => event.networks.iter().any(|network| network.as_str() == value),
        _ => event.word == value,
    };
    filters.iter().all(|(key, _)| filters.iter().any(|(other, value)| other == key && holds(key, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_filter_of_each_key_has_to_hold() {
        let event = Event::from(Change::NetworkCreated("front".parse().unwrap()));
        assert_eq!(event.text(), "created network front");
        assert_eq!(event.json("now"), json!({"time": "now", "event": "created", "networks": ["front"]}));
        let accepted = |filters: &[&str]| {
            let filters: Vec<_> = filters.iter().map(|filter| parsed(filter).unwrap()).collect();
            accepts(&filters, &event)
        };
        assert!(accepted(&[]) && accepted(&["network=front"]) && accepted(&["network=back", "network=front"]));
        assert!(
            !accepted(&["network=back"])
                && !accepted(&["container=web"])
                && !accepted(&["network=front", "event=removed"])
        );
        assert!(parsed("web").is_err() && parsed("colour=red").is_err());
    }
}
