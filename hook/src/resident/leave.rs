//! Leaving the control groups, mounts and oom score of the process that started this one on demand, so that this one
//! outlives it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::sched::{CloneFlags, setns, unshare};
use slog::{Logger, warn};

use crate::kernel;

/// Leaves the starter's control groups, its protection from the out-of-memory killer and its mount namespace. Call it
/// before there are threads.
pub fn leave_starter(log: &Logger) {
    for line in fs::read_to_string("/proc/self/cgroup").unwrap_or_default().lines() {
        if let Some((own, hierarchy)) = sibling(line)
            && let Err(error) = fs::create_dir_all(hierarchy.join(&own))
                .and_then(|()| fs::write(hierarchy.join(&own).join("cgroup.procs"), "0"))
        {
            warn!(log, "staying in the control group of this program's parent: {}: {error}", own.display());
        }
    }
    // containerd sets -999 for itself, and children inherit it. Raising the value needs no right; lowering it may fail.
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    if let Err(error) = enter_hosts_mounts() {
        warn!(log, "staying with the mounts of this program's parent: {error}");
    }
}

/// The control group `ocinet` beside that of a line of /proc/self/cgroup, and the mount point of its hierarchy. Service
/// managers kill by group in the hierarchy of version 2 and in named ones, and never the root group.
fn sibling(line: &str) -> Option<(PathBuf, PathBuf)> {
    let (_, line) = line.split_once(':')?;
    let (controllers, path) = line.split_once(':')?;
    let parent = Path::new(path).parent().filter(|_| !path.contains(".."))?;
    let top = Path::new("/sys/fs/cgroup");
    let hierarchy = match controllers {
        "" => [top.to_owned(), top.join("unified")].into_iter().find(|place| place.join("cgroup.procs").exists())?,
        named => top.join(named.strip_prefix("name=")?),
    };
    let own = parent.strip_prefix("/").ok()?.join("ocinet");
    hierarchy.exists().then_some((own, hierarchy))
}

/// Joins the mount namespace of pid 1. In a mount namespace of containerd's own, the paths of containers would lead to
/// other files.
fn enter_hosts_mounts() -> kernel::Result<()> {
    let refused = |error: io::Error| kernel::Error::refused("enter /proc/1/ns/mnt", error);
    let hosts = fs::File::open("/proc/1/ns/mnt").map_err(refused)?;
    let ours = fs::metadata("/proc/self/ns/mnt").map_err(refused)?;
    if hosts.metadata().is_ok_and(|hosts| (hosts.dev(), hosts.ino()) == (ours.dev(), ours.ino())) {
        return Ok(());
    }
    // setns(2) refuses a mount namespace while the process shares its root and working directory with another.
    let entered = unshare(CloneFlags::CLONE_FS).and_then(|()| setns(hosts, CloneFlags::CLONE_NEWNS));
    entered.map_err(|error| refused(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_and_controllers_are_not_left() {
        for line in ["0::/", "1:name=systemd:/", "4:memory:/service/containerd", "0::/../containerd", "", "0:"] {
            assert_eq!(sibling(line), None, "{line}");
        }
    }
}
