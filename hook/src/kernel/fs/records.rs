//! Records of many processes in one place that does not grow: `log` in the state directory, and `log.old`, which was
//! `log` before.
//!
//! No lock is taken, since no hook may wait for a line about it. A record is one `write` with `O_APPEND`, during which
//! the kernel lets no other into the file (inode lock, `generic_file_write_iter`). The write by which the file comes over
//! a multiple of its limit is that of one process alone, and that process makes `log` to `log.old`. One that is killed
//! in between leaves that to the next multiple. A file is open for one record only, so that what is written to a file
//! that was just renamed is in `log.old`, and not lost.
//!
//! A record begins and ends with a newline: what a process wrote in part, killed in the middle or on a full disk, is a
//! line of its own and spoils no other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::file::{remove_file, state_dir};
use crate::kernel::error::{Doing, Result};

const NAME: &str = "log";
const OLD: &str = "log.old";

/// The size from which on `log` becomes `log.old`: so many bytes are kept at least, and twice as many at most.
const LIMIT: u64 = 128 << 10;

/// The longest record.
const LONGEST: usize = 8 << 10;

/// The records of a host.
#[derive(Debug, Clone)]
pub struct Records {
    state_dir: PathBuf,
    limit: u64,
    /// Whether there was no state directory when the process began. One that went since was removed, and is not made
    /// anew for a last line.
    makes_directory: bool,
}

/// Reads records in the order in which they were written, and those that are yet to come.
#[derive(Debug)]
pub struct RecordReader {
    records: Records,
    /// The file that is read, once there is one.
    file: Option<File>,
    /// What was read of a record that is not whole yet.
    rest: Vec<u8>,
}

impl Records {
    /// Those in `state_dir`.
    pub fn of(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), limit: LIMIT, makes_directory: !state_dir.exists() }
    }

    /// Adds a record, which is one line, and makes the state directory where there was none from the beginning.
    ///
    /// # Errors
    /// When the kernel refuses, or the state directory is not ours.
    pub fn add(&self, record: &str) -> Result<()> {
        let what = || format!("write to {}", self.state_dir.join(NAME).display());
        let file = match self.open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.makes_directory => {
                state_dir(&self.state_dir)?;
                self.open()
            }
            file => file,
        };
        let mut file = file.doing(what)?;
        let line = format!("\n{record}\n");
        if line.len() > LONGEST || record.contains('\n') {
            return Err(io::Error::from(io::ErrorKind::InvalidData)).doing(what);
        }
        let written = file.write(line.as_bytes()).doing(what)?;
        let end = file.stream_position().doing(what)?;
        if (end - written as u64) / self.limit < end / self.limit {
            self.set_aside(&file).doing(what)?;
        }
        Ok(())
    }

    /// Nothing that a user put in its place is waited for or followed.
    fn open(&self) -> io::Result<File> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600).custom_flags(flags).open(self.state_dir.join(NAME))
    }

    /// Makes `log` to `log.old`, unless another process was faster.
    fn set_aside(&self, file: &File) -> io::Result<()> {
        let path = self.state_dir.join(NAME);
        if fs::symlink_metadata(&path)?.ino() == file.metadata()?.ino() {
            fs::rename(path, self.state_dir.join(OLD))?;
        }
        Ok(())
    }

    /// Removes them all.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&self) -> Result<()> {
        remove_file(&self.state_dir.join(NAME)).and(remove_file(&self.state_dir.join(OLD)))
    }

    /// Begins to read them, with the oldest first.
    pub fn read(self) -> RecordReader {
        let file = open_to_read(&self.state_dir.join(OLD)).ok();
        RecordReader { records: self, file, rest: Vec::new() }
    }
}

impl RecordReader {
    /// The records since the last call; none if there is no further one yet.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn more(&mut self) -> Result<Vec<String>> {
        let path = self.records.state_dir.join(NAME);
        let what = || format!("read {}", path.display());
        let mut lines = Vec::new();
        // A file whose name another has now is read to its end first: hooks may have written to it until a moment ago.
        loop {
            let now = match open_to_read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                file => Some(file.doing(what)?),
            };
            if let Some(file) = &mut self.file {
                file.read_to_end(&mut self.rest).doing(what)?;
                lines.extend(whole_lines(&mut self.rest));
            }
            match (&self.file, now) {
                (_, None) => return Ok(lines),
                (Some(file), Some(now)) if inode(file).doing(what)? == inode(&now).doing(what)? => return Ok(lines),
                (_, Some(now)) => (self.file, self.rest) = (Some(now), Vec::new()),
            }
        }
    }
}

/// Nothing that a user put in its place is waited for.
fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

fn inode(file: &File) -> io::Result<u64> {
    file.metadata().map(|meta| meta.ino())
}

/// Takes the lines that are whole, without the empty ones between records.
fn whole_lines(bytes: &mut Vec<u8>) -> Vec<String> {
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let whole: Vec<u8> = bytes.drain(..=end).collect();
    let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        /// A state directory that is made by the first record, and in which `limit` bytes are many.
        fn new(name: &str, limit: u64) -> (Self, Records) {
            let path = std::env::temp_dir().join(format!("ocinet-records-{name}-{}", std::process::id()));
            let records = Records { limit, ..Records::of(&path) };
            (Self(path), records)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_written_is_read_in_order_and_followed() {
        let (_folder, records) = Folder::new("order", 1 << 20);
        let mut reader = records.clone().read();
        assert_eq!(reader.more().unwrap(), [""; 0]);
        records.add("one").unwrap();
        records.add("two").unwrap();
        assert_eq!(reader.more().unwrap(), ["one", "two"]);
        records.add("three").unwrap();
        assert_eq!(reader.more().unwrap(), ["three"]);
        assert_eq!(records.clone().read().more().unwrap(), ["one", "two", "three"]);
        assert!(records.add("a\nforged line").is_err() && records.add(&"x".repeat(9 << 10)).is_err());
        records.remove().unwrap();
        assert_eq!(records.read().more().unwrap(), [""; 0]);
    }

    #[test]
    fn a_directory_that_was_removed_is_not_made_anew() {
        let (folder, records) = Folder::new("removed", 1 << 20);
        records.add("one").unwrap();
        let begun_later = Records::of(&folder.0);
        fs::remove_dir_all(&folder.0).unwrap();
        assert!(begun_later.add("two").is_err() && !folder.0.exists());
    }

    #[test]
    fn it_does_not_grow_and_loses_nothing_that_is_young() {
        let (folder, records) = Folder::new("grow", 1000);
        let mut follower = records.clone().read();
        let mut followed = Vec::new();
        for number in 0..500 {
            records.add(&format!("record {number:04}")).unwrap();
            followed.extend(follower.more().unwrap());
        }
        let size = |name: &str| fs::metadata(folder.0.join(name)).map_or(0, |meta| meta.len());
        assert!(size(NAME) <= 1020 && size(OLD) <= 1020 && size(OLD) >= 1000);
        let kept = records.read().more().unwrap();
        assert_eq!(kept.last().unwrap(), "record 0499");
        assert!(kept.len() >= 1000 / 13 && kept.is_sorted(), "{}", kept.len());
        let all: Vec<String> = (0..500).map(|number| format!("record {number:04}")).collect();
        assert_eq!(followed, all);
    }

    #[test]
    fn a_record_that_was_cut_off_spoils_no_other() {
        let (folder, records) = Folder::new("cut", 1 << 20);
        records.add("one").unwrap();
        let torn = OpenOptions::new().append(true).open(folder.0.join(NAME)).unwrap();
        (&torn).write_all(b"\n{\"half").unwrap();
        records.add("two").unwrap();
        assert_eq!(records.read().more().unwrap(), ["one", "{\"half", "two"]);
    }

    #[test]
    fn many_writers_at_once_lose_nothing() {
        let (_folder, records) = Folder::new("many", 4 << 20);
        let write = |thread: usize| (0..500).for_each(|n| records.add(&format!("{thread} {n}")).unwrap());
        thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || write(thread));
            }
        });
        let read = records.read().more().unwrap();
        assert_eq!(read.len(), 4000);
        for thread in 0..8 {
            let own = read.iter().filter_map(|line| line.strip_prefix(&format!("{thread} ")));
            assert!(own.eq((0..500).map(|n| n.to_string()).collect::<Vec<_>>().iter()), "{thread}");
        }
    }

    #[test]
    fn many_writers_at_once_set_it_aside_once_each_time() {
        let (folder, records) = Folder::new("aside", 8 << 10);
        thread::scope(|scope| {
            for thread in 0..8 {
                let records = records.clone();
                scope.spawn(move || (0..500).for_each(|n| records.add(&format!("{thread} {n:04}")).unwrap()));
            }
        });
        let size = |name: &str| fs::metadata(folder.0.join(name)).map_or(0, |meta| meta.len());
        assert!(size(OLD) >= 8 << 10 && size(OLD) + size(NAME) < 64 << 10, "{} {}", size(OLD), size(NAME));
        // The youngest of each writer are there.
        let read = records.read().more().unwrap();
        let last = read.len() * 12 >= 8 << 10;
        assert!(last && read.iter().all(|line| line.len() == 6), "{}", read.len());
    }

    #[test]
    fn nothing_in_its_place_is_followed_or_waited_for() {
        let (folder, records) = Folder::new("place", 1 << 20);
        state_dir(&folder.0).unwrap();
        fs::write(folder.0.join("other"), "").unwrap();
        std::os::unix::fs::symlink(folder.0.join("other"), folder.0.join(NAME)).unwrap();
        assert!(records.add("one").is_err());
        fs::remove_file(folder.0.join(NAME)).unwrap();
        nix::unistd::mkfifo(&folder.0.join(NAME), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(records.add("one").is_err());
        assert_eq!(fs::read(folder.0.join("other")).unwrap(), b"");
    }
}
