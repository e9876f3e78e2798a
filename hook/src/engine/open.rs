//! Opening the engine of a host, with a store that is whole.

use std::path::Path;
use std::time::Instant;

use slog::Logger;

use super::files::{CONTAINERS, ContainerFiles};
use super::removal::Drains;
use super::repair::RebuildContext;
use super::rules::Rules;
use super::{Engine, Result, host_of};
use crate::input::config::Config;
use crate::kernel::{self, Flows, HostLinks, LockFile, Origin};
use crate::store::{Host, Store};

/// The host that this process runs on, and the connection that told it.
type Here = (HostLinks, Host);

fn here() -> Result<Here> {
    let links = HostLinks::open()?;
    let host = host_of(&links)?;
    Ok((links, host))
}

impl Engine {
    /// Opens the host this process runs on, with its state in `state_dir`.
    ///
    /// # Errors
    /// When the state directory is not ours, or the store cannot be opened.
    pub fn open(state_dir: &Path, config: Config, log: Logger) -> Result<Self> {
        Self::open_on(here()?, state_dir, config, log)
    }

    fn open_on(here: Here, state_dir: &Path, config: Config, log: Logger) -> Result<Self> {
        let since = Instant::now();
        kernel::state_dir(state_dir)?;
        let mut is_new = false;
        let settings = config.clone();
        let mut engine = Self::with_store(here, state_dir, config, log.clone(), since, |host, locks| {
            let (store, made) = RebuildContext { state_dir, host, locks, config: &settings, log: &log }.open()?;
            is_new = made;
            Ok(store)
        })?;
        if is_new {
            engine.rules.take_over(&mut engine.store, &mut engine.links)?;
            engine.forget_stray_neighbours()?;
        }
        Ok(engine)
    }

    /// Opens the host to plan an attach. Nothing is made, but that a store of an earlier version is upgraded: where
    /// there is none, an empty one in memory is used.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_to_plan(state_dir: &Path, config: Config, log: Logger) -> Result<Self> {
        kernel::check_state_dir(state_dir)?;
        let engine = Self::with_store(here()?, state_dir, config, log, Instant::now(), |host, locks| {
            Ok(Store::open(state_dir, host, locks)?.map_or_else(|| Store::in_memory(locks, |_| Ok(())), Ok)?)
        })?;
        Ok(Self { only_looks: true, ..engine })
    }

    /// Opens the host to look at it, if ocinet was used on it since it booted. Nothing is changed, but that a store of
    /// an earlier version is upgraded: where the store is missing or damaged, what the kernel holds is shown instead,
    /// and the log says so.
    ///
    /// # Errors
    /// When the state directory is not ours, or the store cannot be read.
    pub fn open_to_look(state_dir: &Path, config: Config, log: Logger) -> Result<Option<Self>> {
        let mut here = here()?;
        kernel::check_state_dir(state_dir)?;
        if is_unused(state_dir, &mut here)? {
            return Ok(None);
        }
        let settings = config.clone();
        let engine = Self::with_store(here, state_dir, config, log.clone(), Instant::now(), |host, locks| {
            RebuildContext { state_dir, host, locks, config: &settings, log: &log }.look()
        })?;
        Ok(Some(Self { only_looks: true, ..engine }))
    }

    fn with_store(
        (links, host): Here,
        state_dir: &Path,
        config: Config,
        log: Logger,
        since: Instant,
        open: impl FnOnce(&Host, &LockFile) -> Result<Store>,
    ) -> Result<Self> {
        let locks = LockFile::of(state_dir);
        let store = open(&host, &locks)?;
        let files = ContainerFiles::new(state_dir, &host, &log);
        let rules = Rules::new(&config, &locks, &log);
        let mut engine = Self {
            config,
            state_dir: state_dir.to_owned(),
            store,
            only_looks: false,
            locks,
            files,
            links,
            rules,
            flows: Flows::default(),
            drains: Drains::default(),
            origin: Origin::default(),
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
        let mut here = here()?;
        if is_unused(state_dir, &mut here)? {
            return Ok(None);
        }
        Self::open_on(here, state_dir, config, log).map(Some)
    }
}

/// Whether ocinet was not used on the host since it booted. A missing store proves nothing, since it may have been
/// removed.
fn is_unused(state_dir: &Path, (links, host): &mut Here) -> Result<bool> {
    let has_files = || !matches!(state_dir.join(CONTAINERS).try_exists(), Ok(false));
    Ok(!Store::may_be_there(state_dir, host) && !has_files() && links.all_ours()?.is_empty())
}
