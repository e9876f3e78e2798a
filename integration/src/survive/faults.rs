//! System calls that fail: each one of a call of ours, with each error that it can give, beside a container that lives.
//!
//! A call that succeeds has done everything, one that fails has left nothing, and in no case is the living container
//! affected. Collection, `doctor --fix` and `reset` may go on after a failure and leave the rest to the next run, which
//! then repairs everything.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, anyhow, ensure};
use nix::errno::Errno;

use super::kills::{Case, Tally, Unready, run};
use super::living::Living;
use super::network;
use super::point::{Call, Tracee};
use super::scene::{quiet, usual};
use super::{Scene, Share, leftovers};
use crate::{Container, Host, Output, Settings, check};

/// The exit code of a shell for a program that SIGKILL has ended. `timeout` kills itself along with its program.
const KILLED: i32 = 137;
/// The first exit code that stands for a signal.
const SIGNALED: i32 = 128;

/// The processes whose system calls fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Whose {
    /// Those of the call itself, in all its threads.
    Own,
    /// Those of the processes that it starts: `nft`, and the process that goes on in the background.
    Children,
}

/// A system call that fails.
#[derive(Debug)]
struct Fault {
    /// Which thread or child, in the order of creation; 0 is the program itself.
    tracee: usize,
    whose: Whose,
    /// Its name, and its number among the calls of that name that can give the error.
    name: String,
    call: usize,
    error: Errno,
}

impl Fault {
    /// Every fault of a trace.
    fn all(trace: &[Tracee]) -> Vec<Self> {
        let mut all = Vec::new();
        for (number, tracee) in trace.iter().enumerate() {
            let whose = if tracee.child { Whose::Children } else { Whose::Own };
            let mut counts = BTreeMap::new();
            for (name, errors) in &tracee.calls {
                for error in errors {
                    let count = counts.entry((name, error)).or_insert(0);
                    let (call, error) = (*count, Errno::from_raw(*error));
                    all.push(Self { tracee: number, whose, name: name.clone(), call, error });
                    *count += 1;
                }
            }
        }
        all
    }

    /// Makes the call with this fault.
    fn happen(&self, host: &Host, call: &Call) -> Result<Output> {
        let error = (self.error as i32).to_string();
        call.through(host, &["fail-at", &self.tracee.to_string(), &self.name, &self.call.to_string(), &error])
    }

    /// Whether the fault refuses memory. A program in Rust is then aborted.
    fn may_kill(&self) -> bool {
        self.error == Errno::ENOMEM && ["mmap", "mprotect", "mremap"].contains(&self.name.as_str())
    }
}

/// A call with a fault.
#[derive(Clone, Copy)]
struct Disturbed<'f> {
    scene: Scene,
    settings: &'f Settings,
    fault: &'f Fault,
}

impl Case for Disturbed<'_> {
    // Each try is a whole story, and a call that the allocator makes only sometimes may not come again.
    const TRIES: u32 = 4;

    fn host(self) -> Result<Host> {
        inhabited(self.scene, self.settings)
    }

    fn end(host: &Host) -> Result<()> {
        if !host.sandboxes()?.is_empty() {
            Living::end(host)?;
            host.living().keys().for_each(|key| host.is_dead(key));
            host.ocinet("gc")?.success()?;
        }
        host.farewell()
    }

    fn happen(self, host: &Host, _: u32) -> Result<bool> {
        let living = if self.scene.is_alone() { None } else { Some(Living::of(host).context(Unready)?) };
        let container = self.scene.set(host).context(Unready)?;
        let output = self.fault.happen(host, &self.scene.call(&container))?;
        let hit = output.stderr.contains("caller: failed");
        // A wait without end comes again; a machine that stands still for a minute does not.
        let hung = output.code < 0 || output.code == KILLED;
        if hung {
            return Err(anyhow!("it hung:\n{output}").context(Unready));
        }
        ensure!(output.code < SIGNALED || self.fault.may_kill(), "it was ended by a signal:\n{output}");
        self.judge(host, container, living, output.code).with_context(|| output.to_string())?;
        Ok(hit)
    }
}

impl Disturbed<'_> {
    /// Checks the result of the call, makes the event that follows, and verifies that then nothing is left but the
    /// living container, unchanged.
    fn judge(self, host: &Host, mut container: Container<'_>, living: Option<Living>, code: i32) -> Result<()> {
        quiet(host)?;
        let was_killed = code >= SIGNALED;
        match self.scene {
            Scene::Rollback | Scene::ResetRefused => ensure!(code != 0, "it must fail"),
            Scene::FirstAttach | Scene::Attach | Scene::AttachNetworks | Scene::Rebuild if code == 0 => {
                whole(host, &container)?;
            }
            Scene::FirstAttach | Scene::Attach | Scene::AttachNetworks | Scene::Rebuild if !was_killed => {
                nothing_of(host, &container)?;
            }
            Scene::Create | Scene::Remove => made_is_whole_or_gone(host, self.scene, code)?,
            Scene::Connect | Scene::Disconnect | Scene::CollectCut if !was_killed => whole_after_gc(host, &container)?,
            Scene::Detach | Scene::DetachKept | Scene::DetachCut | Scene::DetachNetworks
                if code == 0 && self.fault.whose == Whose::Own =>
            {
                nothing_of(host, &container)?;
            }
            Scene::Restore if code == 0 => whole(host, &container)?,
            _ => {}
        }
        if let Some(living) = &living {
            living.is_there(host)?;
        }
        self.put_right(host, &mut container).context("what comes next")?;
        match living {
            Some(living) => {
                living.is_untouched(host)?;
                check::agreement(host, &host.living())?;
                ensure!(host.sandboxes()?.len() == 1, "not alone: {:#?}", host.sandboxes()?);
                leftovers::files_of(host, 1)
            }
            None => leftovers::none(host),
        }
    }

    /// The event that follows, without a fault.
    fn put_right(self, host: &Host, container: &mut Container<'_>) -> Result<()> {
        match self.scene {
            Scene::Restore => {
                host.ocinet("doctor --fix")?.success()?;
                whole(host, container)?;
            }
            Scene::ResetRefused => drop(host.ocinet("reset")?.is_refusal()?.says(&["living"])?),
            Scene::Reset => drop(host.ocinet("reset")?.success()?),
            Scene::Create | Scene::Remove => network::remove_made(host)?,
            _ => {}
        }
        container.kill()?;
        host.is_dead(&container.key());
        match self.scene {
            Scene::Detach | Scene::DetachKept | Scene::DetachCut | Scene::DetachNetworks => {
                drop(container.hook("poststop")?.success()?);
            }
            _ => drop(host.ocinet("gc")?.success()?),
        }
        host.settled_sandboxes().map(drop)
    }
}

impl fmt::Display for Disturbed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { tracee, whose, call, name, error } = self.fault;
        let of = if *whose == Whose::Own { "thread" } else { "child" };
        write!(f, "{}: {name} number {call} of {of} {tracee} fails with {error:?}", self.scene.name())
    }
}

/// Everything that the sandbox lists exists, and `ocinet doctor` finds no fault.
fn whole(host: &Host, container: &Container<'_>) -> Result<()> {
    check::agreement(host, &host.living())?;
    container.sandbox().context("it says that it is attached")?;
    leftovers::files_once(host, container.pid())?;
    let lo = container.sh("ip -oneline link show dev lo up")?;
    ensure!(!lo.is_empty(), "lo is down in the container");
    let guard = host.sh(&format!("tc filter show dev {} ingress", container.host_interface()?))?;
    ensure!(guard.contains("bpf"), "its link is not guarded");
    host.ocinet("doctor")?.success().map(drop)
}

/// A connect or disconnect that failed is taken back, be it by a collection.
fn whole_after_gc(host: &Host, container: &Container<'_>) -> Result<()> {
    host.ocinet("gc")?.success()?;
    whole(host, container)
}

/// After a call that succeeded the network is there, or gone; after one that failed, `create` has left nothing.
fn made_is_whole_or_gone(host: &Host, scene: Scene, code: i32) -> Result<()> {
    let seen = host.ocinet(&format!("network inspect {}", network::MADE))?;
    let expected: &[i32] = match (scene, code) {
        (Scene::Create, 0) => &[0],
        (Scene::Create, _) | (_, 0) => &[5],
        _ => &[0, 5],
    };
    ensure!(expected.contains(&seen.code), "after exit code {code}: {seen}");
    Ok(())
}

/// Nothing is left of a container whose attach failed or that was detached; others are as their sandboxes say.
fn nothing_of(host: &Host, container: &Container<'_>) -> Result<()> {
    let (id, bundle) = container.key();
    let sandboxes = host.settled_sandboxes()?;
    let is_its = |sandbox: &&crate::Sandbox| sandbox.container == id && sandbox.bundle == bundle;
    ensure!(!sandboxes.iter().any(|sandbox| is_its(&sandbox)), "a record is left: {sandboxes:#?}");
    check::agreement(host, &host.living())?;
    leftovers::files_of(host, sandboxes.len())
}

/// A host that has had a container before, and where another is running.
fn inhabited(scene: Scene, settings: &Settings) -> Result<Host> {
    let host = Host::new(scene.settings(settings)).context("making a private host")?;
    Scene::prepare(&host)?;
    if !scene.is_alone() {
        Living::start(&host, scene.network())?;
    }
    Ok(host)
}

/// The system calls of a scene's call, recorded on a host in the same state as each try.
fn trace(scene: Scene, host: &Host) -> Result<Vec<Tracee>> {
    usual(3, || {
        let container = scene.set(host)?;
        let trace = scene.call(&container).faults(host)?;
        ensure!(trace.first().is_some_and(|tracee| tracee.calls.len() > 50), "too short to be true: {trace:?}");
        quiet(host)?;
        drop(container);
        host.ocinet("gc")?.success()?;
        network::remove_made(host)?;
        host.settled_sandboxes()?;
        Ok(trace)
    })
}

/// Makes each system call of the call of `scene`, or of its children, fail once with each error that it can give; a
/// share of all these faults.
pub fn at_every_fault(scene: Scene, whose: Whose, settings: &Settings, share: Share, workers: usize) -> Result<Tally> {
    let host = inhabited(scene, settings)?;
    let trace = trace(scene, &host).with_context(|| format!("tracing: {}", scene.name()))?;
    drop(host);
    let faults: Vec<_> = Fault::all(&trace).into_iter().filter(|fault| fault.whose == whose).collect();
    let cases: Vec<_> = faults.iter().map(|fault| Disturbed { scene, settings, fault }).collect();
    run(cases.len(), share.pick(cases), workers)
}
