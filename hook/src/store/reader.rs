use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::bodies::{NETWORKS, number};
use super::entries::Entries;
use super::key::{EntryKey, Span};
use super::read::misplaced;
use super::version::VERSION;
use super::{Error, FileId, Host, Read, Result, connect, file, file_id, is_still, upgrade, version};
use crate::model::{Network, Sandbox};

/// A store that is only looked at, of this or an earlier version.
///
/// It needs no lock and changes nothing. SQLite alone may write through it: it takes back what a killed writer left
/// half done, as it does for every reader.
pub struct Reader {
    pub(super) connection: Connection,
    path: PathBuf,
    file: Option<FileId>,
    version: u32,
}

/// What was written since an earlier look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// This and nothing else.
    Of {
        /// The numbers of sandboxes, in the order in which they were written, some of them perhaps several times.
        sandboxes: Vec<i64>,
        /// Whether a network was added, changed or removed.
        networks: bool,
    },
    /// More than is remembered: whatever the store holds may be new.
    BehindTail,
}

impl Reader {
    /// Opens the store of `host` in `directory`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::is_damage`] when it is not whole, [`Error::Newer`] when a newer version of ocinet made it.
    pub fn open(directory: &Path, host: &Host) -> Result<Option<Self>> {
        let path = file(directory, host);
        // Looked at first: if it is replaced meanwhile, that shows at the next look.
        let Some(id) = file_id(&path)? else { return Ok(None) };
        let connection = connect(&path)?;
        let version = version::of(&connection, &path)?;
        connection.execute_batch("PRAGMA query_only = ON").map_err(|e| Error::sql("prepare", &path, e))?;
        Ok(Some(Self { connection, path, file: Some(id), version }))
    }

    /// Whether this is the file that has the store's name now, and of the version that it was opened with.
    ///
    /// # Errors
    /// [`Error::Newer`] where a newer ocinet has upgraded it; or when the file cannot be looked at.
    pub fn is_current(&self) -> Result<bool> {
        Ok(is_still(&self.path, self.file)? && version::of(&self.connection, &self.path)? == self.version)
    }

    /// The number of the last change, to be asked for before what is read then; 0 where there was none yet.
    ///
    /// # Errors
    /// When the store fails.
    pub fn last_change(&self) -> Result<u64> {
        if self.version < VERSION { Ok(0) } else { Ok(Read::new(&self.connection).last()?.change) }
    }

    /// What was written since the change `seen`, which is [`Reader::last_change`] of an earlier look, and the number of
    /// the last change. The change itself must be there still: then none after it is forgotten. Earlier versions
    /// remembered none.
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn changes_after(&self, seen: u64) -> Result<(Changes, u64)> {
        if self.version < VERSION {
            return Ok((Changes::BehindTail, 0));
        }
        let (mut expected, mut sandboxes, mut networks, mut is_behind) = (seen.max(1), Vec::new(), false, false);
        Entries { connection: &self.connection }.scan(&Span::changes(expected), |key, body| {
            let EntryKey::Change(change) = key else { return Err(misplaced(&key)) };
            is_behind |= change != expected;
            expected = change + 1;
            if change > seen {
                match number(body).ok_or_else(|| misplaced(&key))? {
                    NETWORKS => networks = true,
                    number => sandboxes.push(number.into()),
                }
            }
            Ok(if is_behind { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        let last = expected - 1;
        // Nothing at all was found: fewer changes than were seen, unless there were none yet.
        let is_empty = seen > 0 && last < seen;
        Ok(if is_behind || is_empty {
            (Changes::BehindTail, seen)
        } else {
            (Changes::Of { sandboxes, networks }, last)
        })
    }

    /// As [`Read::sandboxes`].
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn sandboxes(&self) -> Result<Vec<Sandbox>> {
        if self.version < VERSION {
            return upgrade::sandboxes(&self.connection, self.version);
        }
        Read::new(&self.connection).sandboxes()
    }

    /// As [`Read::networks`]; none in a store of an earlier version.
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn networks(&self) -> Result<Vec<Network>> {
        if self.version < VERSION {
            return Ok(Vec::new());
        }
        Read::new(&self.connection).networks()
    }

    /// As [`Read::sandbox`].
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn sandbox(&self, number: i64) -> Result<Option<Sandbox>> {
        Read::new(&self.connection).sandbox(number)
    }
}
