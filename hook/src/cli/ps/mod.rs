mod filter;
mod line;

use slog::Logger;

use ocinet::engine::Result;
use ocinet::kernel;

use self::filter::Filters;
pub(super) use self::line::Line;
use super::table::Table;
use super::{Options, listing, print, print_json, print_table};

/// List containers.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Also those that are gone but for a link, which the kernel is still deleting
    #[arg(long, short)]
    all: bool,
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Only those of which this holds: id=, name=, network=, port=8080[/udp], status=; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print this of each, a template of Go with Docker's fields such as 'table {{.Names}}\t{{.Ports}}', and .Addresses;
    /// json prints a line of JSON of each
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["json", "quiet"])]
    format: Option<String>,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let filters = Filters::parse(&self.filter)?;
        let mut lines = Vec::new();
        if let Some(mut engine) = options.engine_to_look(log)? {
            let sandboxes = if self.all { engine.all_after(0, u32::MAX)? } else { engine.sandboxes()? };
            for sandbox in sandboxes {
                lines.extend(Line::of(sandbox, &mut engine)?);
            }
        }
        lines.retain(|line| filters.accept(line));
        self.show(&lines)
    }

    fn show(&self, lines: &[Line]) -> Result<()> {
        if self.quiet {
            return print(&lines.iter().map(|line| format!("{}\n", line.id(self.no_trunc))).collect::<String>());
        }
        if self.json {
            return print_json(&lines);
        }
        let now = kernel::now();
        if let Some(format) = &self.format {
            return listing::formatted(format, lines.iter().map(|line| line.fields(self.no_trunc, now)), line::head);
        }
        let mut table =
            Table::new(["CONTAINER", "NAME", "NETWORK", "ADDRESS", "PORTS", "AGE", "STATUS"]).judge(6, line::UP);
        for line in lines {
            line.rows(self.no_trunc, now).into_iter().for_each(|row| table.row(row));
        }
        print_table(&table)
    }
}
