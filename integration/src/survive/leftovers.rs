//! What must not be left when every container is gone.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::host::Live;
use crate::{Host, check};

/// Makes sure that the store is empty, and that neither the kernel nor the file system has anything of a container.
pub(super) fn none(host: &Host) -> Result<()> {
    host.settles()?;
    check::agreement(host, &Live::new())?;
    files_of(host, 0)?;
    // A name server that was killed leaves its socket, which the next one takes.
    let known = |name: &String| {
        ["agent.sock", "containers", "lock", "log", "log.old", "members", "names"].contains(&name.as_str())
            || name.starts_with("store-")
    };
    let strangers: Vec<_> = names(&host.path("/run/ocinet"))?.into_iter().filter(|name| !known(name)).collect();
    ensure!(strangers.is_empty(), "in /run/ocinet are left: {strangers:?}");
    let mounts = our_mounts(host, 1)?;
    ensure!(mounts.is_empty(), "mounts are left on the host: {mounts:#?}");
    Ok(())
}

/// Makes sure that so many containers have files.
pub(super) fn files_of(host: &Host, containers: usize) -> Result<()> {
    let folders = names(&host.path("/run/ocinet/containers"))?;
    ensure!(folders.len() == containers, "{containers} containers have files, and there are {folders:?}");
    Ok(())
}

/// Makes sure that each of the container's files is mounted exactly once.
pub(super) fn files_once(host: &Host, pid: u32) -> Result<()> {
    let mut mounts: Vec<_> = our_mounts(host, pid)?.iter().filter_map(|line| target(line)).collect();
    mounts.sort();
    let expected = ["/mnt/rootfs/etc/hostname", "/mnt/rootfs/etc/hosts", "/mnt/rootfs/etc/resolv.conf"];
    ensure!(mounts == expected, "the container's files are {mounts:?}");
    Ok(())
}

/// The mounts of our files in the mount namespace of a process.
fn our_mounts(host: &Host, pid: u32) -> Result<Vec<String>> {
    let path = host.path(format!("/proc/{pid}/mountinfo"));
    let mounts = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(mounts.lines().filter(|line| line.contains("/ocinet/containers/")).map(str::to_owned).collect())
}

/// The mount point of a line: the fifth field (proc_pid_mountinfo(5)).
fn target(line: &str) -> Option<String> {
    line.split(' ').nth(4).map(str::to_owned)
}

/// The names in a folder; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
