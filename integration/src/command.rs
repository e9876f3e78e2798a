//! Running programs: to their end, or in the background.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Place;

/// The same as the deadline of [`crate::eventually`].
const PATIENCE_MS: u16 = 30_000;

/// The result of a program that has ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
    /// Its output.
    pub stdout: String,
    /// Its messages.
    pub stderr: String,
}

impl Output {
    /// Runs `command` to its end with `input` on stdin. A program that does not read all of it is no error here.
    pub fn of(command: &mut Command, input: &[u8]) -> Result<Self> {
        let line = describe(command);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.as_mut().map_err(|error| anyhow::anyhow!("{line}: {error}"))?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(mut out), Some(mut err)) = pipes else { bail!("{line}: no pipes") };
        thread::scope(|scope| -> Result<()> {
            scope.spawn(|| err.read_to_end(&mut stderr));
            scope.spawn(move || match stdin.write_all(input) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => eprintln!("writing stdin: {error}"),
                _ => {}
            });
            out.read_to_end(&mut stdout)?;
            Ok(())
        })?;
        let code = child.wait()?.code().unwrap_or(-1);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Self { command: line, code, stdout: text(stdout), stderr: text(stderr) })
    }

    /// Its stdout if it exited with 0, else an error that shows all of the output.
    pub fn success(self) -> Result<String> {
        Ok(self.exits(0)?.stdout)
    }

    /// `self` if it exited with `code`.
    pub fn exits(self, code: i32) -> Result<Self> {
        ensure!(self.code == code, "expected exit code {code}:\n{self}");
        Ok(self)
    }

    /// `self` if it is a refusal: exit code 2, 3 or 4, one line on stderr that begins with `ocinet: `, and nothing on
    /// stdout.
    pub fn is_refusal(self) -> Result<Self> {
        ensure!((2..=4).contains(&self.code), "expected exit code 2, 3 or 4:\n{self}");
        ensure!(self.stdout.is_empty(), "expected nothing on stdout:\n{self}");
        self.is_one_line()
    }

    /// `self` if stderr is one line that begins with `ocinet: `.
    pub fn is_one_line(self) -> Result<Self> {
        let one = self.stderr.starts_with("ocinet: ") && self.stderr.lines().count() == 1;
        ensure!(one, "expected one line from ocinet on stderr:\n{self}");
        Ok(self)
    }

    /// `self` if stderr contains each of `words` as a whole word: `id` is not in `invalid`.
    pub fn says(self, words: &[&str]) -> Result<Self> {
        for word in words {
            let ends = |text: &str| !text.ends_with(char::is_alphanumeric);
            let begins = |text: &str| !text.starts_with(char::is_alphanumeric);
            let whole = |(at, _)| ends(&self.stderr[..at]) && begins(&self.stderr[at + word.len()..]);
            ensure!(self.stderr.match_indices(word).any(whole), "expected {word:?} on stderr:\n{self}");
        }
        Ok(self)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, code, stdout, stderr } = self;
        write!(f, "  {command}\n  exit code {code}\n  stdout: {stdout}\n  stderr: {stderr}")
    }
}

/// A program running in the background. It is killed when this is dropped, and at the latest at the end of its host.
#[derive(Debug)]
pub struct Background {
    /// Where it runs.
    place: Place,
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Its pid as the test sees it.
    pid: u32,
}

impl Background {
    /// Starts `argv` in `place`.
    pub(crate) fn start(place: &Place, argv: &[&str]) -> Result<Self> {
        let mut command = place.enter();
        command.args(["sh", "-c", r#"echo $$; exec "$@""#, "sh"]).args(argv);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let mut program = Self { place: place.clone(), child, stdout, pid: 0 };
        program.pid = program.line()?.parse().with_context(|| format!("starting {argv:?}"))?;
        Ok(program)
    }

    /// Its process id, as seen on its host.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether a line of its output can be read without waiting.
    pub fn has_said(&self) -> Result<bool> {
        let mut pipe = [PollFd::new(self.stdout.get_ref().as_fd(), PollFlags::POLLIN)];
        Ok(!self.stdout.buffer().is_empty() || poll(&mut pipe, PollTimeout::ZERO)? > 0)
    }

    /// The next line that it prints. Waits for it up to the usual deadline.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.buffer().is_empty() {
            let mut pipe = [PollFd::new(self.stdout.get_ref().as_fd(), PollFlags::POLLIN)];
            ensure!(poll(&mut pipe, PATIENCE_MS)? > 0, "in vain we waited for a line of process {}", self.pid);
        }
        ensure!(self.stdout.read_line(&mut line)? > 0, "process {} has ended", self.pid);
        Ok(line.trim_end().to_owned())
    }

    /// Kills it and waits for its end.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            self.place.sh(&format!("kill -KILL {} 2>/dev/null || true", self.pid))?;
        }
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("killing process {}: {error:#}", self.pid);
        }
    }
}

/// The command line as a person would type it, without the `nsenter` before it.
fn describe(command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let start = words.iter().position(|word| word == "--").map_or(0, |position| position + 1);
    words[start..].join(" ")
}
