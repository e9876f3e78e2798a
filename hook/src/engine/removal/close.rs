use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use slog::{debug, warn};

use super::drain::Drainer;
use crate::engine::Engine;
use crate::kernel::{self, Flows, HostLinks, Lock, Place};
use crate::store::{self, Store};

/// How long the kernel takes to free deleted elements of the firewall: one RCU grace period, with a margin. A netfilter
/// socket that is closed in that time waits for it, and so does every process that changes the firewall
/// (`nft_rcv_nl_event`, net/netfilter/nf_tables_api.c).
const GRACE_PERIOD: Duration = Duration::from_millis(60);

/// How often it looks, and for how long, whether other processes have stopped deleting.
const LOOK: Duration = Duration::from_millis(250);
const QUIET: Duration = Duration::from_secs(3);

impl Engine {
    /// Ends the engine of a short-lived process. What takes the kernel long, the deletion of links and the end of a
    /// netfilter socket after deletions, goes on in a child process that no caller waits for. If the child is killed,
    /// its locks are free, and collection goes on where it stopped.
    ///
    /// Never fails: the attach or detach is complete. What is left is in the store as draining, and collection finds
    /// it; the log says so.
    pub fn close(mut self) {
        self.settle();
    }

    /// The same for a process that ends now, which closes all descriptors at once: a dozen system calls less.
    pub fn close_at_exit(mut self) {
        self.settle();
        std::mem::forget(self);
    }

    fn settle(&mut self) {
        // A step that failed has not reset the time.
        self.since = Instant::now();
        let must_wait = self.slow_sockets().next().is_some() && self.is_deletion_recent();
        if (must_wait || !self.drains.waiting.is_empty()) && !self.leave_to_child(must_wait) {
            // A socket that is closed too early only makes others wait.
            if let Err(error) = self.finish() {
                warn!(self.log, "links of detached containers are left, which ocinet gc deletes: {error}");
            }
        }
        self.step("close");
        let own = ("sqlite", store::waited());
        for (name, waited) in self.locks.waits().by_lock().chain([own]) {
            debug!(self.log, "lock"; "lock" => name, "us" => u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Hands what is slow to a child process. False where none could be made: then nothing was done.
    fn leave_to_child(&self, must_wait: bool) -> bool {
        let drains = self.drains.waiting.iter().map(|(_, drain)| drain.as_fd());
        let keep: Vec<_> =
            self.slow_sockets().chain(self.drains.deletion_lock.iter().map(AsFd::as_fd)).chain(drains).collect();
        let work = || {
            // They are kept until the process ends, since closing their sockets would wait.
            let opened = self.drain_apart();
            // Processes that wait for an address or an interface can go on; they need not wait for the sockets.
            self.drains.waiting.iter().for_each(|(_, drain)| drain.release());
            if must_wait || (opened.is_some() && self.is_deletion_recent()) {
                thread::sleep(GRACE_PERIOD);
                self.drains.deletion_lock.iter().for_each(Lock::release);
                // Held until this process ends, which closes its socket.
                std::mem::forget(self.await_quiet());
            }
            // The kernel closes it all at once when the process ends.
            std::mem::forget(opened);
        };
        match kernel::in_background(&keep, work) {
            Ok(Some(_)) => true,
            Ok(None) => {
                debug!(self.log, "several threads: finishing in the foreground");
                false
            }
            Err(error) => {
                debug!(self.log, "no process can be made, finishing in the foreground"; "error" => %error);
                false
            }
        }
    }

    /// Drains in the child, with a store and sockets of its own: those of its parent are not to be shared. Collection
    /// finds what it leaves.
    fn drain_apart(&self) -> Option<(Store, HostLinks, Flows)> {
        if self.drains.waiting.is_empty() {
            return None;
        }
        let mut store = Store::open(&self.state_dir, &self.host, &self.locks).ok()??;
        let (mut links, mut flows) = (HostLinks::open().ok()?, Flows::default());
        let waiting: Vec<_> = self.drains.waiting.iter().map(|(draining, _)| draining.clone()).collect();
        let mut drainer = Drainer { store: &mut store, links: &mut links, flows: &mut flows, locks: &self.locks };
        let _ = drainer.drain_all(&waiting);
        Some((store, links, flows))
    }

    /// The sockets that take the kernel long to close after elements of the firewall were deleted.
    fn slow_sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rules.slow_sockets().chain(self.flows.slow_sockets())
    }

    /// Waits until no process deletes elements, and returns the lock that keeps others from it; none at the deadline.
    /// Where many wait, the kernel's queue for a lock would wake up all of them each time one releases it.
    fn await_quiet(&self) -> Option<Lock> {
        let since = Instant::now();
        loop {
            match self.locks.attempt(Place::Deletion) {
                Ok(None) if since.elapsed() < QUIET => thread::sleep(LOOK),
                attempt => return attempt.ok().flatten(),
            }
        }
    }

    /// Whether elements of the firewall were deleted a moment ago, by any process, or where that is not known.
    fn is_deletion_recent(&self) -> bool {
        self.drains.deletion_lock.is_some() || !matches!(self.locks.attempt(Place::Deletion), Ok(Some(_)))
    }
}
