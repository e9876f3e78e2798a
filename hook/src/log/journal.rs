//! systemd's journal, in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram for each record.
//!
//! Written here because the journal crates for slog need C libraries, and because a hook must never wait: the socket
//! is made with the first record that is meant for it, and what the journal does not take is lost.

use std::fmt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use slog::{Drain, Duplicate, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer, o};

const SOCKET: &str = "/run/systemd/journal/socket";

/// `log`, and the journal where it runs: what happened to a container, and what went wrong.
pub(super) fn with_journal(log: &Logger) -> Logger {
    Logger::root(Duplicate(log.clone(), Journal::at(Path::new(SOCKET))).ignore_res(), o!())
}

struct Journal {
    path: PathBuf,
    /// `None` where there is no socket to be had.
    socket: OnceLock<Option<UnixDatagram>>,
}

impl Journal {
    fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: OnceLock::new() }
    }
}

impl Drain for Journal {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        if record.level().is_at_least(Level::Info)
            && let Some(socket) = self.socket.get_or_init(open)
        {
            // A container's start is worth more than a line about it.
            let _ = socket.send_to(&entry(record, values), &self.path);
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.is_at_least(Level::Info)
    }
}

/// A socket of which no call blocks: where the journal is slow, the line is lost.
fn open() -> Option<UnixDatagram> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Datagram, flags, None).ok().map(UnixDatagram::from)
}

fn entry(record: &Record<'_>, values: &OwnedKVList) -> Vec<u8> {
    let mut fields = Fields::default();
    // The record's own values come first, since of two with one key the first is kept: while a container is
    // attached, another may be collected.
    let _ = record.kv().serialize(record, &mut fields);
    let _ = values.serialize(record, &mut fields);
    let message = match fields.get("OCINET_CONTAINER") {
        Some(container) => format!("{container}: {}", record.msg()),
        None => record.msg().to_string(),
    };
    let mut entry = Vec::new();
    append(&mut entry, "MESSAGE", &message);
    append(&mut entry, "PRIORITY", priority(record.level()));
    append(&mut entry, "SYSLOG_IDENTIFIER", "ocinet");
    fields.0.iter().for_each(|(name, value)| append(&mut entry, name, value));
    entry
}

/// As syslog counts (RFC 5424, 6.2.1). One container that cannot start is an error, not an emergency of the host.
fn priority(level: Level) -> &'static str {
    match level {
        Level::Critical | Level::Error => "3",
        Level::Warning => "4",
        Level::Info => "6",
        Level::Debug | Level::Trace => "7",
    }
}

/// A value of several lines goes with its length in front; otherwise it could pass for further fields.
fn append(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = "OCINET_".chars().chain(key.chars().map(upper)).collect();
        if self.get(&name).is_none() {
            self.0.push((name, value.to_string()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::{crit, debug, info};
    use std::time::{Duration, Instant};

    struct Listener(PathBuf, UnixDatagram);

    impl Listener {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ocinet-journal-{name}-{}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            Self(path, socket)
        }

        fn logger(&self) -> Logger {
            Logger::root(Journal::at(&self.0), o!("stage" => "poststop", "container" => "web"))
        }

        fn next(&self) -> Vec<u8> {
            let mut buffer = [0; 4096];
            let length = self.1.recv(&mut buffer).unwrap();
            buffer[..length].to_vec()
        }
    }

    impl Drop for Listener {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_record_is_one_datagram() {
        let journal = Listener::new("one");
        let log = journal.logger();
        debug!(log, "step");
        info!(log, "detached"; "container" => "db", "host-links" => 2);
        let expected = "MESSAGE=db: detached\nPRIORITY=6\nSYSLOG_IDENTIFIER=ocinet\n";
        let entry = String::from_utf8(journal.next()).unwrap();
        assert!(entry.starts_with(expected), "{entry}");
        let mut fields: Vec<&str> = entry[expected.len()..].lines().collect();
        fields.sort_unstable();
        assert_eq!(fields, ["OCINET_CONTAINER=db", "OCINET_HOST_LINKS=2", "OCINET_STAGE=poststop"]);
    }

    #[test]
    fn several_lines_cannot_pass_for_fields() {
        let journal = Listener::new("lines");
        crit!(journal.logger(), "a\nPRIORITY=0");
        let mut expected = b"MESSAGE\n".to_vec();
        expected.extend_from_slice(&[17, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(b"web: a\nPRIORITY=0\nPRIORITY=3\n");
        assert!(journal.next().starts_with(&expected));
    }

    #[test]
    fn a_deaf_or_absent_journal_costs_no_time() {
        let deaf = Listener::new("deaf");
        let file = std::env::temp_dir().join(format!("ocinet-journal-file-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let absent = Logger::root(Journal::at(Path::new("/nonexistent/socket")), o!());
        let no_socket = Logger::root(Journal::at(&file), o!());
        let since = Instant::now();
        for log in [deaf.logger(), absent, no_socket] {
            (0..5000).for_each(|n| info!(log, "{n}"));
        }
        assert!(since.elapsed() < Duration::from_secs(5));
        assert_eq!(std::fs::read(&file).unwrap(), b"");
        std::fs::remove_file(file).unwrap();
    }
}
