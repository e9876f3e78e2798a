use slog::Logger;

use ocinet::engine::{Error, Result};
use ocinet::model::{quoted, similar};

use super::{View, docker, views};
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
        let wanted = self.networks.iter().map(|name| find(&views, name).map(docker::Network::from));
        print_json(&wanted.collect::<Result<Vec<_>>>()?)
    }
}

fn find<'v>(views: &'v [View], name: &str) -> Result<&'v View> {
    views.iter().find(|view| view.name == name).ok_or_else(|| {
        let hint = match similar(name, views.iter().map(|view| view.name.as_str())) {
            Some(near) => format!("did you mean {near}?"),
            None => "see ocinet network ls".to_owned(),
        };
        Error::NotFound(format!("network {} does not exist; {hint}", quoted(name)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::network::arrange;

    #[test]
    fn an_unknown_network_is_not_found_and_perhaps_guessed() {
        let views = arrange(Vec::new(), &[]);
        let error = find(&views, "hots").err().unwrap();
        assert_eq!(
            (error.exit_code(), error.to_string().as_str()),
            (5, "network \"hots\" does not exist; did you mean host?")
        );
        assert!(find(&views, "frontend").err().unwrap().to_string().ends_with("see ocinet network ls"));
    }
}
