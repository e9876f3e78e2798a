use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_netfilter::nftables::{ChainAttribute, ChainMessage, Hook, InetHookNumber, NfTablesMessage};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use nix::errno::Errno;

use crate::kernel::error::{Error, Result};
use crate::kernel::netlink::Netlink;

/// The chain of iptables-nft that our own rules stand in.
const SECURITY: &str = "ip security INPUT";

/// The filter chains of nftables on the input hook at `priority` or later, as `nft` names them: `inet filter input`.
/// `priority` is that of the table `security` of iptables, in which our rules ask the host's input rules: what these
/// chains drop is not asked.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn chains_behind_security(priority: i32) -> Result<Vec<String>> {
    let message = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
    let question = NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0), message);
    match Netlink::netfilter()?.request(question, NLM_F_DUMP) {
        Ok(answers) => Ok(answers.iter().filter_map(|answer| late_input_chain(answer, priority)).collect()),
        // A kernel without nf_tables.
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(Vec::new()),
        Err(error) => Err(Error::refused("list the host's chains", error)),
    }
}

fn late_input_chain(message: &NetfilterMessage, from: i32) -> Option<String> {
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) = &message.inner else { return None };
    let family = match message.header.family {
        NetfilterProtoFamily::IPv4 => "ip",
        NetfilterProtoFamily::Inet => "inet",
        _ => return None,
    };
    let (mut table, mut name, mut is_filter, mut is_late) = ("", "", false, false);
    for attribute in &chain.attributes {
        match attribute {
            ChainAttribute::Table(text) => table = text,
            ChainAttribute::Name(text) => name = text,
            ChainAttribute::Type(text) => is_filter = text == "filter",
            ChainAttribute::Hook(hooks) => {
                let comes_in = hooks.contains(&Hook::Number(InetHookNumber::LocalIn.into()));
                // Priorities are signed, and travel as they are.
                let after = |hook: &Hook| matches!(hook, Hook::Priority(priority) if priority.cast_signed() >= from);
                is_late = comes_in && hooks.iter().any(after);
            }
            _ => {}
        }
    }
    let place = format!("{family} {table} {name}");
    (is_filter && is_late && place != SECURITY).then_some(place)
}
