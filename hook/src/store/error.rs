use std::path::{Path, PathBuf};

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
        /// The version we know.
        known: i64,
    },
    /// A row is not what was written.
    #[error("store: {what} is damaged: {why}")]
    Damaged {
        /// Which row.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The lock for writers could not be had.
    #[error(transparent)]
    Lock(#[from] kernel::Error),
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(super) fn sql(what: &str, path: &Path, source: rusqlite::Error) -> Self {
        Self::Sql { what: format!("{what} {} of", path.display()), source }
    }

    /// Whether a unique column refused a value that is there already.
    pub fn is_taken(&self) -> bool {
        let Self::Sql { source: rusqlite::Error::SqliteFailure(failure, _), .. } = self else { return false };
        failure.code == rusqlite::ErrorCode::ConstraintViolation
    }
}

impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Self {
        Self::Sql { what: "use".into(), source }
    }
}
