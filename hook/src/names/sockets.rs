//! The sockets at which containers ask. The supervisor makes them once, in the name server's namespace, and keeps them:
//! what is asked while a worker is replaced waits in them.
//!
//! There are several for each family and protocol, and the kernel chooses one by the last bits of the address that a
//! question comes from. So a container that floods fills the queue of its own socket, and the worker takes from all of
//! them in turn.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{sock_filter, sock_fprog};
use nix::sys::socket::sockopt::{AttachReusePortCbpf, Ipv6V6Only, RcvBufForce, ReuseAddr, ReusePort};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket};

use ocinet::driver::NAME_SERVERS;
use ocinet::kernel::{self, Netns};

/// How many sockets there are for UDP, and for TCP, of each family: powers of two.
const UDP: u32 = 32;
const TCP: u32 = 8;

/// What one of them holds while the worker is replaced or busy: two thousand questions, each of which counts with its
/// frame.
const QUEUE: usize = 1 << 20;
const BACKLOG: i32 = 128;

const PORT: u16 = 53;

/// The sockets.
pub struct Sockets {
    /// For UDP.
    pub udp: Vec<UdpSocket>,
    /// For TCP.
    pub tcp: Vec<TcpListener>,
}

impl Sockets {
    /// Makes them in `namespace`, of the families that it has.
    ///
    /// # Errors
    /// When another program has the port there, or the kernel refuses.
    pub fn open(namespace: &Netns) -> kernel::Result<Self> {
        namespace.within(|| {
            let mut sockets = Self { udp: Vec::new(), tcp: Vec::new() };
            for address in NAME_SERVERS {
                match sockets.add(address) {
                    // The kernel has no IPv6.
                    Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) if address.is_ipv6() => {}
                    result => result.map_err(|error| {
                        kernel::Error::refused(format!("listen on port {PORT} of {address}"), error)
                    })?,
                }
            }
            Ok(sockets)
        })
    }

    fn add(&mut self, address: IpAddr) -> nix::Result<()> {
        let at = SocketAddr::new(address, PORT);
        let udp: Vec<OwnedFd> = (0..UDP).map(|_| bound(at, SockType::Datagram)).collect::<nix::Result<_>>()?;
        for one in &udp {
            setsockopt(one, RcvBufForce, &QUEUE)?;
        }
        let tcp: Vec<OwnedFd> = (0..TCP).map(|_| bound(at, SockType::Stream)).collect::<nix::Result<_>>()?;
        for one in &tcp {
            listen(one, Backlog::new(BACKLOG)?)?;
        }
        spread(&udp, address, UDP)?;
        spread(&tcp, address, TCP)?;
        self.udp.extend(udp.into_iter().map(UdpSocket::from));
        self.tcp.extend(tcp.into_iter().map(TcpListener::from));
        Ok(())
    }

    /// All of them, in the order in which [`Sockets::taken_over`] takes them.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.udp.iter().map(AsFd::as_fd).chain(self.tcp.iter().map(AsFd::as_fd)).collect()
    }

    /// Those that another program of this process made. Where they are as many as there would be.
    ///
    /// # Errors
    /// When they are of another number: then another version made them, and new ones are to be made.
    pub fn taken_over(descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let each = (UDP + TCP) as usize;
        if descriptors.is_empty() || !descriptors.len().is_multiple_of(each) {
            return Err(io::Error::other("another version made the sockets"));
        }
        let count = descriptors.len() / each * UDP as usize;
        let mut all = descriptors.into_iter();
        let udp = all.by_ref().take(count).map(UdpSocket::from).collect();
        Ok(Self { udp, tcp: all.map(TcpListener::from).collect() })
    }
}

fn bound(at: SocketAddr, kind: SockType) -> nix::Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&socket, ReuseAddr, &(kind == SockType::Stream))?;
    setsockopt(&socket, ReusePort, &true)?;
    if at.is_ipv6() {
        setsockopt(&socket, Ipv6V6Only, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(at))?;
    Ok(socket)
}

/// Has the kernel choose among `sockets`, of which there are `count`, by the last bits of the source address
/// (`reuseport_select_sock`, net/core/sock_reuseport.c).
fn spread(sockets: &[OwnedFd], address: IpAddr, count: u32) -> nix::Result<()> {
    /// The header of the network layer (`SKF_NET_OFF`, linux/filter.h).
    const NETWORK_HEADER: u32 = 0xfff0_0000;
    const LOAD_WORD: u16 = 0x20;
    const AND: u16 = 0x54;
    const RETURN_IT: u16 = 0x16;
    // The last four bytes of the source: in IPv4 it begins at 12 (RFC 791), in IPv6 at 8 (RFC 8200).
    let source = NETWORK_HEADER + if address.is_ipv4() { 12 } else { 8 + 12 };
    let mut program =
        [(LOAD_WORD, source), (AND, count - 1), (RETURN_IT, 0)].map(|(code, k)| sock_filter { code, jt: 0, jf: 0, k });
    let program = sock_fprog { len: 3, filter: program.as_mut_ptr() };
    sockets.first().map_or(Ok(()), |first| setsockopt(first, AttachReusePortCbpf, &program))
}
