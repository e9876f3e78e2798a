//! Byte-range locks on one file that is never unlinked.
//!
//! They are open file description locks (fcntl_locking(2)): each belongs to the descriptor by which it was taken, not
//! to the process. So threads exclude one another, and a forked child keeps the locks of the descriptors that it
//! inherits. The kernel releases them when their holder ends, also if it is killed. Waiters queue in the kernel.

use std::fmt;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::file::{create_private, names_in};
use super::waits::Waits;
use crate::kernel::error::{Doing, Error, Result};

/// The longest wait for a lock.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a lock protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The right to write to the store.
    Writer,
    /// The firewall: shared while published ports change, exclusive while the ruleset is loaded.
    Firewall,
    /// The wiring of one container. The kernel takes one such change at a time anyway, and a process that writes a
    /// setting of a link would use up a processor until it gets its turn (`restart_syscall`, net/ipv6/addrconf.c).
    Links,
    /// The making of bridges.
    Bridges,
    /// Shared by processes that deleted elements of the firewall a moment ago.
    Deletion,
    /// One sandbox, by its key.
    Sandbox(u32),
    /// The background deletion of one endpoint's link.
    Drain(i64),
    /// The claim to be the resident process of this host.
    Service,
    /// The claim to be the name server of this host.
    Agent,
    /// Shared while a process needs the name server to stay, held alone by one that is about to end.
    AgentNeed,
    /// Held by the name server while it answers in the network namespace of that inode.
    AgentReady(u32),
    /// The definitions of networks, while one is chosen, written or removed.
    Definitions,
    /// The flows of draining endpoints, while they are deleted and the endpoints' rows after them.
    Flows,
    /// All sandboxes and drains at once.
    Containers,
}

impl Place {
    /// The offset of the first byte in the file.
    fn offset(self) -> i64 {
        match self {
            Self::Writer => 0,
            Self::Firewall => 1,
            Self::Bridges => 2,
            Self::Deletion => 3,
            Self::Service => 4,
            Self::Links => 5,
            Self::Definitions => 6,
            Self::Flows => 7,
            Self::Agent => 8,
            Self::AgentNeed => 9,
            Self::AgentReady(inode) => (3 << 32) + i64::from(inode),
            Self::Sandbox(hash) => (1 << 32) + i64::from(hash),
            Self::Drain(number) => (2 << 32) + number,
            Self::Containers => 1 << 32,
        }
    }

    /// How many bytes.
    fn length(self) -> i64 {
        if self == Self::Containers { 2 << 32 } else { 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Writer => "the store",
            Self::Firewall => "the firewall",
            Self::Links => "the links",
            Self::Bridges => "the bridges",
            Self::Deletion => "the settling firewall",
            Self::Sandbox(_) => "this container",
            Self::Drain(_) => "links being deleted",
            Self::Service => "the service",
            Self::Agent => "the name server",
            Self::AgentNeed => "the need of the name server",
            Self::AgentReady(_) => "the answers of the name server",
            Self::Definitions => "the definitions of networks",
            Self::Flows => "the flows of detached containers",
            Self::Containers => "all containers",
        })
    }
}

/// The lock file.
#[derive(Debug, Clone)]
pub struct LockFile {
    path: PathBuf,
    /// Those of all clones.
    waits: Arc<Waits>,
}

/// A lock, held until it is dropped.
#[derive(Debug)]
#[must_use = "a lock is free again as soon as it is dropped"]
pub struct Lock(File);

impl LockFile {
    /// That of a state directory.
    pub fn of(state_dir: &Path) -> Self {
        Self::new(state_dir.join("lock"))
    }

    /// The lock file at `path`. It is made at its first use.
    pub fn new(path: PathBuf) -> Self {
        Self { path, waits: Arc::default() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long this process has waited for locks of this file.
    pub fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Takes the lock alone.
    ///
    /// # Errors
    /// When another holds it for longer than 20 seconds.
    pub fn exclusive(&self, place: Place) -> Result<Lock> {
        self.wait(place, libc::F_WRLCK, PATIENCE)
    }

    /// The same by a descriptor of the lock file of its own.
    pub(super) fn exclusive_by(&self, file: File, place: Place) -> Result<Lock> {
        self.wait_by(file, place, libc::F_WRLCK, PATIENCE)
    }

    /// Opens the lock file.
    pub(super) fn open(&self) -> Result<File> {
        create_private(&self.path)
    }

    /// Takes the lock together with others who share it.
    ///
    /// # Errors
    /// When another holds it alone for longer than 20 seconds.
    pub fn shared(&self, place: Place) -> Result<Lock> {
        self.wait(place, libc::F_RDLCK, PATIENCE)
    }

    /// Waits until no process works on a container, and keeps others from it as long as the lock is held. None where
    /// one works for longer than 20 seconds.
    ///
    /// # Errors
    /// When the file cannot be locked at all.
    pub fn wait_for_containers(&self) -> Result<Option<Lock>> {
        match self.shared(Place::Containers) {
            Ok(lock) => Ok(Some(lock)),
            Err(Error::Deadline(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the lock alone if it is free.
    ///
    /// # Errors
    /// When the file cannot be locked at all.
    pub fn attempt(&self, place: Place) -> Result<Option<Lock>> {
        let file = self.open()?;
        match set(&file, place, libc::F_WRLCK, Wait::No) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(error) => Err(Error::refused(format!("lock {}", self.path.display()), error)),
        }
    }

    /// Takes the lock together with others who share it, if none has it alone, in a process that may only read the file.
    ///
    /// # Errors
    /// When the file cannot be locked at all.
    pub fn attempt_shared(&self, place: Place) -> Result<Option<Lock>> {
        let what = || format!("lock {}", self.path.display());
        let file = File::open(&self.path).doing(what)?;
        match set(&file, place, libc::F_RDLCK, Wait::No) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(error) => Err(Error::refused(what(), error)),
        }
    }

    /// The lock of `place` that this process holds through `file`, which another program handed over to it.
    ///
    /// # Errors
    /// When it does not hold it.
    pub fn taken_over(&self, place: Place, file: OwnedFd) -> Result<Lock> {
        let file = File::from(file);
        match set(&file, place, libc::F_WRLCK, Wait::No) {
            Ok(()) => Ok(Lock(file)),
            Err(error) => Err(Error::refused(format!("take over the lock of {place}"), error)),
        }
    }

    /// Whether a process holds it. It is not taken for that.
    ///
    /// # Errors
    /// When the file cannot be asked. Where there is none, no process holds anything.
    pub fn is_held(&self, place: Place) -> Result<bool> {
        let what = || format!("ask for the locks of {}", self.path.display());
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            file => file.doing(what)?,
        };
        let mut found = range(place, libc::F_WRLCK);
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut found)).map_err(|error| Error::refused(what(), error))?;
        Ok(i32::from(found.l_type) != libc::F_UNLCK)
    }

    fn wait(&self, place: Place, kind: i32, patience: Duration) -> Result<Lock> {
        self.wait_by(self.open()?, place, kind, patience)
    }

    fn wait_by(&self, file: File, place: Place, kind: i32, patience: Duration) -> Result<Lock> {
        let what = || format!("lock {}", self.path.display());
        match set(&file, place, kind, Wait::No) {
            Ok(()) => {
                self.waits.note(place, Duration::ZERO);
                return Ok(Lock(file));
            }
            Err(Errno::EAGAIN | Errno::EACCES) => {}
            Err(error) => return Err(Error::refused(what(), error)),
        }
        let since = Instant::now();
        // A wait in the kernel's queue has no deadline. So a thread waits there, and drops a lock that comes too late.
        let (send, receive) = mpsc::channel();
        let waiter = move || {
            let result = set(&file, place, kind, Wait::Yes);
            let _ = send.send(result.map(|()| Lock(file)));
        };
        let thread = thread::Builder::new().stack_size(64 << 10).spawn(waiter).doing(what)?;
        let waited = receive.recv_timeout(patience);
        self.waits.note(place, since.elapsed());
        let lock = waited.map_err(|_| {
            let (path, seconds) = (self.path.display(), patience.as_secs());
            let holder = match holders(&self.path, place.offset()).as_slice() {
                [] => "a process that cannot be seen from here holds it".to_owned(),
                [one] => format!("{one} holds it; wait for it, or stop it"),
                many => format!("{} hold it; wait for them, or stop them", many.join(" and ")),
            };
            Error::Deadline(format!("waited {seconds} s for the lock of {place} ({path}): {holder}"))
        })?;
        let _ = thread.join();
        lock.doing(what)
    }
}

impl Lock {
    /// Makes the programs that this process starts from now on hold the lock too, each until its end. Their work needs
    /// it even if this process is killed meanwhile.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn inherit(&self) -> Result<()> {
        fcntl(&self.0, FcntlArg::F_SETFD(FdFlag::empty())).map(drop).doing(|| "let programs inherit a lock".into())
    }

    /// Releases the lock for all processes that share it, before its descriptors are closed.
    pub fn release(&self) {
        let range = libc::flock {
            l_type: libc::F_UNLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        // Releasing cannot fail for a valid descriptor (fcntl_locking(2)).
        let _ = fcntl(&self.0, FcntlArg::F_OFD_SETLK(&range));
    }
}

impl Lock {
    /// The lock file, opened for this lock.
    pub(super) fn file(&self) -> &File {
        &self.0
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

enum Wait {
    No,
    Yes,
}

fn range(place: Place, kind: i32) -> libc::flock {
    let (l_start, l_len) = (place.offset(), place.length());
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start, l_len, l_pid: 0 }
}

fn set(file: &File, place: Place, kind: i32, wait: Wait) -> nix::Result<()> {
    let range = range(place, kind);
    loop {
        let result = match wait {
            Wait::No => fcntl(file, FcntlArg::F_OFD_SETLK(&range)),
            Wait::Yes => fcntl(file, FcntlArg::F_OFD_SETLKW(&range)),
        };
        match result {
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// The processes that hold the byte `at` of the file at `path`, by name and pid. The kernel gives no owner of an open
/// file description lock (`l_pid` is -1), but lists for each descriptor what is locked through it (proc_pid_fdinfo(5)).
pub(in crate::kernel) fn holders(path: &Path, at: i64) -> Vec<String> {
    let Ok(ours) = fs::metadata(path).map(|meta| (meta.dev(), meta.ino())) else { return Vec::new() };
    let is_lock_file = |link: &Path| fs::metadata(link).is_ok_and(|meta| (meta.dev(), meta.ino()) == ours);
    let mut holders = Vec::new();
    for pid in names_in(Path::new("/proc")).unwrap_or_default().iter().filter(|name| name.parse::<u32>().is_ok()) {
        let process = Path::new("/proc").join(pid);
        let descriptors = names_in(&process.join("fd")).unwrap_or_default();
        let holds = |fd: &String| {
            is_lock_file(&process.join("fd").join(fd))
                && fs::read_to_string(process.join("fdinfo").join(fd)).is_ok_and(|text| locks_byte(&text, at))
        };
        if descriptors.iter().any(holds) {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            holders.push(format!("process {pid} ({})", name.trim()));
        }
    }
    holders
}

/// Whether an fdinfo has a line `lock: 1: OFDLCK ADVISORY WRITE -1 00:19:1234 FIRST LAST` with a range that includes
/// the byte `at`.
fn locks_byte(fdinfo: &str, at: i64) -> bool {
    fdinfo.lines().filter_map(|line| line.strip_prefix("lock:")).any(|line| {
        let mut range = line.split_whitespace().rev().take(2).map(|end| end.parse().unwrap_or(i64::MAX));
        let (last, first) = (range.next(), range.next());
        first.zip(last).is_some_and(|(first, last)| (first..=last).contains(&at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_exclude_only_themselves() {
        let path = std::env::temp_dir().join(format!("ocinet-lock-{}", std::process::id()));
        let file = LockFile::new(path.clone());
        assert!(!file.is_held(Place::Sandbox(7)).unwrap());
        let held = file.exclusive(Place::Sandbox(7)).unwrap();
        assert!(file.is_held(Place::Sandbox(7)).unwrap() && !file.is_held(Place::Drain(7)).unwrap());
        assert!(file.attempt(Place::Sandbox(7)).unwrap().is_none());
        assert!(file.attempt(Place::Drain(7)).unwrap().is_some());
        let waiter = thread::spawn({
            let file = file.clone();
            move || file.exclusive(Place::Sandbox(7)).map(drop)
        });
        thread::sleep(Duration::from_millis(20));
        drop(held);
        waiter.join().unwrap().unwrap();
        let waits: Vec<_> = file.waits().by_lock().collect();
        assert!(matches!(&waits[..], [("sandbox", waited)] if *waited > Duration::ZERO), "{waits:?}");
        let shared = (file.shared(Place::Firewall).unwrap(), file.shared(Place::Firewall).unwrap());
        assert!(file.attempt(Place::Firewall).unwrap().is_none());
        drop(shared);
        for place in [Place::Sandbox(0), Place::Sandbox(u32::MAX), Place::Drain(1), Place::Drain(u32::MAX.into())] {
            let one = file.exclusive(place).unwrap();
            assert!(file.attempt(Place::Containers).unwrap().is_none(), "{place:?}");
            drop(one);
            let all = file.wait_for_containers().unwrap().unwrap();
            assert!(file.attempt(place).unwrap().is_none() && file.attempt(Place::Writer).unwrap().is_some());
            drop(all);
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_wait_that_ends_names_the_holder() {
        let path = std::env::temp_dir().join(format!("ocinet-holder-{}", std::process::id()));
        let file = LockFile::new(path.clone());
        let _held = file.exclusive(Place::Writer).unwrap();
        let error = file.wait(Place::Writer, libc::F_WRLCK, Duration::from_millis(10)).unwrap_err().to_string();
        let us = format!("process {} (", std::process::id());
        assert!(error.contains("lock of the store") && error.contains(&us), "{error}");
        assert!(holders(&path, Place::Firewall.offset()).is_empty());
        std::fs::remove_file(path).unwrap();
    }
}
