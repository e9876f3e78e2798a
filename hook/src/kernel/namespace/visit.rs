//! Work in another namespace.
//!
//! This thread goes into a namespace and comes back: a thread for each visit would take two dozen system calls more.
//! Whether it may come back is tried before it goes: to go into the namespace that it is in takes the same rights. What
//! is left is a short memory, and where the way back fails all the same, the process ends: what it did next, it would
//! do to the container.
//!
//! Where that does not work, a thread goes and ends there.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process;
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{chroot, fchdir};

use crate::kernel::error::{Doing, Error, Result};

/// How often the way back is tried, and how long it waits between: memory may be short for a moment.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// Enough for a few system calls; the default of 2 MiB takes longer to map.
const STACK: usize = 256 << 10;

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
    visit(Kind::Mount, Some(place), work)
}

/// Runs `work` in `place`, or in a new namespace where there is none.
fn visit<T: Send>(kind: Kind, place: Option<BorrowedFd<'_>>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    match Home::rehearsed(kind) {
        Some(home) => {
            enter(kind, place)?;
            let _away = Away(&home);
            work()
        }
        None => apart(kind, place, work),
    }
}

/// The same in a thread that ends there.
fn apart<T: Send>(kind: Kind, place: Option<BorrowedFd<'_>>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let there = || {
        // A thread shares its root and working directory with the others, and setns(2) into a mount namespace refuses
        // that.
        unshare(CloneFlags::CLONE_FS).doing(|| "leave the other threads' working directory".into())?;
        enter(kind, place)?;
        work()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, there);
        let panicked = || Error::refused("work in a namespace", io::Error::other("the thread panicked"));
        thread.doing(|| "start a thread".into())?.join().unwrap_or_else(|_| Err(panicked()))
    })
}

fn enter(kind: Kind, place: Option<BorrowedFd<'_>>) -> Result<()> {
    let name = kind.own().1;
    match place {
        Some(place) => setns(place, kind.flag()).doing(|| format!("enter the container's {name} namespace")),
        None => unshare(kind.flag()).doing(|| format!("make a {name} namespace")),
    }
}

/// The namespace that this thread comes from.
struct Home {
    kind: Kind,
    namespace: OwnedFd,
    directories: Option<Directories>,
}

/// The root and the working directory, which setns(2) into a mount namespace changes. They are not the root of their
/// namespace where the runtime runs in a chroot.
struct Directories {
    root: OwnedFd,
    working: OwnedFd,
}

impl Home {
    /// Comes back without having been away. None where that is not allowed: root of a user namespace may have no right
    /// to come back to the host's, and a process may not be allowed to search its own working directory.
    fn rehearsed(kind: Kind) -> Option<Self> {
        let namespace = File::open(kind.own().0).ok()?.into();
        let directories = match kind {
            Kind::Net | Kind::Uts => None,
            Kind::Mount => Some(Directories::of_this_thread()?),
        };
        // The directories come first: as long as this thread stays, `return_to` can be taken back.
        if let Some(Directories { root, working }) = &directories
            && (return_to(root).is_err() | fchdir(working).is_err())
        {
            return None;
        }
        setns(&namespace, kind.flag()).ok()?;
        let home = Self { kind, namespace, directories };
        home.return_to_directories();
        Some(home)
    }

    /// The working directory is left to be the root where it is lost by now: no path of ours begins there.
    fn return_to_directories(&self) {
        if let Some(Directories { root, working }) = &self.directories {
            self.insist(|| return_to(root));
            let _ = fchdir(working);
        }
    }

    /// Tries `step` of the way back, and ends the process where it fails each time.
    fn insist(&self, step: impl Fn() -> nix::Result<()>) {
        come_back(self.kind.own().1, step);
    }
}

/// This thread is in another namespace, and comes home when this is dropped.
struct Away<'h>(&'h Home);

impl Drop for Away<'_> {
    fn drop(&mut self) {
        let Self(home) = self;
        home.insist(|| setns(&home.namespace, home.kind.flag()));
        home.return_to_directories();
    }
}

impl Directories {
    /// None where one cannot be opened. From now on, no other thread has the same ones: setns(2) refuses that.
    fn of_this_thread() -> Option<Self> {
        unshare(CloneFlags::CLONE_FS).ok()?;
        let open = |path: &str| {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            nix::fcntl::open(path, flags, Mode::empty()).ok()
        };
        Some(Self { root: open("/")?, working: open(".")? })
    }
}

/// Makes `root` the root and the working directory.
fn return_to(root: &OwnedFd) -> nix::Result<()> {
    fchdir(root)?;
    chroot(".")
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
    use std::os::fd::AsFd;

    use super::*;

    /// Into the namespaces that it is in: a test has no right to make others.
    #[test]
    fn a_visit_leaves_this_thread_where_it_was() {
        let own = |kind: Kind| std::fs::read_link(kind.own().0).unwrap();
        let directory = std::env::current_dir().unwrap();
        for kind in [Kind::Net, Kind::Uts, Kind::Mount] {
            let (before, place) = (own(kind), File::open(kind.own().0).unwrap());
            let there = || Ok((own(kind), std::env::current_dir().unwrap()));
            let visited = match kind {
                Kind::Net => network(place.as_fd(), there),
                Kind::Uts => uts(place.as_fd(), there),
                Kind::Mount => mount(place.as_fd(), there),
            };
            match visited {
                Ok((namespace, there)) => {
                    assert_eq!(namespace, before);
                    let expected = if matches!(kind, Kind::Mount) { std::path::Path::new("/") } else { &directory };
                    assert_eq!(there, expected);
                }
                Err(error) => assert_eq!(error.errno(), Some(libc::EPERM), "{error}"),
            }
            assert_eq!((own(kind), std::env::current_dir().unwrap()), (before, directory.clone()));
        }
    }
}
