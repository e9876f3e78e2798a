//! The loggers of a call: to the journal, and to containerd if it can take messages.

use ocinet::log::{logger, with_journal};
use slog::{Discard, Logger, o};

use crate::call::Call;

/// Also logs to stderr: containerd passes that on to its client or, at a deletion, to its log.
pub fn loud(call: &Call) -> Logger {
    of_container(call, &logger(None))
}

/// Logs only to the journal: containerd would take any other output of `start` for a part of the shim's address.
pub fn quiet(call: &Call) -> Logger {
    of_container(call, &Logger::root(Discard, o!()))
}

fn of_container(call: &Call, log: &Logger) -> Logger {
    let id = call.id.as_deref().unwrap_or_default().to_string_lossy().into_owned();
    with_journal(log).new(o!("container" => id))
}
