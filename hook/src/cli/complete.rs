//! Completion by the program itself: what containers, networks and ports there are is known to it alone.

use std::ffi::OsString;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::CompleteEnv;
use clap_complete::engine::CompletionCandidate;
use slog::{Discard, Logger, o};

use ocinet::engine::{Definitions, Engine};
use ocinet::input::config::Config;
use ocinet::model::Sandbox;

/// The variable of the environment by which a shell's script asks.
pub(super) const VARIABLE: &str = "OCINET_COMPLETE";

/// Whose containers and networks are completed; another state directory is none that a shell would know of.
const STATE_DIR: &str = "/run/ocinet";
const CONFIG_DIR: &str = "/etc/ocinet";

/// Answers a shell that asks for completions. False where none asks.
pub(super) fn answer(line: Vec<OsString>) -> Result<bool, clap::Error> {
    if std::env::var_os(VARIABLE).is_none() {
        return Ok(false);
    }
    CompleteEnv::with_factory(super::Arguments::command).var(VARIABLE).try_complete(line, None)
}

/// The names and the ids of the containers.
pub(super) fn containers() -> Vec<CompletionCandidate> {
    let sandboxes = sandboxes();
    let called = sandboxes.iter().flat_map(|sandbox| [sandbox.name.as_str(), sandbox.container.as_str()]);
    candidates(called)
}

/// The names of the networks that `network` takes.
pub(super) fn networks() -> Vec<CompletionCandidate> {
    let definitions = Definitions::of(&Config::unread(Path::new(CONFIG_DIR)), Path::new(STATE_DIR));
    let names = definitions.names().unwrap_or_default();
    candidates(names.iter().map(|name| name.as_str()).chain(["bridge"]))
}

/// The same, with what else a container can have for a network.
pub(super) fn modes() -> Vec<CompletionCandidate> {
    let containers: Vec<String> =
        sandboxes().iter().map(|sandbox| format!("container:{}", sandbox.name.as_str())).collect();
    let others = candidates(["host", "none"].into_iter().chain(containers.iter().map(String::as_str)));
    networks().into_iter().chain(others).collect()
}

/// What can send a packet, and be sent one.
pub(super) fn parties() -> Vec<CompletionCandidate> {
    containers().into_iter().chain(networks()).chain(candidates(["host", "lan"].into_iter())).collect()
}

/// The ports of containers that are published.
pub(super) fn ports() -> Vec<CompletionCandidate> {
    let ports: Vec<String> = sandboxes()
        .iter()
        .flat_map(Sandbox::reached_ports)
        .map(|mapping| format!("{}/{}", mapping.container_port, mapping.protocol))
        .collect();
    candidates(ports.iter().map(String::as_str))
}

/// What cannot be looked at completes to nothing.
fn sandboxes() -> Vec<Sandbox> {
    let log = Logger::root(Discard, o!());
    let opened = Engine::open_to_look(Path::new(STATE_DIR), Config::unread(Path::new(CONFIG_DIR)), log);
    opened.ok().flatten().and_then(|mut engine| engine.sandboxes().ok()).unwrap_or_default()
}

/// Each once. A shell puts them into a command line as they are, and ids are others' to choose: one that a shell would
/// take for more than a word is left out.
fn candidates<'w>(words: impl Iterator<Item = &'w str>) -> Vec<CompletionCandidate> {
    let is_word =
        |word: &&str| !word.starts_with('-') && word.chars().all(|c| c.is_ascii_alphanumeric() || "._:/-".contains(c));
    let mut words: Vec<&str> = words.filter(is_word).collect();
    words.sort_unstable();
    words.dedup();
    words.into_iter().map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_shell_takes_for_a_word() {
        let all =
            candidates(["web", "db", "web", "$(reboot)", "a b", "-x", "a;b", "53/udp", "container:web"].into_iter());
        let words: Vec<_> = all.iter().map(|one| one.get_value().to_str().unwrap()).collect();
        assert_eq!(words, ["53/udp", "container:web", "db", "web"]);
    }
}
