//! Work in another namespace, done by this thread, which comes back.
//!
//! A thread for each visit would take two dozen system calls more. Whether this thread may come back is asked before it
//! goes: to go into the namespace that it is in takes the same rights. What is left is a short memory, and where the
//! way back fails all the same, the process ends: what it did next, it would do to the container.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{chroot, fchdir};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::kernel::error::{Doing, Error, Result};

/// How often the way back is tried, and how long it waits between: memory may be short for a moment.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A kind of namespace that is visited.
#[derive(Clone, Copy)]
enum Kind {
    Net,
    Uts,
    Mount,
}

impl Kind {
    fn flag(self) -> CloneFlags {
        match self {
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
            Self::Mount => CloneFlags::CLONE_NEWNS,
        }
    }

    /// The file of this thread's own namespace (namespaces(7)), and the namespace's name.
    fn own(self) -> (&'static str, &'static str) {
        match self {
            Self::Net => ("/proc/thread-self/ns/net", "network"),
            Self::Uts => ("/proc/thread-self/ns/uts", "UTS"),
            Self::Mount => ("/proc/thread-self/ns/mnt", "mount"),
        }
    }
}

/// Runs `work` in the network namespace `place`.
///
/// # Errors
/// Those of `work`, or that the namespace cannot be entered.
pub(super) fn network<T: Send>(place: BorrowedFd<'_>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    visit(Kind::Net, Some(place), work)
}

/// Runs `work` in a new network namespace, which ends with the last descriptor or mount of it that `work` makes.
///
/// # Errors
/// Those of `work`, or that no namespace can be made.
pub(super) fn new_network<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    visit(Kind::Net, None, work)
}

/// Runs `work` in the UTS namespace `place`.
///
/// # Errors
/// Those of `work`, or that the namespace cannot be entered.
pub(super) fn uts<T: Send>(place: BorrowedFd<'_>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    visit(Kind::Uts, Some(place), work)
}

/// Runs `work` in the mount namespace `place`, with the root of that namespace as root and working directory.
///
/// # Errors
/// Those of `work`, or that the namespace cannot be entered.
pub(super) fn mount<T: Send>(place: BorrowedFd<'_>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    // Threads share their root and working directory, and setns(2) into a mount namespace refuses that. For the only
    // thread of a process this does nothing.
    unshare(CloneFlags::CLONE_FS).doing(|| "leave the other threads' working directory".into())?;
    let directories = Directories::open().doing(|| "remember the working directory".into())?;
    let result = visit(Kind::Mount, Some(place), work);
    directories.restore();
    result
}

/// Runs `work` in `place`, or in a new namespace where there is none.
fn visit<T: Send>(kind: Kind, place: Option<BorrowedFd<'_>>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let (own, name) = kind.own();
    let own: OwnedFd = File::open(own).doing(|| format!("open the host's {name} namespace"))?.into();
    match setns(&own, kind.flag()) {
        Ok(()) => {
            enter(kind, place)?;
            let _home = Home { kind, namespace: own };
            work()
        }
        // Root of a user namespace may have no right to come back to the host's namespace. A thread of its own need
        // not.
        Err(Errno::EPERM) => thread::scope(|scope| {
            let there = || {
                // Alone with its root and working directory.
                unshare(CloneFlags::CLONE_FS).doing(|| "leave the other threads' working directory".into())?;
                enter(kind, place)?;
                work()
            };
            let thread = thread::Builder::new().spawn_scoped(scope, there).doing(|| "start a thread".into())?;
            let panicked = || Error::refused("work in a namespace", io::Error::other("the thread panicked"));
            thread.join().unwrap_or_else(|_| Err(panicked()))
        }),
        Err(error) => Err(Error::refused(format!("stay in the host's {name} namespace"), error)),
    }
}

fn enter(kind: Kind, place: Option<BorrowedFd<'_>>) -> Result<()> {
    let name = kind.own().1;
    match place {
        Some(place) => setns(place, kind.flag()).doing(|| format!("enter the container's {name} namespace")),
        None => unshare(kind.flag()).doing(|| format!("make a {name} namespace")),
    }
}

/// The namespace that this thread came from, and returns to when this is dropped.
struct Home {
    kind: Kind,
    namespace: OwnedFd,
}

impl Drop for Home {
    fn drop(&mut self) {
        come_back(self.kind.own().1, || setns(self.namespace.as_fd(), self.kind.flag()));
    }
}

/// The root and the working directory. A change of the mount namespace moves both to the root of the namespace, which
/// is another directory than the root of a chroot (`mntns_install`, fs/namespace.c).
struct Directories {
    root: OwnedFd,
    working: OwnedFd,
}

impl Directories {
    fn open() -> rustix::io::Result<Self> {
        let open = |path| openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Ok(Self { root: open("/")?, working: open(".")? })
    }

    fn restore(&self) {
        come_back("mount", || {
            fchdir(self.root.as_fd())?;
            chroot(".")?;
            fchdir(self.working.as_fd())
        });
    }
}

/// Tries `step` on the way back from a namespace called `name`, and ends the process where it fails each time.
fn come_back(name: &str, step: impl Fn() -> nix::Result<()>) {
    let mut result = step();
    for _ in 1..TRIES {
        if result.is_ok() {
            return;
        }
        thread::sleep(PAUSE);
        result = step();
    }
    if let Err(error) = result {
        eprintln!(
            "ocinet: cannot come back from the container's {name} namespace: {error}; ocinet gc takes away what was begun"
        );
        process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It goes to the same namespaces: a test has no right to make others.
    #[test]
    fn a_visit_leaves_directories_as_they_were() {
        let own = File::open("/proc/thread-self/ns/mnt").unwrap();
        let before = std::env::current_dir().unwrap();
        let root = std::fs::metadata("/").unwrap();
        match mount(own.as_fd(), || Ok(std::env::current_dir().unwrap())) {
            Ok(there) => assert_eq!(there, std::path::Path::new("/")),
            Err(error) => assert_eq!(error.errno(), Some(libc::EPERM), "{error}"),
        }
        assert_eq!(std::env::current_dir().unwrap(), before);
        use std::os::unix::fs::MetadataExt;
        assert_eq!(std::fs::metadata("/").unwrap().ino(), root.ino());
    }
}
