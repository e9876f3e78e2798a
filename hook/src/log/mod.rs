//! Where log records go: warnings and errors as one line each to stderr, everything as JSON lines to a file, and, for
//! commands that run unwatched, what matters to the journal and to the records of this host.

mod journal;
mod records;
mod timings;

pub use records::with_records;
pub use timings::Timings;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use nix::unistd::geteuid;
use slog::{Drain, Duplicate, Level, Logger, Never, OwnedKVList, Record, o, warn};

use self::journal::with_journal;
use crate::model::shown;

/// A logger to stderr and, where there is one, to `file`. A file that cannot be used costs a warning, and not a
/// container its network.
pub fn logger(file: Option<&Path>) -> Logger {
    let stderr = Logger::root(Stderr, o!());
    let Some(path) = file else { return stderr };
    match open(path) {
        Ok(file) => {
            let json = slog_json::Json::default(WholeLines { file, line: Vec::new() });
            Logger::root(Duplicate(Stderr, Mutex::new(json).ignore_res()).ignore_res(), o!())
        }
        Err(error) => {
            let wanted = "a regular file of root's, or none yet";
            // A runtime hides what a hook says on stderr.
            warn!(with_journal(&stderr), "--log-file {} is not written to: {error}; name {wanted}", path.display());
            stderr
        }
    }
}

/// Opens a file to append to, and makes it where there is none. Neither a FIFO nor a device keeps us waiting, and what
/// another user put in its place, a file of theirs or another name of a file of ours, is not written to.
fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    let why = match meta.uid() {
        _ if !meta.is_file() => "it is not a regular file".to_owned(),
        _ if meta.nlink() > 1 => "it has another name, too (a hard link)".to_owned(),
        owner if owner != 0 && owner != geteuid().as_raw() => format!("it belongs to user {owner}"),
        _ => return Ok(file),
    };
    Err(io::Error::other(why))
}

/// One line, `ocinet: ` first, for the reader of the runtime's output. Details go to the file alone.
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
        let message = shown(&record.msg().to_string());
        // stderr is closed: the failure cannot be reported.
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

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::{Uid, chown, mkfifo};
    use std::fs;
    use std::path::PathBuf;

    /// A folder for one test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ocinet-log-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_made_and_appended_to() {
        let folder = Folder::new("made");
        let path = folder.0.join("log");
        for line in ["one\n", "two\n"] {
            open(&path).unwrap().write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_file_of_ours_is_not_opened() {
        let folder = Folder::new("refused");
        let path = |name: &str| folder.0.join(name);
        mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        // With a reader, a FIFO can be opened.
        mkfifo(&path("read"), Mode::S_IRWXU).unwrap();
        let _reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path("read")).unwrap();
        fs::write(path("file"), "").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        fs::write(path("twice"), "").unwrap();
        fs::hard_link(path("twice"), path("again")).unwrap();
        let mut rows = vec!["fifo", "read", "link", "again", ".", "missing/log"];
        if geteuid().is_root() {
            fs::write(path("theirs"), "").unwrap();
            chown(&path("theirs"), Some(Uid::from_raw(65534)), None).unwrap();
            rows.push("theirs");
        }
        for name in rows {
            assert!(open(&path(name)).is_err(), "{name}");
        }
    }
}
