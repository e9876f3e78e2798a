//! Questions to other servers. They leave from the host's network namespace, as they came, with an id of our own.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use crate::slots::Ticket;
use crate::wire::{self, LONGEST};

/// How long one server may take before the next is asked.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How long all of them may take together. The last may take what is left of it. A client asks again after five seconds
/// (RES_TIMEOUT, resolv.conf(5)).
const PATIENCE_FOR_ALL: Duration = Duration::from_millis(4500);

/// How many servers are asked, as by the C library (MAXNS, resolv.conf(5)).
const SERVERS: usize = 3;

const PORT: u16 = 53;

/// Another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// Whether it must be another host. A server of the host's own answers this process where it would not answer a
    /// container: what comes from the host itself meets none of the host's rules.
    pub must_be_elsewhere: bool,
}

/// Who waits for an answer.
#[derive(Debug, Clone, Copy)]
pub enum Client {
    /// Over UDP: the number of the socket, and from where.
    Udp(usize, SocketAddr),
    /// Over TCP: its connection, and the address it is from.
    Tcp(Ticket, IpAddr),
}

impl Client {
    /// Whether it is that connection.
    pub fn is_at(&self, connection: Ticket) -> bool {
        matches!(self, Self::Tcp(ticket, _) if *ticket == connection)
    }

    /// The address of the container.
    pub fn source(&self) -> IpAddr {
        match self {
            Self::Udp(_, address) => address.ip(),
            Self::Tcp(_, source) => *source,
        }
    }
}

/// A question that waits for the answer of another server.
pub struct Asked {
    /// Who asked.
    pub client: Client,
    /// What was asked, as it came.
    pub question: Vec<u8>,
    /// The same with the id that the servers see.
    asked: Vec<u8>,
    servers: std::vec::IntoIter<Server>,
    transport: Transport,
    /// When the next server is asked.
    pub deadline: Instant,
    /// When no server is waited for any more.
    end: Instant,
}

/// What became of a question.
pub enum Progress {
    /// It waits.
    Waits,
    /// It waits for another server, by another socket.
    Moved,
    /// This is the answer, with the id that the client knows.
    Answered(Vec<u8>),
    /// No server has an answer.
    Failed,
}

enum Transport {
    Udp(UdpSocket),
    Tcp(Stream),
}

struct Stream {
    stream: TcpStream,
    /// What is still to be sent, and what has come.
    out: Vec<u8>,
    taken: Vec<u8>,
}

impl Asked {
    /// Asks the first of `servers`, over the protocol by which `client` asked. None where none of them can be asked.
    pub fn ask(question: Vec<u8>, client: Client, mut servers: Vec<Server>) -> Option<Self> {
        let asked = wire::with_id(&question, random_id());
        servers.truncate(SERVERS);
        let mut servers = servers.into_iter();
        let transport = next(&mut servers, &asked, &client)?;
        let end = Instant::now() + PATIENCE_FOR_ALL;
        let deadline = deadline(&servers, end);
        Some(Self { client, question, asked, servers, transport, deadline, end })
    }

    /// Whether the socket is waited for until it can be written to, too.
    pub fn has_to_send(&self) -> bool {
        matches!(&self.transport, Transport::Tcp(stream) if !stream.out.is_empty())
    }

    /// Takes what has come.
    pub fn advance(&mut self) -> Progress {
        let received = match &mut self.transport {
            Transport::Udp(socket) => receive(socket, &self.asked),
            Transport::Tcp(stream) => stream.advance(&self.asked),
        };
        match received {
            Ok(Some(answer)) if wire::is_failure(&answer) => self.go_on(),
            Ok(Some(answer)) => Progress::Answered(wire::with_id(&answer, wire::id_of(&self.question))),
            Ok(None) => Progress::Waits,
            // No program listens there, or it is no name server.
            Err(_) => self.go_on(),
        }
    }

    /// Asks the next server.
    pub fn go_on(&mut self) -> Progress {
        match next(&mut self.servers, &self.asked, &self.client) {
            Some(transport) => {
                (self.transport, self.deadline) = (transport, deadline(&self.servers, self.end));
                Progress::Moved
            }
            None => Progress::Failed,
        }
    }
}

impl AsFd for Asked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.transport {
            Transport::Udp(socket) => socket.as_fd(),
            Transport::Tcp(stream) => stream.stream.as_fd(),
        }
    }
}

/// How long the server that was just asked may take, with `others` after it.
fn deadline(others: &std::vec::IntoIter<Server>, end: Instant) -> Instant {
    if others.len() == 0 { end } else { end.min(Instant::now() + PATIENCE) }
}

/// The answer to `asked`, if it has come. What is none is dropped: anyone can send it.
fn receive(socket: &UdpSocket, asked: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; LONGEST];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) if wire::answers(&buffer[..length], asked) => return Ok(Some(buffer[..length].to_vec())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Stream {
    fn advance(&mut self, asked: &[u8]) -> io::Result<Option<Vec<u8>>> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if is_not_yet(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.taken.extend_from_slice(&buffer[..count]),
                Err(error) if is_not_yet(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
            let Some((length, rest)) = self.taken.split_first_chunk() else { continue };
            if let Some(answer) = rest.get(..usize::from(u16::from_be_bytes(*length))) {
                let is_one = wire::answers(answer, asked);
                return if is_one { Ok(Some(answer.to_vec())) } else { Err(io::ErrorKind::InvalidData.into()) };
            }
            if self.taken.len() > LONGEST + 2 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

/// Linux answers a write before the connection is made with EAGAIN, or with ENOTCONN.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::NotConnected)
}

/// Sends `asked` to the first of `servers` to which that is possible, from a port that the kernel chooses at random.
fn next(servers: &mut impl Iterator<Item = Server>, asked: &[u8], client: &Client) -> Option<Transport> {
    servers.find_map(|server| match client {
        Client::Udp(..) => over_udp(server, asked).ok(),
        Client::Tcp(..) => over_tcp(server, asked).ok(),
    })
}

fn over_udp(server: Server, asked: &[u8]) -> io::Result<Transport> {
    let socket = UdpSocket::bind(SocketAddr::new(unspecified(server.address), 0))?;
    socket.connect((server.address, PORT))?;
    refuse_own(server, socket.local_addr()?.ip())?;
    socket.set_nonblocking(true)?;
    socket.send(asked)?;
    Ok(Transport::Udp(socket))
}

fn over_tcp(server: Server, asked: &[u8]) -> io::Result<Transport> {
    if server.must_be_elsewhere {
        let probe = UdpSocket::bind(SocketAddr::new(unspecified(server.address), 0))?;
        probe.connect((server.address, PORT))?;
        refuse_own(server, probe.local_addr()?.ip())?;
    }
    let family = if server.address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = TcpStream::from(socket(family, SockType::Stream, flags, None)?);
    match connect(stream.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(server.address, PORT))) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let length = u16::try_from(asked.len()).map_err(io::Error::other)?;
    let out = [&length.to_be_bytes(), asked].concat();
    Ok(Transport::Tcp(Stream { stream, out, taken: Vec::new() }))
}

/// The kernel gives a connection to an address of the host that address as its source.
fn refuse_own(server: Server, source: IpAddr) -> io::Result<()> {
    let is_own = server.address.to_canonical() == source.to_canonical();
    if server.must_be_elsewhere && is_own { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
}

fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

fn random_id() -> u16 {
    let mut bytes = [0; 2];
    // Without it the port alone is a secret.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u16::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client waits for is waited for here, however few servers there are.
    #[test]
    fn the_last_server_may_take_what_is_left() {
        let began = Instant::now();
        let end = began + PATIENCE_FOR_ALL;
        let servers = |count: usize| {
            let server = Server { address: [192, 0, 2, 53].into(), must_be_elsewhere: false };
            vec![server; count].into_iter()
        };
        assert_eq!(deadline(&servers(0), end), end);
        assert!((began + PATIENCE..end).contains(&deadline(&servers(1), end)));
        assert_eq!(deadline(&servers(1), began), began, "no longer than for all");
    }
}
