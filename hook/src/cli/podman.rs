//! The name of a container of podman, which is not in its spec. podman tells it to conmon, which calls the runtime, which calls us; the
//! container's `/etc/hosts`, where it is too, podman 5 fills in later.

use ocinet::kernel;
use ocinet::model::ContainerName;
use ocinet::oci::State;

/// How podman marks its containers.
const MANAGER: (&str, &str) = ("io.container.manager", "libpod");

/// The name that podman gave to the container, where it may be one of ours.
pub(super) fn name_of(state: &State) -> Option<ContainerName> {
    if state.annotations.get(MANAGER.0).is_none_or(|manager| manager != MANAGER.1) {
        return None;
    }
    named(&kernel::ancestor("conmon")?, state.id.as_str())?.parse().ok()
}

/// The name in the arguments of the conmon that watches the container `id`: `-c ID -n NAME` (conmon(8)).
fn named<'a>(arguments: &'a [String], id: &str) -> Option<&'a str> {
    let value = |flags: [&str; 2]| {
        let at = arguments.iter().position(|argument| flags.contains(&argument.as_str()))?;
        arguments.get(at + 1).map(String::as_str)
    };
    (value(["-c", "--cid"])? == id).then(|| value(["-n", "--name"]))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_conmon_was_told() {
        let words = |line: &str| line.split(' ').map(String::from).collect::<Vec<_>>();
        let line =
            words("/usr/bin/conmon --api-version 1 -c 0abf -u 0abf -r /usr/sbin/runc -n web --exit-dir /run/exits -s");
        assert_eq!(named(&line, "0abf"), Some("web"));
        assert_eq!(named(&line, "other"), None);
        assert_eq!(named(&words("conmon --name shop --cid 0abf"), "0abf"), Some("shop"));
        assert_eq!(named(&words("conmon --cid 0abf --name"), "0abf"), None);
    }
}
