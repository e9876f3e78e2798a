//! Forward passes: accepts of ours in the firewalls of other programs, for what our networks forward.
//!
//! A packet is forwarded if every chain on the forward hook lets it pass, and no accept in our own chain overrides a
//! drop of Docker, ufw or firewalld. So ocinet adds a pass, once per host, in the place that each of these programs
//! keeps for others. A pass changes none of the other program's rules, and our own rules still judge every packet that
//! it lets through.
//!
//! A pass is for bridges with our names, and for what was published by ports of the host or is answered. What is sent to a
//! container's own address, in a routed network or from a trusted link, would need an accept for each port, and so would
//! each bridge of another name: such an attach is refused, unless a rule of the operator names the bridge.
//!
//! Docker and ufw have tables of their own for IPv6, which are looked at where a network has IPv6. firewalld's are for
//! both families.
//!
//! Every attach asks the kernel whether the passes are there. The store does not remember it, since the other program
//! removes a pass when it reloads its rules.

mod firewalld;
mod iptables;

use crate::model::{Family, InterfaceName};

pub use firewalld::{
    FIREWALLD_TABLE, FIREWALLD_ZONES, Firewalld, ZONE, ZONE_FILES, ZONE_INTERFACES, admits, holds, zone_command,
};
pub use iptables::{FORWARD, Filter, PASS_CHAIN, PassPlace, Tables, Variant, operators_chains, removing};

/// What other programs' firewalls do with forwarded packets, as read from the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The tables `filter` of iptables, which Docker and ufw share.
    pub filters: Vec<Filter>,
    /// firewalld, where it has loaded its rules.
    pub firewalld: Option<Firewalld>,
    /// Chains of programs without a place for a pass that drop by their policy.
    pub foreign_drops: Vec<ForeignDrop>,
}

impl Survey {
    /// The firewalls that drop what is forwarded, but for what a pass lets through.
    pub fn closed(&self) -> Vec<Closed> {
        let of = |filter: &Filter| Some(Closed::Iptables(filter.tables, filter.place()?));
        let filters = self.filters.iter().filter_map(of);
        filters.chain(self.firewalld.map(|_| Closed::Firewalld)).collect()
    }

    /// The passes that are needed and not there.
    pub fn missing_passes(&self) -> Vec<MissingPass> {
        let filters = self.filters.iter().filter(|filter| !filter.is_open());
        let filters = filters.filter_map(|filter| Some(MissingPass::Iptables(filter.tables, filter.place()?)));
        filters.chain(self.firewalld.filter(|firewalld| !firewalld.is_open).map(MissingPass::Firewalld)).collect()
    }
}

/// Whether `bridge` has a name by which the passes know our bridges.
pub fn is_known(bridge: &InterfaceName) -> bool {
    ["ocinet", "ocn-"].iter().any(|beginning| bridge.as_str().starts_with(beginning))
}

/// A firewall that drops what is forwarded, but for what a pass lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// That of Docker or ufw.
    Iptables(Tables, PassPlace),
    /// firewalld.
    Firewalld,
}

impl Closed {
    /// The firewall, for messages.
    pub fn subject(self) -> String {
        match self {
            Self::Iptables(tables, place) => MissingPass::Iptables(tables, place).subject(),
            Self::Firewalld => "firewalld".into(),
        }
    }

    /// Whether it drops packets of IPv6 alone.
    pub fn is_of_ipv6(self) -> bool {
        matches!(self, Self::Iptables(Tables { family: Family::V6, .. }, _))
    }

    /// Where a rule that names a bridge shows that the operator has decided about it. In the old iptables, our own rules
    /// cannot be told from the operator's.
    pub fn decisions(self) -> Vec<ForeignDrop> {
        let (family, table, chains) = match self {
            Self::Iptables(Tables { variant: Variant::Legacy, .. }, _) => return Vec::new(),
            Self::Iptables(Tables { family, .. }, _) => {
                (if family == Family::V4 { "ip" } else { "ip6" }, "filter", operators_chains(family))
            }
            Self::Firewalld => ("inet", FIREWALLD_TABLE, &FIREWALLD_ZONES[..]),
        };
        let one = |chain: &&str| ForeignDrop::Nft { family, table: table.into(), chain: (*chain).into() };
        chains.iter().map(one).collect()
    }
}

/// A pass that is needed and not there: the other program drops what our networks forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingPass {
    /// In the table `filter` of iptables.
    Iptables(Tables, PassPlace),
    /// A zone of firewalld.
    Firewalld(Firewalld),
}

impl MissingPass {
    /// The firewall that needs it, for messages: `Docker's firewall (iptables-nft)`.
    pub fn subject(self) -> String {
        match self {
            Self::Iptables(tables, place) => format!("{}'s firewall ({})", place.keeper(), tables.program()),
            Self::Firewalld(_) => "firewalld".into(),
        }
    }

    /// What is wrong without it.
    pub fn trouble(self) -> String {
        match self {
            Self::Iptables(tables, place) => {
                format!("drops what containers forward: no rule in {} lets it pass", place.chain(tables.family))
            }
            Self::Firewalld(Firewalld { has_zone: true, .. }) => {
                format!("rejects what containers forward: their bridges are not in zone {ZONE}")
            }
            Self::Firewalld(_) => format!("rejects what containers forward: it has no zone {ZONE}"),
        }
    }

    /// Whether only the operator can add it.
    pub fn is_the_operators(self) -> bool {
        matches!(self, Self::Firewalld(Firewalld { has_zone: false, .. }))
    }
}

/// A chain of another program that drops forwarded packets and has no place for a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignDrop {
    /// Of nftables.
    Nft {
        /// The table's family, as `nft` calls it.
        family: &'static str,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
    },
    /// `FORWARD` of the old iptables of a family.
    Legacy(Family),
}

impl ForeignDrop {
    /// Whether it drops packets of IPv6 alone.
    pub fn is_of_ipv6(&self) -> bool {
        matches!(self, Self::Nft { family: "ip6", .. } | Self::Legacy(Family::V6))
    }

    /// Where it is: `ip filter FORWARD`.
    pub fn place(&self) -> String {
        match self {
            Self::Nft { family, table, chain } => format!("{family} {table} {chain}"),
            Self::Legacy(family) => {
                let tables = Tables { variant: Variant::Legacy, family: *family };
                format!("{FORWARD} of {}", tables.program())
            }
        }
    }
}
