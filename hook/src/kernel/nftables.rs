//! The nftables backend: elements over netlink, the ruleset itself through `nft`.
//!
//! The kernel answers an nfnetlink request inside `send`. An acknowledgement does not mean committed; no error in any
//! answer to a batch does.

mod held;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage,
    SetElementAttribute, SetElementList, SetElementMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use nix::errno::Errno;

use super::elements::{Elements, Listed};
use super::error::{Doing, Error, Result};
use super::netlink::Netlink;
use super::program;
use crate::firewall::nft::{self, Chain, Element, Held, TABLE};
use crate::firewall::{Backend, Base, Needs, NetworkNeeds, Publish};

/// The bytes of elements in one transaction, which is one datagram. It stays below what ends it on its way: the 16 bits of an
/// attribute's length, a socket's buffer for sending (`net.core.wmem_default`, 208 KiB), and, since the kernel repeats each
/// message that it refuses, the buffer for receiving and our own.
const TRANSACTION: usize = 48 << 10;

/// The length of an attribute's header, to a multiple of which its value is padded (`NLA_HDRLEN`, `NLA_ALIGNTO`).
const HEADER: usize = 4;

/// The subsystem's number, in the header of a batch (`NFNL_SUBSYS_NFTABLES`).
const NFTABLES: u16 = 10;

/// A connection to nf_tables.
pub struct Nftables {
    netlink: Netlink,
}

impl Nftables {
    /// Opens it for the namespace this process runs in.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn open() -> Result<Self> {
        Ok(Self { netlink: Netlink::netfilter()? })
    }

    /// Whether the kernel has nf_tables. Without it, the kernel knows nobody to ask (`nfnetlink_rcv_msg`,
    /// net/netfilter/nfnetlink.c).
    pub fn is_supported() -> bool {
        let question = inet(NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() }));
        let answer = Self::open().map(|mut nft| nft.netlink.request(question, NLM_F_DUMP));
        !matches!(answer, Ok(Err(error)) if error.raw_os_error() == Some(Errno::EINVAL as i32))
    }

    /// One transaction: all of it, or nothing.
    fn commit(&mut self, elements: &[Element], change: fn(SetElementMessage) -> NfTablesMessage) -> io::Result<()> {
        let begin = (control(ControlMessage::BatchBegin), NLM_F_REQUEST);
        let end = (control(ControlMessage::BatchEnd), NLM_F_REQUEST);
        let of_each_set = nft::set_names().filter_map(|set| {
            let of_set: Vec<&Element> = elements.iter().filter(|element| element.set == set).collect();
            (!of_set.is_empty()).then(|| in_table_of(set, change(message(set, &of_set))))
        });
        let changes = of_each_set.map(|message| (message, NLM_F_REQUEST | NLM_F_CREATE));
        self.netlink.batch([begin].into_iter().chain(changes).chain([end]).collect()).map(drop)
    }

    /// Adds elements, none of which is there: all of them, or none. Many take several transactions; where one fails, what those
    /// before it added is taken away.
    fn add(&mut self, elements: &[Element]) -> io::Result<()> {
        let mut added = 0;
        for transaction in transactions(elements) {
            if let Err(error) = self.commit(transaction, NfTablesMessage::NewSetElement) {
                // It is the first error that says what is wrong; whoever called this detaches what it was to be for.
                let _ = self.delete(elements[..added].to_vec());
                return Err(error);
            }
            added += transaction.len();
        }
        Ok(())
    }

    /// Deletes those of `elements` that are there.
    fn delete(&mut self, elements: Vec<Element>) -> io::Result<()> {
        let mut elements: Vec<Element> = elements.into_iter().map(Element::without_data).collect();
        // One missing element undoes its whole transaction, and someone may flush between our look and our change.
        for _ in 0..3 {
            let deleted = transactions(&elements)
                .try_for_each(|transaction| self.commit(transaction, NfTablesMessage::DeleteSetElement));
            match deleted {
                Err(error) if is_absent(&error) => elements = self.those_there(elements)?,
                result => return result,
            }
        }
        Err(Errno::ENOENT.into())
    }

    /// Those of `elements` whose keys are there.
    fn those_there(&mut self, elements: Vec<Element>) -> io::Result<Vec<Element>> {
        let mut there = HashSet::new();
        for set in nft::set_names().filter(|set| elements.iter().any(|element| element.set == *set)) {
            there.extend(self.elements(set)?.into_iter().map(|element| (set, element.key)));
        }
        Ok(elements.into_iter().filter(|element| there.contains(&(element.set, element.key.clone()))).collect())
    }

    /// The elements of a set of ours, without the ends of ranges; none where there is no such set.
    fn elements(&mut self, set: &'static str) -> io::Result<Vec<Element>> {
        let question = in_table_of(set, NfTablesMessage::GetSetElement(message(set, &[])));
        let answers = match self.netlink.request(Elements::Question(question), NLM_F_DUMP) {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            result => result?,
        };
        let lists = answers.into_iter().map(|answer| match answer {
            Elements::Listed(listed) => listed,
            Elements::Question(_) => Vec::new(),
        });
        let listed = lists.flatten().filter(|listed| !listed.ends_range);
        Ok(listed.map(|Listed { key, data, userdata, .. }| Element { set, key, data, userdata }).collect())
    }

    fn list(&mut self, set: &'static str) -> Result<Vec<Element>> {
        self.elements(set).doing(|| format!("list set {set} of table inet {TABLE}"))
    }

    /// Whether the chains are of this version and have all of their rules, and the network its place in the sets.
    fn is_whole(&mut self, network: &NetworkNeeds, base: &Base) -> Result<bool> {
        let closed = base.close_forwarding.then(nft::closed_key);
        let elements = [Some(nft::bridge_key(&network.bridge)), closed, base.detour.map(|_| nft::detoured_key())];
        let mut questions: Vec<_> = nft::chains(base).map(chain_question).collect();
        questions.extend(elements.iter().flatten().map(element_question));
        match self.netlink.batch(questions.into_iter().map(|q| (q, NLM_F_REQUEST)).collect()) {
            Ok(answers) => Ok(is_whole(&answers, base)),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(Error::refused(format!("look at table inet {TABLE}"), error)),
        }
    }

    /// Loads what `text` makes of what the table holds. Once more where another program changed the table meanwhile: what is
    /// to be deleted has to be there.
    fn replace(&mut self, text: impl Fn(&Held) -> String) -> Result<()> {
        let held = self.held()?;
        match program::run("nft", &["-f", "-"], &text(&held)) {
            Ok(_) => Ok(()),
            Err(failed) => match self.held()? {
                now if now == held => Err(failed),
                now => program::run("nft", &["-f", "-"], &text(&now)).map(drop),
            },
        }
    }

    /// Whether the operator has rules in their chain.
    fn operator_has_rules(&mut self) -> Result<bool> {
        let question = NetfilterMessage::new(
            NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0),
            NfTablesMessage::GetRule(RuleMessage {
                attributes: vec![RuleAttribute::Table(TABLE.into()), RuleAttribute::Chain(nft::OPERATOR.into())],
            }),
        );
        match self.netlink.request(question, NLM_F_DUMP) {
            Ok(rules) => Ok(!rules.is_empty()),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(Error::refused(format!("look at chain {} of table inet {TABLE}", nft::OPERATOR), error)),
        }
    }
}

impl Backend for Nftables {
    type Error = Error;

    fn ready(&mut self) -> Result<()> {
        // A change is one transaction of the kernel's, which nobody holds up.
        Ok(())
    }

    fn apply(&mut self, network: &NetworkNeeds, base: &Base, ports: &[Publish]) -> Result<bool> {
        if !self.is_whole(network, base)? {
            return Ok(false);
        }
        let what = || format!("publish {} ports in table inet {TABLE}", ports.len());
        self.add(&nft::port_elements(ports, base)).doing(what)?;
        Ok(true)
    }

    fn holds(&mut self, network: &NetworkNeeds, base: &Base, ports: &[Publish]) -> Result<bool> {
        if !self.is_whole(network, base)? {
            return Ok(false);
        }
        let elements = nft::port_elements(ports, base);
        let wanted = elements.len();
        let there = self.those_there(elements).doing(|| format!("look for published ports in table inet {TABLE}"))?;
        Ok(there.len() == wanted)
    }

    fn load(&mut self, all: &Needs) -> Result<()> {
        self.replace(|held| nft::ruleset(all, held))
    }

    fn matches(&mut self, all: &Needs) -> Result<bool> {
        for network in &all.networks {
            if !self.is_whole(network, &all.base)? {
                return Ok(false);
            }
        }
        let parts = |element: Element| (element.set, element.key, element.data);
        let expected: BTreeSet<_> = nft::elements(all).into_iter().map(parts).collect();
        let mut found = BTreeSet::new();
        for set in nft::set_names() {
            found.extend(self.list(set)?.into_iter().map(parts));
        }
        Ok(found == expected)
    }

    fn published(&mut self) -> Result<Vec<Publish>> {
        let mut elements = self.list("publish4_any")?;
        elements.extend(self.list("publish4_addr")?);
        Ok(elements.iter().filter_map(Element::publish).collect())
    }

    fn closes_forwarding(&mut self) -> Result<bool> {
        Ok(!self.list("closed")?.is_empty())
    }

    fn unload(&mut self) -> Result<()> {
        if self.operator_has_rules()? {
            return self.replace(nft::clearing);
        }
        program::run("nft", &["-f", "-"], &nft::deletion()).map(drop)
    }

    fn operators_chain(&mut self) -> Result<Option<&'static str>> {
        Ok(self.operator_has_rules()?.then_some("chain operator of table inet ocinet"))
    }

    fn is_loaded(&mut self) -> Result<bool> {
        let base = Base::default();
        let marked = nft::chains(&base).filter(|chain| chain.name == nft::MARKED);
        let questions = marked.map(|chain| (chain_question(chain), NLM_F_REQUEST)).collect();
        match self.netlink.batch(questions) {
            Ok(_) => Ok(true),
            Err(error) if is_absent(&error) || !Self::is_supported() => Ok(false),
            Err(error) => Err(Error::refused(format!("look at table inet {TABLE}"), error)),
        }
    }

    fn slow_socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.netlink.as_fd())
    }

    fn remove(&mut self, ports: &[Publish], base: &Base) -> Result<()> {
        let mut elements = nft::port_elements(ports, base);
        // Last in, first out: no copy of a packet is sent around for a port that leads nowhere any more.
        elements.reverse();
        self.delete(elements).doing(|| format!("take {} published ports out of table inet {TABLE}", ports.len()))
    }
}

/// Divides `elements` into transactions of bounded size.
fn transactions(elements: &[Element]) -> impl Iterator<Item = &[Element]> {
    let mut rest = elements;
    std::iter::from_fn(move || {
        let mut size = 0;
        let fits = |element: &&Element| {
            size += size_of_entry(element);
            size <= TRANSACTION
        };
        let count = rest.iter().take_while(fits).count();
        let (first, others) = rest.split_at(count);
        rest = others;
        (count > 0).then_some(first)
    })
}

/// The bytes that an element takes in a message: its fields, with a header each and those around them.
fn size_of_entry(element: &Element) -> usize {
    let field = |bytes: &[u8], headers: usize| headers * HEADER + bytes.len().next_multiple_of(HEADER);
    HEADER + field(&element.key, 2) + field(&element.data, 2) + field(&element.userdata, 1)
}

fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOENT as i32)
}

fn inet(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

fn control(message: ControlMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES), message)
}

/// Speaks of a set of ours.
fn in_table_of(set: &str, message: NfTablesMessage) -> NetfilterMessage {
    in_family(nft::family(set), message)
}

fn in_family(family: &str, message: NfTablesMessage) -> NetfilterMessage {
    let family = if family == "ip" { NetfilterProtoFamily::IPv4 } else { NetfilterProtoFamily::Inet };
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message)
}

fn element_question(element: &Element) -> NetfilterMessage {
    in_table_of(element.set, NfTablesMessage::GetSetElement(message(element.set, &[element])))
}

fn chain_question(chain: &Chain) -> NetfilterMessage {
    let attributes = vec![ChainAttribute::Table(TABLE.into()), ChainAttribute::Name(chain.name.into())];
    in_family(chain.family(), NfTablesMessage::GetChain(ChainMessage { attributes }))
}

fn message(set: &str, elements: &[&Element]) -> SetElementMessage {
    let attributes = |element: &&Element| {
        let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(element.key.clone()))];
        if !element.data.is_empty() {
            attributes.push(SetElementAttribute::Data(DataAttribute::Value(element.data.clone())));
        }
        if !element.userdata.is_empty() {
            attributes.push(SetElementAttribute::UserData(element.userdata.clone()));
        }
        ListAttribute::Element(attributes)
    };
    SetElementMessage {
        attributes: vec![
            SetElementList::Table(TABLE.into()),
            SetElementList::Set(set.into()),
            SetElementList::Elements(elements.iter().map(attributes).collect()),
        ],
    }
}

/// One chain carries this version's comment, and each all of its rules: `nft flush table` takes the rules alone.
fn is_whole(answers: &[NetfilterMessage], base: &Base) -> bool {
    let version = nft::version(base);
    let is_marked = |chain: &ChainMessage| {
        let says = |bytes: &Vec<u8>| bytes.windows(version.len()).any(|window| window == version.as_bytes());
        chain.attributes.iter().any(|attribute| matches!(attribute, ChainAttribute::UserData(bytes) if says(bytes)))
    };
    let is_as_made = |chain: &ChainMessage, expected: &Chain| {
        chain.attributes.contains(&ChainAttribute::Name(expected.name.into()))
            && chain.attributes.contains(&ChainAttribute::Use(expected.uses()))
            && (expected.name != nft::MARKED || is_marked(chain))
    };
    let chains = answers.iter().filter_map(|answer| match &answer.inner {
        NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) => Some(chain),
        _ => None,
    });
    chains.filter(|chain| nft::chains(base).any(|expected| is_as_made(chain, expected))).count()
        == nft::chains(base).count()
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};

    use super::*;
    use crate::model::{HostAddress, Protocol};

    fn ports(count: u16, label: &str) -> Vec<Publish> {
        let one = |host_port| Publish {
            protocol: Protocol::Tcp,
            host_address: HostAddress::V4([192, 0, 2, 1].into()),
            host_port,
            target: ([10, 90, 0, 2], host_port).into(),
            label: label.into(),
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn what_is_listed_is_read_as_it_was_written() {
        let elements = nft::port_elements(&ports(300, "web"), &Base::default());
        let of_set: Vec<&Element> = elements.iter().collect();
        let written = in_table_of(elements[0].set, NfTablesMessage::NewSetElement(message(elements[0].set, &of_set)));
        let mut bytes = vec![0; written.buffer_len()];
        written.serialize(&mut bytes);
        let Elements::Listed(listed) = Elements::deserialize(&NetlinkHeader::default(), &bytes).unwrap() else {
            panic!("a list")
        };
        assert_eq!(listed.len(), elements.len());
        for (listed, element) in listed.iter().zip(&elements) {
            assert_eq!((&listed.key, &listed.data), (&element.key, &element.data));
            assert_eq!((&listed.userdata, listed.ends_range), (&element.userdata, false));
        }
    }

    #[test]
    fn a_transaction_is_bounded_and_the_whole_is_divided() {
        let base = Base { detour: Some(7), ..Base::default() };
        for label in ["web", &"x".repeat(255)] {
            let elements = nft::port_elements(&ports(20_000, label), &base);
            let mut rejoined = Vec::new();
            for transaction in transactions(&elements) {
                let bytes: usize = nft::set_names()
                    .map(|set| {
                        let of_set: Vec<&Element> = transaction.iter().filter(|element| element.set == set).collect();
                        in_table_of(set, NfTablesMessage::NewSetElement(message(set, &of_set))).buffer_len()
                    })
                    .sum();
                assert!(bytes < TRANSACTION + 1024, "{bytes} bytes");
                rejoined.extend_from_slice(transaction);
            }
            assert_eq!(rejoined.len(), elements.len());
            assert!(rejoined == elements, "in their order");
        }
        assert_eq!(transactions(&[]).count(), 0);
        assert_eq!(transactions(&nft::port_elements(&ports(300, "web"), &base)).count(), 1, "a few hundred are one");
    }
}
