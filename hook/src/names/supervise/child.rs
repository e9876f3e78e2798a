//! A worker, as the supervisor sees it.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use ocinet::decide::files::Resolver;
use ocinet::engine::{Error, Result};
use ocinet::kernel;

use crate::link::{self, Lines, Told, WORKS, servers_line};

/// How long a worker may take to leave the sockets to another.
const STOPPING: Duration = Duration::from_secs(2);

/// How often a worker is asked whether it works, and how often in a row it may leave that unanswered.
const ASKED_EVERY: Duration = Duration::from_secs(1);
const UNANSWERED: u32 = 3;

/// Where the host says which name servers it has.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const MAX_BYTES: usize = 64 << 10;

/// A worker.
pub(super) struct Worker {
    pid: Pid,
    /// Readable once it has ended.
    end: OwnedFd,
    told: Lines,
    /// None once it was told to leave the sockets to another.
    heard: Option<PipeWriter>,
    /// How it has ended.
    ended: Option<WaitStatus>,
    /// Whether it has said that it answers.
    pub has_answered: bool,
    /// Whether it has said that no container has a name.
    pub is_idle: bool,
    /// When it was asked last whether it works, and how often it was without saying so.
    asked: Instant,
    unanswered: u32,
    /// What it was told of the host's name servers, and how their file looked then.
    servers: Option<(FileLook, Vec<IpAddr>)>,
    /// Whether their file could not be read at the last look, which was told.
    is_unread: bool,
}

/// The device, the inode and the time of a file, if it is there.
type FileLook = Option<(u64, u64, SystemTime)>;

impl Worker {
    /// The process `pid`, which tells something by `told`, and hears by `heard`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn of(pid: i32, told: PipeReader, heard: PipeWriter) -> io::Result<Self> {
        let end = rustix::process::Pid::from_raw(pid)
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()))?;
        Ok(Self {
            pid: Pid::from_raw(pid),
            end,
            told: Lines::by(told)?,
            heard: Some(heard),
            ended: None,
            has_answered: false,
            is_idle: false,
            asked: Instant::now(),
            unanswered: 0,
            servers: None,
            is_unread: false,
        })
    }

    /// What it has told since, and whether it can tell nothing more.
    pub fn told(&mut self) -> (Vec<Told>, bool) {
        let (lines, is_closed) = self.told.take();
        (lines.iter().filter_map(|line| link::told(line)).collect(), is_closed)
    }

    /// Waits until it says something or ends, at most for `tick`. True in the latter case.
    pub fn wait(&self, tick: Duration) -> Result<bool> {
        let mut ready =
            [PollFd::new(self.end.as_fd(), PollFlags::POLLIN), PollFd::new(self.told.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::try_from(tick).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => Ok(ready[0].any().unwrap_or(false)),
            Err(error) => Err(Error::Kernel(kernel::Error::refused("wait for a worker", error))),
        }
    }

    /// Asks it now and then whether it works. True where it did not say so several times in a row: it was stopped, or does
    /// not come to an end. These times are counted, and not measured: where the host or the control group of both
    /// processes is frozen, no time passes for the worker either.
    pub fn hangs(&mut self) -> bool {
        if self.asked.elapsed() < ASKED_EVERY {
            return false;
        }
        (self.asked, self.unanswered) = (Instant::now(), self.unanswered + 1);
        self.say(WORKS);
        self.unanswered > UNANSWERED
    }

    /// It has said that it works.
    pub fn works(&mut self) {
        self.unanswered = 0;
    }

    /// It has ended where this fails, and that shows.
    fn say(&mut self, line: &str) {
        let _ = self.heard.as_mut().map(|heard| heard.write_all(line.as_bytes()));
    }

    /// Tells it of the host's name servers where their file has changed. Where that cannot be read, it keeps those that
    /// it had, and the reason is returned once.
    pub fn tell_servers(&mut self) -> Option<String> {
        let look = fs::metadata(RESOLV_CONF)
            .ok()
            .map(|meta| (meta.dev(), meta.ino(), meta.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
        if self.servers.as_ref().is_some_and(|(before, _)| *before == look) {
            return None;
        }
        let bytes = match kernel::read_regular(Path::new(RESOLV_CONF), MAX_BYTES) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => {
                // It is read again with the next look, and the reason is told once.
                let is_told = std::mem::replace(&mut self.is_unread, true);
                return (!is_told).then(|| format!("the host's name servers are not followed: {error}"));
            }
        };
        let named = Resolver::parse(&String::from_utf8_lossy(&bytes)).nameservers;
        // As many as the C library asks; a scope names a link, which the C library alone understands.
        let servers: Vec<IpAddr> = named.iter().filter_map(|server| server.parse().ok()).take(3).collect();
        if self.servers.as_ref().is_none_or(|(_, before)| *before != servers) {
            self.say(&servers_line(&servers));
        }
        (self.servers, self.is_unread) = (Some((look, servers)), false);
        None
    }

    /// Has it leave the sockets to another, and waits until it does.
    pub fn stop(&mut self) -> Result<()> {
        self.heard = None;
        let began = Instant::now();
        while began.elapsed() < STOPPING {
            let has_ended = self.wait(Duration::from_millis(100))?;
            let (told, is_closed) = self.told();
            if has_ended || is_closed || told.contains(&Told::Stopped) {
                break;
            }
        }
        Ok(())
    }

    /// Kills it, unless it has ended. How it ended, where that is known.
    pub fn end(mut self) -> Option<WaitStatus> {
        self.reap();
        if self.ended.is_none() {
            let _ = rustix::process::pidfd_send_signal(&self.end, rustix::process::Signal::KILL);
            let _ = waitpid(self.pid, None);
        }
        self.ended
    }

    /// Reaps workers that have ended, also those before this one.
    pub fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG))
            && let Some(pid) = status.pid()
        {
            if pid == self.pid {
                self.ended = Some(status);
            }
        }
    }
}
