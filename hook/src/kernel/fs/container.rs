use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use rustix::fs::{Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::rand::GetRandomFlags;

use super::file::is_gone;
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::namespace::Netns;

/// The path to which the network namespace is bound that was made for the container of `directory`.
pub fn namespace_in(directory: &Path) -> PathBuf {
    directory.join("netns")
}

/// Makes `directory` and a network namespace that is bound to its [`namespace_in`] until [`remove_files`]. Also returns
/// the namespace's cookie.
///
/// # Errors
/// When there is one already, or the kernel refuses.
pub fn make_namespace(directory: &Path) -> Result<(Netns, u64)> {
    make_directory(directory)?;
    let path = namespace_in(directory);
    let what = || format!("make {}", path.display());
    OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path).doing(what)?;
    Netns::make(&path)
}

/// Makes `directory` and writes files into it. All users can read them, whatever the umask is: a container's users are
/// not the host's. `label` is the SELinux label under which the container may read them.
///
/// # Errors
/// When the file system refuses, as when it is full.
pub fn write_files(directory: &Path, files: &[(&str, String)], label: Option<&str>) -> Result<()> {
    make_directory(directory)?;
    for (name, text) in files {
        let path = directory.join(name);
        let what = || format!("write {}", path.display());
        // In place, without a rename: where the file is mounted, the mount would keep the old file.
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).custom_flags(libc::O_NOFOLLOW).open(&path).doing(what)?;
        file.write_all(text.as_bytes()).doing(what)?;
        file.set_permissions(Permissions::from_mode(0o644)).doing(what)?;
        if let Some(label) = label {
            match rustix::fs::fsetxattr(&file, "security.selinux", label.as_bytes(), XattrFlags::empty()) {
                // A spec may carry a label onto a host without SELinux.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => return Err(Error::refused(format!("label {} {label}", path.display()), error)),
            }
        }
    }
    Ok(())
}

/// Replaces the text of a file that containers have mounted and may read at any time. The file stays the same, is never
/// empty, and never ends within a line: the file is first extended by empty lines to the longer of both texts, then the
/// new text is written in one call, and then the file is cut to its length.
///
/// # Errors
/// When the file system refuses, as when it is full.
pub fn rewrite(path: &Path, text: &str) -> Result<()> {
    let what = || format!("write {}", path.display());
    let file = open_own(path).doing(what)?;
    let old = usize::try_from(file.metadata().doing(what)?.len()).map_err(io::Error::other).doing(what)?;
    let mut padded = text.as_bytes().to_vec();
    if padded.len() > old {
        // If the file grew only with the write, a reader that saw the old length would get a part of the new text.
        file.write_all_at(&vec![b'\n'; padded.len() - old], old as u64).doing(what)?;
    } else {
        padded.resize(old, b'\n');
    }
    file.write_all_at(&padded, 0).doing(what)?;
    if padded.len() > text.len() {
        file.set_len(text.len() as u64).doing(what)?;
    }
    Ok(())
}

/// Opens a file for writing, unless it is a link or something is mounted over it: then it is not our file.
fn open_own(path: &Path) -> rustix::io::Result<fs::File> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Err(rustix::io::Errno::INVAL) };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let walk = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let file = rustix::fs::openat2(directory, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), walk)?;
    Ok(file.into())
}

fn make_directory(directory: &Path) -> Result<()> {
    let make = DirBuilder::new().mode(0o700).recursive(true).create(directory);
    make.doing(|| format!("make {}", directory.display()))
}

/// Renames the directory `from` to `to`. False if there is no `from`.
///
/// # Errors
/// When the file system refuses.
pub fn move_directory(from: &Path, to: &Path) -> Result<bool> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        moved => moved.map(|()| true).doing(|| format!("rename {} to {}", from.display(), to.display())),
    }
}

/// The time since a file was last added to a directory or removed from it; none if there is no directory.
///
/// # Errors
/// When the file system refuses.
pub fn age(directory: &Path) -> Result<Option<Duration>> {
    let what = || format!("look at {}", directory.display());
    let changed = match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta.doing(what)?.modified().doing(what)?,
    };
    // If the clock was set back meanwhile, the age is 0.
    Ok(Some(changed.elapsed().unwrap_or_default()))
}

/// A random number of 64 bits, as a part of a file's name.
///
/// # Errors
/// When the kernel has no random numbers.
pub fn random_hex() -> Result<String> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty()).doing(|| "draw a random number".into())?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// Removes `directory` if nothing is in it.
pub fn remove_if_empty(directory: &Path) {
    // A process in it keeps it in use.
    let _ = fs::remove_dir(directory);
}

/// Removes `directory` with the files and the network namespace in it. If there is none, that is no error.
///
/// # Errors
/// When the file system refuses.
pub fn remove_files(directory: &Path) -> Result<()> {
    if is_gone(directory) {
        return Ok(());
    }
    // Most directories have no namespace. If the mount exists only in other mount namespaces, removing the file removes
    // it too (`detach_mounts`, fs/namei.c).
    let _ = umount2(&namespace_in(directory), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::refused(format!("remove {}", directory.display()), error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_file_is_rewritten_under_its_readers() {
        let path = std::env::temp_dir().join(format!("ocinet-rewrite-{}", std::process::id()));
        let (short, long) = ("nameserver 192.0.2.1\n", "nameserver 192.0.2.200\nsearch a.example b.example\n");
        fs::write(&path, short).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let (done, mut reader) = (AtomicBool::new(false), fs::File::open(&path).unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let mut text = String::new();
                    reader.rewind().unwrap();
                    reader.read_to_string(&mut text).unwrap();
                    assert!(text.starts_with("nameserver 192.0.2."), "{text:?}");
                }
            });
            for text in [long, short].iter().cycle().take(2_000) {
                rewrite(&path, text).unwrap();
                assert_eq!(fs::read_to_string(&path).unwrap(), *text);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "containers have it mounted");
        fs::remove_file(path).unwrap();
    }
}
