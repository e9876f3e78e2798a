use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use crate::kernel::error::{Doing, Error, Result};

/// What `EMFILE` of inotify_init1(2) says of a process that has few descriptors.
const NO_INSTANCE: &str =
    "the programs of this user have all inotify instances that there may be; raise fs.inotify.max_user_instances";

/// The changes of the files in one directory, and perhaps in another.
pub struct Watch {
    inotify: Inotify,
    directory: PathBuf,
    /// That of the other directory.
    other: Option<WatchDescriptor>,
}

const EVENTS: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// The changes that one wait returned.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Files that were written and closed, moved here or removed.
    pub changed: Vec<String>,
    /// Whether events were lost because there were too many.
    pub lost: bool,
    /// Whether the directory was removed.
    pub gone: bool,
    /// Whether something changed in the other directory.
    pub other: bool,
}

impl Watch {
    /// Watches `directory` from now on.
    ///
    /// # Errors
    /// When it does not exist, or the kernel has no watch left.
    pub fn of(directory: &Path) -> Result<Self> {
        let what = || format!("watch {}", directory.display());
        let inotify = match Inotify::init(InitFlags::IN_CLOEXEC) {
            Err(Errno::EMFILE) => return Err(Error::Exhausted(format!("{}: {NO_INSTANCE}", what()))),
            inotify => inotify.doing(what)?,
        };
        inotify.add_watch(directory, EVENTS).doing(what)?;
        Ok(Self { inotify, directory: directory.to_owned(), other: None })
    }

    /// Watches `directory`, too.
    ///
    /// # Errors
    /// As [`Watch::of`].
    pub fn also(&mut self, directory: &Path) -> Result<()> {
        let added = self.inotify.add_watch(directory, EVENTS);
        self.other = Some(added.doing(|| format!("watch {}", directory.display()))?);
        Ok(())
    }

    /// Readable once something changes.
    ///
    /// # Errors
    /// When this process has no descriptor left.
    pub fn waker(&self) -> Result<OwnedFd> {
        self.inotify.as_fd().try_clone_to_owned().doing(|| format!("watch {}", self.directory.display()))
    }

    /// Waits until something changes, at most for `longest`, and then for `more`, so that related changes are returned
    /// together. Returns an empty value if nothing changed.
    ///
    /// # Errors
    /// When the kernel refuses to report.
    pub fn wait(&self, longest: Option<Duration>, more: Duration) -> Result<Seen> {
        let what = || format!("watch {}", self.directory.display());
        let mut ready = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        let timeout = longest.map_or(PollTimeout::NONE, |time| PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX));
        match poll(&mut ready, timeout) {
            // Nothing was seen; the caller waits again.
            Ok(0) | Err(Errno::EINTR) => return Ok(Seen::default()),
            polled => polled.doing(what)?,
        };
        sleep(more);
        let events = self.inotify.read_events().doing(what)?;
        let mut seen = Seen::default();
        let (others, events): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| Some(event.wd) == self.other);
        seen.other = !others.is_empty();
        events.into_iter().for_each(|event| seen.add(event));
        Ok(seen)
    }
}

impl Seen {
    fn add(&mut self, InotifyEvent { mask, name, .. }: InotifyEvent) {
        let end = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_IGNORED;
        self.gone |= mask.intersects(end);
        self.lost |= mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
        self.changed.extend(name.and_then(|name| name.into_string().ok()));
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    #[test]
    fn another_directory_is_told_apart() {
        let directory = std::env::temp_dir().join(format!("ocinet-watches-{}", std::process::id()));
        let other = directory.join("other");
        fs::create_dir_all(&other).unwrap();
        let mut watch = Watch::of(&directory).unwrap();
        watch.also(&other).unwrap();
        fs::write(other.join("one"), "").unwrap();
        assert_eq!(watch.wait(None, Duration::ZERO).unwrap(), Seen { other: true, ..Seen::default() });
        fs::remove_dir_all(&other).unwrap();
        let seen = watch.wait(None, Duration::from_millis(50)).unwrap();
        assert!(seen.other && !seen.gone && seen.changed == ["other"], "{seen:?}");
        fs::remove_dir(&directory).unwrap();
        assert!(watch.wait(None, Duration::ZERO).unwrap().gone);
    }

    #[test]
    fn files_and_the_end_of_their_directory_are_seen() {
        let directory = std::env::temp_dir().join(format!("ocinet-watch-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let watch = Watch::of(&directory).unwrap();
        fs::write(directory.join("one"), "").unwrap();
        assert_eq!(watch.wait(None, Duration::ZERO).unwrap(), Seen { changed: vec!["one".into()], ..Seen::default() });
        assert_eq!(
            watch.wait(Some(Duration::from_millis(1)), Duration::ZERO).unwrap(),
            Seen::default(),
            "nothing happens"
        );
        // A change that comes a moment later is returned together with the first one.
        let two = directory.join("two");
        let later = thread::spawn(move || {
            fs::write(&two, "").unwrap();
            sleep(Duration::from_millis(20));
            fs::remove_file(&two).unwrap();
        });
        let seen = watch.wait(None, Duration::from_millis(500)).unwrap();
        assert_eq!(seen.changed, ["two", "two"]);
        later.join().unwrap();
        fs::remove_file(directory.join("one")).unwrap();
        fs::remove_dir(&directory).unwrap();
        let seen = watch.wait(None, Duration::ZERO).unwrap();
        assert!(seen.gone && seen.changed == ["one"], "{seen:?}");
        assert!(Watch::of(&directory).is_err());
    }
}
