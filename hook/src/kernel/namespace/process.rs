use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::unistd::{ForkResult, chdir, fork, getppid, setsid};

use rustix::fs::{Mode, OFlags};

use super::netns::Netns;
use super::running::Stat;
use crate::kernel::error::{Doing, Error, Result};

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

/// A process and its namespaces. All are opened by way of its directory in /proc, which leads to no later process of its
/// pid.
pub struct Process {
    /// Its directory in /proc.
    directory: OwnedFd,
    /// Its mount namespace.
    pub mnt: OwnedFd,
    /// Its UTS namespace.
    pub uts: OwnedFd,
    /// Its root directory, in its mount namespace: paths of the process and of its parent are valid from there.
    pub root: OwnedFd,
    /// When it started, see [`process_start`].
    pub started: u64,
}

impl Process {
    /// Opens the process `pid`.
    ///
    /// # Errors
    /// When the process is gone, or ends meanwhile.
    pub fn open(pid: i32) -> Result<Self> {
        let place = format!("/proc/{pid}");
        let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&place, path, Mode::empty()).doing(|| format!("find process {pid}"))?;
        let open = |name: &str, flags| {
            rustix::fs::openat(&directory, name, flags, Mode::empty()).doing(|| format!("open {place}/{name}"))
        };
        let (mnt, uts) = (open("ns/mnt", READ)?, open("ns/uts", READ)?);
        let what = || format!("read the start time of process {pid}");
        let stat = Stat::of(open("stat", READ)?.into()).doing(what)?;
        let started = stat.started().ok_or(Errno::EINVAL).doing(what)?;
        let root = open("root", path)?;
        Ok(Self { directory, mnt, uts, root, started })
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn net(&self) -> Result<Netns> {
        let opened = rustix::fs::openat(&self.directory, "ns/net", READ, Mode::empty());
        opened.map(Netns::from).doing(|| "open the network namespace of a process".into())
    }

    /// Whether it has a mount namespace of its own, so that no other process sees mounts in it.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn has_own_mounts(&self) -> Result<bool> {
        differs(&self.mnt, "mnt")
    }

    /// Whether it has a UTS namespace, and so a host name, of its own.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn has_own_hostname(&self) -> Result<bool> {
        differs(&self.uts, "uts")
    }
}

/// Whether a namespace differs from this process's.
fn differs(namespace: &OwnedFd, kind: &str) -> Result<bool> {
    let path = format!("/proc/self/ns/{kind}");
    let what = || format!("look at {path}");
    let (theirs, ours) = (rustix::fs::fstat(namespace).doing(what)?, fs::metadata(&path).doing(what)?);
    Ok((theirs.st_dev, theirs.st_ino) != (ours.dev(), ours.ino()))
}

/// The command line of this process's nearest ancestor with the name `name`; none if no such ancestor can be seen.
pub fn ancestor(name: &str) -> Option<Vec<String>> {
    called(name, getppid().as_raw())
}

/// The same for the process `pid`. A process can choose its own name.
pub fn ancestor_of(pid: i32, name: &str) -> Option<Vec<String>> {
    called(name, Stat::read(pid).ok()?.field(4)?)
}

/// The command line of the first process with the name `name`, beginning at `pid` and going on to its ancestors.
fn called(name: &str, mut pid: i32) -> Option<Vec<String>> {
    // A process that ends meanwhile ends the search.
    loop {
        let stat = Stat::read(pid).ok()?;
        if stat.name() == name {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
            return Some(words.collect());
        }
        pid = stat.field(4)?;
    }
}

/// The absolute path of this program's file.
///
/// # Errors
/// When the file is gone, or its name is not UTF-8, so that a runtime could not start it by that name.
pub fn own_program() -> Result<String> {
    let what = || "find the file of this program".to_owned();
    let path = std::env::current_exe().and_then(|path| path.canonicalize()).doing(what)?;
    path.into_os_string().into_string().map_err(|_| Error::refused(what(), Errno::EILSEQ))
}

/// Runs `work` in a child process that outlives this one. It keeps only the descriptors `keep`: neither its standard
/// streams, whose end a runtime waits for, nor its directory, session or other descriptors.
///
/// For short-lived processes with one thread only; the child ends with `work`.
///
/// Returns its pid, or none if there are other threads: then nothing was done.
///
/// # Errors
/// When no process can be made.
#[allow(unsafe_code)]
pub fn in_background(keep: &[BorrowedFd<'_>], work: impl FnOnce()) -> Result<Option<i32>> {
    if !is_single_threaded() {
        return Ok(None);
    }
    // SAFETY: there is one thread, checked above, so the child finds every lock of the allocator and of libraries free.
    match unsafe { fork() }.doing(|| "fork".into())? {
        ForkResult::Parent { child } => Ok(Some(child.as_raw())),
        ForkResult::Child => {
            let mut keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
            keep.sort_unstable();
            if let_go(&keep).is_ok() {
                work();
            }
            // SAFETY: `_exit` runs no destructor. What the parent owns, the parent closes.
            unsafe { libc::_exit(0) }
        }
    }
}

/// A joined thread may still be listed for a moment, so this looks several times. A directory counts as linked to by
/// its two own names and by each directory in it, and there is one for each thread (`proc_task_getattr`, fs/proc/base.c).
fn is_single_threaded() -> bool {
    (0..20).any(|_| {
        let alone = fs::metadata("/proc/self/task").is_ok_and(|threads| threads.nlink() == 3);
        if !alone {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        alone
    })
}

#[allow(unsafe_code)]
fn let_go(keep: &[RawFd]) -> nix::Result<()> {
    let _ = setsid();
    chdir("/")?;
    let mut next: libc::c_uint = 3;
    for fd in keep.iter().map(|fd| fd.cast_unsigned()).chain([libc::c_uint::MAX]) {
        if next < fd {
            // SAFETY: the closed descriptors belong to objects of the parent that this process never uses again.
            unsafe { libc::syscall(libc::SYS_close_range, next, fd - 1, 0) };
        }
        next = fd.saturating_add(1);
    }
    close_streams()
}

/// Has /dev/null in the place of the standard streams.
#[allow(unsafe_code)]
pub(in crate::kernel) fn close_streams() -> nix::Result<()> {
    let null = fs::File::options().read(true).write(true).open("/dev/null").map_err(|_| Errno::ENOENT)?;
    for stream in 0..3 {
        // SAFETY: dup2 onto a standard stream; nothing in this process owns 0, 1 or 2.
        Errno::result(unsafe { libc::dup2(null.as_raw_fd(), stream) })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_are_found_by_name() {
        let parent = Stat::read(getppid().as_raw()).unwrap();
        assert!(!ancestor(parent.name()).unwrap().is_empty());
        assert_eq!(ancestor("no such name"), None);
        assert_eq!(Stat("7 (a (b) c) S 1 7".to_owned()).name(), "a (b) c");
    }
}
