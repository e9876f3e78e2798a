//! UDP flows that conntrack remembers.
//!
//! A flow keeps the translation it began with, and a UDP client that keeps sending keeps its flow alive: it would never
//! reach a container that took the port over. TCP tells its client with a reset; UDP needs the flow forgotten.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, NLA_F_NESTED, NLM_F_DUMP, Nla};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Tuple};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use nix::errno::Errno;

use super::error::{Error, Result};
use super::netlink::Netlink;
use super::ports::is_local;
use crate::model::HostAddress;

/// `IPCTNL_MSG_CT_GET`.
const GET: u8 = 1;
/// `CTA_FILTER`: which fields of the tuples in a dump request must match, with one mask for each direction.
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
/// Bits of those masks (net/netfilter/nf_internals.h).
const SOURCE_ADDRESS: u32 = 1 << 0;
const PROTOCOL: u32 = 1 << 3;

/// Forgets the flows to newly published UDP ports that began before and so lead to the host itself.
///
/// # Errors
/// When conntrack cannot be asked.
pub fn flush_host_flows(ports: &[(HostAddress, u16)]) -> Result<()> {
    let tuple = vec![udp()];
    let filter = [nested(&ConntrackAttribute::CtaTupleOrig(tuple)), mask(FILTER_ORIGINAL, PROTOCOL)];
    flush(filter, |flow| {
        let published = |(address, port): &(HostAddress, u16)| match address {
            _ if *port != flow.port => false,
            // Where that cannot be asked, the flow stays.
            HostAddress::Any => is_local(flow.destination).unwrap_or(false),
            one => one.ip() == flow.destination,
        };
        !flow.is_translated() && ports.iter().any(published)
    })
}

/// Forgets the UDP flows that lead to the container at `address` through a published port.
///
/// # Errors
/// When conntrack cannot be asked.
pub fn flush_published_flows(address: IpAddr) -> Result<()> {
    let tuple = vec![Tuple::Ip(vec![IPTuple::SourceAddress(address)]), udp()];
    let filter = [nested(&ConntrackAttribute::CtaTupleReply(tuple)), mask(FILTER_REPLY, SOURCE_ADDRESS | PROTOCOL)];
    flush(filter, |flow| flow.answers_from == address && flow.is_translated())
}

fn flush(filter: [DefaultNla; 2], doomed: impl Fn(&Flow) -> bool) -> Result<()> {
    let what = |error: io::Error| Error::refused("flush UDP flows of published ports", error);
    let mut netlink = Netlink::netfilter()?;
    let question = ConntrackMessage::Other { message_type: GET, attributes: filter.into() };
    let flows = netlink.request(message(question), NLM_F_DUMP).map_err(what)?;
    for flow in flows.iter().filter_map(Flow::read).filter(doomed) {
        let tuple = ConntrackAttribute::CtaTupleOrig(flow.tuple);
        match netlink.request(message(ConntrackMessage::Delete(vec![tuple])), 0) {
            Err(error) if error.raw_os_error() != Some(Errno::ENOENT as i32) => return Err(what(error)),
            _ => {}
        }
    }
    Ok(())
}

fn udp() -> Tuple {
    Tuple::Proto(vec![ProtoTuple::Protocol(Protocol::Udp)])
}

fn mask(direction: u16, bits: u32) -> DefaultNla {
    let length = 8u16.to_ne_bytes();
    let nested = [&length[..], &direction.to_ne_bytes(), &bits.to_ne_bytes()].concat();
    DefaultNla::new(FILTER | NLA_F_NESTED, nested)
}

/// A dump request is strict about the flag of nested attributes, which `ConntrackAttribute::Other` drops.
fn nested(attribute: &ConntrackAttribute) -> DefaultNla {
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    DefaultNla::new(attribute.kind() | NLA_F_NESTED, value)
}

fn message(inner: ConntrackMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0), inner)
}

/// A flow as its first packet began it, and who answers.
struct Flow {
    tuple: Vec<Tuple>,
    destination: IpAddr,
    port: u16,
    answers_from: IpAddr,
}

impl Flow {
    fn read(message: &NetfilterMessage) -> Option<Self> {
        let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = &message.inner else { return None };
        let original = attributes.iter().find_map(|attribute| match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => Some(tuple),
            _ => None,
        })?;
        let reply = attributes.iter().find_map(|attribute| match attribute {
            ConntrackAttribute::CtaTupleReply(tuple) => Some(tuple),
            _ => None,
        })?;
        let destination = addresses(original).find_map(|ip| match ip {
            IPTuple::DestinationAddress(address) => Some(*address),
            _ => None,
        })?;
        let answers_from = addresses(reply).find_map(|ip| match ip {
            IPTuple::SourceAddress(address) => Some(*address),
            _ => None,
        })?;
        let port = original.iter().find_map(destination_port)?;
        Some(Self { tuple: original.clone(), destination, port, answers_from })
    }

    fn is_translated(&self) -> bool {
        self.answers_from != self.destination
    }
}

fn addresses(tuple: &[Tuple]) -> impl Iterator<Item = &IPTuple> {
    tuple.iter().flat_map(|part| match part {
        Tuple::Ip(ips) => ips.as_slice(),
        _ => &[],
    })
}

fn destination_port(part: &Tuple) -> Option<u16> {
    let Tuple::Proto(protocol) = part else { return None };
    protocol.iter().find_map(|field| match field {
        ProtoTuple::DestinationPort(port) => Some(*port),
        _ => None,
    })
}
