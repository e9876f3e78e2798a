//! Leaving the surroundings of whoever started us on demand, so that their end is not ours.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::sched::{CloneFlags, setns, unshare};
use ocinet::kernel;
use slog::{Logger, warn};

/// Leaves the caller's control groups, its protection from the kernel's killer and its mounts. Only before there are threads.
pub fn leave(log: &Logger) {
    for line in fs::read_to_string("/proc/self/cgroup").unwrap_or_default().lines() {
        if let Some((own, hierarchy)) = sibling(line)
            && let Err(error) = fs::create_dir_all(hierarchy.join(&own))
                .and_then(|()| fs::write(hierarchy.join(&own).join("cgroup.procs"), "0"))
        {
            warn!(log, "staying in the control group of whoever started this: {}: {error}", own.display());
        }
    }
    // containerd protects itself; that is nothing to inherit. Where it is the other way round we may not change it.
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    if let Err(error) = enter_hosts_mounts() {
        warn!(log, "staying with the mounts of whoever started this: {error}");
    }
}

/// A control group beside that of a line of /proc/self/cgroup, and where its hierarchy is. Services are told apart, and killed, in
/// the hierarchy of version 2 and in named ones; and nobody kills the root.
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

/// Where containerd has mounts of its own, containers would seem to be elsewhere.
fn enter_hosts_mounts() -> kernel::Result<()> {
    let refused = |error: io::Error| kernel::Error::refused("enter /proc/1/ns/mnt", error);
    let hosts = fs::File::open("/proc/1/ns/mnt").map_err(refused)?;
    let ours = fs::metadata("/proc/self/ns/mnt").map_err(refused)?;
    if hosts.metadata().is_ok_and(|hosts| (hosts.dev(), hosts.ino()) == (ours.dev(), ours.ino())) {
        return Ok(());
    }
    // The directories of a process that shares them cannot be moved to other mounts.
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
