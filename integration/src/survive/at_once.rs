//! A crowd of attaches at the same moment, and where each of them spent its time.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::crowd::{Called, Crowd, Pace, call};
use super::{Times, leftovers};
use crate::{Host, Proto::Tcp, Settings, UPLINK};

/// The times of calls with `--timings`.
#[derive(Debug, Default)]
pub struct AtOnce {
    /// Of the whole processes, as their caller sees them.
    pub whole: Times,
    /// What of that is outside of the steps: fork, exec, waits for a processor until the first step, and the end.
    pub outside: Times,
    /// Of each step.
    pub steps: BTreeMap<String, Times>,
    /// What was waited for each lock. They are parts of steps.
    pub locks: BTreeMap<String, Times>,
    /// Each call that failed or printed something else, with its output.
    pub errors: Vec<String>,
}

impl AtOnce {
    fn note(&mut self, called: &[Called]) -> Result<()> {
        for one in called {
            self.whole.add(one.micros);
            let mut total = None;
            let mut other = Vec::new();
            for line in one.stderr.lines() {
                match line.split_whitespace().collect::<Vec<_>>()[..] {
                    ["ocinet:", "total", time, "us"] => total = Some(time.parse::<u64>()?),
                    ["ocinet:", name, time, "us"] => self.add(name, time.parse()?),
                    _ => other.push(line),
                }
            }
            if one.code != 0 || !other.is_empty() {
                self.errors.push(format!("exit code {}: {}", one.code, other.join("; ")));
                continue;
            }
            self.outside.add(one.micros.saturating_sub(total.context("no total")?));
        }
        Ok(())
    }

    fn add(&mut self, name: &str, micros: u64) {
        let (times, name) = match name.strip_prefix("lock:") {
            Some(lock) => (&mut self.locks, lock),
            None => (&mut self.steps, name),
        };
        times.entry(name.to_owned()).or_default().add(micros);
    }
}

/// The figures of `size` attaches and of as many detaches.
#[derive(Debug, Default)]
pub struct Crowded {
    /// The attaches, all at once.
    pub attach: AtOnce,
    /// The detaches, all at once.
    pub detach: AtOnce,
    /// A few attaches that had the host for themselves, before the others.
    pub alone: AtOnce,
}

/// Attaches `size` containers at once, beside one that lives, and detaches them at once, in each of `rounds`.
pub fn at_once(size: usize, rounds: usize) -> Result<Crowded> {
    const ALONE: usize = 20;
    let host = Host::new(Settings::default())?;
    let living = host.container("living").publish("80:80").run()?;
    let mut crowded = Crowded::default();
    for _ in 0..rounds {
        let few = Crowd::new(&host, "few", ALONE, 5_000)?;
        crowded.alone.note(&call(&host, Pace::InTurn, &timed(&few, Crowd::attach))?)?;
        few.end(0..ALONE)?;
        call(&host, Pace::InTurn, &timed(&few, Crowd::detach))?;
        host.settled_sandboxes()?;
        let crowd = Crowd::new(&host, "many", size, 10_000)?;
        crowded.attach.note(&call(&host, Pace::AtOnce, &timed(&crowd, Crowd::attach))?)?;
        crowd.end(0..size)?;
        crowded.detach.note(&call(&host, Pace::AtOnce, &timed(&crowd, Crowd::detach))?)?;
        host.settled_sandboxes()?;
    }
    host.peer().reaches(Tcp, format!("{UPLINK}:80"))?.is("living")?;
    host.check()?;
    living.delete()?;
    leftovers::none(&host)?;
    host.farewell()?;
    Ok(crowded)
}

/// The calls of all members, with `--timings`.
fn timed<'h>(crowd: &Crowd<'h>, call: fn(&Crowd<'h>, usize) -> Value) -> Vec<Value> {
    let with_timings = |mut call: Value| {
        if let Some(arguments) = call["arguments"].as_array_mut() {
            arguments.push("--timings".into());
        }
        call
    };
    (0..crowd.count()).map(|number| with_timings(call(crowd, number))).collect()
}
