//! What containers may send, at random: questions that are nearly well formed, read and answered as the worker does it.
//!
//! A short run is one of the tests. A long one takes as many seconds as are asked for, from a seed that it prints:
//! `OCINET_FUZZ_SECONDS=3600 cargo test --release -p ocinet --bin ocinet-agent -- --ignored --nocapture fuzz`.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype};

use crate::answer::tests::world;
use crate::answer::{Verdict, decide};
use crate::directory::Directory;
use crate::wire::{self, LONGEST, Read};

/// The addresses that ask, each with the beginnings of the addresses of its networks: a container of two networks, one of
/// one, one of an internal network, one of a network with both families, and an address of no container.
const ASKING: [(&str, &[&str]); 5] = [
    ("10.64.0.2", &["10.64.0.", "10.64.1."]),
    ("10.64.1.3", &["10.64.1."]),
    ("10.64.2.2", &["10.64.2."]),
    ("10.64.0.6", &["10.64.0.", "fd00:"]),
    ("192.0.2.1", &[]),
];

const NAMES: [&str; 10] = [
    "web",
    "Web.Front.ocinet.internal",
    "db.back",
    "cache.one.front",
    "shop",
    "ocinet.internal",
    ".",
    "www.example.com",
    "2.0.64.10.in-addr.arpa",
    "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
];

/// Bytes at which lengths of labels, pointers and counts change their meaning.
const EDGES: [u8; 10] = [0, 1, 12, 0x3f, 0x40, 0x80, 0xc0, 0xc1, 0xfe, 0xff];

/// Numbers at random (xorshift64*).
struct Chance(u64);

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() >> 33).unwrap() % limit.max(1)
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

fn good(chance: &mut Chance) -> Vec<u8> {
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_id(chance.number() as u16);
    message.header_mut().set_rd(true);
    let mut question = message.question();
    let kind = *chance.of(&[Rtype::A, Rtype::AAAA, Rtype::PTR, Rtype::MX, Rtype::AXFR, Rtype::ANY]);
    question.push((chance.of(&NAMES).parse::<Name<Vec<u8>>>().unwrap(), kind)).unwrap();
    let mut rest = question.additional();
    if chance.below(2) == 0 {
        let payload = *chance.of(&[0, 511, 512, 1232, 4096, u16::MAX]);
        rest.opt(|opt| {
            opt.set_udp_payload_size(payload);
            Ok(())
        })
        .unwrap();
    }
    rest.finish()
}

/// Changes a message at a few places.
fn spoil(message: &mut Vec<u8>, chance: &mut Chance) {
    for _ in 0..chance.below(5) {
        let at = chance.below(message.len());
        match chance.below(9) {
            0 if at < message.len() => message[at] ^= 1 << chance.below(8),
            1 if at < message.len() => message[at] = *chance.of(&EDGES),
            2 => message.insert(at, *chance.of(&EDGES)),
            3 if at < message.len() => drop(message.remove(at)),
            4 => message.truncate(at),
            // A pointer, to anywhere in the message.
            5 if at + 1 < message.len() => {
                let to = chance.below(message.len());
                message[at..at + 2].copy_from_slice(&[0xc0 | (to >> 8) as u8, to as u8]);
            }
            // A part of it once more.
            6 => message.extend_from_within(at..),
            7 => message.extend(good(chance)),
            // One of the counts.
            _ if message.len() >= 12 => message[5 + 2 * chance.below(4)] = *chance.of(&EDGES),
            _ => {}
        }
    }
    message.truncate(LONGEST);
}

/// Reads and answers one message, and says what came of it: ignored, refused, answered, asked of others.
fn ask(directory: &Directory, bytes: &[u8], chance: &mut Chance) -> usize {
    let (source, networks) = chance.of(&ASKING);
    let source: IpAddr = source.parse().unwrap();
    // Any bytes may be said to be the answer to any others.
    let _ = wire::answers(bytes, &good(chance));
    let _ = wire::is_failure(bytes);
    let question = match wire::read(bytes) {
        Read::Ignore => return 0,
        Read::Refuse(answer) => {
            // At most with the longest name, which the question may have had shorter by a pointer.
            assert!((12..=12 + 255 + 4 + 11).contains(&answer.len()), "{answer:?}");
            // The code for a version of EDNS that is not known is in the record of EDNS.
            let is_error = answer[3] & 15 != 0 || Message::from_octets(&answer[..]).unwrap().opt().is_some();
            assert!(answer[..2] == bytes[..2] && answer[2] & 0x80 != 0 && is_error);
            return 1;
        }
        Read::Question(question) => question,
    };
    assert_eq!(bytes[2] & 0x80, 0, "an answer is no question");
    let verdict = decide(directory, source, &question.name, question.kind);
    if let Verdict::Addresses(all) = &verdict {
        let is_known = |one: &IpAddr| networks.iter().any(|network| one.to_string().starts_with(network));
        assert!(!all.is_empty() && all.iter().all(is_known), "{source} learns {all:?}");
    }
    assert!(networks.is_empty() == (verdict == Verdict::Silence), "{source}: {verdict:?}");
    let answer = match &verdict {
        Verdict::Ask(_) => question.failure(),
        verdict => question.answer(verdict, chance.below(9), question.room_over_udp()),
    };
    let Some(answer) = answer else {
        assert_eq!(verdict, Verdict::Silence);
        return 0;
    };
    assert!(answer.len() <= question.room_over_udp(), "{} bytes", answer.len());
    let message = Message::from_octets(&answer[..]).unwrap();
    assert!(message.header().qr() && message.header().rcode() != Rcode::FORMERR && answer[..2] == bytes[..2]);
    let read = message.sole_question().unwrap().qname().to_string();
    assert_eq!(read.to_ascii_lowercase(), question.name);
    assert!(message.answer().unwrap().all(|record| record.is_ok()));
    2 + usize::from(matches!(verdict, Verdict::Ask(_)))
}

/// Goes on until `is_over` says so of the number of messages, and returns how many became what.
fn run(seed: u64, is_over: impl Fn(u64) -> bool) -> [u64; 4] {
    let (directory, mut chance, mut became) = (world(), Chance(seed | 1), [0; 4]);
    for count in 0.. {
        if is_over(count) {
            break;
        }
        let mut message = good(&mut chance);
        spoil(&mut message, &mut chance);
        let asked = std::panic::AssertUnwindSafe(|| ask(&directory, &message, &mut chance));
        match std::panic::catch_unwind(asked) {
            Ok(what) => became[what] += 1,
            Err(panic) => {
                eprintln!("seed {seed}, message {count}: {message:02x?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    became
}

#[test]
fn a_few_messages_at_random() {
    let became = run(7, |count| count == 20_000);
    assert!(became.iter().all(|count| *count > 1000), "{became:?}");
}

#[test]
#[ignore = "takes OCINET_FUZZ_SECONDS"]
fn fuzz() {
    let asked = std::env::var("OCINET_FUZZ_SECONDS").expect("OCINET_FUZZ_SECONDS says how long");
    let end = Instant::now() + Duration::from_secs(asked.parse().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = std::env::var("OCINET_FUZZ_SEED").map_or(now.as_nanos() as u64, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let [ignored, refused, answered, forwarded] = run(seed, |count| count % 1024 == 0 && Instant::now() >= end);
    println!("{ignored} ignored, {refused} refused, {answered} answered, {forwarded} asked of others");
}
