//! The chains and rules that iptables-nft keeps in nf_tables: families `ip` and `ip6`, tables with the names of
//! iptables'.

use std::io;

use netlink_packet_core::{
    DecodeError, NLA_F_NESTED, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable,
    NetlinkHeader, NetlinkSerializable, NlasIterator,
};
use netlink_packet_netfilter::nftables::{ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner};
use nix::errno::Errno;

use super::dump::{Answer, Dump};
use super::elements::NFTABLES;
use super::{Nftables, is_absent, number, of_family};
use crate::kernel::error::{Doing, Result};
use crate::model::Family;

/// How many rules one transaction deletes. Its messages stay below 48 KiB, for the reasons that bound one of elements.
const RULES: usize = 512;

/// The bytes of rules that one transaction adds. It stays below a socket's buffer for sending
/// (`net.core.wmem_default`, 208 KiB), and each rule is a message of its own, of which the kernel repeats one that it
/// refuses. A transaction takes time for all rules of the chains that it changes.
const ADDED: usize = 112 << 10;

/// About what a message has beside them.
const AROUND: usize = 96;

/// Messages (linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h): `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`,
/// `NFT_MSG_NEWRULE`, `NFT_MSG_DELRULE`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;

/// The length of an attribute's header, to a multiple of which its value is padded (`NLA_HDRLEN`, `NLA_ALIGNTO`).
const HEADER: usize = 4;

/// The attributes `NFTA_RULE_TABLE`, `_CHAIN`, `_HANDLE`, `_EXPRESSIONS` and `_USERDATA`.
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const HANDLE: u16 = 3;
const EXPRESSIONS: u16 = 4;
const USERDATA: u16 = 7;

/// A chain of iptables-nft.
pub(in crate::kernel) struct XtChain {
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// How many rules are in it and lead to it.
    pub uses: u32,
}

/// A rule that is listed.
#[derive(Default)]
pub(in crate::kernel) struct ListedRule {
    /// Its handle. The kernel gives each rule one of its own, and gives none twice as long as the table lives
    /// (`nf_tables_alloc_handle`, net/netfilter/nf_tables_api.c).
    pub handle: u64,
    /// Its expressions, as the kernel has them.
    pub expressions: Vec<u8>,
    /// Whether its maker attached anything.
    pub has_userdata: bool,
}

/// A rule that stands in a chain.
pub(in crate::kernel) struct RulePlace {
    /// The table's family.
    pub family: Family,
    /// The chain's table.
    pub table: &'static str,
    /// The chain.
    pub chain: &'static str,
    /// The rule's handle.
    pub handle: u64,
}

/// A rule that is to be added.
pub(in crate::kernel) struct NewRule {
    /// The table's family.
    pub family: Family,
    /// The chain's table.
    pub table: &'static str,
    /// The chain.
    pub chain: &'static str,
    /// Its expressions, as the kernel lists them.
    pub expressions: Vec<u8>,
}

impl Nftables {
    /// The chains in the tables of iptables-nft of `family`. None where the kernel has no nf_tables.
    pub(in crate::kernel) fn chains_of_iptables(&mut self, family: Family) -> Result<Vec<XtChain>> {
        let header = NetfilterHeader::new(number(family), 0, 0);
        let question = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
        match self.netlink.request(NetfilterMessage::new(header, question), NLM_F_DUMP) {
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(Vec::new()),
            answers => {
                let answers = answers.doing(|| "list the chains of iptables-nft".into())?;
                Ok(answers.iter().filter_map(|answer| XtChain::read(family, answer)).collect())
            }
        }
    }

    /// The rules of a chain, in their order; none where the chain is not there.
    pub(in crate::kernel) fn rules(&mut self, family: Family, table: &str, chain: &str) -> Result<Vec<ListedRule>> {
        let question = of_family(
            family,
            NfTablesMessage::GetRule(RuleMessage {
                attributes: vec![RuleAttribute::Table(table.into()), RuleAttribute::Chain(chain.into())],
            }),
        );
        let answers = match self.netlink.request(Dump::<ListedRule>::Question(question), NLM_F_DUMP) {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            answers => answers.doing(|| format!("list chain {chain} of table {} {table}", name(family)))?,
        };
        Ok(answers.into_iter().filter_map(Dump::answer).collect())
    }

    /// The handles of a chain's rules, in their order; none where the chain is not there.
    pub(in crate::kernel) fn handles(&mut self, family: Family, table: &str, chain: &str) -> Result<Vec<u64>> {
        Ok(self.rules(family, table, chain)?.into_iter().map(|rule| rule.handle).collect())
    }

    /// Deletes rules. False where one is not there: then some of the others may be.
    pub(in crate::kernel) fn delete_rules(&mut self, rules: &[RulePlace]) -> Result<bool> {
        let deletion = |rule: &RulePlace| {
            let change = Change::of_rule(DELETE_RULE, rule.family, rule.table, rule.chain);
            (change.with(HANDLE, &rule.handle.to_be_bytes()), NLM_F_REQUEST)
        };
        for portion in rules.chunks(RULES) {
            match self.change_rules(portion.iter().map(deletion)) {
                Err(error) if is_absent(&error) => return Ok(false),
                deleted => deleted.doing(|| "delete rules of iptables-nft".into())?,
            }
        }
        Ok(true)
    }

    /// Adds rules behind those of their chains. Many take several transactions.
    ///
    /// # Errors
    /// When the kernel refuses; those of the transactions before are there then.
    pub(in crate::kernel) fn add_rules(&mut self, rules: &[NewRule]) -> Result<()> {
        let addition = |rule: &NewRule| {
            let change = Change::of_rule(NEW_RULE, rule.family, rule.table, rule.chain);
            (change.with(EXPRESSIONS | NLA_F_NESTED, &rule.expressions), NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND)
        };
        let mut rest = rules;
        while let Some(first) = rest.first() {
            let mut size = 0;
            let fits = |rule: &&NewRule| {
                size += rule.expressions.len() + AROUND;
                size <= ADDED
            };
            let (portion, others) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let what = || format!("add {} rules to table {} {}", rules.len(), name(first.family), first.table);
            self.change_rules(portion.iter().map(addition)).doing(what)?;
            rest = others;
        }
        Ok(())
    }

    /// One transaction: all of it, or nothing.
    fn change_rules(&mut self, changes: impl Iterator<Item = (Change, u16)>) -> io::Result<()> {
        let [begin, end] = [BATCH_BEGIN, BATCH_END].map(|kind| (Change::bound(kind), NLM_F_REQUEST));
        self.netlink.batch([begin].into_iter().chain(changes).chain([end]).collect()).map(drop)
    }
}

/// A message of a transaction, with its attributes as they are sent. The crate's message would be measured and copied
/// once for each of its levels.
struct Change {
    kind: u16,
    /// `struct nfgenmsg` and attributes.
    body: Vec<u8>,
}

impl Change {
    fn bound(kind: u16) -> Self {
        // The family is unspecified, and the last field, in network order, the subsystem that the batch is for.
        let [high, low] = NFTABLES.to_be_bytes();
        Self { kind, body: vec![0, 0, high, low] }
    }

    fn of_rule(kind: u16, family: Family, table: &str, chain: &str) -> Self {
        let change = Self { kind: NFTABLES << 8 | kind, body: vec![number(family).into(), 0, 0, 0] };
        change.with(TABLE, format!("{table}\0").as_bytes()).with(CHAIN, format!("{chain}\0").as_bytes())
    }

    /// With an attribute of that kind. Its value is shorter than 64 KiB, as one that the kernel listed.
    fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(HEADER + value.len()).unwrap_or(u16::MAX);
        self.body.extend(length.to_ne_bytes().into_iter().chain(kind.to_ne_bytes()));
        self.body.extend_from_slice(value);
        self.body.resize(self.body.len().next_multiple_of(HEADER), 0);
        self
    }
}

impl NetlinkSerializable for Change {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..self.body.len()].copy_from_slice(&self.body);
    }
}

impl NetlinkDeserializable for Change {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> std::result::Result<Self, DecodeError> {
        Ok(Self { kind: header.message_type, body: payload.to_vec() })
    }
}

/// A family, as `nft` calls it.
fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

impl XtChain {
    /// A chain of `family`.
    fn read(family: Family, message: &NetfilterMessage) -> Option<Self> {
        let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) = &message.inner else { return None };
        let mut read = Self { table: String::new(), name: String::new(), uses: 0 };
        for attribute in &chain.attributes {
            match attribute {
                ChainAttribute::Table(text) => read.table.clone_from(text),
                ChainAttribute::Name(text) => read.name.clone_from(text),
                ChainAttribute::Use(uses) => read.uses = *uses,
                _ => {}
            }
        }
        (message.header.family == number(family)).then_some(read)
    }
}

impl Answer for ListedRule {
    fn read(attributes: NlasIterator<&[u8]>) -> std::result::Result<Self, DecodeError> {
        let mut rule = Self::default();
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind() {
                HANDLE => rule.handle = attribute.value().try_into().map(u64::from_be_bytes).unwrap_or_default(),
                EXPRESSIONS => rule.expressions = attribute.value().to_vec(),
                USERDATA => rule.has_userdata = true,
                _ => {}
            }
        }
        Ok(rule)
    }
}
