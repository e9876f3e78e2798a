//! Following the attaches and detaches on this host, the connections made and ended meanwhile, and the definitions of
//! networks, by any process.
//!
//! A process that writes to the store deletes its journal to commit, and closes the file when it is done: both can be
//! watched. The store lists the sandboxes that were written since the last look. If the list is not complete, the whole
//! store is compared with what was reported. So nothing is reported twice, and no lasting change is missed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use slog::{Logger, warn};

use super::change::{Change, Known};
use crate::engine::{Definitions, Error, Result, this_host};
use crate::kernel::{LockFile, Watch};
use crate::model::{NetworkName, Sandbox, State};
use crate::store::{self, Changes, Host, Reader, Writing};

/// A hook makes all its writes within this time, so one look at the store sees all of them.
const AT_ONCE: Duration = Duration::from_millis(10);

/// After a failed look, the next one comes with the next change of a file, and at the latest after this time.
const RETRY: Duration = Duration::from_secs(1);

/// Reports attaches and detaches.
pub struct Follower {
    state_dir: PathBuf,
    host: Host,
    /// The lock file: a store is opened while no process sets it aside.
    locks: LockFile,
    /// Wakes it when a file in the state directory changes.
    watch: Watch,
    /// The store, while it is the current one.
    store: Option<Reader>,
    /// The number of the last change that was seen; none if the whole store has to be read.
    seen: Option<u64>,
    /// The sandboxes that were reported as attached, by their numbers.
    told: BTreeMap<i64, Known>,
    /// The definitions of networks.
    definitions: Definitions,
    /// The networks that were reported as created; those that were there before.
    networks: BTreeSet<NetworkName>,
    /// Whether a look has succeeded yet. What the first one finds was attached before.
    has_looked: bool,
    /// Whether the last look failed.
    failed: bool,
    log: Logger,
}

impl Follower {
    /// Follows the store in `state_dir` and `definitions` from now on. Containers that are already attached, and networks
    /// that are there, are not reported.
    ///
    /// # Errors
    /// When there is no such directory, the kernel has no watch left, or a newer version of ocinet made the store.
    pub fn new(state_dir: &Path, definitions: Definitions, log: Logger) -> Result<Self> {
        let mut follower = Self {
            state_dir: state_dir.to_owned(),
            host: this_host()?,
            locks: LockFile::of(state_dir),
            watch: Watch::of(state_dir)?,
            store: None,
            seen: None,
            told: BTreeMap::new(),
            networks: definitions.names().unwrap_or_default(),
            definitions,
            has_looked: false,
            failed: false,
            log,
        };
        follower.look()?;
        Ok(follower)
    }

    /// Waits until something may have changed, and returns the changes. `None` once the state directory, or the file
    /// `token` in it, is removed.
    ///
    /// # Errors
    /// When the kernel refuses to report, or a newer version of ocinet has upgraded the store.
    pub fn next(&mut self, token: &str) -> Result<Option<Vec<Change>>> {
        let seen = self.watch.wait(self.failed.then_some(RETRY), AT_ONCE)?;
        if seen.gone || seen.changed.iter().any(|name| name == token) {
            return Ok(None);
        }
        let concerns_us = self.failed || seen.lost || seen.changed.iter().any(|name| name.starts_with("store-"));
        let mut changes = self.changed_networks();
        changes.extend(if concerns_us { self.look()? } else { Vec::new() });
        Ok(Some(changes))
    }

    /// The networks that were defined or removed since the last look. A command that does so closes the lock file in the
    /// state directory afterwards, which wakes the follower. A folder that cannot be read now is read again with the
    /// next change.
    fn changed_networks(&mut self) -> Vec<Change> {
        let Ok(now) = self.definitions.names() else { return Vec::new() };
        let removed = self.networks.difference(&now).cloned().map(Change::NetworkRemoved);
        let created = now.difference(&self.networks).cloned().map(Change::NetworkCreated);
        let changes = removed.chain(created).collect();
        self.networks = now;
        changes
    }

    /// The changes since the last look. The next process that writes repairs a store that cannot be read; one of a
    /// newer version is not changed.
    fn look(&mut self) -> Result<Vec<Change>> {
        let failed = match self.compare() {
            Ok(changes) => {
                self.failed = false;
                // Containers that the first look finds were attached before.
                return Ok(if std::mem::replace(&mut self.has_looked, true) { changes } else { Vec::new() });
            }
            Err(error @ Error::Store(store::Error::Newer { .. })) => return Err(error),
            Err(error) => error,
        };
        if !self.failed {
            warn!(self.log, "cannot follow what is attached: {failed}; trying again");
        }
        (self.failed, self.store) = (true, None);
        Ok(Vec::new())
    }

    fn compare(&mut self) -> Result<Vec<Change>> {
        let is_same = self.store.as_ref().map_or(Ok(false), Reader::is_current)?;
        if !is_same {
            // Waits while another process sets a store aside and makes a new one.
            let _quiet = Writing::prevent(&self.locks)?;
            (self.store, self.seen) = (Reader::open(&self.state_dir, &self.host)?, None);
        }
        let Written { seen, numbers, standing } = self.written()?;
        if !is_same {
            self.renumber(&standing);
        }
        let mut changes = Vec::new();
        self.told.retain(|number, known| {
            let is_as_before = numbers.as_ref().is_some_and(|written| !written.contains(number));
            let stays = is_as_before || standing.contains_key(number);
            if !stays {
                changes.push(Change::Detached(known.clone()));
            }
            stays
        });
        for (number, sandbox) in standing.into_iter().filter(|(_, sandbox)| sandbox.state == State::Attached) {
            if let Some(known) = self.told.get_mut(&number) {
                changes.extend(known.follow(&sandbox));
            } else {
                self.told.insert(number, Known::from(&sandbox));
                changes.push(Change::Attached(sandbox));
            }
        }
        self.seen = seen;
        Ok(changes)
    }

    /// What was written to the store since the last look at it.
    fn written(&self) -> Result<Written> {
        let Some(store) = &self.store else { return Ok(Written::default()) };
        let stands = |sandbox: &Sandbox| matches!(sandbox.state, State::Attached | State::Detaching);
        if let Some(seen) = self.seen
            && let (Changes::Of { sandboxes, .. }, last) = store.changes_after(seen)?
        {
            let numbers: BTreeSet<i64> = sandboxes.into_iter().collect();
            let mut standing = BTreeMap::new();
            for number in &numbers {
                standing.extend(store.sandbox(*number)?.filter(stands).map(|sandbox| (*number, sandbox)));
            }
            return Ok(Written { seen: Some(last), numbers: Some(numbers), standing });
        }
        let last = store.last_change()?;
        let standing = store.sandboxes()?.into_iter().filter(stands).map(|sandbox| (sandbox.number, sandbox));
        Ok(Written { seen: Some(last), numbers: None, standing: standing.collect() })
    }

    /// In a rebuilt store the same containers have other numbers, and may have no bundle.
    fn renumber(&mut self, standing: &BTreeMap<i64, Sandbox>) {
        let told = std::mem::take(&mut self.told).into_values();
        let mut told: BTreeMap<String, Known> = told.map(|known| (known.key.hex(), known)).collect();
        for (number, sandbox) in standing {
            if let Some(mut known) = told.remove(&sandbox.key().hex()) {
                known.number = *number;
                self.told.insert(*number, known);
            }
        }
        // No sandbox has such a number, so these are then reported as detached.
        self.told.extend((i64::MIN..).zip(told.into_values()));
    }
}

/// What a look at the store finds.
#[derive(Default)]
struct Written {
    /// The last change.
    seen: Option<u64>,
    /// The sandboxes that were written since the last look; none where it may be any.
    numbers: Option<BTreeSet<i64>>,
    /// Those of them that are attached, or were and are being detached.
    standing: BTreeMap<i64, Sandbox>,
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use serde_json::json;

    use super::*;
    use crate::input::config::Config;
    use crate::store::tests::{FIXTURES, make_newer, place};
    use crate::store::{Store, Write};

    const TOKEN: &str = "token";

    fn sandbox(id: &str, octet: u8) -> Sandbox {
        let sandbox = json!({
            "record": 0, "container": id, "bundle": "/b", "name": id, "mode": "none", "state": "attaching", "endpoints": [],
            "namespace": {"cookie": octet, "witness": {"path": "/n"}, "seen_from_pid_ns": 1, "seen_from_mnt_ns": 1},
            "publish": [],
        });
        serde_json::from_value(sandbox).unwrap()
    }

    /// Waits for the next changes, each as `+` or `-` and the container's id.
    fn next(follower: &mut Follower) -> String {
        loop {
            let changes = follower.next(TOKEN).unwrap().expect("the directory is there");
            let words = changes.iter().map(|change| match change {
                Change::Attached(sandbox) => format!("+{}", sandbox.container),
                Change::Detached(known) => format!("-{}", known.container),
                Change::Connected(sandbox, network) => format!("{}+{network}", sandbox.container),
                Change::Disconnected(sandbox, network) => format!("{}-{network}", sandbox.container),
                Change::NetworkCreated(name) => format!("+network {name}"),
                Change::NetworkRemoved(name) => format!("-network {name}"),
            });
            let words: Vec<_> = words.collect();
            if !words.is_empty() {
                return words.join(" ");
            }
        }
    }

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("ocinet-follow-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        directory
    }

    /// An empty store of this host in `directory`.
    fn new_store(directory: &Path) -> Store {
        let (host, locks) = (this_host().unwrap(), LockFile::of(directory));
        let writing = Writing::begin(&locks).unwrap();
        Store::create(directory, &host, &locks, &writing, |_| Ok(())).unwrap()
    }

    fn follow(directory: &Path) -> Result<Follower> {
        let definitions = Definitions::of(&Config::unread(&directory.join("etc")), directory);
        Follower::new(directory, definitions, Logger::root(slog::Discard, slog::o!()))
    }

    fn attach(store: &mut Store, id: &str, octet: u8) {
        let mut sandbox = sandbox(id, octet);
        sandbox.state = State::Attached;
        store.write::<_, store::Error>(|write| write.insert(&mut sandbox)).unwrap();
    }

    /// A hook that is newer than the service may leave a store of its own version, which this version cannot read.
    #[test]
    fn stores_of_every_version_are_followed_and_a_newer_one_is_an_error() {
        let directory = scratch("versions");
        let (host, locks) = (this_host().unwrap(), LockFile::of(&directory));
        for fixture in FIXTURES {
            place(&directory, &host, fixture);
            let began = std::time::Instant::now();
            let mut follower = follow(&directory).unwrap();
            let mut store = Store::open(&directory, &host, &locks).unwrap().unwrap();
            attach(&mut store, "new", 9);
            assert_eq!(next(&mut follower), "+new");
            assert!(began.elapsed() < Duration::from_secs(5), "it waited for itself: {:?}", began.elapsed());
            make_newer(&directory, &host);
            assert!(matches!(follower.next(TOKEN), Err(Error::Store(store::Error::Newer { .. }))));
            assert!(matches!(follow(&directory), Err(Error::Store(store::Error::Newer { .. }))));
            Store::remove(&directory, &host, &Writing::begin(&locks).unwrap()).unwrap();
        }
        fs::remove_dir_all(&directory).unwrap();
    }

    /// A follower that was busy while more changes were made than the store remembers reads all of it.
    #[test]
    fn a_follower_that_is_behind_reads_all() {
        let directory = scratch("behind");
        let mut store = new_store(&directory);
        attach(&mut store, "before", 1);
        let mut follower = follow(&directory).unwrap();
        attach(&mut store, "kept", 2);
        let mut gone = sandbox("gone", 3);
        let many = |write: &Write<'_>| -> store::Result<()> {
            write.remove(1)?;
            for _ in 0..400 {
                write.insert(&mut gone)?;
                write.set_state(&mut gone, State::Attached)?;
                write.remove(gone.number)?;
            }
            Ok(())
        };
        store.write(many).unwrap();
        assert_eq!(next(&mut follower), "-before +kept");
        attach(&mut store, "later", 4);
        assert_eq!(next(&mut follower), "+later", "and then what is new again");
        fs::remove_dir_all(&directory).unwrap();
    }

    /// Containers that were attached before are not reported as new because the first look failed. Later ones are
    /// reported although no event shows when the store can be read again.
    #[test]
    fn a_look_that_failed_is_made_up_for() {
        let directory = scratch("failed");
        let mut store = new_store(&directory);
        attach(&mut store, "before", 1);
        let file = fs::read_dir(&directory).unwrap().flatten().find(|file| file.file_name() != "lock").unwrap().path();
        // A write to a file that stays open gives no event.
        let header = fs::OpenOptions::new().write(true).open(&file).unwrap();
        header.write_all_at(b"damaged", 0).unwrap();
        let mut follower = follow(&directory).unwrap();
        header.write_all_at(b"SQLite ", 0).unwrap();
        assert_eq!(follower.next(TOKEN).unwrap(), Some(Vec::new()), "it was there before");
        drop(header);
        let aside = directory.join("aside");
        fs::rename(&file, &aside).unwrap();
        std::os::unix::fs::symlink("/", &file).unwrap();
        assert_eq!(follower.next(TOKEN).unwrap(), Some(Vec::new()));
        fs::rename(&aside, &file).unwrap();
        attach(&mut store, "later", 2);
        assert_eq!(next(&mut follower), "+later");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn every_change_is_told_once() {
        let directory = scratch("once");
        let (host, locks) = (this_host().unwrap(), LockFile::of(&directory));
        let create = |sandboxes: &[Sandbox]| {
            let writing = Writing::begin(&locks).unwrap();
            let fill = |write: &Write<'_>| sandboxes.iter().try_for_each(|sandbox| write.insert(&mut sandbox.clone()));
            Store::create(&directory, &host, &locks, &writing, fill).unwrap()
        };
        let mut follower = follow(&directory).unwrap();

        // A store that is made while it is followed.
        let mut store = create(&[]);
        let [mut one, mut two] = [sandbox("one", 1), sandbox("two", 2)];
        let set = |store: &mut Store, sandbox: &mut Sandbox, state| {
            store.write(|write| write.set_state(sandbox, state)).unwrap();
        };
        store.write(|write| write.insert(&mut one)).unwrap();
        set(&mut store, &mut one, State::Attached);
        assert_eq!(next(&mut follower), "+one");

        // Several changes at once, and one container that is detached but not gone.
        store.write(|write| write.insert(&mut two)).unwrap();
        set(&mut store, &mut two, State::Attached);
        set(&mut store, &mut one, State::Detaching);
        assert_eq!(next(&mut follower), "+two");
        store.write::<_, store::Error>(|write| write.end(&one)).unwrap();
        assert_eq!(next(&mut follower), "-one");

        // Rebuilt with other numbers, without one container and with another.
        let writing = Writing::begin(&locks).unwrap();
        Store::set_aside(&directory, &host, &writing).unwrap();
        drop(writing);
        let mut three = sandbox("three", 3);
        (three.state, two.state) = (State::Attached, State::Attached);
        let mut store = create(&[three, two.clone()]);
        assert_eq!(next(&mut follower), "+three");
        store.write(|write| write.remove(1)).unwrap();
        assert_eq!(next(&mut follower), "-three");

        let writing = Writing::begin(&locks).unwrap();
        Store::remove(&directory, &host, &writing).unwrap();
        drop(writing);
        assert_eq!(next(&mut follower), "-two");
        fs::write(directory.join(TOKEN), "").unwrap();
        assert!(follower.next(TOKEN).unwrap().is_none());
        fs::remove_dir_all(&directory).unwrap();
    }
}
