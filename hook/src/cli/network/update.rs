use std::net::IpAddr;

use clap_complete::engine::ArgValueCandidates;
use slog::Logger;

use ocinet::engine::Result;
use ocinet::input::network_file::{self, Definition};
use ocinet::model::Invalid;

use super::{find, views};
use crate::cli::{Options, print};

/// Change a network's name servers and labels.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The network's name or id
    #[arg(value_name = "NETWORK", add = ArgValueCandidates::new(crate::cli::complete::networks))]
    network: String,
    /// Add a name server; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    dns_add: Vec<IpAddr>,
    /// Take a name server away; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    dns_drop: Vec<IpAddr>,
    /// Add or change a label; may be repeated
    #[arg(long, value_name = "KEY[=VALUE]")]
    label_add: Vec<String>,
    /// Take a label away; may be repeated
    #[arg(long, value_name = "KEY")]
    label_rm: Vec<String>,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let name = find(&views(options, log)?, &self.network)?.name.clone();
        let name = network_file::definable(&name)?;
        if let Some(address) = self.dns_add.iter().find(|address| address.is_unspecified()) {
            return Err(Invalid::new("--dns-add", address, "is no address").into());
        }
        options.definitions().update(options.engine_to_undo(log)?, &name, |definition| self.change(definition))?;
        print(&format!("{name}\n"))
    }

    fn change(&self, definition: &mut Definition) {
        let options = &mut definition.options;
        options.dns.retain(|address| !self.dns_drop.contains(address));
        for address in &self.dns_add {
            if !options.dns.contains(address) {
                options.dns.push(*address);
            }
        }
        for key in &self.label_rm {
            options.labels.remove(key);
        }
        for label in &self.label_add {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            options.labels.insert(key.to_owned(), value.to_owned());
        }
    }
}
