//! What a call costs: its time, the processor's time, and what it asks of the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::ops::AddAssign;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::Deserialize;

use crate::fixture::run;

/// How long a process may go on in the background after a call.
const PATIENCE: Duration = Duration::from_secs(30);

/// The times of a call.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// From its start until all its processes that a runtime waits for have ended.
    pub wall: Duration,
    /// The processor's, user and system, of these and of those that go on in the background.
    pub cpu: Duration,
    /// The part of these last.
    pub background: Duration,
}

/// What `call` costs. All processes that it starts end as children of this one, since this is their subreaper.
pub fn cost(call: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let (before, known) = (used()?, children());
    let start = Instant::now();
    let result = call();
    let wall = start.elapsed();
    let waited_for = used()?;
    reap(&known)?;
    result?;
    let all = used()?;
    Ok(Cost { wall, cpu: all.saturating_sub(before), background: all.saturating_sub(waited_for) })
}

/// The processor's time of all children that have ended.
fn used() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let duration = |time: TimeVal| {
        Duration::new(time.tv_sec().cast_unsigned(), u32::try_from(time.tv_usec() * 1000).unwrap_or_default())
    };
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

/// Waits for the end of the children that are not `known`: what a call has left in the background.
fn reap(known: &BTreeSet<i32>) -> Result<()> {
    let since = Instant::now();
    loop {
        let left = children();
        let mut left = left.difference(known).peekable();
        if left.peek().is_none() {
            return Ok(());
        }
        ensure!(since.elapsed() < PATIENCE, "a process in the background does not end");
        for pid in left {
            while !matches!(
                waitpid(Pid::from_raw(*pid), Some(WaitPidFlag::WNOHANG)),
                Ok(WaitStatus::StillAlive) | Err(_)
            ) {}
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The children of all threads of this process that do not stay (proc_pid_task_children(5)).
fn children() -> BTreeSet<i32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids = lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>());
    pids.filter(|pid| !is_resident(*pid)).collect()
}

/// Whether it is the name server, which stays.
fn is_resident(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "ocinet-agent\n")
}

/// What a call asks of the kernel.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Counts {
    /// The system calls of all its processes.
    pub calls: u64,
    /// How many programs are started.
    pub processes: u64,
    /// The most memory that one of them has at a time, in KiB.
    pub peak: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.processes += other.processes;
        self.peak = self.peak.max(other.peak);
    }
}

/// Counts what programs ask of the kernel while they run, which makes them slow.
pub struct Counter {
    caller: PathBuf,
    counts: Mutex<Counts>,
}

impl Counter {
    /// Nothing is counted yet.
    pub fn new() -> Result<Self> {
        Ok(Self { caller: ocinet_integration::helper("caller")?, counts: Mutex::default() })
    }

    /// Runs a program as [`run`] does.
    pub fn run(&self, command: &mut Command, input: &str) -> Result<Vec<u8>> {
        const FILE: &str = "/run/counts";
        let mut counted = Command::new(&self.caller);
        counted.args(["count", FILE]).arg(command.get_program()).args(command.get_args());
        counted.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let said = run(&mut counted, input)?;
        let counts: Counts = serde_json::from_slice(&fs::read(FILE)?).context("counts")?;
        *self.counts.lock().map_err(|_| anyhow::anyhow!("a panic while counting"))? += counts;
        Ok(said)
    }

    /// What was counted.
    pub fn counts(&self) -> Result<Counts> {
        Ok(*self.counts.lock().map_err(|_| anyhow::anyhow!("a panic while counting"))?)
    }
}
