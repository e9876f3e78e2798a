use super::version6::{
    A_FROM_X, ADD, ADD_X, IF_AT_LEAST_X, LOAD_BYTE, LOAD_BYTE_AT_X, LOAD_CELL, LOAD_HALF_AT_X, LOAD_NUMBER,
    LOAD_WORD_AT_X, SHIFT_LEFT, STORE_CELL, SUBTRACT, X_FROM_A, X_FROM_NUMBER,
};
use super::*;

const OWN: [u8; 6] = [2, 12, 10, 90, 0, 2];
const OTHER: [u8; 6] = [2, 12, 10, 90, 0, 3];

/// Whether `frame`, without a VLAN tag, passes: an interpreter of the program like the kernel's
/// (`___bpf_prog_run`).
fn passes(program: &FilterProgram, frame: &[u8]) -> bool {
    judges(program, frame, false)
}

fn judges(FilterProgram(instructions): &FilterProgram, frame: &[u8], is_tagged: bool) -> bool {
    // A load beyond the end ends the program, and what it returns lets the frame pass.
    let word = |at: u32, bytes: usize| {
        let bytes = frame.get(at as usize..at as usize + bytes)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    };
    let (mut a, mut x, mut cells, mut place) = (0u32, 0u32, [None; 16], 0);
    loop {
        let Instruction { code, then, otherwise, value } = instructions[place];
        place += 1;
        let mut branch = |holds| place += usize::from(if holds { then } else { otherwise });
        let mut load = |at, bytes| word(at, bytes).map(|value| a = value).is_some();
        let is_loaded = match code {
            LOAD_WORD if value == VLAN_TAG_PRESENT => load_of(&mut a, u32::from(is_tagged)),
            LOAD_WORD => load(value, 4),
            LOAD_HALF => load(value, 2),
            LOAD_BYTE => load(value, 1),
            LOAD_WORD_AT_X => load(x + value, 4),
            LOAD_HALF_AT_X => load(x + value, 2),
            LOAD_BYTE_AT_X => load(x + value, 1),
            LOAD_LENGTH => load_of(&mut a, u32::try_from(frame.len()).unwrap()),
            LOAD_NUMBER => load_of(&mut a, value),
            LOAD_CELL => load_of(&mut a, cells[value as usize].expect("a cell that was written")),
            _ => true,
        };
        if !is_loaded {
            return true;
        }
        match code {
            STORE_CELL => cells[value as usize] = Some(a),
            X_FROM_NUMBER => x = value,
            X_FROM_A => x = a,
            A_FROM_X => a = x,
            ADD => a = a.wrapping_add(value),
            ADD_X => a = a.wrapping_add(x),
            SUBTRACT => a = a.wrapping_sub(value),
            SHIFT_LEFT => a <<= value,
            AND => a &= value,
            IF_EQUAL => branch(a == value),
            IF_AT_LEAST => branch(a >= value),
            IF_AT_LEAST_X => branch(a >= x),
            IF_ANY_BIT => branch(a & value != 0),
            JUMP => place += value as usize,
            RETURN => return value == TC_ACT_UNSPEC,
            LOAD_WORD..=LOAD_CELL | LOAD_NUMBER | LOAD_LENGTH => {}
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn load_of(a: &mut u32, value: u32) -> bool {
    *a = value;
    true
}

fn frame(source: [u8; 6], ethertype: u16, rest: &[u8]) -> Vec<u8> {
    [&[0xff; 6][..], &source, &ethertype.to_be_bytes(), rest].concat()
}

fn ipv4(mac: [u8; 6], source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    frame(mac, 0x0800, &[&[0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0][..], &source, &destination].concat())
}

fn arp(mac: [u8; 6], sender_mac: [u8; 6], sender: [u8; 4]) -> Vec<u8> {
    frame(mac, 0x0806, &[&[0, 1, 8, 0, 6, 4, 0, 2][..], &sender_mac, &sender, &[0; 10]].concat())
}

#[test]
fn only_what_is_ones_own_passes() {
    let two = ["10.90.0.2", "10.90.0.9"].map(|address| address.parse().unwrap());
    let program = FilterProgram::of_port(Mac(OWN), two);
    let (own, second, other, world) = ([10, 90, 0, 2], [10, 90, 0, 9], [10, 90, 0, 3], [192, 0, 2, 1]);
    let good = [
        ipv4(OWN, own, world),
        ipv4(OWN, second, other),
        arp(OWN, OWN, own),
        arp(OWN, OWN, second),
        arp(OWN, OWN, [0; 4]),
    ];
    assert!(good.iter().all(|frame| passes(&program, frame)), "{program}");
    let bad = [
        ipv4(OTHER, own, world),
        ipv4(OWN, other, world),
        ipv4(OWN, [0; 4], [255; 4]),
        ipv4(OWN, own, [127, 0, 0, 1]),
        arp(OTHER, OWN, own),
        arp(OWN, OTHER, own),
        arp(OWN, OWN, other),
        frame(OWN, 0x86dd, &[0; 40]),
        frame(OWN, 0x8100, &[0; 40]),
        frame(OWN, 0x0800, &[0; 4]),
        arp(OWN, OWN, own)[..41].to_vec(),
        Vec::new(),
    ];
    for frame in bad {
        assert!(!passes(&program, &frame), "{frame:?}");
    }
}

#[test]
fn the_mac_is_read_back_from_the_program() {
    let program = FilterProgram::of_port(Mac(OWN), ["10.90.0.2".parse().unwrap()]);
    let guard = |is_open| Some(Guard { mac: Mac(OWN), is_open });
    assert_eq!(FilterProgram::read(&program.bytes()), guard(false));
    assert_eq!(FilterProgram::read(&FilterProgram::open(Mac(OWN)).bytes()), guard(true));
    assert_eq!(FilterProgram::mac_in(&program.bytes()[..24]), None);
    assert_eq!(FilterProgram::mac_in(b"nonsense"), None);
}

#[test]
fn an_open_port_lets_all_pass() {
    let program = FilterProgram::open(Mac(OWN));
    for frame in
        [ipv4(OTHER, [10, 90, 0, 3], [127, 0, 0, 1]), arp(OWN, OTHER, [10, 90, 0, 9]), frame(OTHER, 0x86dd, &[0; 40])]
    {
        assert!(passes(&program, &frame) && judges(&program, &frame, true), "{frame:?}");
    }
}

#[test]
fn only_ipv4_and_arp_go_in_where_there_is_no_ipv6() {
    let program = FilterProgram::into_ipv4_only();
    let good = [ipv4(OTHER, [192, 0, 2, 1], [10, 90, 0, 2]), arp(OTHER, OTHER, [10, 90, 0, 1])];
    assert!(good.iter().all(|frame| passes(&program, frame) && judges(&program, frame, true)));
    // The kernel takes off tags of VLAN 0 (`__netif_receive_skb_core`, net/core/dev.c).
    for ethertype in [0x86dd, 0x8100, 0x88a8] {
        let frame = frame(OTHER, ethertype, &[0; 40]);
        assert!(!passes(&program, &frame) && !judges(&program, &frame, true), "{ethertype:#x}");
    }
}

#[test]
fn a_vlan_tag_beside_the_frame_is_seen() {
    let program = FilterProgram::of_port(Mac(OWN), ["10.90.0.2".parse().unwrap()]);
    for frame in [ipv4(OWN, [10, 90, 0, 2], [192, 0, 2, 1]), arp(OWN, OWN, [10, 90, 0, 2])] {
        assert!(judges(&program, &frame, false));
        assert!(!judges(&program, &frame, true));
    }
}

#[test]
fn a_frame_goes_to_one_station_to_all_or_to_a_group_of_ipv4() {
    let program = FilterProgram::of_port(Mac(OWN), ["10.90.0.2".parse().unwrap()]);
    for (destination, may_pass) in [
        ([2, 12, 10, 90, 0, 1], true),
        ([0xff; 6], true),
        ([0x01, 0, 0x5e, 0, 0, 251], true),
        ([0x01, 0, 0x5e, 0x7f, 0xff, 0xff], true),
        ([0x01, 0, 0x5e, 0x80, 0, 0], false),
        ([0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], false),
        ([0x33, 0x33, 0, 0, 0, 1], false),
        ([0x01, 0x80, 0xc2, 0, 0, 0], false),
        ([0x01, 0x80, 0xc2, 0, 0, 2], false),
        ([0x01, 0x80, 0xc2, 0, 0, 0x0f], false),
        ([0x03, 0, 0x5e, 0, 0, 1], false),
    ] {
        for mut frame in [ipv4(OWN, [10, 90, 0, 2], [192, 0, 2, 1]), arp(OWN, OWN, [10, 90, 0, 2])] {
            frame[..6].copy_from_slice(&destination);
            assert_eq!(passes(&program, &frame), may_pass, "{destination:x?}");
        }
    }
}

#[test]
fn every_jump_of_the_largest_program_is_near_enough() {
    let many = (0..1000).map(|nth| IpAddr::from(Ipv4Addr::from(nth)));
    let program = FilterProgram::of_port(Mac(OWN), many);
    assert_eq!(program.bytes().len(), usize::from(program.count()) * 8);
    assert!(!passes(&program, &ipv4(OWN, [10, 0, 0, 1], [192, 0, 2, 1])));
}

const SELF: &str = "fd00::2";
const LOCAL: &str = "fe80::c:aff:fe5a:2";

/// An IPv6 packet of the container in a frame of its own.
fn ipv6(source: &str, next_header: u8, rest: &[u8]) -> Vec<u8> {
    let [source, destination] = [source, "ff02::1"].map(|text| text.parse::<Ipv6Addr>().unwrap().octets());
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    let header = [&[0x60, 0, 0, 0][..], &length, &[next_header, 255], &source, &destination, rest].concat();
    let mut frame = frame(OWN, 0x86dd, &header);
    frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    frame
}

/// An ICMPv6 message about `target`.
fn message(kind: u8, target: &str) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.parse::<Ipv6Addr>().unwrap().octets()].concat()
}

/// `inner`, which has the number `next`, behind extension headers of these numbers, each of `units` of 8 bytes.
fn behind(headers: &[u8], units: u8, next: u8, inner: &[u8]) -> (u8, Vec<u8>) {
    headers.iter().rev().fold((next, inner.to_vec()), |(next, rest), header| {
        let mut bytes = vec![0; usize::from(units) * 8];
        bytes[..2].copy_from_slice(&[next, units - 1]);
        (*header, [bytes, rest].concat())
    })
}

/// `inner` as a fragment at `offset`, in units of 8 bytes.
fn fragment(next: u8, offset: u16, inner: &[u8]) -> Vec<u8> {
    [&[next, 0xff][..], &(offset << 3 | 1).to_be_bytes(), &[0, 0, 0, 7], inner].concat()
}

fn dual() -> FilterProgram {
    FilterProgram::of_port(Mac(OWN), ["10.90.0.2", SELF].map(|address| address.parse().unwrap()))
}

#[test]
fn of_ipv6_a_container_sends_what_is_its_own() {
    let program = dual();
    let tcp = [0; 20];
    let (options, behind_options) = behind(&[60, 0], 2, 6, &tcp);
    let (_, echo) = behind(&[], 1, 58, &message(128, "::"));
    let (hop, report) = behind(&[0], 1, 58, &message(143, "::"));
    let good = [
        ("tcp", ipv6(SELF, 6, &tcp)),
        ("udp, link-local", ipv6(LOCAL, 17, &tcp)),
        ("tcp behind options", ipv6(SELF, options, &behind_options)),
        ("no next header", ipv6(SELF, 59, &[])),
        ("echo", ipv6(SELF, 58, &echo)),
        ("echo in fragments", ipv6(SELF, 44, &fragment(58, 0, &echo))),
        ("a later fragment", ipv6(SELF, 44, &fragment(58, 100, &message(134, "::")))),
        ("too big", ipv6(SELF, 58, &message(2, "::"))),
        ("question for a sibling", ipv6(SELF, 58, &message(135, "fd00::3"))),
        ("answer", ipv6(SELF, 58, &message(136, SELF))),
        ("answer for the link-local address", ipv6(LOCAL, 58, &message(136, LOCAL))),
        ("is it free", ipv6("::", 58, &message(135, LOCAL))),
        ("joining a group", ipv6("::", hop, &report)),
        ("looking for a router", ipv6(LOCAL, 58, &message(133, "::"))),
        ("ipv4 beside it", ipv4(OWN, [10, 90, 0, 2], [192, 0, 2, 1])),
        ("arp beside it", arp(OWN, OWN, [10, 90, 0, 2])),
    ];
    for (what, frame) in good {
        assert!(passes(&program, &frame), "{what}");
        assert!(!judges(&program, &frame, true), "{what} with a VLAN tag");
        let mut other = frame.clone();
        other[11] += 1;
        assert!(!passes(&program, &other), "{what} with another MAC");
    }
}

#[test]
fn of_ipv6_nothing_else_passes() {
    let program = dual();
    let (advertisement, answer) = (message(134, "::"), message(136, "fd00::1"));
    let hidden = |headers: &[u8]| {
        let (first, rest) = behind(headers, 1, 58, &advertisement);
        ipv6(SELF, first, &rest)
    };
    let (options, split) = behind(&[60], 9, 58, &advertisement);
    let (first, in_fragments) = behind(&[0], 1, 44, &fragment(58, 0, &advertisement));
    let bad = [
        ("the sender is a sibling", ipv6("fd00::3", 6, &[0; 20])),
        ("the sender is the host", ipv6("fe80::1", 6, &[0; 20])),
        ("the sender is ::1", ipv6("::1", 6, &[0; 20])),
        ("udp from nowhere", ipv6("::", 17, &[0; 20])),
        ("a fragment from nowhere", ipv6("::", 44, &fragment(17, 0, &[0; 20]))),
        ("router advertisement", hidden(&[])),
        ("behind options", hidden(&[60])),
        ("behind hop-by-hop options, a route, options", hidden(&[0, 43, 60])),
        ("behind more than are followed", hidden(&[0, 60, 60, 60])),
        ("behind many", hidden(&[60; 12])),
        ("echo behind more than are followed", {
            let (first, rest) = behind(&[0, 60, 60, 60], 1, 58, &message(128, "::"));
            ipv6(SELF, first, &rest)
        }),
        ("in fragments", ipv6(SELF, 44, &fragment(58, 0, &advertisement))),
        ("in fragments behind options", ipv6(SELF, first, &in_fragments)),
        ("a question in fragments", ipv6(SELF, 44, &fragment(58, 0, &message(135, "fd00::3")))),
        ("its headers go on in the next fragment", ipv6(SELF, 44, &fragment(options, 0, &split[..16]))),
        ("answer for the gateway", ipv6(SELF, 58, &answer)),
        ("answer for a sibling", ipv6(LOCAL, 58, &message(136, "fd00::3"))),
        ("an answer that is cut off", ipv6(SELF, 58, &answer[..20])),
        ("is a sibling's free", ipv6("::", 58, &message(135, "fd00::3"))),
        ("answer from nowhere", ipv6("::", 58, &message(136, SELF))),
        ("redirect", ipv6(SELF, 58, &message(137, "fd00::3"))),
        ("query for groups", ipv6(LOCAL, 58, &message(130, "::"))),
        ("router for groups", ipv6(LOCAL, 58, &message(151, "::"))),
        ("a header that is cut off", ipv6(SELF, 60, &[58, 0])),
        ("a message that is cut off", ipv6(SELF, 58, &[])),
        ("cut off", ipv6(SELF, 6, &[])[..53].to_vec()),
    ];
    for (what, frame) in bad {
        assert!(!passes(&program, &frame), "{what}");
    }
    // Without addresses of that family nothing of it passes.
    let other = FilterProgram::of_port(Mac(OWN), ["10.90.0.2".parse().unwrap()]);
    assert!(!passes(&other, &ipv6(SELF, 6, &[0; 20])) && !passes(&other, &ipv6("::", 58, &message(135, LOCAL))));
    let alone = FilterProgram::of_port(Mac(OWN), [SELF.parse().unwrap()]);
    assert!(passes(&alone, &ipv6(SELF, 6, &[0; 20])) && !passes(&alone, &ipv4(OWN, [10, 90, 0, 2], [192, 0, 2, 1])));
}

#[test]
fn the_largest_program_of_both_families_is_one() {
    let many = (0..1000).flat_map(|nth| [IpAddr::from(Ipv4Addr::from(nth)), Ipv6Addr::from(u128::from(nth)).into()]);
    let program = FilterProgram::of_port(Mac(OWN), many);
    assert_eq!(FilterProgram::read(&program.bytes()), Some(Guard { mac: Mac(OWN), is_open: false }));
    assert!(program.count() < 4096, "BPF_MAXINSNS");
}

#[test]
fn frames_to_one_station_are_matched() {
    let program = FilterProgram::to_station(Mac(OWN));
    let to = |destination: [u8; 6]| [&destination[..], &OTHER, &[8, 0], &[0; 20]].concat();
    let is_matched = |frame: &[u8]| passes(&program, frame);
    assert!(is_matched(&to(OWN)));
    let [a, b, c, d, e, f] = OWN;
    for other in [[a, b, c, d, e, f + 1], [a, b + 1, c, d, e, f], [0xff; 6], OTHER] {
        assert!(!is_matched(&to(other)), "{other:?}");
    }
}
