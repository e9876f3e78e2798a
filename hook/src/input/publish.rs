//! The grammar of `docker run -p`, joined by commas: `[[ip:][hostPort]:]containerPort[/protocol]`, where each port may
//! be a range. See `docs.docker.com/engine/network/port-publishing` and go-connections `nat.ParsePortSpec`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::model::{HostAddress, Invalid, PortMapping, Protocol};

/// How many ports one entry may name.
const MAX_RANGE: u32 = PortMapping::MAX_COUNT as u32;

/// The entry that stands for the ports of the container that its engine left in its annotations.
pub const ALL: &str = "all";

/// How many entries a list may have: each is compared with those of every other host address.
const MAX_ENTRIES: usize = 4096;

/// What the user asked to publish; the plan turns it into mappings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRequest {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The host's address.
    pub host_address: HostAddress,
    /// Whether that was named, and is no default.
    pub names_address: bool,
    /// Which port of the host.
    pub host_port: HostPort,
    /// The container's port or ports.
    pub container_ports: RangeInclusive<u16>,
}

/// Which port of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPort {
    /// These, one for each port of the container.
    Exactly(RangeInclusive<u16>),
    /// One free port out of these, for the container's single port.
    OneOf(RangeInclusive<u16>),
    /// Any free port, one for each port of the container.
    Free,
}

/// Parses a whole annotation. An empty text publishes nothing. `address` is the host's where an entry names none; the
/// entry [`ALL`] stands for what `exposed` says, without the ports of the container that other entries name.
///
/// # Errors
/// [`Invalid`] names the entry.
pub fn parse_list(
    text: &str,
    address: HostAddress,
    exposed: impl FnOnce() -> Result<Vec<PublishRequest>, Invalid>,
) -> Result<Vec<PublishRequest>, Invalid> {
    let mut list = List::default();
    if text.trim().is_empty() {
        return Ok(list.requests);
    }
    let mut has_all = false;
    for entry in text.split(',').flat_map(blank_separated) {
        if entry == ALL {
            has_all = true;
            continue;
        }
        let shown = if entry.is_empty() { text } else { entry };
        let request = parse(entry, address).map_err(|why| Invalid::new("", shown, why))?;
        list.add(request).map_err(|why| Invalid::new("", shown, why))?;
    }
    if has_all {
        let named = list.requests.clone();
        for request in exposed()?.into_iter().flat_map(|request| without(request, &named)) {
            list.add(request).map_err(|why| Invalid::new("", ALL, why))?;
        }
    }
    Ok(list.requests)
}

/// What is asked for so far.
#[derive(Default)]
struct List {
    requests: Vec<PublishRequest>,
    named: HostPorts,
}

impl List {
    fn add(&mut self, request: PublishRequest) -> Result<(), String> {
        if let Some(port) = self.named.add(&request) {
            return Err(format!("names host port {port}/{} twice", request.protocol));
        }
        if self.requests.len() == MAX_ENTRIES {
            return Err(format!("has more than {MAX_ENTRIES} entries; name ranges"));
        }
        self.requests.push(request);
        Ok(())
    }
}

/// `request` where none of the others names a port of it; else one for each port that none of them names.
fn without(request: PublishRequest, others: &[PublishRequest]) -> Vec<PublishRequest> {
    let PublishRequest { protocol, host_port, container_ports, .. } = &request;
    let is_named =
        |port: &u16| others.iter().any(|other| other.protocol == *protocol && other.container_ports.contains(port));
    if !container_ports.clone().any(|port| is_named(&port)) {
        return vec![request];
    }
    let rest = container_ports.clone().enumerate().filter(|(_, port)| !is_named(port));
    let one = |(nth, port): (usize, u16)| PublishRequest {
        host_port: match host_port {
            HostPort::Exactly(range) => {
                range.clone().nth(nth).map_or(HostPort::Free, |port| HostPort::Exactly(port..=port))
            }
            other => other.clone(),
        },
        container_ports: port..=port,
        ..request.clone()
    };
    rest.map(one).collect()
}

/// The first port of the host that `requests` name twice.
pub fn named_twice(requests: &[PublishRequest]) -> Option<(Protocol, u16)> {
    let mut named = HostPorts::default();
    requests.iter().find_map(|request| named.add(request).map(|port| (request.protocol, port)))
}

/// The entries between two commas: podman 4 takes annotations apart at commas, so blanks serve as well.
fn blank_separated(text: &str) -> impl Iterator<Item = &str> {
    let empty = text.trim().is_empty().then_some("");
    text.split(' ').map(str::trim).filter(|entry| !entry.is_empty()).chain(empty)
}

/// One entry of the list.
pub(super) fn parse(entry: &str, default: HostAddress) -> Result<PublishRequest, String> {
    let (ports, protocol) = match entry.split_once('/') {
        Some((ports, protocol)) => (ports, protocol.parse::<Protocol>().map_err(|e| e.to_string())?),
        None => (entry, Protocol::Tcp),
    };
    let (host, container) = match ports.rsplit_once(':') {
        Some((host, container)) => (host, parse_range(container)?),
        None => ("", parse_range(ports)?),
    };
    let (address, host_port) = split_host(host)?;
    let wanted = len(&container);
    let host_port = match host_port {
        "" => HostPort::Free,
        text => match parse_range(text)? {
            range if len(&range) == wanted => HostPort::Exactly(range),
            range if wanted == 1 => HostPort::OneOf(range),
            range => return Err(format!("has {} host ports for {wanted} container ports", len(&range))),
        },
    };
    let names_address = !address.is_empty();
    let host_address = if names_address { parse_address(address)? } else { default };
    Ok(PublishRequest { protocol, host_address, names_address, host_port, container_ports: container })
}

/// `ip:port`, `[ip6]:port`, `ip:`, `port` or nothing.
fn split_host(host: &str) -> Result<(&str, &str), String> {
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or("has an opening bracket without a closing one")?;
        let port =
            if port.is_empty() { "" } else { port.strip_prefix(':').ok_or("lacks a colon behind the bracket")? };
        return Ok((address, port));
    }
    match host.split_once(':') {
        Some((_, port)) if port.contains(':') => Err("needs brackets around an IPv6 address: [::1]:8080:80".into()),
        Some((address, port)) => Ok((address, port)),
        // A lone address (`127.0.0.1::80` was split at its last colon already).
        None if host.contains('.') => Err("lacks a host port; write ADDRESS::PORT for a free one".into()),
        None => Ok(("", host)),
    }
}

fn parse_address(text: &str) -> Result<HostAddress, String> {
    // Rust takes neither 010.0.0.1, which is 8.0.0.1 to some readers, nor 127.1, which is no address to others.
    match text.parse::<IpAddr>().ok() {
        Some(ip) if ip.is_multicast() => Err(format!("has the multicast address {text} as host address")),
        Some(IpAddr::V6(v6)) if v6.is_unicast_link_local() => {
            Err(format!("has the link-local host address {text}, from which nothing is forwarded"))
        }
        Some(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            Err(format!("has the host address {text}; write the IPv4 address as it is"))
        }
        Some(ip) => Ok(HostAddress::from(Some(ip))),
        None => Err(format!(
            "has {text:?} where a host address is expected: four decimal numbers without leading zeros, or an IPv6 address in brackets"
        )),
    }
}

fn parse_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (parse_port(first)?, parse_port(last)?),
        None => (parse_port(text)?, parse_port(text)?),
    };
    if first > last {
        return Err(format!("has the range {text}, which runs backwards"));
    }
    match len(&(first..=last)) {
        n if n > MAX_RANGE => Err(format!("has the range {text} of {n} ports; {MAX_RANGE} is the most")),
        _ => Ok(first..=last),
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ if text.is_empty() => Err("lacks a port".into()),
        _ => Err(format!("has {text:?} where a port from 1 to 65535 is expected")),
    }
}

fn len(range: &RangeInclusive<u16>) -> u32 {
    u32::from(*range.end()) - u32::from(*range.start()) + 1
}

/// The host ports that a list has named, as disjoint ranges from first to last for each protocol and host address.
#[derive(Default)]
struct HostPorts(Vec<(Protocol, HostAddress, BTreeMap<u16, u16>)>);

impl HostPorts {
    /// Adds those of `request`, or returns the first of them that was named before; `Any` names it on every address.
    fn add(&mut self, request: &PublishRequest) -> Option<u16> {
        let PublishRequest { protocol, host_address, host_port: HostPort::Exactly(ports), .. } = request else {
            return None;
        };
        let others = self.0.iter().filter(|(of, address, _)| of == protocol && address.overlaps(*host_address));
        let twice = others.filter_map(|(.., ranges)| first_in(ranges, ports)).min();
        if twice.is_none() {
            let is_own = |(of, address, _): &&mut (Protocol, HostAddress, _)| of == protocol && address == host_address;
            match self.0.iter_mut().find(is_own) {
                Some((.., ranges)) => {
                    ranges.insert(*ports.start(), *ports.end());
                }
                None => self.0.push((*protocol, *host_address, BTreeMap::from([(*ports.start(), *ports.end())]))),
            }
        }
        twice
    }
}

/// The first of `ports` that is in one of the `ranges`.
fn first_in(ranges: &BTreeMap<u16, u16>, ports: &RangeInclusive<u16>) -> Option<u16> {
    let (first, last) = (*ports.start(), *ports.end());
    let before = ranges.range(..=first).next_back().filter(|(_, end)| **end >= first);
    before.map(|_| first).or_else(|| ranges.range(first..=last).next().map(|(start, _)| *start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    use crate::model::Family;

    fn list_of(text: &str) -> Result<Vec<PublishRequest>, Invalid> {
        parse_list(text, HostAddress::Any, || Ok(vec![parse("53-54/udp", HostAddress::Any).unwrap(), one("80/tcp")]))
    }

    use proptest::prelude::*;

    fn one(text: &str) -> PublishRequest {
        let mut list = list_of(text).unwrap();
        assert_eq!(list.len(), 1, "{text}");
        list.remove(0)
    }

    #[test]
    fn every_form_of_dockers_grammar() {
        let any = HostAddress::Any;
        let [v4, v6] = Family::ALL.map(HostAddress::AnyOf);
        let local = HostAddress::V4([127, 0, 0, 1].into());
        let one_v6 = HostAddress::from(Some("2001:db8::1".parse().unwrap()));
        let rows = [
            ("80", any, HostPort::Free, 80..=80, Protocol::Tcp),
            ("80/udp", any, HostPort::Free, 80..=80, Protocol::Udp),
            ("8080:80", any, HostPort::Exactly(8080..=8080), 80..=80, Protocol::Tcp),
            (":80", any, HostPort::Free, 80..=80, Protocol::Tcp),
            ("0.0.0.0:8080:80", v4, HostPort::Exactly(8080..=8080), 80..=80, Protocol::Tcp),
            ("[::]:8080:80", v6, HostPort::Exactly(8080..=8080), 80..=80, Protocol::Tcp),
            ("[2001:db8::1]:8080:80/udp", one_v6, HostPort::Exactly(8080..=8080), 80..=80, Protocol::Udp),
            ("[2001:db8::1]::80", one_v6, HostPort::Free, 80..=80, Protocol::Tcp),
            (
                "[::1]:8080:80",
                HostAddress::V6(Ipv6Addr::LOCALHOST),
                HostPort::Exactly(8080..=8080),
                80..=80,
                Protocol::Tcp,
            ),
            ("127.0.0.1:8443:443/tcp", local, HostPort::Exactly(8443..=8443), 443..=443, Protocol::Tcp),
            ("127.0.0.1::443", local, HostPort::Free, 443..=443, Protocol::Tcp),
            ("9000-9010:9000-9010", any, HostPort::Exactly(9000..=9010), 9000..=9010, Protocol::Tcp),
            ("9000-9010:80", any, HostPort::OneOf(9000..=9010), 80..=80, Protocol::Tcp),
            ("80-90", any, HostPort::Free, 80..=90, Protocol::Tcp),
            ("5060:5060/SCTP", any, HostPort::Exactly(5060..=5060), 5060..=5060, Protocol::Sctp),
        ];
        for (text, host_address, host_port, container_ports, protocol) in rows {
            let names_address = text.contains(['.', '[']);
            assert_eq!(
                one(text),
                PublishRequest { protocol, host_address, names_address, host_port, container_ports },
                "{text}"
            );
        }
    }

    #[test]
    fn lists() {
        assert_eq!(list_of("").unwrap(), []);
        let local = HostAddress::V4([127, 0, 0, 1].into());
        let addresses: Vec<_> = parse_list("80:80,0.0.0.0:81:80,192.0.2.1::80,82", local, || Ok(vec![]))
            .unwrap()
            .into_iter()
            .map(|r| r.host_address)
            .collect();
        assert_eq!(
            addresses,
            [local, HostAddress::AnyOf(Family::V4), HostAddress::V4([192, 0, 2, 1].into()), local],
            "a default"
        );
        assert_eq!(list_of("80:80, 80:80/udp,127.0.0.1:81:80,127.0.0.2:81:80").unwrap().len(), 4);
        assert_eq!(list_of("80:80  443:443 53:53/udp").unwrap(), list_of("80:80,443:443,53:53/udp").unwrap());
        assert_eq!(list_of("0.0.0.0:80:80,[::]:80:81").unwrap().len(), 2, "each family has its own");
        assert_eq!(list_of("8080-8090:80,8081:81").unwrap().len(), 2, "one out of a range leaves room");
    }

    #[test]
    fn all_that_is_exposed_and_that_no_other_entry_names() {
        let texts = |list: &str| {
            let port = |range: &RangeInclusive<u16>| format!("{}-{}", range.start(), range.end());
            let text = |one: PublishRequest| format!("{}/{}", port(&one.container_ports), one.protocol);
            list_of(list).unwrap().into_iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(texts("all"), ["53-54/udp", "80-80/tcp"]);
        assert_eq!(texts("all,8080:80"), ["80-80/tcp", "53-54/udp"]);
        assert_eq!(texts("all 5353:53/udp"), ["53-53/udp", "54-54/udp", "80-80/tcp"]);
        assert_eq!(list_of("8080:80").unwrap().len(), 1);
        let fails = parse_list("all", HostAddress::Any, || Err(Invalid::new("", ALL, "is not known")));
        assert!(fails.unwrap_err().to_string().contains("is not known"));
    }

    #[test]
    fn what_is_refused() {
        let rows = [
            ("0:80", "port from 1"),
            ("65536", "port from 1"),
            ("80:65536", "port from 1"),
            ("+80:80", "port from 1"),
            ("80-70", "backwards"),
            ("80-70:80-70", "backwards"),
            ("1-5000:1-5000", "4096 is the most"),
            ("80-81:80-82", "2 host ports for 3"),
            ("127.1:80:80", "host address"),
            ("010.0.0.1:80:80", "host address"),
            ("224.0.0.1:80:80", "multicast"),
            ("::1:80:80", "brackets"),
            ("[::1:80:80", "bracket"),
            ("[fe80::1]:53:53/udp", "link-local"),
            ("[::ffff:192.0.2.1]:80:80", "as it is"),
            ("[ff02::1]:80:80", "multicast"),
            ("8080:80,[::]:8080:81", "twice"),
            ("127.0.0.1:80", "ADDRESS::PORT"),
            ("80:80/icmp", "none of tcp"),
            ("80:80,", "lacks a port"),
            ("web:80:80", "host address"),
            ("8080:80,8080:81", "twice"),
            ("8080:80,127.0.0.1:8080:81", "twice"),
            ("8000-8100:80-180,8050:1", "8050"),
        ];
        for (text, part) in rows {
            let error = list_of(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let error = list_of(&"80,".repeat(300_000)).unwrap_err().to_string();
        assert!(error.contains("more than 4096 entries"), "{error}");
    }

    proptest! {
        #[test]
        fn never_panics(text in "[0-9a-z:./,\\[\\] -]{0,40}") {
            let _ = list_of(&text);
        }

        #[test]
        fn ranges_keep_their_length(host in 1u16..60_000, container in 1u16..60_000, more in 0u16..4096) {
            let request = one(&format!("{host}-{}:{container}-{}/udp", host + more, container + more));
            prop_assert_eq!(request.host_port, HostPort::Exactly(host..=host + more));
            prop_assert_eq!(request.container_ports, container..=container + more);
        }
    }
}
