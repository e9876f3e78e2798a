//! Files that the container's runtime mounts, because its spec says so. They have to exist before the container does,
//! when their contents are not known yet: they are made empty, in a directory of their own, and filled in when the
//! container is attached. A checkpoint by CRIU includes mounts of the runtime, and not those of a hook.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{CONTAINERS, ContainerFiles};
use crate::decide::files::{self, File, MADE_FOR_SPEC};
use crate::decide::request::RootFs;
use crate::engine::{Result, this_host};
use crate::input::Bundle;
use crate::kernel;
use crate::model::{Invalid, Key};
use crate::spec::{Document, FileMount};
use crate::store::Host;

/// How long a container may take from its spec to its attach; a hook has not been called for one that took longer.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Makes the files that `spec` can mount and does not mount itself, empty, in the state directory `state_dir`. None
/// where a runtime could not mount them; then the hook does.
///
/// # Errors
/// When the file system refuses.
pub fn files_to_fill(state_dir: &Path, spec: &Document) -> Result<Vec<FileMount>> {
    let files: Vec<File> = File::ALL.into_iter().filter(|file| !spec.has_mount(file.place())).collect();
    if files.is_empty() || !spec.can_mount_files() {
        return Ok(Vec::new());
    }
    let state_dir = std::path::absolute(state_dir)
        .map_err(|error| kernel::Error::refused(format!("find {}", state_dir.display()), error))?;
    kernel::state_dir(&state_dir)?;
    let name = format!("{}{}", prefix(&this_host()?), kernel::random_hex()?);
    let directory = state_dir.join(CONTAINERS).join(name);
    let empty: Vec<_> = files.iter().map(|file| (file.name(), String::new())).collect();
    if let Err(error) = kernel::write_files(&directory, &empty, None) {
        // Some of the files without the others are of no use.
        let _ = kernel::remove_files(&directory);
        return Err(error.into());
    }
    let mount = |file: &File| FileMount { source: directory.join(file.name()), destination: file.place().into() };
    Ok(files.iter().map(mount).collect())
}

/// Removes the files of a container whose attach failed before it had them.
///
/// # Errors
/// When the file system refuses.
pub fn discard_files_of(bundle: &Bundle, state_dir: &Path) -> Result<()> {
    match files::made_for(bundle) {
        Some(directory) if is_among(&directory, state_dir, &this_host()?) => Ok(kernel::remove_files(&directory)?),
        _ => Ok(()),
    }
}

impl ContainerFiles {
    /// Makes the files that the spec mounts those of the container `key`. False where there are none, or none any more,
    /// as after an attach that was taken back: then they are to be mounted.
    pub fn adopt(&self, root: &RootFs, key: &Key) -> Result<bool> {
        let Some(directory) = &root.spec_files else { return Ok(false) };
        if !is_among(directory, &self.state_dir, &self.host) {
            let why =
                format!("is not in {}: precreate and this hook need the same --state-dir", self.state_dir.display());
            return Err(Invalid::new("config: mounts", directory.display(), why).into());
        }
        self.remove(key)?;
        // Existing mounts stay valid: a mount refers to the file, not to its name.
        Ok(kernel::move_directory(directory, &self.of(key))?)
    }
}

/// Removes such files in `directory` if no container came for them.
pub(super) fn collect(directory: &Path) -> Result<()> {
    if kernel::age(directory)?.is_some_and(|age| age > PATIENCE) {
        kernel::remove_files(directory)?;
    }
    Ok(())
}

/// What the names of such directories begin with.
fn prefix(Host { boot, cookie }: &Host) -> String {
    format!("{boot}-{cookie:x}{MADE_FOR_SPEC}")
}

/// Whether the directory that a spec names, which is input, is one that was made here for a spec.
fn is_among(directory: &Path, state_dir: &Path, host: &Host) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(&prefix(host)));
    let is_random = |hex: &str| !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let state_dir: PathBuf = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.into());
    name.is_some_and(is_random) && directory.parent() == Some(&state_dir.join(CONTAINERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_leads_to_no_files_but_those_made_for_one() {
        let host = Host { boot: "b00".into(), cookie: 0x1f };
        let rows = [
            ("/run/ocinet/containers/b00-1f-spec-00ff", true),
            ("/run/ocinet/containers/b00-1f-spec-", false),
            ("/run/ocinet/containers/b00-1f-00ff", false),
            ("/run/ocinet/containers/b00-2f-spec-00ff", false),
            ("/run/ocinet/containers/b00-1f-spec-00ff/..", false),
            ("/run/ocinet/containers/../b00-1f-spec-00ff", false),
            ("/run/other/containers/b00-1f-spec-00ff", false),
            ("/run/ocinet/containers", false),
        ];
        for (path, expected) in rows {
            assert_eq!(is_among(Path::new(path), Path::new("/run/ocinet"), &host), expected, "{path}");
        }
    }
}
