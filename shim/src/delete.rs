//! `delete`: a container's network is taken away.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ocinet::engine::{Engine, Failures, Result};
use ocinet::input::config::Config;
use ocinet::model::{ContainerId, Key};
use slog::{Logger, warn};

use crate::call::Call;
use crate::stock::Stock;
use crate::{STATE_DIR, log};

/// Detaches the container, while the stock shim does the rest.
///
/// # Errors
/// When there is no stock shim, or containerd cannot be told what it answers.
pub fn run(call: &Call, stock: Result<Stock>) -> Result<ExitCode> {
    let stock = stock.and_then(Stock::delete);
    detach(call, &log::loud(call));
    stock?.finish()
}

/// Detaches the container. What goes wrong with it is no reason to keep that.
pub fn detach(call: &Call, log: &Logger) {
    // An id that cannot be one of ours is not attached.
    let Some(id) = call.id.as_deref().and_then(OsStr::to_str).and_then(|id| id.parse::<ContainerId>().ok()) else {
        return;
    };
    if let Err(error) = detach_all(&id, &bundles(call), log) {
        warn!(log, "detaching {id}: {error}");
    }
}

fn detach_all(id: &ContainerId, bundles: &[String], log: &Logger) -> Result<()> {
    let Some(mut engine) = Engine::open_used(Path::new(STATE_DIR), Config::default(), log.clone())? else {
        return Ok(());
    };
    let mut failures = Failures::default();
    for bundle in bundles {
        let detached = engine.detach(&Key::new(id, bundle));
        failures.note(format!("bundle {bundle}"), detached)?;
    }
    engine.close();
    failures.into_result()
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
