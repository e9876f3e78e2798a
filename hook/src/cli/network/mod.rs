//! `ocinet network`: Docker's commands and formats.

mod connect;
mod create;
mod disconnect;
mod docker;
mod filter;
mod inspect;
mod ls;
mod prune;
mod rm;
mod update;

pub(super) use connect::Connection;

use slog::Logger;

use ocinet::engine::{Engine, Error, NetworkView, Result};
use ocinet::input::config::default_bridge;
use ocinet::model::{Invalid, NetworkName, quoted};

use super::Options;

/// Define networks, and show them and who is on them.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the networks
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  ocinet network ls\n  ocinet network ls --filter label=project=shop --format '{{.Name}}'"
    )]
    Ls(ls::Arguments),
    /// Show all about networks and the containers on them, as JSON with Docker's field names
    #[command(
        after_help = "Examples:\n  ocinet network inspect bridge\n  ocinet network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' bridge"
    )]
    Inspect(inspect::Arguments),
    /// Connect a container that runs to a network
    ///
    /// Its default route and its published ports go to the network where they would have gone at its start. A connect
    /// that moves neither cuts no connection; one that does cuts those that went through them.
    #[command(
        after_help = "Examples:\n  ocinet network connect backend web\n  ocinet network connect --ip 10.64.7.9 --gw-priority 1 frontend web"
    )]
    Connect(connect::Arguments),
    /// Disconnect a container that runs from a network
    ///
    /// What led to it by that network goes to the next one that it is on. On none, it keeps its loopback interface.
    #[command(after_help = "Example:\n  ocinet network disconnect backend web")]
    Disconnect(disconnect::Arguments),
    /// Define a network, and print its id; it is made when the first container joins it
    ///
    /// The definition is the file NAME.toml in /etc/ocinet/networks, with everything in it that was chosen: the network
    /// is the same after the host restarts. It may be written by hand, too.
    #[command(
        after_help = "Examples:\n  ocinet network create frontend\n  ocinet network create --subnet 10.64.7.0/24 --internal -o icc=false backend\n  docker network inspect shop | ocinet network create --from -"
    )]
    Create(create::Arguments),
    /// Remove networks; one with containers on it is refused
    #[command(visible_alias = "remove", after_help = "Example:\n  ocinet network rm frontend")]
    Rm(rm::Arguments),
    /// Remove the networks that create defined and no container is on
    ///
    /// A file that a person wrote stays: it has no `created` in it.
    #[command(
        after_help = "Examples:\n  ocinet network prune\n  ocinet network prune -f --filter until=24h --filter label=test"
    )]
    Prune(prune::Arguments),
    /// Change a network's name servers and labels
    ///
    /// Containers that join from then on have the new name servers. What else a definition says can be changed in its
    /// file, and takes effect when the last container has left.
    #[command(after_help = "Example:\n  ocinet network update --dns-add 192.0.2.53 --label-add tier=front frontend")]
    Update(update::Arguments),
}

impl Command {
    /// Whether it changes a network, or what is on it.
    pub(super) fn changes(&self) -> bool {
        !matches!(self, Self::Ls(_) | Self::Inspect(_))
    }

    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        match self {
            Self::Ls(arguments) => arguments.run(options, log),
            Self::Inspect(arguments) => arguments.run(options, log),
            Self::Connect(arguments) => arguments.run(options, log),
            Self::Create(arguments) => arguments.run(options, log),
            Self::Disconnect(arguments) => arguments.run(options, log),
            Self::Rm(arguments) => arguments.run(options, log),
            Self::Prune(arguments) => arguments.run(options, log),
            Self::Update(arguments) => arguments.run(options, log),
        }
    }
}

/// All networks of this host.
pub(super) fn views(options: &Options, log: &Logger) -> Result<Vec<NetworkView>> {
    views_of(options.engine_to_look(log)?.as_mut(), options, log)
}

/// The same with an engine that is open; `None` on an unused host.
pub(super) fn views_of(engine: Option<&mut Engine>, options: &Options, log: &Logger) -> Result<Vec<NetworkView>> {
    NetworkView::all(engine, &options.definitions(), || options.config(), log)
}

/// The name of the network that is called so or, where none is, has that id or the beginning of it. Of a name that has a
/// definition nothing else is looked at.
fn name_of(text: &str, options: &Options, log: &Logger) -> Result<NetworkName> {
    match text.parse() {
        Ok(name) if name == default_bridge() || options.definitions().exists(&name)? => Ok(name),
        _ => Ok(find(&views(options, log)?, text)?.name.parse()?),
    }
}

/// The same of a network that is named before a container. An error says it where they are named in the other order.
fn named_first(network: &str, container: &str, options: &Options, log: &Logger) -> Result<NetworkName> {
    let error = match name_of(network, options, log) {
        Err(error @ Error::NotFound(_)) => error,
        name => return name,
    };
    match name_of(container, options, log) {
        Ok(swapped) if !is_container(container, options, log) => {
            let why = format!("stands where the network is; the network comes first: {swapped} {network}");
            Err(Invalid::new("network", network, why).into())
        }
        _ => Err(error),
    }
}

fn is_container(text: &str, options: &Options, log: &Logger) -> bool {
    options.engine_to_look(log).ok().flatten().is_some_and(|mut engine| engine.sandboxes_of(text).is_ok())
}

/// The network of that name, or else of that id or beginning of it.
fn find<'v>(views: &'v [NetworkView], text: &str) -> Result<&'v NetworkView> {
    let named = NetworkView::find(views, text);
    if named.is_ok() || text.is_empty() {
        return named;
    }
    let meant: Vec<_> = views.iter().filter(|view| docker::id(&view.name).starts_with(text)).collect();
    match meant[..] {
        [] => named,
        [view] => Ok(view),
        _ => Err(Error::Conflict(format!(
            "several networks have an id that begins with {}; say more of it",
            quoted(text)
        ))),
    }
}
