use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use clap_complete::engine::ArgValueCandidates;
use serde_json::{Map, Value};

use ocinet::engine::{Error, Result};
use ocinet::kernel::{self, Records, Watch};
use ocinet::model::{quoted, shown, shown_json};

use super::Options;
use super::screen::Screen;

/// Show what happened to containers, and what was refused.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only of this container: its id, its name, or the beginning of its id
    #[arg(value_name = "CONTAINER", add = ArgValueCandidates::new(crate::cli::complete::containers))]
    container: Option<String>,
    /// Go on with what happens from now on, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// So many of the last records
    #[arg(short = 'n', long, visible_alias = "lines", value_name = "NUMBER", default_value_t = 100)]
    tail: usize,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// How long a follower waits for a change of a file before it looks without one: the service keeps files open.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The keys that a line of text shows in places of their own.
const PLACED: [&str; 5] = ["time", "level", "message", "container", "name"];

/// How many characters of an id are shown, as in `ocinet ps`.
const SHORT: usize = 12;

impl Arguments {
    pub(super) fn run(self, options: &Options) -> Result<()> {
        kernel::check_state_dir(&options.state_dir)?;
        // Watched before the first look, so that nothing is missed in between.
        let watch = if self.follow {
            kernel::state_dir(&options.state_dir)?;
            Some(Watch::of(&options.state_dir)?)
        } else {
            None
        };
        let screen = Screen::of_stdout();
        let mut reader = Records::of(&options.state_dir).read();
        let mut called = Called::default();
        let mut last = VecDeque::new();
        for record in self.asked_for(reader.more()?, &mut called) {
            last.push_back(record);
            if last.len() > self.tail {
                last.pop_front();
            }
        }
        if let (Some(container), true, false) = (&self.container, last.is_empty() && self.tail > 0, self.follow) {
            return Err(Error::NotFound(format!(
                "there is no record of a container {} on this host",
                quoted(container)
            )));
        }
        let mut records = Vec::from(last);
        while self.tell(&records, screen)? {
            let Some(watch) = &watch else { break };
            if watch.wait(Some(LOOK_AGAIN), Duration::ZERO)?.gone {
                break;
            }
            records = self.asked_for(reader.more()?, &mut called);
        }
        Ok(())
    }

    /// What can be read of `lines`, and is of the container; `called` comes to know what its ids are called.
    fn asked_for(&self, lines: Vec<String>, called: &mut Called) -> Vec<Map<String, Value>> {
        let records = lines.into_iter().filter_map(|line| serde_json::from_str::<Map<_, _>>(&line).ok());
        let records: Vec<_> = records.collect();
        let Some(container) = &self.container else { return records };
        records.iter().for_each(|record| called.learn(record, container));
        records.into_iter().filter(|record| called.has(record, container)).collect()
    }

    /// False where the reader has gone.
    fn tell(&self, records: &[Map<String, Value>], screen: Screen) -> Result<bool> {
        let mut stdout = io::stdout().lock();
        for record in records {
            let line = if self.json {
                shown_json(&Value::Object(record.clone()).to_string())
            } else {
                let line = shown(&text(record));
                match word(record, "level") {
                    "error" => screen.red(&line),
                    "warning" => screen.yellow(&line),
                    _ => line,
                }
            };
            match writeln!(stdout, "{line}") {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
                written => written.map_err(|error| kernel::Error::refused("write to stdout", error))?,
            }
        }
        Ok(stdout.flush().is_ok())
    }
}

fn word<'r>(record: &'r Map<String, Value>, key: &str) -> &'r str {
    record.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The ids of the containers that are called by the name that was asked for. Not every record has the name.
#[derive(Default)]
struct Called {
    ids: BTreeSet<String>,
}

impl Called {
    fn learn(&mut self, record: &Map<String, Value>, name: &str) {
        if word(record, "name") == name {
            self.ids.insert(word(record, "container").to_owned());
        }
    }

    /// Whether `record` is of the container that is called `text`: by its id, the beginning of that, or its name.
    fn has(&self, record: &Map<String, Value>, text: &str) -> bool {
        let (id, name) = (word(record, "container"), word(record, "name"));
        let is_called = || if name.is_empty() { self.ids.contains(id) } else { name == text };
        !id.is_empty() && !text.is_empty() && (id.starts_with(text) || is_called())
    }
}

/// `TIME CONTAINER: MESSAGE (KEY=VALUE, ...)`.
fn text(record: &Map<String, Value>) -> String {
    let id = word(record, "container");
    let who = match word(record, "name") {
        "" if id.len() == 64 && id.is_ascii() => &id[..SHORT],
        "" => id,
        name => name,
    };
    let who = if who.is_empty() { String::new() } else { format!("{who}: ") };
    let level = match word(record, "level") {
        "error" => "error: ",
        "warning" => "warning: ",
        _ => "",
    };
    let value = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rest = record.iter().filter(|(key, _)| !PLACED.contains(&key.as_str()));
    let rest: Vec<String> = rest.map(|(key, found)| format!("{key}={}", value(found))).collect();
    let rest = if rest.is_empty() { String::new() } else { format!(" ({})", rest.join(", ")) };
    format!("{} {who}{level}{}{rest}", word(record, "time"), word(record, "message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_in_words() {
        let record = |line: &str| serde_json::from_str::<Map<_, _>>(line).unwrap();
        let attached = record(
            r#"{"time":"T","level":"info","message":"attached","container":"web","mode":"bridge","us":7,"stage":"createRuntime"}"#,
        );
        assert_eq!(text(&attached), "T web: attached (mode=bridge, us=7, stage=createRuntime)");
        let id = "0123456789abcdef".repeat(4);
        let refused = record(&format!(r#"{{"time":"T","level":"error","message":"no","container":"{id}","exit":3}}"#));
        assert_eq!(text(&refused), "T 0123456789ab: error: no (exit=3)");
        let named = record(&format!(r#"{{"message":"no","container":"{id}","name":"shop"}}"#));
        assert!(text(&named).contains(" shop: no"));
    }

    /// What has no name of its own is found by the name that another record of its container has.
    #[test]
    fn records_are_found_by_id_and_by_name() {
        let lines = [
            r#"{"message":"warned","container":"c1"}"#,
            r#"{"message":"attached","container":"c1","name":"shop"}"#,
            r#"{"message":"connected","container":"c1"}"#,
            r#"{"message":"attached","container":"d2","name":"other"}"#,
            r#"{"message":"connected","container":"d2"}"#,
            r#"{"message":"attached","container":"c1","name":"renamed"}"#,
            r#"{"message":"of nobody"}"#,
        ];
        let found = |text: &str| {
            let arguments = Arguments { container: Some(text.to_owned()), follow: false, tail: 100, json: false };
            let lines = lines.iter().map(ToString::to_string).collect();
            let records = arguments.asked_for(lines, &mut Called::default());
            records.iter().map(|record| word(record, "message").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found("shop"), ["warned", "attached", "connected"]);
        assert_eq!(found("other"), ["attached", "connected"]);
        assert_eq!(found("c"), ["warned", "attached", "connected", "attached"]);
        assert_eq!((found("sho").len(), found("").len()), (0, 0));
    }
}
