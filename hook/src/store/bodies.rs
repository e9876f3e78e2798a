//! The bodies of entries.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Result;
use super::entries::damaged;
use super::key::{EntryKey, PortsKey};
use crate::model::{DrainingEndpoint, Endpoint, Key, NetworkName, Sandbox};

/// The last numbers that were given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Last {
    /// To a sandbox or an endpoint.
    pub number: u32,
    /// To a change.
    pub change: u64,
}

impl Last {
    pub fn encode(self) -> Vec<u8> {
        [&self.number.to_be_bytes()[..], &self.change.to_be_bytes()].concat()
    }

    pub fn decode(body: &[u8]) -> Option<Self> {
        let (number, change) = body.split_first_chunk()?;
        Some(Self { number: u32::from_be_bytes(*number), change: u64::from_be_bytes(change.try_into().ok()?) })
    }

    /// The next number.
    pub fn next(&mut self) -> Result<u32> {
        let next = self.number.checked_add(1).ok_or_else(|| damaged("the last number", "there is none after it"))?;
        self.number = next;
        Ok(next)
    }
}

/// What holds a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The number of the sandbox.
    pub sandbox: i64,
    /// The number of its endpoint, which holds it also when it drains and the sandbox is gone; none of a port.
    pub endpoint: Option<i64>,
}

impl Holder {
    /// The body of a lease of an endpoint.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let (sandbox, endpoint) = body.split_first_chunk()?;
        let endpoint = u32::from_be_bytes(endpoint.try_into().ok()?);
        Some(Self { sandbox: u32::from_be_bytes(*sandbox).into(), endpoint: Some(endpoint.into()) })
    }
}

/// The addresses that the container of `key` had when it left a network.
#[derive(Serialize, Deserialize)]
pub(super) struct Past {
    pub key: Key,
    pub addresses: BTreeMap<NetworkName, Vec<IpAddr>>,
}

/// Stands in a change for the networks, where others have the number of a sandbox.
pub(super) const NETWORKS: u32 = 0;

/// The number with which bodies of entries begin that lead to a sandbox or an endpoint.
pub(super) fn number(body: &[u8]) -> Option<u32> {
    body.first_chunk().map(|number| u32::from_be_bytes(*number))
}

/// A number of the model as keys have it.
pub(super) fn number_of(number: i64) -> Result<u32> {
    let number: Option<u32> = number.try_into().ok().filter(|number| *number > 0);
    number.ok_or_else(|| damaged("a sandbox or endpoint", "it has no number"))
}

/// The entries of `sandbox`, beside the one of the sandbox itself.
pub(super) fn entries_of(sandbox: &Sandbox) -> Result<Vec<(EntryKey, Vec<u8>)>> {
    let number = number_of(sandbox.number)?;
    let mut entries: Vec<_> = keys_of(sandbox, number).map(|key| (key, number.to_be_bytes().to_vec())).into();
    for endpoint in &sandbox.endpoints {
        entries.extend(leases_of(endpoint, number)?);
    }
    entries.extend(ports_of(sandbox, number));
    Ok(entries)
}

/// The entries of `draining`, beside the one of the endpoint itself.
pub(super) fn entries_of_draining(draining: &DrainingEndpoint) -> Result<Vec<(EntryKey, Vec<u8>)>> {
    let number = number_of(draining.endpoint.number)?;
    let mut entries: Vec<_> = keys_of_draining(draining, number).map(|key| (key, number.to_be_bytes().to_vec())).into();
    entries.extend(leases_of(&draining.endpoint, number_of(draining.sandbox)?)?);
    Ok(entries)
}

/// What `sandbox` is found by.
pub(super) fn keys_of(sandbox: &Sandbox, number: u32) -> [EntryKey; 2] {
    [EntryKey::SandboxOf(sandbox.key()), EntryKey::SandboxIn(sandbox.namespace.cookie, number)]
}

/// What `draining` is found by.
pub(super) fn keys_of_draining(draining: &DrainingEndpoint, number: u32) -> [EntryKey; 2] {
    [EntryKey::DrainingOf(draining.key, number), EntryKey::DrainingIn(draining.cookie, number)]
}

/// The ports of the host that `sandbox` holds.
pub(super) fn ports_of(sandbox: &Sandbox, number: u32) -> impl Iterator<Item = (EntryKey, Vec<u8>)> {
    let held = if sandbox.routed { &[][..] } else { &sandbox.publish };
    held.iter().map(move |mapping| {
        let (protocol, first, last) = (mapping.protocol, mapping.host_port, mapping.last_host_port());
        let key = PortsKey { protocol, several: last > first, first, address: mapping.host_address };
        (EntryKey::Ports(key), [&number.to_be_bytes()[..], &last.to_be_bytes()].concat())
    })
}

/// What exists once and `endpoint` of the sandbox with that number has. The entries stay as they are when it begins to
/// drain.
pub(super) fn leases_of(endpoint: &Endpoint, sandbox: u32) -> Result<impl Iterator<Item = (EntryKey, Vec<u8>)>> {
    let body = [sandbox.to_be_bytes(), number_of(endpoint.number)?.to_be_bytes()].concat();
    Ok(leased_by(endpoint).map(move |key| (key, body.clone())))
}

/// The keys of what exists once and `endpoint` has.
pub(super) fn leased_by(endpoint: &Endpoint) -> impl Iterator<Item = EntryKey> {
    let network = &endpoint.network;
    let addresses = endpoint.addresses.iter().map(|net| EntryKey::Address(network.clone(), net.addr()));
    let link = endpoint.wire.host_link().map(|link| EntryKey::Link(link.clone()));
    addresses.chain([EntryKey::Mac(network.clone(), endpoint.mac)]).chain(link)
}

/// The body of what is stored as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| damaged("a new row", error))
}

/// Reads the JSON body of `key`.
pub(super) fn parsed<T: DeserializeOwned>(key: &EntryKey, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| damaged(key, error))
}
