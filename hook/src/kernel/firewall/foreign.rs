//! The firewalls of other programs: one dump of nf_tables' chains, and the old iptables' table where there is one.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{Emitable, NLM_F_DUMP};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, InetHookNumber, NfTablesMessage, RuleAttribute, RuleMessage,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use nix::errno::Errno;

use super::nftables::number;
use super::xtables;
use crate::firewall::nftables::TABLE;
use crate::firewall::pass::{
    self, FIREWALLD_TABLE, FORWARD, Filter, Firewalld, ForeignDrop, PassPlace, Survey, Tables, Variant, ZONE_FILES,
};
use crate::kernel::child_process;
use crate::kernel::error::{Error, Result};
use crate::kernel::netlink::Netlink;
use crate::model::{Families, Family, InterfaceName};

/// `NF_DROP`, as a chain's policy.
const DROP: u32 = 0;

/// Families, as `nft` calls them.
const INET: &str = "inet";
const IP: &str = "ip";
const IP6: &str = "ip6";

/// A connection to nf_tables, to look at what others have there.
pub struct ForeignFirewalls {
    netlink: Netlink,
}

impl ForeignFirewalls {
    /// Opens it for the namespace this process runs in.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn open() -> Result<Self> {
        Ok(Self { netlink: Netlink::netfilter()? })
    }

    /// Reads what may drop what our networks forward of `families`.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn survey(&mut self, families: Families) -> Result<Survey> {
        let message = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
        let answers = self.dump(NetfilterProtoFamily::Unspec, message, "list the host's chains")?;
        let chains: Vec<Chain<'_>> = answers.iter().filter_map(Chain::read).collect();
        let mut filters: Vec<Filter> = families.iter().map(|family| iptables_nft(family, &chains)).collect();
        let is_passed = |chain: &Chain<'_>| {
            filters.iter().any(|filter| chain.is_iptables(filter.tables.family) && filter.place().is_some())
        };
        let is_of = |chain: &&Chain<'_>| chain.family != NetfilterProtoFamily::IPv6 || families.contains(Family::V6);
        let foreign_drops = chains.iter().filter(is_of).filter(|chain| !is_passed(chain));
        let mut foreign_drops: Vec<ForeignDrop> = foreign_drops.filter_map(Chain::foreign_drop).collect();
        let firewalld = if chains.iter().any(Chain::is_firewalld) { Some(self.firewalld()?) } else { None };
        for family in families.iter() {
            let Some(table) = xtables::filter(family)? else { continue };
            let legacy = table.filter();
            if legacy.drops && legacy.place().is_none() {
                foreign_drops.push(ForeignDrop::Legacy(family));
            }
            filters.push(legacy);
        }
        Ok(Survey { filters, firewalld, foreign_drops })
    }

    /// Whether a rule of `foreign` names `interface`: then its owner has decided about our packets.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn mentions(&mut self, foreign: &ForeignDrop, interface: &InterfaceName) -> Result<bool> {
        let (family, table, chain) = match foreign {
            ForeignDrop::Nft { family, table, chain } => (*family, table, chain),
            ForeignDrop::Legacy(family) => {
                return Ok(xtables::filter(*family)?.is_some_and(|table| table.mentions(interface)));
            }
        };
        let family = match family {
            INET => NetfilterProtoFamily::Inet,
            IP6 => NetfilterProtoFamily::IPv6,
            _ => NetfilterProtoFamily::IPv4,
        };
        Ok(self.rules(family, table, chain)?.iter().any(|rule| pass::holds(rule, interface.as_str())))
    }

    fn firewalld(&mut self) -> Result<Firewalld> {
        let mut is_open = false;
        for chain in pass::FIREWALLD_ZONES {
            is_open = is_open || pass::admits(&self.rules(NetfilterProtoFamily::Inet, FIREWALLD_TABLE, chain)?);
        }
        let zone = ZONE_FILES.iter().find_map(|file| fs::read_to_string(file).ok());
        Ok(Firewalld::new(is_open, zone.as_deref()))
    }

    /// The rules of a chain, as netlink has them; none where there is no such chain.
    fn rules(&mut self, family: NetfilterProtoFamily, table: &str, chain: &str) -> Result<Vec<Vec<u8>>> {
        let attributes = vec![RuleAttribute::Table(table.into()), RuleAttribute::Chain(chain.into())];
        let message = NfTablesMessage::GetRule(RuleMessage { attributes });
        let rules = self.dump(family, message, "list the rules of a forward chain")?;
        let bytes = rules.iter().map(|rule| {
            let mut bytes = vec![0; rule.inner.buffer_len()];
            rule.inner.emit(&mut bytes);
            bytes
        });
        Ok(bytes.collect())
    }

    fn dump(
        &mut self,
        family: NetfilterProtoFamily,
        message: NfTablesMessage,
        what: &str,
    ) -> Result<Vec<NetfilterMessage>> {
        let question = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message);
        match self.netlink.request(question, NLM_F_DUMP) {
            // A kernel without nf_tables.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(Vec::new()),
            result => result.map_err(|error| Error::refused(what, error)),
        }
    }
}

impl AsFd for ForeignFirewalls {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

/// Adds the pass to a table of iptables.
///
/// # Errors
/// When its programs are missing or refuse; then all is as it was.
pub fn add_pass(tables: Tables, place: PassPlace) -> Result<()> {
    let rules = rules(tables)?;
    change(tables, &place.adding(tables.family, &rules))
}

/// Removes our chain, and the jumps to it, from a table of iptables.
///
/// # Errors
/// As [`add_pass`].
pub fn remove_pass(tables: Tables) -> Result<()> {
    let rules = rules(tables)?;
    change(tables, &pass::removing(&rules))
}

/// Puts our bridges into our zone of firewalld, or takes them out.
///
/// # Errors
/// When firewalld does not answer or refuses.
pub fn change_zone(open: bool) -> Result<()> {
    let arguments = pass::zone_command(open);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    child_process::run("firewall-cmd", &arguments, "").map(drop)
}

/// How long the programs wait for the lock of iptables, in seconds.
const PATIENCE: &str = "5";

fn rules(tables: Tables) -> Result<String> {
    child_process::run(tables.program(), &["-w", PATIENCE, "-t", "filter", "-S"], "")
}

fn change(tables: Tables, text: &str) -> Result<()> {
    let restore = format!("{}-restore", tables.program());
    child_process::run(&restore, &["-w", PATIENCE, "--noflush"], text).map(drop)
}

/// A chain of nf_tables.
struct Chain<'m> {
    family: NetfilterProtoFamily,
    table: &'m str,
    name: &'m str,
    uses: u32,
    forwards: bool,
    drops: bool,
}

impl<'m> Chain<'m> {
    fn read(message: &'m NetfilterMessage) -> Option<Self> {
        let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) = &message.inner else { return None };
        let (table, name) = ("", "");
        let mut read = Self { family: message.header.family, table, name, uses: 0, forwards: false, drops: false };
        for attribute in &chain.attributes {
            match attribute {
                ChainAttribute::Table(text) => read.table = text,
                ChainAttribute::Name(text) => read.name = text,
                ChainAttribute::Use(uses) => read.uses = *uses,
                ChainAttribute::Policy(policy) => read.drops = *policy == DROP,
                ChainAttribute::Hook(hooks) => {
                    read.forwards = hooks.contains(&Hook::Number(InetHookNumber::Forward.into()));
                }
                _ => {}
            }
        }
        Some(read)
    }

    /// The foreign drop that it is, if it drops what is forwarded and is not our own.
    fn foreign_drop(&self) -> Option<ForeignDrop> {
        let family = match self.family {
            NetfilterProtoFamily::IPv4 => IP,
            NetfilterProtoFamily::IPv6 => IP6,
            NetfilterProtoFamily::Inet => INET,
            _ => return None,
        };
        let (table, chain) = (self.table.to_owned(), self.name.to_owned());
        (self.forwards && self.drops && self.table != TABLE).then_some(ForeignDrop::Nft { family, table, chain })
    }

    /// Whether firewalld decides here over what is forwarded.
    fn is_firewalld(&self) -> bool {
        self.family == NetfilterProtoFamily::Inet && self.table == FIREWALLD_TABLE && self.forwards
    }

    /// Whether it is one of iptables' table `filter` of `family`, which iptables-nft keeps under the names of old.
    fn is_iptables(&self, family: Family) -> bool {
        self.family == number(family) && self.table == "filter"
    }
}

fn iptables_nft(family: Family, chains: &[Chain<'_>]) -> Filter {
    let mut filter = Filter::new(Tables { variant: Variant::Nft, family });
    for chain in chains.iter().filter(|chain| chain.is_iptables(family)) {
        filter.drops |= chain.name == FORWARD && chain.forwards && chain.drops;
        filter.note(chain.name, chain.uses);
    }
    filter
}
