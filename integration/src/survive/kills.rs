//! Many kills or failures, on several hosts in parallel, and their results.

use std::fmt::{self, Display};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::Host;

/// The whole host is compared with its first snapshot after every so many cases.
const LOOK: usize = 25;

/// The results of many kills, or of many system calls that failed.
#[derive(Debug, Default)]
pub struct Tally {
    /// The number of cases.
    pub points: usize,
    /// The number of kills or failures that happened.
    pub tried: usize,
    /// Those that did not happen in any try.
    pub missed: Vec<String>,
    /// Those after which something was left or went wrong, with what.
    pub leaks: Vec<String>,
}

impl Tally {
    /// An error that shows every failure, if there is one.
    pub fn is_clean(&self) -> Result<()> {
        let failures = [&self.missed[..], &self.leaks[..]].concat();
        ensure!(failures.is_empty(), "of {} tries {} failed:\n{}", self.tried, failures.len(), failures.join("\n"));
        ensure!(self.tried > 0, "nothing was tried");
        Ok(())
    }
}

/// The host could not be brought to the state before the kill: the machine was too slow, and the hook is not at fault.
/// The case is tried on another host.
#[derive(Debug)]
pub(super) struct Unready;

impl Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("before the kill")
    }
}

/// A kill and what follows it.
pub(super) trait Case: Copy + Display + Send {
    /// How often it is tried where it does not happen: threads do not race in the same way each time.
    const TRIES: u32 = 25;

    /// A host for cases like this one.
    fn host(self) -> Result<Host>;

    /// The end of a host for cases like this one, on which nothing may be left.
    fn end(host: &Host) -> Result<()> {
        host.farewell()
    }

    /// Makes the kill. `nth` counts the tries in which it did not happen: a random moment is then chosen earlier.
    /// Returns false if the kill did not happen, an error if something was left, and [`Unready`] if the host was not
    /// ready.
    fn happen(self, host: &Host, nth: u32) -> Result<bool>;
}

/// Runs every case, on several hosts in parallel.
pub(super) fn run<C: Case>(points: usize, cases: Vec<C>, workers: usize) -> Result<Tally> {
    let tally = Mutex::new(Tally { points, ..Tally::default() });
    let queue = Mutex::new(cases.into_iter());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(|| work(&next, &tally))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().ok().context("a thread panicked")?)
    })?;
    tally.into_inner().ok().context("a thread panicked")
}

/// Runs cases as long as there are any, all on one host. After an error it continues on a new host.
fn work<C: Case>(next: &dyn Fn() -> Option<C>, tally: &Mutex<Tally>) -> Result<()> {
    let Some(first) = next() else { return Ok(()) };
    let mut host = first.host()?;
    for (number, case) in std::iter::once(first).chain(std::iter::from_fn(next)).enumerate() {
        let told = insist(case, &host).and_then(|hit| {
            if number % LOOK == LOOK - 1 {
                host.check().context("here or at one of those before")?;
            }
            Ok(hit)
        });
        let told = match told {
            Err(error) => {
                host = case.host()?;
                // The case is repeated once after a host that was not ready. A second such error counts as any other.
                if error.is::<Unready>() { insist(case, &host) } else { Err(error) }
            }
            told => told,
        };
        let mut tally = tally.lock().ok().context("a thread panicked")?;
        tally.tried += usize::from(!matches!(told, Ok(false)));
        match told {
            Ok(true) => {}
            Ok(false) => tally.missed.push(format!("{case}: it came to its end each time")),
            Err(error) => tally.leaks.push(format!("{case}: {error:#}")),
        }
    }
    C::end(&host)
}

/// Repeats the case until the kill happens. False if it never does.
fn insist<C: Case>(case: C, host: &Host) -> Result<bool> {
    for nth in 0..C::TRIES {
        if case.happen(host, nth)? {
            return Ok(true);
        }
    }
    Ok(false)
}
