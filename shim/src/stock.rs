//! The way from containerd's call to the stock shim.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ocinet::engine::Error;
use ocinet::kernel;

use crate::call::Call;

/// The shim that does all the work.
const STOCK: &str = "containerd-shim-runc-v2";

/// Becomes the stock shim, with the `arguments` that we got, our standard streams and environment. Returns only where
/// that fails, with the reason.
pub fn take_over(call: &Call, arguments: &[OsString]) -> Error {
    match find(call, &env::var_os("PATH").unwrap_or_default()) {
        Some(stock) => {
            let error = Command::new(&stock).args(arguments).exec();
            kernel::Error::refused(format!("execute {}", stock.display()), error).into()
        }
        None => Error::NotFound(format!(
            "there is no {STOCK} beside {} nor on the PATH; it comes with containerd",
            call.publish_binary.as_deref().unwrap_or("containerd".as_ref()).display()
        )),
    }
}

/// The stock shim: that of the containerd which calls, else the first on the caller's PATH. Never ourselves, whatever links
/// there are.
fn find(call: &Call, path: &OsStr) -> Option<PathBuf> {
    let own = env::current_exe().and_then(identity).ok();
    let containerds = call.publish_binary.as_deref().and_then(|binary| Path::new(binary).parent());
    let containerds = containerds.filter(|folder| folder.is_absolute()).map(Path::to_owned);
    let folders = containerds.into_iter().chain(env::split_paths(path).filter(|folder| folder.is_absolute()));
    folders.map(|folder| folder.join(STOCK)).find(|file| is_program(file) && identity(file).ok() != own)
}

fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn identity(file: impl AsRef<Path>) -> io::Result<(u64, u64)> {
    fs::metadata(file).map(|meta| (meta.dev(), meta.ino()))
}
