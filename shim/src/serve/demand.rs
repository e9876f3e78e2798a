//! Starting the service on demand, for a containerd that is to hear of what is attached.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use ocinet::kernel;
use slog::{Logger, info, warn};

use super::claim::{SOCKET, is_taken};
use super::containerds::Containerd;
use crate::dial::is_listened_to;

/// How long the first container of all waits for the service, so that it is told of, too.
const PATIENCE: Duration = Duration::from_millis(300);

/// Under systemd a socket unit starts the service, and nobody else: it would not know of another.
const SYSTEMD: &str = "/run/systemd/system";

/// Sees to it that the service runs, and publishes to `containerd`. A container starts without, too: what goes wrong is logged.
pub fn ensure(state_dir: &Path, containerd: Option<&Containerd>, log: &Logger) {
    let known = kernel::state_dir(state_dir).and_then(|()| containerd.map_or(Ok(()), |it| it.remember(state_dir)));
    if let Err(error) = known {
        warn!(log, "events are not published: {error}");
        return;
    }
    // Whoever is asked has to answer, and a service manager may have to start it for that.
    let answers = || is_listened_to(&state_dir.join(SOCKET)).is_ok_and(|listened_to| listened_to);
    if is_taken(state_dir) || answers() || Path::new(SYSTEMD).exists() {
        return;
    }
    match start(state_dir) {
        Ok(()) => {
            let began = Instant::now();
            while !answers() && began.elapsed() < PATIENCE {
                sleep(Duration::from_millis(1));
            }
            info!(log, "started the service"; "ms" => began.elapsed().as_millis());
        }
        Err(error) => warn!(log, "the service cannot be started: {error}"),
    }
}

/// Twice a child: whoever waits for ours has nothing to do with it, and it holds nothing of theirs.
fn start(state_dir: &Path) -> kernel::Result<()> {
    let program = kernel::own_program()?;
    let child = || {
        let mut service = Command::new(&program);
        service.args(["serve", "--on-demand", "--state-dir"]).arg(state_dir).env_clear();
        // It says in the journal what is to be said.
        let _ = service.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    };
    if let Some(child) = kernel::in_background(&[], child)? {
        // Gone as soon as its own child runs.
        let _ = waitpid(Pid::from_raw(child), None);
    }
    Ok(())
}
