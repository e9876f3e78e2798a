//! What went through links.

use std::collections::BTreeMap;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::LinkUnspec;
use serde::Serialize;

use super::{HostLinks, new_link};
use crate::kernel::error::{Doing, Result};

/// What a container received and sent by one link, as counted at the host's end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Bytes to the container.
    pub received_bytes: u64,
    /// Packets to it.
    pub received_packets: u64,
    /// Bytes from it.
    pub sent_bytes: u64,
    /// Packets from it.
    pub sent_packets: u64,
}

impl HostLinks {
    /// What went through each link of the host, by the link's name.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn traffic(&mut self) -> Result<BTreeMap<String, Traffic>> {
        let question = LinkUnspec::new_with_index(0).build();
        let answers = self.netlink.request(RouteNetlinkMessage::GetLink(question), NLM_F_DUMP);
        let answers = answers.doing(|| "list the host's links".into())?;
        Ok(answers.into_iter().filter_map(new_link).filter_map(|link| counted(&link)).collect())
    }
}

/// The host's end sends what the container receives.
fn counted(link: &LinkMessage) -> Option<(String, Traffic)> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let traffic = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(Traffic {
            received_bytes: stats.tx_bytes,
            received_packets: stats.tx_packets,
            sent_bytes: stats.rx_bytes,
            sent_packets: stats.rx_packets,
        }),
        _ => None,
    })?;
    Some((name, traffic))
}
