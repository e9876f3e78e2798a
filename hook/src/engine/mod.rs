//! Attach, detach and collect: the only code that decides the order of things.
//!
//! Intent first: every name, address and port that will exist is in the store before the kernel is touched, so whatever
//! dies, the record says what to undo. Undoing is detach, which reads the record alone and tolerates absence: it serves
//! poststop, rollback, a repeated start and collection alike.
//!
//! Locks, in the order in which they may be taken: the sandbox (held through attach, detach and collection of it), the
//! settling of the firewall, the firewall, a drain, the making of bridges, the store's writer. No kernel work happens
//! inside a transaction.

mod ahead;
mod attach;
mod bundle;
mod close;
mod collect;
mod detach;
mod doctor;
mod error;
mod files;
mod firewall;
mod follow;
mod forwarding;
mod lease;
mod member;
mod name_servers;
mod network;
mod passage;
mod plan;
mod ports;
mod prepare;
mod rebuild;
mod reset;
mod resolve;
mod settings;
mod spec_files;
mod standing;
mod view;

pub use attach::Outcome;
pub use bundle::bundle_of;
pub use collect::Collected;
pub use doctor::{Finding, Remedy};
pub use error::{Error, Failures, Result};
pub use follow::{Change, Follower, Known};
pub use member::Neighbour;
pub use network::default_network;
pub use plan::Plan;
pub use prepare::{OpenBundle, edit_for};
pub use reset::{CONTAINERDS, Reset, SERVICE_SOCKET};
pub use settings::settings;
pub use spec_files::{discard_files_of, files_to_fill};
pub use view::{NetworkKind, NetworkView};

use std::path::{Path, PathBuf};
use std::time::Instant;

use slog::{Logger, debug, warn};

use crate::decide::similar;
use crate::firewall::{Backend, Kind};
use crate::input::config::Config;
use crate::kernel::{self, Conntrack, HostLinks, Lock, LockFile, Neighbours, Netns, Origin};
use crate::model::{ContainerId, Network, Record, quoted};
use crate::store::{self, Host, Read, Store};
use rebuild::Site;

/// The engine of one host.
pub struct Engine {
    config: Config,
    state_dir: PathBuf,
    store: Store,
    /// Whether it must change nothing, not even to mend the store.
    only_looks: bool,
    locks: LockFile,
    links: HostLinks,
    firewall: Option<(Kind, Box<dyn Backend<Error = kernel::Error>>)>,
    neighbours: Option<Neighbours>,
    conntrack: Option<Conntrack>,
    /// Held from a deletion in the firewall on until the kernel is done with it.
    settling: Option<Lock>,
    /// Records whose links are still to be deleted, each with its drain lock.
    draining: Vec<(Record, Lock)>,
    origin: Origin,
    host: Host,
    log: Logger,
    /// When the step that runs now began.
    since: Instant,
}

impl Engine {
    /// Opens the host this process runs on, with its state in `state_dir`.
    ///
    /// # Errors
    /// When the state directory is not ours, or the store cannot be opened.
    pub fn open(state_dir: &Path, config: Config, log: Logger) -> Result<Self> {
        Self::open_on(this_host()?, state_dir, config, log)
    }

    fn open_on(host: Host, state_dir: &Path, config: Config, log: Logger) -> Result<Self> {
        let since = Instant::now();
        kernel::state_dir(state_dir)?;
        let mut is_new = false;
        let settings = config.clone();
        let mut engine = Self::with_store(host, state_dir, config, log.clone(), since, |host, locks| {
            let (store, made) = Site { state_dir, host, locks, config: &settings, log: &log }.open()?;
            is_new = made;
            Ok(store)
        })?;
        if is_new {
            engine.find_firewalls()?;
        }
        Ok(engine)
    }

    /// Opens the host to plan an attach. Nothing is made where there is nothing.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_to_plan(state_dir: &Path, config: Config, log: Logger) -> Result<Self> {
        kernel::check_state_dir(state_dir)?;
        let engine = Self::with_store(this_host()?, state_dir, config, log, Instant::now(), |host, locks| {
            Ok(Store::open(state_dir, host, locks)?.map_or_else(|| Store::in_memory(locks, |_| Ok(())), Ok)?)
        })?;
        Ok(Self { only_looks: true, ..engine })
    }

    /// Opens the host to look at it, if ocinet was used on it since it booted. Nothing is changed: where the store is missing
    /// or damaged, what the kernel holds is shown instead, and the log says so.
    ///
    /// # Errors
    /// When the state directory is not ours, or the store cannot be read.
    pub fn open_to_look(state_dir: &Path, config: Config, log: Logger) -> Result<Option<Self>> {
        let host = this_host()?;
        kernel::check_state_dir(state_dir)?;
        if is_unused(state_dir, &host)? {
            return Ok(None);
        }
        let settings = config.clone();
        let engine = Self::with_store(host, state_dir, config, log.clone(), Instant::now(), |host, locks| {
            Site { state_dir, host, locks, config: &settings, log: &log }.look()
        })?;
        Ok(Some(Self { only_looks: true, ..engine }))
    }

    fn with_store(
        host: Host,
        state_dir: &Path,
        config: Config,
        log: Logger,
        since: Instant,
        open: impl FnOnce(&Host, &LockFile) -> Result<Store>,
    ) -> Result<Self> {
        let locks = LockFile::new(state_dir.join("lock"));
        let store = open(&host, &locks)?;
        let (links, origin) = (HostLinks::open()?, Origin::here()?);
        let mut engine = Self {
            config,
            state_dir: state_dir.to_owned(),
            store,
            only_looks: false,
            locks,
            links,
            firewall: None,
            neighbours: None,
            conntrack: None,
            settling: None,
            draining: Vec::new(),
            origin,
            host,
            log,
            since,
        };
        engine.step("open");
        Ok(engine)
    }

    /// Opens the host if ocinet was used on it since it booted; `None` means that there is nothing to see or undo.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_used(state_dir: &Path, config: Config, log: Logger) -> Result<Option<Self>> {
        let host = this_host()?;
        if is_unused(state_dir, &host)? {
            return Ok(None);
        }
        Self::open_on(host, state_dir, config, log).map(Some)
    }

    /// All records.
    ///
    /// # Errors
    /// When the store fails.
    pub fn records(&mut self) -> Result<Vec<Record>> {
        self.read(|store| store.records())
    }

    /// The first `count` records whose numbers are greater than `after`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn records_after(&mut self, after: i64, count: u32) -> Result<Vec<Record>> {
        self.read(|store| store.records_after(after, count))
    }

    /// The records of the container of that id, of that name, or whose id begins so: several where several roots of a runtime
    /// have one id.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none, [`Error::Conflict`] where several of different ids are called so.
    pub fn records_of(&mut self, container: &str) -> Result<Vec<Record>> {
        let id: ContainerId = container.parse()?;
        let all = self.records()?;
        let meant = resolve::meant(id.as_str(), &all, |record| self.is_dead(record))?;
        Ok(meant.into_iter().cloned().collect())
    }

    /// That no `container` of that id or name is among the `attached`, and which of them may have been meant.
    pub fn not_attached(container: &str, attached: &[Record]) -> Error {
        let known = attached.iter().flat_map(|record| [record.container.as_str(), record.name.as_str()]);
        let hint = match similar(container, known) {
            Some(near) => format!("did you mean {near}?"),
            None => "see ocinet ps".to_owned(),
        };
        Error::NotFound(format!("container {} is not attached; {hint}", quoted(container)))
    }

    /// The networks that were defined so far; `bridge` is defined by its first container.
    ///
    /// # Errors
    /// When the store fails.
    pub fn networks(&mut self) -> Result<Vec<Network>> {
        self.read(|store| store.networks())
    }

    /// Asks the store, which is rebuilt if it turns out to be damaged.
    fn read<T>(&mut self, question: impl Fn(&Read<'_>) -> store::Result<T>) -> Result<T> {
        match question(&self.store.read()).map_err(Error::from) {
            Err(error) if Self::is_store_lost(&error) => {
                if self.only_looks {
                    let Self { state_dir, host, locks, config, log, .. } = &*self;
                    self.store = Site { state_dir, host, locks, config, log }.seen(&error.to_string())?;
                } else {
                    self.renew_store(&error)?;
                }
                Ok(question(&self.store.read())?)
            }
            result => result,
        }
    }

    /// The connection to conntrack, opened when it is first needed and kept: to close it can take long.
    fn conntrack(&mut self) -> kernel::Result<&mut Conntrack> {
        if self.conntrack.is_none() {
            self.conntrack = Some(Conntrack::open()?);
        }
        Ok(self.conntrack.as_mut().expect("it was opened just now"))
    }

    /// Goes on after a failure that costs less than stopping would: old UDP flows end by themselves.
    fn warn_of(&self, result: kernel::Result<()>) {
        if let Err(error) = result {
            warn!(self.log, "{error}");
        }
    }

    /// Logs how long the step took that ends here.
    fn step(&mut self, step: &'static str) {
        let now = Instant::now();
        let took = now.duration_since(self.since).as_micros();
        self.since = now;
        debug!(self.log, "step"; "step" => step, "us" => u64::try_from(took).unwrap_or(u64::MAX));
    }
}

/// Whether there is no trace of us on the host. That the store is missing is not enough: it may have been removed.
fn is_unused(state_dir: &Path, host: &Host) -> Result<bool> {
    let has_files = !matches!(state_dir.join(files::CONTAINERS).try_exists(), Ok(false));
    Ok(!has_files && !Store::may_be_there(state_dir, host) && HostLinks::open()?.all_ours()?.is_empty())
}

fn this_host() -> Result<Host> {
    Ok(Host { boot: kernel::boot_id()?, cookie: Netns::own_cookie()? })
}
