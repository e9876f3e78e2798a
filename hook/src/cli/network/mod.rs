//! `ocinet network`: Docker's commands and formats.

mod docker;
mod inspect;
mod ls;

use slog::Logger;

use ocinet::engine::{NetworkView, Result};

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

/// All networks of this host.
fn views(options: &Options, log: &Logger) -> Result<Vec<NetworkView>> {
    let definitions = options.definitions();
    NetworkView::all(options.engine_to_look(log)?, &definitions, || options.config(), log)
}
