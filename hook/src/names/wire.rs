//! Messages of the domain name system (RFC 1035), read and written by the crate `domain`. Pure.
//!
//! What is asked of other servers, and what they answer, is passed on as it came: of that only the header and the
//! question are looked at.

use std::net::IpAddr;

use domain::base::iana::{Class, Opcode, OptRcode, Rcode};
use domain::base::message_builder::{AnswerBuilder, PushError};
use domain::base::name::Name;
use domain::base::{Message, MessageBuilder, ParsedName, Rtype, StaticCompressor, Ttl};
use domain::rdata::{A, Aaaa, Ptr};

use crate::answer::{Kind, Verdict};

/// The length of a header.
const HEADER: usize = 12;
/// What every client takes over UDP (RFC 1035, section 4.2.1).
const SHORT: usize = 512;
/// The most that is sent over UDP: more may be fragmented (DNS flag day 2020).
const LONG: u16 = 1232;
/// The most that TCP carries.
pub const LONGEST: usize = 65_535;
/// The length of the record that says what this server can do (RFC 6891, section 6.1.2), without options.
const OPT: usize = 11;

/// An answer that is being written.
type Answer = AnswerBuilder<StaticCompressor<Vec<u8>>>;

/// A question that was read.
#[derive(Debug)]
pub struct Question<'m> {
    message: Message<&'m [u8]>,
    asked: ParsedName<&'m [u8]>,
    /// What the client takes over UDP, if it says so.
    edns: Option<u16>,
    /// In small letters, without a dot at its end. A dot, or a byte that is no letter of ASCII, within a part of it has a
    /// backslash before it.
    pub name: String,
    /// What is asked for.
    pub kind: Kind,
}

/// What is to be done with bytes that came in.
#[derive(Debug)]
pub enum Read<'m> {
    /// A question.
    Question(Question<'m>),
    /// This answer says what is wrong.
    Refuse(Vec<u8>),
    /// It gets no answer: it is none, or an answer itself, to which an answer might go on for ever.
    Ignore,
}

/// Reads a message.
pub fn read(bytes: &[u8]) -> Read<'_> {
    let Ok(message) = Message::from_octets(bytes) else { return Read::Ignore };
    let header = message.header();
    if header.qr() {
        return Read::Ignore;
    }
    if header.opcode() != Opcode::QUERY {
        return Read::Refuse(refusal(&message, Rcode::NOTIMP));
    }
    let Ok(question) = message.sole_question() else { return Read::Refuse(refusal(&message, Rcode::FORMERR)) };
    let opt = message.opt();
    if opt.as_ref().is_some_and(|opt| opt.version() != 0) {
        return Read::Refuse(of_other_version(&message).unwrap_or_else(|_| refusal(&message, Rcode::FORMERR)));
    }
    let kind = match question.qtype() {
        Rtype::A => Kind::A,
        Rtype::AAAA => Kind::Aaaa,
        Rtype::PTR => Kind::Ptr,
        _ => Kind::Other,
    };
    // Those of another class ask for what a server is, and those for a whole zone are other servers' to ask.
    let is_refused = question.qclass() != Class::IN || matches!(question.qtype(), Rtype::AXFR | Rtype::IXFR);
    let asked = *question.qname();
    let edns = opt.map(|opt| opt.udp_payload_size());
    let question = Question { message, asked, edns, name: asked.to_string().to_ascii_lowercase(), kind };
    if is_refused {
        return question.without_answer(Rcode::REFUSED).map_or(Read::Ignore, Read::Refuse);
    }
    Read::Question(question)
}

impl Question<'_> {
    /// The longest answer that its client takes over UDP.
    pub fn room_over_udp(&self) -> usize {
        self.edns.map_or(SHORT, |payload| usize::from(payload.min(LONG)).max(SHORT))
    }

    /// The answer, in at most `room` bytes: as many addresses as fit, beginning with the one of number `first`, and the
    /// mark that there are more. None where `verdict` is no answer.
    pub fn answer(&self, verdict: &Verdict, first: usize, room: usize) -> Option<Vec<u8>> {
        let written = match verdict {
            Verdict::Addresses(addresses) => self.addresses(addresses, first, room),
            Verdict::Name(name) => self.name_of_address(name),
            Verdict::NoData => self.start(Rcode::NOERROR).and_then(|answer| self.finish(answer)),
            Verdict::NoName => self.start(Rcode::NXDOMAIN).and_then(|answer| self.finish(answer)),
            Verdict::Ask(_) | Verdict::Silence => return None,
        };
        // Only what is longer than all that TCP carries cannot be written, and no question is.
        written.ok()
    }

    /// That no other server could be asked.
    pub fn failure(&self) -> Option<Vec<u8>> {
        self.without_answer(Rcode::SERVFAIL)
    }

    fn without_answer(&self, code: Rcode) -> Option<Vec<u8>> {
        let mut answer = self.start(code).ok()?;
        answer.header_mut().set_aa(false);
        self.finish(answer).ok()
    }

    fn addresses(&self, addresses: &[IpAddr], first: usize, room: usize) -> Result<Vec<u8>, PushError> {
        let (early, late) = addresses.split_at(first % addresses.len().max(1));
        let mut answer = self.start(Rcode::NOERROR)?;
        answer.set_push_limit(room.saturating_sub(if self.edns.is_some() { OPT } else { 0 }));
        for address in late.iter().chain(early) {
            // A container may have another address with its next start, so that no answer is to be kept.
            let pushed = match address {
                IpAddr::V4(v4) => answer.push((self.asked, Class::IN, Ttl::ZERO, A::new(*v4))),
                IpAddr::V6(v6) => answer.push((self.asked, Class::IN, Ttl::ZERO, Aaaa::new(*v6))),
            };
            if pushed.is_err() {
                answer.header_mut().set_tc(true);
                break;
            }
        }
        answer.clear_push_limit();
        self.finish(answer)
    }

    fn name_of_address(&self, name: &str) -> Result<Vec<u8>, PushError> {
        let Ok(name) = name.parse::<Name<Vec<u8>>>() else {
            return self.finish(self.start(Rcode::NOERROR)?);
        };
        let mut answer = self.start(Rcode::NOERROR)?;
        answer.push((self.asked, Class::IN, Ttl::ZERO, Ptr::new(name)))?;
        self.finish(answer)
    }

    fn start(&self, code: Rcode) -> Result<Answer, PushError> {
        start(&self.message, code)
    }

    fn finish(&self, answer: Answer) -> Result<Vec<u8>, PushError> {
        let mut rest = answer.additional();
        if self.edns.is_some() {
            // The code in the header stays, which `set_rcode` of this record would change.
            rest.opt(|opt| {
                opt.set_udp_payload_size(LONG);
                Ok(())
            })?;
        }
        Ok(rest.finish().into_target())
    }
}

fn start(message: &Message<&[u8]>, code: Rcode) -> Result<Answer, PushError> {
    let builder = MessageBuilder::from_target(StaticCompressor::new(Vec::new())).map_err(|_| PushError::ShortBuf)?;
    let mut answer = builder.start_answer(message, code)?;
    answer.header_mut().set_ra(true);
    answer.header_mut().set_aa(true);
    Ok(answer)
}

/// That the message is of a version of EDNS that is not known here (RFC 6891, section 6.1.3).
fn of_other_version(message: &Message<&[u8]>) -> Result<Vec<u8>, PushError> {
    let mut rest = start(message, Rcode::NOERROR)?.additional();
    rest.opt(|opt| {
        opt.set_udp_payload_size(LONG);
        opt.set_rcode(OptRcode::BADVERS);
        Ok(())
    })?;
    Ok(rest.finish().into_target())
}

/// A header alone: a question that cannot be read cannot be repeated.
fn refusal(message: &Message<&[u8]>, code: Rcode) -> Vec<u8> {
    let mut answer = MessageBuilder::new_vec();
    let header = answer.header_mut();
    header.set_id(message.header().id());
    header.set_opcode(message.header().opcode());
    header.set_rd(message.header().rd());
    header.set_qr(true);
    header.set_ra(true);
    header.set_rcode(code);
    answer.finish()
}

/// The bytes of `message` with another id.
pub fn with_id(message: &[u8], id: u16) -> Vec<u8> {
    let mut other = message.to_vec();
    if let Some(place) = other.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
    other
}

/// The id of a message; 0 where it is too short to have one.
pub fn id_of(message: &[u8]) -> u16 {
    message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
}

/// Whether `answer` is one to `question`: it has the same id and the same question (RFC 5452, section 9.1), whose name
/// some servers write in small letters (RFC 4343). A server that cannot read the question may leave it out.
pub fn answers(answer: &[u8], question: &[u8]) -> bool {
    if answer.len() < HEADER || question.len() < HEADER || answer[..2] != question[..2] || answer[2] & 0x80 == 0 {
        return false;
    }
    let Some(end) = end_of_question(question) else { return false };
    let is_without = answer[4..6] == [0, 0] && code_of(answer) != 0;
    // The name, whose labels have lengths below every letter, and then type and class.
    let (name, kind) = (HEADER..end - 4, end - 4..end);
    let is_same = |there: &[u8]| {
        there[name.clone()].eq_ignore_ascii_case(&question[name]) && there[kind.clone()] == question[kind]
    };
    is_without || answer[4..6] == [0, 1] && answer.get(..end).is_some_and(is_same)
}

/// Whether the server says that it cannot answer, so that another may.
pub fn is_failure(answer: &[u8]) -> bool {
    matches!(code_of(answer), 2 | 4 | 5)
}

fn code_of(answer: &[u8]) -> u8 {
    answer.get(3).map_or(0, |byte| byte & 0x0f)
}

/// Where the only question of a message ends. Its name has no pointers, since there is nothing before it.
fn end_of_question(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 5).filter(|end| *end <= message.len()),
            length @ 1..64 => at += length + 1,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
