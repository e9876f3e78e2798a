//! What stands for networks and published ports in the sets and maps, as the kernel takes it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{key_sets, map_of};
use crate::firewall::{Base, Needs, NetworkNeeds, Publish, RangeNeeds, Source, comment};
use crate::model::{HostAddress, InterfaceName, Protocol};

/// Every element that `all` calls for. Of a range, its beginning: the kernel keeps its end as an element of its own.
pub fn elements(all: &Needs) -> Vec<Element> {
    let element = |set, key| Element { set, key, data: Vec::new(), userdata: Vec::new() };
    let mut elements = Vec::new();
    if all.base.close_forwarding {
        elements.push(closed_key());
    }
    for NetworkNeeds { bridge, icc, ranges } in &all.networks {
        let bridge = bridge_key(bridge);
        if *icc {
            elements.push(element("intra", [&bridge.key[..], &bridge.key[..]].concat()));
        }
        for RangeNeeds { range, masquerade } in ranges {
            if let IpAddr::V4(network) = range.network() {
                if *masquerade {
                    elements.push(element("nat_subnets4", network.octets().to_vec()));
                }
                elements.push(element("networks4", [&bridge.key[..], &network.octets()].concat()));
            }
        }
        elements.push(bridge);
    }
    elements.extend(all.sources.iter().map(source_element));
    elements.extend(port_elements(&all.publish, &all.base));
    elements
}

/// The elements that `ports` call for.
pub fn port_elements(ports: &[Publish], base: &Base) -> Vec<Element> {
    let all = |port| {
        let element = Element::from(port);
        let key = element.key.clone();
        let keys =
            key_sets(port, base).map(move |set| Element { set, key: key.clone(), data: vec![], userdata: vec![] });
        [element].into_iter().chain(keys)
    };
    ports.iter().flat_map(all).collect()
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
    Element { set: "bridges", key: link_field(bridge), data: Vec::new(), userdata: Vec::new() }
}

fn link_field(link: &InterfaceName) -> Vec<u8> {
    let mut field = link.as_str().as_bytes().to_vec();
    field.resize(16, 0);
    field
}

/// The sender of what leaves by a default route.
fn source_element(source: &Source) -> Element {
    let Source { link, gateway, address, .. } = source;
    let set = if gateway.is_some() { "sources4_via" } else { "sources4_link" };
    let mut key = link_field(link);
    key.extend(gateway.iter().flat_map(Ipv4Addr::octets));
    Element { set, key, data: address.octets().to_vec(), userdata: Vec::new() }
}

/// The key under which forwarding between foreign links is closed (`NFPROTO_IPV4`).
pub fn closed_key() -> Element {
    Element { set: "closed", key: vec![2], data: Vec::new(), userdata: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_sender_is_an_address_under_its_link_and_gateway() {
        let link: InterfaceName = "wan".parse().unwrap();
        let via = Source { link, gateway: Some([10, 0, 0, 1].into()), address: [10, 0, 0, 9].into(), near: vec![] };
        let straight = Source { gateway: None, ..via.clone() };
        let found = elements(&Needs { sources: vec![via, straight], ..Needs::default() });
        let wan = [&b"wan"[..], &[0; 13]].concat();
        let key = [&wan[..], &[10, 0, 0, 1]].concat();
        let expected = [("sources4_via", key), ("sources4_link", wan)].map(|(set, key)| Element {
            set,
            key,
            data: vec![10, 0, 0, 9],
            userdata: Vec::new(),
        });
        assert_eq!(found, expected);
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
}
