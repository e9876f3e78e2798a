//! Questions to other servers. They leave from the host's network namespace, as they came, with an id of our own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::shared::Turn;
use crate::wire;

/// How long one server may take. A client asks again after five seconds (RES_TIMEOUT, resolv.conf(5)).
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long one server may take over TCP.
const PATIENCE_TCP: Duration = Duration::from_secs(3);

/// A question that waits for the answer of another server over UDP.
pub struct Pending<'s> {
    /// Who asked.
    pub client: SocketAddr,
    /// What was asked, as it came.
    question: Vec<u8>,
    /// The same with the id that the servers see.
    asked: Vec<u8>,
    servers: std::vec::IntoIter<SocketAddr>,
    socket: UdpSocket,
    /// When the next server is asked.
    pub deadline: Instant,
    _turn: Turn<'s>,
}

/// What became of a question.
pub enum Progress {
    /// It waits.
    Waits,
    /// This is the answer, with the id that the client knows.
    Answered(Vec<u8>),
    /// No server has an answer.
    Failed,
}

impl<'s> Pending<'s> {
    /// Asks the first of `servers`. None where none of them can be asked.
    pub fn ask(question: Vec<u8>, client: SocketAddr, servers: Vec<SocketAddr>, turn: Turn<'s>) -> Option<Self> {
        let asked = wire::with_id(&question, random_id());
        let mut servers = servers.into_iter();
        let socket = next(&mut servers, &asked)?;
        let deadline = Instant::now() + PATIENCE;
        Some(Self { client, question, asked, servers, socket, deadline, _turn: turn })
    }

    /// Takes the server's answer, if it has come.
    pub fn receive(&mut self) -> Progress {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) if !wire::answers(&buffer[..length], &self.asked) => {}
                Ok(length) if wire::is_failure(&buffer[..length]) => return self.go_on(),
                Ok(length) => {
                    let id = u16::from_be_bytes([self.question[0], self.question[1]]);
                    return Progress::Answered(wire::with_id(&buffer[..length], id));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Waits,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // No program listens there.
                Err(_) => return self.go_on(),
            }
        }
    }

    /// Asks the next server.
    pub fn go_on(&mut self) -> Progress {
        match next(&mut self.servers, &self.asked) {
            Some(socket) => {
                (self.socket, self.deadline) = (socket, Instant::now() + PATIENCE);
                Progress::Waits
            }
            None => Progress::Failed,
        }
    }

    /// What was asked.
    pub fn question(&self) -> &[u8] {
        &self.question
    }
}

impl AsFd for Pending<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends `asked` to the first of `servers` to which that is possible, from a port that the kernel chooses at random.
fn next(servers: &mut impl Iterator<Item = SocketAddr>, asked: &[u8]) -> Option<UdpSocket> {
    let send = |server: SocketAddr| -> io::Result<UdpSocket> {
        let any = if server.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        socket.send(asked)?;
        Ok(socket)
    };
    servers.find_map(|server| send(server).ok())
}

/// Asks `servers` over TCP, one after the other.
pub fn ask_over_tcp(question: &[u8], servers: &[SocketAddr]) -> Option<Vec<u8>> {
    let ask = |server: &SocketAddr| -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(server, PATIENCE_TCP)?;
        stream.set_read_timeout(Some(PATIENCE_TCP))?;
        stream.set_write_timeout(Some(PATIENCE_TCP))?;
        let length = u16::try_from(question.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), question].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    let answers = servers.iter().filter_map(|server| ask(server).ok());
    answers.into_iter().find(|answer| wire::answers(answer, question) && !wire::is_failure(answer))
}

fn random_id() -> u16 {
    let mut bytes = [0; 2];
    // Without it the port alone is a secret.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u16::from_ne_bytes(bytes)
}
