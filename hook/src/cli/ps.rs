use serde::Serialize;
use slog::Logger;

use ocinet::decide::liveness::Life;
use ocinet::engine::{Engine, Result};
use ocinet::model::{Record, State};

use super::table::Table;
use super::{Options, print_json, print_table};

/// List containers.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Also those whose links the kernel is still deleting
    #[arg(long, short)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let Some(mut engine) = options.engine_to_look(log)? else { return self.show(&[]) };
        let records = engine.records()?.into_iter().filter(|record| self.all || record.state != State::Draining);
        let lines: Vec<Line> = records.map(|record| Line { status: status(&record, &mut engine), record }).collect();
        self.show(&lines)
    }

    fn show(&self, lines: &[Line]) -> Result<()> {
        if self.json {
            return print_json(&lines);
        }
        let mut table = Table::new(["CONTAINER", "NETWORK", "ADDRESS", "PORTS", "STATE"]).judge(4, "attached");
        for Line { record, status } in lines {
            table.row([
                record.container.to_string(),
                record.mode.to_string(),
                addresses(record),
                ports(record),
                status.clone(),
            ]);
        }
        print_table(&table)
    }
}

/// A container as it is shown.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    record: Record,
    /// How it is now, which a record alone does not tell.
    status: String,
}

/// The state of a record, but for an attached one whose container has ended, or cannot be looked at.
fn status(record: &Record, engine: &mut Engine) -> String {
    match record.state {
        State::Attached => match engine.life(record) {
            Life::Alive => record.state.to_string(),
            Life::Dead => "dead".into(),
            Life::Unknown(_) => "unknown".into(),
        },
        state => state.to_string(),
    }
}

fn addresses(record: &Record) -> String {
    let addresses = record.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    addresses.map(|address| address.addr().to_string()).collect::<Vec<_>>().join(", ")
}

fn ports(record: &Record) -> String {
    record.publish.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
