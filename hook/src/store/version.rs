//! Which version of the schema a store has.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::entries::Entries;
use super::key::EntryKey;
use super::{Error, Result};

/// The schema's version.
pub(super) const VERSION: u32 = 8;

/// The first version whose endpoints have numbers, and whose entries are those of today.
pub(super) const FIRST_OF_NUMBERED: u32 = 7;

/// The last version that had a table for each kind of row.
pub(super) const LAST_OF_TABLES: u32 = 5;

/// The version of the store at `path`: 1 to [`VERSION`]. It is an entry like others, and so costs one look. Of a store
/// without the table of this version, the file's header tells it.
pub(super) fn of(connection: &Connection, path: &Path) -> Result<u32> {
    // A question that has been answered and not ended keeps what is read the same: an upgrade changes table and header
    // in one transaction, so that they belong together, or are damaged. It is one about the header, which needs no look
    // at what tables there are: that look is then at the same moment, and costs no locks of its own.
    let failed = |e| Error::sql("read the version of", path, e);
    let mut moment = connection.prepare("PRAGMA user_version").map_err(failed)?;
    let mut moment = moment.query([]).map_err(failed)?;
    moment.next().map_err(failed)?;
    match in_entry(connection, path) {
        Err(error) if has_no_table(&error) => match in_header(connection, path)? {
            VERSION => Err(damaged(path, "it has no table of its version")),
            earlier => Ok(earlier),
        },
        found => found,
    }
}

/// The version in the entry, which is [`VERSION`] or an error.
fn in_entry(connection: &Connection, path: &Path) -> Result<u32> {
    let body = (Entries { connection }).get(&EntryKey::Version).map_err(|error| match error {
        Error::Sql { source, .. } => Error::sql("read the version of", path, source),
        error => error,
    })?;
    let body = body.ok_or_else(|| damaged(path, "it does not say its version"))?;
    match body.try_into().map(u32::from_be_bytes) {
        Ok(VERSION) => Ok(VERSION),
        Ok(found) if found > VERSION => Err(newer(path, found)),
        _ => Err(damaged(path, "it has an earlier version than its form")),
    }
}

/// The version in the file's header.
fn in_header(connection: &Connection, path: &Path) -> Result<u32> {
    let pragma = |name: &str| {
        let value = connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, u32>(0));
        value.map_err(|e| Error::sql("read the version of", path, e))
    };
    match (pragma("user_version")?, pragma("application_id")?) {
        // The first version did not say it twice.
        (1, 0) => Ok(1),
        (version @ 2..=VERSION, mark) if mark == application_id(version) => Ok(version),
        (found, mark) if found > VERSION && mark == application_id(found) => Err(newer(path, found)),
        (version, mark) => Err(damaged(path, &format!("it has the version {version} and the mark {mark:#x}"))),
    }
}

/// SQLite's place for a mark of the application's: `oc` and the version.
pub(super) fn application_id(version: u32) -> u32 {
    (u32::from(u16::from_be_bytes(*b"oc")) << 16).wrapping_add(version)
}

fn newer(path: &Path, found: u32) -> Error {
    Error::Newer { path: path.to_owned(), found: found.into(), known: VERSION.into() }
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::Damaged { what: path.display().to_string(), why: why.into() }
}

/// Whether SQLite could not make anything of the names in a statement.
fn has_no_table(error: &Error) -> bool {
    let Error::Sql { source, .. } = error else { return false };
    source.sqlite_error_code() == Some(ErrorCode::Unknown)
}
