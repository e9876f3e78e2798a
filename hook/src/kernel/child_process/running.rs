//! A running program.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal::SIGCHLD;
use nix::sys::signal::{SigHandler, signal};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::{Ended, MAX_OUTPUT, PATH};
use crate::kernel::error::{Doing, Result};

/// How long a process that was killed may take to end. One that waits for a device does not end before the device
/// answers.
const DYING: Duration = Duration::from_secs(2);

/// The number of bytes of its stderr that are kept. The rest is read and dropped.
pub(super) const MAX_COMPLAINT: usize = 64 << 10;

/// How [`Running::serve`] ended.
pub(super) enum End {
    /// The program ended.
    Ended(ExitStatus),
    /// The deadline came first.
    TooLate,
    /// It printed more than it may.
    TooMuch,
}

/// A running program. It is killed with its group when this is dropped.
pub(super) struct Running {
    child: Child,
    /// The process group. Its number is the leader's pid.
    group: Option<Pid>,
    /// Readable once the leader has ended.
    end: OwnedFd,
    /// Our end of its stdin, until all input is written.
    stdin: Option<PipeWriter>,
    /// The program's end of its stdin. Input that it did not read can still be read here when it has ended.
    unread: PipeReader,
    /// Whether it ended before it had read all of its input.
    pub left_input: bool,
    /// Our end of its stdout, until the program closes it.
    stdout: Option<ChildStdout>,
    /// Our end of its stderr, until the program closes it.
    stderr: Option<ChildStderr>,
    /// What it printed on stdout so far.
    output: Vec<u8>,
    /// What it printed on stderr so far.
    complaint: Vec<u8>,
    /// Whether the leader was reaped. Its pid can be reused only afterwards.
    is_reaped: bool,
}

impl Running {
    #[allow(unsafe_code)]
    pub fn start(path: &Path, arguments: &[&str], alarm: u32) -> io::Result<Self> {
        let mut command = Command::new(path);
        command.args(arguments).env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/").process_group(0);
        let (unread, stdin) = io::pipe()?;
        command.stdin(unread.try_clone()?).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Who ignores it may have started this process, and then nothing is known of how a child ended (wait(2)).
        // SAFETY: it installs no handler.
        let _ = unsafe { signal(SIGCHLD, SigHandler::SigDfl) };
        // SAFETY: alarm(2) is safe in a child after fork (signal-safety(7)). The alarm outlasts execve(2).
        unsafe {
            command.pre_exec(move || {
                libc::alarm(alarm);
                Ok(())
            })
        };
        let mut child = command.spawn()?;
        let group = Pid::from_raw(child.id().cast_signed());
        let opened = group.ok_or(rustix::io::Errno::SRCH).and_then(|leader| pidfd_open(leader, PidfdFlags::empty()));
        let end = match opened {
            Ok(end) => end,
            Err(error) => {
                kill(group, &mut child);
                child.wait()?;
                return Err(error.into());
            }
        };
        let (stdin, stdout, stderr) = (Some(stdin), child.stdout.take(), child.stderr.take());
        let (output, complaint, left_input, is_reaped) = (Vec::new(), Vec::new(), false, false);
        let running =
            Self { child, group, end, stdin, unread, left_input, stdout, stderr, output, complaint, is_reaped };
        let pipes = [running.stdin.as_ref().map(AsFd::as_fd), running.stdout.as_ref().map(AsFd::as_fd)];
        for pipe in pipes.into_iter().chain([running.stderr.as_ref().map(AsFd::as_fd)]).flatten() {
            fcntl_setfl(pipe, OFlags::NONBLOCK)?;
        }
        Ok(running)
    }

    /// Writes `input` and reads what the program prints until it ends.
    pub fn serve(&mut self, mut input: &[u8], patience: Duration) -> io::Result<End> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.kill();
                return Ok(End::TooLate);
            }
            let has_ended = self.wait(left)?;
            self.feed(&mut input)?;
            read(&mut self.stdout, &mut self.output, MAX_OUTPUT + 1)?;
            read(&mut self.stderr, &mut self.complaint, MAX_COMPLAINT)?;
            if has_ended {
                // The pid and the group's number cannot be reused before the leader is reaped, so this kills no other
                // process.
                self.kill();
                while read(&mut self.stdout, &mut self.output, MAX_OUTPUT + 1)? {}
                while read(&mut self.stderr, &mut self.complaint, MAX_COMPLAINT)? {}
                self.left_input = !input.is_empty() || self.has_unread()?;
            }
            if self.output.len() > MAX_OUTPUT {
                return Ok(End::TooMuch);
            }
            if has_ended {
                return self.reap().map(End::Ended);
            }
        }
    }

    /// Waits until a pipe is ready or the leader has ended. True in the latter case.
    fn wait(&self, patience: Duration) -> io::Result<bool> {
        let mut ready = vec![PollFd::new(self.end.as_fd(), PollFlags::POLLIN)];
        ready.extend(self.stdin.iter().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
        ready.extend(self.stdout.iter().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        ready.extend(self.stderr.iter().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        // Rounded up, or the last millisecond would be spent in a busy loop.
        let timeout = PollTimeout::try_from(patience + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut ready, timeout) {
            Ok(_) => Ok(ready[0].any().unwrap_or(true)),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether input is left in the pipe, of which only this process has the read end open now.
    fn has_unread(&mut self) -> io::Result<bool> {
        fcntl_setfl(&self.unread, OFlags::NONBLOCK)?;
        match self.unread.read(&mut [0]) {
            Ok(count) => Ok(count > 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn feed(&mut self, input: &mut &[u8]) -> io::Result<()> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        while !input.is_empty() {
            match stdin.write(input) {
                Ok(written) => *input = &input[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.stdin = None;
        Ok(())
    }

    fn kill(&mut self) {
        if !self.is_reaped {
            kill(self.group, &mut self.child);
        }
    }

    /// The exit status of the leader, which has ended.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.is_reaped = true;
        self.child.wait()
    }

    /// Whether the leader, which was killed, ends soon.
    pub fn is_dead(&mut self) -> Result<bool> {
        let deadline = Instant::now() + DYING;
        loop {
            (self.stdin, self.stdout, self.stderr) = (None, None, None);
            let left = deadline.saturating_duration_since(Instant::now());
            if self.wait(left).doing(|| "wait for a program that was killed".into())? {
                return Ok(self.reap().is_ok());
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    pub fn told(&self, code: i32) -> Ended {
        let errors = String::from_utf8_lossy(&self.complaint);
        let complaint = errors.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given").to_owned();
        let stdout = String::from_utf8_lossy(&self.output).into_owned();
        Ended { code, stdout, complaint, stderr: errors.into_owned() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.kill();
            let _ = self.is_dead();
        }
    }
}

/// Kills a program that was not reaped yet, and the rest of its group.
fn kill(group: Option<Pid>, leader: &mut Child) {
    // The only errors are that a process is already dead, or belongs to another user, and no program here does.
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    let _ = leader.kill();
}

/// Reads once what is available, keeping at most `limit` bytes in all. False if nothing is available, or no more is
/// kept.
fn read(pipe: &mut Option<impl Read>, into: &mut Vec<u8>, limit: usize) -> io::Result<bool> {
    let Some(source) = pipe else { return Ok(false) };
    let mut chunk = [0; 64 << 10];
    match source.read(&mut chunk) {
        Ok(0) => {
            *pipe = None;
            Ok(false)
        }
        Ok(count) => {
            let kept = count.min(limit.saturating_sub(into.len()));
            into.extend_from_slice(&chunk[..kept]);
            Ok(kept == count)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(error),
    }
}
