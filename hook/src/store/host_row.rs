use serde::{Deserialize, Serialize};

use super::Result;
use super::bodies::{json, parsed};
use super::entries::damaged;
use super::key::EntryKey;
use crate::firewall::Kind;
use crate::model::{ChangedSetting, Families, Family};

/// Who switched forwarding of a family on. Where we did or were about to, rules close the host to what is not for our networks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forwarding {
    /// Another program or a person, if it is on.
    #[default]
    OfOthers,
    /// We were about to switch it on, when it was off.
    Intended,
    /// We switched it on.
    Ours,
}

impl Forwarding {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_of_others(&self) -> bool {
        *self == Self::OfOthers
    }
}

/// What holds on the whole host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRow {
    /// Who keeps our rules; none until a container needs some.
    pub firewall: Option<Kind>,
    /// Who has rules of ours that are to go.
    pub former_firewalls: Vec<Kind>,
    /// Who switched forwarding of IPv4 on.
    pub forwarding: Forwarding,
    /// Who switched forwarding of IPv6 on.
    pub forwarding6: Forwarding,
    /// The settings of its links that we changed, so that it answers its neighbours or forwards and keeps its routes, in the
    /// order of the changes.
    pub changed: Vec<ChangedSetting>,
    /// Whether the host's own rules decide who from outside reaches a published port.
    pub respect_host_firewall: bool,
    /// Whether one of the networks in the store is internal.
    pub has_internal: bool,
    /// Whether other hosts address the containers of one of them.
    pub has_addressed: bool,
    /// Whether one of them has IPv6.
    pub has_ipv6: bool,
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
            forwarding6: forwarding,
            changed: Vec::new(),
            respect_host_firewall: false,
            has_internal: false,
            has_addressed: false,
            has_ipv6: false,
        }
    }
}

/// The host's row as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredHostRow {
    firewall: Option<String>,
    former_firewalls: Vec<String>,
    forwarding: Forwarding,
    #[serde(default, skip_serializing_if = "Forwarding::is_of_others")]
    forwarding6: Forwarding,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changed: Vec<ChangedSetting>,
    respect_host_firewall: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_internal: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_addressed: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_ipv6: bool,
}

impl HostRow {
    /// Who switched forwarding of `family` on.
    pub fn forwarding_of(&self, family: Family) -> Forwarding {
        match family {
            Family::V4 => self.forwarding,
            Family::V6 => self.forwarding6,
        }
    }

    /// The families of which rules close the host.
    pub fn closed(&self) -> Families {
        let is_closed = |family: &Family| self.forwarding_of(*family) != Forwarding::OfOthers;
        Family::ALL.into_iter().filter(is_closed).collect()
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        json(&StoredHostRow {
            firewall: self.firewall.map(|kind| kind.to_string()),
            former_firewalls: self.former_firewalls.iter().map(Kind::to_string).collect(),
            forwarding: self.forwarding,
            forwarding6: self.forwarding6,
            changed: self.changed.clone(),
            respect_host_firewall: self.respect_host_firewall,
            has_internal: self.has_internal,
            has_addressed: self.has_addressed,
            has_ipv6: self.has_ipv6,
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
            forwarding6: row.forwarding6,
            changed: row.changed,
            respect_host_firewall: row.respect_host_firewall,
            has_internal: row.has_internal,
            has_addressed: row.has_addressed,
            has_ipv6: row.has_ipv6,
        })
    }
}
