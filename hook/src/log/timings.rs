use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use std::{fmt, io};

use slog::{Drain, Duplicate, KV, Key, Logger, Never, OwnedKVList, Record, Serializer, o};

/// How long the steps of a command took. Picked out of its log: every record with a `step` and its `us`, microseconds.
pub struct Timings {
    began: Instant,
    steps: Arc<Mutex<Vec<Step>>>,
}

struct Step {
    name: String,
    /// Microseconds.
    took: u64,
}

impl Timings {
    /// Begins now.
    pub fn start() -> Self {
        Self { began: Instant::now(), steps: Arc::default() }
    }

    /// `log`, and this listening to it.
    pub fn listen(&self, log: &Logger) -> Logger {
        Logger::root(Duplicate(log.clone(), Listener(Arc::clone(&self.steps))).ignore_res(), o!())
    }

    /// Ends now, and tells stderr.
    pub fn tell(&self) {
        let total = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        // In one write, since several hooks may share one stderr. A failure cannot be reported: stderr is closed then.
        let _ = io::Write::write_all(&mut io::stderr(), report(&steps, total).as_bytes());
    }
}

/// A line for each step, in microseconds; what lies between the steps; and the `total`.
fn report(steps: &[Step], total: u64) -> String {
    let rest = total.saturating_sub(steps.iter().map(|step| step.took).sum());
    let lines = steps.iter().map(|step| (step.name.as_str(), step.took)).chain([("rest", rest), ("total", total)]);
    lines.map(|(name, took)| format!("ocinet: {name:<10} {took:>8} us\n")).collect()
}

struct Listener(Arc<Mutex<Vec<Step>>>);

impl Drain for Listener {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        let mut found = Found::default();
        let _ = record.kv().serialize(record, &mut found);
        if let Found { step: Some(name), us: Some(took) } = found {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Step { name, took });
        }
        Ok(())
    }
}

#[derive(Default)]
struct Found {
    step: Option<String>,
    us: Option<u64>,
}

impl Serializer for Found {
    fn emit_u64(&mut self, key: Key, value: u64) -> slog::Result {
        if key == "us" {
            self.us = Some(value);
        }
        Ok(())
    }

    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        if key == "step" {
            self.step = Some(value.to_string());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::{Discard, debug, info};

    #[test]
    fn steps_are_picked_out_of_the_log() {
        let timings = Timings::start();
        let log = timings.listen(&Logger::root(Discard, o!()));
        debug!(log, "step"; "step" => "open", "us" => 30_u64);
        info!(log, "attached"; "mode" => "bridge");
        debug!(log.new(o!("container" => "web")), "step"; "step" => "links", "us" => 400_u64);
        let steps = timings.steps.lock().unwrap();
        let expected = "ocinet: open             30 us\n\
                        ocinet: links           400 us\n\
                        ocinet: rest             70 us\n\
                        ocinet: total           500 us\n";
        assert_eq!(report(&steps, 500), expected);
    }
}
