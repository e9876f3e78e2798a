//! `delete`: removes a container's network.

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

/// Detaches the container, while the stock shim deletes the rest.
///
/// # Errors
/// When there is no stock shim, or its answer cannot be passed on to containerd.
pub fn run(call: &Call, stock: Result<Stock>) -> Result<ExitCode> {
    let stock = stock.and_then(Stock::delete);
    detach(call, &log::loud(call));
    stock?.finish()
}

/// Detaches the container. An error is logged only, so that containerd still deletes the container.
pub fn detach(call: &Call, log: &Logger) {
    // An invalid id is never attached.
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
    let detached = bundles.iter().try_fold(Failures::default(), |mut failures, bundle| {
        failures.note(format!("bundle {bundle}"), engine.detach(&Key::new(id, bundle)))?;
        Ok(failures)
    });
    // What one bundle left is drained, whatever became of the next.
    engine.close();
    detached.and_then(Failures::into_result)
}

/// The paths by which the runtime may have named the bundle: containerd's path, and the one to which it leads if it
/// contains a link.
fn bundles(call: &Call) -> Vec<String> {
    let named = call.bundle.as_deref().map(PathBuf::from);
    let seen = std::env::current_dir().ok();
    let names = seen.into_iter().chain(named).filter_map(|path| path.into_os_string().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.dedup();
    names
}
