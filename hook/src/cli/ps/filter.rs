//! `--filter KEY=VALUE` of `ps`, as Docker has it for containers.

use std::path::Path;

use ocinet::input::Bundle;
use ocinet::kernel;
use ocinet::model::{Invalid, PortMapping, Protocol};
use ocinet::spec::Document;

use super::line::{Line, UP};
use super::sidecar::{CUT_OFF, Sidecar};

/// What the column STATUS can say.
const STATUSES: [&str; 8] = [UP, "damaged", "dead", "unknown", CUT_OFF, "attaching", "detaching", "draining"];

/// Docker's words for a status, each with ours.
const DOCKERS: [(&str, &str); 2] = [("running", UP), ("exited", "dead")];

/// What is asked of a container.
#[derive(Debug, PartialEq, Eq)]
enum Question {
    Id(String),
    Name(String),
    Network(String),
    /// A port of the host.
    Port(u16, Protocol),
    Status(String),
    /// An annotation of its bundle, with this value where one is asked for.
    Label(String, Option<String>),
}

/// Questions of which a container has to answer one of each kind.
#[derive(Debug, Default)]
pub(super) struct Filters(Vec<Question>);

impl Filters {
    /// Reads filters.
    ///
    /// # Errors
    /// When one is none.
    pub fn parse(filters: &[String]) -> Result<Self, Invalid> {
        filters.iter().map(|filter| question(filter)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the container is asked for.
    pub fn accept(&self, line: &Line) -> bool {
        let labels = || labels_of(&line.sandbox.bundle);
        self.are_met(|question| question.is_met_by(line), labels)
    }

    /// The same of one that shares another's network: it has no port of its own.
    pub fn accept_sidecar(&self, sidecar: &Sidecar) -> bool {
        let holds = |question: &Question| match question {
            Question::Id(id) => sidecar.member.container.as_str().contains(id),
            Question::Name(name) => sidecar.member.name.as_str().contains(name),
            Question::Network(network) => sidecar.network() == *network,
            Question::Port(..) => false,
            Question::Status(status) => sidecar.status == status,
            Question::Label(..) => true,
        };
        self.are_met(holds, || labels_of(&sidecar.member.bundle))
    }

    /// Whether `holds` of one question of each kind, and of `labels` all that is asked, as in Docker. The bundle is read
    /// only where a label is asked for.
    fn are_met(&self, holds: impl Fn(&Question) -> bool, labels: impl Fn() -> Option<Document>) -> bool {
        let kind = std::mem::discriminant::<Question>;
        let (of_labels, others): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|question| matches!(question, Question::Label(..)));
        let is_met =
            |question: &&Question| others.iter().filter(|other| kind(other) == kind(question)).any(|one| holds(one));
        if !others.iter().all(is_met) {
            return false;
        }
        if of_labels.is_empty() {
            return true;
        }
        labels().is_some_and(|labels| of_labels.iter().all(|question| question.is_met_by_labels(&labels)))
    }
}

/// The spec of a bundle, whose annotations are the labels of its container: an image's labels become them (OCI image
/// specification, conversion.md), and the tools that make a spec put others there. None where it cannot be read.
fn labels_of(bundle: &str) -> Option<Document> {
    let json = kernel::read_regular(&Path::new(bundle).join("config.json"), Bundle::MAX_BYTES).ok().flatten()?;
    Document::parse(&json, "config.json").ok()
}

impl Question {
    fn is_met_by(&self, line: &Line) -> bool {
        let sandbox = &line.sandbox;
        match self {
            Self::Id(id) => sandbox.container.as_str().contains(id),
            Self::Name(name) => sandbox.name.as_str().contains(name),
            Self::Network(network) => {
                let mut networks = sandbox.endpoints.iter().map(|endpoint| endpoint.network.as_str());
                networks.any(|name| name == network)
                    || sandbox.endpoints.is_empty() && sandbox.mode.to_string() == *network
            }
            Self::Port(port, protocol) => {
                let has = |mapping: &PortMapping| {
                    mapping.protocol == *protocol && (mapping.host_port..=mapping.last_host_port()).contains(port)
                };
                sandbox.reached_ports().iter().any(has)
            }
            Self::Status(status) => line.status == *status,
            Self::Label(..) => true,
        }
    }

    fn is_met_by_labels(&self, labels: &Document) -> bool {
        match self {
            Self::Label(key, wanted) => {
                labels.annotation(key).is_some_and(|value| wanted.as_deref().is_none_or(|wanted| wanted == value))
            }
            _ => true,
        }
    }
}

fn question(filter: &str) -> Result<Question, Invalid> {
    let wrong = |why: &str| Invalid::new("--filter", filter, why);
    let (key, value) = filter.split_once('=').ok_or_else(|| wrong("is not of the form KEY=VALUE"))?;
    let text = value.to_owned();
    Ok(match key {
        "id" => Question::Id(text),
        "name" => Question::Name(text),
        "network" => Question::Network(text),
        // Docker's is the container's port; it has `publish` for the host's.
        "port" | "publish" => {
            let (port, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
            let port = port.parse().map_err(|_| wrong("is no port from 1 to 65535, with /udp or /sctp behind it"))?;
            Question::Port(port, protocol.parse().map_err(|error: Invalid| wrong(&error.why))?)
        }
        "status" => Question::Status(status(value).ok_or_else(|| wrong(&no_status()))?.to_owned()),
        "label" => match value.split_once('=') {
            Some((key, value)) => Question::Label(key.to_owned(), Some(value.to_owned())),
            None => Question::Label(text, None),
        },
        _ => return Err(wrong("is none of id=, name=, network=, port=, status=, label=")),
    })
}

/// The status that `word` means: one of ours, or one of Docker's that is the same.
fn status(word: &str) -> Option<&'static str> {
    let of_docker = DOCKERS.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours);
    of_docker.or_else(|| STATUSES.into_iter().find(|known| *known == word))
}

fn no_status() -> String {
    let dockers: Vec<String> = DOCKERS.iter().map(|(theirs, ours)| format!("{theirs} for {ours}")).collect();
    format!("is no status; there are {}, and {}", STATUSES.join(", "), dockers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::{line, port};
    use super::*;

    #[test]
    fn one_of_each_kind() {
        let line = line("0123web", &["front", "back"], &[port(8080)]);
        let accepts = |filters: &[&str]| {
            let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
            Filters::parse(&filters).unwrap().accept(&line)
        };
        for yes in [
            &[][..],
            &["id=123"],
            &["name=ho"],
            &["network=back"],
            &["port=8080"],
            &["status=up", "status=dead"],
            &["status=running"],
        ] {
            assert!(accepts(yes), "{yes:?}");
        }
        for no in [&["id=9"][..], &["name=web"], &["network=ba"], &["port=8080/udp"], &["port=80"], &["status=exited"]]
        {
            assert!(!accepts(no), "{no:?}");
        }
        assert!(accepts(&["network=x", "network=front", "port=8080"]) && !accepts(&["network=x", "port=8080"]));
    }

    #[test]
    fn mistakes_are_named() {
        for (filter, why) in [
            ("web", "KEY=VALUE"),
            ("colour=red", "none of id="),
            ("port=x", "65535"),
            ("port=1/x", "x"),
            ("status=paused", "there are up, damaged, dead"),
        ] {
            let error = Filters::parse(&[filter.to_owned()]).unwrap_err();
            assert!(error.value == filter && error.to_string().contains(why), "{error}");
        }
    }
}
