//! Child processes: the few programs of the host that ocinet starts. Each has a deadline, since other processes wait meanwhile for
//! the locks that ocinet holds.
//!
//! A program is in a process group of its own and inherits the locks that [`super::Lock::inherit`] marks. So the whole group
//! must be dead before we go on: a child that it left behind would keep those locks.

use std::fs;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::error::{Doing, Error, Result};

/// Where the few programs we start are looked for, whatever the caller's environment says.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a program may take. Others wait 20 s for a lock that we hold meanwhile, so this is less.
const DEADLINE: Duration = Duration::from_secs(15);

/// After so many seconds a program ends by itself, where we were killed and cannot end it.
const ALARM: u32 = 17;

/// How long a process that was killed may take to end. One that waits for a device does not end before the device answers.
const DYING: Duration = Duration::from_secs(2);

/// The most that a program may print: several times the rules of 20,000 published ports.
const MAX_OUTPUT: usize = 16 << 20;

/// How much of its complaint is kept; the rest is read and dropped.
const MAX_COMPLAINT: usize = 64 << 10;

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// The first line of its complaint.
    pub complaint: String,
    /// What it printed on stderr.
    pub stderr: String,
}

/// Runs a program of the host with an empty environment and `input` on its stdin, and returns its stdout.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let ended = end_of(program, arguments, input)?;
    match ended.code {
        0 => Ok(ended.stdout),
        code => Err(Error::Program(format!(
            "{} failed (exit status {code}): {}",
            line(program, arguments),
            ended.complaint
        ))),
    }
}

/// Runs a program of the host as [`run`] does, whatever its exit code.
///
/// # Errors
/// When it is not installed, cannot be started, was killed, says that all went well before it had read all of its input, prints
/// without end, or takes longer than 15 seconds: then it is killed with all processes of its group.
pub(super) fn end_of(program: &str, arguments: &[&str], input: &str) -> Result<Ended> {
    end_within(DEADLINE, program, arguments, input)
}

/// Whether a program of that name is installed.
pub(super) fn is_installed(program: &str) -> bool {
    find(program).is_some()
}

fn end_within(patience: Duration, program: &str, arguments: &[&str], input: &str) -> Result<Ended> {
    let line = line(program, arguments);
    let Some(path) = find(program) else {
        return Err(Error::Program(format!("program {program} is not installed (looked in {PATH}); install it")));
    };
    let mut running = Running::start(&path, arguments, ALARM).doing(|| format!("run {line}"))?;
    let end = running.serve(input.as_bytes(), patience).doing(|| format!("run {line}"))?;
    match end {
        End::Ended(status) => match status.code() {
            // nft and iptables-restore take a read that fails for the end of their input.
            Some(0) if running.left_input => {
                Err(Error::Program(format!("{line} ended with exit code 0 before it had read its input; try again")))
            }
            Some(code) => Ok(running.told(code)),
            None => {
                let signal = status.signal().unwrap_or_default();
                Err(Error::Program(format!("{line} was killed by signal {signal}; run it by hand to see why")))
            }
        },
        End::TooLate => {
            let seconds = patience.as_secs();
            let left = if running.is_dead()? { "was killed" } else { "cannot be killed" };
            Err(Error::Deadline(format!("{line} did not end within {seconds} s and {left}; run it by hand to see why")))
        }
        End::TooMuch => {
            Err(Error::Program(format!("{line} printed more than {} MiB and was killed", MAX_OUTPUT >> 20)))
        }
    }
}

/// The command line, as messages name it.
fn line(program: &str, arguments: &[&str]) -> String {
    [&[program], arguments].concat().join(" ")
}

fn find(program: &str) -> Option<PathBuf> {
    let is_program =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    PATH.split(':').map(|folder| Path::new(folder).join(program)).find(is_program)
}

/// How the service of a program ended.
enum End {
    /// It ended.
    Ended(ExitStatus),
    /// The deadline came first.
    TooLate,
    /// It printed more than it may.
    TooMuch,
}

/// A program at work. It is killed with its group when this is dropped.
struct Running {
    child: Child,
    /// The leader's number and the group's.
    group: Option<Pid>,
    /// Readable once the leader has ended.
    end: OwnedFd,
    stdin: Option<PipeWriter>,
    /// The program's end of its stdin: what it did not read is still there when it has ended.
    unread: PipeReader,
    /// Whether it ended before it had read all of its input.
    left_input: bool,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    output: Vec<u8>,
    complaint: Vec<u8>,
    /// Until then its number is its own.
    is_reaped: bool,
}

impl Running {
    #[allow(unsafe_code)]
    fn start(path: &Path, arguments: &[&str], alarm: u32) -> io::Result<Self> {
        let mut command = Command::new(path);
        command.args(arguments).env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/").process_group(0);
        let (unread, stdin) = io::pipe()?;
        command.stdin(unread.try_clone()?).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: alarm(2) is safe in a child after fork (signal-safety(7)). It outlasts execve(2).
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
    fn serve(&mut self, mut input: &[u8], patience: Duration) -> io::Result<End> {
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
                // Its number is its own until it is reaped, and so is the group's.
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

    /// Waits until there is something to do. True once the leader has ended.
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

    /// Whether something is left in the pipe that only we have open now.
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
    fn is_dead(&mut self) -> Result<bool> {
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

    fn told(&self, code: i32) -> Ended {
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

/// Kills a program that was not reaped yet, and all of its group that is left.
fn kill(group: Option<Pid>, leader: &mut Child) {
    // Those that are dead already cannot be killed, and none of a host's programs is another user's.
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    let _ = leader.kill();
}

/// Reads once what is there, of which at most `limit` bytes are kept in all. False where nothing is there, or no more is kept.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, input: &str) -> Result<Ended> {
        end_within(Duration::from_secs(10), "sh", &["-c", script], input)
    }

    /// Waits until no process of the group that a program's `output` names is left.
    fn assert_group_ends(output: &str) {
        let group = Pid::from_raw(output.trim().parse().unwrap()).unwrap();
        let since = Instant::now();
        while rustix::process::test_kill_process_group(group).is_ok() {
            assert!(since.elapsed() < Duration::from_secs(10), "group {group:?} is alive");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let file = std::env::temp_dir().join(format!("ocinet-hangs-{}", std::process::id()));
        let script = format!("sleep 60 & echo $$ >{}; wait", file.display());
        let since = Instant::now();
        let error = end_within(Duration::from_millis(500), "sh", &["-c", &script], "").unwrap_err();
        assert!(since.elapsed() < Duration::from_secs(10));
        assert!(
            matches!(&error, Error::Deadline(text) if text.starts_with("sh -c sleep") && text.contains("was killed"))
        );
        assert_group_ends(&fs::read_to_string(&file).unwrap());
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_child_that_a_program_leaves_behind_keeps_nobody_waiting() {
        let since = Instant::now();
        let ended = sh("sleep 60 & echo $$", "").unwrap();
        assert!(ended.code == 0 && since.elapsed() < Duration::from_secs(10));
        assert_group_ends(&ended.stdout);
    }

    #[test]
    fn a_program_may_print_before_it_reads() {
        let (input, script) = ("x".repeat(1 << 20), "head -c 10000000 /dev/zero; wc -c >&2");
        let ended = sh(script, &input).unwrap();
        assert_eq!((ended.code, ended.stdout.len(), ended.complaint.as_str()), (0, 10_000_000, "1048576"));
    }

    #[test]
    fn a_program_may_end_before_it_has_read_all() {
        let ended = sh("exec <&-; echo wrong >&2; exit 3", &"x".repeat(1 << 20)).unwrap();
        assert_eq!((ended.code, ended.complaint.as_str()), (3, "wrong"));
    }

    #[test]
    fn exit_code_0_before_the_end_of_the_input_is_no_answer() {
        for (script, input) in
            [("exec true", "x".repeat(1 << 20)), ("head -c 1 >&2; exit 0", "xy".repeat(3000)), ("true", "x".into())]
        {
            let error = sh(script, &input).unwrap_err().to_string();
            assert!(error.contains("exit code 0 before it had read its input"), "{error}");
        }
        assert_eq!(sh("cat", "xy").unwrap().stdout, "xy");
    }

    #[test]
    fn what_is_printed_without_end_is_refused() {
        let error = sh("cat /dev/zero", "").unwrap_err().to_string();
        assert!(error.starts_with("sh -c cat /dev/zero printed more than 16 MiB"), "{error}");
        // A complaint is cut off instead.
        let ended = sh("head -c 1000000 /dev/zero >&2; exit 1", "").unwrap();
        assert_eq!((ended.code, ended.complaint.len()), (1, MAX_COMPLAINT));
    }

    #[test]
    fn an_end_by_a_signal_is_no_answer() {
        let error = sh("kill -KILL $$", "").unwrap_err().to_string();
        assert!(error.contains("was killed by signal 9"), "{error}");
    }

    #[test]
    fn a_program_that_outlives_us_has_an_alarm() {
        let mut running = Running::start(&find("sleep").unwrap(), &["60"], 1).unwrap();
        let end = running.serve(b"", Duration::from_secs(10)).unwrap();
        assert!(matches!(end, End::Ended(status) if status.signal() == Some(libc::SIGALRM)));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = end_of("ocinet-no-such-program", &[], "").unwrap_err().to_string();
        assert!(error.contains("ocinet-no-such-program is not installed"), "{error}");
        assert!(!is_installed("ocinet-no-such-program") && is_installed("sh"));
    }
}
