use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::AllRecordData;
use proptest::prelude::*;

use super::*;

fn bytes_of(name: &str, kind: Rtype, payload: Option<u16>) -> Vec<u8> {
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_id(0x1234);
    message.header_mut().set_rd(true);
    let mut question = message.question();
    question.push((name.parse::<Name<Vec<u8>>>().unwrap(), kind)).unwrap();
    let mut rest = question.additional();
    if let Some(payload) = payload {
        rest.opt(|opt| {
            opt.set_udp_payload_size(payload);
            Ok(())
        })
        .unwrap();
    }
    rest.finish()
}

fn question(bytes: &[u8]) -> Question<'_> {
    match read(bytes) {
        Read::Question(question) => question,
        other => panic!("{other:?}"),
    }
}

fn message(bytes: &[u8]) -> Message<&[u8]> {
    Message::from_octets(bytes).unwrap()
}

/// The records of an answer, as `TTL DATA`.
fn records(bytes: &[u8]) -> Vec<String> {
    let message = message(bytes);
    let records = message.answer().unwrap().limit_to::<AllRecordData<_, _>>();
    records
        .map(|record| record.unwrap())
        .map(|record| format!("{} {}", record.ttl().as_secs(), record.data()))
        .collect()
}

fn many(count: u8) -> Verdict {
    Verdict::Addresses((0..count).map(|nth| IpAddr::from([10, 64, 0, nth])).collect())
}

#[test]
fn the_question_comes_back_letter_for_letter() {
    let asked = bytes_of("wEb.OCINET.internal.", Rtype::A, None);
    let question = question(&asked);
    assert_eq!((question.name.as_str(), question.kind), ("web.ocinet.internal", Kind::A));
    let bytes = question.answer(&many(2), 1, SHORT).unwrap();
    let answer = message(&bytes);
    assert_eq!(answer.sole_question().unwrap().qname().to_string(), "wEb.OCINET.internal");
    assert_eq!(records(&bytes), ["0 10.64.0.1", "0 10.64.0.0"]);
    let head = answer.header();
    assert_eq!((head.id(), head.tc(), head.ra(), head.rd()), (0x1234, false, true, true));
    assert!(answer.opt().is_none());
    assert!(answers(&bytes, &asked));
    assert!(answers(&bytes, &bytes_of("web.OCINET.internal.", Rtype::A, None)), "as in small letters");
    assert!(!answers(&bytes, &bytes_of("wEc.OCINET.internal.", Rtype::A, None)));
    assert!(!answers(&bytes, &bytes_of("wEb.OCINET.internal.", Rtype::AAAA, None)));
    assert!(!answers(&with_id(&bytes, 9), &asked));
}

#[test]
fn what_does_not_fit_is_cut_and_says_so() {
    for (payload, count, fits) in
        [(None, 29, true), (None, 100, false), (Some(4096), 70, true), (Some(4096), 100, false), (Some(0), 20, true)]
    {
        let asked = bytes_of("web", Rtype::A, payload);
        let question = question(&asked);
        let room = question.room_over_udp();
        let bytes = question.answer(&many(count), 0, room).unwrap();
        assert!(bytes.len() <= room, "{} bytes", bytes.len());
        assert_eq!(message(&bytes).header().tc(), !fits, "{payload:?} {count}");
        assert_eq!(records(&bytes).len() == usize::from(count), fits, "{payload:?} {count}");
        assert!(bytes.len() + 16 >= room || fits, "{} bytes of {room}", bytes.len());
        assert_eq!(message(&bytes).opt().is_some(), payload.is_some());
        let whole = question.answer(&many(count), 0, LONGEST).unwrap();
        assert_eq!(records(&whole).len(), usize::from(count));
    }
}

#[test]
fn what_is_no_question_is_refused_or_ignored() {
    let good = bytes_of("web", Rtype::A, None);
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    assert!(matches!(read(&good[..11]), Read::Ignore));
    assert!(matches!(read(&changed(2, 0x80)), Read::Ignore), "an answer");
    let code = |bytes: &[u8]| match read(bytes) {
        Read::Refuse(answer) => message(&answer).header().rcode(),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(&changed(5, 2)), Rcode::FORMERR, "two questions");
    assert_eq!(code(&changed(5, 0)), Rcode::FORMERR, "none");
    assert_eq!(code(&changed(2, 0x20)), Rcode::NOTIMP, "NOTIFY");
    assert_eq!(code(&good[..good.len() - 1]), Rcode::FORMERR, "cut off");
    // Names that point at themselves, at each other, ahead, and at the header.
    for loops in [&[0xc0, 12][..], &[1, b'a', 0xc0, 12], &[0xc0, 14, 0xc0, 12], &[0xc0, 20], &[0x40], &[0x80, 0]] {
        let looped = [&good[..12], loops, &[0, 1, 0, 1]].concat();
        assert_eq!(code(&looped), Rcode::FORMERR, "{loops:?}");
    }
    // A dot within a label is no border between two.
    let dotted = [&good[..12], &[7, b'a', b'.', b'f', b'r', b'o', b'n', b't', 0, 0, 1, 0, 1]].concat();
    assert_eq!(question(&dotted).name, "a\\.front");
}

#[test]
fn other_classes_and_whole_zones_are_refused() {
    let of_class = |class: u16| {
        let mut asked = bytes_of("web", Rtype::A, Some(1232));
        let place = asked.len() - OPT - 2;
        asked[place..place + 2].copy_from_slice(&class.to_be_bytes());
        asked
    };
    assert!(matches!(read(&of_class(1)), Read::Question(_)));
    let of_kind = |kind| bytes_of("example.com", kind, Some(1232));
    for asked in [of_class(3), of_class(4), of_class(255), of_kind(Rtype::AXFR), of_kind(Rtype::IXFR)] {
        let Read::Refuse(bytes) = read(&asked) else { panic!("{asked:?}") };
        let answer = message(&bytes);
        assert_eq!(answer.header().rcode(), Rcode::REFUSED);
        assert!(answer.opt().is_some() && answers(&bytes, &asked), "with its question");
    }
    let root = bytes_of(".", Rtype::NS, None);
    assert_eq!((question(&root).name.as_str(), question(&root).kind), ("", Kind::Other));
}

#[test]
fn other_versions_of_edns_are_refused_as_such() {
    let mut asked = bytes_of("web", Rtype::A, Some(1232));
    let version = asked.len() - OPT + 6;
    asked[version] = 1;
    let Read::Refuse(answer) = read(&asked) else { panic!("it is answered") };
    assert_eq!(message(&answer).opt_rcode(), OptRcode::BADVERS);
}

#[test]
fn no_name_and_no_data_are_told_apart() {
    let asked = bytes_of("web", Rtype::MX, Some(1232));
    let question = question(&asked);
    let answer = |verdict: Verdict| question.answer(&verdict, 0, SHORT).unwrap();
    assert_eq!(message(&answer(Verdict::NoName)).header().rcode(), Rcode::NXDOMAIN);
    let none = answer(Verdict::NoData);
    assert_eq!(message(&none).header().rcode(), Rcode::NOERROR);
    assert!(message(&none).opt().is_some() && records(&none).is_empty());
    assert_eq!(question.kind, Kind::Other);
    let name = answer(Verdict::Name("web.front.ocinet.internal".into()));
    assert_eq!(records(&name), ["0 web.front.ocinet.internal."]);
    assert!(is_failure(&question.failure().unwrap()) && question.answer(&Verdict::Silence, 0, SHORT).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever comes in: no panic, what is answered can be read, has the id, and is no longer than it may be.
    #[test]
    fn anything_can_come_in(bytes in proptest::collection::vec(any::<u8>(), 0..300), count in 0u8..120) {
        check(&bytes, count);
    }

    /// The same with a question that was changed in some places, so that more of it is read.
    #[test]
    fn anything_like_a_question_can_come_in(
        name in "[a-zA-Z0-9._-]{1,60}", payload in proptest::option::of(any::<u16>()),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), count in 0u8..120,
    ) {
        let Ok(name) = name.parse::<Name<Vec<u8>>>() else { return Ok(()) };
        let mut bytes = bytes_of(&name.to_string(), Rtype::A, payload);
        for (place, value) in changes {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        check(&bytes, count);
    }
}

fn check(bytes: &[u8], count: u8) {
    match read(bytes) {
        Read::Ignore => {}
        Read::Refuse(answer) => assert_eq!(id_of(&answer), id_of(bytes)),
        Read::Question(question) => {
            let room = question.room_over_udp();
            for verdict in [many(count.max(1)), Verdict::NoData, Verdict::NoName, Verdict::Name("a.b".into())] {
                let answer = question.answer(&verdict, usize::from(count), room).unwrap();
                assert!(answer.len() <= room && id_of(&answer) == id_of(bytes));
                let read = message(&answer);
                assert!(read.header().qr() && read.sole_question().is_ok());
                assert!(answers(&answer, bytes) || bytes[12] == 0xc0 || end_of_question(bytes).is_none());
            }
            assert!(question.failure().is_some());
        }
    }
    let _ = (answers(bytes, bytes), is_failure(bytes), end_of_question(bytes));
}
