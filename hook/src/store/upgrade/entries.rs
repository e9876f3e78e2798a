//! Stores of version 6: one table of entries, as today, with other bodies.

use rusqlite::Connection;
use serde::de::DeserializeOwned;

use super::Contents;
use super::rows::{NetworkRow, SandboxRow};
use crate::store::bodies::Last;
use crate::store::entries::{checked, damaged};
use crate::store::key::{EntryKey, address};
use crate::store::{HostRow, Result};

/// What goes when they were read.
pub(super) const DROP: &str = "DROP TABLE entry";

/// All entries, in the order of their keys: a network comes before the address given out last in it.
const ENTRIES: &str = "SELECT key, body FROM entry ORDER BY key";

/// All that a store holds.
pub(super) fn contents(connection: &Connection) -> Result<Contents> {
    let (mut row, mut last) = (None, None);
    let (mut networks, mut sandboxes) = (Vec::new(), Vec::new());
    let mut statement = connection.prepare(ENTRIES)?;
    let mut rows = statement.query([])?;
    while let Some(found) = rows.next()? {
        let (key, body): (Vec<u8>, Vec<u8>) = (found.get(0)?, found.get(1)?);
        let body = checked(&key, &body).ok_or_else(|| damaged("an entry", "its checksum does not match"))?;
        match key_of(&key) {
            Some(EntryKey::Host) => row = Some(HostRow::decode(body)?),
            Some(EntryKey::Last) => last = Last::decode(body),
            Some(EntryKey::Network(_)) => networks.push((parsed::<NetworkRow>(body, "a network")?.into(), None)),
            Some(EntryKey::LastAddress(name, _)) => {
                let network =
                    networks.iter_mut().find(|(network, _): &&mut (crate::model::Network, _)| network.name == name);
                if let Some((_, last)) = network {
                    *last = address(body);
                }
            }
            Some(EntryKey::Sandbox(number)) => {
                sandboxes.push(parsed::<SandboxRow>(body, &format!("record {number}"))?.sandbox(number));
            }
            _ => {}
        }
    }
    let row = row.ok_or_else(|| damaged("the host's row", "it is missing"))?;
    let last = last.ok_or_else(|| damaged("the last number", "it is missing"))?.number;
    Ok(Contents { row, networks, sandboxes, last })
}

/// The key with these bytes, where it is one of those whose entries are read. Others had other bytes than today.
fn key_of(bytes: &[u8]) -> Option<EntryKey> {
    let key = EntryKey::decode(bytes)?;
    let is_as_today = matches!(
        key,
        EntryKey::Host | EntryKey::Last | EntryKey::Network(_) | EntryKey::LastAddress(..) | EntryKey::Sandbox(_)
    );
    is_as_today.then_some(key)
}

fn parsed<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| damaged(what, error))
}
