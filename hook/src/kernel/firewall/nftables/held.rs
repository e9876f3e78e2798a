//! What our table holds, asked of the kernel.

use netlink_packet_core::{Emitable, NLM_F_DUMP};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetFlags, SetMessage,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};

use super::{Nftables, inet, is_absent};
use crate::firewall::nftables::{Held, OPERATOR, Rule, TABLE};
use crate::kernel::error::{Error, Result};

impl Nftables {
    /// What the table `inet ocinet` holds, in whatever version it was loaded; nothing where it is not there.
    pub(super) fn held(&mut self) -> Result<Held> {
        // The kernel lists the chains of all tables, whatever is asked (`nf_tables_dump_chains`, nf_tables_api.c).
        let chains = self.dump(NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() }))?;
        let chains = chains.iter().filter_map(chain_of_ours).filter(|chain| chain != OPERATOR).collect();
        let sets =
            self.dump(NfTablesMessage::GetSet(SetMessage { attributes: vec![SetAttribute::Table(TABLE.into())] }))?;
        let (maps, sets): (Vec<_>, Vec<_>) = sets.iter().filter_map(set).partition(|(_, is_map)| *is_map);
        let names = |sets: Vec<(String, bool)>| sets.into_iter().map(|(name, _)| name).collect();
        let rules =
            self.dump(NfTablesMessage::GetRule(RuleMessage { attributes: vec![RuleAttribute::Table(TABLE.into())] }))?;
        let rules: Vec<Rule> = rules.iter().filter_map(rule).collect();
        Ok(Held::new(chains, names(sets), names(maps), &rules))
    }

    fn dump(&mut self, question: NfTablesMessage) -> Result<Vec<NetfilterMessage>> {
        match self.netlink.request(inet(question), NLM_F_DUMP) {
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            result => result.map_err(|error| Error::refused(format!("list what table inet {TABLE} holds"), error)),
        }
    }
}

fn chain_of_ours(message: &NetfilterMessage) -> Option<String> {
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) = &message.inner else { return None };
    let is_ours = message.header.family == NetfilterProtoFamily::Inet
        && chain.attributes.contains(&ChainAttribute::Table(TABLE.into()));
    let name = chain.attributes.iter().find_map(|attribute| match attribute {
        ChainAttribute::Name(name) => Some(name.clone()),
        _ => None,
    });
    name.filter(|_| is_ours)
}

/// A set's name, and whether it is a map. Those without a name of their own go with the rule that holds them.
fn set(message: &NetfilterMessage) -> Option<(String, bool)> {
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewSet(set)) = &message.inner else { return None };
    let (mut name, mut flags) = (None, SetFlags::empty());
    for attribute in &set.attributes {
        match attribute {
            SetAttribute::Name(text) => name = Some(text.clone()),
            SetAttribute::Flags(bits) => flags = *bits,
            _ => {}
        }
    }
    let is_map = flags.intersects(SetFlags::Map | SetFlags::Object);
    name.filter(|_| !flags.contains(SetFlags::Anonymous)).map(|name| (name, is_map))
}

fn rule(message: &NetfilterMessage) -> Option<Rule> {
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewRule(rule)) = &message.inner else { return None };
    let chain = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Chain(chain) => Some(chain.clone()),
        _ => None,
    })?;
    let mut bytes = vec![0; message.inner.buffer_len()];
    message.inner.emit(&mut bytes);
    Some(Rule { chain, bytes })
}
