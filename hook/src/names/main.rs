//! `ocinet-agent`: the name server of the containers on networks of one's own.
//!
//! One process for each host. The first attach to such a network starts it, and it ends when the last container has
//! left. It only reads the store. It is a program of its own, so that no hook has its libraries.

#![cfg_attr(not(test), no_main)]

mod answer;
mod control;
mod directory;
mod serve;
mod shared;
mod source;
mod tcp;
mod upstream;
mod wire;

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use slog::{Logger, info, warn};

use ocinet::driver::NAME_SERVER;
use ocinet::engine::{AGENT_SOCKET, Error, NAMESPACE, Result, settings};
use ocinet::kernel::{self, LockFile, Netns, Place};
use ocinet::log::{logger, with_records};
use ocinet::resident::{Claim, Role, leave_starter};

use serve::{Sockets, Wakers};
use shared::Shared;
use source::Source;

ocinet::program!(run);

/// How long another server may take to start.
const PATIENCE: Duration = Duration::from_secs(5);

const AGENT: Role = Role { place: Place::Agent, socket: AGENT_SOCKET, arguments: &[] };

/// The name server of ocinet: containers on networks of one's own find each other by their names.
///
/// ocinet starts it with the first container on such a network, and it ends when the last one has left.
#[derive(Debug, Parser)]
#[command(name = "ocinet-agent", version)]
struct Arguments {
    /// Where the store, the locks and the files are
    #[arg(long, value_name = "DIR", default_value = "/run/ocinet")]
    state_dir: PathBuf,
    /// The folder of config.toml
    #[arg(long, value_name = "DIR", default_value = "/etc/ocinet")]
    config_dir: PathBuf,
}

/// Starts the server as a process that outlives this one, and returns once it answers.
fn run() -> u8 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // stdout or stderr is closed: the failure cannot be reported.
            let _ = error.print();
            return if error.use_stderr() { 2 } else { 0 };
        }
    };
    match start(&arguments) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            1
        }
    }
}

fn start(arguments: &Arguments) -> Result<()> {
    let refused = |error: io::Error| kernel::Error::refused("start the name server", error);
    let (told, tell) = io::pipe().map_err(refused)?;
    // An empty line, or what went wrong. The starter may have gone.
    let say = |what: &str| drop(writeln!(&tell, "{}", what.replace('\n', " ")));
    let server = || {
        let log = with_records(&logger(None), &arguments.state_dir);
        if let Err(error) = serve(arguments, &log, || say("")) {
            warn!(log, "{error}");
            say(&error.to_string());
        }
    };
    kernel::in_background(&[tell.as_fd()], server)?;
    drop(tell);
    let mut line = String::new();
    BufReader::new(told).read_line(&mut line).map_err(refused)?;
    match line.strip_suffix('\n') {
        Some("") => Ok(()),
        Some(why) => Err(Error::Kernel(kernel::Error::Program(why.into()))),
        None => Err(refused(io::Error::other("it has ended")).into()),
    }
}

/// Calls `ready` once it answers, and returns when nobody needs it any more.
fn serve(arguments: &Arguments, log: &Logger, ready: impl FnOnce()) -> Result<()> {
    let Arguments { state_dir, config_dir } = arguments;
    leave_starter(log);
    kernel::check_state_dir(state_dir)?;
    let claim = match Claim::take(&AGENT, state_dir) {
        Err(Error::Conflict(_)) => {
            await_other(&state_dir.join(AGENT_SOCKET))?;
            ready();
            return Ok(());
        }
        claim => claim?,
    };
    let locks = LockFile::new(state_dir.join("lock"));
    let sockets = Sockets::open(&Netns::at(&state_dir.join(NAMESPACE))?)?;
    let source = Source::open(state_dir, locks.clone(), log.clone())?;
    let waker = source.waker()?;
    let shared = Arc::new(Shared::new(source, settings(config_dir)?.dns_fallback));
    let listener = claim.listen()?;
    info!(log, "serving names"; "address" => %NAME_SERVER);
    ready();
    let ended = serve::run(&sockets, &Wakers { listener: &listener, store: waker.as_fd() }, &shared, &locks, log);
    // The next attach starts another one.
    claim.withdraw();
    // What keeps others from relying on this process ends with it.
    ended.map(std::mem::forget).map_err(Into::into)
}

/// Waits for the server that another process has started at the same time.
fn await_other(socket: &Path) -> Result<()> {
    let began = Instant::now();
    while !kernel::is_listened_to(socket).is_ok_and(|listened_to| listened_to) {
        if began.elapsed() > PATIENCE {
            let why = format!("the name server that another process started does not listen on {}", socket.display());
            return Err(Error::Kernel(kernel::Error::Deadline(why)));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
