//! Kills at every system call of every thread and child.

use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, ensure};

use super::aftermath::Aftermath;
use super::point::Point;
use super::{Scene, Share};
use crate::{Host, Settings};

/// How often a point is tried that is not reached: threads do not race in the same way each time.
const TRIES: usize = 10;

/// How often the whole host is compared with what it was before.
const LOOK: usize = 25;

/// What came of many kills.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many there are to try.
    pub points: usize,
    /// How many kills happened.
    pub tried: usize,
    /// Points at which no kill happened, however often we tried.
    pub missed: Vec<String>,
    /// Kills after which something was left or went wrong, with what.
    pub leaks: Vec<String>,
}

impl Tally {
    /// An error that shows every failure, if there is one.
    pub fn is_clean(&self) -> Result<()> {
        let failures = [&self.missed[..], &self.leaks[..]].concat();
        ensure!(failures.is_empty(), "of {} kills {} failed:\n{}", self.tried, failures.len(), failures.join("\n"));
        ensure!(self.tried > 0, "nothing was tried");
        Ok(())
    }
}

type Case = (Point, Aftermath);

/// Kills the call of `scene` at a share of its system calls, each followed by each of the things that may come next.
pub fn at_every_call(scene: Scene, share: Share, workers: usize) -> Result<Tally> {
    let host = fresh_host()?;
    let trace = scene.trace(&host).with_context(|| format!("tracing: {}", scene.name()))?;
    let cases: Vec<Case> =
        Point::all(&trace).flat_map(|point| Aftermath::ALL.map(|aftermath| (point, aftermath))).collect();
    let tally = Mutex::new(Tally { points: cases.len(), ..Tally::default() });
    let queue = Mutex::new(share.pick(cases).into_iter());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    drop(host);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(|| work(scene, &next, &tally))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().ok().context("a thread panicked")?)
    })?;
    tally.into_inner().ok().context("a thread panicked")
}

/// A private host that has had a container before.
fn fresh_host() -> Result<Host> {
    let host = Host::new(Settings::default()).context("making a private host")?;
    Scene::prepare(&host)?;
    Ok(host)
}

/// Takes cases as long as there are any, all on one host; a host that something was left on is not used again.
fn work(scene: Scene, next: &dyn Fn() -> Option<Case>, tally: &Mutex<Tally>) -> Result<()> {
    let note = |what: &dyn Fn(&mut Tally)| tally.lock().map(|mut tally| what(&mut tally)).ok();
    let mut host = fresh_host()?;
    for (number, (point, aftermath)) in std::iter::from_fn(next).enumerate() {
        let story = format!("{}, killed at {point}, then {aftermath:?}", scene.name());
        let told = one(&host, scene, (point, aftermath)).and_then(|hit| {
            if number % LOOK == LOOK - 1 {
                host.check().context("at this point or one of those before")?;
            }
            Ok(hit)
        });
        match told {
            Ok(true) => note(&|tally| tally.tried += 1),
            Ok(false) => note(&|tally| tally.missed.push(format!("{story}: never got there"))),
            Err(error) => {
                host = fresh_host()?;
                note(&|tally| {
                    tally.tried += 1;
                    tally.leaks.push(format!("{story}: {error:#}"));
                })
            }
        };
    }
    host.farewell()
}

/// One kill and what comes after. False if the kill never happened.
fn one(host: &Host, scene: Scene, (point, aftermath): Case) -> Result<bool> {
    for _ in 0..TRIES {
        let container = scene.set(host)?;
        let hit = point.kill(host, &scene.call(&container))?;
        // A call that came to its end must leave nothing either.
        aftermath.happen(host, scene, container)?;
        if hit {
            return Ok(true);
        }
    }
    Ok(false)
}
