//! What stands for networks and published ports in the sets and maps. Each element is said once, and written as text
//! for `nft` and as bytes for the kernel.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::field::{Field, Type};
use super::set::{Set, Shape};
use crate::firewall::{Base, Label, Needs, NetworkNeeds, Publish, RangeNeeds, ReachedBy, Source};
use crate::model::{Family, HostAddress, InterfaceName, Protocol};

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Where it is.
    pub set: Set,
    /// The fields of its key.
    pub key: Vec<Field>,
    /// The fields of what the key leads to; none in a set.
    pub data: Vec<Field>,
    /// For people who read the rules.
    pub comment: Option<String>,
}

/// An element as the kernel takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The set or map it belongs to.
    pub set: Set,
    /// Its key.
    pub key: Vec<u8>,
    /// What the key leads to; empty in a set.
    pub data: Vec<u8>,
    /// Its comment as user data, in the form nft reads (type 0, length, text, NUL).
    pub userdata: Vec<u8>,
}

/// Every element that `all` calls for.
pub fn elements(all: &Needs) -> Vec<Element> {
    let networks = all.networks.iter().flat_map(network_elements);
    let ports = all.publish.iter().flat_map(|port| port_elements(port, &all.base));
    base_elements(&all.base).chain(networks).chain(all.sources.iter().map(source_element)).chain(ports).collect()
}

/// Those that `base` calls for.
pub fn base_elements(base: &Base) -> impl Iterator<Item = Element> + use<> {
    let families = base.families();
    base.close_forwarding
        .iter()
        .filter(|family| families.contains(family))
        .map(|family| Element::key(Set::Closed, [Field::Family(family)]))
}

/// That by which `bridge` is known as ours.
pub fn bridge_element(bridge: &InterfaceName) -> Element {
    Element::key(Set::Bridges, [Field::Link(bridge.clone())])
}

fn network_elements(network: &NetworkNeeds) -> Vec<Element> {
    let NetworkNeeds { bridge, icc, internal, routed, trusted, ranges, stand_ins } = network;
    let link = || Field::Link(bridge.clone());
    let mut elements = vec![bridge_element(bridge)];
    if *icc {
        elements.push(Element::key(Set::Intra, [link(), link()]));
    }
    if *internal {
        elements.push(Element::key(Set::Internal, [link()]));
    }
    elements.extend(routed.iter().map(|family| Element::key(Set::Routed(family), [link()])));
    for RangeNeeds { range, gateway, masquerade, outbound } in ranges {
        let family = Family::of(range.addr());
        if let Some(gateway) = gateway.filter(|_| *internal) {
            elements.push(Element::key(Set::Gateways(family), [link(), Field::Address(gateway)]));
        }
        if *masquerade {
            elements.push(Element::key(Set::NatSubnets(family), [Field::Range(*range)]));
        } else {
            elements.push(Element::key(Set::Addressed(family), [Field::Range(*range)]));
        }
        let by = |link: &InterfaceName| [Field::Link(link.clone()), Field::Range(*range)];
        let trusted = trusted.iter().filter(|_| !routed.contains(family));
        elements.extend(trusted.map(|link| Element::key(Set::Trusted(family), by(link))));
        if let Some(address) = outbound {
            let data = vec![Field::Address(*address)];
            elements.push(Element { data, ..Element::key(Set::Outbound(family), [Field::Range(*range)]) });
        }
        elements.push(Element::key(Set::Networks(family), [link(), Field::Range(*range)]));
    }
    let stand_ins = stand_ins.iter().map(|address| Element::key(Set::StandIns, [Field::Address((*address).into())]));
    elements.extend(stand_ins);
    elements
}

/// The sender of what leaves by a default route.
fn source_element(source: &Source) -> Element {
    let Source { link, gateway, address, .. } = source;
    let (link, address) = (Field::Link(link.clone()), vec![Field::Address((*address).into())]);
    let element = match gateway {
        Some(gateway) => Element::key(Set::SourcesVia(Family::V4), [link, Field::Address((*gateway).into())]),
        None => Element::key(Set::SourcesLink(Family::V4), [link]),
    };
    Element { data: address, ..element }
}

/// Those of a published port: in a map, and beside it in sets, since a map can only be asked where to lead.
pub fn port_elements(port: &Publish, base: &Base) -> Vec<Element> {
    let Some(family) = port.family() else { return Vec::new() };
    // The host's own rules are asked about those of IPv4 alone.
    if family == Family::V6 && base.input_loop.is_used() {
        return Vec::new();
    }
    let at_container = |set: Set| {
        let key = [Field::Address(port.target.ip()), Field::Protocol(port.protocol), Field::Port(port.target.port())];
        Element { comment: Some(port.label.to_string()), ..Element::key(set, key) }
    };
    let trusted = match port.reached_by {
        ReachedBy::Container => return vec![at_container(Set::RoutedPorts(family))],
        ReachedBy::HostAndContainer => Some(at_container(Set::TrustedPorts(family))),
        ReachedBy::Host => None,
    };
    let (publish, judged, asked) = places(port, family);
    let host = port.host_address.one().filter(|_| publish != Set::PublishLoopback).map(Field::Address);
    let key: Vec<Field> =
        host.into_iter().chain([Field::Protocol(port.protocol), Field::Port(port.host_port)]).collect();
    let beside = judged.into_iter().chain(base.input_loop.is_used().then_some(asked));
    let beside = beside.map(|set| Element::key(set, key.clone()));
    let container = || Element::key(Set::Masqueraded(family), [Field::Address(port.target.ip())]);
    let beside: Vec<Element> = beside.chain(port.masquerade.then(container)).collect();
    let data = vec![Field::Address(port.target.ip()), Field::Port(port.target.port())];
    let published = Element { set: publish, key, data, comment: Some(port.label.to_string()) };
    [published].into_iter().chain(beside).chain(trusted).chain(loopback_element(port)).collect()
}

/// The map in which a port of the host leads to a container; the set by which conntrack judges what is sent there; and
/// that by which the host's own rules are asked.
fn places(port: &Publish, family: Family) -> (Set, Option<Set>, Set) {
    // Conntrack calls no packet of UDP invalid to which the host would answer.
    let judged = |set| (port.protocol != Protocol::Udp).then_some(set);
    match port.host_address {
        HostAddress::Any | HostAddress::AnyOf(_) => {
            (Set::PublishAny(family), judged(Set::PortsAny(family)), Set::AskedAny(family))
        }
        // The kernel drops what comes from outside for ::1.
        HostAddress::V6(one) if one.is_loopback() => (Set::PublishLoopback, None, Set::AskedAddr(family)),
        HostAddress::V4(_) | HostAddress::V6(_) => {
            (Set::PublishAddr(family), judged(Set::PortsAddr(family)), Set::AskedAddr(family))
        }
    }
}

/// That by which what the host sends to the port at ::1 gets a stand-in.
fn loopback_element(port: &Publish) -> Option<Element> {
    let data = vec![Field::Address(port.loopback()?.into())];
    let key = [Field::Protocol(port.protocol), Field::Port(port.host_port)];
    Some(Element { data, ..Element::key(Set::Loopback, key) })
}

/// Those of all `ports`, as the kernel takes them; what stands for several ports of a container is there once.
pub fn encoded_ports(ports: &[Publish], base: &Base) -> Vec<Encoded> {
    let mut containers = BTreeSet::new();
    let mut is_first = |element: &Encoded| {
        let is_of_containers = matches!(element.set, Set::Masqueraded(_) | Set::RoutedPorts(_) | Set::TrustedPorts(_));
        !is_of_containers || containers.insert((element.set, element.key.clone()))
    };
    let all = ports.iter().flat_map(|port| port_elements(port, base)).map(|element| element.encode());
    all.filter(|element| is_first(element)).collect()
}

impl Element {
    fn key(set: Set, key: impl Into<Vec<Field>>) -> Self {
        Self { set, key: key.into(), data: Vec::new(), comment: None }
    }

    /// As `nft` reads it.
    pub fn text(&self) -> String {
        let comment = self.comment.as_ref().map(|comment| format!(" comment \"{comment}\"")).unwrap_or_default();
        let data = if self.data.is_empty() { String::new() } else { format!(" : {}", text_of(&self.data)) };
        self.key_text() + &comment + &data
    }

    /// Its key, by which `nft` deletes it.
    pub fn key_text(&self) -> String {
        text_of(&self.key)
    }

    /// As the kernel takes it.
    pub fn encode(&self) -> Encoded {
        let userdata = self.comment.as_ref().map(|comment| {
            let length = u8::try_from(comment.len() + 1).expect("a comment of at most 100 bytes");
            [&[0, length], comment.as_bytes(), &[0]].concat()
        });
        let (key, data) = (joined(&self.key), joined(&self.data));
        Encoded { set: self.set, key, data, userdata: userdata.unwrap_or_default() }
    }
}

fn text_of(fields: &[Field]) -> String {
    fields.iter().map(Field::text).collect::<Vec<_>>().join(" . ")
}

/// The bytes of several fields: then each is padded to a register (`NFT_REG32_SIZE`).
fn joined(fields: &[Field]) -> Vec<u8> {
    match fields {
        [field] => field.bytes(),
        fields => fields.iter().flat_map(|field| padded(field.bytes())).collect(),
    }
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(REGISTER), 0);
    bytes
}

/// The bytes of a register.
const REGISTER: usize = 4;

/// The fields that [`joined`] made `bytes` of; none where one is not of its type.
fn fields(types: &[Type], mut bytes: &[u8]) -> Option<Vec<Field>> {
    if let [of] = types {
        return Some(vec![of.read(bytes)?]);
    }
    let field = |of: &Type| {
        let (field, rest) = bytes.split_at_checked(of.length().next_multiple_of(REGISTER))?;
        bytes = rest;
        of.read(field)
    };
    types.iter().map(field).collect()
}

impl Encoded {
    /// The published port that the element stands for; none where it is no element of ours.
    pub fn publish(&self) -> Option<Publish> {
        let Shape { key, data, .. } = self.set.shape();
        let (key, data) = (fields(&key, &self.key)?, fields(&data, &self.data)?);
        let label = self.userdata.get(2..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
        let label = Label::from(&*String::from_utf8_lossy(label));
        if let (Set::RoutedPorts(_), &[Field::Address(address), Field::Protocol(protocol), Field::Port(port)]) =
            (self.set, &key[..])
        {
            let (host_address, target) = (HostAddress::Any, SocketAddr::new(address, port));
            let reached_by = ReachedBy::Container;
            return Some(Publish {
                protocol,
                host_address,
                host_port: port,
                target,
                reached_by,
                masquerade: false,
                stand_in: None,
                label,
            });
        }
        let (host_address, &Field::Protocol(protocol), &Field::Port(host_port)) = (match (self.set, &key[..]) {
            (Set::PublishAny(_), [protocol, port]) => (HostAddress::Any, protocol, port),
            (Set::PublishLoopback, [protocol, port]) => (HostAddress::V6(Ipv6Addr::LOCALHOST), protocol, port),
            (Set::PublishAddr(_), [Field::Address(address), protocol, port]) => {
                (HostAddress::from(Some(*address)), protocol, port)
            }
            _ => return None,
        }) else {
            return None;
        };
        let [Field::Address(address), Field::Port(port)] = data[..] else { return None };
        Some(Publish {
            protocol,
            host_address,
            host_port,
            target: SocketAddr::new(address, port),
            reached_by: ReachedBy::Host,
            masquerade: false,
            stand_in: None,
            label,
        })
    }

    /// The address that the key is; none where it is no address alone.
    pub fn address(&self) -> Option<IpAddr> {
        match fields(&self.set.shape().key, &self.key)?[..] {
            [Field::Address(address)] => Some(address),
            _ => None,
        }
    }

    /// The link that the key names; none where it is no link alone.
    pub fn link(&self) -> Option<InterfaceName> {
        match fields(&self.set.shape().key, &self.key)?[..] {
            [Field::Link(ref link)] => Some(link.clone()),
            _ => None,
        }
    }

    /// The family that the key is; none where it is none.
    pub fn family(&self) -> Option<Family> {
        match fields(&self.set.shape().key, &self.key)?[..] {
            [Field::Family(family)] => Some(family),
            _ => None,
        }
    }

    /// Only the key, which is all that a deletion needs.
    pub fn without_data(self) -> Self {
        Self { data: Vec::new(), userdata: Vec::new(), ..self }
    }
}

#[cfg(test)]
mod tests;
