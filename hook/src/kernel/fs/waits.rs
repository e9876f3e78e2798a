//! How long a process waited for locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Place;

/// The names of the kinds of locks, in the order of [`kind`].
const NAMES: [&str; 14] = [
    "store",
    "firewall",
    "bridges",
    "deletion",
    "sandbox",
    "drain",
    "service",
    "containers",
    "links",
    "definitions",
    "flows",
    "agent",
    "agent-need",
    "agent-ready",
];

/// The time that a process has waited for each kind of lock.
#[derive(Debug, Default)]
pub struct Waits([AtomicU64; NAMES.len()]);

impl Waits {
    /// Adds a wait for a lock that was taken. The lowest bit says that one was; the rest is nanoseconds.
    pub(super) fn note(&self, place: Place, waited: Duration) {
        let nanoseconds = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.0[kind(place)].fetch_add(nanoseconds & !1, Ordering::Relaxed);
        self.0[kind(place)].fetch_or(1, Ordering::Relaxed);
    }

    /// The kinds of locks that were taken, each with the time that all waits for it took.
    pub fn by_lock(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let taken = self.0.iter().zip(NAMES).map(|(waited, name)| (name, waited.load(Ordering::Relaxed)));
        taken.filter(|(_, waited)| waited & 1 == 1).map(|(name, waited)| (name, Duration::from_nanos(waited)))
    }
}

fn kind(place: Place) -> usize {
    match place {
        Place::Writer => 0,
        Place::Firewall => 1,
        Place::Bridges => 2,
        Place::Deletion => 3,
        Place::Sandbox(_) => 4,
        Place::Drain(_) => 5,
        Place::Service => 6,
        Place::Containers => 7,
        Place::Links => 8,
        Place::Definitions => 9,
        Place::Flows => 10,
        Place::Agent => 11,
        Place::AgentNeed => 12,
        Place::AgentReady(_) => 13,
    }
}
