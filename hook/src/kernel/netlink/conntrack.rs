//! Flows in conntrack.
//!
//! A flow keeps the translation with which it began, for minutes after its container is gone. So it would lead into the
//! next container at that address, and a UDP client that keeps sending would never reach a container that got the port
//! later.
//!
//! A container without any right can fill the table. So the kernel is asked only for the flows in question, and each is
//! deleted when it is listed: no list of them is kept. The kernel continues its dump at the same place even if that
//! flow is gone (`ctnetlink_dump_table`, net/netfilter/nf_conntrack_netlink.c).

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use netlink_packet_core::{DefaultNla, NLA_F_NESTED, Nla};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Tuple};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use nix::errno::Errno;

use super::Netlink;
use crate::kernel::error::{Doing, Result};
use crate::kernel::ports::is_local;
use crate::kernel::proc;
use crate::model::HostAddress;

/// `IPCTNL_MSG_CT_GET`.
const GET: u8 = 1;
/// `CTA_ZONE`: the zone of a flow. One namespace has a table for each zone.
const ZONE: u16 = 18;
/// `CTA_FILTER`: which fields of the tuples in a dump request must match, with one mask for each direction.
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
/// Bits of those masks (net/netfilter/nf_internals.h).
const SOURCE_ADDRESS: u32 = 1 << 0;
const PROTOCOL: u32 = 1 << 3;
const DESTINATION_PORT: u32 = 1 << 5;

/// How many flows this namespace has (Documentation/networking/nf_conntrack-sysctl.rst).
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// So many flows take less time to look at than one more walk through the kernel's table: 10 ms, where that has the
/// 262,144 buckets of a machine with much memory.
const FEW: u64 = 2000;

/// The largest number of ports that are asked for one by one. The kernel walks its whole table each time, which is
/// quick. Returning every UDP flow of the table is slow.
const ONE_BY_ONE: usize = 8;

/// The conntrack table, by a connection that is opened at its first use and stays open, since closing it can take long.
#[derive(Default)]
pub struct Flows(Option<Conntrack>);

impl Flows {
    /// The connection.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn conntrack(&mut self) -> Result<&mut Conntrack> {
        match &mut self.0 {
            Some(conntrack) => Ok(conntrack),
            closed => Ok(closed.insert(Conntrack::open()?)),
        }
    }

    /// The sockets whose closing takes the kernel long after elements of the firewall were deleted.
    pub fn slow_sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().flat_map(Conntrack::slow_sockets)
    }
}

/// A connection to conntrack.
pub struct Conntrack {
    /// The socket that lists flows.
    listing: Netlink,
    /// A second socket, since one can list only one thing at a time.
    forgetting: Netlink,
}

impl Conntrack {
    /// Opens it for the namespace this process runs in.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn open() -> Result<Self> {
        Ok(Self { listing: Netlink::netfilter()?, forgetting: Netlink::netfilter()? })
    }

    /// Deletes flows to newly published UDP ports that do not lead to the container at `target`. They began before the
    /// port was published, and lead to the host itself or to a container that had the port earlier.
    ///
    /// # Errors
    /// When conntrack cannot be asked.
    pub fn forget_flows_to(&mut self, ports: &[(HostAddress, u16)], target: IpAddr) -> Result<()> {
        // There may be hundreds of thousands of flows, and thousands of ports.
        let mut by_port: HashMap<u16, Vec<HostAddress>> = HashMap::new();
        for (address, port) in ports {
            by_port.entry(*port).or_default().push(*address);
        }
        let is_earlier = |flow: &Flow| {
            let published = |address: &HostAddress| match address {
                // On an error the flow is deleted: the next packet makes it anew.
                HostAddress::Any | HostAddress::AnyOf(_) => is_local(flow.destination).unwrap_or(true),
                one => one.ip() == flow.destination,
            };
            flow.answers_from != target && by_port.get(&flow.port).is_some_and(|there| there.iter().any(published))
        };
        let mut forget = |port, mask| {
            let tuple = ConntrackAttribute::CtaTupleOrig(vec![udp(port)]);
            self.forget(target, Some((&tuple, filter(FILTER_ORIGINAL, mask))), is_earlier)
        };
        if count() == Some(0) {
            return Ok(());
        }
        if ports.len() > ONE_BY_ONE {
            return forget(None, PROTOCOL);
        }
        ports.iter().try_for_each(|(_, port)| forget(Some(*port), PROTOCOL | DESTINATION_PORT))
    }

    /// Deletes every flow of the containers at `addresses`, of any protocol: those that they began, and those that lead
    /// to them.
    ///
    /// # Errors
    /// When conntrack cannot be asked.
    pub fn forget_flows_of(&mut self, addresses: &[IpAddr]) -> Result<()> {
        let count = count();
        if count == Some(0) {
            return Ok(());
        }
        let (v4, v6): (Vec<_>, Vec<_>) = addresses.iter().partition(|address| address.is_ipv4());
        [v4, v6].iter().try_for_each(|family| self.forget_flows_of_family(family, count))
    }

    /// The same for addresses of one family, where there are `count` flows.
    fn forget_flows_of_family(&mut self, addresses: &[IpAddr], count: Option<u64>) -> Result<()> {
        let Some(first) = addresses.first() else { return Ok(()) };
        let all: HashSet<_> = addresses.iter().collect();
        let is_theirs = |flow: &Flow| all.contains(&flow.began_at) || all.contains(&flow.answers_from);
        if count.is_some_and(|count| count <= FEW.saturating_mul(addresses.len() as u64)) {
            return self.forget(*first, None, is_theirs);
        }
        addresses.iter().try_for_each(|address| {
            let source = || vec![Tuple::Ip(vec![IPTuple::SourceAddress(*address)])];
            let began = ConntrackAttribute::CtaTupleOrig(source());
            self.forget(*address, Some((&began, filter(FILTER_ORIGINAL, SOURCE_ADDRESS))), is_theirs)?;
            let led_to = ConntrackAttribute::CtaTupleReply(source());
            self.forget(*address, Some((&led_to, filter(FILTER_REPLY, SOURCE_ADDRESS))), is_theirs)
        })
    }

    /// Deletes the flows that were led to the container at `address` by another one: those of its published ports.
    ///
    /// # Errors
    /// When conntrack cannot be asked.
    pub fn forget_flows_led_to(&mut self, address: IpAddr) -> Result<()> {
        let led_to = ConntrackAttribute::CtaTupleReply(vec![Tuple::Ip(vec![IPTuple::SourceAddress(address)])]);
        let is_led = |flow: &Flow| flow.answers_from == address && flow.destination != address;
        self.forget(address, Some((&led_to, filter(FILTER_REPLY, SOURCE_ADDRESS))), is_led)
    }

    /// The sockets whose closing takes the kernel long after elements of the firewall were deleted.
    pub fn slow_sockets(&self) -> [BorrowedFd<'_>; 2] {
        [self.listing.as_fd(), self.forgetting.as_fd()]
    }

    /// Deletes the flows of the family of `address` that match the fields of the tuple in the filter of `pattern`, and
    /// for which `is_doomed` is true.
    fn forget(
        &mut self,
        address: IpAddr,
        pattern: Option<(&ConntrackAttribute, DefaultNla)>,
        is_doomed: impl Fn(&Flow) -> bool,
    ) -> Result<()> {
        let attributes = pattern.map_or_else(Vec::new, |(tuple, filter)| vec![nested(tuple), filter]);
        let question = ConntrackMessage::Other { message_type: GET, attributes };
        let (forgetting, mut failed) = (&mut self.forgetting, Ok(()));
        let listed = self.listing.stream(message(address, question), |answer| {
            if let Some(flow) = Flow::read(answer).filter(|flow| failed.is_ok() && is_doomed(flow)) {
                failed = delete(forgetting, address, flow);
            }
        });
        match listed {
            // The kernel has no such subsystem (`nfnetlink_rcv_msg`, net/netfilter/nfnetlink.c), and so no flows.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) && !is_there() => Ok(()),
            result => result.and(failed).doing(|| "forget flows that conntrack remembers".into()),
        }
    }
}

/// Whether the kernel has conntrack.
fn is_there() -> bool {
    // If the file cannot be examined, the kernel may have it.
    Path::new(COUNT).try_exists().unwrap_or(true)
}

/// How many flows this namespace has, if that can be read.
fn count() -> Option<u64> {
    proc::value(COUNT).ok()?.parse().ok()
}

/// Deletes one flow. If it is already gone, that is no error.
fn delete(netlink: &mut Netlink, address: IpAddr, flow: Flow) -> io::Result<()> {
    let zone = flow.zone.map(ConntrackAttribute::Other);
    let attributes = [ConntrackAttribute::CtaTupleOrig(flow.tuple)].into_iter().chain(zone).collect();
    match netlink.request(message(address, ConntrackMessage::Delete(attributes)), 0) {
        Err(error) if error.raw_os_error() != Some(Errno::ENOENT as i32) => Err(error),
        _ => Ok(()),
    }
}

fn udp(port: Option<u16>) -> Tuple {
    let port = port.map(ProtoTuple::DestinationPort);
    Tuple::Proto([ProtoTuple::Protocol(Protocol::Udp)].into_iter().chain(port).collect())
}

fn filter(direction: u16, bits: u32) -> DefaultNla {
    let length = 8u16.to_ne_bytes();
    let nested = [&length[..], &direction.to_ne_bytes(), &bits.to_ne_bytes()].concat();
    DefaultNla::new(FILTER | NLA_F_NESTED, nested)
}

/// A dump request requires the flag for nested attributes, which `ConntrackAttribute::Other` leaves out.
fn nested(attribute: &ConntrackAttribute) -> DefaultNla {
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    DefaultNla::new(attribute.kind() | NLA_F_NESTED, value)
}

/// A message about flows of the family of `address`.
fn message(address: IpAddr, inner: ConntrackMessage) -> NetfilterMessage {
    let family = if address.is_ipv4() { NetfilterProtoFamily::IPv4 } else { NetfilterProtoFamily::IPv6 };
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), inner)
}

/// A flow: the addresses of its first packet, and the address of the answers.
struct Flow {
    tuple: Vec<Tuple>,
    zone: Option<DefaultNla>,
    began_at: IpAddr,
    destination: IpAddr,
    /// The destination port; 0 if the protocol has no ports.
    port: u16,
    answers_from: IpAddr,
}

impl Flow {
    fn read(message: NetfilterMessage) -> Option<Self> {
        let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else { return None };
        let (mut tuple, mut answers_from, mut zone) = (None, None, None);
        for attribute in attributes {
            match attribute {
                ConntrackAttribute::CtaTupleOrig(original) => tuple = Some(original),
                ConntrackAttribute::CtaTupleReply(reply) => answers_from = source(&reply),
                ConntrackAttribute::Other(other) if other.kind() == ZONE => zone = Some(other),
                _ => {}
            }
        }
        let tuple = tuple?;
        let (began_at, destination) = (source(&tuple)?, destination(&tuple)?);
        let port = tuple.iter().find_map(destination_port).unwrap_or_default();
        Some(Self { tuple, zone, began_at, destination, port, answers_from: answers_from? })
    }
}

fn source(tuple: &[Tuple]) -> Option<IpAddr> {
    addresses(tuple).find_map(|ip| match ip {
        IPTuple::SourceAddress(address) => Some(*address),
        _ => None,
    })
}

fn destination(tuple: &[Tuple]) -> Option<IpAddr> {
    addresses(tuple).find_map(|ip| match ip {
        IPTuple::DestinationAddress(address) => Some(*address),
        _ => None,
    })
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
