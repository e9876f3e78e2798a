//! Kills of the hook, called as a runtime calls it: at every system call of every thread and child, and at random
//! moments.

use std::fmt;

use anyhow::{Context, Result};

use super::aftermath::Aftermath;
use super::kills::{Case, Tally, Unready, run};
use super::network;
use super::point::{Call, Point, random};
use super::{Scene, Share};
use crate::{Host, Installed, Settings};

/// How long the background part of a detach takes, in microseconds.
const BACKGROUND: u64 = 100_000;

/// When the kill comes.
#[derive(Clone, Copy, Debug)]
enum Moment {
    At(Point),
    /// At random within so many microseconds. If true, all its processes at once, else one.
    Within(u64, bool),
}

impl Moment {
    fn kill(self, host: &Host, call: &Call, nth: u32) -> Result<bool> {
        match self {
            Self::At(point) => point.kill(host, call),
            Self::Within(longest, all) => {
                let moment = random(longest >> nth).to_string();
                let way = ["kill-after", &moment, if all { "all" } else { "one" }];
                Ok(call.through(host, &way)?.stderr.contains("caller: killed"))
            }
        }
    }
}

/// A call of the hook that is killed.
#[derive(Clone, Copy, Debug)]
struct Killed<'s> {
    scene: Scene,
    settings: &'s Settings,
    moment: Moment,
    aftermath: Aftermath,
    /// The release that makes the call and the attaches before it. After the kill, the release under test is used.
    killed: Installed,
}

impl Case for Killed<'_> {
    fn host(self) -> Result<Host> {
        used(self.scene, self.settings, self.killed)
    }

    fn happen(self, host: &Host, nth: u32) -> Result<bool> {
        if self.killed == Installed::Before {
            // The rules of the previous release are removed, since the release under test installs its own.
            host.ocinet("reset --force")?.success().context(Unready)?;
            self.killed.on(host).context(Unready)?;
            Scene::use_once(host).context(Unready)?;
        }
        let container = self.scene.set(host).context(Unready)?;
        let hit = self.moment.kill(host, &self.scene.call(&container), nth)?;
        if self.killed == Installed::Before {
            Installed::Now.on(host)?;
        }
        // A call that was not killed must leave nothing either.
        self.aftermath.happen(host, self.scene, container)?;
        if matches!(self.scene, Scene::Create | Scene::Remove) {
            network::remove_made(host)?;
        }
        Ok(hit)
    }
}

impl fmt::Display for Killed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scene, settings: Settings { firewall, .. }, moment, aftermath, killed } = self;
        write!(f, "{} with {firewall:?} of the release {killed:?}, killed ", scene.name())?;
        match moment {
            Moment::At(point) => write!(f, "at {point}, then {aftermath:?}"),
            Moment::Within(longest, _) => write!(f, "within {longest} us, then {aftermath:?}"),
        }
    }
}

/// A host that has had a container before.
fn used(scene: Scene, settings: &Settings, by: Installed) -> Result<Host> {
    let host = Host::new(scene.settings(settings)).context("making a private host")?;
    by.on(&host)?;
    Scene::prepare(&host)?;
    Ok(host)
}

/// Kills the call of `scene` at a share of its system calls, on a host that has had a container before. Each kill is
/// followed by each of the possible events.
pub fn at_every_call(scene: Scene, settings: &Settings, share: Share, workers: usize) -> Result<Tally> {
    calls_of(Installed::Now, scene, settings, share, workers)
}

/// The same for a call of the previous release, with an upgrade after the kill.
pub fn before_an_upgrade(scene: Scene, settings: &Settings, share: Share, workers: usize) -> Result<Tally> {
    calls_of(Installed::Before, scene, settings, share, workers)
}

fn calls_of(killed: Installed, scene: Scene, settings: &Settings, share: Share, workers: usize) -> Result<Tally> {
    let host = used(scene, settings, killed)?;
    let trace = scene.trace(&host).with_context(|| format!("tracing: {}", scene.name()))?;
    drop(host);
    let cases = |point| {
        Aftermath::ALL.map(|aftermath| Killed { scene, settings, moment: Moment::At(point), aftermath, killed })
    };
    let cases: Vec<_> = Point::all(&trace).flat_map(cases).collect();
    run(cases.len(), share.pick(cases), workers)
}

/// Kills every kind of call at random moments, `count` in all. A quarter of the moments are in the background part.
pub fn at_random(count: usize, settings: &Settings, share: Share, workers: usize) -> Result<Tally> {
    let length = |scene: &Scene| scene.length(&used(*scene, settings, Installed::Now)?);
    let longest: Vec<_> = Scene::KILLS.iter().map(length).collect::<Result<_>>()?;
    let case = |number: usize| {
        let (scene, turn) = (number % Scene::KILLS.len(), number / Scene::KILLS.len());
        let behind = turn % 4 == 3 && Scene::KILLS[scene].goes_on();
        let longest = if behind { BACKGROUND } else { longest[scene] };
        let aftermath = Aftermath::ALL[turn / 4 % Aftermath::ALL.len()];
        let (scene, moment) = (Scene::KILLS[scene], Moment::Within(longest, turn % 3 == 0));
        Killed { scene, settings, moment, aftermath, killed: Installed::Now }
    };
    run(count, (0..share.of(count)).map(case).collect(), workers)
}
