//! The containers that share another's network. They hold nothing of it, and so the store does not know them: a file each
//! tells who they are, from their attach to their poststop.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ContainerFiles;
use crate::decide::liveness::Sight;
use crate::engine::Result;
use crate::kernel::{self, Netns, Origin};
use crate::model::{ContainerId, ContainerName, Key, Namespace, Sandbox};
use crate::store::Host;

/// Where the files are, in the state directory. The folder stays: the name server watches it.
pub const MEMBERS: &str = "members";

const MAX_BYTES: usize = 64 << 10;

/// A container that shares another's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub container: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// Its bundle directory.
    pub bundle: String,
    /// The id of the one whose network it is.
    pub owner: ContainerId,
    /// The name of that one.
    pub owner_name: ContainerName,
    /// The bundle directory of that one.
    pub owner_bundle: String,
    /// When it was attached, in seconds since 1970.
    pub since: i64,
    /// Its own process, in the network namespace that it shares.
    pub namespace: Namespace,
}

impl Member {
    /// What it is known by.
    pub fn key(&self) -> Key {
        Key::new(&self.container, &self.bundle)
    }

    /// Whether it is in the network of `sandbox`. An owner that was started again has another network namespace, and this
    /// one is still in the old. A sandbox that was rebuilt from its link knows no cookie, and is judged by its name.
    pub fn is_of(&self, sandbox: &Sandbox) -> bool {
        let (own, theirs) = (self.namespace.cookie, sandbox.namespace.cookie);
        let is_same = own == theirs || own == 0 || theirs == 0;
        self.owner == sandbox.container && self.owner_bundle == sandbox.bundle && is_same
    }

    /// Whether `text` is its id, its name or the beginning of its id.
    pub fn is_called(&self, text: &str) -> bool {
        self.name.as_str() == text || self.container.as_str().starts_with(text)
    }

    /// Whether its process runs; none where that cannot be told.
    pub fn is_alive(&self, origin: &Origin) -> Option<bool> {
        match Netns::look(&self.namespace, origin) {
            Sight::Alive(_) => Some(true),
            // A process that has its pid now is another one.
            Sight::Gone | Sight::Missing(_) => Some(false),
            Sight::Hidden(_) | Sight::Failed(_) => None,
        }
    }
}

impl ContainerFiles {
    /// The file of the member `key`. Two hosts that share a /run may have one key each.
    fn of_member(&self, key: &Key) -> PathBuf {
        self.state_dir.join(MEMBERS).join(format!("{}{}", of_host(&self.host), key.hex()))
    }

    /// Notes a member.
    pub fn note(&self, member: &Member) -> Result<()> {
        let path = self.of_member(&member.key());
        let text = serde_json::to_string(member)
            .map_err(|error| kernel::Error::refused("note a member", std::io::Error::other(error)))?;
        Ok(kernel::write_private(&path, &text)?)
    }

    /// Forgets a member; none there is no error.
    pub fn forget(&self, key: &Key) -> Result<()> {
        Ok(kernel::remove_file(&self.of_member(key))?)
    }

    /// All members on this host. What cannot be read is passed over: it costs a line in a table.
    pub fn members(&self) -> Result<Vec<Member>> {
        members(&self.state_dir, &self.host)
    }

    /// Forgets all members of this host, as when it is reset: their network is gone.
    pub fn remove_members(&self) -> Result<()> {
        for member in self.members()? {
            self.forget(&member.key())?;
        }
        kernel::remove_if_empty(&self.state_dir.join(MEMBERS));
        Ok(())
    }

    /// Forgets the members that are gone, and removes what other boots left.
    pub fn collect_members(&self, origin: &Origin) -> Result<()> {
        let folder = self.state_dir.join(MEMBERS);
        for name in kernel::names_in(&folder)?.iter().filter(|name| !name.starts_with(&self.host.boot)) {
            kernel::remove_file(&folder.join(name))?;
        }
        for member in self.members()?.iter().filter(|member| member.is_alive(origin) == Some(false)) {
            self.forget(&member.key())?;
        }
        Ok(())
    }
}

/// All members on `host`, by its files in `state_dir`. What cannot be read is passed over.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn members(state_dir: &Path, host: &Host) -> Result<Vec<Member>> {
    let (prefix, folder) = (of_host(host), state_dir.join(MEMBERS));
    let names = kernel::names_in(&folder)?.into_iter().filter(|name| name.starts_with(&prefix) && !name.contains('.'));
    let read = |name: String| {
        let json = kernel::read_regular(&folder.join(name), MAX_BYTES).ok().flatten()?;
        serde_json::from_slice(&json).ok()
    };
    let mut members: Vec<Member> = names.filter_map(read).collect();
    members.sort_by(|one, other| (one.since, one.name.as_str()).cmp(&(other.since, other.name.as_str())));
    Ok(members)
}

/// What the names of a host's files begin with.
fn of_host(host: &Host) -> String {
    format!("{}-{:x}-", host.boot, host.cookie)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_of_the_container_in_the_same_network_namespace() {
        let in_namespace =
            |cookie| json!({"cookie": cookie, "witness": {"path": "/n"}, "seen_from_pid_ns": 1, "seen_from_mnt_ns": 1});
        let member = json!({
            "container": "side", "name": "side", "bundle": "/s", "owner": "web", "owner_name": "web", "owner_bundle": "/b",
            "since": 0, "namespace": in_namespace(7),
        });
        let member: Member = serde_json::from_value(member).unwrap();
        for (id, cookie, expected) in [("web", 7, true), ("web", 8, false), ("web", 0, true), ("db", 7, false)] {
            let sandbox = json!({
                "record": 1, "container": id, "bundle": "/b", "name": id, "mode": "none", "state": "attached",
                "endpoints": [], "namespace": in_namespace(cookie), "publish": [],
            });
            let sandbox: Sandbox = serde_json::from_value(sandbox).unwrap();
            assert_eq!(member.is_of(&sandbox), expected, "{id} with {cookie}");
        }
    }
}
