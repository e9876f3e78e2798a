//! Programs that listen on the host's ports.
//!
//! A bind shows in a few microseconds whether a port is in use, but not by what, and each further port costs as much.
//! So if a bind fails, or if there are many ports, the kernel is asked for a list of all listeners (sock_diag(7)). If
//! the kernel has no such lists, the bind decides.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator};

use super::Netlink;
use crate::kernel::error::{Error, Result};
use crate::kernel::ports::is_bound;
use crate::model::{Family, HostAddress, Protocol};

/// The number of ports that are tried with a bind before the list is requested, which costs as much as some ten binds.
const BINDS: usize = 8;

/// The listening programs of the host, as far as they were looked up.
pub struct Listeners {
    /// How many ports are still tried with a bind.
    binds_left: usize,
    tcp: Known,
    udp: Known,
}

impl Listeners {
    /// For a few ports. More ports are also correct.
    pub fn of_few() -> Self {
        Self { binds_left: BINDS, tcp: Known::NotAsked, udp: Known::NotAsked }
    }

    /// For many ports.
    pub fn of_many() -> Self {
        Self { binds_left: 0, ..Self::of_few() }
    }

    /// Whether a program listens on a port whose packets a port published on `address` would take. Of the loopback
    /// range, a port published on every address covers only 127.0.0.1 (`firewall/nftables/mod.rs`), so a resolver at
    /// 127.0.0.53 does not conflict. Nor does a connection that has the port as its source: its answers still reach it.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn has(&mut self, protocol: Protocol, address: HostAddress, port: u16) -> Result<bool> {
        let known = match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
            Protocol::Sctp => return is_bound(protocol, address, port),
        };
        if *known == Known::NotAsked {
            let bind = self.binds_left > 0;
            self.binds_left = self.binds_left.saturating_sub(1);
            if bind && !is_bound(protocol, address, port)? {
                return Ok(false);
            }
            *known = listed(protocol)?;
        }
        match known {
            Known::Listed(by_port) => {
                Ok(by_port.get(&port).is_some_and(|there| there.iter().any(|one| meets(*one, address))))
            }
            Known::NotAsked | Known::Unlisted => is_bound(protocol, address, port),
        }
    }
}

/// The listeners of one protocol.
#[derive(PartialEq)]
enum Known {
    NotAsked,
    /// Where programs listen, by port.
    Listed(HashMap<u16, Vec<Listener>>),
    /// The kernel has no such list.
    Unlisted,
}

fn meets(listener: Listener, published: HostAddress) -> bool {
    let v4 = |is_met: fn(Ipv4Addr, Option<IpAddr>) -> bool| {
        listener.v4().is_some_and(|address| is_met(address, published.one()))
    };
    let v6 = |is_met: fn(Ipv6Addr, Option<IpAddr>) -> bool| {
        listener.v6().is_some_and(|address| is_met(address, published.one()))
    };
    match published {
        HostAddress::Any | HostAddress::AnyOf(Family::V4) => {
            v4(|address, _| !address.is_loopback() || address == Ipv4Addr::LOCALHOST)
        }
        HostAddress::AnyOf(Family::V6) => v6(|_, _| true),
        HostAddress::V4(_) => v4(|address, one| address.is_unspecified() || Some(address.into()) == one),
        HostAddress::V6(_) => v6(|address, one| address.is_unspecified() || Some(address.into()) == one),
    }
}

fn listed(protocol: Protocol) -> Result<Known> {
    match listeners(protocol) {
        Ok(listeners) => {
            let mut by_port: HashMap<u16, Vec<Listener>> = HashMap::new();
            for listener in listeners {
                by_port.entry(listener.port).or_default().push(listener);
            }
            Ok(Known::Listed(by_port))
        }
        // No sock_diag, or none for this protocol (`__sock_diag_cmd`, net/core/sock_diag.c; `inet_diag_lock_handler`,
        // net/ipv4/inet_diag.c).
        Err(error) if [libc::ENOENT, libc::EPROTONOSUPPORT].map(Some).contains(&error.errno()) => Ok(Known::Unlisted),
        Err(error) => Err(error),
    }
}

fn listeners(protocol: Protocol) -> Result<Vec<Listener>> {
    let mut netlink = Netlink::sockets()?;
    let mut listeners = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let listed = netlink.stream(Diag::Question { family, protocol }, |answer| {
            if let Diag::Socket(listener) = answer {
                listeners.push(listener);
            }
        });
        listed.map_err(|error| Error::refused(format!("list the {protocol} listeners of the host"), error))?;
    }
    Ok(listeners)
}

/// The address and port of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    port: u16,
    /// 0.0.0.0 or :: for all.
    address: IpAddr,
    /// Whether it does not listen for IPv4 at ::.
    only_v6: bool,
}

impl Listener {
    /// The IPv4 address at which it listens.
    fn v4(self) -> Option<Ipv4Addr> {
        match self.address.to_canonical() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(address) => (address.is_unspecified() && !self.only_v6).then_some(Ipv4Addr::UNSPECIFIED),
        }
    }

    /// The IPv6 address at which it listens.
    fn v6(self) -> Option<Ipv6Addr> {
        match self.address {
            IpAddr::V6(address) => address.to_ipv4_mapped().is_none().then_some(address),
            IpAddr::V4(_) => None,
        }
    }
}

/// A message of sock_diag (`SOCK_DIAG_BY_FAMILY`, linux/sock_diag.h; linux/inet_diag.h).
#[derive(Debug)]
enum Diag {
    /// A request for listeners.
    Question { family: i32, protocol: Protocol },
    /// A socket.
    Socket(Listener),
}

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// The length of `struct inet_diag_req_v2`, and of `struct inet_diag_msg` before its attributes.
const QUESTION: usize = 56;
const ANSWER: usize = 72;
/// `INET_DIAG_SKV6ONLY`: whether an IPv6 socket does not accept IPv4.
const ONLY_V6: u16 = 11;
/// States (net/tcp_states.h). A UDP socket that is bound and not connected is in the state closed.
const CLOSE: u32 = 7;
const LISTEN: u32 = 10;

impl NetlinkSerializable for Diag {
    fn message_type(&self) -> u16 {
        BY_FAMILY
    }

    fn buffer_len(&self) -> usize {
        QUESTION
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let Self::Question { family, protocol } = self else { return };
        let state = if *protocol == Protocol::Udp { CLOSE } else { LISTEN };
        buffer.fill(0);
        buffer[0] = u8::try_from(*family).expect("AF_INET and AF_INET6 are small");
        buffer[1] = protocol.number();
        buffer[4..8].copy_from_slice(&(1u32 << state).to_ne_bytes());
    }
}

impl NetlinkDeserializable for Diag {
    type Error = io::Error;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> io::Result<Self> {
        let (socket, attributes) =
            payload.split_first_chunk::<ANSWER>().ok_or_else(|| io::Error::other("it is short"))?;
        let port = u16::from_be_bytes([socket[4], socket[5]]);
        let source: [u8; 16] = socket[8..24].try_into().expect("sixteen bytes");
        let address = match i32::from(socket[0]) {
            libc::AF_INET => Ipv4Addr::new(source[0], source[1], source[2], source[3]).into(),
            _ => Ipv6Addr::from(source).into(),
        };
        let only_v6 = is_only_v6(attributes).map_err(io::Error::other)?;
        Ok(Self::Socket(Listener { port, address, only_v6 }))
    }
}

fn is_only_v6(attributes: &[u8]) -> std::result::Result<bool, DecodeError> {
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        if attribute.kind() == ONLY_V6 {
            return Ok(attribute.value() != [0]);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn v4(text: &str) -> HostAddress {
        HostAddress::V4(text.parse().unwrap())
    }

    #[test]
    fn only_what_would_lose_traffic_is_in_the_way() {
        let meets = |address: &str, published| super::meets(listener(address, false), published);
        for listener in ["0.0.0.0", "127.0.0.1", "192.0.2.1"] {
            assert!(meets(listener, HostAddress::Any), "{listener}");
            assert!(meets(listener, v4("127.0.0.1")) == (listener != "192.0.2.1"), "{listener}");
        }
        assert!(!meets("127.0.0.53", HostAddress::Any), "a resolver's");
        assert!(meets("127.0.0.53", v4("127.0.0.53")));
        assert!(!meets("127.0.0.1", v4("192.0.2.1")));
        let (v6, one) = (HostAddress::AnyOf(Family::V6), HostAddress::from(Some("2001:db8::1".parse().unwrap())));
        assert!(meets("::", v6) && meets("::", one) && meets("::", HostAddress::Any) && meets("2001:db8::1", one));
        assert!(meets("2001:db8::2", v6) && !meets("2001:db8::2", one) && !meets("2001:db8::2", HostAddress::Any));
        let loopback = HostAddress::from(Some("::1".parse().unwrap()));
        assert!(meets("::1", v6) && meets("::1", loopback) && meets("::", loopback) && !meets("127.0.0.1", loopback));
        assert!(!meets("0.0.0.0", v6) && !meets("::ffff:192.0.2.1", v6) && meets("::ffff:192.0.2.1", v4("192.0.2.1")));
        assert!(!super::meets(listener("::", true), HostAddress::AnyOf(Family::V4)));
    }

    fn listener(address: &str, only_v6: bool) -> Listener {
        Listener { port: 80, address: address.parse().unwrap(), only_v6 }
    }

    #[test]
    fn a_socket_of_ipv6_may_listen_for_ipv4() {
        let of = |text: &str, only_v6| listener(text, only_v6).v4();
        assert_eq!(of("::", false), Some(Ipv4Addr::UNSPECIFIED));
        assert_eq!(of("::", true), None);
        assert_eq!(of("::ffff:192.0.2.1", false), Some(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(of("::1", false), None);
    }

    #[test]
    fn the_kernel_lists_who_listens_and_not_who_is_connected() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect(udp.local_addr().unwrap()).unwrap();
        let [listening, asking] = [tcp.local_addr(), client.local_addr()].map(|address| address.unwrap().port());
        let [bound, sending] = [&udp, &connected].map(|socket| socket.local_addr().unwrap().port());
        for mut listeners in [Listeners::of_few(), Listeners::of_many()] {
            let mut has = |protocol, port| listeners.has(protocol, v4("127.0.0.1"), port).unwrap();
            assert!(has(Protocol::Tcp, listening) && has(Protocol::Udp, bound));
            assert!(!has(Protocol::Tcp, asking) && !has(Protocol::Udp, sending));
            assert!(!has(Protocol::Tcp, bound) && !has(Protocol::Udp, listening), "another protocol's");
        }
    }

    #[test]
    fn an_answer_is_read_as_the_kernel_writes_it() {
        let mut bytes = vec![0; ANSWER];
        bytes[0] = 10;
        bytes[4..6].copy_from_slice(&8080u16.to_be_bytes());
        let read = |bytes: &[u8]| match Diag::deserialize(&NetlinkHeader::default(), bytes) {
            Ok(Diag::Socket(listener)) => listener,
            other => panic!("{other:?}"),
        };
        let any = Listener { port: 8080, address: Ipv6Addr::UNSPECIFIED.into(), only_v6: false };
        assert_eq!(read(&bytes), any);
        bytes.extend([5, 0, 11, 0, 1, 0, 0, 0]);
        assert_eq!(read(&bytes), Listener { only_v6: true, ..any });
        assert!(Diag::deserialize(&NetlinkHeader::default(), &bytes[..40]).is_err());
    }
}
