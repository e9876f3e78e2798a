//! `ocinet network`: Docker's commands and words.

mod docker;
mod inspect;
mod ls;

use slog::Logger;

use ocinet::config;
use ocinet::engine::{self, Result};
use ocinet::model::{Endpoint, Mode, Network, Record, State};

use super::Options;

/// Show the networks and who is on them.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the networks
    #[command(visible_alias = "list", after_help = "Example:\n  ocinet network ls")]
    Ls(ls::Arguments),
    /// Show all about networks and the containers on them, as JSON with Docker's field names
    #[command(after_help = "Example:\n  ocinet network inspect bridge")]
    Inspect(inspect::Arguments),
}

impl Command {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        match self {
            Self::Ls(arguments) => arguments.run(options, log),
            Self::Inspect(arguments) => arguments.run(options, log),
        }
    }
}

/// A network with the containers on it.
struct View {
    name: String,
    kind: Kind,
    records: Vec<Record>,
}

/// What a network is made of.
enum Kind {
    Bridge(Network),
    /// The host's own namespace.
    Host,
    /// Loopback only.
    None,
}

impl Kind {
    /// Docker's name of the driver.
    fn driver(&self) -> &'static str {
        match self {
            Self::Bridge(_) => "bridge",
            Self::Host => "host",
            Self::None => "null",
        }
    }
}

impl View {
    /// What connects `record` to this network; nothing does in the modes `host` and `none`.
    fn endpoint<'r>(&self, record: &'r Record) -> Option<&'r Endpoint> {
        record.endpoints.iter().find(|endpoint| endpoint.network.as_str() == self.name)
    }
}

/// All networks by name. The default one is there before its first container, as that would define it.
fn views(options: &Options, log: &Logger) -> Result<Vec<View>> {
    let (mut networks, records) = match options.engine(log)? {
        Some(mut engine) => (engine.networks()?, engine.records()?),
        None => (Vec::new(), Vec::new()),
    };
    if !networks.iter().any(|network| network.name == config::default_bridge()) {
        networks.push(engine::default_network(&options.config()?)?);
    }
    Ok(arrange(networks, &records))
}

/// Each network with its containers; those that only drain have left already.
fn arrange(networks: Vec<Network>, records: &[Record]) -> Vec<View> {
    let those = |on: &dyn Fn(&Record) -> bool| {
        records.iter().filter(|record| record.state != State::Draining && on(record)).cloned().collect()
    };
    let mut views: Vec<View> = networks
        .into_iter()
        .map(|network| View {
            records: those(&|record| record.endpoints.iter().any(|endpoint| endpoint.network == network.name)),
            name: network.name.to_string(),
            kind: Kind::Bridge(network),
        })
        .collect();
    for (mode, kind) in [(Mode::Host, Kind::Host), (Mode::None, Kind::None)] {
        views.push(View { name: mode.to_string(), kind, records: those(&|record| record.mode == mode) });
    }
    views.sort_by(|one, other| one.name.cmp(&other.name));
    views
}
