//! Many containers of one host, attached and detached all at once or in turn.

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::point::CALLER;
use crate::host::OCINET;
use crate::{Background, Host, Output};

/// Containers without a runtime: each is a process in a network namespace of its own, with one published port.
pub(super) struct Crowd<'h> {
    host: &'h Host,
    /// What their ids begin with.
    name: String,
    bundle: String,
    /// The published port of the first; each of the others has the next.
    first_port: usize,
    /// The process of each.
    pids: Vec<u32>,
    /// The program that holds their namespaces.
    _holder: Background,
}

/// The result of one call.
#[derive(Debug, Deserialize)]
pub(super) struct Called {
    /// The exit status.
    pub code: i32,
    /// The time of the whole process.
    pub micros: u64,
    /// What it printed on stderr.
    pub stderr: String,
}

/// Whether calls are made at once or in turn.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// All at the same time.
    AtOnce,
    /// Each after the one before has ended.
    InTurn,
}

impl<'h> Crowd<'h> {
    /// Makes `count` containers that are not attached yet.
    pub fn new(host: &'h Host, name: &str, count: usize, first_port: usize) -> Result<Self> {
        let bundle = host.container(name).write_bundle()?;
        // The parent of the sandboxes' processes does not wait for their end: they must not become zombies.
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

    /// The call that attaches a member.
    pub fn attach(&self, number: usize) -> Value {
        json!({ "arguments": ["createRuntime"], "stdin": self.state(number) })
    }

    /// The call that detaches a member after its end.
    pub fn detach(&self, number: usize) -> Value {
        json!({ "arguments": ["poststop"], "stdin": self.state(number) })
    }

    /// The call that ends a member and detaches it at once.
    pub fn end_and_detach(&self, number: usize) -> Value {
        self.host.is_dead(&self.key(number));
        json!({ "arguments": ["poststop"], "stdin": self.state(number), "end": self.pids[number] })
    }

    /// Ends members and calls no hook.
    pub fn end(&self, members: impl IntoIterator<Item = usize>) -> Result<()> {
        let mut pids = String::new();
        for number in members {
            pids += &format!(" {}", self.pids[number]);
            self.host.is_dead(&self.key(number));
        }
        self.host.sh(&format!("kill -KILL{pids}")).map(drop)
    }

    /// The state that a runtime passes for a member.
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
