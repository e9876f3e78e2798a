use std::io::{BufRead, IsTerminal, Write};

use slog::Logger;

use ocinet::engine::{Error, Failures, Result};
use ocinet::kernel;
use ocinet::model::Invalid;

use super::filter::{self, Filters};
use super::views;
use crate::cli::{Options, print};

/// Remove the networks that create defined and no container is on.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those of which this holds: until=24h, label=KEY[=VALUE], label!=KEY; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let filters = Filters::parse(&self.filter, filter::OF_PRUNE, kernel::now())?;
        if !self.force && !is_wanted()? {
            return Ok(());
        }
        let mut failures = Failures::default();
        let mut removed = String::new();
        for view in views(options, log)? {
            let is_ours = view.created().is_some() && filter::is_custom(&view);
            if !is_ours || !view.sandboxes.is_empty() || !filters.accept(&view) {
                continue;
            }
            let name = view.name.parse()?;
            let engine = options.engine_to_undo(log);
            match engine.and_then(|engine| options.definitions().remove(engine, &name)) {
                Ok(()) => removed += &format!("{}\n", view.name),
                // A container joined it meanwhile.
                Err(Error::Conflict(_)) => {}
                failed => drop(failures.note(format!("network {}", view.name), failed)?),
            }
        }
        if !removed.is_empty() {
            print(&format!("Deleted Networks:\n{removed}"))?;
        }
        failures.into_result()
    }
}

/// Whether the person at the terminal says so.
fn is_wanted() -> Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(
            Invalid::new("command", "network prune", "asks at a terminal, and there is none: say --force").into()
        );
    }
    let question = "This removes all networks that ocinet network create defined and no container is on. Go on? [y/N] ";
    let mut answer = String::new();
    let asked = std::io::stderr().write_all(question.as_bytes()).and_then(|()| stdin.lock().read_line(&mut answer));
    asked.map_err(|error| kernel::Error::refused("ask", error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
