use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Families, Family, Invalid};

/// A transport protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, the default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The protocol number of the IP header (IANA).
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl FromStr for Protocol {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Invalid::new("protocol", text, "is none of tcp, udp, sctp")),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// The host's address a port is published on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<IpAddr>", into = "Option<IpAddr>")]
pub enum HostAddress {
    /// Every address of the host, of each family that the container has.
    Any,
    /// Every address of this family.
    AnyOf(Family),
    /// One IPv4 address.
    V4(Ipv4Addr),
    /// One IPv6 address.
    V6(Ipv6Addr),
}

impl From<Option<IpAddr>> for HostAddress {
    fn from(address: Option<IpAddr>) -> Self {
        match address {
            None => Self::Any,
            Some(ip) if ip.is_unspecified() => Self::AnyOf(Family::of(ip)),
            Some(IpAddr::V4(v4)) => Self::V4(v4),
            Some(IpAddr::V6(v6)) => Self::V6(v6),
        }
    }
}

impl From<HostAddress> for Option<IpAddr> {
    fn from(address: HostAddress) -> Self {
        match address {
            HostAddress::Any => None,
            HostAddress::AnyOf(Family::V4) => Some(Ipv4Addr::UNSPECIFIED.into()),
            HostAddress::AnyOf(Family::V6) => Some(Ipv6Addr::UNSPECIFIED.into()),
            HostAddress::V4(v4) => Some(v4.into()),
            HostAddress::V6(v6) => Some(v6.into()),
        }
    }
}

impl HostAddress {
    /// The address to bind to, with 0.0.0.0 for any.
    pub fn ip(self) -> IpAddr {
        Option::<IpAddr>::from(self).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// The one address that it is; none where it is several.
    pub fn one(self) -> Option<IpAddr> {
        Option::<IpAddr>::from(self).filter(|ip| !ip.is_unspecified())
    }

    /// Its family; none where it is of both.
    pub fn family(self) -> Option<Family> {
        Option::<IpAddr>::from(self).map(Family::of)
    }

    /// Whether a packet can be for both.
    pub fn overlaps(self, other: Self) -> bool {
        match (self.family(), other.family()) {
            (Some(one), Some(other)) if one != other => false,
            _ => self.one().is_none() || other.one().is_none() || self == other,
        }
    }

    /// The same for a container that has `families`: every address of the host becomes those of each.
    pub fn of_families(self, families: Families) -> Vec<Self> {
        match self {
            Self::Any => families.iter().map(Self::AnyOf).collect(),
            one => vec![one],
        }
    }
}

/// Published ports: `count` ports of the host from `host_port` on lead to as many of the container from
/// `container_port` on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The host's address; `null` in JSON is any.
    pub host_address: HostAddress,
    /// The first port of the host.
    pub host_port: u16,
    /// The first port of the container.
    pub container_port: u16,
    /// How many ports follow one another.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u16,
}

fn one() -> u16 {
    1
}

fn is_one(count: &u16) -> bool {
    *count == 1
}

impl PortMapping {
    /// The most ports in a row. The search for the holder of a port looks no further back.
    pub const MAX_COUNT: u16 = 4096;

    /// The last port of the host.
    pub fn last_host_port(&self) -> u16 {
        self.host_port + (self.count - 1)
    }

    /// Each pair of a host's and a container's port.
    pub fn pairs(&self) -> impl Iterator<Item = (u16, u16)> + use<> {
        let (host, container) = (self.host_port, self.container_port);
        (0..self.count).map(move |n| (host + n, container + n))
    }

    /// Takes `next` in if it simply goes on where this one ends, so that a range is one row and one line.
    pub fn absorb(&mut self, next: &Self) -> bool {
        let follows = self.protocol == next.protocol
            && self.host_address == next.host_address
            && u32::from(self.count) + u32::from(next.count) <= u32::from(Self::MAX_COUNT)
            && u32::from(self.host_port) + u32::from(self.count) == u32::from(next.host_port)
            && u32::from(self.container_port) + u32::from(self.count) == u32::from(next.container_port);
        if follows {
            self.count += next.count;
        }
        follows
    }
}

impl fmt::Display for PortMapping {
    /// As Docker's tables show it: `0.0.0.0:8080->80/tcp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |first: u16| match self.count {
            1 => first.to_string(),
            n => format!("{first}-{}", u32::from(first) + u32::from(n) - 1),
        };
        let host = std::net::SocketAddr::new(self.host_address.ip(), 0).to_string();
        let host = host.trim_end_matches('0');
        write!(f, "{host}{}->{}/{}", range(self.host_port), range(self.container_port), self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_read_like_dockers() {
        let mut ports = PortMapping {
            protocol: Protocol::Tcp,
            host_address: HostAddress::Any,
            host_port: 8080,
            container_port: 80,
            count: 1,
        };
        assert_eq!(ports.to_string(), "0.0.0.0:8080->80/tcp");
        assert!(ports.absorb(&PortMapping { host_port: 8081, container_port: 81, ..ports.clone() }));
        assert!(!ports.absorb(&PortMapping { host_port: 8083, container_port: 82, ..ports.clone() }));
        assert_eq!(ports.to_string(), "0.0.0.0:8080-8081->80-81/tcp");
        let longest = PortMapping { count: PortMapping::MAX_COUNT, ..ports.clone() };
        assert!(!longest.clone().absorb(&PortMapping { host_port: 12_176, container_port: 4176, count: 1, ..longest }));
        ports.host_address = HostAddress::V6(Ipv6Addr::LOCALHOST);
        assert_eq!(ports.to_string(), "[::1]:8080-8081->80-81/tcp");
    }

    #[test]
    fn any_is_null_in_json() {
        let (any, v4, v6) = (HostAddress::Any, HostAddress::AnyOf(Family::V4), HostAddress::AnyOf(Family::V6));
        for (address, text) in [(any, "null"), (v4, "\"0.0.0.0\""), (v6, "\"::\"")] {
            assert_eq!(serde_json::to_string(&address).unwrap(), text);
            assert_eq!(serde_json::from_str::<HostAddress>(text).unwrap(), address);
        }
    }

    #[test]
    fn addresses_overlap_within_a_family() {
        let of = |text: &str| HostAddress::from(text.parse::<IpAddr>().ok());
        let [v4, v6] = Family::ALL.map(HostAddress::AnyOf);
        for (one, other, expected) in [
            (HostAddress::Any, of("::1"), true),
            (HostAddress::Any, v4, true),
            (v4, of("127.0.0.1"), true),
            (v4, v6, false),
            (v4, of("::1"), false),
            (v6, of("::1"), true),
            (of("127.0.0.1"), of("127.0.0.1"), true),
            (of("127.0.0.1"), of("127.0.0.2"), false),
        ] {
            assert_eq!((one.overlaps(other), other.overlaps(one)), (expected, expected), "{one:?} {other:?}");
        }
    }
}
