//! Crowds of containers that are attached and detached at once.

use std::collections::BTreeSet;
use std::fmt::Debug;

use anyhow::{Context, Result, ensure};

use super::crowd::{Called, Crowd, Pace, call};
use super::{Times, leftovers};
use crate::{Host, Proto::Tcp, Sandbox, Settings, UPLINK};

/// The checker looks into every container in one round of so many. The store is compared after every batch of calls.
const LOOK: usize = 10;

/// The results of crowds.
#[derive(Debug, Default)]
pub struct Crowds {
    /// How many rounds there were.
    pub rounds: usize,
    /// How many attaches and detaches there were.
    pub calls: usize,
    /// Each call that failed or printed something, with its output.
    pub errors: Vec<String>,
    /// Each address, port or name that was held twice.
    pub duplicates: Vec<String>,
    /// The times of attaches.
    pub attach: Times,
    /// The times of detaches.
    pub detach: Times,
}

impl Crowds {
    /// An error that shows every failure, if there is one.
    pub fn is_clean(&self) -> Result<()> {
        let failures = [&self.errors[..], &self.duplicates[..]].concat();
        ensure!(failures.is_empty(), "of {} calls {} went wrong:\n{}", self.calls, failures.len(), failures.join("\n"));
        ensure!(self.calls > 0, "no call was made");
        Ok(())
    }

    fn note(&mut self, called: &[Called], detaches: impl Fn(usize) -> bool) {
        self.calls += called.len();
        for (number, one) in called.iter().enumerate() {
            let times = if detaches(number) { &mut self.detach } else { &mut self.attach };
            times.add(one.micros);
            if one.code != 0 || !one.stderr.is_empty() {
                self.errors.push(format!("exit code {}: {}", one.code, one.stderr));
            }
        }
    }

    fn compare(&mut self, sandboxes: &[Sandbox], expected: usize) {
        if sandboxes.len() != expected {
            self.errors.push(format!("the store has {} records instead of {expected}", sandboxes.len()));
        }
        let endpoints = || sandboxes.iter().flat_map(|sandbox| &sandbox.endpoints);
        self.once("address", endpoints().flat_map(|endpoint| &endpoint.addresses));
        self.once("MAC", endpoints().map(|endpoint| &endpoint.mac));
        self.once("link", endpoints().map(|endpoint| &endpoint.host_interface));
        self.once("port", sandboxes.iter().flat_map(|sandbox| &sandbox.publish).map(|port| port.host_port));
    }

    fn once<T: Ord + Debug>(&mut self, what: &str, all: impl Iterator<Item = T>) {
        let mut seen = BTreeSet::new();
        let twice: Vec<_> = all.filter_map(|one| seen.replace(one)).collect();
        self.duplicates.extend(twice.iter().map(|one| format!("{what} {one:?} is given twice")));
    }
}

/// Runs rounds of crowds of `size`, while a container with a published port lives and `gc` runs all the time, on the
/// host and from other namespaces.
pub fn crowds(size: usize, rounds: usize) -> Result<Crowds> {
    let host = Host::new(Settings::default())?;
    let mut crowds = Crowds::default();
    let living = host.container("living").publish("80:80").run()?;
    let collectors = collectors(&host)?;
    for round in 0..rounds {
        round_of(&host, &mut crowds, size, round % LOOK == 0).with_context(|| format!("round {round}"))?;
        crowds.rounds += 1;
    }
    drop(collectors);
    let complaints = host.sh("cat /mnt/gc-complaints")?;
    ensure!(complaints.is_empty(), "gc complains: {complaints:.2000}");
    host.peer().reaches(Tcp, format!("{UPLINK}:80"))?.is("living")?;
    host.check()?;
    living.delete()?;
    leftovers::none(&host)?;
    host.farewell()?;
    Ok(crowds)
}

/// Runs `gc` in a loop, once with the host's namespaces and once with each of them replaced.
fn collectors(host: &Host) -> Result<Vec<crate::Background>> {
    host.sh(": >/mnt/gc-complaints")?;
    ["", "unshare --pid --fork --mount-proc", "unshare --pid --fork", "unshare --mount", "unshare --net"]
        .iter()
        .map(|elsewhere| {
            let gc = format!("{elsewhere} {} gc >/dev/null 2>>/mnt/gc-complaints", crate::OCINET);
            host.background(&[
                "sh",
                "-c",
                &format!("while :; do {gc} || echo exit $? >>/mnt/gc-complaints; sleep 0.1; done"),
            ])
        })
        .collect()
}

/// Attaches a crowd at once. Then half of it ends, while as many others are attached. Then all end.
fn round_of(host: &Host, crowds: &mut Crowds, size: usize, look: bool) -> Result<()> {
    let (first, second) = (Crowd::new(host, "first", size, 10_000)?, Crowd::new(host, "second", size / 2, 20_000)?);
    let calls: Vec<_> = (0..size).map(|number| first.attach(number)).collect();
    crowds.note(&call(host, Pace::AtOnce, &calls)?, |_| false);
    crowds.compare(&host.settled_sandboxes()?, size + 1);

    first.end(0..size / 2)?;
    let mixed: Vec<_> = (0..size / 2).flat_map(|number| [first.detach(number), second.attach(number)]).collect();
    crowds.note(&call(host, Pace::AtOnce, &mixed)?, |number| number % 2 == 0);
    crowds.compare(&host.settled_sandboxes()?, size - size / 2 + second.count() + 1);
    if look {
        host.check()?;
    }

    first.end(size / 2..size)?;
    second.end(0..second.count())?;
    let rest = (size / 2..size).map(|number| first.detach(number));
    let rest: Vec<_> = rest.chain((0..second.count()).map(|number| second.detach(number))).collect();
    crowds.note(&call(host, Pace::AtOnce, &rest)?, |_| true);
    crowds.compare(&host.settled_sandboxes()?, 1);
    Ok(())
}

/// A crowd that is larger than the subnet: exactly the surplus is refused, and is attached after others have ended.
pub fn too_small_a_subnet(rounds: usize) -> Result<()> {
    // Sixteen addresses, less those of the network, of the broadcast and of the gateway.
    const ROOM: usize = 13;
    const SURPLUS: usize = 7;
    let host = Host::new(Settings::default().prepare(r#"echo 'subnet = "10.90.0.0/28"' >/etc/ocinet/config.toml"#))?;
    for round in 0..rounds {
        let crowd = Crowd::new(&host, "web", ROOM + SURPLUS, 10_000)?;
        let calls: Vec<_> = (0..crowd.count()).map(|number| crowd.attach(number)).collect();
        let called = call(&host, Pace::AtOnce, &calls)?;
        let with = |code| (0..called.len()).filter(|number| called[*number].code == code).collect::<Vec<_>>();
        let (inside, outside) = (with(0), with(4));
        ensure!((inside.len(), outside.len()) == (ROOM, SURPLUS), "{called:#?}");
        host.check()?;
        let leaving = &inside[..SURPLUS];
        crowd.end(leaving.iter().copied())?;
        if round % 2 == 0 {
            // Only in every other round are the ended members detached. In the others the new attaches have to find
            // them dead.
            let calls: Vec<_> = leaving.iter().map(|number| crowd.detach(*number)).collect();
            ensure!(call(&host, Pace::AtOnce, &calls)?.iter().all(|one| one.code == 0), "a detach failed");
        }
        let calls: Vec<_> = outside.iter().map(|number| crowd.attach(*number)).collect();
        let called = call(&host, Pace::AtOnce, &calls)?;
        ensure!(called.iter().all(|one| one.code == 0), "there is room again: {called:#?}");
        host.check()?;
        crowd.end((0..crowd.count()).filter(|number| !leaving.contains(number)))?;
        host.ocinet("gc")?.success()?;
        leftovers::none(&host)?;
    }
    host.farewell()
}
