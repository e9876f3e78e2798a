use serde::{Deserialize, Serialize};

use super::Result;
use super::bodies::{json, parsed};
use super::entries::damaged;
use super::key::EntryKey;
use crate::firewall::Kind;

/// Who switched IP forwarding on. Where we did or were about to, rules close the host to what is not for our networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    /// Whether one of the networks in the store is internal.
    pub has_internal: bool,
    /// Whether other hosts address the containers of one of them.
    pub has_addressed: bool,
}

impl Default for HostRow {
    /// A host on which nothing was done yet.
    fn default() -> Self {
        let former_firewalls = Vec::new();
        let forwarding = Forwarding::OfOthers;
        Self {
            firewall: None,
            former_firewalls,
            forwarding,
            respect_host_firewall: false,
            has_internal: false,
            has_addressed: false,
        }
    }
}

/// The host's row as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredHostRow {
    firewall: Option<String>,
    former_firewalls: Vec<String>,
    forwarding: Forwarding,
    respect_host_firewall: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_internal: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_addressed: bool,
}

impl HostRow {
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        json(&StoredHostRow {
            firewall: self.firewall.map(|kind| kind.to_string()),
            former_firewalls: self.former_firewalls.iter().map(Kind::to_string).collect(),
            forwarding: self.forwarding,
            respect_host_firewall: self.respect_host_firewall,
            has_internal: self.has_internal,
            has_addressed: self.has_addressed,
        })
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self> {
        let kind =
            |word: String| word.parse().map_err(|()| damaged(EntryKey::Host, format!("{word:?} is no firewall")));
        let row: StoredHostRow = parsed(&EntryKey::Host, body)?;
        Ok(Self {
            firewall: row.firewall.map(kind).transpose()?,
            former_firewalls: row.former_firewalls.into_iter().map(kind).collect::<Result<_>>()?,
            forwarding: row.forwarding,
            respect_host_firewall: row.respect_host_firewall,
            has_internal: row.has_internal,
            has_addressed: row.has_addressed,
        })
    }
}
