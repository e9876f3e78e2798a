//! The firewall is flushed while many containers run.

use anyhow::{Result, ensure};

use super::crowd::{Crowd, Pace, call};
use super::{Times, leftovers};
use crate::{Host, Settings};

/// The time of the next hook when the rules of `size` endpoints are gone. It restores all of them.
pub fn recovery(size: usize, rounds: usize) -> Result<Times> {
    // `nft flush ruleset` would delete the rules of other programs too.
    let host = Host::new(Settings::default().prepare("nft delete table inet stranger"))?;
    let crowd = Crowd::new(&host, "web", size, 10_000)?;
    let calls: Vec<_> = (0..size).map(|number| crowd.attach(number)).collect();
    let called = call(&host, Pace::AtOnce, &calls)?;
    ensure!(called.iter().all(|one| one.code == 0), "{called:#?}");
    let mut times = Times::default();
    for _ in 0..rounds {
        host.sh("nft flush ruleset")?;
        let next = Crowd::new(&host, "next", 1, 20_000)?;
        let called = call(&host, Pace::AtOnce, &[next.attach(0)])?;
        ensure!(called.iter().all(|one| one.code == 0), "{called:#?}");
        times.add(called[0].micros);
        let called = call(&host, Pace::InTurn, &[next.end_and_detach(0)])?;
        ensure!(called.iter().all(|one| one.code == 0), "{called:#?}");
        host.settled_sandboxes()?;
    }
    host.check()?;
    crowd.end(0..size)?;
    let calls: Vec<_> = (0..size).map(|number| crowd.detach(number)).collect();
    ensure!(call(&host, Pace::AtOnce, &calls)?.iter().all(|one| one.code == 0), "a detach failed");
    leftovers::none(&host)?;
    host.farewell()?;
    Ok(times)
}
