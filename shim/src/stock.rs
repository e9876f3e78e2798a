//! The way from containerd's call to the stock shim.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::call::Call;

/// The shim that does all the work.
const STOCK: &str = "containerd-shim-runc-v2";

/// Becomes the stock shim; returns only where that fails.
pub fn run(call: &Call, arguments: &[OsString]) -> ExitCode {
    let beside = call.publish_binary.as_deref().and_then(|binary| Path::new(binary).parent());
    let stock = beside.map_or_else(|| OsStr::new(STOCK).into(), |folder| folder.join(STOCK));
    let error = Command::new(&stock).args(arguments).exec();
    eprintln!("ocinet: cannot execute {}: {error}", stock.display());
    ExitCode::FAILURE
}
