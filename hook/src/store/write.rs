use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::{ControlFlow, Deref};

use rusqlite::Connection;

use super::bodies::{
    Last, NETWORKS, Past, entries_of, entries_of_draining, json, keys_of, keys_of_draining, leases_of, number_of,
    ports_of,
};
use super::key::{EntryKey, Span, address_bytes};
use super::read::Read;
use super::version::VERSION;
use super::{Forwarding, HostRow, Result};
use crate::firewall::Kind;
use crate::model::{
    ChangedSetting, DrainingEndpoint, Endpoint, Family, FileIdentity, KeptConnection, KeptContainer, Key, Network,
    NetworkName, Options, Sandbox, State,
};

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
        network.link().map_or(Ok(()), |link| self.entries.add(&EntryKey::NetworkLink(link.clone()), name))?;
        self.note(NETWORKS, self.last()?)?;
        self.note_rules_of(network)
    }

    /// Removes a network on which no endpoint is; none there is no error.
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn remove_network(&self, name: &NetworkName) -> Result<()> {
        let Some(network) = self.network(name)? else { return Ok(()) };
        self.entries.remove(&EntryKey::Network(name.clone()))?;
        for family in Family::ALL {
            self.entries.remove(&EntryKey::LastAddress(name.clone(), family))?;
        }
        network.link().map_or(Ok(()), |link| self.entries.remove(&EntryKey::NetworkLink(link.clone())))?;
        self.note(NETWORKS, self.last()?)?;
        self.note_rules_of(&network)
    }

    /// Remembers whether the networks in the store call for the rules that `network`, which came or went, may call for.
    fn note_rules_of(&self, network: &Network) -> Result<()> {
        let Options { internal, .. } = *network.options;
        if !internal && !network.is_addressed() && !network.has_ipv6() {
            return Ok(());
        }
        let networks = self.networks()?;
        let has_internal = networks.iter().any(|network| network.options.internal);
        let has_addressed = networks.iter().any(Network::is_addressed);
        let has_ipv6 = networks.iter().any(Network::has_ipv6);
        self.set_host_row(&HostRow { has_internal, has_addressed, has_ipv6, ..self.host_row()? })
    }

    /// Changes a network that is there; its link stays the same.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_network(&self, network: &Network) -> Result<()> {
        self.entries.put(&EntryKey::Network(network.name.clone()), &json(network)?)?;
        self.note(NETWORKS, self.last()?)
    }

    /// Remembers who switched forwarding of `family` on.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_forwarding(&self, family: Family, forwarding: Forwarding) -> Result<()> {
        let row = self.host_row()?;
        self.set_host_row(&match family {
            Family::V4 => HostRow { forwarding, ..row },
            Family::V6 => HostRow { forwarding6: forwarding, ..row },
        })
    }

    /// Remembers settings that we are about to change. Of one that is known, the value that it had first stays.
    ///
    /// # Errors
    /// When the store fails.
    pub fn add_changed(&self, changes: &[ChangedSetting]) -> Result<()> {
        let mut row = self.host_row()?;
        let is_new = |change: &&ChangedSetting| !row.changed.iter().any(|known| known.key == change.key);
        let new: Vec<ChangedSetting> = changes.iter().filter(is_new).cloned().collect();
        row.changed.extend(new);
        self.set_host_row(&row)
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

    /// Remembers the address given out last of its family.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_last_address(&self, network: &NetworkName, address: IpAddr) -> Result<()> {
        self.entries.put(&EntryKey::LastAddress(network.clone(), Family::of(address)), &address_bytes(address))
    }

    /// Adds `sandbox` with all its leases and numbers it and its endpoints, as no other was in this store.
    ///
    /// # Errors
    /// [`Error::is_taken`](super::Error::is_taken) where another holds its key or one of its leases.
    pub fn insert(&self, sandbox: &mut Sandbox) -> Result<()> {
        let mut last = self.last()?;
        let number = last.next()?;
        sandbox.number = number.into();
        for endpoint in &mut sandbox.endpoints {
            endpoint.number = last.next()?.into();
        }
        self.restore(sandbox)?;
        self.note(number, last)
    }

    /// Adds `draining` with its leases and numbers it.
    ///
    /// # Errors
    /// [`Error::is_taken`](super::Error::is_taken) where another holds one of its leases.
    pub fn insert_draining(&self, draining: &mut DrainingEndpoint) -> Result<()> {
        let mut last = self.last()?;
        draining.sandbox = last.next()?.into();
        draining.endpoint.number = last.next()?.into();
        self.entries.put(&EntryKey::Last, &last.encode())?;
        self.restore_draining(draining)
    }

    /// Adds `sandbox` under the numbers that it has, and tells none of those who follow the store.
    pub(super) fn restore(&self, sandbox: &Sandbox) -> Result<()> {
        self.entries.add(&EntryKey::Sandbox(number_of(sandbox.number)?), &json(sandbox)?)?;
        self.entries.add_all(entries_of(sandbox)?.iter().map(|(key, body)| (key, &body[..])))
    }

    /// Adds `draining` under the numbers that it has.
    pub(super) fn restore_draining(&self, draining: &DrainingEndpoint) -> Result<()> {
        self.entries.add(&EntryKey::Draining(number_of(draining.endpoint.number)?), &json(draining)?)?;
        self.entries.add_all(entries_of_draining(draining)?.iter().map(|(key, body)| (key, &body[..])))
    }

    /// Changes the state of `sandbox` and of its endpoints.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_state(&self, sandbox: &mut Sandbox, state: State) -> Result<()> {
        sandbox.set_state(state);
        self.set_sandbox(sandbox)
    }

    /// Adds `endpoint` to `sandbox` with all its leases, and numbers it.
    ///
    /// # Errors
    /// [`Error::is_taken`](super::Error::is_taken) where another holds one of its leases.
    pub fn connect(&self, sandbox: &mut Sandbox, mut endpoint: Endpoint) -> Result<()> {
        let number = number_of(sandbox.number)?;
        let mut last = self.last()?;
        endpoint.number = last.next()?.into();
        let leases: Vec<_> = leases_of(&endpoint, number)?.collect();
        self.entries.add_all(leases.iter().map(|(key, body)| (key, &body[..])))?;
        sandbox.endpoints.push(endpoint);
        self.entries.put(&EntryKey::Sandbox(number), &json(sandbox)?)?;
        self.note(number, last)
    }

    /// Keeps a connection of `sandbox`, so that it is made again with the container's next start, in place of one to the
    /// same network. `directory` is that of its bundle, with which it goes.
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn keep(&self, sandbox: &Sandbox, connection: &KeptConnection, directory: Option<FileIdentity>) -> Result<()> {
        let mut connections = self.kept_connections(&sandbox.keeping_key())?;
        connections.retain(|other| other.network != connection.network);
        connections.push(connection.clone());
        let (container, name, bundle) = (sandbox.container.clone(), sandbox.name.clone(), sandbox.bundle.clone());
        let kept = KeptContainer { container, name, bundle, directory, connections };
        self.entries.put(&EntryKey::Kept(sandbox.keeping_key()), &json(&kept)?)
    }

    /// Keeps no connection to `network` any more, of any container.
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn keep_none_to(&self, network: &NetworkName) -> Result<()> {
        self.keeping()?.iter().try_for_each(|(key, _)| self.keep_no_more(key, Some(network)))
    }

    /// Keeps no connection of the container of `key` to `network` any more; to none at all where it is `None`.
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn keep_no_more(&self, key: &Key, network: Option<&NetworkName>) -> Result<()> {
        let Some(mut kept) = self.kept(key)? else { return Ok(()) };
        let before = kept.connections.len();
        kept.connections.retain(|connection| network.is_some_and(|network| connection.network != *network));
        match kept.connections.len() {
            0 => self.entries.remove(&EntryKey::Kept(*key)),
            after if after == before => Ok(()),
            _ => self.entries.put(&EntryKey::Kept(*key), &json(&kept)?),
        }
    }

    /// Has the endpoint of that number drain, which `sandbox` has no more then; none there is no error.
    ///
    /// # Errors
    /// When the store fails.
    pub fn disconnect(&self, sandbox: &mut Sandbox, endpoint: i64) -> Result<Option<DrainingEndpoint>> {
        let Some(at) = sandbox.endpoints.iter().position(|one| one.number == endpoint) else { return Ok(None) };
        let leaving = sandbox.endpoints.remove(at);
        let draining = DrainingEndpoint::of(sandbox, &leaving);
        let number = number_of(endpoint)?;
        self.entries.add(&EntryKey::Draining(number), &json(&draining)?)?;
        let body = number.to_be_bytes();
        self.entries.add_all(keys_of_draining(&draining, number).iter().map(|key| (key, &body[..])))?;
        self.set_sandbox(sandbox)?;
        Ok(Some(draining))
    }

    /// Changes what `sandbox` says; what it leases stays the same.
    ///
    /// # Errors
    /// When the store fails.
    pub fn set_sandbox(&self, sandbox: &Sandbox) -> Result<()> {
        let number = number_of(sandbox.number)?;
        self.entries.put(&EntryKey::Sandbox(number), &json(sandbox)?)?;
        self.note(number, self.last()?)
    }

    /// Changes what the sandbox `before` says to `after`, and the ports of the host that it holds.
    ///
    /// # Errors
    /// [`Error::is_taken`](super::Error::is_taken) where another holds one of them.
    pub fn set_ports(&self, before: &Sandbox, after: &Sandbox) -> Result<()> {
        let number = number_of(after.number)?;
        ports_of(before, number).try_for_each(|(key, _)| self.entries.remove(&key))?;
        let held: Vec<_> = ports_of(after, number).collect();
        self.entries.add_all(held.iter().map(|(key, body)| (key, &body[..])))?;
        self.set_sandbox(after)
    }

    /// Ends `sandbox`, whose endpoints drain from now on and keep what they lease. Its ports are free: nothing of the
    /// host leads to it any more.
    ///
    /// # Errors
    /// When the store fails.
    pub fn end(&self, sandbox: &Sandbox) -> Result<Vec<DrainingEndpoint>> {
        let number = number_of(sandbox.number)?;
        let ports = ports_of(sandbox, number).map(|(key, _)| key);
        for key in keys_of(sandbox, number).into_iter().chain(ports) {
            self.entries.remove(&key)?;
        }
        self.entries.remove(&EntryKey::Sandbox(number))?;
        let of = |endpoint| DrainingEndpoint::of(sandbox, endpoint);
        let draining: Vec<DrainingEndpoint> = sandbox.endpoints.iter().map(of).collect();
        for one in &draining {
            let number = number_of(one.endpoint.number)?;
            self.entries.add(&EntryKey::Draining(number), &json(one)?)?;
            let body = number.to_be_bytes();
            self.entries.add_all(keys_of_draining(one, number).iter().map(|key| (key, &body[..])))?;
        }
        self.note(number, self.last()?)?;
        Ok(draining)
    }

    /// Removes a sandbox with all its leases; none there is no error.
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn remove(&self, number: i64) -> Result<()> {
        let Some(sandbox) = self.sandbox(number)? else { return Ok(()) };
        let number = number_of(number)?;
        entries_of(&sandbox)?.iter().try_for_each(|(key, _)| self.entries.remove(key))?;
        self.entries.remove(&EntryKey::Sandbox(number))?;
        self.note(number, self.last()?)
    }

    /// Removes a draining endpoint with its leases, and remembers its addresses for when its container comes back. That
    /// it is not there any more, or another has its number, is no error.
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn remove_draining(&self, draining: &DrainingEndpoint) -> Result<()> {
        let number = draining.endpoint.number;
        if self.draining(number)?.as_ref() != Some(draining) {
            return Ok(());
        }
        entries_of_draining(draining)?.iter().try_for_each(|(key, _)| self.entries.remove(key))?;
        self.entries.remove(&EntryKey::Draining(number_of(number)?))?;
        self.remember(draining)
    }

    fn remember(&self, draining: &DrainingEndpoint) -> Result<()> {
        let DrainingEndpoint { key, endpoint, .. } = draining;
        let addresses = endpoint.addresses.iter().map(|net| net.addr()).collect();
        let mut past = self.past(key)?.unwrap_or_else(|| Past { key: *key, addresses: BTreeMap::new() });
        past.addresses.insert(endpoint.network.clone(), addresses);
        self.entries.put(&EntryKey::past_of(key), &json(&past)?)
    }

    fn set_host_row(&self, row: &HostRow) -> Result<()> {
        self.entries.put(&EntryKey::Host, &row.encode()?)
    }

    /// Notes for followers that the sandbox of that number has changed, or a network where it is [`NETWORKS`], and forgets the
    /// oldest change.
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
