//! The keys of the store's entries: one type, whose bytes sort as its values do.
//!
//! A key is a byte for its kind, and then its parts: numbers in big-endian order, names up to a NUL, addresses behind a
//! byte for their family. Whatever is asked for together lies in one [`Span`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use crate::model::{Family, HostAddress, InterfaceName, Key, Mac, NetworkName, Protocol};

/// How many containers that are gone have their addresses remembered. One that comes after another at the same place
/// takes that.
const PLACES: u32 = 2048;

/// What an entry is about. Its body is said here, too, where it is not only a number of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EntryKey {
    /// The version of the schema.
    Version,
    /// What holds on the whole host.
    Host,
    /// The last numbers that were given.
    Last,
    /// A network, as JSON.
    Network(NetworkName),
    /// The network that has this link on the host: its name.
    NetworkLink(InterfaceName),
    /// The address of that family given out last in a network.
    LastAddress(NetworkName, Family),
    /// A sandbox, as JSON.
    Sandbox(u32),
    /// The sandbox of a container.
    SandboxOf(Key),
    /// A sandbox whose namespace has this cookie. The host's namespace has many, and so has cookie 0, which stands for
    /// a namespace that was not seen.
    SandboxIn(u64, u32),
    /// A draining endpoint, as JSON.
    Draining(u32),
    /// A draining endpoint of a container, which may come back meanwhile: its number.
    DrainingOf(Key, u32),
    /// A draining endpoint whose namespace has this cookie: its number.
    DrainingIn(u64, u32),
    /// The connections of a container that are made again with its next start, as JSON.
    Kept(Key),
    /// The addresses that a container had, as JSON. There are [`PLACES`] for all containers.
    Past(u16),
    /// The lease of an address in a network: the sandbox's number and the endpoint's.
    Address(NetworkName, IpAddr),
    /// The lease of a MAC address in a network: likewise.
    Mac(NetworkName, Mac),
    /// The lease of a link's name on the host: likewise.
    Link(InterfaceName),
    /// Published ports of the host in a row. The last of them is in the body, behind the sandbox's number.
    Ports(PortsKey),
    /// That a sandbox or a network was written: changes are numbered.
    Change(u64),
}

/// The key of published ports in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PortsKey {
    pub protocol: Protocol,
    /// Whether there are several. Only these can reach a port behind their first, so that single ports are found by
    /// their number alone.
    pub several: bool,
    pub first: u16,
    pub address: HostAddress,
}

/// The keys from `first` on and below `below`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub first: Vec<u8>,
    pub below: Vec<u8>,
}

// The kinds, as they follow one another in the store.
const VERSION: u8 = 0x00;
const HOST: u8 = 0x01;
const LAST: u8 = 0x02;
const NETWORK: u8 = 0x10;
const NETWORK_LINK: u8 = 0x11;
const LAST_ADDRESS: u8 = 0x12;
const LAST_ADDRESS6: u8 = 0x13;
const SANDBOX: u8 = 0x20;
const SANDBOX_OF: u8 = 0x21;
const SANDBOX_IN: u8 = 0x22;
const DRAINING: u8 = 0x23;
const DRAINING_OF: u8 = 0x24;
const DRAINING_IN: u8 = 0x25;
const PAST: u8 = 0x26;
const KEPT: u8 = 0x27;
const ADDRESS: u8 = 0x30;
const MAC: u8 = 0x31;
const LINK: u8 = 0x32;
const PORTS: u8 = 0x40;
const CHANGE: u8 = 0x50;

/// The families of addresses; an address of any family comes first.
const ANY: u8 = 0;
const IPV4: u8 = 4;
const IPV6: u8 = 6;

impl EntryKey {
    /// Where the addresses are that the container of `key` had.
    pub fn past_of(key: &Key) -> Self {
        Self::Past((key.lock_offset() % PLACES) as u16)
    }

    /// The bytes that are stored.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Version => vec![VERSION],
            Self::Host => vec![HOST],
            Self::Last => vec![LAST],
            Self::Network(name) => text(NETWORK, name.as_str()),
            Self::NetworkLink(link) => text(NETWORK_LINK, link.as_str()),
            Self::LastAddress(name, Family::V4) => text(LAST_ADDRESS, name.as_str()),
            Self::LastAddress(name, Family::V6) => text(LAST_ADDRESS6, name.as_str()),
            Self::Sandbox(number) => joined(SANDBOX, &[&number.to_be_bytes()]),
            Self::SandboxOf(key) => joined(SANDBOX_OF, &[&key.bytes()]),
            Self::SandboxIn(cookie, number) => joined(SANDBOX_IN, &[&cookie.to_be_bytes(), &number.to_be_bytes()]),
            Self::Draining(number) => joined(DRAINING, &[&number.to_be_bytes()]),
            Self::DrainingOf(key, number) => joined(DRAINING_OF, &[&key.bytes(), &number.to_be_bytes()]),
            Self::DrainingIn(cookie, number) => joined(DRAINING_IN, &[&cookie.to_be_bytes(), &number.to_be_bytes()]),
            Self::Kept(key) => joined(KEPT, &[&key.bytes()]),
            Self::Past(place) => joined(PAST, &[&place.to_be_bytes()]),
            Self::Address(network, address) => [text(ADDRESS, network.as_str()), address_bytes(*address)].concat(),
            Self::Mac(network, mac) => [&text(MAC, network.as_str())[..], &mac.0].concat(),
            Self::Link(link) => text(LINK, link.as_str()),
            Self::Ports(ports) => ports.encode(),
            Self::Change(number) => joined(CHANGE, &[&number.to_be_bytes()]),
        }
    }

    /// The key with these bytes; none where there is no such key.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let mut rest = Parts(rest);
        let key = match *kind {
            VERSION => Self::Version,
            HOST => Self::Host,
            LAST => Self::Last,
            NETWORK => Self::Network(rest.text()?.parse().ok()?),
            NETWORK_LINK => Self::NetworkLink(rest.text()?.parse().ok()?),
            LAST_ADDRESS => Self::LastAddress(rest.text()?.parse().ok()?, Family::V4),
            LAST_ADDRESS6 => Self::LastAddress(rest.text()?.parse().ok()?, Family::V6),
            SANDBOX => Self::Sandbox(u32::from_be_bytes(rest.array()?)),
            SANDBOX_OF => Self::SandboxOf(rest.array()?.into()),
            SANDBOX_IN => Self::SandboxIn(u64::from_be_bytes(rest.array()?), u32::from_be_bytes(rest.array()?)),
            DRAINING => Self::Draining(u32::from_be_bytes(rest.array()?)),
            DRAINING_OF => Self::DrainingOf(rest.array()?.into(), u32::from_be_bytes(rest.array()?)),
            DRAINING_IN => Self::DrainingIn(u64::from_be_bytes(rest.array()?), u32::from_be_bytes(rest.array()?)),
            KEPT => Self::Kept(rest.array()?.into()),
            PAST => Self::Past(u16::from_be_bytes(rest.array()?)),
            ADDRESS => Self::Address(rest.text()?.parse().ok()?, Option::from(rest.address()?)?),
            MAC => Self::Mac(rest.text()?.parse().ok()?, Mac(rest.array()?)),
            LINK => Self::Link(rest.text()?.parse().ok()?),
            PORTS => Self::Ports(PortsKey::decode(&mut rest)?),
            CHANGE => Self::Change(u64::from_be_bytes(rest.array()?)),
            _ => return None,
        };
        rest.0.is_empty().then_some(key)
    }
}

impl PortsKey {
    fn encode(self) -> Vec<u8> {
        [Self::beginning(self.protocol, self.several, self.first), host_address_bytes(self.address)].concat()
    }

    fn beginning(protocol: Protocol, several: bool, first: u16) -> Vec<u8> {
        joined(PORTS, &[&[protocol.number(), several.into()], &first.to_be_bytes()])
    }

    fn decode(rest: &mut Parts<'_>) -> Option<Self> {
        let [protocol, several] = rest.array()?;
        let protocol = Protocol::ALL.into_iter().find(|known| known.number() == protocol)?;
        let several = [false, true].into_iter().find(|known| u8::from(*known) == several)?;
        Some(Self { protocol, several, first: u16::from_be_bytes(rest.array()?), address: rest.address()? })
    }
}

impl Span {
    /// Every key.
    pub fn whole() -> Self {
        Self { first: Vec::new(), below: vec![u8::MAX] }
    }

    /// Every network.
    pub fn networks() -> Self {
        Self { first: vec![NETWORK], below: vec![NETWORK + 1] }
    }

    /// The sandboxes whose numbers are `after` another.
    pub fn sandboxes(after: u32) -> Self {
        Self { first: behind(&EntryKey::Sandbox(after)), below: vec![SANDBOX + 1] }
    }

    /// The sandboxes in the namespace of that cookie.
    pub fn sandboxes_in(cookie: u64) -> Self {
        Self::between(&EntryKey::SandboxIn(cookie, 0), &EntryKey::SandboxIn(cookie, u32::MAX))
    }

    /// The connections that are kept.
    pub fn kept() -> Self {
        Self { first: vec![KEPT], below: vec![KEPT + 1] }
    }

    /// The leases of addresses in a network.
    pub fn addresses(network: &NetworkName) -> Self {
        let first = text(ADDRESS, network.as_str());
        Self { below: [&first[..], &[u8::MAX]].concat(), first }
    }

    /// The draining endpoints.
    pub fn draining() -> Self {
        Self { first: vec![DRAINING], below: vec![DRAINING + 1] }
    }

    /// The draining endpoints of that container.
    pub fn draining_of(key: Key) -> Self {
        Self::between(&EntryKey::DrainingOf(key, 0), &EntryKey::DrainingOf(key, u32::MAX))
    }

    /// The draining endpoints in the namespace of that cookie.
    pub fn draining_in(cookie: u64) -> Self {
        Self::between(&EntryKey::DrainingIn(cookie, 0), &EntryKey::DrainingIn(cookie, u32::MAX))
    }

    /// The changes from the one of that number on.
    pub fn changes(from: u64) -> Self {
        Self { first: EntryKey::Change(from).encode(), below: vec![CHANGE + 1] }
    }

    /// The single ports, or the runs of `several`, whose first port is one of `first`, on every address.
    pub fn ports(protocol: Protocol, several: bool, first: RangeInclusive<u16>) -> Self {
        let mut below = PortsKey::beginning(protocol, several, *first.end());
        below.push(u8::MAX);
        Self { first: PortsKey::beginning(protocol, several, *first.start()), below }
    }

    fn between(first: &EntryKey, last: &EntryKey) -> Self {
        Self { first: first.encode(), below: behind(last) }
    }
}

/// The first bytes that sort behind those of `key`.
fn behind(key: &EntryKey) -> Vec<u8> {
    let mut bytes = key.encode();
    bytes.push(0);
    bytes
}

fn joined(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.push(kind);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

/// No name holds a NUL.
fn text(kind: u8, text: &str) -> Vec<u8> {
    joined(kind, &[text.as_bytes(), &[0]])
}

/// An address behind a byte for its family.
pub(super) fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => joined(IPV4, &[&v4.octets()]),
        IpAddr::V6(v6) => joined(IPV6, &[&v6.octets()]),
    }
}

/// The address with these bytes.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let mut rest = Parts(bytes);
    let address = Option::from(rest.address()?);
    address.filter(|_| rest.0.is_empty())
}

fn host_address_bytes(address: HostAddress) -> Vec<u8> {
    Option::<IpAddr>::from(address).map_or_else(|| vec![ANY], address_bytes)
}

/// What is left of a key.
struct Parts<'b>(&'b [u8]);

impl Parts<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn text(&mut self) -> Option<&str> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let (text, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        std::str::from_utf8(text).ok()
    }

    fn address(&mut self) -> Option<HostAddress> {
        let [family] = self.array()?;
        match family {
            ANY => Some(HostAddress::Any),
            IPV4 => Some(HostAddress::from(Some(Ipv4Addr::from(self.array()?).into()))),
            IPV6 => Some(HostAddress::from(Some(Ipv6Addr::from(self.array()?).into()))),
            _ => None,
        }
    }
}

impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => f.write_str("the version"),
            Self::Host => f.write_str("the host's row"),
            Self::Network(name) => write!(f, "network {name}"),
            Self::Sandbox(number) => write!(f, "record {number}"),
            Self::Draining(number) => write!(f, "draining endpoint {number}"),
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of every kind, in their order.
    fn in_order() -> Vec<EntryKey> {
        let network = |name: &str| name.parse::<NetworkName>().unwrap();
        let link = |name: &str| name.parse::<InterfaceName>().unwrap();
        let key = |byte: u8| Key::from([byte; 16]);
        let mut keys = vec![
            EntryKey::Version,
            EntryKey::Host,
            EntryKey::Last,
            EntryKey::Network(network("a")),
            EntryKey::Network(network("a-b")),
            EntryKey::Network(network("ab")),
            EntryKey::NetworkLink(link("ocinet0")),
            EntryKey::LastAddress(network("bridge"), Family::V4),
            EntryKey::LastAddress(network("bridge"), Family::V6),
            EntryKey::Sandbox(1),
            EntryKey::Sandbox(255),
            EntryKey::Sandbox(256),
            EntryKey::Sandbox(u32::MAX),
            EntryKey::SandboxOf(key(0)),
            EntryKey::SandboxOf(key(255)),
            EntryKey::SandboxIn(0, 1),
            EntryKey::SandboxIn(0, 256),
            EntryKey::SandboxIn(1 << 32, 1),
            EntryKey::SandboxIn(u64::MAX, u32::MAX),
            EntryKey::Draining(3),
            EntryKey::Draining(300),
            EntryKey::DrainingOf(key(7), 3),
            EntryKey::DrainingOf(key(7), 300),
            EntryKey::DrainingIn(7, 3),
            EntryKey::Past(0),
            EntryKey::Past(0x100),
            EntryKey::Kept(key(7)),
        ];
        keys.extend(leases_in_order());
        keys.extend([EntryKey::Change(1), EntryKey::Change(1 << 40), EntryKey::Change(u64::MAX)]);
        keys
    }

    fn leases_in_order() -> Vec<EntryKey> {
        let network = |name: &str| name.parse::<NetworkName>().unwrap();
        let link = |name: &str| name.parse::<InterfaceName>().unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let ports = |protocol, several, first, address: Option<&str>| {
            let address = HostAddress::from(address.map(ip));
            EntryKey::Ports(PortsKey { protocol, several, first, address })
        };
        vec![
            EntryKey::Address(network("a"), ip("10.90.0.9")),
            EntryKey::Address(network("a"), ip("10.90.0.10")),
            EntryKey::Address(network("a"), ip("10.90.1.0")),
            EntryKey::Address(network("a"), ip("fd00::1")),
            EntryKey::Address(network("a0"), ip("10.90.0.1")),
            EntryKey::Mac(network("a"), Mac([2, 0, 0, 0, 0, 1])),
            EntryKey::Mac(network("a"), Mac([2, 0, 0, 0, 1, 0])),
            EntryKey::Link(link("ocv0a5a0002")),
            EntryKey::Link(link("ocv0a5a0002-1")),
            ports(Protocol::Tcp, false, 80, None),
            ports(Protocol::Tcp, false, 80, Some("127.0.0.1")),
            ports(Protocol::Tcp, false, 80, Some("::1")),
            ports(Protocol::Tcp, false, 256, None),
            ports(Protocol::Tcp, false, u16::MAX, Some("255.255.255.255")),
            ports(Protocol::Tcp, true, 1, None),
            ports(Protocol::Udp, false, 1, None),
            ports(Protocol::Sctp, true, 1, None),
        ]
    }

    #[test]
    fn keys_sort_as_their_values_and_come_back() {
        let keys = in_order();
        let bytes: Vec<Vec<u8>> = keys.iter().map(EntryKey::encode).collect();
        assert!(bytes.is_sorted_by(|one, next| one < next), "{bytes:?}");
        for (key, bytes) in keys.iter().zip(&bytes) {
            assert_eq!(EntryKey::decode(bytes).as_ref(), Some(key));
            assert_eq!(EntryKey::decode(&[&bytes[..], &[1]].concat()), None, "{key:?} and more");
            assert_eq!(EntryKey::decode(&bytes[..bytes.len() - 1]), None, "{key:?} cut off");
        }
    }

    #[test]
    fn a_span_has_what_it_is_named_after() {
        let within = |span: Span| {
            let is_in = |key: &EntryKey| (&span.first..&span.below).contains(&&key.encode());
            in_order().into_iter().filter(is_in).map(|key| key.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(within(Span::whole()).len(), in_order().len());
        assert_eq!(within(Span::networks()), ["network a", "network a-b", "network ab"]);
        assert_eq!(within(Span::sandboxes(0)).len(), 4);
        assert_eq!(within(Span::sandboxes(255)), ["record 256", "record 4294967295"]);
        assert_eq!(within(Span::sandboxes(u32::MAX)), [""; 0]);
        assert_eq!(within(Span::sandboxes_in(0)), ["SandboxIn(0, 1)", "SandboxIn(0, 256)"]);
        assert_eq!(within(Span::sandboxes_in(u64::MAX)).len(), 1);
        assert_eq!(within(Span::draining()), ["draining endpoint 3", "draining endpoint 300"]);
        assert_eq!(within(Span::draining_of(Key::from([7; 16]))).len(), 2);
        assert_eq!(within(Span::draining_in(7)).len(), 1);
        assert_eq!(within(Span::changes(2)).len(), 2);
        assert_eq!(within(Span::ports(Protocol::Tcp, false, 80..=80)).len(), 3);
        assert_eq!(within(Span::ports(Protocol::Tcp, false, 81..=u16::MAX)).len(), 2);
        assert_eq!(within(Span::ports(Protocol::Tcp, true, 0..=1)).len(), 1);
    }
}
