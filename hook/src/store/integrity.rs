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
        // All of it at one moment: others write meanwhile.
        let _moment = self.entries.moment()?;
        self.check_file()?;
        let mut found = BTreeMap::new();
        self.entries.scan(&Span::whole(), |key, body| {
            found.insert(key.encode(), (key, body.to_vec()));
            Ok(ControlFlow::Continue(()))
        })?;
        let mut unread = Unread { found, last: self.last()?.number };
        [EntryKey::Version, EntryKey::Host, EntryKey::Last].iter().try_for_each(|key| unread.take(key, None))?;
        self.host_row()?;
        for network in self.networks()? {
            unread.take(&EntryKey::Network(network.name.clone()), None)?;
            let name = network.name.as_str().as_bytes();
            network.link().map_or(Ok(()), |link| unread.take(&EntryKey::NetworkLink(link.clone()), Some(name)))?;
        }
        for sandbox in self.sandboxes()? {
            unread.take_numbered(EntryKey::Sandbox, sandbox.number, &entries_of(&sandbox)?)?;
            sandbox.endpoints.iter().try_for_each(|endpoint| unread.is_given(endpoint.number))?;
        }
        for draining in self.all_draining()? {
            unread.take_numbered(EntryKey::Draining, draining.endpoint.number, &entries_of_draining(&draining)?)?;
        }
        unread.end()
    }

    /// SQLite's own look at the file.
    fn check_file(&self) -> Result<()> {
        let connection = self.entries.connection;
        let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if let Some(code) = failure_of_check(&verdict) {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(verdict)).into());
        }
        if verdict == "ok" { Ok(()) } else { Err(damaged("the file", verdict)) }
    }
}

/// The entries of which nothing was found yet that has them.
struct Unread {
    found: BTreeMap<Vec<u8>, (EntryKey, Vec<u8>)>,
    /// The last number that was given.
    last: u32,
}

impl Unread {
    /// Takes out the entry of `key`, which has to be there, with that `body` where it follows from others.
    fn take(&mut self, key: &EntryKey, body: Option<&[u8]>) -> Result<()> {
        match self.found.remove(&key.encode()) {
            Some((_, found)) if body.is_none_or(|body| body == found) => Ok(()),
            Some(_) => Err(misplaced(key)),
            None => Err(damaged(key, "it is missing")),
        }
    }

    /// Takes out the entry `of` that number, and those that follow from it.
    fn take_numbered(
        &mut self,
        of: impl Fn(u32) -> EntryKey,
        number: i64,
        entries: &[(EntryKey, Vec<u8>)],
    ) -> Result<()> {
        self.is_given(number)?;
        self.take(&of(number_of(number)?), None)?;
        entries.iter().try_for_each(|(key, body)| self.take(key, Some(body)))
    }

    fn is_given(&self, number: i64) -> Result<()> {
        if number_of(number)? > self.last {
            Err(damaged(format!("number {number}"), "it was not given yet"))
        } else {
            Ok(())
        }
    }

    /// That nothing is left over.
    fn end(self) -> Result<()> {
        let stands_alone = |key: &EntryKey| {
            matches!(key, EntryKey::LastAddress(..) | EntryKey::Change(_) | EntryKey::Past(_) | EntryKey::Kept(_))
        };
        match self.found.into_values().find(|(key, _)| !stands_alone(key)) {
            Some((key, _)) => Err(damaged(key, "no sandbox or network has it")),
            None => Ok(()),
        }
    }
}

/// The error code of a verdict of SQLite's integrity check that says not what is wrong, but that a page could not be
/// read: `unable to get the page. error code=266` (`checkTreePage`, btree.c), and without a code `failed to get page 17`
/// (`checkList`, which has looked before whether the file can have that page). A page beyond the end of the file is
/// damage.
fn failure_of_check(verdict: &str) -> Option<i32> {
    if verdict.contains("failed to get page") {
        return Some(ffi::SQLITE_IOERR_READ);
    }
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
        let list = "*** in database main ***\nFreelist: failed to get page 17";
        assert_eq!(failure_of_check(list), Some(ffi::SQLITE_IOERR_READ));
        assert_eq!(failure_of_check("Freelist: invalid page number 9999"), None);
        assert_eq!((failure_of_check("ok"), failure_of_check("row 1 missing from index x")), (None, None));
    }
}
