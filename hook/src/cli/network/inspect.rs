use clap_complete::engine::ArgValueCandidates;
use slog::Logger;

use ocinet::engine::{Failures, Result};
use ocinet::kernel;

use super::{docker, find, views};
use crate::cli::template::Template;
use crate::cli::{Options, print, print_json};

/// Show all about networks, as JSON.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The networks' names or ids
    #[arg(value_name = "NETWORK", required = true, add = ArgValueCandidates::new(crate::cli::complete::networks))]
    networks: Vec<String>,
    /// Print this of each, a template of Go such as '{{range .IPAM.Config}}{{.Subnet}}{{end}}'
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Changes nothing: there is no other form
    #[arg(long, hide = true)]
    json: bool,
}

impl Arguments {
    /// Shows those that there are also where one is not, as Docker does.
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let template = self.format.as_deref().filter(|format| *format != "json").map(Template::parse).transpose()?;
        let views = views(options, log)?;
        let (mut failures, mut wanted) = (Failures::default(), Vec::new());
        for name in &self.networks {
            match find(&views, name).map(docker::Network::from) {
                Err(error) if self.networks.len() == 1 => return Err(error),
                found => wanted.extend(failures.note("inspect", found)?),
            }
        }
        show(&wanted, template.as_ref())?;
        failures.into_result()
    }
}

fn show(networks: &[docker::Network], template: Option<&Template>) -> Result<()> {
    let Some(template) = template else { return print_json(&networks) };
    let mut text = String::new();
    for network in networks {
        let value = serde_json::to_value(network);
        let value = value.map_err(|error| kernel::Error::refused("write JSON", std::io::Error::other(error)))?;
        text += &template.render(&value)?;
        text.push('\n');
    }
    print(&text)
}
