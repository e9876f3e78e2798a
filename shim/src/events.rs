//! Following what is attached and detached.

use std::ffi::OsString;
use std::process::ExitCode;

/// `containerd-shim-ocinet-v2 events`.
pub fn run(_arguments: &[OsString]) -> ExitCode {
    eprintln!("ocinet: events is not there yet");
    ExitCode::FAILURE
}
