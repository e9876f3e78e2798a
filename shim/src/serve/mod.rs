//! The network functions over ttrpc, by one process per host.
//!
//! It keeps no state of its own: each call opens the engine as a hook does, and the events come from following the
//! store. So it may be killed at any time, and no container needs it in order to be wired.
//!
//! One thread serves all clients, so a client that hangs costs a few kilobytes and no thread. A few other threads run
//! calls that block.

mod connection;
mod containerds;
mod feed;
mod host;
mod listen;
mod publish;
mod service;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use ocinet::engine::{Definitions, Error, Result, SERVICE_SOCKET};
use ocinet::input::config::Config;
use ocinet::kernel::{self, Place};
use ocinet::log::{logger, with_records};
use ocinet::resident::{self, Claim, Follower, Role, leave_starter};
use ocinet_proto::{ttrpc, v1};
use slog::{Logger, crit, info, warn};
use tokio::runtime::{Builder, Runtime};

pub use containerds::Containerd;

use connection::Clients;
use feed::Feed;
use host::Host;
use service::Service;

/// The service, as a resident process.
const SERVICE: Role = Role { place: Place::Service, socket: SERVICE_SOCKET, arguments: &["serve", "--on-demand"] };

/// The number of calls that run at once; further ones wait.
const WORKERS: usize = 8;

/// Serve the network functions to other programs, on the socket ocinet.sock in the state directory.
#[derive(Debug, Parser)]
#[command(name = "containerd-shim-ocinet-v2 serve", version = ocinet::version!())]
struct Arguments {
    /// Where leases and records are, and the socket
    #[arg(long, value_name = "DIR", default_value = "/run/ocinet")]
    state_dir: PathBuf,
    /// Where config.toml is
    #[arg(long, value_name = "DIR", default_value = "/etc/ocinet")]
    config_dir: PathBuf,
    /// End after so long without a client, and without a containerd to publish to
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    idle: u64,
    /// Started by another program that happened to need it
    #[arg(long, hide = true)]
    on_demand: bool,
}

/// `containerd-shim-ocinet-v2 serve`.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let name = OsString::from("serve");
    let arguments = match Arguments::try_parse_from(std::iter::once(&name).chain(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => return crate::usage(&error),
    };
    kernel::spare_memory();
    let log = with_records(&logger(None), &arguments.state_dir);
    match serve(&arguments, &log) {
        Ok(()) => ExitCode::SUCCESS,
        // Another caller started it at the same time.
        Err(Error::Conflict(_)) if arguments.on_demand => ExitCode::SUCCESS,
        Err(error) => {
            crit!(log, "{error}"; "exit" => error.exit_code());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Makes sure that the service runs, and that it publishes to `containerd`. A failure is only logged, since a container
/// starts without the service too.
pub fn ensure(state_dir: &Path, containerd: Option<&Containerd>, log: &Logger) {
    let known = kernel::state_dir(state_dir).and_then(|()| containerd.map_or(Ok(()), |it| it.remember(state_dir)));
    match known {
        Ok(()) => resident::ensure(&SERVICE, state_dir, log),
        Err(error) => warn!(log, "events are not published: {error}"),
    }
}

/// The runtime of the service: one thread, and more for calls that block.
fn runtime() -> Result<Runtime> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(WORKERS)
        .thread_stack_size(1 << 20)
        .thread_keep_alive(Duration::from_secs(1))
        .build();
    Ok(runtime.map_err(|error| kernel::Error::refused("start the service", error))?)
}

/// Serves until it is idle, or until its socket is removed.
fn serve(arguments: &Arguments, log: &Logger) -> Result<()> {
    let Arguments { state_dir, config_dir, idle, on_demand } = arguments;
    if *on_demand {
        leave_starter(log);
    }
    kernel::state_dir(state_dir)?;
    let claim = Claim::take(&SERVICE, state_dir)?;
    // Before a client can connect, so that every attach from then on is reported.
    let definitions = Definitions::of(&Config::unread(config_dir), state_dir);
    let follower = Follower::new(state_dir, definitions, log.clone())?;
    let listener = claim.listen()?;
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let clients = Clients::default();
        let feed = Feed::new();
        tokio::spawn(publish::publish(state_dir.clone(), feed.subscribe(), log.clone()));
        let ended = feed.follow(follower, SERVICE_SOCKET)?;
        let host = Host { state_dir: state_dir.clone(), config_dir: config_dir.clone(), log: log.clone() };
        let service: Arc<dyn v1::NetworkService + Send + Sync> = Arc::new(Service::new(host, feed.clone()));
        let refused = |error: ttrpc::Error| kernel::Error::refused("start the service", std::io::Error::other(error));
        let mut server = ttrpc::r#async::Server::new()
            .register_service(v1::create_network(service))
            .add_listener(listen::accept(listener, clients.clone())?);
        server.start().await.map_err(refused)?;
        // Much of the code is used only up to here.
        kernel::return_memory();
        // The records are of containers, and end with the state directory.
        let log = logger(None);
        info!(log, "serving"; "socket" => %claim.path().display());
        tokio::select! {
            ended = ended => {
                let lost = |_| kernel::Error::refused("follow the store", std::io::Error::other("its thread has ended"));
                ended.map_err(lost)??;
                info!(log, "ending: the socket was removed");
            }
            () = clients.stay_away(Duration::from_secs(*idle), || Containerd::any_runs(state_dir)) => {
                info!(log, "ending: nobody needed it for {idle} s");
                claim.withdraw();
            }
        }
        Ok(())
    });
    if ended.is_err() {
        // The socket is removed, so that the next call that needs the service starts another one.
        claim.withdraw();
    }
    // Lets running calls end.
    runtime.shutdown_timeout(Duration::from_secs(30));
    ended
}
