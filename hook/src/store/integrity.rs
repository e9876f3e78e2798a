//! The proof that a store is whole.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rusqlite::ffi;

use super::bodies::{entries_of, entries_of_draining, number_of};
use super::entries::damaged;
use super::key::{EntryKey, Span};
use super::read::misplaced;
use super::{Read, Result};

impl Read<'_> {
    /// Proves that the store is whole: the file, every entry, and that what is leased is what the sandboxes say.
    ///
    /// # Errors
    /// [`Error::is_damage`](super::Error::is_damage) where it is not.
    pub fn integrity(&self) -> Result<()> {
        let connection = self.entries.connection;
        // All of it at one moment: others write meanwhile.
        let _moment = self.entries.moment()?;
        let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if let Some(code) = failure_of_check(&verdict) {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(verdict)).into());
        }
        if verdict != "ok" {
            return Err(damaged("the file", verdict));
        }
        let mut found = BTreeMap::new();
        self.entries.scan(&Span::whole(), |key, body| {
            found.insert(key.encode(), (key, body.to_vec()));
            Ok(ControlFlow::Continue(()))
        })?;
        let mut has = |key: &EntryKey, body: Option<&[u8]>| match found.remove(&key.encode()) {
            Some((_, found)) if body.is_none_or(|body| body == found) => Ok(()),
            Some(_) => Err(misplaced(key)),
            None => Err(damaged(key, "it is missing")),
        };
        [EntryKey::Version, EntryKey::Host, EntryKey::Last].iter().try_for_each(|key| has(key, None))?;
        self.host_row()?;
        for network in self.networks()? {
            has(&EntryKey::Network(network.name.clone()), None)?;
            let name = network.name.as_str().as_bytes();
            network.link().map_or(Ok(()), |link| has(&EntryKey::NetworkLink(link.clone()), Some(name)))?;
        }
        let last = self.last()?;
        let is_given = |number: u32, key: EntryKey| {
            if number > last.number { Err(damaged(key, "its number was not given yet")) } else { Ok(()) }
        };
        for sandbox in self.sandboxes()? {
            let number = number_of(sandbox.number)?;
            has(&EntryKey::Sandbox(number), None)?;
            is_given(number, EntryKey::Sandbox(number))?;
            for endpoint in &sandbox.endpoints {
                is_given(number_of(endpoint.number)?, EntryKey::Sandbox(number))?;
            }
            entries_of(&sandbox)?.iter().try_for_each(|(key, body)| has(key, Some(body)))?;
        }
        for draining in self.all_draining()? {
            let number = number_of(draining.endpoint.number)?;
            has(&EntryKey::Draining(number), None)?;
            is_given(number, EntryKey::Draining(number))?;
            entries_of_draining(&draining)?.iter().try_for_each(|(key, body)| has(key, Some(body)))?;
        }
        match found.into_values().find(|(key, _)| !matches!(key, EntryKey::LastAddress(_) | EntryKey::Change(_))) {
            Some((key, _)) => Err(damaged(key, "no sandbox or network has it")),
            None => Ok(()),
        }
    }
}

/// The error code of a verdict of SQLite's integrity check that says not what is wrong, but that a page could not be read:
/// `unable to get the page. error code=266` (`checkTreePage`, btree.c). A page beyond the end of the file is damage.
fn failure_of_check(verdict: &str) -> Option<i32> {
    let (_, code) = verdict.rsplit_once("error code=")?;
    let code: i32 = code.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    let failed = matches!(code & 0xff, ffi::SQLITE_IOERR | ffi::SQLITE_NOMEM | ffi::SQLITE_BUSY | ffi::SQLITE_CANTOPEN);
    (failed && code != ffi::SQLITE_IOERR_SHORT_READ).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_cannot_be_read_is_no_damage() {
        let verdict = |code| {
            failure_of_check(&format!(
                "*** in database main ***\nTree 12 page 12: unable to get the page. error code={code}"
            ))
        };
        assert_eq!((verdict(266), verdict(7)), (Some(266), Some(7)));
        assert_eq!((verdict(11), verdict(522)), (None, None));
        assert_eq!((failure_of_check("ok"), failure_of_check("row 1 missing from index x")), (None, None));
    }
}
