//! One synchronous exchange with the kernel over netlink.
//!
//! rtnetlink's own handles are asynchronous. A hook makes one request after the other, and the kernel answers inside
//! `send`, so a plain socket needs no runtime, no task and no wake-up. The messages come from rtnetlink's builders.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, send, socket};

use super::inbox::{Inbox, LARGE};
use crate::kernel::error::{Doing, Result};
use crate::kernel::namespace::Netns;

/// The most that an answer of nf_tables to a question for one object has (`NLMSG_GOODSIZE`, linux/netlink.h).
const OBJECT: usize = 8 << 10;

/// The length of a message's header (`struct nlmsghdr`).
const HEADER: usize = 16;

/// How often a dump is repeated if its content changes meanwhile.
const DUMPS: usize = 16;

/// Where the numbers of the next connection begin, and how many it has for itself: one socket may serve several, one
/// after the other, and an answer that one left is not the next one's.
static SEQUENCES: AtomicU32 = AtomicU32::new(0);
const SEQUENCE: u32 = 1 << 16;

/// A netlink socket. It belongs to the network namespace in which it was opened.
pub(in crate::kernel) struct Netlink<S = OwnedFd> {
    socket: S,
    /// The number of the last request, by which its answers are told from others.
    sequence: u32,
    /// Where answers are received.
    inbox: Inbox,
}

impl Netlink {
    /// Links, addresses and routes.
    pub fn route() -> Result<Self> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// nftables and conntrack.
    pub fn netfilter() -> Result<Self> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    /// Sockets of programs.
    pub fn sockets() -> Result<Self> {
        Self::open(SockProtocol::NetlinkSockDiag)
    }

    fn open(protocol: SockProtocol) -> Result<Self> {
        let opened = socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol);
        Ok(Self::over(opened.doing(|| format!("open a netlink socket, {protocol:?}"))?))
    }
}

impl<'n> Netlink<BorrowedFd<'n>> {
    /// Links, addresses and routes of `namespace`, by the socket that is kept there.
    pub fn inside(namespace: &'n Netns) -> Result<Self> {
        Ok(Self::over(namespace.socket()?))
    }
}

impl<S: AsFd> Netlink<S> {
    fn over(socket: S) -> Self {
        Self { socket, sequence: SEQUENCES.fetch_add(SEQUENCE, Ordering::Relaxed), inbox: Inbox::new() }
    }

    /// Sends `message` and returns the kernel's messages before its acknowledgement or before the end of its dump.
    ///
    /// # Errors
    /// The error number of the kernel's answer.
    pub fn request<M>(&mut self, message: M, flags: u16) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut message = unnumbered(message, NLM_F_REQUEST | NLM_F_ACK | flags);
        for _ in 0..DUMPS {
            let mut answers = Vec::new();
            if self.exchange(&mut message, |answer| answers.push(answer))? == Listing::Consistent {
                return Ok(answers);
            }
        }
        Err(changing())
    }

    /// Requests a dump and passes each of its messages to `each`, so that none is kept. If its content changes
    /// meanwhile, the dump is repeated, and `each` gets messages again.
    ///
    /// # Errors
    /// The error number of the kernel's answer.
    pub fn stream<M>(&mut self, message: M, mut each: impl FnMut(M)) -> io::Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut message = unnumbered(message, NLM_F_REQUEST | NLM_F_ACK | NLM_F_DUMP);
        for _ in 0..DUMPS {
            if self.exchange(&mut message, &mut each)? == Listing::Consistent {
                return Ok(());
            }
        }
        Err(changing())
    }

    /// Sends `messages` in one datagram and returns all answers that have arrived by then, for requests which the
    /// kernel handles within `send`. The first error among the answers is returned.
    pub fn batch<M>(&mut self, messages: Vec<(M, u16)>) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        for (message, flags) in messages {
            self.append(&mut datagram, &mut unnumbered(message, flags));
        }
        let count = self.sequence.wrapping_sub(first).wrapping_add(1);
        self.send(&datagram)?;
        let mut answers = Vec::new();
        let mut failed = Ok(());
        // An error has the message that it is about.
        let longest = OBJECT.max(datagram.len() + 4 * HEADER);
        loop {
            self.inbox.receive(self.socket.as_fd(), longest)?;
            let ours = self.replies::<M>()?.into_iter().filter(|reply| reply.sequence.wrapping_sub(first) < count);
            for reply in ours {
                match reply.answer {
                    Ok(Answer::Message(message)) => answers.push(message),
                    Ok(Answer::End(0)) => {}
                    Ok(Answer::End(code)) => failed = failed.and(Err(io::Error::from_raw_os_error(-code))),
                    Err(error) => failed = failed.and(Err(error)),
                }
            }
            if !self.inbox.is_full() {
                return failed.map(|()| answers);
            }
        }
    }

    /// Sends one request and reads all of its answers. It also reads on after an answer that cannot be decoded: the
    /// rest would mix with the answers of the next request.
    fn exchange<M>(&mut self, message: &mut NetlinkMessage<M>, mut each: impl FnMut(M)) -> io::Result<Listing>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut datagram = Vec::new();
        self.append(&mut datagram, message);
        self.send(&datagram)?;
        let mut listing = Listing::Consistent;
        let mut unreadable = Ok(());
        loop {
            self.inbox.wait(self.socket.as_fd(), LARGE)?;
            let sequence = self.sequence;
            // An earlier request that ended with an error of this process may have left answers.
            for reply in self.replies::<M>()?.into_iter().filter(|reply| reply.sequence == sequence) {
                if reply.flags & NLM_F_DUMP_INTR != 0 {
                    listing = Listing::Interrupted;
                }
                match reply.answer {
                    Ok(Answer::Message(message)) => each(message),
                    Ok(Answer::End(0)) => return unreadable.map(|()| listing),
                    Ok(Answer::End(code)) => return Err(io::Error::from_raw_os_error(-code)),
                    Err(error) => unreadable = unreadable.and(Err(error)),
                }
            }
        }
    }

    /// Gives `message` the next number and appends it.
    fn append<M: NetlinkSerializable>(&mut self, datagram: &mut Vec<u8>, message: &mut NetlinkMessage<M>) {
        self.sequence = self.sequence.wrapping_add(1);
        message.header.sequence_number = self.sequence;
        let start = datagram.len();
        datagram.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut datagram[start..]);
    }

    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let socket = self.socket.as_fd().as_raw_fd();
        uninterrupted(|| Ok(send(socket, datagram, MsgFlags::empty())?)).map(drop)
    }

    /// The messages that were received last.
    fn replies<M: NetlinkDeserializable>(&self) -> io::Result<Vec<Reply<M>>> {
        let mut replies = Vec::new();
        for mut rest in self.inbox.datagrams() {
            while let Some(header) = rest.first_chunk::<HEADER>() {
                let field =
                    |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
                let length = field(0) as usize;
                if length < HEADER || length > rest.len() {
                    return Err(io::Error::other("the kernel's answer is cut off"));
                }
                if let Some(answer) = answer(&rest[..length]).transpose() {
                    let flags = u16::from_ne_bytes([header[6], header[7]]);
                    replies.push(Reply { sequence: field(8), flags, answer });
                }
                rest = &rest[length.next_multiple_of(4).min(rest.len())..];
            }
        }
        Ok(replies)
    }
}

/// A message of the kernel.
struct Reply<M> {
    /// The sequence number of the request that it answers.
    sequence: u32,
    flags: u16,
    answer: io::Result<Answer<M>>,
}

enum Answer<M> {
    Message(M),
    /// An acknowledgement (0), an error, or the end of a dump.
    End(i32),
}

/// Whether a dump is complete.
#[derive(PartialEq, Eq)]
enum Listing {
    Consistent,
    /// Its content changed meanwhile: entries may be missing or listed twice.
    Interrupted,
}

/// The content of a message; none if it is empty.
fn answer<M: NetlinkDeserializable>(bytes: &[u8]) -> io::Result<Option<Answer<M>>> {
    let message = NetlinkMessage::<M>::deserialize(bytes).map_err(io::Error::other)?;
    Ok(match message.payload {
        NetlinkPayload::InnerMessage(inner) => Some(Answer::Message(inner)),
        NetlinkPayload::Error(error) => Some(Answer::End(error.raw_code())),
        NetlinkPayload::Done(done) => Some(Answer::End(done.code)),
        _ => None,
    })
}

fn unnumbered<M: NetlinkSerializable>(message: M, flags: u16) -> NetlinkMessage<M> {
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
    message.header.flags = flags;
    message.finalize();
    message
}

fn changing() -> io::Error {
    io::Error::other("what the kernel lists changed each time it was listed; try again")
}

/// Repeats a system call that a signal interrupted.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl<S: AsFd> AsFd for Netlink<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::thread;

    use netlink_packet_core::NLM_F_MULTIPART;
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::link::LinkMessage;
    use nix::sys::socket::socketpair;

    use super::*;

    const DONE: u16 = 3;
    const ERROR: u16 = 2;
    const NEW_LINK: u16 = 16;

    /// A message of a simulated kernel: `number` is the request's, and a link is identified by its index.
    fn told(kind: u16, flags: u16, number: u32, content: i32) -> Vec<u8> {
        let body = match kind {
            NEW_LINK => [&[0; 4][..], &content.to_ne_bytes(), &[0; 8]].concat(),
            ERROR => [&content.to_ne_bytes()[..], &[0; 16]].concat(),
            _ => content.to_ne_bytes().to_vec(),
        };
        let length = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes();
        let (kind, flags, number) = (kind.to_ne_bytes(), flags.to_ne_bytes(), number.to_ne_bytes());
        [&length[..], &kind, &flags, &number, &[0; 4], &body].concat()
    }

    /// A connection to a simulated kernel. It answers each request with `answers` of its number.
    fn with_kernel(answers: impl Fn(u32) -> Vec<Vec<u8>> + Send + 'static) -> Netlink {
        let (ours, kernel) = UnixDatagram::pair().unwrap();
        thread::spawn(move || {
            let mut request = [0; 4096];
            while kernel.recv(&mut request).is_ok_and(|length| length >= HEADER) {
                let number = u32::from_ne_bytes(request[8..12].try_into().unwrap());
                answers(number).iter().for_each(|answer| drop(kernel.send(answer)));
            }
        });
        Netlink { socket: ours.into(), sequence: 0, inbox: Inbox::new() }
    }

    fn links(netlink: &mut Netlink) -> io::Result<Vec<u32>> {
        let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = netlink.request(question, NLM_F_DUMP)?;
        Ok(answers.iter().map(index).collect())
    }

    fn index(answer: &RouteNetlinkMessage) -> u32 {
        let RouteNetlinkMessage::NewLink(link) = answer else { panic!("{answer:?}") };
        link.header.index
    }

    #[test]
    fn an_answer_to_an_earlier_request_is_skipped() {
        let mut netlink = with_kernel(|number| {
            let earlier = number.wrapping_sub(1);
            vec![
                told(NEW_LINK, 0, earlier, 7),
                told(ERROR, 0, earlier, -libc::EPERM),
                told(NEW_LINK, 0, number, 8),
                told(ERROR, 0, number, 0),
            ]
        });
        assert_eq!(links(&mut netlink).unwrap(), [8]);
        assert_eq!(links(&mut netlink).unwrap(), [8]);
    }

    #[test]
    fn a_batch_takes_the_answers_to_its_own_messages_alone() {
        // The kernel answers before `send` returns. Here the answers are sent before the request.
        let (ours, kernel) = UnixDatagram::pair().unwrap();
        for (number, link) in [(4, 7), (5, 8), (6, 9), (7, 10)] {
            kernel.send(&told(NEW_LINK, 0, number, link)).unwrap();
        }
        kernel.send(&told(ERROR, 0, 4, -libc::ENOENT)).unwrap();
        let mut netlink = Netlink { socket: OwnedFd::from(ours), sequence: 4, inbox: Inbox::new() };
        let question = || (RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_REQUEST);
        let answers = netlink.batch(vec![question(), question()]).unwrap();
        assert_eq!(answers.iter().map(index).collect::<Vec<_>>(), [8, 9]);
    }

    /// Both ends of a connection that takes more datagrams than one of the kind [`UnixDatagram`], which takes ten.
    fn wide_pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::empty()).unwrap()
    }

    fn told_by(kernel: &OwnedFd, answer: &[u8]) {
        send(kernel.as_raw_fd(), answer, MsgFlags::empty()).unwrap();
    }

    #[test]
    fn more_answers_come_than_one_call_receives() {
        let (ours, kernel) = wide_pair();
        (0..40).for_each(|link| told_by(&kernel, &told(NEW_LINK, 0, 5, link)));
        let mut netlink = Netlink { socket: ours, sequence: 4, inbox: Inbox::new() };
        let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = netlink.batch(vec![(question, NLM_F_REQUEST)]).unwrap();
        assert!(answers.iter().map(index).eq(0..40));
    }

    #[test]
    fn an_answer_that_is_too_long_is_an_error() {
        let (ours, kernel) = wide_pair();
        let long = [&(9_000u32).to_ne_bytes()[..], &told(NEW_LINK, 0, 5, 1)[4..], &[0; 9_000 - 32]].concat();
        told_by(&kernel, &long);
        let mut netlink = Netlink { socket: ours, sequence: 4, inbox: Inbox::new() };
        let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let failed = netlink.batch(vec![(question, NLM_F_REQUEST)]).unwrap_err();
        assert!(failed.to_string().contains("cut off"), "{failed}");
    }

    #[test]
    fn a_dump_that_was_interrupted_is_repeated() {
        let mut netlink = with_kernel(|number| {
            let flags = if number < 3 { NLM_F_MULTIPART | NLM_F_DUMP_INTR } else { NLM_F_MULTIPART };
            let link = i32::try_from(number).unwrap();
            vec![told(NEW_LINK, flags, number, link), told(DONE, NLM_F_MULTIPART, number, 0)]
        });
        assert_eq!(links(&mut netlink).unwrap(), [3]);
        let mut seen = Vec::new();
        let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
        netlink.stream(question, |answer| seen.push(index(&answer))).unwrap();
        assert_eq!(seen, [4]);
    }

    #[test]
    fn a_dump_that_never_is_consistent_is_an_error() {
        let mut netlink = with_kernel(|number| {
            let flags = NLM_F_MULTIPART | NLM_F_DUMP_INTR;
            vec![told(NEW_LINK, flags, number, 1), told(DONE, flags, number, 0)]
        });
        assert!(links(&mut netlink).unwrap_err().to_string().contains("changed each time"));
    }

    #[test]
    fn what_follows_an_unreadable_answer_is_read_to_its_end() {
        let mut netlink = with_kernel(|number| {
            let short = [&20u32.to_ne_bytes()[..], &told(NEW_LINK, 0, number, 1)[4..20]].concat();
            let first = if number == 1 { short } else { told(NEW_LINK, 0, number, 5) };
            vec![first, told(DONE, NLM_F_MULTIPART, number, 0)]
        });
        assert!(links(&mut netlink).is_err());
        assert_eq!(links(&mut netlink).unwrap(), [5]);
    }

    #[test]
    fn an_interrupted_call_is_repeated() {
        let mut left = 3;
        let call = || {
            left -= 1;
            if left == 0 { Ok("done") } else { Err(io::ErrorKind::Interrupted.into()) }
        };
        assert_eq!(uninterrupted(call).unwrap(), "done");
    }
}
