//! The `/etc/hosts` of containers that run: it follows the networks that they are on.

use std::path::PathBuf;

use super::ContainerFiles;
use crate::decide::files::{self, File};
use crate::engine::Result;
use crate::kernel;
use crate::model::Sandbox;

/// Longer than any that we write.
const MAX_BYTES: usize = 1 << 20;

impl ContainerFiles {
    /// Brings the container's own addresses in its file up to date, from all of `before` to those of `after`. A file
    /// that is none of ours stays. The caller holds the lock of the sandbox.
    pub fn rewrite_hosts(&self, before: &Sandbox, after: &Sandbox) -> Result<()> {
        match self.moved_hosts(before, after)? {
            Some((path, text)) => Ok(kernel::rewrite(&path, &text)?),
            None => Ok(()),
        }
    }

    /// The file that would change, and its new text; none where none would.
    pub fn moved_hosts(&self, before: &Sandbox, after: &Sandbox) -> Result<Option<(PathBuf, String)>> {
        let path = self.of(&after.key()).join(File::Hosts.name());
        let Some(there) = kernel::read_regular(&path, MAX_BYTES)? else { return Ok(None) };
        let there = String::from_utf8_lossy(&there);
        let text = files::hosts_moved(
            &there,
            [&before.every_address(), &after.own_addresses()],
            [before.gateway(), after.gateway()],
        );
        Ok((text != there).then_some((path, text)))
    }
}
