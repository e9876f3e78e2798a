//! The records of this host, which are kept whatever becomes of stderr and the journal: what happened to containers, and
//! what went wrong. podman with crun shows neither.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use serde_json::{Map, Value};
use slog::{Drain, Duplicate, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer, o};

use super::journal::with_journal;
use crate::decide::moment;
use crate::kernel::{self, Records};
use crate::model::shown_json;

/// How many characters of a message, and of each of its values, are kept: a long id or name must not take the room of
/// other records.
const LONGEST_MESSAGE: usize = 1000;
const LONGEST_VALUE: usize = 200;

/// `log`, the journal where it runs, and the records in `state_dir`. For commands that run unwatched.
pub fn with_records(log: &Logger, state_dir: &Path) -> Logger {
    let drain = Keeper { records: Records::of(state_dir), began: Instant::now() };
    Logger::root(Duplicate(with_journal(log), drain).ignore_res(), o!())
}

/// Writes what matters to the records.
struct Keeper {
    records: Records,
    began: Instant,
}

impl Drain for Keeper {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        if record.level().is_at_least(Level::Info) {
            // A container's start is worth more than a line about it.
            let _ = self.records.add(&line(record, values, moment::written(kernel::now()), self.began));
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.is_at_least(Level::Info)
    }
}

/// One line of JSON. Its strings escape control characters, so that no text of others can pass for a further record.
fn line(record: &Record<'_>, values: &OwnedKVList, time: String, began: Instant) -> String {
    let level = match record.level() {
        Level::Critical | Level::Error => "error",
        Level::Warning => "warning",
        _ => "info",
    };
    let mut fields = Fields(Map::new());
    fields.0.insert("time".into(), time.into());
    fields.0.insert("level".into(), level.into());
    fields.0.insert("message".into(), cut(record.msg().to_string(), LONGEST_MESSAGE).into());
    // Of two values with one key the record's own is kept: while a container is attached, another may be collected.
    let _ = record.kv().serialize(record, &mut fields);
    let _ = values.serialize(record, &mut fields);
    let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    fields.0.entry("us").or_insert_with(|| took.into());
    shown_json(&Value::Object(fields.0).to_string())
}

fn cut(text: String, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

struct Fields(Map<String, Value>);

impl Serializer for Fields {
    fn emit_u8(&mut self, key: Key, value: u8) -> slog::Result {
        self.emit_u64(key, value.into())
    }

    fn emit_u64(&mut self, key: Key, value: u64) -> slog::Result {
        self.0.entry(key).or_insert_with(|| value.into());
        Ok(())
    }

    fn emit_bool(&mut self, key: Key, value: bool) -> slog::Result {
        self.0.entry(key).or_insert_with(|| value.into());
        Ok(())
    }

    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.0.entry(key).or_insert_with(|| cut(value.to_string(), LONGEST_VALUE).into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use slog::{crit, debug, info, warn};

    use super::*;

    #[test]
    fn what_matters_is_kept_as_one_line_each() {
        let folder = std::env::temp_dir().join(format!("ocinet-keeper-{}", std::process::id()));
        let drain = Keeper { records: Records::of(&folder), began: Instant::now() };
        let log = Logger::root(drain, o!("stage" => "poststop", "container" => "web"));
        debug!(log, "step");
        info!(log, "detached"; "container" => "db", "draining" => true);
        warn!(log, "a\nforged line \u{1b}[2J \u{202e}"; "long" => "x".repeat(5000));
        crit!(log, "{}", "é".repeat(5000); "exit" => 3_u8);
        let lines = Records::of(&folder).read().more().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let [detached, forged, long] = &lines[..] else { panic!("{lines:#?}") };
        let detached: Value = serde_json::from_str(detached).unwrap();
        let words = ["level", "message", "container", "stage"].map(|key| detached[key].as_str().unwrap());
        assert_eq!(words, ["info", "detached", "db", "poststop"]);
        assert!(detached["draining"] == true && detached["us"].is_u64(), "{detached}");
        assert!(!forged.contains(|c: char| c.is_control() || c == '\u{202e}') && forged.len() < 600, "{forged:?}");
        let long: Value = serde_json::from_str(long).unwrap();
        assert!(long["exit"] == 3 && long["message"].as_str().unwrap().chars().count() == 1003, "{long}");
    }
}
