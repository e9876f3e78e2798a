//! `delete`: what a crash left of a container's network is taken away.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use ocinet::config::Config;
use ocinet::engine::{Engine, Result};
use ocinet::model::{ContainerId, Key};
use slog::Logger;

use crate::STATE_DIR;
use crate::call::Call;

/// Detaches the container. After an orderly end its runtime has done so by the hook, and nothing is left to do.
///
/// # Errors
/// Those of the engine.
pub fn run(call: &Call, log: &Logger) -> Result<()> {
    // An id that cannot be one of ours is not attached.
    let Some(id) = call.id.as_deref().and_then(OsStr::to_str).and_then(|id| id.parse::<ContainerId>().ok()) else {
        return Ok(());
    };
    let Some(mut engine) = Engine::open_used(Path::new(STATE_DIR), Config::default(), log.clone())? else {
        return Ok(());
    };
    let detached = bundles(call).iter().try_for_each(|bundle| engine.detach(&Key::new(&id, bundle)));
    let closed = engine.close();
    detached.and(closed)
}

/// What the runtime may have called the bundle: containerd's name for it or, where a link is on the way, what that leads to.
fn bundles(call: &Call) -> Vec<String> {
    let named = call.bundle.as_deref().map(PathBuf::from);
    let seen = std::env::current_dir().ok();
    let names = seen.into_iter().chain(named).filter_map(|path| path.into_os_string().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.dedup();
    names
}
