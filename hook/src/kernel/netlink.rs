//! One synchronous exchange with the kernel over netlink.
//!
//! rtnetlink's own handles are asynchronous, and a hook does one thing after the other: the kernel answers inside
//! `send`, so a plain socket needs no runtime, no task and no wake-up. The messages come from rtnetlink's builders.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, protocols};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;

use super::error::{Doing, Result};

/// Larger than any answer but a dump's, and what the kernel sends of a dump at once (`NETLINK_DUMP` buffers, 32 KiB).
const BUFFER: usize = 64 << 10;

/// A netlink socket. It belongs to the network namespace in which it was opened.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Links, addresses and routes.
    pub fn route() -> Result<Self> {
        Self::open(protocols::NETLINK_ROUTE)
    }

    /// nftables and conntrack.
    pub fn netfilter() -> Result<Self> {
        Self::open(protocols::NETLINK_NETFILTER)
    }

    fn open(protocol: isize) -> Result<Self> {
        let socket = Socket::new(protocol).doing(|| format!("open a netlink socket of protocol {protocol}"))?;
        // Only a bug of ours could make the kernel not answer; a hook must not hang for it.
        let deadline = TimeVal::new(10, 0);
        setsockopt(&socket, ReceiveTimeout, &deadline).doing(|| "set a deadline on a netlink socket".into())?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Sends `message` and returns what the kernel answers before its acknowledgement or the end of its dump.
    ///
    /// # Errors
    /// The error number of the kernel's answer.
    pub fn request<M>(&mut self, message: M, flags: u16) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.send(vec![(message, NLM_F_REQUEST | NLM_F_ACK | flags)])?;
        let mut answers = Vec::new();
        loop {
            self.receive(0)?;
            for answer in self.answers::<M>()? {
                match answer {
                    Answer::Message(message) => answers.push(message),
                    Answer::End(code) if code != 0 => return Err(io::Error::from_raw_os_error(-code)),
                    Answer::End(_) => return Ok(answers),
                }
            }
        }
    }

    /// Sends `messages` in one datagram and returns everything that came back by then: for requests which the kernel
    /// handles within `send`. The first error among the answers is the error.
    pub fn batch<M>(&mut self, messages: Vec<(M, u16)>) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.send(messages)?;
        let mut answers = Vec::new();
        let mut failed = Ok(());
        while self.receive(libc::MSG_DONTWAIT)? {
            for answer in self.answers::<M>()? {
                match answer {
                    Answer::Message(message) => answers.push(message),
                    Answer::End(code) if code != 0 && failed.is_ok() => {
                        failed = Err(io::Error::from_raw_os_error(-code));
                    }
                    Answer::End(_) => {}
                }
            }
        }
        failed.map(|()| answers)
    }

    fn send<M: NetlinkSerializable>(&mut self, messages: Vec<(M, u16)>) -> io::Result<()> {
        let mut datagram = Vec::new();
        for (message, flags) in messages {
            let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
            self.sequence += 1;
            message.header.flags = flags;
            message.header.sequence_number = self.sequence;
            message.finalize();
            let start = datagram.len();
            datagram.resize(start + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut datagram[start..]);
        }
        self.socket.send(&datagram, 0).map(drop)
    }

    /// Fills the buffer with one datagram; false where none is there.
    fn receive(&mut self, flags: libc::c_int) -> io::Result<bool> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer, flags) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && flags & libc::MSG_DONTWAIT != 0 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn answers<M: NetlinkDeserializable>(&self) -> io::Result<Vec<Answer<M>>> {
        let mut answers = Vec::new();
        let mut rest = &self.buffer[..];
        while rest.len() >= 16 {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            if length < 16 || length > rest.len() {
                return Err(io::Error::other("the kernel's answer is cut off"));
            }
            let message = NetlinkMessage::<M>::deserialize(&rest[..length]).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => answers.push(Answer::Message(inner)),
                NetlinkPayload::Error(error) => answers.push(Answer::End(error.raw_code())),
                NetlinkPayload::Done(done) => answers.push(Answer::End(done.code)),
                _ => {}
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
        Ok(answers)
    }
}

enum Answer<M> {
    Message(M),
    /// An acknowledgement (0), an error, or the end of a dump.
    End(i32),
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
