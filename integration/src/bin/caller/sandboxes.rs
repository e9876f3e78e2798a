//! Makes many sandboxes quickly. A process in a network namespace of its own stands for a container.

use std::fs;
use std::io::{Write, stdout};
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Result, ensure};
use nix::sched::{CloneFlags, unshare};

/// Makes sandboxes, prints their pids as a JSON array, and waits until it is killed. The sandboxes outlive it.
pub(crate) fn hold(count: usize) -> Result<ExitCode> {
    let pids = (0..count).map(|_| one()).collect::<Result<Vec<_>>>()?;
    println!("{}", serde_json::to_string(&pids)?);
    stdout().flush()?;
    loop {
        thread::park();
    }
}

/// A child inherits the network namespace of its parent, so this process enters a new one before each fork.
fn one() -> Result<u32> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let child = Command::new("sleep").arg("100000").stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net"));
    ensure!(namespace(&child.id().to_string())? == namespace("thread-self")?, "the sandbox is elsewhere");
    Ok(child.id())
}
