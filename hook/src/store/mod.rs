//! Leases and sandboxes, in SQLite.
//!
//! One file for each boot and host namespace: another boot finds nothing here that still exists, and two namespaces
//! that share a /run are two hosts. Several short-lived processes write; they queue on a kernel lock, since SQLite's
//! own busy handler polls and starves. A writer that is killed leaves a journal which the next opener rolls back; the
//! file system is memory, so nothing is ever synced.

mod bodies;
mod busy;
mod entries;
mod error;
mod host_row;
mod integrity;
mod key;
mod read;
mod reader;
mod upgrade;
mod version;
mod write;
mod writing;

pub use bodies::Holder;
pub use busy::waited;
pub use error::{Error, Result};
pub use host_row::{Forwarding, HostRow};
pub use read::{Owner, PortRun, Read};
pub use reader::{Changes, Reader};
pub use write::Write;
pub use writing::Writing;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::kernel::{self, LockFile};
use bodies::Last;
use version::VERSION;

const SCHEMA: &str = include_str!("schema.sql");

/// What a transaction may need beside the store itself: the journal, in bytes.
const JOURNAL_ROOM: u64 = 1 << 20;

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
    path: PathBuf,
    /// Which file it is; `None` for one in memory.
    file: Option<FileId>,
    /// Whether SQLite could open it for reading alone.
    only_reads: bool,
}

/// Device and inode.
type FileId = (u64, u64);

impl Store {
    /// Whether `directory` may hold a store of `host`; only that there is no such file can be certain.
    pub fn may_be_there(directory: &Path, host: &Host) -> bool {
        !matches!(file_id(&file(directory, host)), Ok(None))
    }

    /// Opens the store of `host` in `directory`, after bringing an older one up to date; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::is_damage`] when it is not whole, [`Error::Newer`] when a newer version of ocinet made it.
    pub fn open(directory: &Path, host: &Host, locks: &LockFile) -> Result<Option<Self>> {
        match Self::connect(directory, host, locks)? {
            Some((store, VERSION)) => Ok(Some(store)),
            Some(_) => {
                // A hook of an earlier release may be in the middle of its work, and ends well if the store stays as it
                // is until then. One that takes too long fails; what it did is in the store.
                let _quiet = locks.wait_for_containers()?;
                // It may be replaced or upgraded while we wait: it is opened anew.
                Self::open_to_write(directory, host, locks, &Writing::begin(locks)?)
            }
            None => Ok(None),
        }
    }

    /// The same for a caller that has the right to write already.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_to_write(directory: &Path, host: &Host, locks: &LockFile, writing: &Writing) -> Result<Option<Self>> {
        let Some((mut store, version)) = Self::connect(directory, host, locks)? else { return Ok(None) };
        if version < VERSION {
            store.refuse_unless_writable()?;
            store.choose_journal()?;
            upgrade::upgrade(&mut store.connection, &store.path, writing)?;
        }
        Ok(Some(store))
    }

    /// The store of `host` as it is, with the version of its schema.
    fn connect(directory: &Path, host: &Host, locks: &LockFile) -> Result<Option<(Self, u32)>> {
        let path = file(directory, host);
        // Looked at first: if it is replaced meanwhile, that shows as soon as we write.
        let Some(id) = file_id(&path)? else { return Ok(None) };
        let connection = connect(&path)?;
        // Where a file cannot be opened for writing, for whatever reason, SQLite opens it for reading (`unixOpen`,
        // os_unix.c). Asked before anything is read, this tells nothing of the file's content.
        let only_reads = connection.is_readonly(rusqlite::MAIN_DB).map_err(|e| Error::sql("look at", &path, e))?;
        let version = version::of(&connection, &path)?;
        Ok(Some((Self { connection, locks: locks.clone(), path, file: Some(id), only_reads }, version)))
    }

    /// Makes the store of `host` in `directory` with what `fill` puts into it; there whole, or not at all.
    ///
    /// # Errors
    /// When it cannot be written, or those of `fill`.
    pub fn create(
        directory: &Path,
        host: &Host,
        locks: &LockFile,
        writing: &Writing,
        fill: impl FnOnce(&Write<'_>) -> Result<()>,
    ) -> Result<Self> {
        let path = file(directory, host);
        let draft = path.with_extension("new");
        forget_drafts_and_other_boots(directory, host);
        let mut connection = Connection::open(&draft).map_err(|e| Error::sql("create", &draft, e))?;
        make(&mut connection, fill).map_err(|error| match error {
            Error::Sql { source, .. } => Error::sql("create", &path, source),
            error => error,
        })?;
        // SQLite does not write to a file that was renamed under it: it is opened anew.
        drop(connection);
        fs::rename(&draft, &path).map_err(|e| Error::file("make", &path, e))?;
        Self::open_to_write(directory, host, locks, writing)?.ok_or_else(|| Error::Replaced(path))
    }

    /// Moves the store of `host` out of the way, and says where it is now.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn set_aside(directory: &Path, host: &Host, _writing: &Writing) -> Result<PathBuf> {
        let path = file(directory, host);
        let aside = path.with_extension("damaged");
        let move_it = |from: &Path, to: &Path| match fs::rename(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("set aside", from, error)),
            _ => Ok(()),
        };
        // The journal first: it must never meet the next store.
        move_it(&journal(&path), &journal(&aside))?;
        move_it(&path, &aside)?;
        Ok(aside)
    }

    /// Removes the store of `host`, and what was set aside of it. A process that has it open notices at its next write.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(directory: &Path, host: &Host, _writing: &Writing) -> Result<()> {
        let stem = file(directory, host).with_extension("");
        let entries = fs::read_dir(directory).map_err(|e| Error::file("look for", directory, e))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.with_extension("") == stem {
                fs::remove_file(&path).map_err(|e| Error::file("remove", &path, e))?;
            }
        }
        Ok(())
    }

    /// A store that ends with this process, with what `fill` puts into it.
    ///
    /// # Errors
    /// When there is no memory for it, or those of `fill`.
    pub fn in_memory(locks: &LockFile, fill: impl FnOnce(&Write<'_>) -> Result<()>) -> Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        make(&mut connection, fill)?;
        Ok(Self { connection, locks: locks.clone(), path: PathBuf::new(), file: None, only_reads: false })
    }

    /// Whether it outlives this process.
    pub fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    /// Whether this is the file that has the store's name now.
    ///
    /// # Errors
    /// When the file cannot be looked at: that is no proof that another has its name.
    pub fn is_current(&self) -> Result<bool> {
        if self.file.is_none() { Ok(true) } else { is_still(&self.path, self.file) }
    }

    /// Runs `work` in one transaction, alone among all writers. All of it is kept, or, where it fails, none.
    ///
    /// # Errors
    /// Those of `work`, that the store cannot be written, or that it is not the current one any more.
    pub fn write<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&Write<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.refuse_unless_writable()?;
        let _writing = Writing::begin(&self.locks)?;
        if !self.is_current()? {
            return Err(Error::Replaced(self.path.clone()).into());
        }
        let is_full = self.choose_journal()?;
        let begin = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begin.map_err(Error::from)?;
        let write = Write::new(&transaction);
        if is_full {
            write.forget_changes()?;
        }
        let result = work(&write)?;
        transaction.commit().map_err(Error::from)?;
        Ok(result)
    }

    fn refuse_unless_writable(&self) -> Result<()> {
        if self.only_reads { Err(Error::ReadOnly(self.path.clone())) } else { Ok(()) }
    }

    /// Where the file system is full, a detach must work all the same: what it writes fits into the store as it is, in
    /// the place of earlier changes, and its journal into memory. A process that is killed in that moment leaves a
    /// damaged store, which is rebuilt. True where it is full.
    fn choose_journal(&self) -> Result<bool> {
        let is_full = self.file.is_some() && kernel::room_beside(&self.path) < JOURNAL_ROOM;
        if is_full {
            self.connection.execute_batch("PRAGMA journal_mode = MEMORY")?;
        }
        Ok(is_full)
    }

    /// Runs `work` in a transaction of which nothing is kept.
    ///
    /// # Errors
    /// Those of `work`, or that the store cannot be read.
    pub fn rehearse<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&Write<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.refuse_unless_writable()?;
        let begin = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begin.map_err(Error::from)?;
        work(&Write::new(&transaction))
    }

    /// Asks questions, each seeing the latest commit.
    pub fn read(&self) -> Read<'_> {
        Read::new(&self.connection)
    }
}

/// Makes the table of a new store, with what `fill` puts into it.
fn make(connection: &mut Connection, fill: impl FnOnce(&Write<'_>) -> Result<()>) -> Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    let write = Write::new(&transaction);
    write.begin(&HostRow::default(), Last::default())?;
    fill(&write)?;
    Ok(transaction.commit()?)
}

/// Opens the file at `path`, which is there. That a file of its own boot needs no syncing, and nothing a temporary
/// file, is built into SQLite (`.cargo/config.toml`).
fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|mut connection| {
        connection.busy_handler(Some(busy::wait))?;
        Ok(connection)
    });
    opened.map_err(|e| Error::sql("open", path, e))
}

fn file(directory: &Path, host: &Host) -> PathBuf {
    directory.join(format!("store-{}-{:x}.db", host.boot, host.cookie))
}

fn journal(path: &Path) -> PathBuf {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    journal.into()
}

fn file_id(path: &Path) -> Result<Option<FileId>> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => Ok(Some((meta.dev(), meta.ino()))),
        Ok(_) => Err(Error::Damaged { what: path.display().to_string(), why: "it is not a regular file".into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("look at", path, error)),
    }
}

/// Whether the file at `path` is still the one that was opened.
fn is_still(path: &Path, opened: Option<FileId>) -> Result<bool> {
    Ok(file_id(path)? == opened)
}

/// Left over, they would only take up room.
fn forget_drafts_and_other_boots(directory: &Path, host: &Host) {
    let ours = format!("store-{}-", host.boot);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("store-") && (!name.starts_with(&ours) || name.contains(".new")) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
