//! Many calls at the same time.

use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::{Value, json};

/// One call: the arguments that tell it from the others, and what it finds on its stdin.
#[derive(Deserialize)]
struct Call {
    arguments: Vec<String>,
    stdin: Value,
    /// A process that is killed before the call.
    end: Option<i32>,
}

/// Starts the program once for each call of a JSON array, all at the same moment, and prints the result of each.
pub(crate) fn at_once(program: &[&str], input: &[u8]) -> Result<ExitCode> {
    let calls: Vec<Call> = serde_json::from_slice(input)?;
    let barrier = Barrier::new(calls.len());
    let together = &|call| {
        barrier.wait();
        one(program, call)
    };
    let results = thread::scope(|scope| {
        let threads: Vec<_> = calls.iter().map(|call| scope.spawn(move || together(call))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().ok().context("a thread panicked")?);
        joined.collect::<Result<Vec<_>>>()
    })?;
    tell(&results)
}

/// The same, one after the other.
pub(crate) fn in_turn(program: &[&str], input: &[u8]) -> Result<ExitCode> {
    let calls: Vec<Call> = serde_json::from_slice(input)?;
    tell(&calls.iter().map(|call| one(program, call)).collect::<Result<Vec<_>>>()?)
}

fn tell(results: &[Value]) -> Result<ExitCode> {
    println!("{}", serde_json::to_string(results)?);
    Ok(ExitCode::SUCCESS)
}

/// The time is that of a whole process, as a runtime waits for it: until the process has ended and its pipes are
/// closed.
fn one(program: &[&str], call: &Call) -> Result<Value> {
    if let Some(pid) = call.end {
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    }
    let mut command = Command::new(program.first().context("no program")?);
    command.args(&program[1..]).args(&call.arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn()?;
    // The program may end without reading all of its input.
    let _ = child.stdin.take().context("stdin is piped")?.write_all(call.stdin.to_string().as_bytes());
    let mut said = String::new();
    child.stderr.take().context("stderr is piped")?.read_to_string(&mut said)?;
    let status = child.wait()?;
    let micros = u64::try_from(start.elapsed().as_micros())?;
    Ok(json!({ "code": status.code().unwrap_or(-1), "micros": micros, "stderr": said }))
}
