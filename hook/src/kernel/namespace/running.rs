//! Whether a process that was recorded still runs, and where its record means something.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::proc;

/// The namespaces in which pids and paths are recorded, as inode numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces {
    /// The pid namespace.
    pub pid_ns: u64,
    /// The mount namespace.
    pub mnt_ns: u64,
}

/// Where this process sees namespaces and processes from. It looks when it is first asked: a detach need not know.
#[derive(Debug, Default)]
pub struct Origin(OnceLock<Namespaces>);

impl Origin {
    /// The namespaces of this process.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn here(&self) -> Result<Namespaces> {
        if let Some(known) = self.0.get() {
            return Ok(*known);
        }
        let inode = |path: &str| fs::metadata(path).map(|meta| meta.ino()).doing(|| format!("look at {path}"));
        let seen = Namespaces { pid_ns: inode("/proc/self/ns/pid")?, mnt_ns: inode("/proc/self/ns/mnt")? };
        Ok(*self.0.get_or_init(|| seen))
    }
}

/// When the process `pid` started, in clock ticks since boot (proc_pid_stat(5), field 22).
///
/// # Errors
/// When there is no such process.
pub fn process_start(pid: i32) -> Result<u64> {
    let what = || format!("read the start time of process {pid}");
    let stat = Stat::read(pid).doing(what)?;
    stat.started().ok_or_else(|| Error::refused(what(), Errno::EINVAL))
}

/// The state of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    /// It runs.
    Yes,
    /// Proved: no process has its pid, or it has ended, or another process has its pid.
    No,
    /// A process of its pid started at another time, but this process is in a time namespace that shifts start times
    /// (time_namespaces(7)), so it may be the same one.
    Other,
}

/// Whether the process `pid` that started at `started` runs.
///
/// # Errors
/// When that is unknown: without the right to look, without descriptors, or with the /proc of another pid namespace.
pub(super) fn running(pid: i32, started: u64) -> Result<Running> {
    let what = || format!("look for process {pid}");
    let Some(number) = (pid > 0).then(|| Pid::from_raw(pid)).flatten() else { return Ok(Running::No) };
    let process = match pidfd_open(number, PidfdFlags::empty()) {
        // The pid is that of a thread of another process (pidfd_open(2) gives EINVAL, and ENOENT since Linux 6.9).
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {
            return Ok(Running::No);
        }
        opened => opened.doing(what)?,
    };
    // A /proc of another pid namespace would describe another process.
    let own = fs::read_link("/proc/self").doing(what)?;
    if own != Path::new(&std::process::id().to_string()) {
        return Err(Error::refused(what(), std::io::Error::other("/proc is of another pid namespace")));
    }
    let start = process_start(pid);
    let mut ended = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ended, PollTimeout::ZERO).doing(what)? > 0 {
        return Ok(Running::No);
    }
    match start? == started {
        true => Ok(Running::Yes),
        false if is_time_shifted().doing(what)? => Ok(Running::Other),
        false => Ok(Running::No),
    }
}

/// Whether this process is in another time namespace than the initial one (`PROC_TIME_INIT_INO`,
/// include/linux/proc_ns.h).
fn is_time_shifted() -> std::io::Result<bool> {
    match fs::read_link("/proc/self/ns/time") {
        // A kernel without time namespaces.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        link => Ok(link? != Path::new("time:[4026531834]")),
    }
}

/// The text of proc_pid_stat(5) for a process.
pub(super) struct Stat(pub String);

impl Stat {
    /// A process can give itself a name that is no UTF-8 (prctl(2), `PR_SET_NAME`).
    pub fn read(pid: i32) -> std::io::Result<Self> {
        Self::of(fs::File::open(format!("/proc/{pid}/stat"))?)
    }

    /// That of an open file.
    pub fn of(file: fs::File) -> std::io::Result<Self> {
        Ok(Self(String::from_utf8_lossy(&proc::read_line(file)?).into_owned()))
    }

    /// When the process started.
    pub fn started(&self) -> Option<u64> {
        self.field(22)
    }

    pub fn name(&self) -> &str {
        let from_name = self.0.split_once('(').map_or("", |(_, rest)| rest);
        from_name.rsplit_once(')').map_or("", |(name, _)| name)
    }

    /// A field from the third on. The second field, the name, may hold any characters, parentheses and spaces included.
    pub fn field<T: std::str::FromStr>(&self, number: usize) -> Option<T> {
        let fields = self.0.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_ascii_whitespace().nth(number - 3)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_tells_processes_apart() {
        let own = process_start(std::process::id().cast_signed()).unwrap();
        assert!(own > process_start(1).unwrap());
        assert!(process_start(-1).is_err());
    }

    #[test]
    fn only_what_is_proved_to_have_ended_is_not_running() {
        let own = std::process::id().cast_signed();
        let started = process_start(own).unwrap();
        assert_eq!(running(own, started).unwrap(), Running::Yes);
        assert_eq!(running(own, started + 1).unwrap(), Running::No, "the number is another's");
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().cast_signed();
        let started = process_start(pid).unwrap();
        assert_eq!(running(pid, started).unwrap(), Running::Yes);
        child.kill().unwrap();
        // Dead, but not reaped: its pid still exists.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while running(pid, started).unwrap() == Running::Yes {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(running(pid, started).unwrap(), Running::No);
        assert_eq!([0, -1].map(|pid| running(pid, 0).unwrap()), [Running::No; 2]);
    }
}
