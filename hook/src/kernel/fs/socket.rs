//! Unix sockets: whether a program listens on one.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use super::file::remove_file;
use crate::kernel::error::{Doing, Result};

/// How long an answer may take, and how long it may be in bytes.
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 1 << 20;

/// Removes a Unix socket. A file that is no socket stays.
///
/// # Errors
/// When the file system refuses.
pub fn remove_socket(path: &Path) -> Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket { remove_file(path) } else { Ok(()) }
}

/// Whether a process of this network namespace listens on the Unix socket at `path`. It does not connect: that would
/// start a service for which a service manager listens.
///
/// # Errors
/// When /proc is not mounted.
pub fn is_listened_on(path: &Path) -> Result<bool> {
    let list = "/proc/net/unix";
    let sockets = fs::read(list).doing(|| format!("read {list}"))?;
    let path = std::path::absolute(path).doing(|| format!("find {}", path.display()))?;
    Ok(String::from_utf8_lossy(&sockets).lines().any(|line| listens_on(line, &path.to_string_lossy())))
}

/// Whether a line `ffff: 00000002 00000000 00010000 0001 01 1234 /run/a socket` is that of a socket which listens at
/// `path`: the flag is `__SO_ACCEPTCON` (`unix_seq_show`, net/unix/af_unix.c).
fn listens_on(line: &str, path: &str) -> bool {
    let mut fields = line.splitn(8, ' ').filter(|field| !field.is_empty());
    let (flags, rest) = (fields.nth(3), line.strip_suffix(path));
    flags == Some("00010000") && rest.is_some_and(|rest| rest.ends_with(' '))
}

/// Whether a program listens at `path`. It connects without waiting; where systemd listens for the program, that starts
/// it.
///
/// # Errors
/// When the connection fails for a reason that leaves the question open.
pub fn is_listened_to(path: &Path) -> io::Result<bool> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &UnixAddr::new(path)?) {
        // EAGAIN: its queue is full.
        Ok(()) | Err(Errno::EAGAIN) => Ok(true),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ECONNREFUSED) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The line with which the program that listens at `path` answers `line`; none where none listens.
///
/// # Errors
/// When it does not answer within some seconds.
pub fn ask_line(path: &Path, line: &str) -> Result<Option<String>> {
    let what = || format!("ask {}", path.display());
    let mut stream = match UnixStream::connect(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        stream => stream.doing(what)?,
    };
    stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE))).doing(what)?;
    stream.write_all(format!("{line}\n").as_bytes()).doing(what)?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).doing(what)?;
    Ok(Some(answer.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use super::*;

    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ocinet-socket-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    /// A listener whose queue is full, with the connection that fills it.
    fn deaf(path: &Path) -> (UnixListener, UnixStream) {
        let listener = UnixListener::bind(path).unwrap();
        // A second listen(2) changes the length of the queue.
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let queued = UnixStream::connect(path).unwrap();
        (listener, queued)
    }

    #[test]
    fn who_listens_on_a_socket_is_seen_without_connecting() {
        let path = std::env::temp_dir().join(format!("ocinet listens {}", std::process::id()));
        assert!(!is_listened_on(&path).unwrap());
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(is_listened_on(&path).unwrap());
        drop(listener);
        assert!(!is_listened_on(&path).unwrap());
        remove_socket(&path).unwrap();
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        remove_socket(&path).unwrap();
        assert!(path.exists(), "it was no socket");
        remove_file(&path).unwrap();
        remove_file(&path).unwrap();
    }

    #[test]
    fn who_listens_is_told_without_waiting() {
        let path = path("listens");
        assert!(!is_listened_to(&path).unwrap(), "there is no file");
        assert!(!is_listened_to(&path.join("below")).unwrap(), "there is no directory");
        let listening = deaf(&path);
        let began = Instant::now();
        assert!(is_listened_to(&path).unwrap(), "its queue is full");
        assert!(began.elapsed() < Duration::from_secs(1));
        drop(listening);
        assert!(!is_listened_to(&path).unwrap(), "the file alone is left");
        fs::remove_file(&path).unwrap();
        assert!(is_listened_to(Path::new(&"/x".repeat(100))).is_err(), "no socket can have this path");
    }
}
