//! What containers send to the name server, and what other servers answer.
#![no_main]
#![allow(dead_code, missing_docs)]

#[path = "../../src/names/answer.rs"]
mod answer;
#[path = "../../src/names/directory.rs"]
mod directory;
#[path = "../../src/names/wire.rs"]
mod wire;

use answer::Verdict;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (one, other) = bytes.split_at(bytes.len() / 2);
    wire::answers(one, other);
    let directory = directory::Directory::default();
    let wire::Read::Question(question) = wire::read(bytes) else { return };
    let addresses = (0..100).map(|nth| [10, 64, 0, nth].into()).collect();
    let verdicts = [Verdict::Addresses(addresses), Verdict::Name(question.name.clone()), Verdict::NoData, Verdict::NoName];
    for verdict in verdicts {
        let room = question.room_over_udp();
        let answer = question.answer(&verdict, 7, room);
        if let Some(answer) = &answer {
            assert!(wire::answers(answer, bytes) || bytes.len() > answer.len(), "{answer:?}");
            assert!(answer.len() <= room || !matches!(verdict, Verdict::Addresses(_)));
        }
    }
    answer::decide(&directory, [10, 64, 0, 1].into(), &question.name, question.kind);
});
