//! Work that one process does for all that wait for it.
//!
//! Each process needs work that began after its arrival. So the first of those that wait does it for all, and the others
//! find it done. Two numbers in the lock file say how many rounds have begun, and which one was the last to complete.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{Lock, LockFile, Place};
use crate::kernel::error::Error;

/// Where the numbers are in the file, each as eight bytes of this machine's order.
const BEGUN: u64 = 0;
const COMPLETED: u64 = 8;

impl LockFile {
    /// Returns the lock of `place` after a whole round of `work` that began after the call: this process did it, or
    /// another one. Others wait until the lock is dropped.
    ///
    /// # Errors
    /// Those of the lock, and of `work`, after which no round was completed.
    pub fn join_round<E: From<Error>>(
        &self,
        place: Place,
        work: impl FnOnce() -> std::result::Result<(), E>,
    ) -> std::result::Result<Lock, E> {
        let file = self.open()?;
        // Where it cannot be read, no round is known to be later.
        let arrival = number(&file, BEGUN);
        let lock = self.exclusive_by(file, place)?;
        let (begun, completed) = (number(lock.file(), BEGUN), number(lock.file(), COMPLETED));
        // A round that was completed has begun: other numbers are damaged.
        let is_done = completed > arrival && completed <= begun;
        if arrival.is_some() && is_done {
            return Ok(lock);
        }
        let round = begun.unwrap_or_default().wrapping_add(1);
        // A round that is not noted at its beginning could be taken for a later one.
        let noted = lock.file().write_all_at(&round.to_ne_bytes(), BEGUN).is_ok();
        work()?;
        if noted {
            // Otherwise the next process does the work once more.
            let _ = lock.file().write_all_at(&round.to_ne_bytes(), COMPLETED);
        }
        Ok(lock)
    }
}

/// The number at that place: 0 in a file that ends before, none where it cannot be read.
fn number(file: &File, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => Some(u64::from_ne_bytes(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Some(0),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    fn file(name: &str) -> LockFile {
        LockFile::new(std::env::temp_dir().join(format!("ocinet-{name}-{}", std::process::id())))
    }

    /// Waits until `count` descriptors of the file are open here: each thread that waits for the lock has one.
    fn await_descriptors(file: &LockFile, count: usize) {
        let is_its = |fd: &fs::DirEntry| fs::read_link(fd.path()).is_ok_and(|to| to == file.path());
        let open = || fs::read_dir("/proc/self/fd").unwrap().flatten().filter(is_its).count();
        let since = Instant::now();
        while open() < count && since.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(1));
        }
        // One that has just opened it has yet to read the number.
        thread::sleep(Duration::from_millis(100));
    }

    #[test]
    fn one_round_serves_all_that_arrived_before_it_began() {
        let file = file("rounds");
        let (rounds, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let join = || {
            let begun = served.load(Ordering::SeqCst);
            let work = || {
                rounds.fetch_add(1, Ordering::SeqCst);
                served.store(begun + 1, Ordering::SeqCst);
                Ok::<(), Error>(())
            };
            drop(file.join_round(Place::Flows, work).unwrap());
        };
        join();
        join();
        assert_eq!(rounds.load(Ordering::SeqCst), 2, "each arrived after the round before");
        let held = file.exclusive(Place::Flows).unwrap();
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(join);
            }
            await_descriptors(&file, 21);
            drop(held);
        });
        assert_eq!(rounds.load(Ordering::SeqCst), 3, "twenty that waited need one");
        fs::remove_file(file.path()).unwrap();
    }

    /// Also where the numbers are damaged, each that comes has the work done.
    #[test]
    fn damaged_numbers_serve_none() {
        let file = file("damaged-rounds");
        for (begun, completed) in [(0, u64::MAX), (5, 9), (u64::MAX, u64::MAX), (u64::MAX, 0), (7, 7)] {
            fs::write(file.path(), [u64::to_ne_bytes(begun), u64::to_ne_bytes(completed)].concat()).unwrap();
            for _ in 0..3 {
                let mut done = false;
                let work = || {
                    done = true;
                    Ok::<(), Error>(())
                };
                drop(file.join_round(Place::Flows, work).unwrap());
                assert!(done, "{begun} {completed}");
            }
        }
        fs::remove_file(file.path()).unwrap();
    }

    #[test]
    fn a_round_that_fails_serves_none() {
        let file = file("failed-rounds");
        let refused = || Err::<(), _>(Error::Deadline("refused".into()));
        let held = file.exclusive(Place::Flows).unwrap();
        let rounds = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    file.join_round(Place::Flows, || {
                        rounds.fetch_add(1, Ordering::SeqCst);
                        refused()
                    })
                    .unwrap_err()
                });
            }
            await_descriptors(&file, 6);
            drop(held);
        });
        assert_eq!(rounds.load(Ordering::SeqCst), 5);
        fs::remove_file(file.path()).unwrap();
    }
}
