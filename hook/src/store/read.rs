use std::net::IpAddr;
use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, Row, ffi, params};
use serde::de::DeserializeOwned;

use super::{Error, Result};
use crate::firewall::Kind;
use crate::model::{HostAddress, Key, Mac, Network, NetworkName, PortMapping, Protocol, Sandbox, State};

/// The holder of a port that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The number of the sandbox.
    pub number: i64,
    /// The first of the ports in question that it holds.
    pub port: u16,
}

/// Ports in a row that a sandbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRun {
    /// The number of the sandbox.
    pub number: i64,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// Who switched IP forwarding on. Where we did or were about to, rules close the host to what is not for our networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarding {
    /// Another program or a person, if it is on.
    OfOthers,
    /// We were about to switch it on, when it was off.
    Intended,
    /// We switched it on.
    Ours,
}

/// What holds on the whole host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRow {
    /// Who keeps our rules; none until a container needs some.
    pub firewall: Option<Kind>,
    /// Who has rules of ours that are to go.
    pub former_firewalls: Vec<Kind>,
    /// Who switched IP forwarding on.
    pub forwarding: Forwarding,
    /// Whether the host's own rules decide who from outside reaches a published port.
    pub respect_host_firewall: bool,
}

/// The numbers that sandboxes have: SQLite counts up from 1.
const NUMBERS: RangeInclusive<i64> = 1..=u32::MAX as i64;

/// Questions to the store.
pub struct Read<'c> {
    connection: &'c Connection,
}

impl<'c> Read<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection }
    }

    /// The sandbox of `key`, unless it is draining.
    ///
    /// # Errors
    /// When the store fails or the row is damaged.
    pub fn find(&self, key: &Key) -> Result<Option<Sandbox>> {
        self.one("SELECT number, body, sum FROM record WHERE key = ?1 AND state <> 'draining'", key.hex())
    }

    /// The draining sandboxes of `key`.
    ///
    /// # Errors
    /// When the store fails or a row is damaged.
    pub fn draining_of(&self, key: &Key) -> Result<Vec<Sandbox>> {
        self.many(
            "SELECT number, body, sum FROM record WHERE key = ?1 AND state = 'draining' ORDER BY number",
            params![key.hex()],
        )
    }

    /// The sandbox whose namespace has `cookie`, unless it is draining.
    ///
    /// # Errors
    /// When the store fails or the row is damaged.
    pub fn find_by_cookie(&self, cookie: u64) -> Result<Option<Sandbox>> {
        let sql = "SELECT number, body, sum FROM record WHERE cookie = ?1 AND state <> 'draining'";
        self.one(sql, cookie.cast_signed())
    }

    /// The number of the draining sandbox whose namespace has `cookie`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn draining_in(&self, cookie: u64) -> Result<Option<i64>> {
        let sql = "SELECT number FROM record WHERE cookie = ?1 AND state = 'draining' LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([cookie.cast_signed()], |row| row.get(0)).optional()?)
    }

    /// The sandbox of that number.
    ///
    /// # Errors
    /// When the store fails or the row is damaged.
    pub fn sandbox(&self, number: i64) -> Result<Option<Sandbox>> {
        self.one("SELECT number, body, sum FROM record WHERE number = ?1", number)
    }

    /// All sandboxes.
    ///
    /// # Errors
    /// When the store fails or a row is damaged.
    pub fn sandboxes(&self) -> Result<Vec<Sandbox>> {
        self.many("SELECT number, body, sum FROM record ORDER BY number", params![])
    }

    /// The first `count` sandboxes whose numbers are greater than `after`.
    ///
    /// # Errors
    /// When the store fails or a row is damaged.
    pub fn sandboxes_after(&self, after: i64, count: u32) -> Result<Vec<Sandbox>> {
        let sql = "SELECT number, body, sum FROM record WHERE number > ?1 ORDER BY number LIMIT ?2";
        self.many(sql, params![after, count])
    }

    /// The numbers of the sandboxes that are attached, or were and are being detached; in their order.
    ///
    /// # Errors
    /// When the store fails.
    pub fn standing(&self) -> Result<Vec<i64>> {
        let sql = "SELECT number FROM record WHERE state IN (?1, ?2) ORDER BY number";
        let mut statement = self.connection.prepare_cached(sql)?;
        let states = [State::Attached.to_string(), State::Detaching.to_string()];
        let numbers = statement.query_map(states, |row| row.get(0))?;
        Ok(numbers.collect::<rusqlite::Result<_>>()?)
    }

    /// The network of that name.
    ///
    /// # Errors
    /// When the store fails or the row is damaged.
    pub fn network(&self, name: &NetworkName) -> Result<Option<Network>> {
        let mut statement = self.connection.prepare_cached("SELECT body, sum FROM network WHERE name = ?1")?;
        let row = statement.query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        row.map(|(body, sum): (String, i64)| checked(&body, sum, || format!("network {name}"))).transpose()
    }

    /// All networks.
    ///
    /// # Errors
    /// When the store fails or a row is damaged.
    pub fn networks(&self) -> Result<Vec<Network>> {
        let mut statement = self.connection.prepare_cached("SELECT body, sum FROM network ORDER BY name")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.map(|row| {
            let (body, sum): (String, i64) = row?;
            checked(&body, sum, || "a network".into())
        })
        .collect()
    }

    /// What holds on the whole host.
    ///
    /// # Errors
    /// When the store fails or the row is damaged.
    pub fn host_row(&self) -> Result<HostRow> {
        let sql = "SELECT firewall, former_firewalls, closed_forwarding, asks_host FROM host";
        let mut statement = self.connection.prepare_cached(sql)?;
        let (now, former, forwarding, respect_host_firewall): (String, String, i64, _) =
            statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let forwarding = match forwarding {
            0 => Forwarding::OfOthers,
            1 => Forwarding::Ours,
            2 => Forwarding::Intended,
            other => {
                return Err(Error::Damaged {
                    what: "the host's row".into(),
                    why: format!("{other} is no state of forwarding"),
                });
            }
        };
        Ok(HostRow {
            firewall: kinds(&now)?.pop(),
            former_firewalls: kinds(&former)?,
            forwarding,
            respect_host_firewall,
        })
    }

    /// The address given out last in `network`, after which the search for the next begins.
    ///
    /// # Errors
    /// When the store fails.
    pub fn last_address(&self, network: &NetworkName) -> Result<Option<IpAddr>> {
        let mut statement = self.connection.prepare_cached("SELECT last_address FROM network WHERE name = ?1")?;
        let text: Option<Option<String>> = statement.query_row([network.as_str()], |row| row.get(0)).optional()?;
        Ok(text.flatten().and_then(|text| text.parse().ok()))
    }

    /// The sandbox that holds `address` in `network`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn address_holder(&self, network: &NetworkName, address: IpAddr) -> Result<Option<i64>> {
        self.lease("address", network.as_str(), &address.to_string())
    }

    /// The sandbox that holds `mac` in `network`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn mac_holder(&self, network: &NetworkName, mac: Mac) -> Result<Option<i64>> {
        self.lease("mac", network.as_str(), &mac.to_string())
    }

    /// Whether no sandbox holds anything that `sandbox` would lease: then it is unknown here.
    ///
    /// # Errors
    /// When the store fails.
    pub fn holds_none_of(&self, sandbox: &Sandbox) -> Result<bool> {
        for (kind, network, value) in leases_of(sandbox) {
            if self.lease(kind, &network, &value)?.is_some() {
                return Ok(false);
            }
        }
        Ok(self.find(&sandbox.key())?.is_none())
    }

    /// Proves that the store is whole: the file, every row, and that what is leased is what the sandboxes say.
    ///
    /// # Errors
    /// [`Error::is_damage`] where it is not.
    pub fn integrity(&self) -> Result<()> {
        let damaged = |why: String| Err(Error::Damaged { what: "the file".into(), why });
        // All of it at one moment: others write meanwhile.
        let _moment = self.connection.unchecked_transaction()?;
        let verdict: String = self.connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if let Some(code) = failure_of_check(&verdict) {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(verdict)).into());
        }
        if verdict != "ok" {
            return damaged(verdict);
        }
        let (mut leases, mut ports) = (0, 0_i64);
        for sandbox in self.sandboxes()? {
            for (kind, network, value) in leases_of(&sandbox) {
                if self.lease(kind, &network, &value)? != Some(sandbox.number) {
                    return damaged(format!("{kind} {value} is not leased to container {}", sandbox.container));
                }
                leases += 1;
            }
            ports += i64::try_from(sandbox.publish.len()).unwrap_or(i64::MAX);
        }
        self.networks()?;
        self.host_row()?;
        let count = |table: &str| -> Result<i64> {
            Ok(self.connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
        };
        match (count("lease")?, count("port")?) {
            held if held == (leases, ports) => Ok(()),
            (l, p) => damaged(format!("{l} leases and {p} ports are held, but {leases} and {ports} recorded")),
        }
    }

    /// Who holds any of the ports from `first` to `last`; `Any` overlaps every address.
    ///
    /// # Errors
    /// When the store fails.
    pub fn port_holder(
        &self,
        protocol: Protocol,
        address: HostAddress,
        first: u16,
        last: u16,
    ) -> Result<Option<Owner>> {
        let held = self.held_ports(protocol, address, first, last)?;
        let owners = held.iter().map(|run| Owner { number: run.number, port: run.first.max(first) });
        Ok(owners.min_by_key(|owner| owner.port))
    }

    /// The runs of ports that have any of those from `first` to `last`; `Any` overlaps every address.
    ///
    /// # Errors
    /// When the store fails.
    pub fn held_ports(&self, protocol: Protocol, address: HostAddress, first: u16, last: u16) -> Result<Vec<PortRun>> {
        // Runs that begin below and reach up to `first`, of which there are few, and then what begins within.
        let sql = "SELECT record, first, last FROM port
            WHERE protocol = ?1 AND last > first AND first BETWEEN ?4 AND ?2 - 1 AND last >= ?2
                AND (address = ?5 OR address = '' OR ?5 = '')
            UNION ALL SELECT record, first, last FROM port
            WHERE protocol = ?1 AND first BETWEEN ?2 AND ?3 AND (address = ?5 OR address = '' OR ?5 = '')";
        let mut statement = self.connection.prepare_cached(sql)?;
        let lowest = first.saturating_sub(PortMapping::MAX_COUNT);
        let parameters = params![protocol.to_string(), first, last, lowest, address_column(address)];
        let run = |row: &Row<'_>| Ok(PortRun { number: row.get(0)?, first: row.get(1)?, last: row.get(2)? });
        Ok(statement.query_map(parameters, run)?.collect::<rusqlite::Result<_>>()?)
    }

    fn lease(&self, kind: &str, network: &str, value: &str) -> Result<Option<i64>> {
        let sql = "SELECT record FROM lease WHERE kind = ?1 AND network = ?2 AND value = ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([kind, network, value], |row| row.get(0)).optional()?)
    }

    fn one(&self, sql: &str, parameter: impl rusqlite::ToSql) -> Result<Option<Sandbox>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([parameter])?;
        rows.next()?.map(sandbox).transpose()
    }

    fn many(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<Sandbox>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(parameters)?;
        let mut sandboxes = Vec::new();
        while let Some(row) = rows.next()? {
            sandboxes.push(sandbox(row)?);
        }
        // A flipped number leaves its row where it was.
        if sandboxes.windows(2).any(|pair: &[Sandbox]| pair[0].number >= pair[1].number) {
            return Err(Error::Damaged { what: "the order of records".into(), why: "a number is another".into() });
        }
        Ok(sandboxes)
    }
}

fn kinds(words: &str) -> Result<Vec<Kind>> {
    let damaged = |word| Error::Damaged { what: "the host's row".into(), why: format!("{word:?} is no firewall") };
    words.split_whitespace().map(|word| word.parse().map_err(|()| damaged(word))).collect()
}

/// What exists once and `sandbox` has: kind, network and value.
pub(super) fn leases_of(sandbox: &Sandbox) -> Vec<(&'static str, String, String)> {
    let mut leases = Vec::new();
    for endpoint in &sandbox.endpoints {
        let network = endpoint.network.to_string();
        leases.extend(endpoint.addresses.iter().map(|net| ("address", network.clone(), net.addr().to_string())));
        leases.push(("mac", network, endpoint.mac.to_string()));
        leases.extend(endpoint.wire.host_link().map(|link| ("link", String::new(), link.to_string())));
    }
    leases
}

pub(super) fn address_column(address: HostAddress) -> String {
    Option::<IpAddr>::from(address).map(|ip| ip.to_string()).unwrap_or_default()
}

fn sandbox(row: &Row<'_>) -> Result<Sandbox> {
    let (number, body, sum): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let what = || format!("record {number}");
    // The number is no part of what was summed up; locks are made of it.
    if !NUMBERS.contains(&number) {
        return Err(Error::Damaged { what: what(), why: "it has no such number".into() });
    }
    let sandbox: Sandbox = checked(&body, sum, what)?;
    Ok(Sandbox { number, ..sandbox })
}

/// Reads a body and proves it whole: an address in a flipped row would be given out twice.
fn checked<T: DeserializeOwned>(body: &str, sum: i64, what: impl Fn() -> String) -> Result<T> {
    let damaged = |why: String| Error::Damaged { what: what(), why };
    if i64::from(crc32fast::hash(body.as_bytes())) != sum {
        return Err(damaged("its checksum does not match".into()));
    }
    serde_json::from_str(body).map_err(|error| damaged(error.to_string()))
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
