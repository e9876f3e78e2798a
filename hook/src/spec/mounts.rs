use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Document;
use super::change::{Change, Position};
use crate::model::Invalid;

const LIST: [&str; 1] = ["mounts"];

/// A file of the host that a container sees, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMount {
    /// The file on the host.
    pub source: PathBuf,
    /// Where the container sees it.
    pub destination: PathBuf,
}

impl Document {
    /// Refuses mounts of another shape than the specification gives them.
    pub(super) fn check_mounts(&self) -> Result<(), Invalid> {
        self.expect(&LIST, "a list", Value::is_array)?;
        match self.items(&LIST).iter().find(|mount| destination(mount).is_none()) {
            Some(mount) => Err(self.misshapen("mounts", mount, "a mount: it has no destination")),
            None => Ok(()),
        }
    }

    /// Has the runtime mount a file, unless the spec mounts something there or the destination is in a folder of the
    /// host.
    pub(super) fn mount(&mut self, mount: &FileMount, changes: &mut Vec<Change>) {
        if !self.has_mount(&mount.destination) && !self.is_in_hosts_folder(&mount.destination) {
            let entry = json!({
                "destination": mount.destination.to_string_lossy(),
                "type": "bind",
                "source": mount.source.to_string_lossy(),
                "options": ["bind", "private", "ro", "nosuid", "nodev", "noexec"],
            });
            self.add(&LIST, Position::Last, entry, changes);
        }
    }
}

impl Document {
    /// Whether the spec mounts something at `path`.
    pub fn has_mount(&self, path: impl AsRef<Path>) -> bool {
        self.items(&LIST).iter().any(|mount| is_at(mount, path.as_ref()))
    }

    /// Whether a file that a runtime makes at `path`, to mount over it, may be one of the host's: it would be in
    /// something that is mounted, and not made for the container alone.
    pub(super) fn is_in_hosts_folder(&self, path: &Path) -> bool {
        let is_memory = |mount: &Value| mount.get("type").is_some_and(|kind| kind == "tmpfs");
        let mut folders = path.ancestors().skip(1).filter(|folder| folder.parent().is_some());
        folders.any(|folder| self.items(&LIST).iter().any(|mount| is_at(mount, folder) && !is_memory(mount)))
    }
}

/// Whether a mount covers `path`, however it is written.
pub(super) fn is_at(mount: &Value, path: &Path) -> bool {
    destination(mount).is_some_and(|theirs| Path::new(theirs).components().eq(path.components()))
}

fn destination(mount: &Value) -> Option<&str> {
    mount.get("destination")?.as_str()
}
