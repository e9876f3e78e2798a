//! Kills of hooks under runc, and of runc itself.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};

use super::kills::{Case, Tally, run};
use super::point::{CALLER, Point, random};
use super::scene::quiet;
use super::{Share, leftovers};
use crate::{Draft, Host, OCINET, Output, Runtime, Sandbox, Settings, check};

/// The file into which a hook that is killed or traced writes the result.
const VERDICT: &str = "/mnt/verdict";

/// The hook that is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// `createRuntime`: runc stops the container and calls `poststop` at once.
    Attach,
    /// `poststop`: runc goes on, and the hook is not called again.
    Detach,
}

/// The event that follows.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// A new container asks for the same address and port.
    Heir,
    /// A call of `gc`.
    Gc,
    /// A call of `runc delete --force`, and then of `gc`, since runc may not know the container.
    Delete,
}

impl Next {
    fn happen(self, host: &Host, id: &str) -> Result<()> {
        match self {
            Self::Heir => {
                let held = host.sandboxes()?.first().and_then(Sandbox::address);
                let network = held.map_or("bridge".to_owned(), |address| format!("bridge:ip={address}"));
                let heir = host.container("heir").network(&network).publish("8080:80").run()?;
                check::agreement(host, &host.living())?;
                heir.delete()?;
            }
            Self::Gc => drop(host.ocinet("gc")?.success()?),
            Self::Delete => {
                host.output(&["runc", "--root", "/mnt/runc", "delete", "--force", id])?;
                host.ocinet("gc")?.success()?;
            }
        }
        leftovers::none(host)
    }
}

/// A hook under runc that is killed.
#[derive(Clone, Copy, Debug)]
struct Hook {
    stage: Stage,
    point: Point,
    next: Next,
}

/// A host that has had a container before.
fn used() -> Result<Host> {
    let host = Host::new(Settings::default().runtime(Runtime::Runc)).context("making a private host")?;
    host.container("first").publish("8080:80").run()?.delete()?;
    host.settles()?;
    Ok(host)
}

impl Case for Hook {
    fn host(self) -> Result<Host> {
        used()
    }

    fn happen(self, host: &Host, _: u32) -> Result<bool> {
        quiet(host)?;
        let Self { stage, point, next } = self;
        let by = format!("kill-at {} {}", point.tracee, point.call);
        let (container, output) = stage.by(web(host, "web"), &by).start()?;
        if let Some(container) = container {
            // `delete` calls the hook at the detach. If that was not killed either, a failure of `delete` is an error
            // of this case.
            container.delete()?;
        } else if stage == Stage::Detach {
            output.success()?;
        }
        next.happen(host, "web")?;
        Ok(fs::read_to_string(host.path(VERDICT))?.contains("caller: killed"))
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} under runc, killed at {}, then {:?}", self.stage, self.point, self.next)
    }
}

impl Stage {
    /// Makes the helper call the hook of this stage.
    fn by<'h>(self, draft: Draft<'h>, way: &str) -> Draft<'h> {
        let stage = match self {
            Self::Attach => "createRuntime",
            Self::Detach => "poststop",
        };
        let script = format!("exec {CALLER} {way} {OCINET} hook {stage} >{VERDICT} 2>&1");
        draft.edit(&format!(r#".hooks.{stage} = [{{path: "/bin/sh", args: ["sh", "-c", "{script}"]}}]"#))
    }

    fn trace(self, host: &Host) -> Result<Vec<Vec<u64>>> {
        quiet(host)?;
        self.by(web(host, "traced"), "trace").run()?.delete()?;
        host.settles()?;
        let said = fs::read_to_string(host.path(VERDICT))?;
        serde_json::from_str(said.lines().last().unwrap_or_default()).with_context(|| format!("a trace: {said}"))
    }
}

/// Kills the hook at a share of its system calls while runc waits for it.
pub fn under_runc(stage: Stage, share: Share, workers: usize) -> Result<Tally> {
    let trace = stage.trace(&used()?)?;
    let nexts = [Next::Heir, Next::Gc];
    let case = |(number, point)| Hook { stage, point, next: nexts[number % nexts.len()] };
    let cases: Vec<_> = Point::all(&trace).enumerate().map(case).collect();
    run(cases.len(), share.pick(cases), workers)
}

/// A `runc run` that is killed at random within so many microseconds, alone or together with the hook that it waits
/// for.
#[derive(Clone, Copy, Debug)]
struct Run {
    longest: u64,
    all: bool,
    next: Next,
}

impl Case for Run {
    fn host(self) -> Result<Host> {
        used()
    }

    fn happen(self, host: &Host, nth: u32) -> Result<bool> {
        let moment = random(self.longest >> nth).to_string();
        let id = next_id();
        let way = [CALLER, "kill-after", &moment, if self.all { "all" } else { "one" }];
        let output = start(host, &id, &way)?;
        // The hook and the container's processes outlive runc.
        quiet(host)?;
        end_all_containers(host)?;
        self.next.happen(host, &id)?;
        Ok(output.stderr.contains("caller: killed"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "runc killed within {} us (all: {}), then {:?}", self.longest, self.all, self.next)
    }
}

/// Kills runc while it starts a container, at random moments.
pub fn runtime_killed(count: usize, share: Share, workers: usize) -> Result<Tally> {
    let host = used()?;
    let (id, start_of) = (next_id(), Instant::now());
    start(&host, &id, &[])?.success()?;
    let longest = start_of.elapsed().as_micros().try_into()?;
    drop(host);
    let nexts = [Next::Heir, Next::Gc, Next::Delete];
    let case = |number| Run { longest, all: number / nexts.len() % 2 == 1, next: nexts[number % nexts.len()] };
    run(count, (0..share.of(count)).map(case).collect(), workers)
}

/// Calls `runc run`, by the helper or directly.
fn start(host: &Host, id: &str, way: &[&str]) -> Result<Output> {
    let container = web(host, id).prepare()?;
    let bundle = container.bundle();
    let run = format!("exec runc --root /mnt/runc run --detach --bundle {bundle} {id} </dev/null >/dev/null 2>&1");
    host.output(&[way, &["sh", "-c", &run]].concat())
}

/// runc keeps its record of a container that was killed with it, so each needs an id of its own.
fn next_id() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("web{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn web<'h>(host: &'h Host, id: &str) -> Draft<'h> {
    host.container(id).publish("8080:80").command(&["sleep", "100000"])
}

/// Kills every process that is in a network namespace other than the host's and the peer's.
fn end_all_containers(host: &Host) -> Result<()> {
    host.sh("own=$(readlink /proc/1/ns/net)
         for process in /proc/[0-9]*; do
             there=$(readlink $process/ns/net) || continue
             test \"$there\" = \"$own\" || kill -KILL ${process#/proc/} 2>/dev/null || true
         done")
        .map(drop)
}
