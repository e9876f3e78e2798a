//! Replacing a file of somebody's whole, so that whoever reads it finds the old text or the new one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid, XattrFlags, fchmod, fchown, fgetxattr, flock,
    fsetxattr, fstat, fsync, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::error::{Doing, Error, Result};

/// How long another of us may be at work on the same folder.
const PATIENCE: Duration = Duration::from_secs(5);

/// A file that is to be replaced, as it was when it was read.
pub struct Replaceable {
    /// The folder, locked against others of us.
    directory: OwnedFd,
    path: PathBuf,
    name: String,
    read: (OwnedFd, Stat),
}

impl Replaceable {
    /// Opens the file `name` in `directory` and reads it, at most `limit` bytes.
    ///
    /// # Errors
    /// When it is no regular file of at most that size, or another of us stays at work there.
    pub fn open(directory: &Path, name: &str, limit: usize) -> Result<(Self, Vec<u8>)> {
        let path = directory.join(name);
        let what = || format!("read {}", path.display());
        let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, directory, open, Mode::empty()).doing(|| format!("open {}", directory.display()))?;
        lock(&folder, directory)?;
        // Without following: a rename would replace the link, and leave alone what it leads to.
        let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&folder, name, open, Mode::empty()) {
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
        Ok((Self { directory: folder, name: name.to_owned(), path, read: (file, stat) }, bytes))
    }

    /// Puts a file with `text` in its place, of the same owner, mode and label.
    ///
    /// # Errors
    /// [`Error::Busy`] where somebody else changed the file since it was read; then, as after every error, it is as it was.
    pub fn replace(self, text: &[u8]) -> Result<()> {
        let draft = format!(".{}.ocinet", self.name);
        // Whoever holds the lock is alone with this name: one that is there was left by a killed process.
        let _ = unlinkat(&self.directory, &draft, AtFlags::empty());
        let replaced = self.write(&draft, text).and_then(|()| {
            self.refuse_changed()?;
            renameat(&self.directory, &draft, &self.directory, &self.name).doing(|| self.what())
        });
        if replaced.is_err() {
            let _ = unlinkat(&self.directory, &draft, AtFlags::empty());
        }
        replaced
    }

    fn write(&self, draft: &str, text: &[u8]) -> Result<()> {
        let what = || self.what();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, draft, flags, Mode::RUSR | Mode::WUSR).doing(what)?;
        let (old, stat) = &self.read;
        fchown(&file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))).doing(what)?;
        fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o7777)).doing(what)?;
        let mut label = [0; 256];
        if let Ok(length) = fgetxattr(old, "security.selinux", &mut label) {
            fsetxattr(&file, "security.selinux", &label[..length], XattrFlags::empty()).doing(what)?;
        }
        let mut file = File::from(file);
        file.write_all(text).doing(what)?;
        fsync(&file).doing(what)
    }

    fn refuse_changed(&self) -> Result<()> {
        let identity = |stat: &Stat| (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        let now = statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW).doing(|| self.what())?;
        if identity(&now) == identity(&self.read.1) {
            return Ok(());
        }
        Err(Error::Busy(format!("somebody else changed {} meanwhile; try again", self.path.display())))
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
