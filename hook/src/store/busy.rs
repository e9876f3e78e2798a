//! Waits for SQLite's own lock. Writers queue elsewhere ([`Writing`]), so a reader waits here for the end of one commit,
//! and a commit for the end of a question.
//!
//! [`Writing`]: super::Writing

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The longest wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pauses between tries, in milliseconds, and then the last one again: those of SQLite's own handler
/// (`sqliteDefaultBusyCallback`, main.c), which does not say how long it waited.
const PAUSES: [u64; 12] = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100];

/// How long this process has waited, in nanoseconds.
static WAITED: AtomicU64 = AtomicU64::new(0);

/// Waits before try number `tries`; false where it is too late.
pub(super) fn wait(tries: i32) -> bool {
    let tries = usize::try_from(tries).unwrap_or_default();
    let pause = |nth: usize| PAUSES.get(nth).or(PAUSES.last()).copied().unwrap_or_default();
    let before: u64 = (0..tries).map(pause).sum();
    let left = PATIENCE.saturating_sub(Duration::from_millis(before));
    if left.is_zero() {
        return false;
    }
    let since = Instant::now();
    thread::sleep(Duration::from_millis(pause(tries)).min(left));
    WAITED.fetch_add(u64::try_from(since.elapsed().as_nanos()).unwrap_or_default(), Ordering::Relaxed);
    true
}

/// How long this process has waited for SQLite's own lock.
pub fn waited() -> Duration {
    Duration::from_nanos(WAITED.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_twenty_seconds_at_most() {
        let before = waited();
        assert!(wait(0) && waited() > before);
        assert!(!wait(1_000));
    }
}
