//! `ocinet-agent`: the name server of the containers on networks of one's own.
//!
//! One for each host. The first attach to such a network starts it, and it ends when the last container has left. It is
//! two processes, a supervisor and a worker, and only reads the store. It is a program of its own, so that no hook has
//! its libraries.

#![cfg_attr(not(test), no_main)]

mod answer;
mod clients;
mod confine;
mod control;
mod directory;
#[cfg(test)]
mod fuzz;
mod link;
mod slots;
mod sockets;
mod source;
mod supervise;
mod turns;
mod upstream;
mod wire;
mod worker;

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use slog::{Logger, warn};

use ocinet::engine::{AGENT_SOCKET, Error, Result};
use ocinet::kernel;
use ocinet::log::{logger, with_records};
use ocinet::resident::leave_starter;

use supervise::{Places, Supervisor};

ocinet::program!(run);

/// How long another server may take to start.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// Go on with what an older version of this program left open
    #[arg(long, hide = true, value_name = "NUMBERS")]
    taken_over: Option<String>,
}

/// Starts the server as a process that outlives this one, and returns once it answers, or no container needs it.
fn run() -> u8 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // stdout or stderr is closed: the failure cannot be reported.
            let _ = error.print();
            return if error.use_stderr() { 2 } else { 0 };
        }
    };
    let places = Places { state_dir: arguments.state_dir, config_dir: arguments.config_dir };
    let done = match arguments.taken_over {
        Some(numbers) => go_on(&places, &numbers),
        None => start(&places),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            1
        }
    }
}

fn start(places: &Places) -> Result<()> {
    let refused = |error: io::Error| kernel::Error::refused("start the name server", error);
    let (told, tell) = io::pipe().map_err(refused)?;
    // An empty line, or what went wrong. The starter may have gone.
    let say = |what: &str| drop(writeln!(&tell, "{}", what.replace('\n', " ")));
    let server = || {
        let log = with_records(&logger(None), &places.state_dir);
        match serve(places, &log, || say("")) {
            // No container needs it, be it that it has not answered yet.
            Ok(()) => say(""),
            Err(error) => {
                warn!(log, "{error}");
                say(&error.to_string());
            }
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

/// Calls `ready` once it answers, and returns when no container needs it any more.
fn serve(places: &Places, log: &Logger, ready: impl FnOnce()) -> Result<()> {
    leave_starter(log);
    if kernel::reset_inherited() {
        warn!(log, "the name server is under the filter of system calls (seccomp) of the program that started it");
    }
    kernel::check_state_dir(&places.state_dir)?;
    match Supervisor::new(places, log) {
        Err(Error::Conflict(_)) => {
            await_other(&places.state_dir.join(AGENT_SOCKET))?;
            ready();
            Ok(())
        }
        supervisor => supervisor?.run(Some(ready)),
    }
}

/// Goes on in the process of an older version.
fn go_on(places: &Places, numbers: &str) -> Result<()> {
    let descriptors: Vec<OwnedFd> = kernel::take_over(numbers)?;
    let log = with_records(&logger(None), &places.state_dir);
    let served = Supervisor::taken_over(places, &log, descriptors).and_then(|supervisor| supervisor.run(None::<fn()>));
    if let Err(error) = &served {
        warn!(log, "{error}");
    }
    served
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
