//! The rules of published ports as iptables-nft has them in nf_tables: lists of expressions, each of a name and of
//! attributes (linux/netfilter/nf_tables.h).
//!
//! What iptables 1.8.9 writes for TCP and UDP is read here. A rule that holds anything else is not understood,
//! and what it says is asked of the programs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use super::{ANY, ASK, COPY, INVALID, INVALID_ANY, PUBLISH, Table};
use crate::firewall::Publish;
use crate::model::{Family, Protocol};

/// The length of an attribute's header, to a multiple of which its value is padded (`NLA_HDRLEN`, `NLA_ALIGNTO`), and
/// the bits of its kind (`NLA_TYPE_MASK`).
const HEADER: usize = 4;
const KIND: u16 = 0x3fff;

/// `NFTA_EXPR_NAME` and `NFTA_EXPR_DATA`.
const NAME: u16 = 1;
const DATA: u16 = 2;

/// `struct nf_nat_range2`: flags, the first address and the last, 16 bytes each, the first port and the last.
const RANGE_ADDRESSES: [usize; 2] = [4, 20];
const RANGE_PORTS: [usize; 2] = [36, 38];
/// `NF_NAT_RANGE_MAP_IPS` and `NF_NAT_RANGE_PROTO_SPECIFIED`.
const RANGE_FLAGS: u32 = 1 | 2;

/// `NF_DROP` and `NFT_GOTO`.
const DROP: u32 = 0;
const GOTO: u32 = -4_i32 as u32;

/// A rule of a published port, but its comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRule {
    protocol: u8,
    /// None where it is for any address.
    host: Option<IpAddr>,
    port: u16,
    effect: Effect,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Effect {
    Drop,
    /// It goes to [`COPY`].
    Ask,
    Dnat(SocketAddr),
}

/// The rule of `port` in `table` with its chain, where it has one there.
pub fn rule_in(table: Table, port: &Publish) -> Option<(&'static str, PortRule)> {
    if !port.reached_by.has_host() || port.family().is_none() {
        return None;
    }
    let (target, host) = (port.target, port.host_address.one());
    let (chain, effect) = match table {
        Table::Raw | Table::Filter => return None,
        Table::Mangle if port.protocol == Protocol::Udp => return None,
        Table::Mangle => (if host.is_some() { INVALID } else { INVALID_ANY }, Effect::Drop),
        Table::Security => (ASK, Effect::Ask),
        Table::Nat => (if host.is_some() { PUBLISH } else { ANY }, Effect::Dnat(target)),
    };
    Some((chain, PortRule { protocol: port.protocol.number(), host, port: port.host_port, effect }))
}

/// Where the parts of a rule stand in its bytes.
#[derive(Default)]
struct Parts {
    protocol: Option<Range<usize>>,
    host: Option<Range<usize>>,
    port: Option<Range<usize>>,
    counters: Vec<Range<usize>>,
    end: Option<End>,
}

/// Where it stands what becomes of a packet.
enum End {
    Drop,
    Ask,
    /// A `struct nf_nat_range2`.
    Dnat(Range<usize>),
}

/// What a register holds.
#[derive(Clone, Copy)]
enum Loaded {
    Protocol,
    Host,
    Port,
}

/// The rule of a published port that `expressions` are in a table of `family`; none where they are not understood.
pub fn decoded(family: Family, expressions: &[u8]) -> Option<PortRule> {
    read(family, expressions, &parts(family, expressions)?)
}

/// `expressions`, which are a rule of a published port, with the ports of `port`, whose rule is `wanted`. None where
/// they are not understood, or differ from it in more.
pub fn with_ports_of(port: &Publish, wanted: &PortRule, expressions: &[u8]) -> Option<Vec<u8>> {
    let family = port.family()?;
    let parts = parts(family, expressions)?;
    let mut changed = expressions.to_vec();
    changed.get_mut(parts.port.clone()?)?.copy_from_slice(&port.host_port.to_be_bytes());
    parts.counters.iter().for_each(|counter| changed[counter.clone()].fill(0));
    if let Some(End::Dnat(range)) = &parts.end {
        for at in RANGE_PORTS {
            changed.get_mut(range.start + at..range.start + at + 2)?.copy_from_slice(&port.target.port().to_be_bytes());
        }
    }
    (read(family, &changed, &parts)? == *wanted).then_some(changed)
}

fn parts(family: Family, bytes: &[u8]) -> Option<Parts> {
    let mut parts = Parts::default();
    let mut loaded = None;
    for (_, expression) in attributes(bytes, 0..bytes.len()) {
        if parts.end.is_some() {
            return None;
        }
        let name = word(bytes, attribute(bytes, &expression, NAME)?)?;
        let data = attribute(bytes, &expression, DATA)?;
        match (name, loaded.take()) {
            ("meta", None) => loaded = Some(meta(bytes, &data)?),
            ("payload", None) => loaded = Some(payload(family, bytes, &data)?),
            ("cmp", Some(of)) => parts.compare(family, bytes, &data, of)?,
            // It may say anything.
            ("match", None) if word(bytes, attribute(bytes, &data, 1)?)? == "comment" => {}
            ("counter", None) => parts.counters.extend(attributes(bytes, data).map(|(_, value)| value)),
            ("immediate", None) => parts.end = Some(verdict(bytes, &data)?),
            ("target", None) => parts.end = Some(target(bytes, &data)?),
            _ => return None,
        }
    }
    Some(parts)
}

impl Parts {
    /// A register, which was `loaded`, has to be equal to a value.
    fn compare(
        &mut self,
        family: Family,
        bytes: &[u8],
        data: &Range<usize>,
        (register, loaded): (u32, Loaded),
    ) -> Option<()> {
        let (place, size) = match loaded {
            Loaded::Protocol => (&mut self.protocol, 1),
            Loaded::Host => (&mut self.host, length_of(family)),
            Loaded::Port => (&mut self.port, size_of::<u16>()),
        };
        // `NFTA_CMP_SREG`, `NFTA_CMP_OP`, of which 0 is `NFT_CMP_EQ`, and `NFTA_CMP_DATA` with `NFTA_DATA_VALUE`.
        let is_equality = number(bytes, data, 1)? == register && number(bytes, data, 2)? == 0;
        let value = attribute(bytes, &attribute(bytes, data, 3)?, 1)?;
        (is_equality && value.len() == size && place.replace(value).is_none()).then_some(())
    }
}

/// The register that is filled, and with what: `NFT_META_L4PROTO`.
fn meta(bytes: &[u8], data: &Range<usize>) -> Option<(u32, Loaded)> {
    (number(bytes, data, 2)? == 16).then_some((number(bytes, data, 1)?, Loaded::Protocol))
}

/// The same of a part of the packet, by its header (`NFT_PAYLOAD_NETWORK_HEADER` is 1), offset and length.
fn payload(family: Family, bytes: &[u8], data: &Range<usize>) -> Option<(u32, Loaded)> {
    let loaded = match (family, number(bytes, data, 2)?, number(bytes, data, 3)?, number(bytes, data, 4)?) {
        (Family::V4, 1, 16, 4) | (Family::V6, 1, 24, 16) => Loaded::Host,
        (_, 2, 2, 2) => Loaded::Port,
        _ => return None,
    };
    Some((number(bytes, data, 1)?, loaded))
}

fn verdict(bytes: &[u8], data: &Range<usize>) -> Option<End> {
    // `NFTA_IMMEDIATE_DATA` with `NFTA_DATA_VERDICT`, of which the attributes are a code and a chain.
    let verdict = attribute(bytes, &attribute(bytes, data, 2)?, 2)?;
    match number(bytes, &verdict, 1)? {
        DROP => Some(End::Drop),
        GOTO if word(bytes, attribute(bytes, &verdict, 2)?)? == COPY => Some(End::Ask),
        _ => None,
    }
}

/// The target `DNAT` of revision 2, which leads to one address and port.
fn target(bytes: &[u8], data: &Range<usize>) -> Option<End> {
    let is_dnat = word(bytes, attribute(bytes, data, 1)?)? == "DNAT" && number(bytes, data, 2)? == 2;
    let info = attribute(bytes, data, 3)?;
    let range = bytes.get(info.clone())?;
    let [first, last] = RANGE_ADDRESSES.map(|at| range.get(at..at + 16));
    let [from, to] = RANGE_PORTS.map(|at| range.get(at..at + 2));
    let is_one = first? == last? && from? == to? && u32::from_ne_bytes(*range.first_chunk()?) == RANGE_FLAGS;
    (is_dnat && is_one).then_some(End::Dnat(info))
}

fn read(family: Family, bytes: &[u8], parts: &Parts) -> Option<PortRule> {
    let effect = match parts.end.as_ref()? {
        End::Drop => Effect::Drop,
        End::Ask => Effect::Ask,
        End::Dnat(range) => {
            let target = address(family, bytes, range.start + RANGE_ADDRESSES[0])?;
            Effect::Dnat(SocketAddr::new(target, short(bytes, range.start + RANGE_PORTS[0])?))
        }
    };
    let host = match &parts.host {
        Some(host) => Some(address(family, bytes, host.start)?),
        None => None,
    };
    let protocol = *bytes.get(parts.protocol.as_ref()?.start)?;
    Some(PortRule { protocol, host, port: short(bytes, parts.port.as_ref()?.start)?, effect })
}

/// How many bytes an address has.
fn length_of(family: Family) -> usize {
    match family {
        Family::V4 => size_of::<Ipv4Addr>(),
        Family::V6 => size_of::<Ipv6Addr>(),
    }
}

fn address(family: Family, bytes: &[u8], at: usize) -> Option<IpAddr> {
    let rest = bytes.get(at..)?;
    match family {
        Family::V4 => rest.first_chunk::<4>().copied().map(IpAddr::from),
        Family::V6 => rest.first_chunk::<16>().copied().map(IpAddr::from),
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// The attributes in a part of `bytes`: the kind of each, and where its value stands. It ends where one is cut off.
fn attributes(bytes: &[u8], within: Range<usize>) -> impl Iterator<Item = (u16, Range<usize>)> {
    let mut at = within.start;
    std::iter::from_fn(move || {
        let [length_low, length_high, kind_low, kind_high] = *bytes.get(at..within.end)?.first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_ne_bytes([length_low, length_high]));
        let value = at + HEADER..at + length;
        if length < HEADER || value.end > within.end {
            return None;
        }
        at += length.next_multiple_of(HEADER);
        Some((u16::from_ne_bytes([kind_low, kind_high]) & KIND, value))
    })
}

fn attribute(bytes: &[u8], within: &Range<usize>, kind: u16) -> Option<Range<usize>> {
    attributes(bytes, within.clone()).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// The number in an attribute.
fn number(bytes: &[u8], within: &Range<usize>, kind: u16) -> Option<u32> {
    let value = bytes.get(attribute(bytes, within, kind)?)?;
    value.try_into().ok().map(u32::from_be_bytes)
}

/// The text of an attribute, up to its final zero.
fn word(bytes: &[u8], value: Range<usize>) -> Option<&str> {
    let text = bytes.get(value)?.strip_suffix(&[0])?;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::tests;
    use crate::model::HostAddress;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(HEADER + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(HEADER), 0);
        bytes
    }

    fn number(kind: u16, value: u32) -> Vec<u8> {
        attribute(kind, &value.to_be_bytes())
    }

    fn expression(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
        let name = attribute(NAME, format!("{name}\0").as_bytes());
        attribute(1, &[name, attribute(DATA, &data.concat())].concat())
    }

    fn payload(base: u32, offset: u32, length: u32) -> Vec<u8> {
        expression("payload", &[number(1, 1), number(2, base), number(3, offset), number(4, length)])
    }

    fn compare(value: &[u8]) -> Vec<u8> {
        expression("cmp", &[number(1, 1), number(2, 0), attribute(3, &attribute(1, value))])
    }

    fn comment(text: &str) -> Vec<u8> {
        let mut info = text.as_bytes().to_vec();
        info.resize(256, 0);
        expression("match", &[attribute(1, b"comment\0"), number(2, 0), attribute(3, &info)])
    }

    fn counter(packets: u8) -> Vec<u8> {
        expression("counter", &[attribute(1, &[packets; 8]), attribute(2, &[packets; 8])])
    }

    fn dnat(first: &str, last: &str) -> Vec<u8> {
        let [first, last]: [SocketAddr; 2] = [first, last].map(|target| target.parse().unwrap());
        let address = |target: SocketAddr| match target.ip() {
            IpAddr::V4(v4) => [&v4.octets()[..], &[0; 12]].concat(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let ports = [first, last].map(|target| target.port().to_be_bytes()).concat();
        let info = [&RANGE_FLAGS.to_ne_bytes()[..], &address(first), &address(last), &ports, &[0; 8]].concat();
        expression("target", &[attribute(1, b"DNAT\0"), number(2, 2), attribute(3, &info)])
    }

    /// The rule of a TCP port, as iptables-nft 1.8.9 writes it.
    fn rule(host: &[Vec<u8>], port: u16, rest: &[Vec<u8>]) -> Vec<u8> {
        let protocol = [expression("meta", &[number(2, 16), number(1, 1)]), compare(&[6])];
        let port = [payload(2, 2, 2), compare(&port.to_be_bytes())];
        [&protocol, host, &port, rest].concat().concat()
    }

    fn led(port: u16, target: &str) -> Vec<u8> {
        rule(&[], port, &[comment("web"), counter(7), dnat(target, target)])
    }

    #[test]
    fn the_rule_of_a_port_is_read_from_what_the_program_made_of_it() {
        let host = [payload(1, 16, 4), compare(&[192, 0, 2, 1])];
        let any = tests::port(Protocol::Tcp, HostAddress::Any, "web");
        let one = Publish { host_address: HostAddress::V4([192, 0, 2, 1].into()), ..any.clone() };
        let verdict = |code, rest: &[u8]| {
            let verdict = attribute(2, &[&number(1, code), rest].concat());
            [counter(0), expression("immediate", &[number(1, 0), attribute(2, &verdict)])]
        };
        let asking = verdict(GOTO, &attribute(2, b"OCINET-COPY\0"));
        let rows = [
            (Table::Nat, &any, led(8080, "10.90.0.2:80")),
            (Table::Nat, &one, rule(&host, 8080, &[counter(0), dnat("10.90.0.2:80", "10.90.0.2:80")])),
            (Table::Mangle, &any, rule(&[], 8080, &verdict(DROP, &[]))),
            (Table::Mangle, &one, rule(&host, 8080, &verdict(DROP, &[]))),
            (Table::Security, &any, rule(&[], 8080, &asking)),
        ];
        for (table, port, expressions) in rows {
            let (chain, rule) = rule_in(table, port).unwrap();
            assert_eq!(decoded(Family::V4, &expressions), Some(rule), "{table}");
            assert!(table.chains_of_ports().contains(&chain));
            assert!(table.ports(Family::V4, std::slice::from_ref(port))[0].starts_with(&format!("{chain} ")));
        }
        assert_eq!(rule_in(Table::Mangle, &tests::port(Protocol::Udp, HostAddress::Any, "web")), None);
    }

    #[test]
    fn the_rule_of_a_port_of_ipv6_is_read_as_one_of_ipv6_alone() {
        let one = "2001:db8::1".parse::<Ipv6Addr>().unwrap();
        let host = [payload(1, 24, 16), compare(&one.octets())];
        let expressions = rule(&host, 8080, &[comment("web"), counter(0), dnat("[fd00::2]:80", "[fd00::2]:80")]);
        let target = "[fd00::2]:80".parse().unwrap();
        let port = Publish { target, ..tests::port(Protocol::Tcp, HostAddress::V6(one), "web") };
        let (_, expected) = rule_in(Table::Nat, &port).unwrap();
        assert_eq!(decoded(Family::V6, &expressions), Some(expected));
        assert_eq!(decoded(Family::V4, &expressions), None);
        let next = Publish { host_port: 8081, ..port.clone() };
        let (_, wanted) = rule_in(Table::Nat, &next).unwrap();
        let made = with_ports_of(&next, &wanted, &expressions).unwrap();
        assert_eq!(decoded(Family::V6, &made), Some(wanted));
    }

    #[test]
    fn what_asks_for_more_or_is_cut_off_is_not_understood() {
        let whole = led(8080, "10.90.0.2:80");
        for length in 0..whole.len() {
            assert_eq!(decoded(Family::V4, &whole[..length]), None, "{length} bytes");
        }
        let to_one = || dnat("10.90.0.2:80", "10.90.0.2:80");
        let sender = [payload(1, 12, 4), compare(&[192, 0, 2, 1])];
        let limit = expression("match", &[attribute(1, b"limit\0"), number(2, 0), attribute(3, &[0; 8])]);
        let jump = attribute(2, &[number(1, -3_i32 as u32), attribute(2, b"OCINET-COPY\0")].concat());
        let others = [
            rule(&sender, 8080, &[to_one()]),
            rule(&[], 8080, &[payload(2, 2, 2), compare(&[0, 80]), to_one()]),
            rule(&[], 8080, &[limit, to_one()]),
            rule(&[], 8080, &[to_one(), to_one()]),
            rule(&[], 8080, &[dnat("10.90.0.2:80", "10.90.0.3:80")]),
            rule(&[], 8080, &[dnat("10.90.0.2:80", "10.90.0.2:81")]),
            rule(&[], 8080, &[expression("immediate", &[number(1, 0), attribute(2, &jump)])]),
            rule(&[], 8080, &[counter(0)]),
        ];
        for other in others {
            assert_eq!(decoded(Family::V4, &other), None);
        }
    }

    #[test]
    fn a_rule_is_made_for_another_port_of_the_same_container() {
        let pattern = led(8080, "10.90.0.2:80");
        let other = |target: &str| Publish {
            host_port: 9443,
            target: target.parse().unwrap(),
            ..tests::port(Protocol::Tcp, HostAddress::Any, "web")
        };
        let made = |port: &Publish| with_ports_of(port, &rule_in(Table::Nat, port).unwrap().1, &pattern);
        let expected = rule(&[], 9443, &[comment("web"), counter(0), dnat("10.90.0.2:443", "10.90.0.2:443")]);
        assert_eq!(made(&other("10.90.0.2:443")), Some(expected));
        assert_eq!(made(&other("10.90.0.3:443")), None);
    }
}
