//! What is reported, and what is remembered for that.

use std::collections::BTreeSet;

use crate::model::{ContainerId, ContainerName, Key, NetworkName, Sandbox, State};

/// A change that is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A container is attached.
    Attached(Sandbox),
    /// It is no longer attached.
    Detached(Known),
    /// While it runs, it was connected to that network.
    Connected(Sandbox, NetworkName),
    /// While it runs, it was disconnected from that network.
    Disconnected(Sandbox, NetworkName),
    /// A network is defined.
    NetworkCreated(NetworkName),
    /// Its definition is gone.
    NetworkRemoved(NetworkName),
}

/// The remembered data of an attached container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The number its sandbox has, or had.
    pub number: i64,
    /// The container's id.
    pub container: ContainerId,
    /// Its bundle directory.
    pub bundle: String,
    /// Its name.
    pub name: ContainerName,
    /// What its sandbox is found by.
    pub(super) key: Key,
    /// The networks that it was on.
    pub networks: BTreeSet<NetworkName>,
}

impl From<&Sandbox> for Known {
    fn from(sandbox: &Sandbox) -> Self {
        let (container, bundle, name) = (sandbox.container.clone(), sandbox.bundle.clone(), sandbox.name.clone());
        let networks = sandbox.endpoints.iter().map(|endpoint| endpoint.network.clone()).collect();
        Self { number: sandbox.number, container, bundle, name, key: sandbox.key(), networks }
    }
}

impl Known {
    /// The connections that were made and ended since the last look. One that is being made is not yet, and one that is
    /// being ended is still.
    pub(super) fn follow(&mut self, sandbox: &Sandbox) -> Vec<Change> {
        let is_told = |network: &NetworkName| self.networks.contains(network);
        let endpoints = sandbox.endpoints.iter();
        let on = endpoints.filter(|one| one.state == State::Attached || is_told(&one.network));
        let now: BTreeSet<NetworkName> = on.map(|endpoint| endpoint.network.clone()).collect();
        let ended =
            self.networks.difference(&now).map(|network| Change::Disconnected(sandbox.clone(), network.clone()));
        let made = now.difference(&self.networks).map(|network| Change::Connected(sandbox.clone(), network.clone()));
        let changes = ended.chain(made).collect();
        self.networks = now;
        changes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A sandbox with an endpoint on each network, in that state.
    fn on(networks: &[(&str, &str)]) -> Sandbox {
        let endpoint = |(network, state): &(&str, &str)| {
            json!({"endpoint": 1, "network": network, "interface": "eth0", "state": state, "mac": "02:00:00:00:00:01",
                   "mtu": 1500, "addresses": [], "gateways": [], "driver": "bridge", "host_interface": "ocv1", "bridge": "ocn-1"})
        };
        let sandbox = json!({
            "record": 1, "container": "web", "bundle": "/b", "name": "web", "mode": "bridge", "state": "attached",
            "endpoints": networks.iter().map(endpoint).collect::<Vec<_>>(), "publish": [],
            "namespace": {"cookie": 1, "witness": {"path": "/n"}, "seen_from_pid_ns": 1, "seen_from_mnt_ns": 1},
        });
        serde_json::from_value(sandbox).unwrap()
    }

    #[test]
    fn connections_are_told_when_they_are_made_and_when_they_have_ended() {
        let mut known = Known::from(&on(&[("front", "attached")]));
        let mut told = |networks: &[(&str, &str)]| -> Vec<String> {
            let words = known.follow(&on(networks)).into_iter().map(|change| match change {
                Change::Connected(_, network) => format!("+{network}"),
                Change::Disconnected(_, network) => format!("-{network}"),
                other => panic!("{other:?}"),
            });
            words.collect()
        };
        let none: [&str; 0] = [];
        assert_eq!(told(&[("front", "attached"), ("back", "attaching")]), none);
        assert_eq!(told(&[("front", "attached"), ("back", "attached")]), ["+back"]);
        assert_eq!(told(&[("front", "detaching"), ("back", "attached")]), none);
        assert_eq!(told(&[("back", "attached")]), ["-front"]);
        assert_eq!(told(&[("other", "attached")]), ["-back", "+other"]);
        assert_eq!(told(&[("other", "detaching"), ("next", "attaching")]), none, "one that is taken back");
        assert_eq!(told(&[("other", "attached")]), none);
    }
}
