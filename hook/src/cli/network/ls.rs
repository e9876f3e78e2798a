use serde::Serialize;
use serde_json::{Value, json};
use slog::Logger;

use ocinet::engine::{NetworkKind, NetworkView, Result};
use ocinet::kernel;
use ocinet::model::{Families, Family, Subnet};

use super::filter::{self, Filters};
use super::{docker, views};
use crate::cli::listing;
use crate::cli::table::Table;
use crate::cli::{Options, print, print_json, print_table};

/// List the networks.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Only those of which this holds: driver=, id=, label=KEY[=VALUE], name=, scope=, type=custom, dangling=true; may
    /// be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print this of each, a template of Go with Docker's fields such as 'table {{.ID}}\t{{.Name}}'; json prints a line
    /// of JSON of each
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["json", "quiet"])]
    format: Option<String>,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
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
        let filters = Filters::parse(&self.filter, filter::OF_LIST, kernel::now())?;
        let mut views = views(options, log)?;
        views.retain(|view| filters.accept(view));
        if self.quiet {
            return print(&views.iter().map(|view| format!("{}\n", self.id(view))).collect::<String>());
        }
        if let Some(format) = &self.format {
            return listing::formatted(format, views.iter().map(|view| self.row(view)), head);
        }
        let lines: Vec<Line> = views.into_iter().map(line).collect();
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

    fn id(&self, view: &NetworkView) -> String {
        let id = docker::id(&view.name);
        if self.no_trunc { id } else { id[..12].to_owned() }
    }

    /// What Docker's templates know of a network; all are texts.
    fn row(&self, view: &NetworkView) -> Value {
        let (mut families, mut internal) = (Families::default().with(Family::V4), false);
        if let NetworkKind::Defined(network) = &view.kind {
            families = network.families();
            internal = network.options.internal;
        }
        let labels = view.labels().iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        json!({
            "CreatedAt": view.created().unwrap_or_default(),
            "Driver": view.kind.driver(),
            "ID": self.id(view),
            "IPv4": families.contains(Family::V4).to_string(),
            "IPv6": families.contains(Family::V6).to_string(),
            "Internal": internal.to_string(),
            "Labels": labels,
            "Name": view.name,
            "Scope": "local",
        })
    }
}

/// Docker's heads.
fn head(field: &str) -> String {
    match field {
        "ID" => "NETWORK ID".into(),
        "CreatedAt" => "CREATED AT".into(),
        other => other.to_uppercase(),
    }
}

fn line(NetworkView { name, kind, sandboxes, .. }: NetworkView) -> Line {
    let driver = kind.driver();
    let subnets = if let NetworkKind::Defined(network) = kind { network.subnets } else { Vec::new() };
    Line { name, driver, subnets, containers: sandboxes.len() }
}
