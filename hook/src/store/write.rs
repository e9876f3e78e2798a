use std::net::IpAddr;
use std::ops::{ControlFlow, Deref};

use rusqlite::Connection;

use super::bodies::{Last, entries_of, json, keys_of, ports_of};
use super::entries::damaged;
use super::key::{EntryKey, Span, address_bytes};
use super::read::Read;
use super::version::VERSION;
use super::{Error, Forwarding, HostRow, Result};
use crate::firewall::Kind;
use crate::model::{Network, NetworkName, Sandbox, State};

/// How many changes are kept. Who follows the store and is further behind reads all of it.
pub(super) const CHANGES: u64 = 1024;

/// Changes to the store, inside a transaction. Questions asked here see them.
pub struct Write<'c> {
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
        Self { read: Read::new(connection) }
    }

    /// Fills a new table with what every store has.
    pub(super) fn begin(&self, row: &HostRow, last: Last) -> Result<()> {
        self.entries.add(&EntryKey::Version, &VERSION.to_be_bytes())?;
        self.entries.add(&EntryKey::Host, &row.encode()?)?;
        self.entries.add(&EntryKey::Last, &last.encode())
    }

    /// Adds a network.
    ///
    /// # Errors
    /// When its name or link is taken.
    pub fn add_network(&self, network: &Network) -> Result<()> {
        let name = network.name.as_str().as_bytes();
        self.entries.add(&EntryKey::Network(network.name.clone()), &json(network)?)?;
        network.link().map_or(Ok(()), |link| self.entries.add(&EntryKey::NetworkLink(link.clone()), name))
    }

    /// Changes a network that is there; its link stays the same.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_network(&self, network: &Network) -> Result<()> {
        self.entries.put(&EntryKey::Network(network.name.clone()), &json(network)?)
    }

    /// Remembers who switched IP forwarding on.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_forwarding(&self, forwarding: Forwarding) -> Result<()> {
        self.set_host_row(&HostRow { forwarding, ..self.host_row()? })
    }

    /// Remembers whether the host's own rules decide who from outside reaches a published port.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_respect_host_firewall(&self, asks: bool) -> Result<()> {
        self.set_host_row(&HostRow { respect_host_firewall: asks, ..self.host_row()? })
    }

    /// Remembers who keeps our rules, and who has some that are to go.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_firewall(&self, kind: Kind, former: &[Kind]) -> Result<()> {
        self.set_host_row(&HostRow { firewall: Some(kind), former_firewalls: former.to_vec(), ..self.host_row()? })
    }

    /// Remembers the address given out last.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_last_address(&self, network: &NetworkName, address: IpAddr) -> Result<()> {
        self.entries.put(&EntryKey::LastAddress(network.clone()), &address_bytes(address))
    }

    /// Adds `sandbox` with all its leases and gives it its number, which no other had in this boot.
    ///
    /// # Errors
    /// [`Error::is_taken`] where another sandbox holds its key or one of its leases.
    pub fn insert(&self, sandbox: &mut Sandbox) -> Result<()> {
        let last = self.last()?;
        let number = last.sandbox.checked_add(1).ok_or_else(|| damaged("the last number", "there is none after it"))?;
        sandbox.number = number.into();
        self.restore(sandbox)?;
        self.note(number, Last { sandbox: number, ..last })
    }

    /// Adds `sandbox` under the number that it has, and tells none of those who follow the store.
    pub(super) fn restore(&self, sandbox: &Sandbox) -> Result<()> {
        let number = number_of(sandbox.number)?;
        self.entries.add(&EntryKey::Sandbox(number), &json(sandbox)?)?;
        entries_of(sandbox, number).try_for_each(|(key, body)| self.entries.add(&key, &body))
    }

    /// Changes the state of `sandbox`. Draining frees its ports: nothing of the host leads to it any more.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_state(&self, sandbox: &mut Sandbox, state: State) -> Result<()> {
        let number = number_of(sandbox.number)?;
        let drains = state == State::Draining && sandbox.state != State::Draining;
        if drains {
            for key in keys_of(sandbox, number).into_iter().chain(ports_of(sandbox, number).map(|(key, _)| key)) {
                self.entries.remove(&key)?;
            }
            sandbox.publish.clear();
        }
        sandbox.state = state;
        if drains {
            let body = number.to_be_bytes();
            keys_of(sandbox, number).iter().try_for_each(|key| self.entries.add(key, &body))?;
        }
        self.entries.put(&EntryKey::Sandbox(number), &json(sandbox)?)?;
        self.note(number, self.last()?)
    }

    /// Removes a sandbox with all its leases; none there is no error.
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn remove(&self, number: i64) -> Result<()> {
        let Some(sandbox) = self.sandbox(number)? else { return Ok(()) };
        let number = number_of(number)?;
        for (key, _) in entries_of(&sandbox, number) {
            self.entries.remove(&key)?;
        }
        self.entries.remove(&EntryKey::Sandbox(number))?;
        self.note(number, self.last()?)
    }

    fn set_host_row(&self, row: &HostRow) -> Result<()> {
        self.entries.put(&EntryKey::Host, &row.encode()?)
    }

    /// Tells those who follow the store that the sandbox of that number is another now, and forgets the oldest change.
    fn note(&self, number: u32, last: Last) -> Result<()> {
        let change = last.change + 1;
        if let Some(oldest @ 1..) = change.checked_sub(CHANGES) {
            self.entries.remove(&EntryKey::Change(oldest))?;
        }
        self.entries.put(&EntryKey::Last, &Last { change, ..last }.encode())?;
        self.entries.add(&EntryKey::Change(change), &number.to_be_bytes())
    }

    /// Forgets every change, so that there is room for the next one.
    pub(super) fn forget_changes(&self) -> Result<()> {
        let mut changes = Vec::new();
        self.entries.scan(&Span::changes(0), |key, _| {
            changes.push(key);
            Ok(ControlFlow::Continue(()))
        })?;
        changes.iter().try_for_each(|key| self.entries.remove(key))
    }
}

/// A number as keys have it.
fn number_of(number: i64) -> Result<u32> {
    let number: Option<u32> = number.try_into().ok().filter(|number| *number > 0);
    number.ok_or_else(|| Error::Damaged { what: "a sandbox".into(), why: "it has no number".into() })
}
