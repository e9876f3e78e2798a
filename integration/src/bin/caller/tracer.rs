//! Follows a program through every system call of all its threads and children, and kills it at one.
//!
//! strace could kill too (`inject=NAME:signal=KILL:when=N`), but it cannot be told which thread it shall count for:
//! the first to get that far dies, which is nearly always the main one, and the calls of the others would never be
//! tried. Here a point is a tracee, in the order of birth, and the number of its call. The kill comes before the call
//! does anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc::{PTRACE_EVENT_EXEC, PTRACE_EVENT_EXIT, PTRACE_SYSCALL_INFO_ENTRY};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What became of a program that was followed.
#[derive(Default)]
pub(crate) struct Followed {
    /// The numbers of the system calls of each tracee, in the order of birth; the first is the program itself.
    pub tracees: Vec<Vec<u64>>,
    /// Whether the kill happened.
    pub killed: bool,
    /// The exit code.
    pub code: i32,
}

/// A program under observation.
struct Tracer {
    main: Pid,
    /// Whether the program runs yet, and not the shell that waits for us, and which we may see starting.
    running: bool,
    target: Option<(usize, usize)>,
    order: BTreeMap<Pid, usize>,
    /// The processes that are there, and their threads.
    alive: BTreeSet<Pid>,
    victim: Option<Pid>,
    followed: Followed,
}

/// Follows a program to its end, or until it is dead at the `target`: the call of that number (the first is 0) of the
/// tracee of that number. What it leaves running then goes on without us.
pub(crate) fn follow(program: &[&str], input: &[u8], target: Option<(usize, usize)>) -> Result<Followed> {
    let mut child = crate::start(program)?;
    let main = Pid::from_raw(child.id().cast_signed());
    let family = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    ptrace::seize(main, family | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACESYSGOOD).context("seize")?;
    crate::release(&mut child, input)?;
    let (order, alive) = (BTreeMap::from([(main, 0)]), BTreeSet::from([main]));
    let followed = Followed { tracees: vec![Vec::new()], ..Followed::default() };
    let mut tracer = Tracer { main, running: false, target, order, alive, victim: None, followed };
    while !tracer.is_done() {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Err(Errno::ECHILD) => break,
            status => tracer.handle(status?)?,
        }
    }
    Ok(tracer.followed)
}

impl Tracer {
    /// A runtime waits for the program; nobody waits for its children.
    fn is_done(&self) -> bool {
        self.followed.killed && !self.alive.contains(&self.main)
    }

    fn handle(&mut self, status: WaitStatus) -> Result<()> {
        match status {
            WaitStatus::Exited(pid, code) => self.ended(pid, code),
            WaitStatus::Signaled(pid, _, _) => self.ended(pid, -1),
            WaitStatus::PtraceSyscall(pid) => {
                self.called(pid)?;
                self.resume(pid, None)?;
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                self.running |= event == PTRACE_EVENT_EXEC && field(pid, "Name")? != "sh";
                self.know(pid);
                self.resume(pid, None)?;
            }
            WaitStatus::Stopped(pid, signal) => {
                self.know(pid);
                self.resume(pid, Some(signal))?;
            }
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
        Ok(())
    }

    fn ended(&mut self, pid: Pid, code: i32) {
        self.alive.remove(&pid);
        if pid == self.main {
            self.followed.code = code;
        }
        self.followed.killed |= self.victim == Some(pid);
    }

    /// Threads and children are born stopped, and this stop is where we first see them.
    fn know(&mut self, pid: Pid) {
        self.alive.insert(pid);
        self.order.entry(pid).or_insert_with(|| {
            self.followed.tracees.push(Vec::new());
            self.followed.tracees.len() - 1
        });
    }

    /// A stop at a system call: notes it on its way in, and kills where it is the target.
    fn called(&mut self, pid: Pid) -> Result<()> {
        let info = match ptrace::syscall_info(pid) {
            Err(Errno::ESRCH) => return Ok(()),
            info => info?,
        };
        if !self.running || self.victim.is_some() || info.op != PTRACE_SYSCALL_INFO_ENTRY {
            return Ok(());
        }
        self.know(pid);
        let tracee = self.order[&pid];
        let calls = &mut self.followed.tracees[tracee];
        calls.push(number_of_call(pid).unwrap_or_default());
        if self.target == Some((tracee, calls.len() - 1)) {
            let process = process_of(pid)?;
            kill(process, Signal::SIGKILL).context("kill")?;
            self.victim = Some(process);
        }
        Ok(())
    }

    fn resume(&self, pid: Pid, signal: Option<Signal>) -> Result<()> {
        let resumed = match self.victim {
            Some(_) => ptrace::cont(pid, signal),
            None => ptrace::syscall(pid, signal),
        };
        // It may have been killed a moment ago.
        match resumed {
            Err(Errno::ESRCH) => Ok(()),
            resumed => Ok(resumed?),
        }
    }
}

/// The system call that a stopped thread is about to make (proc_pid_syscall(5)).
fn number_of_call(thread: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{thread}/syscall")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// The process of a thread.
fn process_of(thread: Pid) -> Result<Pid> {
    Ok(Pid::from_raw(field(thread, "Tgid")?.parse()?))
}

/// A program's peak memory in KiB, as the kernel sees it at its end.
pub(crate) fn peak(program: &[&str], input: &[u8]) -> Result<u64> {
    let mut child = crate::start(program)?;
    let main = Pid::from_raw(child.id().cast_signed());
    ptrace::seize(main, Options::PTRACE_O_TRACEEXIT).context("seize")?;
    crate::release(&mut child, input)?;
    let mut peak = 0;
    loop {
        match waitpid(main, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Ok(peak),
            WaitStatus::PtraceEvent(_, _, PTRACE_EVENT_EXIT) => {
                let text = field(main, "VmHWM")?;
                peak = text.trim_end_matches(" kB").trim().parse()?;
                ptrace::cont(main, None)?;
            }
            WaitStatus::Stopped(_, signal) => ptrace::cont(main, signal)?,
            _ => ptrace::cont(main, None)?,
        }
    }
}

/// A field of `/proc/PID/status`.
fn field(pid: Pid, name: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(field, _)| *field == name).with_context(|| format!("{pid} has no {name}"))?;
    Ok(value.trim().to_owned())
}
