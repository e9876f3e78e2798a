//! Attach, detach and collect: the only code that decides the order of things.
//!
//! Intent first: every name, address and port that will exist is in the store before the kernel is touched, so whatever
//! is killed, the stored sandbox says what to undo. Undoing is detach, which reads that alone and tolerates absence: it
//! serves poststop, rollback, a repeated start and collection alike.
//!
//! Locks, in the order in which they may be waited for: the sandbox (held through attach, detach and collection of it),
//! the definitions of networks, the deletion of firewall elements, the firewall, the links, the making of bridges, the
//! store's writer. The lock of a drain is
//! taken when it is free, or waited for with no other than the sandbox's. No kernel work happens inside a transaction.

mod alive;
mod definition;
mod doctor;
mod error;
mod files;
mod locks;
mod names;
mod network;
mod open;
mod removal;
mod repair;
mod report;
mod resolve;
#[cfg(test)]
mod rooms;
mod rules;
mod sandbox;
mod settings;

pub use doctor::{CONTAINERDS, Finding, Remedy, Reset, SERVICE_SOCKET, examine_bundle, missing_calls, preflight};
pub use error::{DOES_NOT_ARRIVE, Error, Failures, LEFT_TO_OTHERS, Result};
pub use files::{MEMBERS, Member, discard_files_of, files_to_fill, members};
pub use names::{AGENT, AGENT_SOCKET, NAMESPACE};
pub use network::{Definitions, Lifetime, default_network};
pub use repair::Collected;
pub use report::{Explained, NetworkKind, NetworkView, Plan, Question, uplinks};
pub use resolve::not_attached;
pub use sandbox::{Kept, NetnsOwner, OpenBundle, Outcome, bundle_of, edit_for};
pub use settings::settings;

use std::path::PathBuf;
use std::time::Instant;

use slog::{Logger, debug, warn};

use files::ContainerFiles;
use removal::Drains;
use rules::Rules;

use crate::input::config::Config;
use crate::kernel::{self, Flows, HostLinks, LockFile, Origin};
use crate::store::{Host, Store};

/// The engine of one host.
pub struct Engine {
    config: Config,
    /// Where the store, the locks and the files are: `/run/ocinet` by default.
    state_dir: PathBuf,
    store: Store,
    /// Whether it must change nothing, not even repair the store.
    only_looks: bool,
    locks: LockFile,
    files: ContainerFiles,
    links: HostLinks,
    /// What keeps the rules: the firewall, and our forward passes through others.
    rules: Rules,
    /// The connection to conntrack, opened when it is first needed.
    flows: Flows,
    /// What is left to delete when the engine is closed.
    drains: Drains,
    /// Where this process sees namespaces and processes from.
    origin: Origin,
    /// The boot and the network namespace, which the store belongs to.
    host: Host,
    log: Logger,
    /// When the step that runs now began.
    since: Instant,
}

impl Engine {
    /// Logs a failure that does not make the attach or detach fail: old UDP flows end by themselves.
    fn warn_of(&self, result: kernel::Result<()>) {
        if let Err(error) = result {
            warn!(self.log, "{error}");
        }
    }

    /// Logs the duration of the step that ends here.
    fn step(&mut self, step: &'static str) {
        let now = Instant::now();
        let took = now.duration_since(self.since).as_micros();
        self.since = now;
        debug!(self.log, "step"; "step" => step, "us" => u64::try_from(took).unwrap_or(u64::MAX));
    }
}

/// The host that this process runs on.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn this_host() -> Result<Host> {
    host_of(&HostLinks::open()?)
}

/// The host that has `links`.
fn host_of(links: &HostLinks) -> Result<Host> {
    Ok(Host { boot: kernel::boot_id()?, cookie: links.cookie()? })
}
