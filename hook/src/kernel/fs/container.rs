use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use rustix::fs::{Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::rand::GetRandomFlags;

use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::namespace::Netns;

/// What the network namespace is bound to that was made for the container of `directory`.
pub fn namespace_in(directory: &Path) -> PathBuf {
    directory.join("netns")
}

/// Makes a network namespace that is bound to [`namespace_in`] `directory`, which is made, until [`remove_files`]. Its cookie comes
/// with it.
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

/// Writes files into `directory`, which is made, each readable by everyone whatever the umask: a container's users are
/// not the host's. `label` is the SELinux label under which the container may read them.
///
/// # Errors
/// When the file system refuses, as when it is full.
pub fn write_files(directory: &Path, files: &[(&str, String)], label: Option<&str>) -> Result<()> {
    make_directory(directory)?;
    for (name, text) in files {
        let path = directory.join(name);
        let what = || format!("write {}", path.display());
        // In place: a file that is mounted somewhere would not follow a rename.
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

/// Gives another text to a file that containers have mounted, and may read at any time. It stays the same file, is never empty, and
/// never ends within a line: the new text comes in one write, into a file that is made as long as the longer of both by
/// empty lines, and is cut to its length afterwards.
///
/// # Errors
/// When the file system refuses, as when it is full.
pub fn rewrite(path: &Path, text: &str) -> Result<()> {
    let what = || format!("write {}", path.display());
    let file = open_own(path).doing(what)?;
    let old = usize::try_from(file.metadata().doing(what)?.len()).map_err(io::Error::other).doing(what)?;
    let mut padded = text.as_bytes().to_vec();
    if padded.len() > old {
        // A reader that asked for the length before the write would see a part of the new text.
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

/// Opens a file for writing, unless it is a link or something is mounted over it: it would be another's file.
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

/// Gives the directory `from` the name `to`. False where there is no `from`.
///
/// # Errors
/// When the file system refuses.
pub fn move_directory(from: &Path, to: &Path) -> Result<bool> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        moved => moved.map(|()| true).doing(|| format!("rename {} to {}", from.display(), to.display())),
    }
}

/// How long ago something was added to a directory or removed from it; none where there is no directory.
///
/// # Errors
/// When the file system refuses.
pub fn age(directory: &Path) -> Result<Option<Duration>> {
    let what = || format!("look at {}", directory.display());
    let changed = match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta.doing(what)?.modified().doing(what)?,
    };
    // Where the clock was set back meanwhile, it is as if that had been now.
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

/// Removes `directory` with the files and the network namespace in it; none there is no error.
///
/// # Errors
/// When the file system refuses.
pub fn remove_files(directory: &Path) -> Result<()> {
    // Most have none. Where it is mounted only elsewhere, its file's removal takes the mount along (`detach_mounts`, fs/namei.c).
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
