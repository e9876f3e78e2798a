use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::proc;
use crate::model::FileIdentity;

/// The end of the name of a file that is being written.
const DRAFT: &str = "draft";

/// How long the runtime may take to write the state.
const STDIN_PATIENCE: Duration = Duration::from_secs(10);

/// Reads all of stdin, at most `limit` bytes and one more, by which the caller sees that there is too much.
///
/// # Errors
/// When the other end is not closed within ten seconds.
pub fn read_stdin(limit: usize) -> Result<Vec<u8>> {
    let what = || "read the state from stdin".to_owned();
    let deadline = Instant::now() + STDIN_PATIENCE;
    let mut stdin = io::stdin().lock();
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    while bytes.len() <= limit {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, timeout) {
            Ok(0) => {
                let seconds = STDIN_PATIENCE.as_secs();
                return Err(Error::Deadline(format!(
                    "stdin was not closed within {seconds} s; a runtime writes the state and closes it"
                )));
            }
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(Error::refused(what(), error)),
            Ok(_) => {}
        }
        match stdin.read(&mut chunk).doing(what)? {
            0 => return Ok(bytes),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
    bytes.truncate(limit + 1);
    Ok(bytes)
}

/// Reads a regular file of at most `limit` bytes; `None` where there is none. Anything else, a FIFO or a device, is
/// refused without waiting for it.
///
/// # Errors
/// [`Error::NotRegular`], or that it is too large or unreadable.
pub fn read_regular(path: &Path, limit: usize) -> Result<Option<Vec<u8>>> {
    let what = || format!("read {}", path.display());
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // `ELOOP` for a link to itself, `ENXIO` for a socket, which cannot be opened (open(2)).
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => {
            return Err(Error::NotRegular { what: what() });
        }
        result => result.doing(what)?,
    };
    let meta = file.metadata().doing(what)?;
    if !meta.is_file() {
        return Err(Error::NotRegular { what: what() });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(limit).min(limit) + 1);
    file.take(limit as u64 + 1).read_to_end(&mut bytes).doing(what)?;
    if bytes.len() > limit {
        return Err(Error::refused(what(), io::Error::other(format!("is larger than {limit} bytes"))));
    }
    Ok(Some(bytes))
}

/// Makes the state directory, or checks that the existing one is safe: a directory and no link, that belongs to this
/// user, and that no other user may enter. A user who could write there could make ocinet undo anything.
///
/// # Errors
/// When it belongs to another user, or cannot be made.
pub fn state_dir(path: &Path) -> Result<()> {
    let what = || format!("use state directory {}", path.display());
    if is_safe_directory(path)? {
        return Ok(());
    }
    match DirBuilder::new().mode(0o700).recursive(false).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::refused(what(), error)),
        _ => check_state_dir(path),
    }
}

/// Checks the state directory as [`state_dir`] does, if it exists. Makes nothing.
///
/// # Errors
/// When it belongs to another user.
pub fn check_state_dir(path: &Path) -> Result<()> {
    is_safe_directory(path).map(drop)
}

/// Whether there is such a directory.
fn is_safe_directory(path: &Path) -> Result<bool> {
    let what = || format!("use state directory {}", path.display());
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        meta => meta.doing(what)?,
    };
    let why = if !meta.is_dir() {
        "is not a directory"
    } else if meta.uid() != nix::unistd::geteuid().as_raw() {
        "belongs to another user"
    } else if meta.mode() & 0o077 != 0 {
        "can be entered by others; its mode must be 0700"
    } else {
        return Ok(true);
    };
    Err(Error::refused(what(), io::Error::other(why)))
}

/// Removes a file. If there is none, that is no error.
///
/// # Errors
/// When the file system refuses.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::refused(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Writes a file that only this user can read, whole or not at all, and makes its directory where there is none. The
/// directory is one of ours, in which no two processes write the same file at once.
///
/// # Errors
/// When the kernel refuses.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let what = || format!("write {}", path.display());
    if let Some(directory) = path.parent() {
        DirBuilder::new().mode(0o700).recursive(true).create(directory).doing(what)?;
    }
    let draft = path.with_extension(DRAFT);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(&draft).and_then(|mut file| file.write_all(text.as_bytes())).doing(what)?;
    fs::rename(draft, path).doing(what)
}

/// Opens a file of ours. Makes it if there is none, readable by this user only.
pub(in crate::kernel) fn create_private(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(path).doing(|| format!("open {}", path.display()))
}

/// The names of the files in a directory; none if there is no directory.
///
/// # Errors
/// When it cannot be read.
pub fn names_in(path: &Path) -> Result<Vec<String>> {
    let what = || format!("list {}", path.display());
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => {
            let names = entries.doing(what)?.flatten().map(|entry| entry.file_name());
            Ok(names.filter_map(|name| name.into_string().ok()).collect())
        }
    }
}

/// What tells the file or directory at `path` from a later one; none where it cannot be looked at.
pub fn identity_of(path: &Path) -> Option<FileIdentity> {
    let meta = fs::metadata(path).ok()?;
    let born = meta.created().ok().and_then(|born| born.duration_since(SystemTime::UNIX_EPOCH).ok());
    let born = born.and_then(|passed| u64::try_from(passed.as_nanos()).ok());
    Some(FileIdentity { device: meta.dev(), inode: meta.ino(), born })
}

/// Whether there is certainly nothing at `path`.
pub fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// The number of bytes that are free on the file system of `path`; 0 if no further file can be made, and the maximum if
/// the kernel does not know.
pub fn room_beside(path: &Path) -> u64 {
    let Ok(system) = rustix::fs::statvfs(path.parent().unwrap_or(path)) else { return u64::MAX };
    match system {
        // A memory file system without a limit reports no blocks at all.
        _ if system.f_blocks == 0 => u64::MAX,
        _ if system.f_files > 0 && system.f_favail < 4 => 0,
        _ => system.f_bavail.saturating_mul(system.f_frsize),
    }
}

/// The id of this boot, without its dashes (random(4)).
///
/// # Errors
/// When /proc is not mounted.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let id = proc::value(path).doing(|| format!("read {path}"))?;
    Ok(id.replace('-', ""))
}

/// What tells this machine from others, also after a restart (machine-id(5)). Where it has no such file, what tells
/// this boot from others.
///
/// # Errors
/// When a file cannot be read.
pub fn machine_id() -> Result<Vec<u8>> {
    let path = Path::new("/etc/machine-id");
    let id = read_regular(path, 4096)?.map(|text| text.trim_ascii().to_vec());
    match id.filter(|id| id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit)) {
        Some(id) => Ok(id),
        None => Ok(boot_id()?.into_bytes()),
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
    i64::try_from(now).unwrap_or(i64::MAX)
}
