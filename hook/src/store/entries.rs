use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::key::{EntryKey, Span};
use super::{Error, Result};

const INSERT: &str = "INSERT INTO entry_8 VALUES (?1, ?2)";

/// The table of the store, in which each body ends with the CRC-32 of its key and itself.
#[derive(Clone, Copy)]
pub(super) struct Entries<'c> {
    pub connection: &'c Connection,
}

impl<'c> Entries<'c> {
    /// Keeps what is read the same until it is dropped: where one entry leads to another, a writer could remove that
    /// meanwhile. Inside a transaction it is the same anyway.
    pub fn moment(self) -> Result<Option<Transaction<'c>>> {
        Ok(if self.connection.is_autocommit() { Some(self.connection.unchecked_transaction()?) } else { None })
    }

    /// The body of `key`, proved to be whole; none where there is none.
    pub fn get(self, key: &EntryKey) -> Result<Option<Vec<u8>>> {
        let bytes = key.encode();
        let mut statement = self.connection.prepare_cached("SELECT body FROM entry_8 WHERE key = ?1")?;
        let body = statement.query_row([&bytes[..]], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        body.map(|mut body| {
            let length = checked(&bytes, &body).ok_or_else(|| unlike(key))?.len();
            body.truncate(length);
            Ok(body)
        })
        .transpose()
    }

    /// Gives `each` the entries of `span` in their order, until it breaks off.
    pub fn scan(self, span: &Span, mut each: impl FnMut(EntryKey, &[u8]) -> Result<ControlFlow<()>>) -> Result<()> {
        let sql = "SELECT key, body FROM entry_8 WHERE key >= ?1 AND key < ?2 ORDER BY key";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([&span.first[..], &span.below[..]])?;
        while let Some(row) = rows.next()? {
            let (bytes, body) = (row.get_ref(0)?, row.get_ref(1)?);
            let (bytes, body) = (bytes.as_blob().map_err(no_blob)?, body.as_blob().map_err(no_blob)?);
            let key = EntryKey::decode(bytes).ok_or_else(|| damaged("an entry", "it has no such key"))?;
            let body = checked(bytes, body).ok_or_else(|| unlike(&key))?;
            if each(key, body)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Adds an entry. Where its key is there already, [`Error::is_taken`] says so.
    pub fn add(self, key: &EntryKey, body: &[u8]) -> Result<()> {
        self.write(INSERT, [(key, body)])
    }

    /// The same for many.
    pub fn add_all<'e>(self, entries: impl IntoIterator<Item = (&'e EntryKey, &'e [u8])>) -> Result<()> {
        self.write(INSERT, entries)
    }

    /// Adds an entry, or gives it another body.
    pub fn put(self, key: &EntryKey, body: &[u8]) -> Result<()> {
        self.write("REPLACE INTO entry_8 VALUES (?1, ?2)", [(key, body)])
    }

    /// Removes an entry; none there is no error.
    pub fn remove(self, key: &EntryKey) -> Result<()> {
        self.connection.prepare_cached("DELETE FROM entry_8 WHERE key = ?1")?.execute([&key.encode()[..]])?;
        Ok(())
    }

    fn write<'e>(self, sql: &str, entries: impl IntoIterator<Item = (&'e EntryKey, &'e [u8])>) -> Result<()> {
        let mut statement = self.connection.prepare_cached(sql)?;
        for (key, body) in entries {
            let key = key.encode();
            let body = [body, &sum(&key, body)].concat();
            statement.execute([&key[..], &body[..]])?;
        }
        Ok(())
    }
}

/// That what is stored is not what was written.
pub(super) fn damaged(what: impl ToString, why: impl ToString) -> Error {
    Error::Damaged { what: what.to_string(), why: why.to_string() }
}

fn unlike(key: &EntryKey) -> Error {
    damaged(key, "its checksum does not match")
}

fn no_blob(error: rusqlite::types::FromSqlError) -> Error {
    damaged("an entry", error)
}

fn sum(key: &[u8], body: &[u8]) -> [u8; 4] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(key);
    sum.update(body);
    sum.finalize().to_be_bytes()
}

/// A body without its checksum; none where that is another.
pub(super) fn checked<'b>(key: &[u8], stored: &'b [u8]) -> Option<&'b [u8]> {
    let (body, found) = stored.split_last_chunk::<4>()?;
    (*found == sum(key, body)).then_some(body)
}
