use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ocinet::engine::Result;
use ocinet::kernel::{self, Error, Warmed};
use ocinet::model::shown;

use super::{Options, print};

/// Bring the installed programs into large pages of the page cache.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The files; without any, this program, and the shim for containerd if it lies beside it
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Arguments {
    pub(super) fn run(self, options: &Options) -> Result<()> {
        let files = if self.files.is_empty() { kernel::installed_programs()? } else { resolved(&self.files)? };
        // A copy in memory does the work where this process is in the way. It is told paths, since this program is
        // another file for it.
        if files.iter().any(|file| kernel::hinders(file).unwrap_or(false)) {
            kernel::go_on_from_memory(&arguments(options, files))?;
            return Ok(());
        }
        let mut failed = None;
        for file in &files {
            match kernel::warm(file) {
                Ok(warmed) => print(&sentence(file, warmed))?,
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

fn resolved(files: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let resolve = |file: &PathBuf| {
        file.canonicalize().map_err(|error| Error::refused(format!("read {}", file.display()), error).into())
    };
    files.iter().map(resolve).collect()
}

/// The command line that does the same.
fn arguments(options: &Options, files: Vec<PathBuf>) -> Vec<OsString> {
    let log = options.log_file.iter().flat_map(|file| ["--log-file".into(), file.clone().into_os_string()]);
    let files = files.into_iter().map(PathBuf::into_os_string);
    log.chain(["warm".into(), "--".into()]).chain(files).collect()
}

fn sentence(file: &Path, warmed: Warmed) -> String {
    let state = match warmed {
        Warmed::Already => "is in large pages of the page cache already",
        Warmed::Now => "is in large pages of the page cache now",
        Warmed::Unseen => "was read anew; into which pages cannot be seen from here",
        Warmed::Refused => "stays in small pages: this kernel or file system has no large ones for it",
    };
    format!("{} {state}\n", shown(&file.to_string_lossy()))
}
