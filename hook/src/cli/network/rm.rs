use clap_complete::engine::ArgValueCandidates;
use slog::Logger;

use ocinet::engine::{Error, Failures, Result};
use ocinet::model::{Invalid, NetworkName};

use super::name_of;
use crate::cli::{Options, print};

/// Remove networks.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The networks' names or ids
    #[arg(value_name = "NETWORK", required = true, add = ArgValueCandidates::new(crate::cli::complete::networks))]
    networks: Vec<String>,
    /// Pass over a network that does not exist
    #[arg(short, long)]
    force: bool,
}

impl Arguments {
    /// Goes on after a failure, as Docker does.
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let mut failures = Failures::default();
        let mut only = None;
        for text in &self.networks {
            match remove(text, options, log) {
                Ok(name) => print(&format!("{name}\n"))?,
                Err(Error::NotFound(_)) if self.force => {}
                Err(error) if self.networks.len() == 1 => only = Some(error),
                failed => drop(failures.note("rm", failed)?),
            }
        }
        only.map_or_else(|| failures.into_result(), Err)
    }
}

fn remove(text: &str, options: &Options, log: &Logger) -> Result<NetworkName> {
    // Also a file with which something is wrong, of which there is no view.
    let name = name_of(text, options, log)?;
    if ["bridge", "host", "none"].contains(&name.as_str()) {
        return Err(Invalid::new("network", name, "is one of the three that every host has").into());
    }
    options.definitions().remove(options.engine_to_undo(log)?, &name)?;
    Ok(name)
}
