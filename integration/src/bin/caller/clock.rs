//! Kills at a moment in time, however far the program has come.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Runs a program for so many microseconds and kills it then; where it has ended by then, what it left running. With
/// `all`, the children of a program that still runs are killed too. The program's exit code if somebody was killed.
pub(crate) fn kill_after(program: &[&str], input: &[u8], micros: u64, all: bool) -> Result<Option<i32>> {
    // What the program leaves running becomes ours, so that it can be found.
    set_child_subreaper(true)?;
    let mut child = crate::start(program)?;
    let start = Instant::now();
    crate::release(&mut child, input)?;
    while start.elapsed() < Duration::from_micros(micros) {
        thread::yield_now();
    }
    let mut victims = Vec::new();
    if child.try_wait()?.is_none() {
        let descendants = if all { children(&child.id().to_string()) } else { Vec::new() };
        victims.extend([Pid::from_raw(child.id().cast_signed())].into_iter().chain(descendants));
    } else {
        victims = children("self");
    }
    let hit = victims.iter().filter(|victim| kill(**victim, Signal::SIGKILL).is_ok()).count() > 0;
    let status = child.wait()?;
    // A child that had ended and a program that ended just before the signal were no kill.
    let happened = hit && (status.signal() == Some(9) || victims.first().is_some_and(|first| was_ours(*first)));
    Ok(happened.then(|| status.code().unwrap_or(-1)))
}

/// Whether a child that was killed died of it.
fn was_ours(child: Pid) -> bool {
    use nix::sys::wait::{WaitStatus, waitpid};
    matches!(waitpid(child, None), Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _)))
}

/// The children of a process (proc_pid_task_children(5)).
fn children(process: &str) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .map(Pid::from_raw)
        .collect()
}
