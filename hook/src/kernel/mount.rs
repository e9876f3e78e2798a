//! Our files over a container's own, from inside its mount namespace.
//!
//! The image is hostile: `/etc/resolv.conf` in it may be a link to anywhere, a FIFO or a device, and may be swapped while
//! we look. So the target is opened beneath the container's root by a path walk that cannot leave it, judged by its
//! descriptor, and mounted over by that same descriptor. The mount itself was made before, in our own namespace,
//! read-only: a container must not fill the host's /run.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use super::apart::apart;
use super::error::{Doing, Error, Result};

/// How often a disturbed walk is begun again: a neighbour must not keep us for ever.
const MOST_WALKS: usize = 1000;

/// A file of ours and where it belongs in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The file on the host.
    pub source: PathBuf,
    /// The path beneath the container's root, without a leading slash.
    pub target: String,
}

/// Mounts each file over its target beneath `root` in the mount namespace `namespace`. Returns what could not be, since the image
/// lacks the target and cannot be given one.
///
/// # Errors
/// When a target is no regular file, or the kernel refuses.
pub fn mount_over(namespace: BorrowedFd<'_>, root: &Path, overlays: &[Overlay]) -> Result<Vec<String>> {
    let trees: Vec<(OwnedFd, &str)> = overlays
        .iter()
        .map(|overlay| Ok((detached(&overlay.source)?, overlay.target.as_str())))
        .collect::<Result<_>>()?;
    let inside = || {
        // A thread shares its root and working directory with others, which setns into a mount namespace refuses.
        unshare(CloneFlags::CLONE_FS).doing(|| "leave the other threads' working directory".into())?;
        setns(namespace, CloneFlags::CLONE_NEWNS).doing(|| "enter the container's mount namespace".into())?;
        let what = || format!("open the container's root {}", root.display());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(root, flags, Mode::empty()).doing(what)?;
        trees.iter().filter_map(|(tree, target)| attach(tree, &directory, target).transpose()).collect()
    };
    apart(inside)
}

/// A read-only mount of `source` that is nowhere yet.
fn detached(source: &Path) -> Result<OwnedFd> {
    let what = || format!("make a mount of {}", source.display());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, source, flags).doing(what)?;
    let attributes =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    set_attributes(tree.as_fd(), attributes).doing(what)?;
    Ok(tree)
}

/// Puts the mount `tree` over `target` beneath `root`. The target comes back where there is none and none can be made.
fn attach(tree: &OwnedFd, root: &OwnedFd, target: &str) -> Result<Option<String>> {
    let what = || format!("mount over /{target} in the container");
    uncover(root, target).doing(what)?;
    let place = match open_beneath(root, target, OFlags::PATH) {
        Err(Errno::NOENT) => match make(root, target) {
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => return Ok(Some(format!("/{target}"))),
            made => made.doing(what)?,
        },
        opened => opened.doing(what)?,
    };
    let (there, ours) = (fstat(&place).doing(what)?, fstat(tree).doing(what)?);
    if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile {
        return Err(Error::refused(
            what(),
            io::Error::other("the image has something there that is not a regular file"),
        ));
    }
    if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) {
        return Ok(None);
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", place, "", flags).doing(what)?;
    Ok(None)
}

/// Takes off what an attach mounted that was taken back since: its file is gone from the host, and nothing can be
/// mounted over it.
fn uncover(root: &OwnedFd, target: &str) -> rustix::io::Result<()> {
    while let Ok(place) = open_beneath(root, target, OFlags::PATH) {
        if fstat(&place)?.st_nlink > 0 {
            break;
        }
        let path = format!("/proc/thread-self/fd/{}", place.as_raw_fd());
        rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH)?;
    }
    Ok(())
}

/// Walks `path` without ever leaving `root`. While anything is renamed or mounted anywhere on the host, the kernel cannot
/// tell whether a `..` led out of the root, and says "try again" (openat2(2)).
fn open_beneath(root: &OwnedFd, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let walk = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o644) } else { Mode::empty() };
    let open = || rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, walk);
    let disturbed = |opened: &rustix::io::Result<OwnedFd>| matches!(opened, Err(Errno::AGAIN));
    (0..MOST_WALKS).map(|_| open()).find(|opened| !disturbed(opened)).unwrap_or(Err(Errno::AGAIN))
}

/// Makes an empty file to mount over, where the image has none or a link to nowhere.
fn make(root: &OwnedFd, target: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match open_beneath(root, target, flags) {
        Err(Errno::NOENT) => {
            let place = link_beneath(root, target).unwrap_or_else(|| target.to_owned());
            make_parents(root, &place)?;
            open_beneath(root, &place, flags)?
        }
        made => made?,
    };
    // It stays in the image, where the caller's umask means nothing.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
    Ok(file)
}

/// Where the link at `target` leads, as a path beneath the root.
fn link_beneath(root: &OwnedFd, target: &str) -> Option<String> {
    let link = open_beneath(root, target, OFlags::PATH | OFlags::NOFOLLOW).ok()?;
    let text = rustix::fs::readlinkat(link, "", Vec::new()).ok()?.into_string().ok()?;
    let parent = Path::new(target).parent().and_then(Path::to_str).unwrap_or_default();
    Some(if text.starts_with('/') { text } else { format!("{parent}/{text}") })
}

fn make_parents(root: &OwnedFd, path: &str) -> rustix::io::Result<()> {
    let mut at = rustix::fs::openat(root, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let mut walked = String::new();
    let Some((parents, _)) = path.rsplit_once('/') else { return Ok(()) };
    for part in parents.split('/').filter(|part| !part.is_empty() && *part != ".") {
        walked = format!("{walked}/{part}");
        at = match open_beneath(root, &walked, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&at, part, Mode::from_raw_mode(0o755))?;
                open_beneath(root, &walked, OFlags::PATH | OFlags::DIRECTORY)?
            }
            opened => opened?,
        };
    }
    Ok(())
}

/// mount_setattr(2), which neither nix nor rustix has.
#[allow(unsafe_code)]
fn set_attributes(mount: BorrowedFd<'_>, attributes: u64) -> nix::Result<()> {
    let change = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is an empty C string, and `change` lives and is as long as said.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            AtFlags::EMPTY_PATH.bits(),
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    nix::errno::Errno::result(result).map(drop)
}
