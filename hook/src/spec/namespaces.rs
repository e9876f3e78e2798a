use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::change::{Change, Position};
use super::{Document, shown};
use crate::model::Invalid;

const LIST: [&str; 2] = ["linux", "namespaces"];
const SYSCTL: [&str; 2] = ["linux", "sysctl"];

/// Where a container's network namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// It has one of its own: a new one, or that whose path the spec has already.
    Own,
    /// It stays in the host's.
    Host,
    /// It joins the one that this path leads to.
    At(PathBuf),
}

impl Document {
    /// Refuses namespaces of another shape than the specification gives them, and two network namespaces.
    pub(super) fn check_namespaces(&self) -> Result<(), Invalid> {
        let field = LIST.join(".");
        self.expect(&LIST, "a list", Value::is_array)?;
        let namespaces = self.items(&LIST);
        if let Some(entry) = namespaces.iter().find(|entry| !entry.get("type").is_some_and(Value::is_string)) {
            return Err(self.misshapen(&field, entry, "a namespace: it has no type"));
        }
        if namespaces.iter().filter(|entry| is_network(entry)).count() > 1 {
            return Err(self.wrong(&field, "network", "is there twice"));
        }
        Ok(())
    }

    /// Whether the container is to have a namespace of that type, apart from the host's.
    pub fn has_namespace(&self, kind: &str) -> bool {
        self.items(&LIST).iter().any(|entry| entry.get("type").is_some_and(|theirs| theirs == kind))
    }

    /// Whether the container is to have a new network namespace, in which nothing is wired yet.
    pub fn has_unwired_namespace(&self) -> bool {
        let has_path = |entry: &Value| entry.get("path").and_then(Value::as_str).is_some_and(|path| !path.is_empty());
        self.items(&LIST).iter().any(|entry| is_network(entry) && !has_path(entry))
    }

    /// Whether the container can be put into a network namespace that was made and wired before it is. Its user
    /// namespace would have to own that, and its files are mounted by its runtime then.
    pub fn can_be_wired_ahead(&self) -> bool {
        self.has_unwired_namespace() && self.can_mount_files()
    }

    /// Whether the runtime can mount files of ours. Root in a user namespace may not reach them, and to a root that is
    /// read-only a runtime can add no file to mount over; to a folder of the host's in its place it would: only a hook
    /// can pass that by.
    pub fn can_mount_files(&self) -> bool {
        let is_read_only = self.at(&["root", "readonly"]).is_some_and(|value| *value != Value::Bool(false));
        let is_hosts = self.is_in_hosts_folder(Path::new("/etc/hosts"));
        self.has_namespace("mount") && !self.has_namespace("user") && !is_read_only && !is_hosts
    }

    /// Changes where the container's network namespace comes from.
    pub(super) fn place(&mut self, placement: &Placement, changes: &mut Vec<Change>) -> Result<(), Invalid> {
        let index = self.items(&LIST).iter().position(is_network);
        match (placement, index) {
            (Placement::Own, Some(_)) => {}
            (Placement::Own, None) => self.add(&LIST, Position::Last, json!({ "type": "network" }), changes),
            (Placement::Host, _) => {
                self.refuse_network_sysctls()?;
                self.take(&LIST, is_network, changes);
            }
            (Placement::At(path), Some(index)) => {
                let mut entry = self.items(&LIST)[index].clone();
                entry["path"] = text(path);
                self.replace(&LIST, index, entry, changes);
            }
            (Placement::At(path), None) => {
                let entry = json!({ "type": "network", "path": text(path) });
                self.add(&LIST, Position::Last, entry, changes);
            }
        }
        Ok(())
    }

    /// In the host's namespace they would be the host's settings, and every runtime refuses them there.
    fn refuse_network_sysctls(&self) -> Result<(), Invalid> {
        let sysctls = self.at(&SYSCTL).and_then(Value::as_object);
        match sysctls.into_iter().flatten().find(|(key, _)| key.starts_with("net.")) {
            Some((key, value)) => {
                let why = "needs a network namespace of the container's own, and it is to use the host's; remove it";
                let value = value.as_str().map_or_else(|| value.to_string(), String::from);
                Err(self.wrong(&format!("linux.sysctl {}", shown(key)), value, why))
            }
            None => Ok(()),
        }
    }
}

/// Whether an entry of the list is the network namespace.
pub(super) fn is_network(entry: &Value) -> bool {
    entry.get("type").is_some_and(|kind| kind == "network")
}

fn text(path: &std::path::Path) -> Value {
    path.to_string_lossy().into_owned().into()
}
