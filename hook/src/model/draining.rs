use serde::{Deserialize, Serialize};

use super::{Alias, ContainerId, ContainerName, Endpoint, Key, Mode, Namespace, NetnsLocator, Sandbox, State};

/// An endpoint that its sandbox has no more, while the kernel still has its link. Until that is gone, its address is
/// not given away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainingEndpoint {
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// The number of the sandbox that had it.
    #[serde(rename = "record")]
    pub sandbox: i64,
    /// The id of the container that had it.
    pub container: ContainerId,
    /// The container's name.
    pub name: ContainerName,
    /// The container's bundle directory.
    pub bundle: String,
    /// What the sandbox was found by.
    pub key: Key,
    /// The cookie of the network namespace, in which its interface may still have its name.
    pub cookie: u64,
}

impl DrainingEndpoint {
    /// `endpoint` of `sandbox`, once it is detached.
    pub fn of(sandbox: &Sandbox, endpoint: &Endpoint) -> Self {
        Self {
            endpoint: Endpoint { state: State::Draining, ..endpoint.clone() },
            sandbox: sandbox.number,
            container: sandbox.container.clone(),
            name: sandbox.name.clone(),
            bundle: sandbox.bundle.clone(),
            key: sandbox.key(),
            cookie: sandbox.namespace.cookie,
        }
    }

    /// The alias of its links.
    pub fn alias(&self) -> Alias {
        Alias::endpoint(self.key, &self.endpoint, self.container.as_str())
    }

    /// The sandboxes that had these endpoints, as far as they are still known, for people to see.
    pub fn remains(all: Vec<Self>) -> Vec<Sandbox> {
        let mut sandboxes: Vec<Sandbox> = Vec::new();
        for draining in all {
            match sandboxes.iter_mut().find(|sandbox| sandbox.number == draining.sandbox) {
                Some(sandbox) => sandbox.endpoints.push(draining.endpoint),
                None => sandboxes.push(draining.remain()),
            }
        }
        sandboxes.sort_by_key(|sandbox| sandbox.number);
        sandboxes
    }

    fn remain(self) -> Sandbox {
        let Self { endpoint, sandbox, container, name, bundle, key, cookie } = self;
        let locator = NetnsLocator::Unseen;
        Sandbox {
            number: sandbox,
            container,
            bundle,
            adopted: Some(key),
            resolver: None,
            name,
            mode: Mode::Networks,
            state: State::Draining,
            since: None,
            namespace: Namespace { cookie, locator, seen_from_pid_ns: 0, seen_from_mnt_ns: 0, nsid: None },
            endpoints: vec![endpoint],
            publish: Vec::new(),
            publish_via: None,
            routed: false,
            leads_elsewhere: false,
            kept_by: None,
        }
    }
}
