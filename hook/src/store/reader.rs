use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{Error, FileId, Host, Read, Result, connect, file, file_id, is_still, version};
use crate::model::Sandbox;

/// A store that is only looked at, of this or an earlier version.
///
/// It needs no lock and changes nothing. SQLite alone may write through it: it takes back what a killed writer left half
/// done, as it does for every reader.
pub struct Reader {
    pub(super) connection: Connection,
    path: PathBuf,
    file: Option<FileId>,
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
        version::of(&connection, &path)?;
        connection.execute_batch("PRAGMA query_only = ON").map_err(|e| Error::sql("prepare", &path, e))?;
        Ok(Some(Self { connection, path, file: Some(id) }))
    }

    /// Whether this is the file that has the store's name now, and of a version that this program knows: a newer ocinet may have
    /// upgraded it.
    ///
    /// # Errors
    /// [`Error::Newer`] where it has; or when the file cannot be looked at.
    pub fn is_current(&self) -> Result<bool> {
        if !is_still(&self.path, self.file)? {
            return Ok(false);
        }
        version::of(&self.connection, &self.path).map(|_| true)
    }

    /// As [`Read::standing`].
    ///
    /// # Errors
    /// When the store fails.
    pub fn standing(&self) -> Result<Vec<i64>> {
        Read::new(&self.connection).standing()
    }

    /// As [`Read::sandbox`].
    ///
    /// # Errors
    /// When the store fails or the row is damaged.
    pub fn sandbox(&self, number: i64) -> Result<Option<Sandbox>> {
        Read::new(&self.connection).sandbox(number)
    }
}
