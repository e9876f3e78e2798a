use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};
use serde::Deserialize;

use super::{is_templates_hostname, json};
use crate::model::Invalid;

/// The parts of a bundle's config.json that we read.
///
/// Only those: a whole `oci_spec::runtime::Spec` refuses a document for a capability or a seccomp action newer than
/// itself, and none of that is a reason to leave a container without its network.
#[derive(Debug, Default, Deserialize)]
pub struct Bundle {
    /// The container's annotations.
    #[serde(default, deserialize_with = "json::texts")]
    pub annotations: Option<HashMap<String, String>>,
    /// The host name that the runtime sets.
    #[serde(default)]
    pub hostname: Option<String>,
    #[serde(default)]
    linux: Option<Linux>,
    #[serde(default)]
    root: Option<Root>,
    #[serde(default)]
    mounts: Option<Vec<Mount>>,
}

#[derive(Debug, Deserialize)]
struct Mount {
    destination: PathBuf,
    #[serde(default)]
    source: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename = "root")]
struct Root {
    #[serde(default)]
    path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    #[serde(default)]
    namespaces: Option<Vec<LinuxNamespace>>,
    #[serde(default)]
    mount_label: Option<String>,
}

/// Which network namespace a spec asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkNamespace {
    /// None of its own: the runtime's.
    Inherited,
    /// A new one.
    New,
    /// The one bound to this path.
    At(PathBuf),
}

impl Bundle {
    /// Larger documents are refused.
    pub const MAX_BYTES: usize = 16 << 20;

    /// Reads config.json.
    pub fn parse(json: &[u8], path: &str) -> Result<Self, Invalid> {
        let wrong = |why: String| Invalid::new("config", path, why);
        let bundle: Self =
            serde_json::from_slice(json).map_err(|error| wrong(format!("is not an OCI spec: {error}")))?;
        if bundle.root.as_ref().is_none_or(|root| root.path.is_empty()) {
            return Err(wrong("has no root.path: the container has no file system".into()));
        }
        Ok(bundle)
    }

    /// The root file system, for a bundle in `directory`.
    pub fn root(&self, directory: &str) -> PathBuf {
        let root = self.root.as_ref().map_or("", |root| &root.path);
        Path::new(directory).join(root)
    }

    /// Whether its host name is a template's, and so was not chosen for this container.
    pub fn has_templates_hostname(&self) -> bool {
        self.hostname.as_deref().is_some_and(is_templates_hostname)
    }

    /// Whether the spec mounts something at `path`.
    pub fn mounts(&self, path: &str) -> bool {
        self.mount_at(path).is_some()
    }

    /// What the spec mounts at `path`, if anything that has a source.
    pub fn mount_source(&self, path: &str) -> Option<&Path> {
        self.mount_at(path)?.source.as_deref()
    }

    fn mount_at(&self, path: &str) -> Option<&Mount> {
        let is_there = |mount: &&Mount| mount.destination.components().eq(Path::new(path).components());
        self.mounts.iter().flatten().find(is_there)
    }

    /// The SELinux label for what is mounted into the container.
    pub fn mount_label(&self) -> Option<&str> {
        self.linux.as_ref()?.mount_label.as_deref().filter(|label| !label.is_empty())
    }

    /// Whether the container has a host name of its own.
    pub fn has_own_uts_namespace(&self) -> bool {
        self.namespace(LinuxNamespaceType::Uts).is_some()
    }

    fn namespace(&self, kind: LinuxNamespaceType) -> Option<&LinuxNamespace> {
        self.linux.as_ref()?.namespaces.as_ref()?.iter().find(|namespace| namespace.typ() == kind)
    }

    /// The network namespace of `linux.namespaces`.
    pub fn network_namespace(&self) -> NetworkNamespace {
        match self.namespace(LinuxNamespaceType::Network) {
            None => NetworkNamespace::Inherited,
            Some(ns) => match ns.path() {
                Some(path) if !path.as_os_str().is_empty() => NetworkNamespace::At(path.clone()),
                _ => NetworkNamespace::New,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_namespaces() {
        let of = |namespaces: &str| {
            let json = format!(
                r#"{{"root":{{"path":"r"}},"linux":{{"namespaces":[{namespaces}]}},"process":{{"capabilities":["NEW"]}}}}"#
            );
            Bundle::parse(json.as_bytes(), "/b").unwrap().network_namespace()
        };
        assert_eq!(of(r#"{"type":"pid"}"#), NetworkNamespace::Inherited);
        assert_eq!(of(r#"{"type":"network"}"#), NetworkNamespace::New);
        assert_eq!(of(r#"{"type":"network","path":""}"#), NetworkNamespace::New);
        assert_eq!(of(r#"{"type":"network","path":"/run/n"}"#), NetworkNamespace::At("/run/n".into()));
        assert_eq!(
            Bundle::parse(br#"{"root":{"path":"r"}}"#, "/b").unwrap().network_namespace(),
            NetworkNamespace::Inherited
        );
        assert!(Bundle::parse(b"42", "/b").unwrap_err().to_string().contains("/b"));
        assert!(Bundle::parse(b"{}", "/b").unwrap_err().to_string().contains("root"));
    }
}
