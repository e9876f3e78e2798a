//! The rules of published ports.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{ANY, ASK, COPY, INVALID, INVALID_ANY, MASQUERADED, PUBLISH, ROUTED, TRUSTED};
use crate::firewall::{Label, Publish, ReachedBy};
use crate::model::{HostAddress, Protocol};

/// The rule of a published port.
pub fn rule(port: &Publish) -> String {
    let Publish { protocol, host_port, target, .. } = port;
    let (chain, host) = match port.host_address {
        HostAddress::Any | HostAddress::AnyOf(_) => (ANY, String::new()),
        address => (PUBLISH, format!("-d {} ", address.ip())),
    };
    let comment = &port.label;
    format!(
        "{chain} {host}-p {protocol} --dport {host_port} -m comment --comment {comment} -j DNAT --to-destination {target}"
    )
}

/// The rule that lets the host's own be asked about a published port, as `iptables -S` prints it.
pub(super) fn asked(port: &Publish) -> String {
    format!("{ASK} {} -g {COPY}", key(port))
}

/// The rule that keeps the host from answering for a published port; none for UDP, of which conntrack calls nothing
/// invalid that the host would answer.
pub(super) fn judged(port: &Publish) -> Option<String> {
    let chain = if port.host_address.one().is_none() { INVALID_ANY } else { INVALID };
    (port.protocol != Protocol::Udp).then(|| format!("{chain} {} -j DROP", key(port)))
}

/// The rule by which the container of a published port sees the gateway as the sender, as `iptables -S` prints it; none
/// where it sees the sender itself.
pub(super) fn masqueraded(port: &Publish) -> Option<String> {
    let Publish { protocol, target, .. } = port;
    let to = format!("-d {} -p {protocol} -m {protocol} --dport {}", IpNet::from(target.ip()), target.port());
    port.masquerade.then(|| format!("{MASQUERADED} {to} -j MASQUERADE"))
}

/// The rule that lets others in at the container's address; none where they are not.
pub(super) fn at_container(port: &Publish) -> Option<String> {
    let chain = match port.reached_by {
        ReachedBy::Host => return None,
        ReachedBy::HostAndContainer => TRUSTED,
        ReachedBy::Container => ROUTED,
    };
    let Publish { protocol, target, .. } = port;
    let (to, comment) = (IpNet::from(target.ip()), &port.label);
    Some(format!("{chain} -d {to} -p {protocol} --dport {} -m comment --comment {comment} -j RETURN", target.port()))
}

/// What is sent to a published port, as `iptables -S` prints it.
fn key(port: &Publish) -> String {
    let Publish { protocol, host_port, .. } = port;
    let host = match port.host_address {
        HostAddress::Any | HostAddress::AnyOf(_) => String::new(),
        address => format!("-d {} ", IpNet::from(address.ip())),
    };
    format!("{host}-p {protocol} -m {protocol} --dport {host_port}")
}

/// A rule in the one form that both our text and the line of `iptables -S` come to: without the verb, the comment, the
/// prefix of a host's address, and the match that `-p` implies.
pub(super) fn plain(rule: &str) -> String {
    let mut words = rule.strip_prefix("-A ").unwrap_or(rule).split(' ').peekable();
    let mut plain = String::new();
    while let Some(word) = words.next() {
        match (word, words.peek().copied()) {
            ("-m", Some("comment" | "tcp" | "udp" | "sctp")) | ("--comment", Some(_)) => drop(words.next()),
            ("-p", Some(protocol)) => {
                let number = |known: &Protocol| protocol == known.number().to_string();
                let name = Protocol::ALL.into_iter().find(number).map(|known| known.to_string());
                plain = plain + " -p " + name.as_deref().unwrap_or(protocol);
                words.next();
            }
            _ => plain = plain + " " + alone(word),
        }
    }
    plain
}

/// A word without the length of a prefix that is a whole address.
fn alone(word: &str) -> &str {
    let length = if word.contains(':') { "/128" } else { "/32" };
    word.strip_suffix(length).unwrap_or(word)
}

/// The published port that a line of `iptables -S` stands for; none where it is no such rule.
pub fn published(line: &str) -> Option<Publish> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |flag: &str| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1)).copied();
    let address = after("-d").map(|net| alone(net).parse::<IpAddr>());
    let protocol = after("-p")?;
    let number = |known: &Protocol| protocol == known.to_string() || protocol == known.number().to_string();
    let (address, port) = (address.transpose().ok()?, after("--dport")?.parse().ok()?);
    let is_routed = after("-A") == Some(ROUTED);
    let (host_address, target, reached_by) = if is_routed {
        (HostAddress::Any, SocketAddr::new(address?, port), ReachedBy::Container)
    } else {
        (HostAddress::from(address), after("--to-destination")?.parse::<SocketAddr>().ok()?, ReachedBy::Host)
    };
    Some(Publish {
        protocol: Protocol::ALL.into_iter().find(number)?,
        host_address,
        host_port: port,
        target,
        reached_by,
        masquerade: false,
        stand_in: None,
        label: Label::from(after("--comment").unwrap_or_default().trim_matches('"')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::tests;

    fn port(host_address: HostAddress, label: &str) -> Publish {
        tests::port(Protocol::Udp, host_address, label)
    }

    #[test]
    fn a_published_port_is_read_back_from_its_rule() {
        let (any, one) = (HostAddress::Any, HostAddress::V4([127, 0, 0, 1].into()));
        for (address, label) in [(any, "web"), (any, "web/ipv4"), (one, "web")] {
            let port = port(address, label);
            assert_eq!(published(&format!("-A {}", rule(&port))), Some(port));
        }
        let saved = "-A OCINET-PUBLISH -d 192.0.2.1/32 -p tcp -m tcp --dport 80 -m comment --comment \"a b\" -j DNAT --to-destination 10.90.0.2:80";
        assert_eq!(published(saved).unwrap().host_address, HostAddress::V4([192, 0, 2, 1].into()));
        assert_eq!(published("-N OCINET-PUBLISH"), None);
    }

    #[test]
    fn what_is_listed_comes_to_the_same_as_what_was_added() {
        let rule = rule(&port(HostAddress::V4([192, 0, 2, 1].into()), "web"));
        let listed = "-A OCINET-PUBLISH -d 192.0.2.1/32 -p udp -m udp --dport 8080 -m comment --comment db -j DNAT --to-destination 10.90.0.2:80";
        assert_eq!(plain(&rule), plain(listed));
        for other in
            [("8080", "8081"), ("-p udp", "-p tcp"), ("192.0.2.1/32", "192.0.2.2/32"), ("10.90.0.2:80", "10.90.0.3:80")]
        {
            assert_ne!(plain(&rule), plain(&listed.replace(other.0, other.1)), "{other:?}");
        }
    }

    #[test]
    fn names_cannot_leave_their_word() {
        let text = rule(&port(HostAddress::Any, "x -j ACCEPT\nCOMMIT\n*filter"));
        assert!(text.contains("--comment x_-j_ACCEPT_COMMIT__filter -j DNAT"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
