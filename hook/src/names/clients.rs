//! Connections of containers over TCP, and of people and programs of the host.
//!
//! A client may ask several questions over one connection: glibc sends those for both families at once, and fails where
//! the connection ends after the first answer.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long a client may be silent, and how long its connection may last.
const SILENCE: Duration = Duration::from_secs(10);
const LIFE: Duration = Duration::from_secs(120);

/// The most bytes of a question, and of what is kept of several.
const QUESTION: usize = 4096;

/// Who is at the other end.
enum Stream {
    /// A container, at this address.
    Container(TcpStream, IpAddr),
    /// A program of the host.
    Host(UnixStream),
}

/// A connection.
pub struct Connection {
    stream: Stream,
    /// What has come and is not answered yet, and what is to be sent.
    taken: Vec<u8>,
    out: Vec<u8>,
    /// Whether a question of it waits for another server: its next one has to wait.
    pub waits: bool,
    /// Whether it ends once everything is sent.
    ends: bool,
    end: Instant,
    /// When it is closed.
    pub deadline: Instant,
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// A container's question.
    Question(Vec<u8>),
    /// A line of a program of the host.
    Line(String),
}

impl Connection {
    /// Of a container at `source`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn of_container(stream: TcpStream, source: IpAddr) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self::new(Stream::Container(stream, source)))
    }

    /// Of a program of the host.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn of_host(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::new(Stream::Host(stream)))
    }

    fn new(stream: Stream) -> Self {
        let now = Instant::now();
        let (deadline, end) = (now + SILENCE, now + LIFE);
        Self { stream, taken: Vec::new(), out: Vec::new(), waits: false, ends: false, end, deadline }
    }

    /// The container's address; none of a program of the host.
    pub fn source(&self) -> Option<IpAddr> {
        match &self.stream {
            Stream::Container(_, source) => Some(*source),
            Stream::Host(_) => None,
        }
    }

    /// Whether it is waited for until something comes, and until something can be sent.
    pub fn interest(&self) -> (bool, bool) {
        (self.out.is_empty() && !self.waits && !self.ends, !self.out.is_empty())
    }

    /// Takes what has come, and sends what is left to be sent. False where the connection is at its end.
    pub fn advance(&mut self) -> bool {
        if !self.send() {
            return false;
        }
        if !self.out.is_empty() || self.waits {
            return true;
        }
        let mut buffer = [0; QUESTION];
        match self.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => self.taken.extend_from_slice(&buffer[..count]),
            Err(error) if is_not_yet(&error) => {}
            Err(_) => return false,
        }
        self.taken.len() <= 2 * QUESTION
    }

    /// The next question or line, if it has come whole and the one before is answered. A client that sends byte by byte
    /// gets no more time.
    ///
    /// # Errors
    /// When it is longer than any.
    pub fn next(&mut self) -> Result<Option<Sent>, ()> {
        if self.waits || !self.out.is_empty() || self.ends {
            return Ok(None);
        }
        let (sent, length) = match &self.stream {
            Stream::Container(..) => {
                let Some((length, rest)) = self.taken.split_first_chunk() else { return Ok(None) };
                let length = usize::from(u16::from_be_bytes(*length));
                if length > QUESTION {
                    return Err(());
                }
                let Some(question) = rest.get(..length) else { return Ok(None) };
                (Sent::Question(question.to_vec()), length + 2)
            }
            Stream::Host(_) => {
                let Some(end) = self.taken.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
                (Sent::Line(String::from_utf8_lossy(&self.taken[..end]).into_owned()), end + 1)
            }
        };
        self.taken.drain(..length);
        self.deadline = self.end.min(Instant::now() + SILENCE);
        Ok(Some(sent))
    }

    /// Sends an answer. False where the connection is at its end.
    pub fn answer(&mut self, answer: &[u8]) -> bool {
        self.waits = false;
        match &self.stream {
            Stream::Container(..) => {
                let Ok(length) = u16::try_from(answer.len()) else { return false };
                self.out.extend(length.to_be_bytes());
                self.out.extend(answer);
            }
            Stream::Host(_) => {
                self.out.extend(answer);
                self.ends = true;
            }
        }
        self.send()
    }

    fn send(&mut self) -> bool {
        while !self.out.is_empty() {
            match self.write() {
                Ok(0) => return false,
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if is_not_yet(&error) => return true,
                Err(_) => return false,
            }
        }
        !self.ends
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Container(stream, _) => stream.read(buffer),
            Stream::Host(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Container(stream, _) => stream.write(&self.out),
            Stream::Host(stream) => stream.write(&self.out),
        }
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Container(stream, _) => stream.as_fd(),
            Stream::Host(stream) => stream.as_fd(),
        }
    }
}
