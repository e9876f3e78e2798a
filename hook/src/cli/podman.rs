//! Facts about podman's containers that are not in their spec: the name of the container, and the container whose
//! network it joins. podman passes them to conmon, which calls the runtime, which calls the hook. The container's
//! `/etc/hosts` also has its name, but podman 5 writes it later.

use std::path::Path;

use ocinet::input::{Annotations, NetworkNamespace, State};
use ocinet::kernel;
use ocinet::model::{ContainerId, ContainerName, Key};

/// The annotation with which podman marks its containers.
const MANAGER: (&str, &str) = ("io.container.manager", "libpod");

/// A container as the arguments of conmon name it (conmon(8)).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) id: ContainerId,
    /// Its bundle directory.
    pub(super) bundle: String,
    /// The name that podman gave it.
    pub(super) name: ContainerName,
}

impl Container {
    /// What its connections are kept by: its name among the containers of its storage, since podman gives a container
    /// that is run anew another id.
    pub(super) fn keeping_key(&self) -> Option<Key> {
        let containers = Path::new(&self.bundle).ancestors().nth(2)?;
        Some(Key::of_text("podman", &format!("{} {}", self.name, containers.display())))
    }
}

/// The container as podman knows it, if its name is also valid for ocinet.
pub(super) fn container_of(state: &State) -> Option<Container> {
    if !is_podmans(state) {
        return None;
    }
    told(&kernel::ancestor("conmon")?).filter(|container| container.id == state.id)
}

/// Keys of ours that the user gave podman more than once, each with all of its values. podman keeps the last value alone.
/// None where podman's command line is not that which made the container, as after `podman start`.
pub(super) fn given_twice() -> Vec<(String, Vec<String>)> {
    kernel::ancestor("podman").map(|arguments| several(&arguments)).unwrap_or_default()
}

fn several(arguments: &[String]) -> Vec<(String, Vec<String>)> {
    let mut given: Vec<(String, Vec<String>)> = Vec::new();
    for (nth, argument) in arguments.iter().enumerate() {
        let said = match argument.strip_prefix("--annotation") {
            Some("") => arguments.get(nth + 1).map(String::as_str),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        let Some((key, value)) = said.and_then(|said| said.split_once('=')) else { continue };
        if Annotations::KEYS.iter().all(|known| known.name != key) {
            continue;
        }
        match given.iter_mut().find(|(known, _)| known == key) {
            Some((_, values)) => values.push(value.to_owned()),
            None => given.push((key.to_owned(), vec![value.to_owned()])),
        }
    }
    given.retain(|(_, values)| values.len() > 1);
    given
}

/// The container whose network namespace this one was put into: its pod's infra container, or that of
/// `--network=container:NAME`. podman writes the namespace of that one's first process into the spec.
pub(super) fn owner_of(state: &State, namespace: &NetworkNamespace) -> Option<Container> {
    let NetworkNamespace::At(path) = namespace else { return None };
    let owner = told(&kernel::ancestor_of(first_process(path)?, "conmon")?)?;
    (is_podmans(state) && owner.id != state.id).then_some(owner)
}

fn is_podmans(state: &State) -> bool {
    state.annotations.get(MANAGER.0).is_some_and(|manager| manager == MANAGER.1)
}

/// The pid in a path such as `/proc/7/ns/net`.
fn first_process(path: &Path) -> Option<i32> {
    path.to_str()?.strip_prefix("/proc/")?.strip_suffix("/ns/net")?.parse().ok()
}

/// The container in the arguments of the conmon that watches it: `-c ID -n NAME -b BUNDLE`.
fn told(arguments: &[String]) -> Option<Container> {
    let value = |flags: [&str; 2]| {
        let at = arguments.iter().position(|argument| flags.contains(&argument.as_str()))?;
        arguments.get(at + 1).map(String::as_str)
    };
    Some(Container {
        id: value(["-c", "--cid"])?.parse().ok()?,
        bundle: value(["-b", "--bundle"])?.to_owned(),
        name: value(["-n", "--name"])?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_that_conmon_was_told_of() {
        let told = |line: &str| told(&line.split(' ').map(String::from).collect::<Vec<_>>());
        let line = "/usr/bin/conmon --api-version 1 -c 0abf -u 0abf -r /usr/sbin/runc -b /s/0abf/userdata -n web --exit-dir /e -s";
        let container = |name: &str| {
            let (id, name) = ("0abf".parse().unwrap(), name.parse().unwrap());
            Some(Container { id, bundle: "/s/0abf/userdata".into(), name })
        };
        assert_eq!(told(line), container("web"));
        assert_eq!(told("conmon --name shop --cid 0abf --bundle /s/0abf/userdata"), container("shop"));
        for line in ["conmon --cid 0abf --bundle /b --name", "conmon --cid 0abf --name web", "conmon -n web -b /b"] {
            assert_eq!(told(line), None, "{line}");
        }
    }

    #[test]
    fn an_annotation_that_is_given_twice() {
        let of = |line: &str| several(&line.split(' ').map(String::from).collect::<Vec<_>>());
        let twice = "podman run --annotation io.ocinet.publish=80 --annotation=io.ocinet.name=web \
                     --annotation=io.ocinet.publish=81 --annotation a=1 --annotation a=2 image";
        assert_eq!(of(twice), [("io.ocinet.publish".to_owned(), vec!["80".to_owned(), "81".to_owned()])]);
        for line in
            ["podman run --annotation io.ocinet.publish=80 image", "podman start web", "podman run --annotation"]
        {
            assert_eq!(of(line), [], "{line}");
        }
    }

    #[test]
    fn the_process_whose_namespace_is_joined() {
        let of = |path: &str| first_process(Path::new(path));
        assert_eq!(of("/proc/7/ns/net"), Some(7));
        for path in ["/proc/self/ns/net", "/proc/7/ns/uts", "/proc/7/root/run/netns/x", "/run/netns/7"] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
