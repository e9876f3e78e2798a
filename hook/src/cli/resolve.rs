use slog::Logger;

use ocinet::engine::{Error, Result};
use ocinet::model::{HostName, NetworkName, quoted};

use super::agent::{ask, unreadable};
use super::{Options, print};

/// Print the addresses of a container's name.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A name, an alias or an id of a container, also with its network or ocinet.internal behind it
    #[arg(value_name = "NAME")]
    name: HostName,
    /// On this network only
    #[arg(long, value_name = "NETWORK")]
    network: Option<NetworkName>,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, _log: &Logger) -> Result<()> {
        let network = self.network.as_ref().map(|network| format!(" {network}")).unwrap_or_default();
        let answer = ask(options, &format!("resolve {}{network}", self.name))?;
        let answer: serde_json::Value = serde_json::from_str(&answer).map_err(unreadable)?;
        let Some(addresses) = answer["addresses"].as_array() else {
            let place = self.network.map(|network| format!(" on network {network}")).unwrap_or_default();
            return Err(Error::NotFound(format!("no container is called {}{place}", quoted(self.name.as_str()))));
        };
        print(&addresses.iter().filter_map(|one| one.as_str()).map(|one| format!("{one}\n")).collect::<String>())
    }
}
