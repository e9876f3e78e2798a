//! The loggers of a call: to the journal, to the records of this host, and to containerd if it can take messages.

use std::path::Path;

use ocinet::log::{logger, with_records};
use slog::{Discard, Logger, o};

use crate::STATE_DIR;
use crate::call::Call;

/// Also logs to stderr: containerd passes that on to its client or, at a deletion, to its log.
pub fn loud(call: &Call) -> Logger {
    of_container(call, &logger(None))
}

/// Logs only to the journal and the records: containerd would take any other output of `start` for a part of the shim's address.
pub fn quiet(call: &Call) -> Logger {
    of_container(call, &Logger::root(Discard, o!()))
}

fn of_container(call: &Call, log: &Logger) -> Logger {
    let id = call.id.as_deref().unwrap_or_default().to_string_lossy().into_owned();
    with_records(log, Path::new(STATE_DIR)).new(o!("container" => id))
}
