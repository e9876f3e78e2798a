//! Stores of versions 1 to 5. They differ in the columns of `host`, as [`HOST`] says side by side, and in what bodies
//! leave out.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use rusqlite::Connection;
use serde::de::DeserializeOwned;

use super::Contents;
use super::rows::{NetworkRow, SandboxRow};
use crate::firewall::Kind;
use crate::model::{Network, Sandbox};
use crate::store::entries::damaged;
use crate::store::version::LAST_OF_TABLES;
use crate::store::{Forwarding, HostRow, Result};

/// How the row of `host` is read: who switched forwarding on, who keeps the rules and who did, whether the host's rules
/// are asked.
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

/// What goes when they were read.
pub(super) const DROP: &str =
    "DROP TABLE host; DROP TABLE network; DROP TABLE record; DROP TABLE lease; DROP TABLE port;
    DELETE FROM sqlite_sequence";

/// All that a store of `version` holds.
pub(super) fn contents(connection: &Connection, version: u32) -> Result<Contents> {
    Ok(Contents {
        row: host_row(connection, version)?,
        networks: networks(connection)?,
        sandboxes: sandboxes(connection)?,
        last: last_number(connection)?,
    })
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
    let firewall = kinds(&now)?.pop();
    Ok(HostRow {
        firewall,
        former_firewalls,
        forwarding,
        respect_host_firewall,
        has_internal: false,
        has_addressed: false,
        ..HostRow::default()
    })
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

/// The sandboxes, in the order of their numbers.
fn sandboxes(connection: &Connection) -> Result<Vec<Sandbox>> {
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
