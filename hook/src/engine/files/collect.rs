//! Files that no container has any more.

use super::{CONTAINERS, ContainerFiles};
use crate::engine::{Failures, Result};
use crate::kernel::{self, LockFile, Place};
use crate::model::Key;
use crate::store::{Host, Store};

/// Removes the files of containers that no sandbox in the store has, as after a store was lost, and those of other
/// boots. What fails for one directory is noted in `failures`.
pub fn collect(files: &ContainerFiles, store: &Store, locks: &LockFile, failures: &mut Failures) -> Result<()> {
    let names = kernel::names_in(&files.state_dir.join(CONTAINERS)).map_err(Into::into);
    for name in failures.note("files of containers", names)?.into_iter().flatten() {
        let collected = collect_directory(files, store, locks, &name);
        failures.note(format!("files in {name}"), collected)?;
    }
    Ok(())
}

fn collect_directory(files: &ContainerFiles, store: &Store, locks: &LockFile, name: &str) -> Result<()> {
    let Host { boot, cookie } = &files.host;
    let directory = files.state_dir.join(CONTAINERS).join(name);
    let rest = name.strip_prefix(&format!("{boot}-{cookie:x}-"));
    match rest.and_then(|hex| hex.parse::<Key>().ok()) {
        Some(key) => {
            let Some(_lock) = locks.attempt(Place::Sandbox(key.lock_offset()))? else { return Ok(()) };
            if store.read().find(&key)?.is_none() { files.remove(&key) } else { Ok(()) }
        }
        None if rest.is_some() => super::for_spec::collect(&directory),
        // Another host's, which shares this /run.
        None if name.starts_with(&format!("{boot}-")) => Ok(()),
        None => Ok(kernel::remove_files(&directory)?),
    }
}
