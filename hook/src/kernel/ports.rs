use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket};
use rustix::rand::{GetRandomFlags, getrandom};

use super::error::{Doing, Error, Result};
use crate::model::{HostAddress, Protocol};

/// Whether a socket of the host prevents another one from binding to the port.
///
/// # Errors
/// When the kernel cannot be asked.
pub(in crate::kernel) fn is_bound(protocol: Protocol, address: HostAddress, port: u16) -> Result<bool> {
    let socket = SocketAddr::new(address.ip(), port);
    match bound(protocol, socket) {
        // No program can listen at an address that the host does not have.
        Ok(_) | Err(Errno::EADDRNOTAVAIL) => Ok(false),
        Err(Errno::EADDRINUSE) => Ok(true),
        // If the kernel has no such sockets, as without its SCTP module, no program listens on one.
        Err(Errno::EPROTONOSUPPORT | Errno::ESOCKTNOSUPPORT | Errno::EAFNOSUPPORT) => Ok(false),
        Err(error) => Err(Error::refused(format!("look for a listener on {socket}/{protocol}"), error)),
    }
}

/// Whether `address` is one of the host's own, the whole of 127.0.0.0/8 included.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn is_local(address: IpAddr) -> Result<bool> {
    match bound(Protocol::Udp, SocketAddr::new(address, 0)) {
        Ok(_) => Ok(true),
        Err(Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT) => Ok(false),
        Err(error) => Err(Error::refused(format!("look whether {address} is an address of the host"), error)),
    }
}

/// The ports that the kernel gives to programs which name none. ocinet also chooses host ports from these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeRange {
    /// The lowest of them.
    first: u16,
    /// The highest of them.
    last: u16,
    /// The ports that the operator reserves for programs that name one.
    reserved: Vec<(u16, u16)>,
}

impl FreeRange {
    /// Reads it (`ip_local_port_range` and `ip_local_reserved_ports`, ip-sysctl.rst).
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read() -> Result<Self> {
        let setting = |name| {
            let path = format!("/proc/sys/net/ipv4/{name}");
            fs::read_to_string(&path).doing(|| format!("read {path}"))
        };
        Self::parse(&setting("ip_local_port_range")?, &setting("ip_local_reserved_ports")?)
            .ok_or(Errno::EINVAL)
            .doing(|| "understand net.ipv4.ip_local_port_range and net.ipv4.ip_local_reserved_ports".into())
    }

    fn parse(range: &str, reserved: &str) -> Option<Self> {
        let (first, last) = range.trim().split_once(char::is_whitespace)?;
        let (first, last) = (first.parse().ok()?, last.trim().parse().ok()?);
        let run = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        let reserved = reserved.trim().split(',').filter(|text| !text.is_empty()).map(run).collect::<Option<_>>()?;
        (first > 0 && first <= last).then_some(Self { first, last, reserved })
    }

    /// Each port once, beginning at a random one, so that other processes are not likely to begin at the same.
    ///
    /// # Errors
    /// When the kernel has no random number.
    pub fn shuffled(self) -> Result<impl Iterator<Item = u16>> {
        let mut random = [0; 4];
        getrandom(&mut random, GetRandomFlags::INSECURE).doing(|| "get a random number".into())?;
        Ok(self.from(u32::from_ne_bytes(random)))
    }

    fn from(self, start: u32) -> impl Iterator<Item = u16> {
        let count = u32::from(self.last - self.first) + 1;
        let nth = move |n: u32| self.first + u16::try_from((start % count + n) % count).expect("less than 65536");
        let is_reserved = move |port: &u16| self.reserved.iter().any(|(first, last)| (first..=last).contains(&port));
        (0..count).map(nth).filter(move |port| !is_reserved(port))
    }
}

impl fmt::Display for FreeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A socket bound to `address`, not listening.
fn bound(protocol: Protocol, address: SocketAddr) -> nix::Result<OwnedFd> {
    let kind = if protocol == Protocol::Udp { SockType::Datagram } else { SockType::Stream };
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let probe = open(family, kind, protocol)?;
    // With this option connections in TIME_WAIT do not count, but listeners do. Two UDP sockets could share a port with
    // it.
    if protocol != Protocol::Udp && address.port() != 0 {
        setsockopt(&probe, ReuseAddr, &true)?;
    }
    if address.is_ipv6() {
        // A socket at 0.0.0.0 is none of another that listens for IPv6 alone.
        setsockopt(&probe, Ipv6V6Only, &true)?;
    }
    bind(probe.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(probe)
}

/// nix has no SCTP sockets on Linux.
#[allow(unsafe_code)]
fn open(family: AddressFamily, kind: SockType, protocol: Protocol) -> nix::Result<OwnedFd> {
    if protocol != Protocol::Sctp {
        return socket(family, kind, SockFlag::SOCK_CLOEXEC, None);
    }
    use std::os::fd::FromRawFd;
    // SAFETY: socket(2) takes no pointers; the returned descriptor has no other owner.
    unsafe {
        let fd = libc::socket(family as i32, kind as i32 | libc::SOCK_CLOEXEC, libc::IPPROTO_SCTP);
        Errno::result(fd).map(|fd| OwnedFd::from_raw_fd(fd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_none_that_the_operator_reserved() {
        let range = FreeRange::parse("40000\t40009\n", "8080,40003-40005,40009\n").unwrap();
        for start in [0, 7, 4_294_967_295] {
            let mut ports: Vec<u16> = range.clone().from(start).collect();
            ports.sort_unstable();
            assert_eq!(ports, [40_000, 40_001, 40_002, 40_006, 40_007, 40_008]);
        }
        assert_eq!(range.clone().from(7).take(2).collect::<Vec<_>>(), [40_007, 40_008]);
        assert_eq!(range.to_string(), "40000-40009");
        let whole = FreeRange::parse("1 65535", "\n").unwrap();
        assert_eq!(whole.from(9).count(), 65_535);
        assert_eq!(FreeRange::parse("60999 32768", ""), None);
        assert_eq!(FreeRange::parse("", ""), None);
    }

    #[test]
    fn an_address_of_others_is_not_local() {
        let is_local = |text: &str| super::is_local(text.parse().unwrap()).unwrap();
        assert!(is_local("127.0.0.1") && is_local("127.0.0.53") && !is_local("203.0.113.77"));
    }
}
