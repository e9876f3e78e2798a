//! Kills at a moment in time, wherever the program is by then.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// Runs a program for `micros` microseconds and then kills it. If it has ended by then, kills the processes that it
/// left running. With `all`, the children of a program that still runs are killed too. Returns whether a process was
/// killed.
pub(crate) fn kill_after(program: &[&str], input: &[u8], micros: u64, all: bool) -> Result<bool> {
    // This process becomes the parent of processes that the program leaves running, and can find them.
    set_child_subreaper(true)?;
    let mut command = Command::new(program.first().context("no program")?);
    let mut child = command.args(&program[1..]).stdin(Stdio::piped()).spawn()?;
    let main = Pid::from_raw(child.id().cast_signed());
    // The program may end without reading all of its input.
    let _ = child.stdin.take().context("stdin is piped")?.write_all(input);
    thread::sleep(Duration::from_micros(micros));
    if child.try_wait()?.is_some() {
        let victims = children("self");
        victims.iter().for_each(|victim| strike(*victim));
        return Ok(victims.into_iter().any(died_of_it));
    }
    let descendants = if all { children(&main.to_string()) } else { Vec::new() };
    strike(main);
    descendants.into_iter().for_each(strike);
    Ok(child.wait()?.signal() == Some(Signal::SIGKILL as i32))
}

/// Kills a process. One that has just ended is no error.
fn strike(pid: Pid) {
    let _ = kill(pid, Signal::SIGKILL);
}

/// Whether the child ended by the signal, and not by itself before.
fn died_of_it(child: Pid) -> bool {
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
