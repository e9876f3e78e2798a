//! Many containers of one host, called for all at once or in turn.

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::point::CALLER;
use crate::host::OCINET;
use crate::{Background, Host, Output};

/// Containers without a runtime: a process in a network namespace each, with one published port each.
pub(super) struct Crowd<'h> {
    host: &'h Host,
    name: String,
    bundle: String,
    first_port: usize,
    pids: Vec<u32>,
    _holder: Background,
}

/// What became of one call.
#[derive(Debug, Deserialize)]
pub(super) struct Called {
    pub code: i32,
    /// Of the whole process.
    pub micros: u64,
    pub stderr: String,
}

/// How calls follow one another.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    AtOnce,
    InTurn,
}

impl<'h> Crowd<'h> {
    /// So many containers that wait for their attach.
    pub fn new(host: &'h Host, name: &str, count: usize, first_port: usize) -> Result<Self> {
        let bundle = host.container(name).write_bundle()?;
        // Nobody there waits for the end of a sandbox's process.
        let argv = ["env", "--ignore-signal=CHLD", CALLER, "sandboxes", &count.to_string()];
        let mut holder = host.background(&argv)?;
        let pids: Vec<u32> = serde_json::from_str(&holder.line()?)?;
        let crowd = Self { host, name: name.to_owned(), bundle, first_port, pids, _holder: holder };
        for (number, pid) in crowd.pids.iter().enumerate() {
            host.lives(crowd.key(number), host.of_process(*pid));
        }
        Ok(crowd)
    }

    pub fn count(&self) -> usize {
        self.pids.len()
    }

    /// The attach of a member.
    pub fn attach(&self, number: usize) -> Value {
        json!({ "arguments": ["createRuntime"], "stdin": self.state(number) })
    }

    /// The detach of a member, as it comes after its end.
    pub fn detach(&self, number: usize) -> Value {
        json!({ "arguments": ["poststop"], "stdin": self.state(number) })
    }

    /// The end of a member, and its detach at once.
    pub fn end_and_detach(&self, number: usize) -> Value {
        self.host.is_dead(&self.key(number));
        json!({ "arguments": ["poststop"], "stdin": self.state(number), "end": self.pids[number] })
    }

    /// Ends members; nobody is told.
    pub fn end(&self, members: impl IntoIterator<Item = usize>) -> Result<()> {
        let mut pids = String::new();
        for number in members {
            pids += &format!(" {}", self.pids[number]);
            self.host.is_dead(&self.key(number));
        }
        self.host.sh(&format!("kill -KILL{pids}")).map(drop)
    }

    /// What a runtime says about a member.
    pub fn state(&self, number: usize) -> Value {
        let port = format!("{}:80", self.first_port + number);
        json!({
            "ociVersion": "1.0.2", "id": format!("{}{number}", self.name), "status": "creating", "pid": self.pids[number],
            "bundle": self.bundle, "annotations": { "io.ocinet.network": "bridge", "io.ocinet.publish": port },
        })
    }

    fn key(&self, number: usize) -> (String, String) {
        (format!("{}{number}", self.name), self.bundle.clone())
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        let pids: String = self.pids.iter().map(|pid| format!(" {pid}")).collect();
        for number in 0..self.pids.len() {
            self.host.is_dead(&self.key(number));
        }
        if let Err(error) = self.host.sh(&format!("kill -KILL{pids} 2>/dev/null || true")) {
            self.host.accuse(format!("ending {}: {error:#}", self.name));
        }
    }
}

/// Calls the hook for each of `calls`.
pub(super) fn call(host: &Host, pace: Pace, calls: &[Value]) -> Result<Vec<Called>> {
    let way = match pace {
        Pace::AtOnce => "crowd",
        Pace::InTurn => "series",
    };
    let mut command = host.command(&[CALLER, way, OCINET, "hook"]);
    let said = Output::of(&mut command, serde_json::to_string(calls)?.as_bytes())?.success()?;
    Ok(serde_json::from_str(&said)?)
}
