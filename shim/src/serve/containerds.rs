//! The containerds to which events of their containers are published: one file for each in the state directory. So a
//! service that was killed and started again knows them without a call.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ocinet::engine::CONTAINERDS;
use ocinet::kernel::{self, is_listened_to};
use ocinet::model::Key;
use serde_json::{Value, json};

/// A containerd that has called us.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Containerd {
    /// The socket on which it takes events.
    pub address: String,
    /// The folder of the bundles of all its namespaces.
    pub bundles: PathBuf,
}

impl Containerd {
    /// The containerd that called for the container `id` of its namespace, whose bundle is `bundle`; `None` if bundles
    /// are not where every release of containerd so far keeps them.
    pub fn of_bundle(bundle: &Path, namespace: &str, id: &str, address: String) -> Option<Self> {
        let (folder, name) = (bundle.parent()?, bundle.file_name()?);
        let is_known = name == id && folder.file_name()? == namespace;
        let bundles = folder.parent().filter(|_| is_known && Path::new(&address).is_absolute())?.to_owned();
        Some(Self { address, bundles })
    }

    /// Writes its file for the service, if there is none yet.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remember(&self, state_dir: &Path) -> kernel::Result<()> {
        let text = json!({ "address": self.address, "bundles": self.bundles }).to_string();
        let path = state_dir.join(CONTAINERDS).join(self.file());
        if fs::read_to_string(&path).is_ok_and(|known| known == text) {
            return Ok(());
        }
        kernel::write_public(&path, &text)
    }

    /// All known containerds.
    ///
    /// # Errors
    /// When the folder or a file in it cannot be read.
    pub fn all(state_dir: &Path) -> io::Result<Vec<Self>> {
        let files = match fs::read_dir(state_dir.join(CONTAINERDS)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            files => files?,
        };
        let mut all = Vec::new();
        for file in files {
            match fs::read(file?.path()) {
                // It was removed meanwhile, or is no file of ours.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {}
                text => all.extend(Self::parse(&text?)),
            }
        }
        Ok(all)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let field = |name: &str| value[name].as_str().map(str::to_owned);
        Some(Self { address: field("address")?, bundles: field("bundles")?.into() })
    }

    /// The containerd namespace of the container with this bundle, if the container is this containerd's.
    pub fn namespace_of<'b>(&self, bundle: &'b str) -> Option<&'b str> {
        let mut names = Path::new(bundle).strip_prefix(&self.bundles).ok()?.iter();
        match (names.next(), names.next(), names.next()) {
            (Some(namespace), Some(_), None) => namespace.to_str(),
            _ => None,
        }
    }

    /// Whether any of them runs. True if that is unknown.
    pub fn any_runs(state_dir: &Path) -> bool {
        let runs = |containerd: &Self| is_listened_to(Path::new(&containerd.address)).unwrap_or(true);
        Self::all(state_dir).map_or(true, |all| all.iter().any(runs))
    }

    /// The name of its file. An address is no valid file name, so it is hashed.
    fn file(&self) -> String {
        Key::of_text("containerd", &format!("{}\0{}", self.address, self.bundles.display())).hex()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task";

    #[test]
    fn whose_a_bundle_is() {
        let of =
            |bundle: &str, address: &str| Containerd::of_bundle(Path::new(bundle), "k8s.io", "web", address.into());
        let known = of(&format!("{TASKS}/k8s.io/web"), "/run/c.sock.ttrpc").unwrap();
        assert_eq!(known.bundles, Path::new(TASKS));
        for bundle in ["/web", "/", "/tasks/default/web", "/tasks/k8s.io/other"] {
            assert_eq!(of(bundle, "/run/c.sock.ttrpc"), None, "{bundle}");
        }
        assert_eq!(of(&format!("{TASKS}/k8s.io/web"), ""), None);
        assert_eq!(known.namespace_of(&format!("{TASKS}/default/web")), Some("default"));
        for bundle in ["", "/bundles/web", TASKS, &format!("{TASKS}/default"), &format!("{TASKS}/default/web/rootfs")] {
            assert_eq!(known.namespace_of(bundle), None, "{bundle}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_none() {
        let state_dir = std::env::temp_dir().join(format!("ocinet-containerds-{}", std::process::id()));
        let _ = fs::remove_dir_all(&state_dir);
        fs::create_dir(&state_dir).unwrap();
        assert!(
            Containerd::all(&state_dir).unwrap().is_empty() && !Containerd::any_runs(&state_dir),
            "none was told of"
        );
        fs::write(state_dir.join(CONTAINERDS), "").unwrap();
        assert!(Containerd::all(&state_dir).is_err() && Containerd::any_runs(&state_dir));
        fs::remove_dir_all(&state_dir).unwrap();
    }
}
