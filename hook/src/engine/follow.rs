//! Following what is attached and detached on this host, by whomever.
//!
//! Whoever writes to the store deletes its journal to commit, and closes the file when it is done: both can be watched, and the
//! store says what is new. Two looks at it are compared, so nothing is told twice, and nothing that lasts is missed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use slog::{Logger, debug};

use super::{Result, this_host};
use crate::kernel::{LockFile, Place, Watch};
use crate::model::{ContainerId, ContainerName, Key, Record, State};
use crate::store::{Host, Store};

/// Within this time a hook writes whatever it writes: one look sees all of it, and takes no processor away from it meanwhile.
const AT_ONCE: Duration = Duration::from_millis(10);

/// Tells of attaches and detaches.
pub struct Follower {
    state_dir: PathBuf,
    host: Host,
    locks: LockFile,
    watch: Watch,
    /// The store as long as it is the current one.
    store: Option<Store>,
    /// Those that were told to be attached, by the numbers of their records.
    told: BTreeMap<i64, Known>,
    log: Logger,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A container is attached.
    Attached(Record),
    /// It is not any more.
    Detached(Known),
}

/// What is remembered of a container that is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The number its record has, or had.
    pub number: i64,
    /// The container's id.
    pub container: ContainerId,
    /// Its bundle directory.
    pub bundle: String,
    /// Its name.
    pub name: ContainerName,
    key: Key,
}

impl From<&Record> for Known {
    fn from(record: &Record) -> Self {
        let (container, bundle, name) = (record.container.clone(), record.bundle.clone(), record.name.clone());
        Self { number: record.number, container, bundle, name, key: record.key() }
    }
}

impl Follower {
    /// Follows the store in `state_dir` from now on: who is attached already is known, and not told.
    ///
    /// # Errors
    /// When there is no such directory, or the kernel has no watch left.
    pub fn new(state_dir: &Path, log: Logger) -> Result<Self> {
        let mut follower = Self {
            state_dir: state_dir.to_owned(),
            host: this_host()?,
            locks: LockFile::new(state_dir.join("lock")),
            watch: Watch::of(state_dir)?,
            store: None,
            told: BTreeMap::new(),
            log,
        };
        follower.look();
        Ok(follower)
    }

    /// Waits until something may have happened, and says what did. `None` once the state directory, or the file `token` in it,
    /// is removed.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn next(&mut self, token: &str) -> Result<Option<Vec<Change>>> {
        let seen = self.watch.wait(AT_ONCE)?;
        if seen.gone || seen.changed.iter().any(|name| name == token) {
            return Ok(None);
        }
        let concerns_us = seen.lost || seen.changed.iter().any(|name| name.starts_with("store-"));
        Ok(Some(if concerns_us { self.look() } else { Vec::new() }))
    }

    /// A store that cannot be read is put right by whoever works with it next, and that is seen, too.
    fn look(&mut self) -> Vec<Change> {
        let changes = self.compare();
        changes.unwrap_or_else(|error| {
            debug!(self.log, "cannot follow the store: {error}");
            self.store = None;
            Vec::new()
        })
    }

    fn compare(&mut self) -> Result<Vec<Change>> {
        let is_same = self.store.as_ref().is_some_and(Store::is_current);
        if !is_same {
            // Not while somebody sets one aside and makes another.
            let _writing = self.locks.shared(Place::Writer)?;
            self.store = Store::open(&self.state_dir, &self.host, &self.locks)?;
        }
        let read = self.store.as_ref().map(Store::read);
        let standing = read.as_ref().map_or(Ok(Vec::new()), |read| read.standing())?;
        let is_new = |number: &i64| !is_same || !self.told.contains_key(number);
        let mut came = BTreeMap::new();
        for number in standing.iter().copied().filter(is_new) {
            let record = read.as_ref().map_or(Ok(None), |read| read.record(number))?;
            came.extend(record.filter(|record| record.state == State::Attached).map(|record| (number, record)));
        }
        if !is_same {
            self.renumber(&mut came);
        }
        let mut changes = Vec::new();
        self.told.retain(|number, known| {
            let stays = standing.binary_search(number).is_ok();
            if !stays {
                changes.push(Change::Detached(known.clone()));
            }
            stays
        });
        self.told.extend(came.iter().map(|(number, record)| (*number, Known::from(record))));
        changes.extend(came.into_values().map(Change::Attached));
        Ok(changes)
    }

    /// In a store that was rebuilt the same containers have other numbers, and perhaps no bundle any more.
    fn renumber(&mut self, came: &mut BTreeMap<i64, Record>) {
        let mut told: BTreeMap<String, Known> =
            std::mem::take(&mut self.told).into_values().map(|known| (known.key.hex(), known)).collect();
        came.retain(|number, record| match told.remove(&record.key().hex()) {
            Some(known) => {
                self.told.insert(*number, Known { number: *number, ..known });
                false
            }
            None => true,
        });
        // No record has such a number: they are told to be gone.
        self.told.extend((i64::MIN..).zip(told.into_values()));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    const TOKEN: &str = "token";

    fn record(id: &str, octet: u8) -> Record {
        let record = json!({
            "record": 0, "container": id, "bundle": "/b", "name": id, "mode": "none", "state": "attaching", "endpoints": [],
            "namespace": {"cookie": octet, "witness": {"path": "/n"}, "seen_from_pid_ns": 1, "seen_from_mnt_ns": 1},
            "publish": [],
        });
        serde_json::from_value(record).unwrap()
    }

    /// Waits for the next changes, each as the container's id behind `+` or `-`.
    fn next(follower: &mut Follower) -> String {
        loop {
            let changes = follower.next(TOKEN).unwrap().expect("the directory is there");
            let words = changes.iter().map(|change| match change {
                Change::Attached(record) => format!("+{}", record.container),
                Change::Detached(known) => format!("-{}", known.container),
            });
            let words: Vec<_> = words.collect();
            if !words.is_empty() {
                return words.join(" ");
            }
        }
    }

    #[test]
    fn every_change_is_told_once() {
        let directory = std::env::temp_dir().join(format!("ocinet-follow-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        let (host, locks) = (this_host().unwrap(), LockFile::new(directory.join("lock")));
        let create = |records: &[Record]| {
            let writing = locks.exclusive(Place::Writer).unwrap();
            let fill = |write: &crate::store::Write<'_>| {
                records.iter().try_for_each(|record| write.insert(&mut record.clone()))
            };
            Store::create(&directory, &host, &locks, &writing, fill).unwrap()
        };
        let mut follower = Follower::new(&directory, Logger::root(slog::Discard, slog::o!())).unwrap();

        // A store that is made while it is followed.
        let mut store = create(&[]);
        let [mut one, mut two] = [record("one", 1), record("two", 2)];
        let set = |store: &mut Store, record: &mut Record, state| {
            store.write(|write| write.set_state(record, state)).unwrap();
        };
        store.write(|write| write.insert(&mut one)).unwrap();
        set(&mut store, &mut one, State::Attached);
        assert_eq!(next(&mut follower), "+one");

        // Several at once, and one that is detached but not gone.
        store.write(|write| write.insert(&mut two)).unwrap();
        set(&mut store, &mut two, State::Attached);
        set(&mut store, &mut one, State::Detaching);
        assert_eq!(next(&mut follower), "+two");
        set(&mut store, &mut one, State::Draining);
        assert_eq!(next(&mut follower), "-one");

        // Rebuilt, with other numbers, without one and with another.
        let writing = locks.exclusive(Place::Writer).unwrap();
        Store::set_aside(&directory, &host, &writing).unwrap();
        drop(writing);
        let mut three = record("three", 3);
        (three.state, two.state) = (State::Attached, State::Attached);
        let mut store = create(&[three, two.clone()]);
        assert_eq!(next(&mut follower), "+three");
        store.write(|write| write.remove(1)).unwrap();
        assert_eq!(next(&mut follower), "-three");

        let writing = locks.exclusive(Place::Writer).unwrap();
        Store::remove(&directory, &host, &writing).unwrap();
        drop(writing);
        assert_eq!(next(&mut follower), "-two");
        fs::write(directory.join(TOKEN), "").unwrap();
        assert!(follower.next(TOKEN).unwrap().is_none());
        fs::remove_dir_all(&directory).unwrap();
    }
}
