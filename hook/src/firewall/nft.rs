//! The nftables ruleset.
//!
//! One static ruleset in the table `inet ocinet`, loaded whole and atomically. Networks and published ports are elements
//! of its sets and maps, so that a container adds no rule. The chain `operator` is made once, called first, and never
//! touched again: so the table itself is never deleted while that has rules. The rules, hook by hook:
//!
//! * `raw` closes what routing would leave open: the host's 127.0.0.0/8 from a container (CVE-2020-8558) and
//!   container addresses from anywhere but their own bridges (the LAN reaches published ports only). `lo` is excepted,
//!   or the host would lose its own gateway address.
//! * `prerouting` and `output` lead published ports to containers, for local destinations only, and from outside never
//!   for 127.0.0.0/8. A port published on every address is none of a resolver's at 127.0.0.53: of that range, it leads
//!   127.0.0.1 alone.
//! * `postrouting` masquerades: a container that meets itself or a sibling through a published port (by address, since
//!   with br_netfilter such a packet does not show the bridge as `iifname` here), the host's 127.0.0.1 on its way into a
//!   bridge, and everything that leaves for the outside.
//! * `forward` asks the operator first, then lets through what was answered, published, or stays on one bridge; drops the
//!   rest that enters a bridge (isolation); lets containers out; and drops what passes between strangers where forwarding
//!   was switched on by us (that of IPv4 alone: a host that routes IPv6 did so before).

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Needs, NetworkNeeds, Publish, comment};
use crate::model::{HostAddress, InterfaceName, Protocol};

/// The table's name; its family is `inet`.
pub const TABLE: &str = "ocinet";

/// The operator's chain: the first that forwarded packets meet, and nobody's but theirs.
pub const OPERATOR: &str = "operator";

/// A chain of the ruleset.
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    base: &'static str,
    rules: &'static [&'static str],
}

impl Chain {
    /// The chain's use count in the kernel: its rules and the jumps to it (`struct nft_chain`, nf_tables.h).
    pub fn uses(&self) -> u32 {
        let jump = format!("jump {}", self.name);
        let jumps = CHAINS.iter().flat_map(|chain| chain.rules).filter(|rule| rule.ends_with(&jump)).count();
        u32::try_from(self.rules.len() + jumps).expect("a handful of rules")
    }
}

const SETS: [&str; 6] = [
    "set bridges { type ifname; }",
    "set intra { type ifname . ifname; }",
    "set nat_subnets4 { type ipv4_addr; flags interval; }",
    "set closed { type nf_proto; }",
    "map publish4_any { type inet_proto . inet_service : ipv4_addr . inet_service; }",
    "map publish4_addr { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }",
];

/// The chains of the ruleset.
pub const CHAINS: &[Chain] = &[
    Chain {
        name: "raw",
        base: "type filter hook prerouting priority raw; policy accept;",
        rules: &[
            "iifname @bridges ip daddr 127.0.0.0/8 drop",
            "iifname != @bridges iifname != \"lo\" ip daddr @nat_subnets4 drop",
        ],
    },
    Chain {
        name: "publish",
        base: "",
        rules: &[
            "meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @publish4_addr",
            "ip daddr != 127.0.0.2-127.255.255.255 dnat ip to meta l4proto . th dport map @publish4_any",
        ],
    },
    Chain {
        name: "prerouting",
        base: "type nat hook prerouting priority dstnat; policy accept;",
        rules: &["ip daddr != 127.0.0.0/8 fib daddr type local jump publish"],
    },
    Chain {
        name: "output",
        base: "type nat hook output priority -100; policy accept;",
        rules: &["fib daddr type local jump publish"],
    },
    Chain {
        name: "postrouting",
        base: "type nat hook postrouting priority srcnat; policy accept;",
        rules: &[
            "ct status dnat ip saddr @nat_subnets4 ip daddr @nat_subnets4 masquerade",
            "ip saddr 127.0.0.0/8 oifname @bridges masquerade",
            "ip saddr @nat_subnets4 oifname != @bridges oifname != \"lo\" masquerade",
        ],
    },
    Chain {
        name: "forward",
        base: "type filter hook forward priority filter; policy accept;",
        rules: &[
            "jump operator",
            "ct state established,related accept",
            "ct status dnat oifname @bridges accept",
            "iifname . oifname @intra accept",
            "oifname @bridges drop",
            "iifname @bridges accept",
            "meta nfproto @closed drop",
        ],
    },
];

/// The comment of the chain [`MARKED`]: what tells a ruleset of this version from others.
pub fn version() -> String {
    format!("ocinet {:08x}", crc32fast::hash(body("").as_bytes()))
}

/// The chain that carries the version.
pub const MARKED: &str = "forward";

fn body(version: &str) -> String {
    let mut text: String = SETS.iter().map(|set| format!("    {set}\n")).collect();
    for chain in CHAINS {
        let _ = writeln!(text, "    chain {} {{", chain.name);
        if chain.name == MARKED {
            let _ = writeln!(text, "        comment \"{version}\"");
        }
        if !chain.base.is_empty() {
            let _ = writeln!(text, "        {}", chain.base);
        }
        for rule in chain.rules {
            let _ = writeln!(text, "        {rule}");
        }
        text.push_str("    }\n");
    }
    text
}

/// Input of `nft -f -` that makes sure of everything of ours, so that taking it away is no error, and takes it away. The
/// operator's chain stays.
pub fn clearing() -> String {
    let mut text = format!("table inet {TABLE} {{\n");
    for set in SETS {
        let _ = writeln!(text, "    {set}");
    }
    for name in [OPERATOR].into_iter().chain(CHAINS.iter().map(|chain| chain.name)) {
        let _ = writeln!(text, "    chain {name} {{}}");
    }
    text.push_str("}\n");
    for verb in ["flush", "delete"] {
        for chain in CHAINS {
            let _ = writeln!(text, "{verb} chain inet {TABLE} {}", chain.name);
        }
    }
    for set in SETS {
        let (kind, name) = kind_and_name(set);
        let _ = writeln!(text, "delete {kind} inet {TABLE} {name}");
    }
    text
}

/// Input of `nft -f -` that takes the whole table away, be it there or not.
pub fn deletion() -> String {
    format!("table inet {TABLE} {{}}\ndelete table inet {TABLE}\n")
}

/// The whole ruleset with `all` in it, as input of `nft -f -`, which puts it in place of an older one in one transaction.
pub fn ruleset(all: &Needs) -> String {
    let mut text = format!("{}table inet {TABLE} {{\n{}}}\n", clearing(), body(&version()));
    let mut element = |set: &str, element: String| {
        let _ = writeln!(text, "add element inet {TABLE} {set} {{ {element} }}");
    };
    if all.close_forwarding {
        element("closed", "ipv4".into());
    }
    for NetworkNeeds { bridge, subnets } in &all.networks {
        element("bridges", format!("\"{bridge}\""));
        element("intra", format!("\"{bridge}\" . \"{bridge}\""));
        for subnet in subnets.iter().filter(|subnet| subnet.range.addr().is_ipv4()) {
            element("nat_subnets4", subnet.range.to_string());
        }
    }
    for port in &all.publish {
        element(map_of(port), element_text(port));
    }
    text
}

/// A published port as a command that a person could type.
pub fn line(port: &Publish) -> String {
    format!("nft add element inet {TABLE} {} '{{ {} }}'", map_of(port), element_text(port))
}

fn map_of(port: &Publish) -> &'static str {
    match port.host_address {
        HostAddress::Any => "publish4_any",
        HostAddress::V4(_) | HostAddress::V6(_) => "publish4_addr",
    }
}

fn element_text(port: &Publish) -> String {
    let Publish { protocol, host_port, target, .. } = port;
    let host = match port.host_address {
        HostAddress::Any => String::new(),
        address => format!("{} . ", address.ip()),
    };
    format!("{host}{protocol} . {host_port} comment \"{}\" : {} . {}", comment(port), target.ip(), target.port())
}

/// The sets and maps of the ruleset by their names.
pub fn set_names() -> impl Iterator<Item = &'static str> {
    SETS.iter().map(|set| kind_and_name(set).1)
}

/// `set` or `map`, and what it is called.
fn kind_and_name(set: &'static str) -> (&'static str, &'static str) {
    let mut words = set.split(' ');
    (words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

/// Every element that `all` calls for. Of a range, its beginning: the kernel keeps its end as an element of its own.
pub fn elements(all: &Needs) -> Vec<Element> {
    let element = |set, key| Element { set, key, data: Vec::new(), userdata: Vec::new() };
    let mut elements = Vec::new();
    if all.close_forwarding {
        elements.push(closed_key());
    }
    for NetworkNeeds { bridge, subnets } in &all.networks {
        let bridge = bridge_key(bridge);
        elements.push(element("intra", [&bridge.key[..], &bridge.key[..]].concat()));
        elements.push(bridge);
        elements.extend(subnets.iter().filter_map(|subnet| match subnet.range.network() {
            IpAddr::V4(network) => Some(element("nat_subnets4", network.octets().to_vec())),
            IpAddr::V6(_) => None,
        }));
    }
    elements.extend(all.publish.iter().map(Element::from));
    elements
}

/// An element as the kernel takes it: network byte order, every field padded to four bytes (`NFT_REG32_SIZE`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The set or map it belongs to.
    pub set: &'static str,
    /// Its key.
    pub key: Vec<u8>,
    /// What the key leads to; empty in a set.
    pub data: Vec<u8>,
    /// Its comment as user data, in the form nft reads (type 0, length, text, NUL).
    pub userdata: Vec<u8>,
}

impl From<&Publish> for Element {
    fn from(port: &Publish) -> Self {
        let mut key = match port.host_address {
            HostAddress::V4(address) => address.octets().to_vec(),
            HostAddress::Any | HostAddress::V6(_) => Vec::new(),
        };
        key.extend(protocol_field(port.protocol));
        key.extend(port_field(port.host_port));
        let comment = comment(port);
        let length = u8::try_from(comment.len() + 1).expect("a comment of at most 100 bytes");
        let userdata = [&[0, length], comment.as_bytes(), &[0]].concat();
        Self { set: map_of(port), key, data: target_fields(port.target), userdata }
    }
}

impl Element {
    /// The published port that the element stands for; none where it is no element of ours.
    pub fn publish(&self) -> Option<Publish> {
        let (host_address, rest) = match self.set {
            "publish4_any" => (HostAddress::Any, &self.key[..]),
            "publish4_addr" => {
                let (address, rest) = self.key.split_first_chunk::<4>()?;
                (HostAddress::V4(Ipv4Addr::from(*address)), rest)
            }
            _ => return None,
        };
        let (&[number, _, _, _, high, low, _, _], &[a, b, c, d, target_high, target_low, ..]) =
            (rest.first_chunk::<8>()?, self.data.first_chunk::<8>()?);
        let target = SocketAddr::from(([a, b, c, d], u16::from_be_bytes([target_high, target_low])));
        let label = self.userdata.get(2..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Publish {
            protocol: Protocol::ALL.into_iter().find(|protocol| protocol.number() == number)?,
            host_address,
            host_port: u16::from_be_bytes([high, low]),
            target,
            label: String::from_utf8_lossy(label).into_owned(),
        })
    }

    /// Only the key, which is all that a deletion needs.
    pub fn without_data(self) -> Self {
        Self { data: Vec::new(), userdata: Vec::new(), ..self }
    }
}

fn protocol_field(protocol: Protocol) -> [u8; 4] {
    [protocol.number(), 0, 0, 0]
}

fn port_field(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn target_fields(target: SocketAddr) -> Vec<u8> {
    let address = match target {
        SocketAddr::V4(v4) => *v4.ip(),
        SocketAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    [address.octets(), port_field(target.port())].concat()
}

/// The key under which `bridge` stands in the set of our bridges.
pub fn bridge_key(bridge: &InterfaceName) -> Element {
    let mut key = bridge.as_str().as_bytes().to_vec();
    key.resize(16, 0);
    Element { set: "bridges", key, data: Vec::new(), userdata: Vec::new() }
}

/// The key under which forwarding between strangers is closed (`NFPROTO_IPV4`).
pub fn closed_key() -> Element {
    Element { set: "closed", key: vec![2], data: Vec::new(), userdata: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Subnet;

    fn port(host_address: HostAddress, label: &str) -> Publish {
        let target = "10.90.0.2:80".parse().unwrap();
        Publish { protocol: Protocol::Tcp, host_address, host_port: 8080, target, label: label.into() }
    }

    #[test]
    fn elements_are_padded_and_in_network_order() {
        let any = Element::from(&port(HostAddress::Any, "web"));
        assert_eq!((any.set, any.key), ("publish4_any", vec![6, 0, 0, 0, 0x1f, 0x90, 0, 0]));
        assert_eq!(any.data, [10, 90, 0, 2, 0, 80, 0, 0]);
        assert_eq!(any.userdata, b"\0\x04web\0");
        let one = Element::from(&port(HostAddress::V4([127, 0, 0, 1].into()), "web"));
        assert_eq!((one.set, &one.key[..4]), ("publish4_addr", &[127, 0, 0, 1][..]));
    }

    #[test]
    fn a_published_port_is_read_back_from_its_element() {
        for address in [HostAddress::Any, HostAddress::V4([127, 0, 0, 1].into())] {
            let port = port(address, "web");
            assert_eq!(Element::from(&port).publish(), Some(port));
        }
        assert_eq!(bridge_key(&"ocinet0".parse().unwrap()).publish(), None);
        let short = Element { key: vec![6], ..Element::from(&port(HostAddress::Any, "web")) };
        assert_eq!(short.publish(), None);
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        let needs = Needs { publish: vec![port(HostAddress::Any, "x\"; flush ruleset; \"\n")], ..Needs::default() };
        let text = ruleset(&needs);
        assert!(text.contains("comment \"x___flush_ruleset____\""), "{text}");
        assert!(!text.contains("flush ruleset"));
    }

    #[test]
    fn a_reader_finds_the_needs_in_the_text() {
        let subnet = Subnet::with_first_gateway("10.90.0.0/16".parse().unwrap()).unwrap();
        let network = NetworkNeeds { bridge: "ocinet0".parse().unwrap(), subnets: vec![subnet] };
        let local = port(HostAddress::V4([127, 0, 0, 1].into()), "web");
        let text = ruleset(&Needs { close_forwarding: true, networks: vec![network], publish: vec![local] });
        for line in [
            "add element inet ocinet closed { ipv4 }",
            "add element inet ocinet bridges { \"ocinet0\" }",
            "add element inet ocinet intra { \"ocinet0\" . \"ocinet0\" }",
            "add element inet ocinet nat_subnets4 { 10.90.0.0/16 }",
            "add element inet ocinet publish4_addr { 127.0.0.1 . tcp . 8080 comment \"web\" : 10.90.0.2 . 80 }",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn jumps_count_as_uses() {
        let uses = |name| CHAINS.iter().find(|chain| chain.name == name).unwrap().uses();
        assert_eq!((uses("publish"), uses("forward")), (4, 7));
    }
}
