//! The packets that a container may send, as a filter program for its link.
//!
//! A sibling container on the same bridge is hostile: it sends ARP, IPv4 and Ethernet frames with the addresses of
//! others (CVE-2020-10749 and similar ones), router advertisements, and packets for the host's 127.0.0.0/8
//! (CVE-2020-8558). The classifier at the host's end of its link sees every frame first. It is made and deleted with
//! the link, so it needs no detach and no store. It does not depend on the host's firewall, and is the same under every
//! firewall. It is a classic BPF program (bpf(4) of BSD, linux/filter.h). No jump goes back, so it can be read from top
//! to bottom.

mod version6;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::Mac;

/// One instruction (`struct sock_filter`, linux/filter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    code: u16,
    /// How many instructions a jump skips where its condition holds.
    then: u8,
    /// How many it skips where the condition does not hold.
    otherwise: u8,
    /// The operand: a number, an offset in the frame, or a verdict.
    value: u32,
}

/// What a filter program of ours lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// The MAC address of the endpoint.
    pub mac: Mac,
    /// Whether frames with every other one pass, too.
    pub is_open: bool,
}

/// A classifier that decides for each frame whether it passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterProgram(Vec<Instruction>);

// Operations (linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_LENGTH: u16 = 0x80;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

// Verdicts (linux/pkt_cls.h). `TC_ACT_UNSPEC` lets another program's filter decide about a frame that passes.
const TC_ACT_UNSPEC: u32 = u32::MAX;
const TC_ACT_SHOT: u32 = 2;

// Results of a classifier that has actions (`cls_bpf_classify`, net/sched/cls_bpf.c): whether they are done.
const MATCH: u32 = u32::MAX;
const NO_MATCH: u32 = 0;

// Placeholders for the targets of jumps whose distance is known only when the program is complete.
const NEXT: u8 = 0;
const DROP: u8 = u8::MAX;
const PASS: u8 = u8::MAX - 1;

/// How many instructions [`FilterProgram::finish`] adds.
const VERDICTS: u32 = 2;

/// The offsets of the fields of a frame: Ethernet, then IPv4 (RFC 791) or ARP (RFC 826).
mod at {
    pub const DESTINATION_MAC: u32 = 0;
    pub const SOURCE_MAC: u32 = 6;
    pub const ETHERTYPE: u32 = 12;
    pub const IPV4_SOURCE: u32 = 26;
    pub const IPV4_DESTINATION: u32 = 30;
    pub const IPV4_END: u32 = 34;
    pub const ARP_FORMAT: u32 = 14;
    pub const ARP_LENGTHS: u32 = 18;
    pub const ARP_SENDER_MAC: u32 = 22;
    pub const ARP_SENDER: u32 = 28;
    pub const ARP_END: u32 = 42;
}

/// The offset of the last two bytes of the source MAC address.
const LOW: u32 = at::SOURCE_MAC + 4;

/// The offset of an ancillary load that gives whether the frame has a VLAN tag (`SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT`,
/// linux/filter.h). The tag is not in the frame by then: the sender's interface or `skb_vlan_untag` has moved it to the
/// metadata.
const VLAN_TAG_PRESENT: u32 = 0xffff_f000 + 48;

/// At most this many addresses: a jump reaches 255 instructions far.
const ADDRESSES: usize = 64;

impl FilterProgram {
    /// Lets a container with `mac` send only IPv4 and ARP with the IPv4 ones of `addresses` as the sender, and where it
    /// has others, IPv6 with these: without a VLAN tag, to one station, to all, or to a group of its families.
    pub fn of_port(mac: Mac, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let (mut v4, mut v6): (Vec<u32>, Vec<Ipv6Addr>) = (Vec::new(), Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(address) => v4.push(address.into()),
                IpAddr::V6(address) => v6.push(address),
            }
        }
        v4.truncate(ADDRESSES);
        let mut program = Self(Vec::new());
        program.require_length(at::IPV4_END);
        program.add(LOAD_WORD, VLAN_TAG_PRESENT);
        program.require(0);
        program.require_destination(!v6.is_empty());
        program.require_mac(at::SOURCE_MAC, mac);
        program.add(LOAD_HALF, at::ETHERTYPE);
        let rest = version4(mac, &v4);
        if v6.is_empty() {
            program.0.extend(rest.0);
            return program.finish();
        }
        // Each part ends with verdicts of its own, since a conditional jump does not reach over the other.
        program.branch(IF_EQUAL, 0x86dd, NEXT, 1);
        program.add(JUMP, u32::from(rest.count()) + VERDICTS);
        program.0.extend(rest.0);
        let mut program = program.finish();
        program.0.extend(version6::program(mac, &v6).0);
        program
    }

    /// Lets a container with `mac` send everything, as it asked to. That it looks at the MAC address tells a rebuild what
    /// it is.
    pub fn open(mac: Mac) -> Self {
        let mut program = Self(Vec::new());
        program.require_mac(at::SOURCE_MAC, mac);
        for instruction in &mut program.0 {
            if instruction.otherwise == DROP {
                instruction.otherwise = PASS;
            }
        }
        program.add(RETURN, TC_ACT_UNSPEC);
        program.finish()
    }

    /// Lets only IPv4 and ARP in to a container: the same as what one without addresses of IPv6 may send. A router's
    /// advertisement would give it an address.
    pub fn into_ipv4_only() -> Self {
        let mut program = Self(Vec::new());
        program.add(LOAD_HALF, at::ETHERTYPE);
        program.pass_any(&[0x0800, 0x0806]);
        program.finish()
    }

    /// Matches frames to the station `mac` alone.
    pub fn to_station(mac: Mac) -> Self {
        let mut program = Self(Vec::new());
        program.require_mac(at::DESTINATION_MAC, mac);
        program.add(RETURN, MATCH);
        program.add(RETURN, NO_MATCH);
        let last = program.0.len() - 1;
        for (place, instruction) in program.0.iter_mut().enumerate() {
            if instruction.otherwise == DROP {
                instruction.otherwise = u8::try_from(last - place - 1).expect("a handful of instructions");
            }
        }
        program
    }

    fn add(&mut self, code: u16, value: u32) {
        self.branch(code, value, NEXT, NEXT);
    }

    fn branch(&mut self, code: u16, value: u32, then: u8, otherwise: u8) {
        self.0.push(Instruction { code, then, otherwise, value });
    }

    fn require(&mut self, value: u32) {
        self.branch(IF_EQUAL, value, NEXT, DROP);
    }

    /// Drops shorter frames. A load beyond the end would end the program and let the frame pass.
    fn require_length(&mut self, bytes: u32) {
        self.add(LOAD_LENGTH, 0);
        self.branch(IF_AT_LEAST, bytes, NEXT, DROP);
    }

    /// Passes frames to one station, to all of them, to an IPv4 group (RFC 1112, section 6.4), and where `has_ipv6`, to
    /// an IPv6 group (RFC 2464, section 7). The bridge itself may
    /// handle a frame to another group: one to 01:80:c2:00:00:00 to 0f is delivered to the host from the port, not from
    /// the bridge, so rules that name the bridge do not match it (`br_handle_frame`, net/bridge/br_input.c).
    fn require_destination(&mut self, has_ipv6: bool) {
        // The lowest bit of the first byte marks a group address. It is sent first (IEEE 802, section 8.2).
        const TO_GROUP: u32 = 0x0100_0000;
        if has_ipv6 {
            self.add(LOAD_HALF, at::DESTINATION_MAC);
            self.branch(IF_EQUAL, 0x3333, 7, NEXT);
        }
        self.add(LOAD_WORD, at::DESTINATION_MAC);
        self.branch(IF_ANY_BIT, TO_GROUP, NEXT, 5);
        self.branch(IF_EQUAL, 0xffff_ffff, NEXT, 2);
        self.add(LOAD_HALF, at::DESTINATION_MAC + 4);
        self.branch(IF_EQUAL, 0xffff, 2, DROP);
        self.add(AND, 0xffff_ff80);
        self.require(0x0100_5e00);
    }

    fn require_mac(&mut self, at: u32, Mac([a, b, c, d, e, f]): Mac) {
        self.add(LOAD_WORD, at);
        self.require(u32::from_be_bytes([a, b, c, d]));
        self.add(LOAD_HALF, at + 4);
        self.require(u32::from(u16::from_be_bytes([e, f])));
    }

    fn pass_any(&mut self, values: &[u32]) {
        values.iter().for_each(|value| self.branch(IF_EQUAL, *value, PASS, NEXT));
    }

    /// Adds the two final instructions, and resolves the jumps to them.
    fn finish(mut self) -> Self {
        self.add(RETURN, TC_ACT_SHOT);
        self.add(RETURN, TC_ACT_UNSPEC);
        let pass = self.0.len() - 1;
        for (place, instruction) in self.0.iter_mut().enumerate() {
            for jump in [&mut instruction.then, &mut instruction.otherwise] {
                let target = match *jump {
                    DROP => pass - 1,
                    PASS => pass,
                    _ => continue,
                };
                *jump = u8::try_from(target - place - 1).expect("a program shorter than a jump is far");
            }
        }
        self
    }

    /// The instructions in the kernel's binary form.
    pub fn bytes(&self) -> Vec<u8> {
        let bytes = |instruction: &Instruction| {
            let Instruction { code, then, otherwise, value } = instruction;
            [&code.to_ne_bytes()[..], &[*then, *otherwise], &value.to_ne_bytes()].concat()
        };
        self.0.iter().flat_map(bytes).collect()
    }

    /// What a program of ours of any version, of which these are the `bytes`, lets pass.
    pub fn read(bytes: &[u8]) -> Option<Guard> {
        Self::mac_in(bytes).map(|mac| Guard { mac, is_open: Self::open(mac).bytes() == bytes })
    }

    /// The MAC address whose frames it lets pass.
    fn mac_in(bytes: &[u8]) -> Option<Mac> {
        let (instructions, _) = bytes.as_chunks::<8>();
        let read =
            |[a, b, _, _, c, d, e, f]: &[u8; 8]| (u16::from_ne_bytes([*a, *b]), u32::from_ne_bytes([*c, *d, *e, *f]));
        let instructions: Vec<(u16, u32)> = instructions.iter().map(read).collect();
        instructions.windows(4).find_map(|window| match *window {
            [(LOAD_WORD, at::SOURCE_MAC), (IF_EQUAL, high), (LOAD_HALF, LOW), (IF_EQUAL, low)] => {
                let ([a, b, c, d], [_, _, e, f]) = (high.to_be_bytes(), low.to_be_bytes());
                Some(Mac([a, b, c, d, e, f]))
            }
            _ => None,
        })
    }

    /// How many instructions there are.
    pub fn count(&self) -> u16 {
        u16::try_from(self.0.len()).expect("fewer than 65,536 instructions")
    }
}

/// The part that decides about IPv4 and ARP; the accumulator holds the type of the frame.
fn version4(mac: Mac, addresses: &[u32]) -> FilterProgram {
    let ipv4 = is_from(addresses);
    let mut program = FilterProgram(Vec::new());
    let skip = u8::try_from(ipv4.0.len()).expect("fewer instructions than a jump can skip");
    program.branch(IF_EQUAL, 0x0800, NEXT, skip);
    program.0.extend(ipv4.0);
    program.require(0x0806);
    program.require_length(at::ARP_END);
    program.add(LOAD_WORD, at::ARP_FORMAT);
    program.require(0x0001_0800);
    program.add(LOAD_HALF, at::ARP_LENGTHS);
    program.require(0x0604);
    program.require_mac(at::ARP_SENDER_MAC, mac);
    program.add(LOAD_WORD, at::ARP_SENDER);
    // An ARP probe asks whether an address is free, and its sender address is 0 (RFC 5227, section 2.1.1).
    program.pass_any(&[0]);
    program.pass_any(addresses);
    program
}

/// The part that decides about an IPv4 packet.
fn is_from(addresses: &[u32]) -> FilterProgram {
    let mut program = FilterProgram(Vec::new());
    program.add(LOAD_WORD, at::IPV4_DESTINATION);
    program.add(AND, u32::from(Ipv4Addr::new(255, 0, 0, 0)));
    program.branch(IF_EQUAL, u32::from(Ipv4Addr::new(127, 0, 0, 0)), DROP, NEXT);
    program.add(LOAD_WORD, at::IPV4_SOURCE);
    program.pass_any(addresses);
    program.add(RETURN, TC_ACT_SHOT);
    program
}

/// In the form that tc-bpf(8) takes after `bytecode`.
impl fmt::Display for FilterProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.len())?;
        for Instruction { code, then, otherwise, value } in &self.0 {
            write!(f, ",{code} {then} {otherwise} {value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
