//! Holds the engine to the order of its rooms in ARCHITECTURE.md: a room uses only those before it, be it by what it
//! imports or by the methods of the engine that it calls.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const ROOMS: [&str; 15] = [
    "error",
    "locks",
    "alive",
    "resolve",
    "network",
    "files",
    "rules",
    "names",
    "removal",
    "repair",
    "definition",
    "sandbox",
    "doctor",
    "open",
    "report",
];

/// A file of a room.
struct Source {
    room: usize,
    path: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    let mut sources = Vec::new();
    for (room, name) in ROOMS.iter().enumerate() {
        let mut waiting = vec![engine.join(format!("{name}.rs")), engine.join(name)];
        while let Some(path) = waiting.pop() {
            if let Ok(folder) = fs::read_dir(&path) {
                waiting.extend(folder.map(|entry| entry.unwrap().path()));
            } else if path.extension().is_some_and(|end| end == "rs")
                && let Ok(text) = fs::read_to_string(&path)
            {
                let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
                sources.push(Source { room, path: path.display().to_string(), text });
            }
        }
    }
    sources
}

/// The lines of the blocks in which methods of the engine are.
fn engines_own(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        inside = if *line == "impl Engine {" { true } else { inside && *line != "}" };
        inside
    })
}

/// The names that follow `before` in `line` and are called.
fn called<'l>(line: &'l str, before: &str) -> Vec<&'l str> {
    let names = line.split(before).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        (&rest[..end], rest[end..].starts_with('('))
    });
    names.filter(|(_, is_call)| *is_call).map(|(name, _)| name).collect()
}

/// What breaks the order, in words.
fn faults(sources: &[Source]) -> Vec<String> {
    let mut defined: BTreeMap<&str, usize> = BTreeMap::new();
    for source in sources {
        for name in engines_own(&source.text).flat_map(|line| called(line, "fn ")) {
            let first = defined.entry(name).or_insert(source.room);
            *first = source.room.min(*first);
        }
    }
    let mut faults = Vec::new();
    for Source { room, path, text } in sources {
        let own = engines_own(text).flat_map(|line| called(line, "self."));
        let calls = own.chain(text.lines().flat_map(|line| called(line, "engine.")));
        let later = calls.filter(|name| defined.get(name).is_some_and(|first| first > room));
        faults.extend(later.map(|name| format!("{path} calls {name} of {}", ROOMS[defined[name]])));
        let imported = ROOMS[room + 1..].iter().filter(|later| text.contains(&format!("engine::{later}::")));
        faults.extend(imported.map(|later| format!("{path} imports from {later}")));
    }
    faults
}

#[test]
fn a_room_uses_only_those_before_it() {
    let sources = sources();
    assert!(sources.len() > 50, "{} files", sources.len());
    assert_eq!(faults(&sources), Vec::<String>::new());
}

#[test]
fn a_circle_is_seen() {
    let source = |room: &str, text: &str| Source {
        room: ROOMS.iter().position(|one| *one == room).unwrap(),
        path: room.to_owned(),
        text: text.to_owned(),
    };
    let seen = faults(&[
        source("repair", "impl Engine {\n    fn collect(&mut self) {\n        self.join()?;\n    }\n}\n"),
        source("sandbox", "use crate::engine::report::Plan;\nimpl Engine {\n    fn join(&self) {}\n}\n"),
        source(
            "files",
            "impl Files {\n    fn join(&self) {\n        self.join()\n    }\n}\nfn f() {\n    engine.collect();\n}\n",
        ),
    ]);
    assert_eq!(seen, ["repair calls join of sandbox", "sandbox imports from report", "files calls collect of repair"]);
}
