//! Stores of version 7: the entries of today but for [`EntryKey::Past`], in a table of another name.

use rusqlite::Connection;

use crate::model::Sandbox;
use crate::store::entries::{Entries, checked, damaged};
use crate::store::key::EntryKey;
use crate::store::read;
use crate::store::version::VERSION;
use crate::store::{Result, SCHEMA};

/// Brings the store up to date, in the transaction of the caller.
pub(super) fn upgrade(connection: &Connection) -> Result<()> {
    connection.execute_batch(SCHEMA)?;
    connection.execute_batch("INSERT INTO entry_8 SELECT key, body FROM entry_7; DROP TABLE entry_7")?;
    Entries { connection }.put(&EntryKey::Version, &VERSION.to_be_bytes())
}

/// Its sandboxes.
pub(super) fn sandboxes(connection: &Connection) -> Result<Vec<Sandbox>> {
    let mut statement = connection.prepare("SELECT key, body FROM entry_7 ORDER BY key")?;
    let mut rows = statement.query([])?;
    let mut sandboxes = Vec::new();
    while let Some(found) = rows.next()? {
        let (key, body): (Vec<u8>, Vec<u8>) = (found.get(0)?, found.get(1)?);
        let body = checked(&key, &body).ok_or_else(|| damaged("an entry", "its checksum does not match"))?;
        if let Some(EntryKey::Sandbox(number)) = EntryKey::decode(&key) {
            sandboxes.push(read::sandbox(number, body)?);
        }
    }
    Ok(sandboxes)
}
