use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Host, Output};

/// The helper program on a private host that calls and kills.
pub const CALLER: &str = "/mnt/bin/caller";

/// A call: a program on the host with its arguments, and its stdin.
pub(super) struct Call {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// What it reads on stdin.
    pub stdin: String,
}

impl Call {
    /// Makes the call by the helper.
    pub fn through(&self, host: &Host, way: &[&str]) -> Result<Output> {
        let program = self.argv.iter().map(String::as_str);
        let argv: Vec<_> = [CALLER].into_iter().chain(way.iter().copied()).chain(program).collect();
        Output::of(&mut host.command(&argv), self.stdin.as_bytes())
    }

    /// The time of the call, in microseconds.
    pub fn time(&self, host: &Host) -> Result<u64> {
        let stdin: Value = serde_json::from_str(&self.stdin).unwrap_or_default();
        let call = json!([{ "arguments": self.argv[1..], "stdin": stdin }]).to_string();
        let said = Output::of(&mut host.command(&[CALLER, "series", &self.argv[0]]), call.as_bytes())?.success()?;
        let called: Value = serde_json::from_str(&said)?;
        called[0]["micros"].as_u64().context("the helper says how long it took")
    }

    /// The system calls of each thread and child, in the order of creation. The call is made and not killed.
    pub fn trace(&self, host: &Host) -> Result<Vec<Vec<u64>>> {
        let said = self.through(host, &["trace"])?.success()?;
        // The call itself may have printed something before.
        Ok(serde_json::from_str(said.lines().last().unwrap_or_default())?)
    }

    /// The same, with the errors that each system call can give. Whether the call succeeded does not matter.
    pub fn faults(&self, host: &Host) -> Result<Vec<Tracee>> {
        let said = self.through(host, &["faults"])?.success()?;
        Ok(serde_json::from_str(said.lines().last().unwrap_or_default())?)
    }
}

/// A thread or a child of the program that was called.
#[derive(Debug, Deserialize, PartialEq)]
pub(super) struct Tracee {
    /// Whether it is a process of its own.
    pub child: bool,
    /// Its system calls: the name of each, and the numbers of the errors that it could give.
    pub calls: Vec<(String, Vec<i32>)>,
}

/// A point at which to kill: before one system call of one thread or child.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Which thread or child, in the order of creation; 0 is the program itself.
    pub tracee: usize,
    /// Which of its calls.
    pub call: usize,
    /// That call's number on this machine.
    pub number: u64,
}

impl Point {
    /// Every point of a trace.
    pub fn all(trace: &[Vec<u64>]) -> impl Iterator<Item = Self> {
        let of = |(tracee, calls): (usize, &Vec<u64>)| {
            calls.iter().enumerate().map(move |(call, &number)| Self { tracee, call, number }).collect::<Vec<_>>()
        };
        trace.iter().enumerate().flat_map(of)
    }

    /// Makes the call and kills it at this point. False if it ended without being killed.
    pub fn kill(self, host: &Host, call: &Call) -> Result<bool> {
        let output = call.through(host, &["kill-at", &self.tracee.to_string(), &self.call.to_string()])?;
        Ok(output.stderr.contains("caller: killed"))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {} of tracee {} (system call {})", self.call, self.tracee, self.number)
    }
}

/// A random number below `end`; 0 where `end` is 0.
pub(super) fn random(end: u64) -> u64 {
    RandomState::new().build_hasher().finish() % end.max(1)
}
