//! The rules for iptables, of either variant: the same as those of nftables, hook by hook.
//!
//! iptables has no sets, so each network has rules of its own, and so has each published port. They stand in chains of
//! ours; the kernel's own chains get one jump each, before everything of others. What may pass returns
//! there: unlike in a table of nftables, an `ACCEPT` here would end the matter for everybody's rules, and take the operator's,
//! Docker's and ufw's word away from them. What those drop by their policy passes by a door (see [`super::door`]).
//!
//! Everything is text for `iptables-restore --noflush`, where a line `-C` asks for a rule: the first that is missing ends
//! it, before a later line has changed anything.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

use super::{Base, Needs, NetworkNeeds, Publish, comment};
use crate::model::{HostAddress, Protocol};

/// The operator's chain in table `filter`: the first that forwarded packets meet, and nobody's but theirs.
pub const OPERATOR: &str = "OCINET-OPERATOR";

/// The chains with the published ports, in table `nat`: those on one address of the host, and those on any.
pub const PUBLISHED: [&str; 2] = [PUBLISH, ANY];

const PUBLISH: &str = "OCINET-PUBLISH";
const ANY: &str = "OCINET-ANY";
const RAW: &str = "OCINET-RAW";
const FORWARD: &str = "OCINET-FORWARD";
const IN: &str = "OCINET-IN";
const POSTROUTING: &str = "OCINET-POSTROUTING";
const HAIRPIN: &str = "OCINET-HAIRPIN";

/// A table. Guards stand in the first two, so those are filled first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Before connections are tracked.
    Raw,
    /// What may pass.
    Filter,
    /// Who is who.
    Nat,
}

impl Table {
    /// All of them, in the order in which they are filled.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Filter, Self::Nat];

    /// Our chains in it, but the operator's.
    pub fn chains(self) -> &'static [&'static str] {
        match self {
            Self::Raw => &[RAW],
            Self::Filter => &[FORWARD, IN],
            Self::Nat => &[PUBLISH, ANY, POSTROUTING, HAIRPIN],
        }
    }

    /// The jumps from the kernel's chains to ours.
    pub fn jumps(self) -> &'static [Jump] {
        match self {
            Self::Raw => &[Jump { from: "PREROUTING", to: RAW, matching: "" }],
            Self::Filter => &[Jump { from: "FORWARD", to: FORWARD, matching: "" }],
            Self::Nat => &[
                // From outside never for 127.0.0.0/8, and never for what is not the host's.
                Jump { from: "PREROUTING", to: PUBLISH, matching: "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL " },
                Jump { from: "OUTPUT", to: PUBLISH, matching: "-m addrtype --dst-type LOCAL " },
                Jump { from: "POSTROUTING", to: POSTROUTING, matching: "" },
            ],
        }
    }

    /// The rules of our chains but the published ports, each beginning with its chain.
    pub fn rules(self, networks: &[NetworkNeeds], base: &Base) -> Vec<String> {
        match self {
            Self::Raw => guards(networks),
            Self::Filter => forwarding(networks, base),
            Self::Nat => publishing().into_iter().chain(masquerading(networks)).collect(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Filter => "filter",
            Self::Nat => "nat",
        })
    }
}

/// A rule in a chain of the kernel's that leads to one of ours.
#[derive(Debug)]
pub struct Jump {
    from: &'static str,
    to: &'static str,
    /// With a blank at its end.
    matching: &'static str,
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}-j {}", self.from, self.matching, self.to)
    }
}

/// The host's 127.0.0.0/8 is closed to containers (CVE-2020-8558), and their addresses to everybody but their own bridges.
fn guards(networks: &[NetworkNeeds]) -> Vec<String> {
    let mut rules = vec![format!("{RAW} -i lo -j RETURN")];
    for bridge in bridges(networks) {
        rules.push(format!("{RAW} -d 127.0.0.0/8 -i {bridge} -j DROP"));
        rules.push(format!("{RAW} -i {bridge} -j RETURN"));
    }
    rules.extend(subnets(networks).map(|subnet| format!("{RAW} -d {subnet} -j DROP")));
    rules
}

fn forwarding(networks: &[NetworkNeeds], base: &Base) -> Vec<String> {
    let mut rules = vec![
        format!("{FORWARD} -j {OPERATOR}"),
        format!("{IN} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"),
        format!("{IN} -m conntrack --ctstate DNAT -j RETURN"),
        format!("{IN} -j DROP"),
    ];
    rules.extend(bridges(networks).map(|bridge| format!("{FORWARD} -i {bridge} -o {bridge} -j RETURN")));
    rules.extend(bridges(networks).map(|bridge| format!("{FORWARD} -o {bridge} -g {IN}")));
    rules.extend(bridges(networks).map(|bridge| format!("{FORWARD} -i {bridge} -j RETURN")));
    if base.close_forwarding {
        rules.push(closing());
    }
    rules
}

/// The rule that keeps strangers from using the host as a router.
pub fn closing() -> String {
    format!("{FORWARD} -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP")
}

/// Of the host's loopback, a port published on any address leads 127.0.0.1 alone: 127.0.0.53 is a resolver's.
fn publishing() -> [String; 2] {
    [format!("{PUBLISH} -d 127.0.0.1 -j {ANY}"), format!("{PUBLISH} ! -d 127.0.0.0/8 -j {ANY}")]
}

fn masquerading(networks: &[NetworkNeeds]) -> Vec<String> {
    let mut rules: Vec<String> =
        subnets(networks).map(|subnet| format!("{HAIRPIN} -d {subnet} -j MASQUERADE")).collect();
    let dnat = "-m conntrack --ctstate DNAT";
    rules.extend(subnets(networks).map(|subnet| format!("{POSTROUTING} -s {subnet} {dnat} -j {HAIRPIN}")));
    rules.push(format!("{POSTROUTING} -o lo -j RETURN"));
    for bridge in bridges(networks) {
        rules.push(format!("{POSTROUTING} -s 127.0.0.0/8 -o {bridge} -j MASQUERADE"));
        rules.push(format!("{POSTROUTING} -o {bridge} -j RETURN"));
    }
    rules.extend(subnets(networks).map(|subnet| format!("{POSTROUTING} -s {subnet} -j MASQUERADE")));
    rules
}

fn bridges(networks: &[NetworkNeeds]) -> impl Iterator<Item = &str> {
    networks.iter().map(|network| network.bridge.as_str())
}

fn subnets(networks: &[NetworkNeeds]) -> impl Iterator<Item = String> {
    let ranges = networks.iter().flat_map(|network| &network.subnets).map(|subnet| subnet.range);
    ranges.filter(|range| range.addr().is_ipv4()).map(|range| range.to_string())
}

/// The rule of a published port.
pub fn rule(port: &Publish) -> String {
    let Publish { protocol, host_port, target, .. } = port;
    let (chain, host) = match port.host_address {
        HostAddress::Any => (ANY, String::new()),
        address => (PUBLISH, format!("-d {} ", address.ip())),
    };
    let comment = comment(port);
    format!(
        "{chain} {host}-p {protocol} --dport {host_port} -m comment --comment {comment} -j DNAT --to-destination {target}"
    )
}

/// A published port as a command that a person could type.
pub fn line(port: &Publish) -> String {
    format!("iptables -t nat -A {}", rule(port))
}

/// The input that fills our chains with `all`, whatever is in them. `missing` are the jumps that are not there yet.
pub fn load(all: &Needs, missing: impl Fn(Table, &Jump) -> bool) -> String {
    document(|table, lines| {
        lines.extend(table.chains().iter().map(|chain| format!(":{chain} - [0:0]")));
        lines.extend(table.rules(&all.networks, &all.base).iter().map(|rule| format!("-A {rule}")));
        if table == Table::Nat {
            lines.extend(all.publish.iter().map(|port| format!("-A {}", rule(port))));
        }
        let missing = table.jumps().iter().filter(|jump| missing(table, jump));
        lines.extend(missing.map(|jump| format!("-I {jump}")));
    })
}

/// The input that fails without a change where not everything is there that `all` needs beside the ports, and else adds
/// `ports`.
pub fn apply(network: &NetworkNeeds, base: &Base, ports: &[Publish]) -> String {
    document(|table, lines| {
        lines.extend(table.jumps().iter().map(|jump| format!("-C {jump}")));
        let rules = table.rules(std::slice::from_ref(network), base);
        lines.extend(rules.iter().map(|rule| format!("-C {rule}")));
        if table == Table::Nat {
            lines.extend(ports.iter().map(|port| format!("-A {}", rule(port))));
        }
    })
}

/// The input that fails where not everything of `all` is there, and never changes anything.
pub fn check(all: &Needs) -> String {
    document(|table, lines| {
        lines.extend(table.jumps().iter().map(|jump| format!("-C {jump}")));
        lines.extend(table.rules(&all.networks, &all.base).iter().map(|rule| format!("-C {rule}")));
        if table == Table::Nat {
            lines.extend(all.publish.iter().map(|port| format!("-C {}", rule(port))));
        }
    })
}

/// The input that takes `ports` away, and fails without a change where one is not there.
pub fn remove(ports: &[Publish]) -> String {
    let lines: String = ports.iter().map(|port| format!("-D {}\n", rule(port))).collect();
    format!("*nat\n{lines}COMMIT\n")
}

/// The input that takes our chains away and the jumps to them, of those that are `there`. Of the operator's chain, the jump
/// to it goes with ours.
pub fn unload(chain_is_there: impl Fn(Table, &str) -> bool, jump_is_there: impl Fn(Table, &Jump) -> bool) -> String {
    document(|table, lines| {
        let jumps = table.jumps().iter().filter(|jump| jump_is_there(table, jump));
        lines.extend(jumps.map(|jump| format!("-D {jump}")));
        let chains = || table.chains().iter().filter(|chain| chain_is_there(table, chain));
        lines.extend(chains().map(|chain| format!("-F {chain}")));
        lines.extend(chains().map(|chain| format!("-X {chain}")));
    })
}

/// The input that takes the operator's chain away, which must be empty.
pub fn drop_operator() -> String {
    format!("*filter\n-X {OPERATOR}\nCOMMIT\n")
}

fn document(fill: impl Fn(Table, &mut Vec<String>)) -> String {
    let mut text = String::new();
    for table in Table::ALL {
        let mut lines = Vec::new();
        fill(table, &mut lines);
        if !lines.is_empty() {
            let _ = writeln!(text, "*{table}\n{}\nCOMMIT", lines.join("\n"));
        }
    }
    text
}

/// The published port that a line of `iptables -S` stands for; none where it is no such rule.
pub fn published(line: &str) -> Option<Publish> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |flag: &str| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1)).copied();
    let address = after("-d").map(|net| net.trim_end_matches("/32").parse::<IpAddr>());
    let protocol = after("-p")?;
    let number = |known: &Protocol| protocol == known.to_string() || protocol == known.number().to_string();
    Some(Publish {
        protocol: Protocol::ALL.into_iter().find(number)?,
        host_address: HostAddress::from(address.transpose().ok()?),
        host_port: after("--dport")?.parse().ok()?,
        target: after("--to-destination")?.parse::<SocketAddr>().ok()?,
        label: after("--comment").unwrap_or_default().trim_matches('"').to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Subnet;

    fn network(bridge: &str, range: &str) -> NetworkNeeds {
        let subnet = Subnet::with_first_gateway(range.parse().unwrap()).unwrap();
        NetworkNeeds { bridge: bridge.parse().unwrap(), subnets: vec![subnet] }
    }

    fn port(host_address: HostAddress, label: &str) -> Publish {
        let target = "10.90.0.2:80".parse().unwrap();
        Publish { protocol: Protocol::Udp, host_address, host_port: 8080, target, label: label.into() }
    }

    #[test]
    fn what_one_network_checks_is_what_all_load() {
        let (one, other) = (network("ocinet0", "10.90.0.0/16"), network("ocn-1", "10.91.0.0/24"));
        let base = Base { close_forwarding: true, detour: None };
        let loaded = load(&Needs { base, networks: vec![other, one.clone()], publish: vec![] }, |_, _| true);
        let has = |line: &str| loaded.lines().any(|loaded| loaded[2..] == line[2..]);
        for line in apply(&one, &base, &[]).lines().filter(|line| line.starts_with("-C")) {
            assert!(has(line), "{line} in\n{loaded}");
        }
        assert!(!loaded.contains(&format!(":{OPERATOR}")), "declaring it would flush it");
    }

    #[test]
    fn guards_come_first_and_a_check_before_any_change() {
        let text = apply(&network("ocinet0", "10.90.0.0/16"), &Base::default(), &[port(HostAddress::Any, "web")]);
        let at = |what: &str| text.find(what).unwrap();
        assert!(at("*raw") < at("*filter") && at("*filter") < at("*nat"));
        assert!(text.rfind("-C ").unwrap() < at("-A "), "{text}");
    }

    #[test]
    fn a_published_port_is_read_back_from_its_rule() {
        for address in [HostAddress::Any, HostAddress::V4([127, 0, 0, 1].into())] {
            let port = port(address, "web");
            assert_eq!(published(&format!("-A {}", rule(&port))), Some(port));
        }
        let saved = "-A OCINET-PUBLISH -d 192.0.2.1/32 -p tcp -m tcp --dport 80 -m comment --comment \"a b\" -j DNAT --to-destination 10.90.0.2:80";
        assert_eq!(published(saved).unwrap().host_address, HostAddress::V4([192, 0, 2, 1].into()));
        assert_eq!(published("-N OCINET-PUBLISH"), None);
    }

    #[test]
    fn names_cannot_leave_their_word() {
        let text = rule(&port(HostAddress::Any, "x -j ACCEPT\nCOMMIT\n*filter"));
        assert!(text.contains("--comment x_-j_ACCEPT_COMMIT__filter -j DNAT"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
