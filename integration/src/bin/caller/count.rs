//! Counts what a program costs the kernel: system calls, processes and memory.

use std::process::ExitCode;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc::{PTRACE_EVENT_EXEC, PTRACE_EVENT_EXIT, PTRACE_SYSCALL_INFO_ENTRY};
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::json;

use crate::registers;
use crate::tracer::field;

/// Runs a program with all its threads and children to their end, and writes the counts into `file`. Its output is not
/// touched.
pub(crate) fn count(file: &str, program: &[&str], input: &[u8]) -> Result<ExitCode> {
    let mut child = crate::start(program)?;
    let main = Pid::from_raw(child.id().cast_signed());
    let family = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    let moments = Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACEEXIT | Options::PTRACE_O_TRACESYSGOOD;
    ptrace::seize(main, family | moments).context("seize")?;
    crate::release(&mut child, input)?;
    let mut counts = Counts { main, code: 0, calls: 0, processes: 0, peak: 0 };
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Err(Errno::ECHILD) => break,
            status => counts.handle(status?)?,
        }
    }
    let said = json!({ "calls": counts.calls, "processes": counts.processes, "peak": counts.peak });
    std::fs::write(file, said.to_string()).with_context(|| file.to_owned())?;
    Ok(ExitCode::from(counts.code))
}

struct Counts {
    main: Pid,
    code: u8,
    /// System calls. Those before the program itself runs are of the shell that waited for the input.
    calls: u64,
    /// The programs that were started.
    processes: u64,
    /// The largest peak of one process, in KiB.
    peak: u64,
}

impl Counts {
    fn handle(&mut self, status: WaitStatus) -> Result<()> {
        let (pid, signal) = match status {
            WaitStatus::Exited(pid, code) => {
                self.ended(pid, code);
                return Ok(());
            }
            WaitStatus::Signaled(pid, signal, _) => {
                self.ended(pid, 128 + signal as i32);
                return Ok(());
            }
            WaitStatus::PtraceSyscall(pid) => {
                self.called(pid)?;
                (pid, None)
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                self.processes += u64::from(event == PTRACE_EVENT_EXEC && !self.waits(pid));
                if event == PTRACE_EVENT_EXIT && self.processes > 0 {
                    self.peak = self.peak.max(peak(pid));
                }
                (pid, None)
            }
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            WaitStatus::Continued(_) | WaitStatus::StillAlive => return Ok(()),
        };
        match ptrace::syscall(pid, signal) {
            Err(Errno::ESRCH) => Ok(()),
            resumed => Ok(resumed?),
        }
    }

    /// Counts a call at its entry. One that the kernel makes again counts once, and that of a thread which was killed at
    /// this moment not at all.
    fn called(&mut self, pid: Pid) -> Result<()> {
        match ptrace::syscall_info(pid) {
            Ok(_) if self.processes == 0 => {}
            Ok(info) if info.op == PTRACE_SYSCALL_INFO_ENTRY => self.calls += 1,
            Ok(_) => self.calls -= u64::from(registers::is_made_again(pid)?),
            Err(_) => {}
        }
        Ok(())
    }

    /// Whether it is still the shell that waits for the input, whose own start may be seen.
    fn waits(&self, pid: Pid) -> bool {
        self.processes == 0 && field(pid, "Name").is_ok_and(|name| name == "sh")
    }

    fn ended(&mut self, pid: Pid, code: i32) {
        if pid == self.main {
            self.code = u8::try_from(code).unwrap_or(u8::MAX);
        }
    }
}

/// The peak of a process that is about to end. A thread that another has ended may have none any more.
fn peak(pid: Pid) -> u64 {
    let text = field(pid, "VmHWM").unwrap_or_default();
    text.trim_end_matches(" kB").trim().parse().unwrap_or_default()
}
