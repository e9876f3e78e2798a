//! Replacing a whole file, so that its readers get either the old text or the new one.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid, XattrFlags, fchmod, fchown, fgetxattr, flock,
    fsetxattr, fstat, fsync, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::file::names_in;
use crate::kernel::error::{Doing, Error, Result};

/// The longest wait for another ocinet that works in the same folder.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of the name of a file that is being written.
const DRAFT: &str = ".ocinet";

/// Writes a file that all users can read. After an error the file is unchanged. A symbolic link of that name is
/// replaced, not followed. A missing directory is made.
///
/// # Errors
/// When the kernel refuses, or another ocinet keeps the directory locked.
pub fn write_public(path: &Path, text: &str) -> Result<()> {
    let what = || format!("write {}", path.display());
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename).doing(what)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory).doing(what)?;
    Folder::lock(directory)?.put(name, &what, |draft| {
        // `fchmod`, since the umask does not apply to it.
        fchmod(draft, Mode::from_raw_mode(0o644)).doing(what)?;
        let mut draft = draft;
        draft.write_all(text.as_bytes()).doing(what)
    })
}

/// Writes a file that all users can read and that outlives a loss of power, if the file system can sync a directory. After
/// an error the file is unchanged. A missing directory is made. The caller holds a lock against others who write there: a lock of the directory itself
/// can be held by every user who can read it.
///
/// # Errors
/// When the kernel refuses.
pub fn write_lasting(path: &Path, text: &str) -> Result<()> {
    let what = || format!("write {}", path.display());
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename).doing(what)?;
    let directory = path.parent().ok_or(io::ErrorKind::InvalidFilename).doing(what)?;
    fs::create_dir_all(directory).doing(what)?;
    let folder = Folder::open(directory)?;
    folder.remove_drafts(directory)?;
    folder.put(name, &what, |draft| {
        fchmod(draft, Mode::from_raw_mode(0o644)).doing(what)?;
        let mut file = draft;
        file.write_all(text.as_bytes()).doing(what)?;
        fsync(draft).doing(what)
    })?;
    // The file is in place by then, so an error would be wrong.
    let _ = fsync(&folder.0);
    Ok(())
}

/// Whether a process has written a file into `directory` and not yet put it in place. None there is no error.
///
/// # Errors
/// When the kernel refuses.
pub fn has_drafts(directory: &Path) -> Result<bool> {
    Ok(names_in(directory)?.iter().any(|name| is_draft(name)))
}

/// Removes what killed processes left of files that they were writing into `directory`. None there is no error. The
/// caller holds a lock against others who write there.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_drafts(directory: &Path) -> Result<()> {
    if has_drafts(directory)? { Folder::open(directory)?.remove_drafts(directory) } else { Ok(()) }
}

fn is_draft(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(DRAFT)
}

/// A folder in which no other process of ocinet writes.
struct Folder(OwnedFd);

impl Folder {
    /// Opens it; the caller has a lock for it.
    fn open(path: &Path) -> Result<Self> {
        let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, open, Mode::empty()).doing(|| format!("open {}", path.display())).map(Self)
    }

    /// Opens and locks it.
    fn lock(path: &Path) -> Result<Self> {
        let folder = Self::open(path)?;
        lock(&folder.0, path)?;
        Ok(folder)
    }

    /// Removes what killed processes left of files that they were writing into this folder, which lies at `path`.
    fn remove_drafts(&self, path: &Path) -> Result<()> {
        for name in names_in(path)?.iter().filter(|name| is_draft(name)) {
            let _ = unlinkat(&self.0, name, AtFlags::empty());
        }
        Ok(())
    }

    /// Makes `fill` write a draft and renames it to `name`. After an error the file is unchanged. `what` describes the
    /// work in errors.
    fn put(&self, name: &OsStr, what: &dyn Fn() -> String, fill: impl FnOnce(&File) -> Result<()>) -> Result<()> {
        let mut draft = OsString::from(".");
        draft.push(name);
        draft.push(DRAFT);
        // Only the holder of the lock uses this name: a file that is there was left by a killed process.
        let _ = unlinkat(&self.0, &draft, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&self.0, &draft, flags, Mode::RUSR | Mode::WUSR).doing(what)?);
        let put = fill(&file).and_then(|()| renameat(&self.0, &draft, &self.0, name).doing(what));
        if put.is_err() {
            let _ = unlinkat(&self.0, &draft, AtFlags::empty());
        }
        put
    }
}

/// A file of another program that is to be replaced, in the state in which it was read.
pub struct Replaceable {
    /// Its directory, locked.
    folder: Folder,
    path: PathBuf,
    /// Its name in the directory.
    name: String,
    /// The file that was read, and its state then.
    read: (OwnedFd, Stat),
}

impl Replaceable {
    /// Opens the file `name` in `directory` and reads it, at most `limit` bytes.
    ///
    /// # Errors
    /// When it is no regular file of at most that size, or another ocinet keeps the directory locked.
    pub fn open(directory: &Path, name: &str, limit: usize) -> Result<(Self, Vec<u8>)> {
        let path = directory.join(name);
        let what = || format!("read {}", path.display());
        let folder = Folder::lock(directory)?;
        // Does not follow a symbolic link: a rename would replace the link and not its target.
        let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&folder.0, name, open, Mode::empty()) {
            Err(Errno::LOOP) => return Err(Error::refused(what(), io::Error::other("is a symbolic link"))),
            opened => opened.doing(what)?,
        };
        let stat = fstat(&file).doing(what)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::refused(what(), io::Error::other("is not a regular file")));
        }
        let mut bytes = Vec::new();
        let reader = File::from(file.try_clone().doing(what)?);
        reader.take(limit as u64 + 1).read_to_end(&mut bytes).doing(what)?;
        if bytes.len() > limit {
            return Err(Error::refused(what(), io::Error::other(format!("is larger than {limit} bytes"))));
        }
        Ok((Self { folder, name: name.to_owned(), path, read: (file, stat) }, bytes))
    }

    /// Replaces the file by one with `text`, of the same owner, mode and label.
    ///
    /// # Errors
    /// [`Error::Busy`] if another program changed the file since it was read. After any error the file is unchanged.
    pub fn replace(self, text: &[u8]) -> Result<()> {
        self.folder.put(self.name.as_ref(), &|| self.what(), |draft| {
            self.write(draft, text)?;
            self.refuse_changed()
        })
    }

    fn write(&self, mut draft: &File, text: &[u8]) -> Result<()> {
        let what = || self.what();
        let (old, stat) = &self.read;
        fchown(draft, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))).doing(what)?;
        fchmod(draft, Mode::from_raw_mode(stat.st_mode & 0o7777)).doing(what)?;
        let mut label = [0; 256];
        if let Ok(length) = fgetxattr(old, "security.selinux", &mut label) {
            fsetxattr(draft, "security.selinux", &label[..length], XattrFlags::empty()).doing(what)?;
        }
        draft.write_all(text).doing(what)?;
        fsync(draft).doing(what)
    }

    fn refuse_changed(&self) -> Result<()> {
        let identity = |stat: &Stat| (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        let now = statat(&self.folder.0, &self.name, AtFlags::SYMLINK_NOFOLLOW).doing(|| self.what())?;
        if identity(&now) == identity(&self.read.1) {
            return Ok(());
        }
        Err(Error::Busy(format!("another process changed {} meanwhile; try again", self.path.display())))
    }

    fn what(&self) -> String {
        format!("write {}", self.path.display())
    }
}

fn lock(folder: &OwnedFd, path: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::Busy(format!("another process holds a lock on {}", path.display())));
            }
            locked => return locked.doing(|| format!("lock {}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    /// A reader gets one text or the other, also while two processes write.
    #[test]
    fn a_public_file_is_always_read_whole() {
        let directory = std::env::temp_dir().join(format!("ocinet-public-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let path = directory.join("made/file");
        let texts = ["a", "b"].map(|letter| letter.repeat(64 << 10));
        write_public(&path, &texts[0]).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let write = |text| (0..200).try_for_each(|_| write_public(&path, text));
            let writers = texts.each_ref().map(|text| scope.spawn(move || write(text)));
            let reader = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let read = fs::read_to_string(&path).unwrap();
                    assert!(texts.contains(&read), "{} bytes", read.len());
                }
            });
            writers.into_iter().for_each(|writer| writer.join().unwrap().unwrap());
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_lasting_file_clears_what_killed_writers_left() {
        let directory = std::env::temp_dir().join(format!("ocinet-lasting-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(".other.toml.ocinet"), "half").unwrap();
        write_lasting(&directory.join("file.toml"), "whole").unwrap();
        assert_eq!(names_in(&directory).unwrap(), ["file.toml"]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_link_is_replaced_and_what_a_killed_writer_left_is_no_hindrance() {
        let directory = std::env::temp_dir().join(format!("ocinet-link-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        let (path, other) = (directory.join("file"), directory.join("other"));
        fs::write(&other, "precious").unwrap();
        symlink(&other, &path).unwrap();
        symlink(&other, directory.join(".file.ocinet")).unwrap();
        write_public(&path, "ours").unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        let meta = fs::symlink_metadata(&path).unwrap();
        assert!(meta.is_file() && meta.mode() & 0o777 == 0o644, "{:o}", meta.mode());
        assert!(write_public(&directory.join(".."), "x").is_err());
        fs::remove_dir_all(&directory).unwrap();
    }
}
