//! The locks of the engine, for sandboxes and for the firewall.

use super::Result;
use crate::kernel::{Lock, LockFile, Place};
use crate::model::{DrainingEndpoint, Key, Sandbox};
use crate::store::{HostRow, Store};

/// The firewall's shared lock, held from the write of a lease until the kernel holds the same: meanwhile no process
/// loads the ruleset from the store.
pub(super) struct FirewallLock {
    /// The shared lock.
    pub lock: Lock,
    /// The host's row of the store, which does not change meanwhile.
    pub row: HostRow,
}

/// The lock of the process that works on `sandbox`.
pub(super) fn place_of(sandbox: &Sandbox) -> Place {
    Place::Sandbox(sandbox.key().lock_offset())
}

/// The lock of the process that deletes the link of a draining endpoint.
pub(super) fn place_of_draining(draining: &DrainingEndpoint) -> Place {
    Place::Drain(draining.endpoint.number)
}

/// The sandbox that was `listed`, as it is now, and its exclusive lock; none where it is gone. It is found by its key: a
/// store that was rebuilt meanwhile has given other numbers.
pub(super) fn alone_at(locks: &LockFile, store: &Store, listed: &Sandbox) -> Result<Option<(Sandbox, Lock)>> {
    let alone = alone(locks, place_of(listed))?;
    Ok(store.read().find(&listed.key())?.map(|sandbox| (sandbox, alone)))
}

/// The lock of the process that works on a sandbox. The programs that it starts hold it, too: they end
/// before others undo it.
pub(super) fn alone_at_sandbox(locks: &LockFile, key: &Key) -> Result<Lock> {
    alone(locks, Place::Sandbox(key.lock_offset()))
}

/// The lock under which a container's ports are added to the store and the kernel, or removed. The programs that change
/// the kernel hold it, too: the ruleset is not loaded while one of them outlives us and still adds to it.
pub(super) fn change_at_firewall(locks: &LockFile) -> Result<Lock> {
    let change = locks.shared(Place::Firewall)?;
    change.inherit()?;
    Ok(change)
}

/// The lock under which the ruleset is loaded. The program that loads it holds the lock, too: otherwise it could
/// overwrite a later change of another process.
pub(super) fn alone_at_firewall(locks: &LockFile) -> Result<Lock> {
    alone(locks, Place::Firewall)
}

fn alone(locks: &LockFile, place: Place) -> Result<Lock> {
    let alone = locks.exclusive(place)?;
    alone.inherit()?;
    Ok(alone)
}
