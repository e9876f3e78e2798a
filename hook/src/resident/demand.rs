//! Starting a resident process on demand.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use slog::{Logger, info, warn};

use super::{Role, is_taken};
use crate::kernel::{self, is_listened_to};

/// How long the caller waits until the process that it started listens, so that the caller's own change is followed,
/// too.
const PATIENCE: Duration = Duration::from_millis(300);

/// Under systemd a socket unit starts the process. systemd would not manage a process that was started here.
const SYSTEMD: &str = "/run/systemd/system";

/// Makes sure that the process of `role` runs. A failure is only logged, since a container starts without the process
/// too.
pub fn ensure(role: &Role, state_dir: &Path, log: &Logger) {
    // systemd may have to start the process before it answers.
    let answers = || is_listened_to(&state_dir.join(role.socket)).is_ok_and(|listened_to| listened_to);
    match is_taken(role, state_dir) {
        Ok(false) if !answers() && !Path::new(SYSTEMD).exists() => {}
        Ok(_) => return,
        Err(error) => return warn!(log, "the service may not run: {error}"),
    }
    match start(role, state_dir) {
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

/// Starts it as a grandchild, so that the caller's parent does not wait for it. It inherits no descriptor of the
/// caller.
fn start(role: &Role, state_dir: &Path) -> kernel::Result<()> {
    let program = kernel::own_program()?;
    let child = || {
        let mut process = Command::new(&program);
        process.args(role.arguments).arg("--state-dir").arg(state_dir).env_clear();
        // It logs to the journal.
        let _ = process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    };
    if let Some(child) = kernel::in_background(&[], child)? {
        // It ends as soon as its own child runs.
        let _ = waitpid(Pid::from_raw(child), None);
    }
    Ok(())
}
