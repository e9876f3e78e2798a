use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::kernel;

/// The store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite failed.
    #[error("cannot {what} the store: {source}")]
    Sql {
        /// What was tried, with the path where it matters.
        what: String,
        /// SQLite's answer.
        #[source]
        source: rusqlite::Error,
    },
    /// A later version of ocinet wrote it.
    #[error("store {} is of version {found}, and this ocinet knows version {known}; use the newer ocinet", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this program reads.
        known: i64,
    },
    /// A row differs from what was written.
    #[error("store: {what} is damaged: {why}")]
    Damaged {
        /// Which row.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// It could be opened for reading alone, as on a read-only file system.
    #[error("store {} can be read, but not be opened for writing", .0.display())]
    ReadOnly(PathBuf),
    /// Another process has put another store in the place of the open one.
    #[error("store {} was replaced; try again", .0.display())]
    Replaced(PathBuf),
    /// The file system refused.
    #[error("cannot {what} the store: {source}")]
    File {
        /// What was tried, with the path.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The lock for writers was not released in time.
    #[error(transparent)]
    Lock(#[from] kernel::Error),
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(super) fn file(what: &str, path: &Path, source: io::Error) -> Self {
        Self::File { what: format!("{what} {} of", path.display()), source }
    }

    pub(super) fn sql(what: &str, path: &Path, source: rusqlite::Error) -> Self {
        Self::Sql { what: format!("{what} {} of", path.display()), source }
    }

    /// Whether a key is there already.
    pub fn is_taken(&self) -> bool {
        let Self::Sql { source: rusqlite::Error::SqliteFailure(failure, _), .. } = self else { return false };
        failure.code == ErrorCode::ConstraintViolation
    }

    /// Whether the store differs from what was written: then it can be set aside and rebuilt. A full file system or a
    /// held lock says nothing about the store.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Sql { source: rusqlite::Error::SqliteFailure(failure, _), .. } => match failure.code {
                // A value that the same transaction found free is taken, or a table differs from the schema.
                ErrorCode::ConstraintViolation | ErrorCode::Unknown | ErrorCode::TypeMismatch => true,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SchemaChanged => true,
                // The header says that only a later SQLite may write to it.
                ErrorCode::ReadOnly => failure.extended_code == rusqlite::ffi::SQLITE_READONLY,
                ErrorCode::SystemIoFailure => failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ,
                _ => false,
            },
            // A value that does not have the type of its column.
            Self::Sql { .. } => true,
            Self::Newer { .. } | Self::ReadOnly(_) | Self::Replaced(_) | Self::File { .. } | Self::Lock(_) => false,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        Self::Sql { what: "use".into(), source }
    }
}
