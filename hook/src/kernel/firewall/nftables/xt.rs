//! The chains and rules that iptables-nft keeps in nf_tables: family `ip`, tables with the names of iptables'.

use std::io;

use netlink_packet_core::{DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NlasIterator};
use netlink_packet_netfilter::nftables::{ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use nix::errno::Errno;

use super::dump::{Answer, Dump};
use super::elements::control;
use super::{Nftables, ip, is_absent};
use crate::kernel::error::{Doing, Result};

/// How many rules one transaction deletes. Its messages stay below 48 KiB, for the reasons that bound one of elements.
const RULES: usize = 512;

/// `NFTA_RULE_HANDLE` (linux/netfilter/nf_tables.h).
const HANDLE: u16 = 3;

/// The handle of a rule that is listed.
struct Handle(Option<u64>);

impl Nftables {
    /// The chains in the tables of iptables-nft, each with its table. None where the kernel has no nf_tables.
    pub(in crate::kernel) fn chains_of_iptables(&mut self) -> Result<Vec<(String, String)>> {
        let header = NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0);
        let question = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
        match self.netlink.request(NetfilterMessage::new(header, question), NLM_F_DUMP) {
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(Vec::new()),
            answers => {
                let answers = answers.doing(|| "list the chains of iptables-nft".into())?;
                Ok(answers.iter().filter_map(table_and_name).collect())
            }
        }
    }

    /// The handles of a chain's rules, in their order; none where the chain is not there. The kernel gives each rule a
    /// handle of its own, and gives none twice as long as the table lives (`nf_tables_alloc_handle`,
    /// net/netfilter/nf_tables_api.c).
    pub(in crate::kernel) fn handles(&mut self, table: &str, chain: &str) -> Result<Vec<u64>> {
        let attributes = vec![RuleAttribute::Table(table.into()), RuleAttribute::Chain(chain.into())];
        let question = ip(NfTablesMessage::GetRule(RuleMessage { attributes }));
        let answers = match self.netlink.request(Dump::<Handle>::Question(question), NLM_F_DUMP) {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            answers => answers.doing(|| format!("list chain {chain} of table ip {table}"))?,
        };
        Ok(answers.into_iter().filter_map(Dump::answer).filter_map(|Handle(handle)| handle).collect())
    }

    /// Deletes rules of a chain by their handles. False where one is not there: then some of the others may be.
    pub(in crate::kernel) fn delete_rules(&mut self, table: &str, chain: &str, handles: &[u64]) -> Result<bool> {
        for portion in handles.chunks(RULES) {
            match self.delete_at_once(table, chain, portion) {
                Err(error) if is_absent(&error) => return Ok(false),
                deleted => deleted.doing(|| format!("delete rules of chain {chain} of table ip {table}"))?,
            }
        }
        Ok(true)
    }

    fn delete_at_once(&mut self, table: &str, chain: &str, handles: &[u64]) -> io::Result<()> {
        let deletion = |handle: &u64| {
            let place = [RuleAttribute::Table(table.into()), RuleAttribute::Chain(chain.into())];
            let attributes = place.into_iter().chain([RuleAttribute::Handle(*handle)]).collect();
            ip(NfTablesMessage::DeleteRule(RuleMessage { attributes }))
        };
        let begin = control(ControlMessage::BatchBegin);
        let end = control(ControlMessage::BatchEnd);
        let messages = [begin].into_iter().chain(handles.iter().map(deletion)).chain([end]);
        self.netlink.batch(messages.map(|message| (message, NLM_F_REQUEST)).collect()).map(drop)
    }
}

/// The table and the name of a chain of family `ip`.
fn table_and_name(message: &NetfilterMessage) -> Option<(String, String)> {
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) = &message.inner else { return None };
    let (mut table, mut name) = (None, None);
    for attribute in &chain.attributes {
        match attribute {
            ChainAttribute::Table(text) => table = Some(text.clone()),
            ChainAttribute::Name(text) => name = Some(text.clone()),
            _ => {}
        }
    }
    table.zip(name).filter(|_| message.header.family == NetfilterProtoFamily::IPv4)
}

impl Answer for Handle {
    fn read(attributes: NlasIterator<&[u8]>) -> std::result::Result<Self, DecodeError> {
        for attribute in attributes {
            let attribute = attribute?;
            if attribute.kind() == HANDLE {
                return Ok(Self(attribute.value().try_into().ok().map(u64::from_be_bytes)));
            }
        }
        Ok(Self(None))
    }
}
