//! The files of containers: `/etc/resolv.conf`, `/etc/hosts`, `/etc/hostname`, and the namespaces that were made for
//! them.

mod collect;
mod container;
mod for_spec;
mod hosts;
mod members;
mod name_servers;

pub use for_spec::{discard_files_of, files_to_fill};
pub use members::{MEMBERS, Member, members};

pub(super) use collect::collect;

use std::path::{Path, PathBuf};

use slog::Logger;

use crate::engine::Result;
use crate::kernel;
use crate::model::Key;
use crate::store::Host;

/// Where the files are, in the state directory.
pub(super) const CONTAINERS: &str = "containers";

/// The files of this host's containers.
pub(super) struct ContainerFiles {
    state_dir: PathBuf,
    /// The host whose files these are; others may share the directory.
    host: Host,
    log: Logger,
}

impl ContainerFiles {
    /// Those in the state directory `state_dir`.
    pub fn new(state_dir: &Path, host: &Host, log: &Logger) -> Self {
        Self { state_dir: state_dir.to_owned(), host: host.clone(), log: log.clone() }
    }

    /// The directory of a container's files. Ids are not file names: keys are hashed. Two hosts that share a /run may
    /// have one key each.
    pub fn of(&self, key: &Key) -> PathBuf {
        let Host { boot, cookie } = &self.host;
        self.state_dir.join(CONTAINERS).join(format!("{boot}-{cookie:x}-{}", key.hex()))
    }

    /// Removes the files of a container, and the namespace that was made for it. Its mounts of them ended with its
    /// mount namespace.
    pub fn remove(&self, key: &Key) -> Result<()> {
        Ok(kernel::remove_files(&self.of(key))?)
    }
}
