use serde::Serialize;
use slog::Logger;

use ocinet::engine::{NetworkKind, NetworkView, Result};
use ocinet::model::Subnet;

use super::views;
use crate::cli::table::Table;
use crate::cli::{Options, print_json, print_table};

/// List the networks.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A line of the list.
#[derive(Serialize)]
struct Line {
    name: String,
    driver: &'static str,
    subnets: Vec<Subnet>,
    containers: usize,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let lines: Vec<Line> = views(options, log)?.into_iter().map(line).collect();
        if self.json {
            return print_json(&lines);
        }
        let mut table = Table::new(["NETWORK", "DRIVER", "SUBNET", "CONTAINERS"]);
        for Line { name, driver, subnets, containers } in lines {
            let ranges: Vec<String> = subnets.iter().map(|subnet| subnet.range.to_string()).collect();
            table.row([name, driver.into(), ranges.join(", "), containers.to_string()]);
        }
        print_table(&table)
    }
}

fn line(NetworkView { name, kind, sandboxes, .. }: NetworkView) -> Line {
    let driver = kind.driver();
    let subnets = if let NetworkKind::Defined(network) = kind { network.subnets } else { Vec::new() };
    Line { name, driver, subnets, containers: sandboxes.len() }
}
