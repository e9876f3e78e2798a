//! The bodies of entries.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Result;
use super::entries::damaged;
use super::key::{EntryKey, PortsKey};
use crate::model::{Sandbox, State};

/// The last numbers that were given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Last {
    /// To a sandbox.
    pub sandbox: u32,
    /// To a change.
    pub change: u64,
}

impl Last {
    pub fn encode(self) -> Vec<u8> {
        [&self.sandbox.to_be_bytes()[..], &self.change.to_be_bytes()].concat()
    }

    pub fn decode(body: &[u8]) -> Option<Self> {
        let (sandbox, change) = body.split_first_chunk()?;
        Some(Self { sandbox: u32::from_be_bytes(*sandbox), change: u64::from_be_bytes(change.try_into().ok()?) })
    }
}

/// The number of a sandbox, with which bodies of entries that lead to it begin.
pub(super) fn number(body: &[u8]) -> Option<u32> {
    body.first_chunk().map(|number| u32::from_be_bytes(*number))
}

/// The entries of `sandbox`, whose number is `number`, beside the one of the sandbox itself.
pub(super) fn entries_of(sandbox: &Sandbox, number: u32) -> impl Iterator<Item = (EntryKey, Vec<u8>)> {
    let leading = keys_of(sandbox, number).into_iter().chain(leases_of(sandbox));
    leading.map(move |key| (key, number.to_be_bytes().to_vec())).chain(ports_of(sandbox, number))
}

/// What `sandbox` is found by.
pub(super) fn keys_of(sandbox: &Sandbox, number: u32) -> [EntryKey; 2] {
    let (key, cookie) = (sandbox.key(), sandbox.namespace.cookie);
    match sandbox.state {
        State::Draining => [EntryKey::DrainingOf(key, number), EntryKey::DrainingIn(cookie, number)],
        _ => [EntryKey::SandboxOf(key), EntryKey::SandboxIn(cookie, number)],
    }
}

/// The ports that `sandbox` publishes.
pub(super) fn ports_of(sandbox: &Sandbox, number: u32) -> impl Iterator<Item = (EntryKey, Vec<u8>)> {
    sandbox.publish.iter().map(move |mapping| {
        let (protocol, first, last) = (mapping.protocol, mapping.host_port, mapping.last_host_port());
        let key = PortsKey { protocol, several: last > first, first, address: mapping.host_address };
        (EntryKey::Ports(key), [&number.to_be_bytes()[..], &last.to_be_bytes()].concat())
    })
}

/// What exists once and `sandbox` has.
pub(super) fn leases_of(sandbox: &Sandbox) -> Vec<EntryKey> {
    let mut leases = Vec::new();
    for endpoint in &sandbox.endpoints {
        let network = &endpoint.network;
        leases.extend(endpoint.addresses.iter().map(|net| EntryKey::Address(network.clone(), net.addr())));
        leases.push(EntryKey::Mac(network.clone(), endpoint.mac));
        leases.extend(endpoint.wire.host_link().map(|link| EntryKey::Link(link.clone())));
    }
    leases
}

/// The body of what is stored as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| damaged("a new row", error))
}

/// Reads the JSON body of `key`.
pub(super) fn parsed<T: DeserializeOwned>(key: &EntryKey, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| damaged(key, error))
}
