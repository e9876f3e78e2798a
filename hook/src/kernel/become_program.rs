use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::error::Error;

/// Puts `program` in the place of this process, with its environment, streams and working directory. The standard
/// library gives it the default answer to SIGPIPE, which [`start`](super::start) has changed. Returns only where the
/// kernel refuses.
pub fn become_program(program: &Path, arguments: &[&str]) -> Error {
    Error::refused(format!("run {}", program.display()), Command::new(program).args(arguments).exec())
}
