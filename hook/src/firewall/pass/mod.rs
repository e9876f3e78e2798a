//! Doors: how what our networks forward gets through the firewalls of other programs.
//!
//! A packet is forwarded if every chain on the forward hook lets it pass. What Docker, ufw and firewalld drop there, no
//! accept of ours overrides; so we ask for passage, once per host, in the place that each of them keeps for others.
//! A door adds to what the other program lets through and changes none of its rules, and our own rules still
//! decide over everything that comes through it.
//!
//! Whether a door is open is asked of the kernel alone, at every attach: who reloads a firewall closes it, and nothing that we
//! remembered would know.

mod firewalld;
mod iptables;

pub use firewalld::{
    FIREWALLD_TABLE, FIREWALLD_ZONES, Firewalld, ZONE, ZONE_FILES, ZONE_INTERFACES, admits, holds, zone_command,
};
pub use iptables::{Door, FORWARD, Filter, PASSAGE, Variant, closing};

use crate::model::InterfaceName;

/// What other programs' firewalls make of forwarded packets, as the kernel tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The tables `filter` of iptables, which Docker and ufw share.
    pub filters: Vec<Filter>,
    /// firewalld, where it has loaded its rules.
    pub firewalld: Option<Firewalld>,
    /// Chains that drop by their policy and belong to nobody we know.
    pub strangers: Vec<Stranger>,
}

impl Survey {
    /// The doors that are there and closed.
    pub fn closed(&self) -> Vec<Closed> {
        let filters = self.filters.iter().filter(|filter| !filter.is_open());
        let filters = filters.filter_map(|filter| Some(Closed::Iptables(filter.variant, filter.door()?)));
        filters.chain(self.firewalld.filter(|firewalld| !firewalld.is_open).map(Closed::Firewalld)).collect()
    }
}

/// A door that is there and closed: what is behind it drops what we forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// In the table `filter` of iptables.
    Iptables(Variant, Door),
    /// A zone of firewalld.
    Firewalld(Firewalld),
}

impl Closed {
    /// Whose it is, and where, for people: `Docker's firewall (iptables-nft)`.
    pub fn subject(self) -> String {
        match self {
            Self::Iptables(variant, door) => format!("{}'s firewall ({})", door.keeper(), variant.program()),
            Self::Firewalld(_) => "firewalld".into(),
        }
    }

    /// What is the matter with it.
    pub fn trouble(self) -> String {
        match self {
            Self::Iptables(_, door) => {
                format!("drops what containers forward: no rule in {} lets it pass", door.chain())
            }
            Self::Firewalld(Firewalld { has_zone: true, .. }) => {
                format!("rejects what containers forward: their bridges are not in zone {ZONE}")
            }
            Self::Firewalld(_) => format!("rejects what containers forward: it has no zone {ZONE}"),
        }
    }

    /// What the operator can do where we cannot; `None` where we can.
    pub fn remedy(self) -> Option<String> {
        match self {
            Self::Firewalld(Firewalld { has_zone: false, .. }) => Some(firewalld::zone_making()),
            _ => None,
        }
    }
}

/// A chain that drops forwarded packets, of a program that has no door we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stranger {
    /// Of nftables.
    Nft {
        /// The table's family, as `nft` calls it.
        family: &'static str,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
    },
    /// `FORWARD` of the old iptables.
    Legacy,
}

impl Stranger {
    /// Where it is: `ip filter FORWARD`.
    pub fn place(&self) -> String {
        match self {
            Self::Nft { family, table, chain } => format!("{family} {table} {chain}"),
            Self::Legacy => format!("{FORWARD} of {}", Variant::Legacy.program()),
        }
    }

    /// The command that lets pass what `bridge` forwards.
    pub fn remedy(&self, bridge: &InterfaceName) -> String {
        let one = |side: char| match self {
            Self::Nft { family, table, chain } => {
                format!("nft insert rule {family} {table} {chain} {side}ifname {bridge} accept")
            }
            Self::Legacy => format!("{} -w -I {FORWARD} -{side} {bridge} -j ACCEPT", Variant::Legacy.program()),
        };
        format!("{} && {}", one('i'), one('o'))
    }
}
