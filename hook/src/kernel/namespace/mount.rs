//! Mounting our files over those of a container, inside its mount namespace.
//!
//! The image is hostile: its `/etc/resolv.conf` may be a link to anywhere, a FIFO or a device, and may be replaced at
//! any time. So the target is opened by a path walk that cannot leave the container's root, checked by its descriptor,
//! and mounted over by the same descriptor. The mount itself is made before in our own namespace, read-only: a
//! container must not fill the host's /run.
//!
//! The container's root is looked up from the root directory of its first process: setns(2) into a mount namespace
//! moves the caller to the root of that namespace, which is a different directory if the runtime runs in a chroot.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, fstat, major, minor, statx};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use super::process::Process;
use super::visit;
use crate::kernel::error::{Doing, Error, Result};

/// How often an interrupted walk is repeated, so that another process cannot keep this one busy for ever.
const MOST_WALKS: usize = 1000;
/// How many mounts of deleted files are taken off one place. An attach leaves one; a container could go on mounting.
const MOST_COVERS: usize = 100;
/// The limit of the kernel (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A file of ours and its place in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The file on the host.
    pub source: PathBuf,
    /// The path beneath the container's root, without a leading slash.
    pub target: String,
}

/// A target that does not exist in a container and is not made, so that nothing can be mounted over it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The image is read-only.
    #[error("the image has no {0} and cannot be given one: the container goes without it")]
    ReadOnly(String),
    /// A file made there would be a file on the host.
    #[error("{0} is missing in a folder of the host's, where ocinet makes none: the container goes without it")]
    Hosts(String),
    /// A mount made there would appear in other places too.
    #[error(
        "{0} is on a mount that is shared, perhaps with the host: ocinet mounts nothing there, and it stays as it is"
    )]
    Shared(String),
}

/// The result of an attempt to make a target that did not fail.
enum Made {
    There(OwnedFd),
    Not(Missing),
}

/// Mounts each file over its target beneath `root`, in the mount namespace of `process`. `root` is a path as `process`
/// and its runtime see it. Returns the targets that could not be mounted over.
///
/// # Errors
/// When a target is no regular file, or the kernel refuses.
pub fn mount_over(process: &Process, root: &Path, overlays: &[Overlay]) -> Result<Vec<Missing>> {
    let trees: Vec<(OwnedFd, &str)> = overlays
        .iter()
        .map(|overlay| Ok((detached(&overlay.source)?, overlay.target.as_str())))
        .collect::<Result<_>>()?;
    let what = || format!("open the container's root {}", root.display());
    let directory = open_beneath(&process.root, root, OFlags::PATH | OFlags::DIRECTORY).doing(what)?;
    // Opened before the visit, it lists the host's mounts also when it is read there (`mounts_open_common`,
    // fs/proc_namespace.c).
    let hosts_mounts = File::open("/proc/thread-self/mountinfo").doing(|| "open the list of mounts".into())?;
    visit::mount(process.mnt.as_fd(), || {
        let place = Place { root: &directory, mount: mount_id(&directory).doing(what)?, hosts_mounts, process };
        trees.iter().filter_map(|(tree, target)| place.attach(tree, target).transpose()).collect()
    })
}

/// A read-only mount of `source` that is not attached anywhere yet.
fn detached(source: &Path) -> Result<OwnedFd> {
    let what = || format!("make a mount of {}", source.display());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, source, flags).doing(what)?;
    let attributes =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    set_attributes(tree.as_fd(), attributes).doing(what)?;
    Ok(tree)
}

/// The root of a container, seen from inside its mount namespace.
struct Place<'p> {
    root: &'p OwnedFd,
    /// The mount that the root is on.
    mount: u64,
    /// The mounts of the host (proc_pid_mountinfo(5)).
    hosts_mounts: File,
    process: &'p Process,
}

impl Place<'_> {
    /// Mounts `tree` over `target`.
    fn attach(&self, tree: &OwnedFd, target: &str) -> Result<Option<Missing>> {
        let what = || format!("mount over /{target} in the container");
        let (place, there) = match uncovered(self.root, target) {
            Err(Errno::NOENT) => match self.make(target)? {
                Made::There(file) => identified(file).doing(what)?,
                Made::Not(missing) => return Ok(Some(missing)),
            },
            opened => opened.doing(what)?,
        };
        if FileType::from_raw_mode(there.stx_mode.into()) != FileType::RegularFile {
            return Err(Error::refused(
                what(),
                io::Error::other("the image has something there that is not a regular file"),
            ));
        }
        let ours = identity(tree).doing(what)?;
        let file = |stat: &Statx| (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
        if file(&there) == file(&ours) {
            return Ok(None);
        }
        if self.is_shared(there.stx_mnt_id).doing(what)? {
            return Ok(Some(Missing::Shared(format!("/{target}"))));
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(tree, "", place, "", flags).doing(what)?;
        Ok(None)
    }

    /// Makes an empty file to mount over, if the image has none or a dangling link. The file stays in the image.
    fn make(&self, target: &str) -> Result<Made> {
        let what = || format!("make /{target} in the container");
        let path = end_of_links(self.root, target).doing(what)?;
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let mut at = open_beneath(self.root, ".", OFlags::PATH | OFlags::DIRECTORY).doing(what)?;
        let mut walked = String::new();
        for part in parents.split('/').filter(|part| !part.is_empty() && *part != ".") {
            walked = format!("{walked}/{part}");
            at = match open_beneath(self.root, &walked, OFlags::PATH | OFlags::DIRECTORY) {
                Err(Errno::NOENT) => {
                    let made = || rustix::fs::mkdirat(&at, part, Mode::from_raw_mode(0o755));
                    if let Some(missing) = self.add(&at, target, made)? {
                        return Ok(Made::Not(missing));
                    }
                    open_beneath(self.root, &walked, OFlags::PATH | OFlags::DIRECTORY).doing(what)?
                }
                opened => opened.doing(what)?,
            };
        }
        let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut file = None;
        let made = || {
            let opened = rustix::fs::openat(&at, name, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))?;
            // The caller's umask must not apply to the image.
            rustix::fs::fchmod(&opened, Mode::from_raw_mode(0o644))?;
            file = Some(opened);
            Ok(())
        };
        if let Some(missing) = self.add(&at, target, made)? {
            return Ok(Made::Not(missing));
        }
        Ok(Made::There(file.ok_or(Errno::NOENT).doing(what)?))
    }

    /// Calls `make`, which adds something to the directory `at` for `target`, unless it would be added to the host.
    fn add(
        &self,
        at: &OwnedFd,
        target: &str,
        make: impl FnOnce() -> rustix::io::Result<()>,
    ) -> Result<Option<Missing>> {
        let target = format!("/{target}");
        if !self.is_containers_own(at).doing(|| format!("look at the folder of {target} in the container"))? {
            return Ok(Some(Missing::Hosts(target)));
        }
        match make() {
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => Ok(Some(Missing::ReadOnly(target))),
            made => made.map(|()| None).doing(|| format!("make {target} in the container")),
        }
    }

    /// Whether the mount `id` is another than the root's, and one that propagates new mounts to other places.
    fn is_shared(&self, id: u64) -> io::Result<bool> {
        if id == self.mount {
            return Ok(false);
        }
        // Of this thread, which is in the container's mount namespace. The optional fields end with a hyphen
        // (proc_pid_mountinfo(5)).
        let mounts = open_beneath(&self.process.root, "proc/thread-self/mountinfo", OFlags::RDONLY)?;
        let mut text = String::new();
        File::from(mounts).read_to_string(&mut text)?;
        let id = id.to_string();
        let line = text.lines().find(|line| line.split(' ').next() == Some(&id));
        let mut optional = line.into_iter().flat_map(|line| line.split(' ').skip(6)).take_while(|field| *field != "-");
        Ok(optional.any(|field| field.starts_with("shared:")))
    }

    /// Whether a directory belongs to the container alone: it is on its root file system, or on one in memory that the
    /// host has not mounted itself. Any other mount may be a folder of the host.
    fn is_containers_own(&self, directory: &OwnedFd) -> io::Result<bool> {
        if mount_id(directory)? == self.mount {
            return Ok(true);
        }
        match rustix::fs::fstatfs(directory)?.f_type {
            // Nothing can be made in it; the kernel's error reports that.
            libc::PROC_SUPER_MAGIC => return Ok(true),
            libc::TMPFS_MAGIC => {}
            _ => return Ok(false),
        }
        let device = fstat(directory)?.st_dev;
        let number = format!("{}:{}", major(device), minor(device));
        let (mut text, mut mounts) = (String::new(), &self.hosts_mounts);
        mounts.rewind()?;
        mounts.read_to_string(&mut text)?;
        Ok(!text.lines().any(|line| line.split(' ').nth(2) == Some(&number)))
    }
}

fn mount_id(file: &OwnedFd) -> rustix::io::Result<u64> {
    identity(file).map(|stat| stat.stx_mnt_id)
}

/// What kind of file it is, which one, how many names it has, and the mount that it is on.
fn identity(file: &OwnedFd) -> rustix::io::Result<Statx> {
    statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)
}

fn identified(file: OwnedFd) -> rustix::io::Result<(OwnedFd, Statx)> {
    identity(&file).map(|stat| (file, stat))
}

/// Opens `target`, after unmounting what an attach mounted there that was rolled back: its file is gone from the host,
/// and nothing can be mounted over it.
fn uncovered(root: &OwnedFd, target: &str) -> rustix::io::Result<(OwnedFd, Statx)> {
    for _ in 0..MOST_COVERS {
        let (place, stat) = identified(open_beneath(root, target, OFlags::PATH)?)?;
        if stat.stx_nlink > 0 {
            return Ok((place, stat));
        }
        let path = format!("/proc/thread-self/fd/{}", place.as_raw_fd());
        rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH)?;
    }
    Err(Errno::BUSY)
}

/// Walks `path` without leaving `root`. While something is renamed or mounted anywhere on the host, the kernel cannot
/// tell whether a `..` led out of the root, and returns `EAGAIN` (openat2(2)). Then the walk is repeated.
fn open_beneath(root: &OwnedFd, path: impl AsRef<Path>, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let walk = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let open = || rustix::fs::openat2(root, path.as_ref(), flags | OFlags::CLOEXEC, Mode::empty(), walk);
    let disturbed = |opened: &rustix::io::Result<OwnedFd>| matches!(opened, Err(Errno::AGAIN));
    (0..MOST_WALKS).map(|_| open()).find(|opened| !disturbed(opened)).unwrap_or(Err(Errno::AGAIN))
}

/// The target of the links at `target`, as a path beneath the root whose last part is no link.
fn end_of_links(root: &OwnedFd, target: &str) -> rustix::io::Result<String> {
    let mut path = target.to_owned();
    for _ in 0..MOST_LINKS {
        let Some(next) = link_beneath(root, &path) else { return Ok(path) };
        path = next;
    }
    Err(Errno::LOOP)
}

/// The target of the link at `target`, as a path beneath the root; none if there is no link.
fn link_beneath(root: &OwnedFd, target: &str) -> Option<String> {
    let link = open_beneath(root, target, OFlags::PATH | OFlags::NOFOLLOW).ok()?;
    let text = rustix::fs::readlinkat(link, "", Vec::new()).ok()?.into_string().ok()?;
    let parent = Path::new(target).parent().and_then(Path::to_str).unwrap_or_default();
    Some(if text.starts_with('/') { text } else { format!("{parent}/{text}") })
}

/// mount_setattr(2), which neither nix nor rustix has.
#[allow(unsafe_code)]
fn set_attributes(mount: BorrowedFd<'_>, attributes: u64) -> nix::Result<()> {
    // `MS_PRIVATE`, or it would stay in the peer group of the mount from which it was cloned, which systemd makes
    // shared: a mount that the container makes over its file would appear on the host too (mount_namespaces(7)).
    let change = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    // SAFETY: the path is an empty C string, and `change` is alive and has the given size.
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
