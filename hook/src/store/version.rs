//! Which version of the schema a store has, and how an older one is brought up to date.

use std::path::Path;

use rusqlite::Connection;

use super::{Error, Result, Writing};

/// The schema's version, in SQLite's `user_version`.
pub(super) const VERSION: i64 = 5;

/// The version of the store at `path`: 1 to [`VERSION`].
pub(super) fn of(connection: &Connection, path: &Path) -> Result<i64> {
    let pragma = |name: &str| {
        let value = connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        value.map_err(|e| Error::sql("read the version of", path, e))
    };
    match (pragma("user_version")?, pragma("application_id")?) {
        // The first version did not say it twice.
        (1, 0) => Ok(1),
        (version @ 2..=VERSION, mark) if mark == application_id(version) => Ok(version),
        (found, mark) if found > VERSION && mark == application_id(found) => {
            Err(Error::Newer { path: path.to_owned(), found, known: VERSION })
        }
        (version, mark) => Err(Error::Damaged {
            what: path.display().to_string(),
            why: format!("it has the version {version} and the mark {mark:#x}"),
        }),
    }
}

/// Brings a store of an older `version` up to date: rows are the same, but newer ones may say more, and the rules were those of
/// nftables.
pub(super) fn upgrade(connection: &Connection, path: &Path, version: i64, _writing: &Writing) -> Result<()> {
    let mark = application_id(VERSION);
    let index = "CREATE INDEX IF NOT EXISTS draining_by_key ON record (key) WHERE state = 'draining'";
    let firewall = match version {
        1 | 2 => {
            "ALTER TABLE host ADD COLUMN firewall TEXT NOT NULL DEFAULT 'nftables';
             ALTER TABLE host ADD COLUMN former_firewalls TEXT NOT NULL DEFAULT ''"
        }
        _ => "",
    };
    let asks = match version {
        1..=3 => "ALTER TABLE host ADD COLUMN asks_host INTEGER NOT NULL DEFAULT 0",
        _ => "",
    };
    let marks = format!("PRAGMA user_version = {VERSION}; PRAGMA application_id = {mark}");
    let change = format!("BEGIN IMMEDIATE; {index}; {firewall}; {asks}; {marks}; COMMIT");
    connection.execute_batch(&change).map_err(|e| Error::sql("upgrade", path, e))
}

/// SQLite's place for a mark of the application's: `oc` and the version.
pub(super) fn application_id(version: i64) -> i64 {
    (i64::from(u16::from_be_bytes(*b"oc")) << 16) + version
}
