use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, getsockname, setsockopt, socket};

use super::error::{Doing, Error, Result};
use crate::model::{HostAddress, Protocol};

/// Whether a process of the host listens where a published port would take its traffic away. Any address conflicts
/// with every local listener on the port.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn listener_on(protocol: Protocol, address: HostAddress, port: u16) -> Result<bool> {
    match bound(protocol, SocketAddr::new(address.ip(), port)) {
        // At an address that the host does not have, nobody listens.
        Ok(_) | Err(Errno::EADDRNOTAVAIL) => Ok(false),
        Err(Errno::EADDRINUSE) => Ok(true),
        // Where the kernel has no such sockets, as without its SCTP module, nobody listens on one.
        Err(Errno::EPROTONOSUPPORT | Errno::ESOCKTNOSUPPORT | Errno::EAFNOSUPPORT) => Ok(false),
        Err(error) => {
            let socket = SocketAddr::new(address.ip(), port);
            Err(Error::refused(format!("look for a listener on {socket}/{protocol}"), error))
        }
    }
}

/// Whether `address` is one of the host's own, the whole of 127.0.0.0/8 included.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn is_local(address: IpAddr) -> Result<bool> {
    match bound(Protocol::Udp, SocketAddr::new(address, 0)) {
        Ok(_) => Ok(true),
        Err(Errno::EADDRNOTAVAIL) => Ok(false),
        Err(error) => Err(Error::refused(format!("ask whether {address} is the host's"), error)),
    }
}

/// A port on which nothing of the host listens, out of the kernel's ephemeral range. The guard keeps it from being found
/// twice as long as it lives.
///
/// # Errors
/// When the range is used up.
pub fn free_port(protocol: Protocol, address: HostAddress) -> Result<(u16, PortGuard)> {
    // Without SCTP sockets any number will do; TCP's are as good as others.
    let protocol = if protocol == Protocol::Sctp { Protocol::Tcp } else { protocol };
    let what = || format!("find a free {protocol} port on {}", address.ip());
    let guard = bound(protocol, SocketAddr::new(address.ip(), 0)).doing(what)?;
    let name: SockaddrStorage = getsockname(guard.as_raw_fd()).doing(what)?;
    let port = name.as_sockaddr_in().map(|v4| v4.port()).or_else(|| name.as_sockaddr_in6().map(|v6| v6.port()));
    Ok((port.ok_or(Errno::EAFNOSUPPORT).doing(what)?, PortGuard(guard)))
}

/// Keeps a port from being found free twice.
#[derive(Debug)]
pub struct PortGuard(#[expect(dead_code, reason = "held for its effect")] OwnedFd);

/// A socket bound to `address`, not listening.
fn bound(protocol: Protocol, address: SocketAddr) -> nix::Result<OwnedFd> {
    let kind = if protocol == Protocol::Udp { SockType::Datagram } else { SockType::Stream };
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let probe = open(family, kind, protocol)?;
    // With it, connections in TIME_WAIT do not count, but listeners do. Two UDP sockets could share a port with it.
    if protocol != Protocol::Udp && address.port() != 0 {
        setsockopt(&probe, ReuseAddr, &true)?;
    }
    bind(probe.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(probe)
}

/// nix knows no SCTP sockets on Linux.
#[allow(unsafe_code)]
fn open(family: AddressFamily, kind: SockType, protocol: Protocol) -> nix::Result<OwnedFd> {
    if protocol != Protocol::Sctp {
        return socket(family, kind, SockFlag::SOCK_CLOEXEC, None);
    }
    use std::os::fd::FromRawFd;
    // SAFETY: socket(2) takes no pointers; the descriptor it returns is nobody else's.
    unsafe {
        let fd = libc::socket(family as i32, kind as i32 | libc::SOCK_CLOEXEC, libc::IPPROTO_SCTP);
        Errno::result(fd).map(|fd| OwnedFd::from_raw_fd(fd))
    }
}
