//! Follows a program through every system call of all its threads and children, and kills it at one of them or makes
//! that one fail.
//!
//! strace could do both (`inject=NAME:signal=KILL:when=N`), but one cannot choose the thread whose calls it counts: the
//! first thread that makes N calls is hit. That is nearly always the main one, so the calls of the others would never
//! be tried. Here a target is a tracee, in the order of creation, and the number of its call. The kill comes before the
//! call has any effect, and a call that fails has none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc::{PTRACE_EVENT_EXEC, PTRACE_EVENT_EXIT, PTRACE_SYSCALL_INFO_ENTRY};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::faults::Syscall;
use super::registers;

/// A program that stays. It is not followed: it ends when it is not needed, and its tests kill it themselves.
const RESIDENT: &str = "ocinet-agent";

/// What a shell adds to the signal that ended a program.
const SIGNALED: i32 = 128;

/// The result of following a program.
#[derive(Default)]
pub(crate) struct Followed {
    /// The tracees in the order of creation; the first is the program itself.
    pub tracees: Vec<Tracee>,
    /// Whether the kill, or the failure, happened.
    pub hit: bool,
    /// The object of the call that failed, as text for messages.
    pub failed: String,
    /// The exit code, in the form that a shell gives it.
    pub code: i32,
}

/// A thread or a child of the program.
#[derive(Default)]
pub(crate) struct Tracee {
    /// Whether it is a process of its own.
    pub is_child: bool,
    /// Its system calls.
    pub calls: Vec<Called>,
}

/// A system call that was made.
pub(crate) struct Called {
    /// Its number on this machine.
    pub number: u64,
    /// Its name, and the errors that it can give.
    pub errors: Option<(&'static str, Vec<Errno>)>,
}

/// What is done at one system call of one tracee.
#[derive(Clone, Copy)]
pub(crate) struct Target<'t> {
    /// Which tracee.
    pub tracee: usize,
    /// Which of its calls; the first is 0.
    pub call: usize,
    /// What happens to that call.
    pub deed: Deed<'t>,
}

/// What happens to the call.
#[derive(Clone, Copy)]
pub(crate) enum Deed<'t> {
    /// Its process is killed. Every call counts.
    Kill,
    /// The call fails with that error. Only calls of that name that can give the error count, so that a call which the
    /// program makes only sometimes, as the allocator does, does not shift the number.
    Fail(&'t str, Errno),
}

impl Target<'_> {
    /// Whether the target is the last of the calls that the tracee has made.
    fn is_last_of(&self, calls: &[Called]) -> bool {
        match self.deed {
            Deed::Kill => calls.len() == self.call + 1,
            Deed::Fail(name, error) => {
                let can_fail = |called: &&Called| called.can_fail(name, error);
                calls.last().filter(can_fail).is_some() && calls.iter().filter(can_fail).count() == self.call + 1
            }
        }
    }
}

impl Called {
    fn can_fail(&self, name: &str, error: Errno) -> bool {
        self.errors.as_ref().is_some_and(|(own, errors)| *own == name && errors.contains(&error))
    }
}

/// A program under observation.
struct Tracer<'t> {
    main: Pid,
    /// Whether the program itself runs. Before, a shell waits for its input, and the tracer may see the calls of its
    /// start.
    running: bool,
    target: Option<Target<'t>>,
    /// The thread whose call was skipped, and whose result is still to be set to the error.
    failing: Option<(Pid, Errno)>,
    order: BTreeMap<Pid, usize>,
    /// The processes that are alive, and their threads.
    alive: BTreeSet<Pid>,
    victim: Option<Pid>,
    followed: Followed,
}

/// Follows a program to its end, or until the `target` was hit and the program has ended. Processes that it leaves
/// running then run on untraced.
pub(crate) fn follow(program: &[&str], input: &[u8], target: Option<Target<'_>>) -> Result<Followed> {
    let mut child = crate::start(program)?;
    let main = Pid::from_raw(child.id().cast_signed());
    let family = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    ptrace::seize(main, family | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACESYSGOOD).context("seize")?;
    crate::release(&mut child, input)?;
    let (order, alive) = (BTreeMap::from([(main, 0)]), BTreeSet::from([main]));
    let followed = Followed { tracees: vec![Tracee::default()], ..Followed::default() };
    let mut tracer = Tracer { main, running: false, target, failing: None, order, alive, victim: None, followed };
    while !tracer.is_done() {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Err(Errno::ECHILD) => break,
            status => tracer.handle(status?)?,
        }
    }
    Ok(tracer.followed)
}

impl Tracer<'_> {
    /// Whether the target was hit and the program has ended. A runtime does not wait for a program's children either.
    fn is_done(&self) -> bool {
        self.followed.hit && !self.alive.contains(&self.main)
    }

    fn handle(&mut self, status: WaitStatus) -> Result<()> {
        match status {
            WaitStatus::Exited(pid, code) => self.ended(pid, code),
            WaitStatus::Signaled(pid, signal, _) => self.ended(pid, SIGNALED + signal as i32),
            WaitStatus::PtraceSyscall(pid) => {
                self.called(pid)?;
                self.resume(pid, None)?;
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                let name = if event == PTRACE_EVENT_EXEC { field(pid, "Name")? } else { String::new() };
                if name == RESIDENT {
                    self.alive.remove(&pid);
                    return Ok(ptrace::detach(pid, None)?);
                }
                self.running |= event == PTRACE_EVENT_EXEC && name != "sh";
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
        self.followed.hit |= self.victim == Some(pid);
    }

    /// New threads and children begin in a stop. This is the first that the tracer sees of them.
    fn know(&mut self, pid: Pid) {
        self.alive.insert(pid);
        self.order.entry(pid).or_insert_with(|| {
            let is_child = process_of(pid).is_ok_and(|process| process != self.main);
            self.followed.tracees.push(Tracee { is_child, calls: Vec::new() });
            self.followed.tracees.len() - 1
        });
    }

    /// Handles a stop at a system call: records the call at its entry, and kills or skips it if it is the target. A call
    /// that the kernel makes again is recorded once.
    fn called(&mut self, pid: Pid) -> Result<()> {
        let info = match ptrace::syscall_info(pid) {
            Err(Errno::ESRCH) => return Ok(()),
            info => info?,
        };
        if let Some((thread, error)) = self.failing
            && thread == pid
        {
            self.failing = None;
            self.followed.hit = true;
            return registers::fail(pid, error);
        }
        if !self.running || self.is_over() {
            return Ok(());
        }
        self.know(pid);
        let tracee = self.order[&pid];
        if info.op != PTRACE_SYSCALL_INFO_ENTRY {
            if registers::is_made_again(pid)? {
                self.followed.tracees[tracee].calls.pop();
            }
            return Ok(());
        }
        let Some(call) = Syscall::of(pid) else { return Ok(()) };
        let calls = &mut self.followed.tracees[tracee].calls;
        calls.push(Called { number: call.number(), errors: call.errors() });
        match self.target.filter(|target| target.tracee == tracee && target.is_last_of(calls)) {
            None => {}
            Some(Target { deed: Deed::Fail(name, error), .. }) => {
                self.followed.failed = format!("{name}({}) with {error:?}", call.object());
                self.failing = Some((pid, error));
                registers::skip(pid)?;
            }
            Some(Target { deed: Deed::Kill, .. }) => {
                let process = process_of(pid)?;
                kill(process, Signal::SIGKILL).context("kill")?;
                self.victim = Some(process);
            }
        }
        Ok(())
    }

    /// Whether the tracer has only to wait.
    fn is_over(&self) -> bool {
        self.victim.is_some() || self.followed.hit
    }

    fn resume(&self, pid: Pid, signal: Option<Signal>) -> Result<()> {
        let resumed = if self.is_over() { ptrace::cont(pid, signal) } else { ptrace::syscall(pid, signal) };
        // The process may have been killed a moment ago.
        match resumed {
            Err(Errno::ESRCH) => Ok(()),
            resumed => Ok(resumed?),
        }
    }
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
pub(crate) fn field(pid: Pid, name: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(field, _)| *field == name).with_context(|| format!("{pid} has no {name}"))?;
    Ok(value.trim().to_owned())
}
