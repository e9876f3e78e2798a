//! What people and programs of the host ask by the socket in the state directory, which is root's alone: one line, and
//! one line of JSON as the answer. Pure.

use std::process;

use serde_json::{Value, json};

use ocinet::driver::NAME_SERVERS;

use crate::answer;
use crate::confine::Confined;
use crate::directory::Directory;

/// What is to be done with a line.
#[derive(Debug, PartialEq)]
pub enum Line {
    /// This is the answer.
    Answer(Value),
    /// The installed program is to take over.
    Replace,
    /// Nothing: it is none that is known.
    Unknown,
}

/// What `line` asks, of containers as they are in `directory`. `confined` is what holds this process, and `supervisor`
/// its parent.
pub fn read(line: &str, directory: &Directory, confined: Confined, supervisor: i32) -> Line {
    Line::Answer(match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["status"] => json!({
            "pid": supervisor, "worker": process::id(), "version": env!("CARGO_PKG_VERSION"),
            "addresses": NAME_SERVERS, "landlock": confined.landlock,
            "containers": directory.len(), "networks": directory.networks_with_names(),
        }),
        ["resolve", name] => resolve(directory, name, None),
        ["resolve", name, network] => resolve(directory, name, Some(network)),
        ["replace"] => return Line::Replace,
        _ => return Line::Unknown,
    })
}

fn resolve(directory: &Directory, name: &str, network: Option<&str>) -> Value {
    let mut networks = directory.networks_with_names();
    networks.retain(|known| network.is_none_or(|only| known.as_str() == only));
    json!({"addresses": answer::everywhere(directory, &networks, name)})
}
