//! What a process that stays does with what its starter left it, and how it hands what it holds to another program that
//! takes its place.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::sys::stat::{Mode, umask};
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::error::{Doing, Error, Result};
use super::namespace::close_streams;

/// As many descriptors as the name server uses at most, and some more.
const DESCRIPTORS: u64 = 4096;

/// Resets what survives execve(2) and the entry into another mount namespace: the standard streams, the signals that are
/// blocked or ignored, the limits, the mode of new files, and how much of which processors it gets. What may not be reset
/// stays: a limit that is too low shows when it is met. Whether the starter's filter of system calls (seccomp(2)) is on
/// this process, which cannot be taken off again.
pub fn reset_inherited() -> bool {
    reset_scheduling();
    // Those of the last mount namespace stay where this one has no /dev/null.
    let _ = close_streams();
    for number in
        Signal::iterator().filter(|number| !matches!(number, Signal::SIGKILL | Signal::SIGSTOP | Signal::SIGPIPE))
    {
        // SAFETY: it installs no handler.
        #[allow(unsafe_code)]
        let _ = unsafe { signal(number, SigHandler::SigDfl) };
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    let _ = umask(Mode::from_bits_truncate(0o077));
    set_limit(Resource::RLIMIT_NOFILE, DESCRIPTORS);
    set_limit(Resource::RLIMIT_CORE, 0);
    for limit in [
        Resource::RLIMIT_AS,
        Resource::RLIMIT_CPU,
        Resource::RLIMIT_DATA,
        Resource::RLIMIT_FSIZE,
        Resource::RLIMIT_NPROC,
        Resource::RLIMIT_MEMLOCK,
    ] {
        set_limit(limit, RLIM_INFINITY);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() != "0"))
}

/// Sets a limit, or what comes nearest: only who has CAP_SYS_RESOURCE may go over the hard limit.
fn set_limit(resource: Resource, limit: u64) {
    if setrlimit(resource, limit, limit).is_err()
        && let Ok((_, hard)) = getrlimit(resource)
    {
        let _ = setrlimit(resource, hard, hard);
    }
}

/// An ordinary process, on every processor of its control group.
fn reset_scheduling() {
    let ordinary = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads the parameter, which is alive; 0 is this thread, the only one.
    #[allow(unsafe_code)]
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary) };
    let _ = setpriority_process(None, 0);
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|processor| all.set(processor));
    let _ = sched_setaffinity(None, &all);
}

/// Runs the program at `path` in the place of this one, with `descriptors` open. Their numbers, which
/// [`take_over`] reads, come after `arguments`, joined by commas. Returns only where that failed.
pub fn hand_over(path: &Path, arguments: &[&OsStr], descriptors: &[BorrowedFd<'_>]) -> Error {
    let keep = |descriptor: &BorrowedFd<'_>, flags| fcntl(descriptor, FcntlArg::F_SETFD(flags));
    let numbers: Vec<String> = descriptors.iter().map(|one| one.as_raw_fd().to_string()).collect();
    let kept: nix::Result<Vec<_>> = descriptors.iter().map(|one| keep(one, FdFlag::empty())).collect();
    let error = match kept {
        Ok(_) => Command::new(path).args(arguments).arg(numbers.join(",")).env_clear().exec(),
        Err(error) => error.into(),
    };
    for descriptor in descriptors {
        let _ = keep(descriptor, FdFlag::FD_CLOEXEC);
    }
    Error::refused(format!("run {}", path.display()), error)
}

/// The descriptors that another program handed over, by the numbers that it gave. Call it once, before others are
/// opened.
///
/// # Errors
/// When one of them is not open, is a standard stream, or is named twice.
pub fn take_over(numbers: &str) -> Result<Vec<OwnedFd>> {
    let what = || format!("take over descriptors {numbers}");
    let numbers: Vec<RawFd> = numbers
        .split(',')
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| Error::refused(what(), io::Error::from(io::ErrorKind::InvalidInput)))?;
    let mut once = numbers.clone();
    once.sort_unstable();
    once.dedup();
    if once.len() != numbers.len() || once.first().is_some_and(|lowest| *lowest < 3) {
        return Err(Error::refused(what(), io::Error::from(io::ErrorKind::InvalidInput)));
    }
    let own = |number: RawFd| -> io::Result<OwnedFd> {
        // SAFETY: it asks for the flags of a descriptor, and a closed one is an answer.
        #[allow(unsafe_code)]
        let flags = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        if flags < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is open, and named once; the program that left it open is gone, and nothing here has it.
        #[allow(unsafe_code)]
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    numbers.into_iter().map(own).collect::<io::Result<_>>().doing(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_descriptors_that_are_open_are_taken_over() {
        for wrong in ["", "3,x", "2", "-1", "3,3", "987654"] {
            assert!(take_over(wrong).is_err(), "{wrong}");
        }
    }
}
