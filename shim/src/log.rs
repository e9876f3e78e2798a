//! Where what there is to say of a container goes: the journal, and perhaps to containerd.

use ocinet::log::{logger, with_journal};
use slog::{Discard, Logger, o};

use crate::call::Call;

/// containerd passes stderr on to its client or, at a deletion, to its log.
pub fn loud(call: &Call) -> Logger {
    of_container(call, &logger(None))
}

/// The start of a shim says its address, and whatever else it says is taken for a part of that.
pub fn quiet(call: &Call) -> Logger {
    of_container(call, &Logger::root(Discard, o!()))
}

fn of_container(call: &Call, log: &Logger) -> Logger {
    let id = call.id.as_deref().unwrap_or_default().to_string_lossy().into_owned();
    with_journal(log).new(o!("container" => id))
}
