use clap_complete::engine::ArgValueCandidates;
use slog::Logger;

use ocinet::engine::{Error, Result, not_attached};
use ocinet::model::Invalid;

use super::named_first;
use crate::cli::Options;

/// Disconnect a container that runs from a network.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The network's name or id
    #[arg(value_name = "NETWORK", add = ArgValueCandidates::new(crate::cli::complete::networks))]
    network: String,
    /// The container's id, its name, or the beginning of its id
    #[arg(value_name = "CONTAINER", add = ArgValueCandidates::new(crate::cli::complete::containers))]
    container: String,
    /// Pass over a container that is not on the network, or is not there
    #[arg(short, long)]
    force: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        // It may be on a network that is not defined any more.
        let network = named_first(&self.network, &self.container, options, log).or_else(|error| match error {
            Error::NotFound(_) => self.network.parse().map_err(|error: Invalid| error.within("network").into()),
            error => Err(error),
        })?;
        let disconnected = match options.engine_to_undo(log)? {
            None => Err(not_attached(&self.container, &[])),
            Some(mut engine) => {
                let disconnected = engine.disconnect(&self.container, &network);
                engine.close();
                disconnected
            }
        };
        match disconnected {
            Err(Error::NotFound(_)) if self.force => Ok(()),
            disconnected => disconnected,
        }
    }
}
