//! Leases and records, in SQLite.
//!
//! One file for each boot and host namespace: another boot finds nothing here that still exists, and two namespaces that
//! share a /run are two hosts. Several short-lived processes write; they queue on a kernel lock, since SQLite's own busy
//! handler polls and starves. A writer that is killed leaves a journal which the next opener rolls back; the file system
//! is memory, so nothing is ever synced.

mod error;
mod read;
mod write;

pub use error::{Error, Result};
pub use read::{Owner, Read};
pub use write::Write;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use crate::kernel::{LockFile, Place};

/// The schema's version, in SQLite's `user_version`.
const VERSION: i64 = 1;
const SCHEMA: &str = include_str!("schema.sql");

/// The host whose containers a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The id of this boot.
    pub boot: String,
    /// The cookie of the host's network namespace.
    pub cookie: u64,
}

/// An open store.
pub struct Store {
    connection: Connection,
    locks: LockFile,
}

impl Store {
    /// Opens the store of `host` in `directory`; makes it if this is its first use since boot.
    ///
    /// # Errors
    /// When it cannot be opened, or was written by a newer version.
    pub fn open(directory: &Path, host: &Host, locks: &LockFile) -> Result<Self> {
        let path = file(directory, host);
        let connection = Connection::open(&path).map_err(|e| Error::sql("open", &path, e))?;
        let mut store = Self { connection, locks: locks.clone() };
        store.prepare().map_err(|e| Error::sql("prepare", &path, e))?;
        match store.version(&path)? {
            VERSION => Ok(store),
            0 => {
                store.create(directory, &path, host)?;
                Ok(store)
            }
            newer => Err(Error::Newer { path, found: newer, known: VERSION }),
        }
    }

    /// An empty store that ends with this process, for an unused host.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn in_memory(locks: &LockFile) -> Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection, locks: locks.clone() })
    }

    /// Whether `host` has a store in `directory`.
    pub fn exists(directory: &Path, host: &Host) -> bool {
        file(directory, host).exists()
    }

    /// A file of its own boot needs neither syncing nor a journal that is made anew each time.
    fn prepare(&mut self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(Duration::from_secs(20))?;
        self.connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY")
    }

    fn version(&self, path: &Path) -> Result<i64> {
        let version = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0));
        version.map_err(|e| Error::sql("read the version of", path, e))
    }

    fn create(&mut self, directory: &Path, path: &Path, host: &Host) -> Result<()> {
        let _writing = self.locks.exclusive(Place::Writer)?;
        if self.version(path)? != 0 {
            return Ok(());
        }
        forget_other_boots(directory, host);
        // The schema sets the version, so that it is there whole or not at all.
        let schema = format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT");
        self.connection.execute_batch(&schema).map_err(|e| Error::sql("create", path, e))
    }

    /// Runs `work` in one transaction, alone among all writers. All of it is kept, or, where it fails, none.
    ///
    /// # Errors
    /// Those of `work`, or that the store cannot be written.
    pub fn write<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&Write<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let _writing = self.locks.exclusive(Place::Writer).map_err(Error::from)?;
        let begin = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begin.map_err(Error::from)?;
        let result = work(&Write::new(&transaction))?;
        transaction.commit().map_err(Error::from)?;
        Ok(result)
    }

    /// Runs `work` in a transaction of which nothing is kept.
    ///
    /// # Errors
    /// Those of `work`, or that the store cannot be read.
    pub fn rehearse<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&Write<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let begin = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begin.map_err(Error::from)?;
        work(&Write::new(&transaction))
    }

    /// Asks questions, each seeing the latest commit.
    pub fn read(&self) -> Read<'_> {
        Read::new(&self.connection)
    }
}

fn file(directory: &Path, host: &Host) -> PathBuf {
    directory.join(format!("store-{}-{:x}.db", host.boot, host.cookie))
}

fn forget_other_boots(directory: &Path, host: &Host) {
    let ours = format!("store-{}-", host.boot);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("store-") && !name.starts_with(&ours) {
            // Left over, it would only take up room.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
