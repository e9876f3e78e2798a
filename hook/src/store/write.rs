use std::net::IpAddr;
use std::ops::Deref;

use rusqlite::{Connection, params};
use serde::Serialize;

use super::read::{Forwarding, Read, address_column, leases_of};
use super::{Error, Result};
use crate::firewall::Kind;
use crate::model::{InterfaceName, Network, NetworkName, PortMapping, Sandbox, State};

/// Changes to the store, inside a transaction. Questions asked here see them.
pub struct Write<'c> {
    connection: &'c Connection,
    read: Read<'c>,
}

impl<'c> Deref for Write<'c> {
    type Target = Read<'c>;

    fn deref(&self) -> &Read<'c> {
        &self.read
    }
}

impl<'c> Write<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, read: Read::new(connection) }
    }

    /// Adds a network.
    ///
    /// # Errors
    /// When its name or bridge is taken.
    pub fn add_network(&self, network: &Network) -> Result<()> {
        let (body, sum) = body(network)?;
        let sql = "INSERT INTO network (name, bridge, body, sum) VALUES (?1, ?2, ?3, ?4)";
        let parameters = params![
            network.name.as_str(),
            network.link().map_or(network.name.as_str(), InterfaceName::as_str),
            body,
            sum
        ];
        self.run(sql, parameters)
    }

    /// Changes a network that is there.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_network(&self, network: &Network) -> Result<()> {
        let (body, sum) = body(network)?;
        let sql = "UPDATE network SET body = ?2, sum = ?3 WHERE name = ?1";
        self.run(sql, params![network.name.as_str(), body, sum])
    }

    /// Remembers who switched IP forwarding on.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_forwarding(&self, forwarding: Forwarding) -> Result<()> {
        let number = match forwarding {
            Forwarding::OfOthers => 0,
            Forwarding::Ours => 1,
            Forwarding::Intended => 2,
        };
        self.run("UPDATE host SET closed_forwarding = ?1", [number])
    }

    /// Remembers whether the host's own rules decide who from outside reaches a published port.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_respect_host_firewall(&self, asks: bool) -> Result<()> {
        self.run("UPDATE host SET asks_host = ?1", [asks])
    }

    /// Remembers who keeps our rules, and who has some that are to go.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_firewall(&self, kind: Kind, former: &[Kind]) -> Result<()> {
        let former = former.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        self.run("UPDATE host SET firewall = ?1, former_firewalls = ?2", params![kind.to_string(), former])
    }

    /// Remembers the address given out last.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_last_address(&self, network: &NetworkName, address: IpAddr) -> Result<()> {
        let parameters = params![network.as_str(), address.to_string()];
        self.run("UPDATE network SET last_address = ?2 WHERE name = ?1", parameters)
    }

    /// Adds `sandbox` with all its leases and gives it its number.
    ///
    /// # Errors
    /// [`Error::is_taken`] where another sandbox holds its key or one of its leases.
    pub fn insert(&self, sandbox: &mut Sandbox) -> Result<()> {
        let sql = "INSERT INTO record (key, container, cookie, state, body, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (body, sum) = body(sandbox)?;
        let (key, cookie) = (sandbox.key().hex(), sandbox.namespace.cookie.cast_signed());
        self.run(sql, params![key, sandbox.container.as_str(), cookie, sandbox.state.to_string(), body, sum])?;
        sandbox.number = self.connection.last_insert_rowid();
        for (kind, network, value) in leases_of(sandbox) {
            self.run("INSERT INTO lease VALUES (?1, ?2, ?3, ?4)", params![kind, network, value, sandbox.number])?;
        }
        sandbox.publish.iter().try_for_each(|mapping| self.add_port(mapping, sandbox.number))
    }

    /// Changes the state of `sandbox`. Draining frees its ports: nothing of the host leads to it any more.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_state(&self, sandbox: &mut Sandbox, state: State) -> Result<()> {
        sandbox.state = state;
        if state == State::Draining {
            sandbox.publish.clear();
            self.run("DELETE FROM port WHERE record = ?1", [sandbox.number])?;
        }
        let (body, sum) = body(sandbox)?;
        let parameters = params![sandbox.number, state.to_string(), body, sum];
        self.run("UPDATE record SET state = ?2, body = ?3, sum = ?4 WHERE number = ?1", parameters)
    }

    /// Removes a sandbox with all its leases; none there is no error.
    ///
    /// # Errors
    /// When the store fails.
    pub fn remove(&self, number: i64) -> Result<()> {
        for sql in ["lease WHERE record", "port WHERE record", "record WHERE number"] {
            self.run(&format!("DELETE FROM {sql} = ?1"), [number])?;
        }
        Ok(())
    }

    fn add_port(&self, mapping: &PortMapping, sandbox: i64) -> Result<()> {
        let PortMapping { protocol, host_address, host_port, .. } = mapping;
        let (first, last) = (*host_port, mapping.last_host_port());
        let parameters = params![protocol.to_string(), first, last, address_column(*host_address), sandbox];
        self.run("INSERT INTO port VALUES (?1, ?2, ?3, ?4, ?5)", parameters)
    }

    fn run(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<()> {
        self.connection.prepare_cached(sql)?.execute(parameters)?;
        Ok(())
    }
}

fn body(value: &impl Serialize) -> Result<(String, i64)> {
    let body = serde_json::to_string(value)
        .map_err(|error| Error::Damaged { what: "a new row".into(), why: error.to_string() })?;
    let sum = crc32fast::hash(body.as_bytes()).into();
    Ok((body, sum))
}
