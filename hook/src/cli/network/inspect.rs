use slog::Logger;

use ocinet::engine::{NetworkView, Result};

use super::{docker, views};
use crate::cli::{Options, print_json};

/// Show all about networks, as JSON.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The networks' names
    #[arg(value_name = "NETWORK", required = true)]
    networks: Vec<String>,
    /// Changes nothing: there is no other form
    #[arg(long, hide = true)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let views = views(options, log)?;
        let wanted = self.networks.iter().map(|name| NetworkView::find(&views, name).map(docker::Network::from));
        print_json(&wanted.collect::<Result<Vec<_>>>()?)
    }
}
