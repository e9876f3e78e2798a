//! Calls programs as a runtime calls a hook, and kills them at one system call or at one moment, or makes one of their
//! system calls fail.
//!
//! It runs on a private host, so that no other program takes time between a call and its measurement.

mod clock;
mod count;
mod crowd;
mod faults;
mod registers;
mod sandboxes;
mod tracer;

use std::io::{Read, Write, stdin};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use serde_json::{Value, json};

use tracer::{Called, Deed, Target, Tracee};

const USAGE: &str = "usage: caller trace PROGRAM [ARGUMENT]...
       caller faults PROGRAM [ARGUMENT]...
       caller kill-at TRACEE CALL PROGRAM [ARGUMENT]...
       caller fail-at TRACEE NAME CALL ERROR PROGRAM [ARGUMENT]...
       caller kill-after MICROSECONDS one|all PROGRAM [ARGUMENT]...
       caller count FILE PROGRAM [ARGUMENT]...
       caller measure PROGRAM [ARGUMENT]...
       caller crowd|series PROGRAM [ARGUMENT]...
       caller sandboxes COUNT";

/// The exit code of a shell for a program that SIGKILL has ended.
const KILLED: u8 = 137;

fn main() -> Result<ExitCode> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["trace", ref program @ ..] => {
            let tracees = tracer::follow(program, &input()?, None)?.tracees;
            let numbers = |tracee: &Tracee| tracee.calls.iter().map(|called| called.number).collect::<Vec<_>>();
            println!("{}", json!(tracees.iter().map(numbers).collect::<Vec<_>>()));
            Ok(ExitCode::SUCCESS)
        }
        ["faults", ref program @ ..] => {
            let tracees = tracer::follow(program, &input()?, None)?.tracees;
            println!("{}", json!(tracees.iter().map(possible).collect::<Vec<_>>()));
            Ok(ExitCode::SUCCESS)
        }
        ["kill-at", tracee, call, ref program @ ..] => {
            let target = Target { tracee: tracee.parse()?, call: call.parse()?, deed: Deed::Kill };
            let followed = tracer::follow(program, &input()?, Some(target))?;
            verdict(followed.hit, followed.code)
        }
        ["fail-at", tracee, name, call, error, ref program @ ..] => {
            let deed = Deed::Fail(name, Errno::from_raw(error.parse()?));
            let target = Target { tracee: tracee.parse()?, call: call.parse()?, deed };
            let followed = tracer::follow(program, &input()?, Some(target))?;
            eprintln!("caller: {}failed {}", if followed.hit { "" } else { "not " }, followed.failed);
            Ok(ExitCode::from(u8::try_from(followed.code)?))
        }
        ["kill-after", moment, who, ref program @ ..] => {
            verdict(clock::kill_after(program, &input()?, moment.parse()?, who == "all")?, 0)
        }
        ["count", file, ref program @ ..] => count::count(file, program, &input()?),
        ["measure", ref program @ ..] => {
            println!("{}", serde_json::to_string(&tracer::peak(program, &input()?)?)?);
            Ok(ExitCode::SUCCESS)
        }
        ["crowd", ref program @ ..] => crowd::at_once(program, &input()?),
        ["series", ref program @ ..] => crowd::in_turn(program, &input()?),
        ["sandboxes", count] => sandboxes::hold(count.parse()?),
        _ => bail!(USAGE),
    }
}

/// The calls of a tracee with the numbers of the errors that each could have given.
fn possible(tracee: &Tracee) -> Value {
    let call = |called: &Called| match &called.errors {
        Some((name, errors)) => json!([name, errors.iter().map(|error| *error as i32).collect::<Vec<_>>()]),
        None => json!(["", []]),
    };
    json!({ "child": tracee.is_child, "calls": tracee.calls.iter().map(call).collect::<Vec<_>>() })
}

/// Prints on stderr whether the kill has happened: a runtime shows the stderr of a hook that fails.
fn verdict(killed: bool, code: i32) -> Result<ExitCode> {
    eprintln!("caller: {}", if killed { "killed" } else { "not killed" });
    Ok(ExitCode::from(if killed { KILLED } else { u8::try_from(code)? }))
}

fn input() -> Result<Vec<u8>> {
    let mut input = Vec::new();
    stdin().read_to_end(&mut input)?;
    Ok(input)
}

/// Starts a shell that waits and becomes the program once [`release`] sends the input. Until then a tracer can attach
/// to it.
fn start(program: &[&str]) -> Result<Child> {
    let shell = ["sh", "-c", "read -r go; exec \"$@\"", "sh"];
    let argv = [&shell, program].concat();
    Command::new(argv[0]).args(&argv[1..]).stdin(Stdio::piped()).spawn().with_context(|| format!("{program:?}"))
}

/// A program that ends without reading everything is no error.
fn release(child: &mut Child, input: &[u8]) -> Result<()> {
    let mut pipe = child.stdin.take().context("stdin is piped")?;
    pipe.write_all(b"\n")?;
    let _ = pipe.write_all(input);
    Ok(())
}
