use super::Result;
use crate::kernel::{Lock, LockFile, Place};

/// The right to write to the stores of a directory, which one process at a time has: the lock [`Place::Writer`], held
/// alone.
///
/// Taking it a second time would wait for the first holder, also within one process. A function that needs the right
/// takes it as an argument, so that a caller that holds it passes it on.
#[derive(Debug)]
#[must_use = "the right ends as soon as it is dropped"]
pub struct Writing(#[expect(dead_code, reason = "it is held, not used")] Lock);

impl Writing {
    /// Waits until no other process holds it.
    ///
    /// # Errors
    /// When another process holds it for longer than 20 seconds.
    pub fn begin(locks: &LockFile) -> Result<Self> {
        Ok(Self(locks.exclusive(Place::Writer)?))
    }

    /// Prevents every process from taking it, for a reader that must not see a store which is being replaced.
    ///
    /// # Errors
    /// When another process holds it for longer than 20 seconds.
    pub fn prevent(locks: &LockFile) -> Result<Lock> {
        Ok(locks.shared(Place::Writer)?)
    }

    /// The same in a process that may only read the lock file, and does not wait: none where a process writes.
    ///
    /// # Errors
    /// When the file cannot be locked at all.
    pub fn prevent_now(locks: &LockFile) -> Result<Option<Lock>> {
        Ok(locks.attempt_shared(Place::Writer)?)
    }
}
