//! The network functions over ttrpc, by one process per host.

use std::ffi::OsString;
use std::process::ExitCode;

/// `containerd-shim-ocinet-v2 serve`.
pub fn run(_arguments: &[OsString]) -> ExitCode {
    eprintln!("ocinet: serve is not there yet");
    ExitCode::FAILURE
}
