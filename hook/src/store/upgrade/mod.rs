//! Stores of earlier versions: how they are read, and how one becomes a store of this version.
//!
//! Versions 1 to 5 had a table for each kind of row. They differ in the columns of `host`, as [`HOST`] says side by side, and in
//! what bodies leave out. The other columns and tables repeat what the bodies say: leases and ports are made anew of them.
//!
//! It happens in the file itself, in one transaction. A process that is killed leaves a journal, with which the next opener, of
//! either release, goes back to the store as it was. A hook of an earlier release that has the file open finds its tables gone,
//! looks for the version, and ends with the sentence that the store is newer; nothing is set aside. Before, the upgrade waits
//! until no process works on a container (`Store::open`), so that such a hook is not in the middle of its work.

mod rows;

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde::de::DeserializeOwned;

use self::rows::{NetworkRow, SandboxRow};
use super::bodies::Last;
use super::entries::damaged;
use super::version::{self, LAST_OF_TABLES};
use super::{Error, Forwarding, HostRow, Result, SCHEMA, Write, Writing};
use crate::firewall::Kind;
use crate::model::{Network, Sandbox};

/// How the row of `host` is read: who switched forwarding on, who keeps the rules and who did, whether the host's rules are asked.
const HOST: [(RangeInclusive<u32>, &str); 3] = [
    // Rules were those of nftables.
    (1..=2, "SELECT closed_forwarding, 'nftables', '', 0 FROM host"),
    (3..=3, "SELECT closed_forwarding, firewall, former_firewalls, 0 FROM host"),
    (4..=LAST_OF_TABLES, "SELECT closed_forwarding, firewall, former_firewalls, asks_host FROM host"),
];

/// Networks, with the address given out last.
const NETWORKS: &str = "SELECT body, sum, last_address FROM network ORDER BY name";

/// Sandboxes.
const SANDBOXES: &str = "SELECT body, sum, number FROM record ORDER BY number";

/// The last number that a sandbox got.
const LAST_NUMBER: &str = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'record'";

/// What is made of them.
const DROP: &str = "DROP TABLE host; DROP TABLE network; DROP TABLE record; DROP TABLE lease; DROP TABLE port;
    DELETE FROM sqlite_sequence";

/// Brings the store at `path`, which has an earlier `version`, up to date.
pub(super) fn upgrade(connection: &mut Connection, path: &Path, _writing: &Writing) -> Result<()> {
    let failed = |e| Error::sql("upgrade", path, e);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let version = version::of(&transaction, path)?;
    if version <= LAST_OF_TABLES {
        from_tables(&transaction, version)?;
    }
    transaction.commit().map_err(failed)
}

fn from_tables(transaction: &Transaction<'_>, version: u32) -> Result<()> {
    let (row, networks) = (host_row(transaction, version)?, networks(transaction)?);
    let (sandboxes, last) = (sandboxes(transaction)?, last_number(transaction)?);
    transaction.execute_batch(DROP)?;
    transaction.execute_batch(SCHEMA)?;
    let write = Write::new(transaction);
    write.begin(&row, Last { sandbox: last, change: 0 })?;
    for (network, last_address) in &networks {
        write.add_network(network)?;
        last_address.map_or(Ok(()), |address| write.set_last_address(&network.name, address))?;
    }
    sandboxes.iter().try_for_each(|sandbox| write.restore(sandbox))
}

fn host_row(connection: &Connection, version: u32) -> Result<HostRow> {
    let sql = HOST.iter().find_map(|(versions, sql)| versions.contains(&version).then_some(*sql));
    let sql = sql.ok_or_else(|| damaged("the host's row", "no version has it"))?;
    let (forwarding, now, former, respect_host_firewall): (i64, String, String, bool) =
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let forwarding = match forwarding {
        0 => Forwarding::OfOthers,
        1 => Forwarding::Ours,
        2 => Forwarding::Intended,
        other => return Err(damaged("the host's row", format!("{other} is no state of forwarding"))),
    };
    let former_firewalls = kinds(&former)?;
    Ok(HostRow { firewall: kinds(&now)?.pop(), former_firewalls, forwarding, respect_host_firewall })
}

fn kinds(words: &str) -> Result<Vec<Kind>> {
    let unknown = |word| damaged("the host's row", format!("{word:?} is no firewall"));
    words.split_whitespace().map(|word| word.parse().map_err(|()| unknown(word))).collect()
}

fn networks(connection: &Connection) -> Result<Vec<(Network, Option<IpAddr>)>> {
    let mut statement = connection.prepare(NETWORKS)?;
    let mut rows = statement.query([])?;
    let mut networks = Vec::new();
    while let Some(row) = rows.next()? {
        let (body, sum, last): (String, i64, Option<String>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let network: NetworkRow = checked(&body, sum, "a network")?;
        networks.push((network.into(), last.and_then(|text| text.parse().ok())));
    }
    Ok(networks)
}

/// The sandboxes of a store of an earlier version.
pub(super) fn sandboxes(connection: &Connection) -> Result<Vec<Sandbox>> {
    let mut statement = connection.prepare(SANDBOXES)?;
    let mut rows = statement.query([])?;
    let mut sandboxes: Vec<Sandbox> = Vec::new();
    while let Some(row) = rows.next()? {
        let (body, sum, number): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let what = format!("record {number}");
        // The number is no part of what was summed up, and a flipped one leaves its row where it was.
        let after = sandboxes.last().map_or(0, |earlier| earlier.number);
        let known = u32::try_from(number).ok().filter(|_| number > after);
        let number = known.ok_or_else(|| damaged(&what, "it has no such number"))?;
        sandboxes.push(checked::<SandboxRow>(&body, sum, &what)?.sandbox(number));
    }
    Ok(sandboxes)
}

fn last_number(connection: &Connection) -> Result<u32> {
    let last: i64 = connection.query_row(LAST_NUMBER, [], |row| row.get(0))?;
    u32::try_from(last).map_err(|error| damaged("the last number", error))
}

/// Reads a body and proves it whole: an address in a flipped row would be given out twice.
fn checked<T: DeserializeOwned>(body: &str, sum: i64, what: &str) -> Result<T> {
    if i64::from(crc32fast::hash(body.as_bytes())) != sum {
        return Err(damaged(what, "its checksum does not match"));
    }
    serde_json::from_str(body).map_err(|error| damaged(what, error))
}
