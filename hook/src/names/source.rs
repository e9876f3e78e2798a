//! Where names come from: the store of this host, followed as it is written.
//!
//! A writer deletes its journal to commit, which the queue of the watch says before the commit returns. So who looks
//! into the queue before each answer knows of every container that was attached before the question was asked.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use slog::{Logger, warn};

use ocinet::engine::{Result, this_host};
use ocinet::kernel::{LockFile, Watch};
use ocinet::store::{Changes, Host, Reader, Writing};

use crate::directory::Directory;

/// The names of this host.
pub struct Source {
    state_dir: PathBuf,
    host: Host,
    locks: LockFile,
    watch: Watch,
    reader: Option<Reader>,
    /// The number of the last change that was seen; none if the whole store has to be read.
    seen: Option<u64>,
    /// Whether the last look failed.
    failed: bool,
    directory: Directory,
    log: Logger,
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
    /// Reads the store in `state_dir`, and follows it from now on.
    ///
    /// # Errors
    /// When there is no such directory, or the kernel has no watch left.
    pub fn open(state_dir: &Path, locks: LockFile, log: Logger) -> Result<Self> {
        let mut source = Self {
            state_dir: state_dir.to_owned(),
            host: this_host()?,
            locks,
            watch: Watch::of(state_dir)?,
            reader: None,
            seen: None,
            failed: false,
            directory: Directory::default(),
            log,
        };
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
                warn!(self.log, "{error}");
                return Look::Same;
            }
        };
        if seen.gone {
            return Look::Gone;
        }
        if !seen.lost && !self.failed && !seen.changed.iter().any(|name| name.starts_with("store-")) {
            return Look::Same;
        }
        self.read();
        Look::Changed
    }

    /// Reads the whole store again, and says whether that was possible.
    pub fn reread(&mut self) -> bool {
        self.seen = None;
        self.read();
        !self.failed
    }

    fn read(&mut self) {
        let result = self.take_up();
        if let Err(error) = &result {
            if !self.failed {
                warn!(self.log, "cannot read what is attached: {error}; the last names stay");
            }
            self.reader = None;
        }
        self.failed = result.is_err();
    }

    fn take_up(&mut self) -> Result<()> {
        let is_same = self.reader.as_ref().map_or(Ok(false), Reader::is_current)?;
        if !is_same {
            // Waits while another process sets a store aside and makes a new one.
            let _quiet = Writing::prevent(&self.locks)?;
            (self.reader, self.seen) = (Reader::open(&self.state_dir, &self.host)?, None);
        }
        let Some(reader) = &self.reader else {
            self.directory.clear();
            return Ok(());
        };
        if let Some(seen) = self.seen
            && let (Changes::Of(numbers), last) = reader.changes_after(seen)?
        {
            self.directory.set_networks(reader.networks()?);
            for number in numbers {
                self.directory.put(number, reader.sandbox(number)?.as_ref());
            }
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
