use slog::Logger;

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
        let records = options.engine(log)?.as_mut().map_or(Ok(Vec::new()), Engine::records)?;
        let shown: Vec<&Record> = records.iter().filter(|record| self.all || record.state != State::Draining).collect();
        if self.json {
            return print_json(&shown);
        }
        let mut table = Table::new(["CONTAINER", "NETWORK", "ADDRESS", "PORTS", "STATE"]).judge(4, "attached");
        for record in shown {
            table.row([
                record.container.to_string(),
                record.mode.to_string(),
                addresses(record),
                ports(record),
                record.state.to_string(),
            ]);
        }
        print_table(&table)
    }
}

fn addresses(record: &Record) -> String {
    let addresses = record.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    addresses.map(|address| address.addr().to_string()).collect::<Vec<_>>().join(", ")
}

fn ports(record: &Record) -> String {
    record.publish.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
