//! Where log records go: warnings and errors as one line each to stderr, everything as JSON lines to a file, and, for
//! commands that nobody watches, what matters to the journal.

mod journal;
mod timings;

pub use journal::with_journal;
pub use timings::Timings;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

use slog::{Drain, Duplicate, Level, Logger, Never, OwnedKVList, Record, o};

/// A logger to stderr and, where there is one, to `file`.
///
/// # Errors
/// When the file cannot be opened for appending.
pub fn logger(file: Option<&Path>) -> io::Result<Logger> {
    let Some(path) = file else { return Ok(Logger::root(Stderr, o!())) };
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let json = slog_json::Json::default(WholeLines { file, line: Vec::new() });
    Ok(Logger::root(Duplicate(Stderr, Mutex::new(json).ignore_res()).ignore_res(), o!()))
}

/// One line, `ocinet: ` first, for whoever reads the runtime's output. What happens inside is for the file.
struct Stderr;

impl Drain for Stderr {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        let word = match record.level() {
            Level::Critical | Level::Error => "",
            Level::Warning => "warning: ",
            _ => return Ok(()),
        };
        let message = record.msg().to_string().replace(char::is_control, " ");
        // Nobody is left to tell that nobody listens.
        let _ = writeln!(io::stderr(), "ocinet: {word}{message}");
        Ok(())
    }
}

/// Hands on whole lines, so that many hooks can append to one file.
struct WholeLines {
    file: File,
    line: Vec<u8>,
}

impl Write for WholeLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if self.line.ends_with(b"\n") {
            self.file.write_all(&self.line)?;
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
