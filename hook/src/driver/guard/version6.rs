//! The part of the guard that decides about IPv6.
//!
//! A container sends with its own addresses alone. What it says of the network itself is listed: no router
//! advertisement, no redirect, no query for groups, and of the questions and answers of neighbour discovery (RFC 4861)
//! those about its own addresses. Extension headers are followed up to [`HEADERS`]; a packet with more is dropped, and
//! so is neighbour discovery in fragments, which RFC 6980 forbids.

use std::net::Ipv6Addr;

use super::{AND, DROP, FilterProgram, IF_AT_LEAST, IF_EQUAL, Instruction, JUMP, LOAD_LENGTH, LOAD_WORD, NEXT, PASS};
use crate::model::Mac;

// Further operations (linux/bpf_common.h, linux/filter.h). X is the index register.
pub(super) const LOAD_BYTE: u16 = 0x30;
pub(super) const LOAD_WORD_AT_X: u16 = 0x40;
pub(super) const LOAD_HALF_AT_X: u16 = 0x48;
pub(super) const LOAD_BYTE_AT_X: u16 = 0x50;
pub(super) const LOAD_NUMBER: u16 = 0x00;
pub(super) const LOAD_CELL: u16 = 0x60;
pub(super) const STORE_CELL: u16 = 0x02;
pub(super) const X_FROM_NUMBER: u16 = 0x01;
pub(super) const X_FROM_A: u16 = 0x07;
pub(super) const A_FROM_X: u16 = 0x87;
pub(super) const ADD: u16 = 0x04;
pub(super) const ADD_X: u16 = 0x0c;
pub(super) const SUBTRACT: u16 = 0x14;
pub(super) const SHIFT_LEFT: u16 = 0x64;
pub(super) const IF_AT_LEAST_X: u16 = 0x3d;

// Cells of the program's memory.
/// 1 where the sender is the unspecified address.
const UNSPECIFIED: u32 = 0;
/// 1 in the first fragment of a packet.
const FRAGMENT: u32 = 1;
/// The number of the next header.
const NEXT_HEADER: u32 = 2;

// Offsets in a frame (RFC 8200, section 3).
const FIRST_HEADER: u32 = 20;
const SOURCE: u32 = 22;
const END: u32 = 54;

// Numbers of headers (IANA, protocol numbers).
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENTED: u32 = 44;
const ICMP: u32 = 58;
const DESTINATION_OPTIONS: u32 = 60;

/// How many extension headers are followed.
const HEADERS: usize = 3;

/// At most this many addresses beside the link-local one: a jump reaches 255 instructions far.
const ADDRESSES: usize = 4;

// Types of ICMPv6 messages (IANA).
/// Errors, and the question and answer of ping.
const ERRORS_AND_ECHO: [u32; 6] = [1, 2, 3, 4, 128, 129];
const REPORT: u32 = 131;
const DONE: u32 = 132;
const ROUTER_SOLICITATION: u32 = 133;
const SOLICITATION: u32 = 135;
const ADVERTISEMENT: u32 = 136;
const REPORT_V2: u32 = 143;

/// The place of the address that a question or answer of neighbour discovery is about, in the message.
const TARGET: u32 = 8;
const TARGET_END: u32 = 24;

/// Where a jump leads.
#[derive(Clone, Copy, PartialEq)]
enum To {
    /// To the next instruction.
    Next,
    /// To the end: the frame passes.
    Pass,
    /// To the end: the frame is dropped.
    Drop,
    /// Behind the next so many instructions.
    Skip(u8),
    /// The sender is the container.
    Own,
    /// The header of this number in their order.
    Header(usize),
    /// The same, a fragment header.
    Fragment(usize),
    /// The same, with a length of its own.
    Extension(usize),
    /// No header of the network layer.
    Upper,
    /// An ICMPv6 message.
    Message,
    /// One from the unspecified address.
    FromUnspecified,
    /// The beginning of one in fragments.
    InFragments,
    /// One about an address.
    About,
}

/// The program while its jumps have names.
#[derive(Default)]
struct Draft {
    code: Vec<(u16, u32, To, To)>,
    places: Vec<(To, usize)>,
}

/// What a container with `mac` and `addresses` may send of IPv6, as a program of its own.
pub(super) fn program(mac: Mac, addresses: &[Ipv6Addr]) -> FilterProgram {
    let own: Vec<Ipv6Addr> = [link_local(mac)].into_iter().chain(addresses.iter().copied().take(ADDRESSES)).collect();
    let mut draft = Draft::default();
    draft.source(&own);
    draft.headers();
    draft.messages(&own);
    draft.resolved()
}

/// The address that the kernel gives an interface with `mac` by itself (RFC 4291, appendix A).
fn link_local(Mac([a, b, c, d, e, f]): Mac) -> Ipv6Addr {
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

impl Draft {
    fn add(&mut self, code: u16, value: u32) {
        self.branch(code, value, To::Next, To::Next);
    }

    fn branch(&mut self, code: u16, value: u32, then: To, otherwise: To) {
        self.code.push((code, value, then, otherwise));
    }

    fn mark(&mut self, place: To) {
        self.places.push((place, self.code.len()));
    }

    fn remember(&mut self, cell: u32, value: u32) {
        self.add(LOAD_NUMBER, value);
        self.add(STORE_CELL, cell);
    }

    /// Drops a frame that ends before `bytes` behind X. A load beyond the end would end the program and let the frame
    /// pass.
    fn require(&mut self, bytes: u32) {
        self.add(LOAD_LENGTH, 0);
        self.add(SUBTRACT, bytes);
        self.branch(IF_AT_LEAST_X, 0, To::Next, To::Drop);
    }

    fn any(&mut self, values: &[u32], then: To) {
        values.iter().for_each(|value| self.branch(IF_EQUAL, *value, then, To::Next));
    }

    /// Goes to `then` where one of `addresses` stands at the place `at`, which `load` loads from.
    fn any_address(&mut self, load: u16, at: u32, addresses: &[Ipv6Addr], then: To) {
        for address in addresses {
            for (word, nth) in address.octets().as_chunks::<4>().0.iter().zip(0u8..) {
                self.add(load, at + 4 * u32::from(nth));
                // Each word that follows has two instructions.
                let (then, otherwise) = if nth == 3 { (then, To::Next) } else { (To::Next, To::Skip(2 * (3 - nth))) };
                self.branch(IF_EQUAL, u32::from_be_bytes(*word), then, otherwise);
            }
        }
    }

    /// The sender is the container, or not known yet.
    fn source(&mut self, own: &[Ipv6Addr]) {
        self.add(LOAD_LENGTH, 0);
        self.branch(IF_AT_LEAST, END, To::Next, To::Drop);
        self.remember(FRAGMENT, 0);
        self.remember(UNSPECIFIED, 0);
        self.any_address(LOAD_WORD, SOURCE, own, To::Own);
        for nth in 0..4 {
            self.add(LOAD_WORD, SOURCE + 4 * nth);
            self.branch(IF_EQUAL, 0, To::Next, To::Drop);
        }
        self.remember(UNSPECIFIED, 1);
    }

    /// Leads to what the packet carries behind its extension headers.
    fn headers(&mut self) {
        self.mark(To::Own);
        self.add(X_FROM_NUMBER, END);
        self.add(LOAD_BYTE, FIRST_HEADER);
        for nth in 0..HEADERS {
            self.mark(To::Header(nth));
            self.branch(IF_EQUAL, ICMP, To::Message, To::Next);
            self.branch(IF_EQUAL, FRAGMENTED, To::Fragment(nth), To::Next);
            self.any(&[HOP_BY_HOP, ROUTING], To::Extension(nth));
            self.branch(IF_EQUAL, DESTINATION_OPTIONS, To::Extension(nth), To::Upper);

            self.mark(To::Fragment(nth));
            self.require(8);
            // A later fragment tells nothing of the message; it is of no use without the first (RFC 8200, section 4.5).
            self.add(LOAD_HALF_AT_X, 2);
            self.add(AND, 0xfff8);
            self.branch(IF_EQUAL, 0, To::Next, To::Upper);
            self.remember(FRAGMENT, 1);
            self.add(LOAD_BYTE_AT_X, 0);
            self.add(STORE_CELL, NEXT_HEADER);
            self.add(A_FROM_X, 0);
            self.add(ADD, 8);
            self.add(X_FROM_A, 0);
            self.add(LOAD_CELL, NEXT_HEADER);
            self.branch(JUMP, 0, To::Header(nth + 1), To::Next);

            self.mark(To::Extension(nth));
            self.require(8);
            self.add(LOAD_BYTE_AT_X, 0);
            self.add(STORE_CELL, NEXT_HEADER);
            // Its length is in units of 8 bytes, without the first (RFC 8200, section 4.3).
            self.add(LOAD_BYTE_AT_X, 1);
            self.add(ADD, 1);
            self.add(SHIFT_LEFT, 3);
            self.add(ADD_X, 0);
            self.add(X_FROM_A, 0);
            self.add(LOAD_CELL, NEXT_HEADER);
        }
        self.mark(To::Header(HEADERS));
        self.branch(IF_EQUAL, ICMP, To::Message, To::Next);
        self.any(&[HOP_BY_HOP, ROUTING, FRAGMENTED, DESTINATION_OPTIONS], To::Drop);
        self.mark(To::Upper);
        self.add(LOAD_CELL, UNSPECIFIED);
        self.branch(IF_EQUAL, 0, To::Pass, To::Drop);
    }

    /// Decides about an ICMPv6 message at X.
    fn messages(&mut self, own: &[Ipv6Addr]) {
        self.mark(To::Message);
        self.require(8);
        self.add(LOAD_CELL, FRAGMENT);
        self.branch(IF_EQUAL, 0, To::Next, To::InFragments);
        self.add(LOAD_CELL, UNSPECIFIED);
        self.branch(IF_EQUAL, 0, To::Next, To::FromUnspecified);
        self.add(LOAD_BYTE_AT_X, 0);
        self.any(&ERRORS_AND_ECHO, To::Pass);
        self.any(&[SOLICITATION, ROUTER_SOLICITATION, REPORT_V2, REPORT, DONE], To::Pass);
        self.branch(IF_EQUAL, ADVERTISEMENT, To::About, To::Drop);

        // A host that has no address yet asks whether one is free (RFC 4862, section 5.4), and joins groups.
        self.mark(To::FromUnspecified);
        self.add(LOAD_BYTE_AT_X, 0);
        self.any(&[REPORT_V2, REPORT, ROUTER_SOLICITATION], To::Pass);
        self.branch(IF_EQUAL, SOLICITATION, To::About, To::Drop);

        self.mark(To::InFragments);
        self.add(LOAD_CELL, UNSPECIFIED);
        self.branch(IF_EQUAL, 0, To::Next, To::Drop);
        self.add(LOAD_BYTE_AT_X, 0);
        self.any(&ERRORS_AND_ECHO, To::Pass);
        self.branch(JUMP, 0, To::Drop, To::Next);

        self.mark(To::About);
        self.require(TARGET_END);
        self.any_address(LOAD_WORD_AT_X, TARGET, own, To::Pass);
    }

    /// The program with distances in place of names. It ends with the drop of what came that far.
    fn resolved(self) -> FilterProgram {
        let Self { code, places } = self;
        let distance = |place: usize, to: To| {
            let target = match to {
                To::Drop => code.len(),
                to => places.iter().find(|(name, _)| *name == to).expect("every name is a place").1,
            };
            target - place - 1
        };
        let near = |place: usize, to: To| match to {
            To::Next => NEXT,
            To::Pass => PASS,
            To::Drop => DROP,
            To::Skip(count) => count,
            to => u8::try_from(distance(place, to)).expect("a part shorter than a jump is far"),
        };
        let instruction = |(place, (code, value, then, otherwise)): (usize, &(u16, u32, To, To))| match *code {
            // An unconditional jump has its distance as the operand.
            JUMP => {
                let far = u32::try_from(distance(place, *then)).expect("a short program");
                Instruction { code: JUMP, then: NEXT, otherwise: NEXT, value: far }
            }
            code => Instruction { code, then: near(place, *then), otherwise: near(place, *otherwise), value: *value },
        };
        FilterProgram(code.iter().enumerate().map(instruction).collect()).finish()
    }
}
