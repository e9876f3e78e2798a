//! Kills at every system call of every thread and child, and at any moment.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, ensure};

use super::aftermath::Aftermath;
use super::point::{Call, Point};
use super::{Scene, Share};
use crate::{Host, Settings};

/// How often a kill is tried that does not happen: threads do not race in the same way each time.
const TRIES: usize = 10;

/// How often the whole host is compared with what it was before.
const LOOK: usize = 25;

/// How long a detach goes on in the background, in microseconds.
const BACKGROUND: u64 = 100_000;

/// What came of many kills.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many there are to try.
    pub points: usize,
    /// How many kills happened.
    pub tried: usize,
    /// Kills that did not happen, however often we tried.
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

/// When the kill comes.
#[derive(Clone, Copy, Debug)]
enum Moment {
    At(Point),
    /// At random within so many microseconds; all its processes at once, or one.
    Within(u64, bool),
}

impl Moment {
    fn kill(self, host: &Host, call: &Call) -> Result<bool> {
        match self {
            Self::At(point) => point.kill(host, call),
            Self::Within(longest, all) => {
                let moment = (RandomState::new().build_hasher().finish() % longest).to_string();
                let way = ["kill-after", &moment, if all { "all" } else { "one" }];
                Ok(call.through(host, &way)?.stderr.contains("caller: killed"))
            }
        }
    }
}

/// One kill and what comes after.
#[derive(Clone, Copy, Debug)]
struct Case {
    scene: Scene,
    moment: Moment,
    aftermath: Aftermath,
}

impl Case {
    /// False if the kill never happened.
    fn happen(self, host: &Host) -> Result<bool> {
        for _ in 0..TRIES {
            let container = self.scene.set(host)?;
            let hit = self.moment.kill(host, &self.scene.call(&container))?;
            // A call that came to its end must leave nothing either.
            self.aftermath.happen(host, self.scene, container)?;
            if hit {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scene, moment, aftermath } = self;
        match moment {
            Moment::At(point) => write!(f, "{}, killed at {point}, then {aftermath:?}", scene.name()),
            Moment::Within(longest, _) => {
                write!(f, "{}, killed within {longest} us, then {aftermath:?}", scene.name())
            }
        }
    }
}

/// Kills the call of `scene` at a share of its system calls, each followed by each of the things that may come next.
pub fn at_every_call(scene: Scene, share: Share, workers: usize) -> Result<Tally> {
    let host = fresh_host()?;
    let trace = scene.trace(&host).with_context(|| format!("tracing: {}", scene.name()))?;
    drop(host);
    let cases = |point| Aftermath::ALL.map(|aftermath| Case { scene, moment: Moment::At(point), aftermath });
    let cases: Vec<_> = Point::all(&trace).flat_map(cases).collect();
    run(cases.len(), share.pick(cases), workers)
}

/// Kills every kind of call at random moments, `count` in all; a quarter of the moments lie in what goes on behind it.
pub fn at_random(count: usize, share: Share, workers: usize) -> Result<Tally> {
    let host = fresh_host()?;
    let longest: Vec<_> = Scene::ALL.iter().map(|scene| scene.length(&host)).collect::<Result<_>>()?;
    drop(host);
    let case = |number: usize| {
        let (scene, turn) = (number % Scene::ALL.len(), number / Scene::ALL.len());
        let behind = turn % 4 == 3 && Scene::ALL[scene].goes_on();
        let longest = if behind { BACKGROUND } else { longest[scene] };
        let aftermath = Aftermath::ALL[turn / 4 % Aftermath::ALL.len()];
        Case { scene: Scene::ALL[scene], moment: Moment::Within(longest, turn % 3 == 0), aftermath }
    };
    run(count, (0..share.of(count)).map(case).collect(), workers)
}

/// Lets every case happen, on several hosts side by side.
fn run(points: usize, cases: Vec<Case>, workers: usize) -> Result<Tally> {
    let tally = Mutex::new(Tally { points, ..Tally::default() });
    let queue = Mutex::new(cases.into_iter());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(|| work(&next, &tally))).collect();
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
fn work(next: &dyn Fn() -> Option<Case>, tally: &Mutex<Tally>) -> Result<()> {
    let mut host = fresh_host()?;
    for (number, case) in std::iter::from_fn(next).enumerate() {
        let told = case.happen(&host).and_then(|hit| {
            if number % LOOK == LOOK - 1 {
                host.check().context("here or at one of those before")?;
            }
            Ok(hit)
        });
        if told.is_err() {
            host = fresh_host()?;
        }
        let mut tally = tally.lock().ok().context("a thread panicked")?;
        tally.tried += usize::from(!matches!(told, Ok(false)));
        match told {
            Ok(true) => {}
            Ok(false) => tally.missed.push(format!("{case}: it came to its end each time")),
            Err(error) => tally.leaks.push(format!("{case}: {error:#}")),
        }
    }
    host.farewell()
}
