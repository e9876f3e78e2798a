//! The locks of the engine, for sandboxes and for the firewall.

use super::Result;
use crate::kernel::{Lock, LockFile, Place};
use crate::model::{Key, Sandbox, State};
use crate::store::{HostRow, Store};

/// The firewall's shared lock, held from the write of a lease until the kernel holds the same: meanwhile no process loads the ruleset
/// from the store.
pub(super) struct FirewallLock {
    /// The shared lock.
    pub lock: Lock,
    /// The host's row of the store, which does not change meanwhile.
    pub row: HostRow,
}

/// The lock of the process that works on `sandbox`.
pub(super) fn place_of(sandbox: &Sandbox) -> Place {
    match sandbox.state {
        State::Draining => Place::Drain(sandbox.number),
        _ => Place::Sandbox(sandbox.key().lock_offset()),
    }
}

/// The sandbox that was `listed`, as it is now, and its exclusive lock; none where it is gone. While the
/// lock was waited for, the sandbox may have begun to drain, which has another lock.
pub(super) fn alone_at(locks: &LockFile, store: &Store, listed: &Sandbox) -> Result<Option<(Sandbox, Lock)>> {
    let mut place = place_of(listed);
    loop {
        let alone = alone(locks, place)?;
        let Some(sandbox) = store.read().sandbox(listed.number)? else { return Ok(None) };
        if place_of(&sandbox) == place {
            return Ok(Some((sandbox, alone)));
        }
        place = place_of(&sandbox);
    }
}

/// The lock of the process that works on a sandbox. The programs that it starts hold it, too: they end
/// before others undo it.
pub(super) fn alone_at_sandbox(locks: &LockFile, key: &Key) -> Result<Lock> {
    alone(locks, Place::Sandbox(key.lock_offset()))
}

/// The lock under which a container's ports are added to the store and the kernel, or removed. The programs that change the
/// kernel hold it, too: the ruleset is not loaded while one of them outlives us and still adds to it.
pub(super) fn change_at_firewall(locks: &LockFile) -> Result<Lock> {
    let change = locks.shared(Place::Firewall)?;
    change.inherit()?;
    Ok(change)
}

/// The lock under which the ruleset is loaded. The program that loads it holds the lock, too: otherwise it could overwrite a later
/// change of another process.
pub(super) fn alone_at_firewall(locks: &LockFile) -> Result<Lock> {
    alone(locks, Place::Firewall)
}

fn alone(locks: &LockFile, place: Place) -> Result<Lock> {
    let alone = locks.exclusive(place)?;
    alone.inherit()?;
    Ok(alone)
}
