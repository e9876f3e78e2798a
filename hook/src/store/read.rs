use std::net::IpAddr;
use std::ops::ControlFlow;

use rusqlite::Connection;

use super::bodies::{Holder, Last, Past, leased_by, number, parsed};
use super::entries::{Entries, damaged};
use super::key::{EntryKey, Span, address};
use super::{Error, HostRow, Result};
use crate::model::{
    DrainingEndpoint, Endpoint, Family, HostAddress, InterfaceName, KeptConnection, KeptContainer, Key, Mac, Network,
    NetworkName, PortMapping, Protocol, Sandbox,
};

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

/// Questions to the store.
pub struct Read<'c> {
    pub(super) entries: Entries<'c>,
}

impl<'c> Read<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { entries: Entries { connection } }
    }

    /// Asks several questions of one moment.
    ///
    /// # Errors
    /// Those of `questions`, or that the store cannot be read.
    pub fn at_one_moment<T>(&self, questions: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let _moment = self.entries.moment()?;
        questions(self)
    }

    /// The sandbox of `key`.
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn find(&self, key: &Key) -> Result<Option<Sandbox>> {
        let _moment = self.entries.moment()?;
        match self.number_at(&EntryKey::SandboxOf(*key))? {
            Some(number) => self.led_to(number).map(Some),
            None => Ok(None),
        }
    }

    /// The sandbox whose namespace has `cookie`.
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn find_by_cookie(&self, cookie: u64) -> Result<Option<Sandbox>> {
        let _moment = self.entries.moment()?;
        let first = self.first_in(&Span::sandboxes_in(cookie))?;
        first.map(|number| self.led_to(number)).transpose()
    }

    /// The sandbox of that number.
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn sandbox(&self, number: i64) -> Result<Option<Sandbox>> {
        let Ok(number) = u32::try_from(number) else { return Ok(None) };
        let key = EntryKey::Sandbox(number);
        self.entries.get(&key)?.map(|body| sandbox(number, &body)).transpose()
    }

    /// All sandboxes.
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn sandboxes(&self) -> Result<Vec<Sandbox>> {
        self.sandboxes_after(0, u32::MAX)
    }

    /// The first `count` sandboxes whose numbers are greater than `after`.
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn sandboxes_after(&self, after: i64, count: u32) -> Result<Vec<Sandbox>> {
        let after = u32::try_from(after.max(0)).unwrap_or(u32::MAX);
        let mut sandboxes = Vec::new();
        if count > 0 {
            self.entries.scan(&Span::sandboxes(after), |key, body| {
                let EntryKey::Sandbox(number) = key else { return Err(misplaced(&key)) };
                sandboxes.push(sandbox(number, body)?);
                Ok(if sandboxes.len() < count as usize { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
        }
        Ok(sandboxes)
    }

    /// The draining endpoint of that number.
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn draining(&self, number: i64) -> Result<Option<DrainingEndpoint>> {
        let Ok(number) = u32::try_from(number) else { return Ok(None) };
        let key = EntryKey::Draining(number);
        self.entries.get(&key)?.map(|body| draining(number, &body)).transpose()
    }

    /// All draining endpoints.
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn all_draining(&self) -> Result<Vec<DrainingEndpoint>> {
        let mut found = Vec::new();
        self.entries.scan(&Span::draining(), |key, body| {
            let EntryKey::Draining(number) = key else { return Err(misplaced(&key)) };
            found.push(draining(number, body)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// The draining endpoints of the container of `key`.
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn draining_of(&self, key: &Key) -> Result<Vec<DrainingEndpoint>> {
        let _moment = self.entries.moment()?;
        let numbers = self.numbers_in(&Span::draining_of(*key))?.into_iter();
        let led_to = |number: u32| {
            let missing = || damaged(EntryKey::Draining(number), "it is missing");
            self.draining(number.into())?.ok_or_else(missing)
        };
        numbers.map(led_to).collect()
    }

    /// The number of a draining endpoint whose namespace has `cookie`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn draining_in(&self, cookie: u64) -> Result<Option<i64>> {
        Ok(self.first_in(&Span::draining_in(cookie))?.map(i64::from))
    }

    /// The network of that name.
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn network(&self, name: &NetworkName) -> Result<Option<Network>> {
        let key = EntryKey::Network(name.clone());
        self.entries.get(&key)?.map(|body| parsed(&key, &body)).transpose()
    }

    /// All networks.
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn networks(&self) -> Result<Vec<Network>> {
        let mut networks = Vec::new();
        self.entries.scan(&Span::networks(), |key, body| {
            networks.push(parsed(&key, body)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(networks)
    }

    /// What holds on the whole host.
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn host_row(&self) -> Result<HostRow> {
        let body = self.entries.get(&EntryKey::Host)?;
        HostRow::decode(&body.ok_or_else(|| damaged(EntryKey::Host, "it is missing"))?)
    }

    /// The address of `family` given out last in `network`, after which the search for the next begins.
    ///
    /// # Errors
    /// When the store fails.
    pub fn last_address(&self, network: &NetworkName, family: Family) -> Result<Option<IpAddr>> {
        let body = self.entries.get(&EntryKey::LastAddress(network.clone(), family))?;
        Ok(body.and_then(|body| address(&body)))
    }

    /// The addresses that the container of `key` had in `network`; none where that is not remembered any more.
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn past_addresses(&self, key: &Key, network: &NetworkName) -> Result<Vec<IpAddr>> {
        let past = self.past(key)?;
        Ok(past.and_then(|mut past| past.addresses.remove(network)).unwrap_or_default())
    }

    /// The addresses that the container of `key` had.
    pub(super) fn past(&self, key: &Key) -> Result<Option<Past>> {
        let place = EntryKey::past_of(key);
        let past = self.entries.get(&place)?.map(|body| parsed::<Past>(&place, &body)).transpose()?;
        Ok(past.filter(|past| past.key == *key))
    }

    /// The connections that are made again with the next start of the container of `key`.
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn kept_connections(&self, key: &Key) -> Result<Vec<KeptConnection>> {
        Ok(self.kept(key)?.map(|kept| kept.connections).unwrap_or_default())
    }

    /// What is kept of the container of `key`.
    ///
    /// # Errors
    /// When the store fails or the entry is damaged.
    pub fn kept(&self, key: &Key) -> Result<Option<KeptContainer>> {
        let place = EntryKey::Kept(*key);
        self.entries.get(&place)?.map(|body| parsed(&place, &body)).transpose()
    }

    /// The containers of which connections are kept, be they attached or not.
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn keeping(&self) -> Result<Vec<(Key, KeptContainer)>> {
        let mut all = Vec::new();
        self.entries.scan(&Span::kept(), |place, body| {
            let EntryKey::Kept(key) = place else { return Err(misplaced(&place)) };
            all.push((key, parsed(&place, body)?));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }

    /// Who holds `address` in `network`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn address_holder(&self, network: &NetworkName, address: IpAddr) -> Result<Option<Holder>> {
        self.holder(&EntryKey::Address(network.clone(), address))
    }

    /// Who holds `mac` in `network`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn mac_holder(&self, network: &NetworkName, mac: Mac) -> Result<Option<Holder>> {
        self.holder(&EntryKey::Mac(network.clone(), mac))
    }

    /// Who has a link of the host of this name.
    ///
    /// # Errors
    /// When the store fails.
    pub fn link_holder(&self, link: &InterfaceName) -> Result<Option<Holder>> {
        self.holder(&EntryKey::Link(link.clone()))
    }

    /// Whether an endpoint holds an address of `network`, be it that it drains.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_network_used(&self, network: &NetworkName) -> Result<bool> {
        let mut is_used = false;
        self.entries.scan(&Span::addresses(network), |_, _| {
            is_used = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(is_used)
    }

    /// The endpoints that hold addresses of `network`, those that drain among them, each once.
    ///
    /// # Errors
    /// When the store fails.
    pub fn address_holders(&self, network: &NetworkName) -> Result<Vec<Holder>> {
        let mut holders = Vec::new();
        self.entries.scan(&Span::addresses(network), |key, body| {
            holders.push(Holder::decode(body).ok_or_else(|| misplaced(&key))?);
            Ok(ControlFlow::Continue(()))
        })?;
        holders.sort_by_key(|holder| holder.endpoint);
        holders.dedup();
        Ok(holders)
    }

    /// Whether anything that `endpoint` would lease is held already.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_leased(&self, endpoint: &Endpoint) -> Result<bool> {
        for key in leased_by(endpoint) {
            if self.holder(&key)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
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
        let lowest = first.saturating_sub(PortMapping::MAX_COUNT - 1);
        let spans = [Span::ports(protocol, true, lowest..=last), Span::ports(protocol, false, first..=last)];
        let mut runs = Vec::new();
        let _moment = self.entries.moment()?;
        for span in &spans {
            self.entries.scan(span, |key, body| {
                let EntryKey::Ports(ports) = key else { return Err(misplaced(&key)) };
                let (number, end) = body.split_last_chunk().ok_or_else(|| misplaced(&key))?;
                let number = self::number(number).ok_or_else(|| misplaced(&key))?.into();
                let run = PortRun { number, first: ports.first, last: u16::from_be_bytes(*end) };
                if run.last >= first && ports.address.overlaps(address) {
                    runs.push(run);
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(runs)
    }

    /// The last numbers that were given.
    pub(super) fn last(&self) -> Result<Last> {
        let body = self.entries.get(&EntryKey::Last)?.ok_or_else(|| damaged("the last number", "it is missing"))?;
        Last::decode(&body).ok_or_else(|| misplaced(&EntryKey::Last))
    }

    fn holder(&self, key: &EntryKey) -> Result<Option<Holder>> {
        self.entries.get(key)?.map(|body| Holder::decode(&body).ok_or_else(|| misplaced(key))).transpose()
    }

    fn number_at(&self, key: &EntryKey) -> Result<Option<u32>> {
        self.entries.get(key)?.map(|body| number(&body).ok_or_else(|| misplaced(key))).transpose()
    }

    /// The sandbox to which another entry leads.
    fn led_to(&self, number: u32) -> Result<Sandbox> {
        self.sandbox(number.into())?.ok_or_else(|| damaged(EntryKey::Sandbox(number), "it is missing"))
    }

    fn first_in(&self, span: &Span) -> Result<Option<u32>> {
        let mut found = None;
        self.entries.scan(span, |key, body| {
            found = Some(number(body).ok_or_else(|| misplaced(&key))?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    fn numbers_in(&self, span: &Span) -> Result<Vec<u32>> {
        let mut numbers = Vec::new();
        self.entries.scan(span, |key, body| {
            numbers.push(number(body).ok_or_else(|| misplaced(&key))?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(numbers)
    }
}

pub(super) fn misplaced(key: &EntryKey) -> Error {
    damaged(key, "it is not what its key says")
}

/// The sandbox with that `body`.
pub(super) fn sandbox(number: u32, body: &[u8]) -> Result<Sandbox> {
    let sandbox: Sandbox = parsed(&EntryKey::Sandbox(number), body)?;
    Ok(Sandbox { number: number.into(), ..sandbox })
}

/// The draining endpoint with that `body`.
fn draining(number: u32, body: &[u8]) -> Result<DrainingEndpoint> {
    let mut draining: DrainingEndpoint = parsed(&EntryKey::Draining(number), body)?;
    draining.endpoint.number = number.into();
    Ok(draining)
}
