//! Messages of the domain name system (RFC 1035), read and written by hickory-proto.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::answer::{Kind, Verdict};

/// The length of a header.
const HEADER: usize = 12;
/// What every client takes over UDP (RFC 1035, section 4.2.1).
const SHORT: usize = 512;
/// The most that is sent over UDP: more may be fragmented (DNS flag day 2020).
const LONG: usize = 1232;
/// The most that TCP carries.
pub const LONGEST: usize = 65_535;

/// A question that was read.
#[derive(Debug)]
pub struct Question {
    message: Message,
    query: Query,
    /// In small letters, without a dot at its end.
    pub name: String,
    /// What is asked for.
    pub kind: Kind,
}

/// What is to be done with bytes that came in.
#[derive(Debug)]
pub enum Read {
    /// A question.
    Question(Box<Question>),
    /// This answer says what is wrong.
    Refuse(Vec<u8>),
    /// It gets no answer: it is none, or an answer itself, to which an answer might go on for ever.
    Ignore,
}

/// Reads a message.
pub fn read(bytes: &[u8]) -> Read {
    if bytes.len() < HEADER || bytes[2] & 0x80 != 0 {
        return Read::Ignore;
    }
    let id = u16::from_be_bytes([bytes[0], bytes[1]]);
    let refuse = |operation, code| {
        let mut answer = Message::error_msg(id, operation, code);
        answer.metadata.recursion_available = true;
        answer.to_vec().map_or(Read::Ignore, Read::Refuse)
    };
    let Ok(message) = Message::from_vec(bytes) else { return refuse(OpCode::Query, ResponseCode::FormErr) };
    if message.metadata.op_code != OpCode::Query {
        return refuse(message.metadata.op_code, ResponseCode::NotImp);
    }
    let [query] = &message.queries[..] else { return refuse(OpCode::Query, ResponseCode::FormErr) };
    if message.metadata.message_type != MessageType::Query {
        return Read::Ignore;
    }
    let query = query.clone();
    let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let kind = match (query.query_class(), query.query_type()) {
        (DNSClass::IN, RecordType::A) => Kind::A,
        (DNSClass::IN, RecordType::AAAA) => Kind::Aaaa,
        (DNSClass::IN, RecordType::PTR) => Kind::Ptr,
        _ => Kind::Other,
    };
    Read::Question(Box::new(Question { message, query, name, kind }))
}

impl Question {
    /// The longest answer that its client takes over UDP.
    pub fn room_over_udp(&self) -> usize {
        self.message.edns.as_ref().map_or(SHORT, |edns| usize::from(edns.max_payload()).clamp(SHORT, LONG))
    }

    /// The answer, in at most `room` bytes: as many addresses as fit, beginning with the one of number `first`, and the
    /// mark that there are more.
    pub fn answer(&self, verdict: &Verdict, first: usize, room: usize) -> Option<Vec<u8>> {
        let records = match verdict {
            Verdict::Addresses(addresses) => {
                let (early, late) = addresses.split_at(first % addresses.len().max(1));
                late.iter().chain(early).map(|address| self.record(of_address(*address))).collect()
            }
            Verdict::Name(name) => vec![self.record(RData::PTR(PTR(Name::from_ascii(format!("{name}.")).ok()?)))],
            Verdict::NoData => Vec::new(),
            Verdict::NoName => return self.write(Vec::new(), ResponseCode::NXDomain, false),
            Verdict::Ask(_) | Verdict::Silence => return None,
        };
        self.fitting(records, room)
    }

    /// That no other server could be asked.
    pub fn failure(&self) -> Option<Vec<u8>> {
        self.write(Vec::new(), ResponseCode::ServFail, false)
    }

    fn fitting(&self, records: Vec<Record>, room: usize) -> Option<Vec<u8>> {
        let all = records.len();
        let mut count = all;
        loop {
            let bytes = self.write(records[..count].to_vec(), ResponseCode::NoError, count < all)?;
            if bytes.len() <= room || count == 0 {
                return Some(bytes);
            }
            // All records are about as long.
            let each = (bytes.len() - HEADER).div_ceil(count + 1).max(1);
            count = count.saturating_sub((bytes.len() - room).div_ceil(each).max(1));
        }
    }

    fn record(&self, data: RData) -> Record {
        // A container may have another address with its next start.
        Record::from_rdata(self.query.name().clone(), 0, data)
    }

    fn write(&self, records: Vec<Record>, code: ResponseCode, is_cut: bool) -> Option<Vec<u8>> {
        let mut answer = Message::response(self.message.metadata.id, OpCode::Query);
        let head = &mut answer.metadata;
        head.recursion_desired = self.message.metadata.recursion_desired;
        (head.recursion_available, head.authoritative) = (true, code != ResponseCode::ServFail);
        (head.response_code, head.truncation) = (code, is_cut);
        answer.add_query(self.query.clone());
        answer.add_answers(records);
        if self.message.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(LONG as u16).set_version(0);
            answer.set_edns(edns);
        }
        answer.to_vec().ok()
    }
}

fn of_address(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}

/// The bytes of `message` with another id.
pub fn with_id(message: &[u8], id: u16) -> Vec<u8> {
    let mut other = message.to_vec();
    if let Some(place) = other.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
    other
}

/// Whether `answer` is one to `question`: it has the same id and, byte for byte, the same question (RFC 5452, section
/// 9.1). A server that cannot read the question may leave it out.
pub fn answers(answer: &[u8], question: &[u8]) -> bool {
    if answer.len() < HEADER || question.len() < HEADER || answer[..2] != question[..2] || answer[2] & 0x80 == 0 {
        return false;
    }
    let Some(end) = end_of_question(question) else { return false };
    let is_without = answer[4..6] == [0, 0] && code_of(answer) != 0;
    is_without || answer.get(4..6) == Some(&[0, 1]) && answer.get(HEADER..end) == Some(&question[HEADER..end])
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
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 5).filter(|end| *end <= message.len()),
            1..64 => at += length + 1,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(name: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = 0x1234;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        message.to_vec().unwrap()
    }

    fn question(name: &str, kind: RecordType, payload: Option<u16>) -> Box<Question> {
        match read(&bytes_of(name, kind, payload)) {
            Read::Question(question) => question,
            other => panic!("{other:?}"),
        }
    }

    fn many(count: u8) -> Verdict {
        Verdict::Addresses((0..count).map(|nth| IpAddr::from([10, 64, 0, nth])).collect())
    }

    #[test]
    fn the_question_comes_back_letter_for_letter() {
        let question = question("wEb.OCINET.internal.", RecordType::A, None);
        assert_eq!((question.name.as_str(), question.kind), ("web.ocinet.internal", Kind::A));
        let bytes = question.answer(&many(2), 1, SHORT).unwrap();
        let answer = Message::from_vec(&bytes).unwrap();
        assert_eq!(answer.queries[0].name().to_ascii(), "wEb.OCINET.internal.");
        let data: Vec<String> = answer.answers.iter().map(|record| format!("{} {}", record.ttl, record.data)).collect();
        assert_eq!(data, ["0 10.64.0.1", "0 10.64.0.0"]);
        let head = answer.metadata;
        assert_eq!((head.id, head.truncation, head.recursion_available), (0x1234, false, true));
        assert!(answer.edns.is_none());
        assert!(answers(&bytes, &bytes_of("wEb.OCINET.internal.", RecordType::A, None)));
        assert!(!answers(&bytes, &bytes_of("web.OCINET.internal.", RecordType::A, None)));
        assert!(!answers(&bytes, &bytes_of("wEb.OCINET.internal.", RecordType::AAAA, None)));
        assert!(!answers(&with_id(&bytes, 9), &bytes_of("wEb.OCINET.internal.", RecordType::A, None)));
    }

    #[test]
    fn what_does_not_fit_is_cut_and_says_so() {
        for (payload, count, fits) in [
            (None, 29, true),
            (None, 100, false),
            (Some(4096), 70, true),
            (Some(4096), 100, false),
            (Some(0), 20, true),
        ] {
            let question = question("web", RecordType::A, payload);
            let bytes = question.answer(&many(count), 0, question.room_over_udp()).unwrap();
            assert!(bytes.len() <= question.room_over_udp(), "{} bytes", bytes.len());
            let answer = Message::from_vec(&bytes).unwrap();
            assert_eq!(answer.metadata.truncation, !fits, "{payload:?} {count}");
            assert_eq!(answer.answers.len() == usize::from(count), fits, "{payload:?} {count}");
            assert!(bytes.len() + 32 > question.room_over_udp() || fits, "{} bytes", bytes.len());
            let whole = question.answer(&many(count), 0, LONGEST).unwrap();
            assert_eq!(Message::from_vec(&whole).unwrap().answers.len(), usize::from(count));
        }
    }

    #[test]
    fn what_is_no_question_is_refused_or_ignored() {
        let good = bytes_of("web", RecordType::A, None);
        let changed = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        assert!(matches!(read(&good[..11]), Read::Ignore));
        assert!(matches!(read(&changed(2, 0x80)), Read::Ignore), "an answer");
        let code = |bytes: &[u8]| match read(bytes) {
            Read::Refuse(answer) => Message::from_vec(&answer).unwrap().metadata.response_code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(&changed(5, 2)), ResponseCode::FormErr, "two questions");
        assert_eq!(code(&changed(5, 0)), ResponseCode::FormErr, "none");
        assert_eq!(code(&changed(2, 0x20)), ResponseCode::NotImp, "NOTIFY");
        assert_eq!(code(&good[..good.len() - 1]), ResponseCode::FormErr, "cut off");
        // A name that points at itself.
        let looped = [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
        assert_eq!(code(&looped), ResponseCode::FormErr);
    }

    #[test]
    fn no_name_and_no_data_are_told_apart() {
        let question = question("web", RecordType::MX, Some(1232));
        let answer = |verdict| Message::from_vec(&question.answer(verdict, 0, SHORT).unwrap()).unwrap();
        assert_eq!(answer(&Verdict::NoName).metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(answer(&Verdict::NoData).metadata.response_code, ResponseCode::NoError);
        assert!(answer(&Verdict::NoData).edns.is_some());
        assert_eq!(question.kind, Kind::Other);
        let name = answer(&Verdict::Name("web.front.ocinet.internal".into()));
        assert_eq!(name.answers[0].data.to_string(), "web.front.ocinet.internal.");
        assert!(is_failure(&question.failure().unwrap()) && question.answer(&Verdict::Silence, 0, SHORT).is_none());
    }
}
