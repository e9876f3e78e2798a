//! The locks of the engine, for sandboxes and for the firewall.

use super::{Engine, Result};
use crate::kernel::{Lock, Place};
use crate::model::{Key, Sandbox, State};
use crate::store::HostRow;

/// The firewall's shared lock, held from the write of a lease until the kernel holds the same: meanwhile no process loads the ruleset
/// from the store.
pub(super) struct FirewallLock {
    /// The shared lock.
    pub lock: Lock,
    /// The host's row of the store, which does not change meanwhile.
    pub row: HostRow,
}

impl Engine {
    /// The sandbox that was `listed`, as it is now, and its exclusive lock; none where it is gone. While the
    /// lock was waited for, the sandbox may have begun to drain, which has another lock.
    pub(super) fn alone_at(&self, listed: &Sandbox) -> Result<Option<(Sandbox, Lock)>> {
        let mut place = Self::place_of(listed);
        loop {
            let alone = self.locks.exclusive(place)?;
            alone.inherit()?;
            let Some(sandbox) = self.store.read().sandbox(listed.number)? else { return Ok(None) };
            if Self::place_of(&sandbox) == place {
                return Ok(Some((sandbox, alone)));
            }
            place = Self::place_of(&sandbox);
        }
    }

    /// The lock of the process that works on `sandbox`.
    pub(super) fn place_of(sandbox: &Sandbox) -> Place {
        match sandbox.state {
            State::Draining => Place::Drain(sandbox.number),
            _ => Place::Sandbox(sandbox.key().lock_offset()),
        }
    }

    /// Waits until no other process works on the sandbox. A detach takes some 20 ms.
    pub(super) fn wait_for(&mut self, sandbox: &Sandbox) -> Result<()> {
        // A process that waits must hold no lock that the others could wait for.
        self.finish()?;
        drop(self.locks.exclusive(Self::place_of(sandbox))?);
        Ok(())
    }

    /// The lock under which a container's ports are added to the store and the kernel, or removed. The programs that change the
    /// kernel hold it, too: the ruleset is not loaded while one of them outlives us and still adds to it.
    pub(super) fn change_at_firewall(&self) -> Result<Lock> {
        let change = self.locks.shared(Place::Firewall)?;
        change.inherit()?;
        Ok(change)
    }

    /// The lock of the process that works on a sandbox. The programs that it starts hold it, too: they end
    /// before others undo it.
    pub(super) fn alone_at_sandbox(&self, key: &Key) -> Result<Lock> {
        let alone = self.locks.exclusive(Place::Sandbox(key.lock_offset()))?;
        alone.inherit()?;
        Ok(alone)
    }

    /// The lock under which the ruleset is loaded. The program that loads it holds the lock, too: otherwise it could overwrite a later
    /// change of another process.
    pub(super) fn alone_at_firewall(&self) -> Result<Lock> {
        let alone = self.locks.exclusive(Place::Firewall)?;
        alone.inherit()?;
        Ok(alone)
    }
}
