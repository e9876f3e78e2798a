//! Many containers one after the other: memory, store and rules do not grow.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::crowd::{Crowd, Pace, call};
use super::point::CALLER;
use super::{Times, leftovers};
use crate::{Host, OCINET, Output, Settings};

/// The number of cycles between two looks.
const BATCH: usize = 100;

/// A host after so many cycles.
#[derive(Clone, Debug)]
pub struct Look {
    /// Attaches and detaches so far.
    pub cycles: usize,
    /// Bytes under the state directory.
    pub store: u64,
    /// Lines of our table.
    pub rules: usize,
    /// The links of the host.
    pub links: usize,
    /// An attach's peak memory in KiB.
    pub attach_memory: u64,
    /// A detach's peak memory in KiB.
    pub detach_memory: u64,
    /// What the attaches since the last look took.
    pub attach: Times,
    /// What the detaches since the last look took.
    pub detach: Times,
}

/// Attaches and detaches one container after the other, and looks at the host after each hundred.
pub fn cycles(count: usize) -> Result<Vec<Look>> {
    let host = Host::new(Settings::default())?;
    let mut looks = Vec::new();
    while looks.len() * BATCH < count {
        let crowd = Crowd::new(&host, "web", BATCH, 10_000)?;
        let calls = |number| [crowd.attach(number), crowd.end_and_detach(number)];
        let mut series: Vec<_> = (0..BATCH - 1).flat_map(calls).collect();
        let called = call(&host, Pace::InTurn, &std::mem::take(&mut series))?;
        let (mut attach, mut detach) = (Times::default(), Times::default());
        for (number, one) in called.iter().enumerate() {
            ensure!(one.code == 0 && one.stderr.is_empty(), "{one:?}");
            if number % 2 == 0 { attach.add(one.micros) } else { detach.add(one.micros) }
        }
        // The last member of a batch runs under a helper that measures its memory, which takes longer, so its time does
        // not count.
        let last = BATCH - 1;
        let attach_memory = memory(&host, "createRuntime", &crowd.state(last))?;
        crowd.end([last])?;
        let detach_memory = memory(&host, "poststop", &crowd.state(last))?;
        host.settles()?;
        let cycles = (looks.len() + 1) * BATCH;
        let store = host
            .sh("find /run/ocinet -type f -not -name 'log*' -printf '%s\n' | awk '{ sum += $1 } END { print sum }'")?;
        let rules = host.sh("nft list table inet ocinet | wc -l; ip -oneline link show | wc -l")?;
        let (rules, links) = rules.trim().split_once('\n').unwrap_or_default();
        looks.push(Look {
            cycles,
            store: store.trim().parse()?,
            rules: rules.parse()?,
            links: links.parse()?,
            attach_memory,
            detach_memory,
            attach,
            detach,
        });
    }
    leftovers::none(&host)?;
    host.farewell()?;
    Ok(looks)
}

/// An error unless the last look is like the first.
pub fn is_flat(looks: &[Look]) -> Result<()> {
    let [first, .., last] = looks else { return Ok(()) };
    // SQLite never shrinks the file below its largest size, which depends on how many links drain at once. A row that
    // each cycle left over would add some hundred bytes per cycle.
    let room = first.store + (32 << 10);
    ensure!(last.store <= room, "the store has grown from {} to {} bytes", first.store, last.store);
    ensure!(last.rules == first.rules, "there were {} lines of rules, now {}", first.rules, last.rules);
    ensure!(last.links == first.links, "there were {} links, now {}", first.links, last.links);
    let memory = |look: &Look| look.attach_memory.max(look.detach_memory);
    // The kernel randomises the address space of each process, which costs some pages more or less.
    ensure!(memory(last) <= memory(first) + 512, "memory has grown from {} to {} KiB", memory(first), memory(last));
    Ok(())
}

fn memory(host: &Host, stage: &str, state: &Value) -> Result<u64> {
    let mut command = host.command(&[CALLER, "measure", OCINET, "hook", stage]);
    Ok(Output::of(&mut command, state.to_string().as_bytes())?.success()?.trim().parse()?)
}
