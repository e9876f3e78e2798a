//! The release of ocinet on a private host: the one under test, or the previous one.

use anyhow::{Context, Result};

use crate::{Host, binary};

/// `ocinet` and its shim, of one release.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Installed {
    /// The previous release, which `integration/old-release` builds.
    Before,
    /// The one under test.
    Now,
}

impl Installed {
    /// Replaces the installed release on `host`, as a package manager does: running processes keep their files.
    pub fn on(self, host: &Host) -> Result<()> {
        let folder = match self {
            Self::Before => binary::release_before()?,
            Self::Now => binary::shim()?.parent().context("it is in a folder")?.to_owned(),
        };
        host.sh(&format!(
            "mkdir -p /mnt/{self:?}
             for program in ocinet containerd-shim-ocinet-v2; do
                 test -e /mnt/{self:?}/$program || cp {}/$program /mnt/{self:?}
                 [ /mnt/{self:?}/$program -ef /mnt/bin/$program ] && continue
                 ln /mnt/{self:?}/$program /mnt/bin/.new
                 mv /mnt/bin/.new /mnt/bin/$program
             done",
            folder.display()
        ))
        .map(drop)
    }
}
