//! Messages of netlink, byte by byte, and a socket for them.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc::{
    AF_INET, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM,
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_ERROR,
};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Makes what must not be there yet.
pub(crate) const CREATE: u16 = (NLM_F_CREATE | NLM_F_EXCL) as u16;

/// `NLA_F_NESTED`, which nf_tables wants at an attribute that holds others.
pub(crate) const NESTED: u16 = 1 << 15;

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// A message, or the part of one within an attribute.
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A request whose end is acknowledged.
    pub(crate) fn new(kind: u16, flags: u16) -> Self {
        Self::with(kind, flags | NLM_F_ACK as u16)
    }

    fn with(kind: u16, flags: u16) -> Self {
        let flags = flags | NLM_F_REQUEST as u16;
        Self([&[0; 4][..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat())
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend([length.to_ne_bytes(), kind.to_ne_bytes()].concat());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat())
    }

    pub(crate) fn nest(self, kind: u16, within: impl FnOnce(Self) -> Self) -> Self {
        let inner = within(Self(Vec::new()));
        self.attribute(kind, &inner.0)
    }

    /// The message with its length.
    fn finish(&self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        [&length.to_ne_bytes()[..], &self.0[4..]].concat()
    }
}

/// A message that adds elements to a set of a table of the family `ip`, or deletes them (linux/netfilter/nf_tables.h).
pub(crate) fn element(add: bool, table: &str, set: &str, list: impl FnOnce(Message) -> Message) -> Message {
    let kind = if add { NFT_MSG_NEWSETELEM } else { NFT_MSG_DELSETELEM };
    let kind = (NFNL_SUBSYS_NFTABLES << 8 | kind) as u16;
    let message = Message::with(kind, if add { NLM_F_CREATE as u16 } else { 0 }).bytes(&[AF_INET as u8, 0, 0, 0]);
    message.text(1, table).text(2, set).nest(3 | NESTED, list)
}

/// The key and the data of an element.
pub(crate) fn pair(entry: Message, key: &[u8], data: Option<&[u8]>) -> Message {
    let entry = entry.nest(1 | NESTED, |value| value.attribute(1, key));
    match data {
        Some(data) => entry.nest(2 | NESTED, |value| value.attribute(1, data)),
        None => entry,
    }
}

/// A transaction of nf_tables.
pub(crate) fn batch(messages: impl Iterator<Item = Message>) -> Vec<u8> {
    let subsystem = (NFNL_SUBSYS_NFTABLES as u16).to_be_bytes();
    let edge = |kind: i32| Message::with(kind as u16, 0).bytes(&[&[0; 2][..], &subsystem].concat()).finish();
    let changes = messages.flat_map(|message| message.finish());
    edge(NFNL_MSG_BATCH_BEGIN).into_iter().chain(changes).chain(edge(NFNL_MSG_BATCH_END)).collect()
}

/// A netlink socket. The kernel answers within `send`.
pub(crate) struct Netlink {
    number: RawFd,
    _own: Option<OwnedFd>,
}

impl Netlink {
    /// A socket about links, addresses and routes of the namespace that this process is in.
    pub(crate) fn route() -> Result<Self> {
        let kind = (AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute);
        let own = socket(kind.0, kind.1, kind.2, kind.3).context("a netlink socket")?;
        Ok(Self { number: own.as_raw_fd(), _own: Some(own) })
    }

    /// A socket that the caller of this program has opened.
    pub(crate) fn lent(number: RawFd) -> Self {
        Self { number, _own: None }
    }

    /// Sends messages one after the other, and fails with the first error.
    pub(crate) fn request(&self, messages: &[Message]) -> Result<()> {
        messages.iter().try_for_each(|message| self.send(&message.finish()))
    }

    /// Sends a datagram, and reads all answers.
    pub(crate) fn send(&self, datagram: &[u8]) -> Result<()> {
        send(self.number, datagram, MsgFlags::empty())?;
        let mut answer = vec![0; 64 << 10];
        loop {
            match recv(self.number, &mut answer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return Ok(()),
                length => errors(&answer[..length?])?,
            }
        }
    }
}

/// The first error among answers; an acknowledgement is the error 0.
fn errors(mut answers: &[u8]) -> Result<()> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    while answers.len() >= HEADER + 4 {
        let (length, kind) = (number(&answers[..4]) as usize, number(&answers[4..6]));
        let code = number(&answers[HEADER..HEADER + 4]).cast_signed();
        if kind == NLMSG_ERROR as u32 && code != 0 {
            return Err(Errno::from_raw(-code).into());
        }
        answers = answers.get(length.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}
