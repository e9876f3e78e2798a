//! Where names come from: the store of this host, followed as it is written, and the files of the containers that share
//! another's network.
//!
//! A writer deletes its journal to commit, which the queue of the watch says before the commit returns. So who looks
//! into the queue before each answer knows of every container that was attached before the question was asked.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ocinet::engine::{Error, MEMBERS, Result, members};
use ocinet::kernel::{self, LockFile, Watch};
use ocinet::model::Sandbox;
use ocinet::store::{Changes, Host, Reader, Writing};

use crate::directory::Directory;
use crate::link::Teller;

/// How long it waits after a look that failed, unless something is written.
const PAUSE: Duration = Duration::from_millis(20);

/// The names of this host.
pub struct Source {
    state_dir: PathBuf,
    host: Host,
    locks: LockFile,
    watch: Watch,
    reader: Option<Reader>,
    /// The number of the last change that was seen; none if the whole store has to be read.
    seen: Option<u64>,
    /// When to look again, if the last look failed.
    failed: Option<Instant>,
    /// Whether the files of those that share a network are to be read.
    are_members_new: bool,
    directory: Directory,
    tell: Teller,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Nothing new.
    Same,
    /// Something was written.
    Changed,
    /// The state directory is gone.
    Gone,
}

impl Source {
    /// Reads the store of `host` in `state_dir`, and follows it from now on.
    ///
    /// # Errors
    /// When there is no such directory, or the kernel has no watch left.
    pub fn open(state_dir: &Path, host: Host, tell: Teller) -> Result<Self> {
        let mut source = Self {
            state_dir: state_dir.to_owned(),
            host,
            locks: LockFile::of(state_dir),
            watch: Watch::of(state_dir)?,
            reader: None,
            seen: None,
            failed: None,
            are_members_new: true,
            directory: Directory::default(),
            tell,
        };
        // Without the folder, none of them has a name.
        if let Err(error) = source.watch.also(&state_dir.join(MEMBERS)) {
            source.tell.log(&error.to_string());
        }
        source.read();
        Ok(source)
    }

    /// Readable once something was written.
    ///
    /// # Errors
    /// When this process has no descriptor left.
    pub fn waker(&self) -> Result<OwnedFd> {
        Ok(self.watch.waker()?)
    }

    /// All names as they are now.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Takes up what was written since the last look. Where the store cannot be read, the last names stay until it can.
    pub fn look(&mut self) -> Look {
        let seen = match self.watch.wait(Some(Duration::ZERO), Duration::ZERO) {
            Ok(seen) => seen,
            Err(error) => {
                self.tell.log(&error.to_string());
                return Look::Same;
            }
        };
        if seen.gone {
            return Look::Gone;
        }
        let is_due = self.failed.is_some_and(|again| again <= Instant::now());
        self.are_members_new |= seen.other || seen.lost;
        if !self.are_members_new && !is_due && !seen.changed.iter().any(|name| name.starts_with("store-")) {
            return Look::Same;
        }
        self.read();
        Look::Changed
    }

    /// Whether the last look failed: another one is to come soon.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    fn read(&mut self) {
        let result = self.take_up();
        if let Err(error) = &result {
            if self.failed.is_none() {
                self.tell.log(&format!("cannot read what is attached: {error}; the last names stay"));
            }
            self.reader = None;
        }
        self.failed = result.is_err().then(|| Instant::now() + PAUSE);
    }

    fn take_up(&mut self) -> Result<()> {
        let is_same = self.reader.as_ref().map_or(Ok(false), Reader::is_current)?;
        if !is_same {
            // Not while another process sets a store aside and makes a new one.
            let busy = || kernel::Error::Deadline("a process writes to it".into());
            let _quiet = Writing::prevent_now(&self.locks)?.ok_or_else(busy).map_err(Error::Kernel)?;
            (self.reader, self.seen) = (Reader::open(&self.state_dir, &self.host)?, None);
        }
        let Some(reader) = &self.reader else {
            self.directory.clear();
            return Ok(());
        };
        let mut shared = Vec::new();
        if self.are_members_new {
            shared = self.directory.set_sharers(members(&self.state_dir, &self.host)?);
            self.are_members_new = false;
        }
        if let Some(seen) = self.seen
            && let (Changes::Of { sandboxes, networks }, last) = reader.changes_after(seen)?
        {
            let numbers = sandboxes.into_iter().chain(shared);
            let read = numbers.map(|number| Ok((number, reader.sandbox(number)?)));
            let read: Vec<(i64, Option<Sandbox>)> = read.collect::<Result<_>>()?;
            // An older version adds a network without saying so.
            let is_new = |(_, sandbox): &(i64, Option<Sandbox>)| {
                sandbox.as_ref().is_some_and(|sandbox| self.directory.is_on_unknown(sandbox))
            };
            if networks || read.iter().any(is_new) {
                self.directory.set_networks(reader.networks()?);
            }
            read.iter().for_each(|(number, sandbox)| self.directory.put(*number, sandbox.as_ref()));
            self.seen = Some(last);
            return Ok(());
        }
        let last = reader.last_change()?;
        let (networks, sandboxes) = (reader.networks()?, reader.sandboxes()?);
        self.directory.clear();
        self.directory.set_networks(networks);
        sandboxes.iter().for_each(|sandbox| self.directory.put(sandbox.number, Some(sandbox)));
        self.seen = Some(last);
        Ok(())
    }
}
