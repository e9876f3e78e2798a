//! The fields of keys and data: each is written as text for `nft` and as bytes for the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::words;
use crate::model::{Family, InterfaceName, Protocol};

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// The name of a link.
    Link,
    /// An address of that family.
    Address(Family),
    /// An address family.
    Family,
    /// A transport protocol.
    Protocol,
    /// A port of any transport protocol.
    Port,
}

/// A field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The name of a link.
    Link(InterfaceName),
    /// An address.
    Address(IpAddr),
    /// A range of addresses, in a set that has ranges.
    Range(IpNet),
    /// An address family.
    Family(Family),
    /// A transport protocol.
    Protocol(Protocol),
    /// A port.
    Port(u16),
}

impl Type {
    /// As `nft` calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Link => "ifname",
            Self::Address(family) => words(family).address,
            Self::Family => "nf_proto",
            Self::Protocol => "inet_proto",
            Self::Port => "inet_service",
        }
    }

    /// How many bytes it has.
    pub fn length(self) -> usize {
        match self {
            // `IFNAMSIZ`.
            Self::Link => 16,
            Self::Address(Family::V4) => 4,
            Self::Address(Family::V6) => 16,
            Self::Family | Self::Protocol => 1,
            Self::Port => 2,
        }
    }

    /// The field that [`Field::bytes`] made `bytes` of; none where they are too few, or no field of ours.
    pub fn read(self, bytes: &[u8]) -> Option<Field> {
        match self {
            Self::Address(Family::V4) => {
                bytes.first_chunk::<4>().map(|octets| Field::Address(Ipv4Addr::from(*octets).into()))
            }
            Self::Address(Family::V6) => {
                bytes.first_chunk::<16>().map(|octets| Field::Address(Ipv6Addr::from(*octets).into()))
            }
            Self::Family => {
                let is_it = |family: &Family| bytes.first() == Some(&words(*family).number);
                Family::ALL.into_iter().find(is_it).map(Field::Family)
            }
            Self::Protocol => {
                let is_it = |protocol: &Protocol| bytes.first() == Some(&protocol.number());
                Protocol::ALL.into_iter().find(is_it).map(Field::Protocol)
            }
            Self::Port => bytes.first_chunk::<2>().map(|port| Field::Port(u16::from_be_bytes(*port))),
            Self::Link => {
                let name = bytes.split(|byte| *byte == 0).next()?;
                str::from_utf8(name).ok()?.parse().ok().map(Field::Link)
            }
        }
    }
}

impl Field {
    /// As `nft` reads it.
    pub fn text(&self) -> String {
        match self {
            Self::Link(link) => format!("\"{link}\""),
            Self::Address(address) => address.to_string(),
            Self::Range(range) => range.to_string(),
            Self::Family(family) => words(*family).nfproto.into(),
            Self::Protocol(protocol) => protocol.to_string(),
            Self::Port(port) => port.to_string(),
        }
    }

    /// As the kernel takes it: network byte order. Of a range, its beginning: the kernel keeps its end as an element of
    /// its own.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Link(link) => {
                let mut bytes = link.as_str().as_bytes().to_vec();
                bytes.resize(Type::Link.length(), 0);
                bytes
            }
            Self::Address(address) => octets(*address),
            Self::Range(range) => octets(range.network()),
            Self::Family(family) => vec![words(*family).number],
            Self::Protocol(protocol) => vec![protocol.number()],
            Self::Port(port) => port.to_be_bytes().to_vec(),
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
