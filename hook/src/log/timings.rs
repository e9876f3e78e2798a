use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use slog::{Drain, Duplicate, KV, Key, Logger, Never, OwnedKVList, Record, Serializer, o};

/// How long the steps of a command took, and how long it waited for locks within them. Picked out of its log: every
/// record with a `step` or a `lock` and its `us`, microseconds.
pub struct Timings {
    began: Instant,
    /// The processor time of the process until then.
    start: Duration,
    records: Arc<Mutex<Records>>,
}

#[derive(Default)]
struct Records {
    steps: Vec<Time>,
    locks: Vec<Time>,
}

struct Time {
    name: String,
    /// Microseconds.
    took: u64,
}

impl Timings {
    /// Begins now, when the process has used so much processor time.
    pub fn start(used: Duration) -> Self {
        Self { began: Instant::now(), start: used, records: Arc::default() }
    }

    /// `log`, and this listening to it.
    pub fn listen(&self, log: &Logger) -> Logger {
        Logger::root(Duplicate(log.clone(), Listener(Arc::clone(&self.records))).ignore_res(), o!())
    }

    /// Ends now, and tells stderr.
    pub fn tell(&self) {
        let (start, total) = (micros(self.start), micros(self.began.elapsed()));
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        // In one write, since several hooks may share one stderr. A failure cannot be reported: stderr is closed then.
        let _ = io::Write::write_all(&mut io::stderr(), report(start, &records, total).as_bytes());
    }
}

/// A line for what was before the steps; for each step, in microseconds; for what lies between the steps; for their
/// `total`; and for each lock.
fn report(start: u64, records: &Records, total: u64) -> String {
    let Records { steps, locks } = records;
    let rest = total.saturating_sub(steps.iter().map(|step| step.took).sum());
    let steps = steps.iter().map(|step| (step.name.clone(), step.took));
    let own = |name: &str, took| [(name.to_owned(), took)];
    let lines = own("start", start).into_iter().chain(steps).chain(own("rest", rest)).chain(own("total", total));
    let locks = locks.iter().map(|lock| (format!("lock:{}", lock.name), lock.took));
    lines.chain(locks).map(|(name, took)| format!("ocinet: {name:<13} {took:>8} us\n")).collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

struct Listener(Arc<Mutex<Records>>);

impl Drain for Listener {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        let mut found = Found::default();
        let _ = record.kv().serialize(record, &mut found);
        let Some(took) = found.us else { return Ok(()) };
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.steps.extend(found.step.map(|name| Time { name, took }));
        records.locks.extend(found.lock.map(|name| Time { name, took }));
        Ok(())
    }
}

#[derive(Default)]
struct Found {
    step: Option<String>,
    lock: Option<String>,
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
        match key {
            "step" => self.step = Some(value.to_string()),
            "lock" => self.lock = Some(value.to_string()),
            _ => {}
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
        let timings = Timings::start(Duration::from_micros(250));
        let log = timings.listen(&Logger::root(Discard, o!()));
        debug!(log, "step"; "step" => "open", "us" => 30_u64);
        info!(log, "attached"; "mode" => "bridge");
        debug!(log.new(o!("container" => "web")), "step"; "step" => "links", "us" => 400_u64);
        debug!(log, "lock"; "lock" => "store", "us" => 20_u64);
        let records = timings.records.lock().unwrap();
        let expected = "ocinet: start              250 us\n\
                        ocinet: open                30 us\n\
                        ocinet: links              400 us\n\
                        ocinet: rest                70 us\n\
                        ocinet: total              500 us\n\
                        ocinet: lock:store          20 us\n";
        assert_eq!(report(micros(timings.start), &records, 500), expected);
    }
}
