//! The nftables backend: elements over netlink, the ruleset itself through `nft`.
//!
//! The kernel answers an nfnetlink request inside `send`. An acknowledgement does not mean committed; no error in any
//! answer to a batch does.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage,
    SetElementAttribute, SetElementFlags, SetElementList, SetElementMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use nix::errno::Errno;

use super::error::{Error, Result};
use super::netlink::Netlink;
use super::program;
use crate::firewall::nft::{self, Chain, Element, TABLE};
use crate::firewall::{Backend, Base, Needs, NetworkNeeds, Publish};

/// Elements a message: its attributes' lengths are 16 bits wide.
const CHUNK: usize = 400;

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

    fn commit(&mut self, elements: &[Element], change: fn(SetElementMessage) -> NfTablesMessage) -> io::Result<()> {
        let begin = (control(ControlMessage::BatchBegin), NLM_F_REQUEST);
        let end = (control(ControlMessage::BatchEnd), NLM_F_REQUEST);
        let mut batch = vec![begin];
        for set in nft::set_names() {
            let of_set: Vec<&Element> = elements.iter().filter(|element| element.set == set).collect();
            let messages = of_set.chunks(CHUNK).map(|chunk| in_table_of(set, change(message(set, chunk))));
            batch.extend(messages.map(|message| (message, NLM_F_REQUEST | NLM_F_CREATE)));
        }
        batch.push(end);
        self.netlink.batch(batch).map(drop)
    }

    /// The elements of a set of ours, without the ends of ranges; none where there is no such set.
    fn elements(&mut self, set: &'static str) -> Result<Vec<Element>> {
        let question = in_table_of(set, NfTablesMessage::GetSetElement(message(set, &[])));
        let answers = match self.netlink.request(question, NLM_F_DUMP) {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            result => result.map_err(|error| Error::refused(format!("list set {set} of table inet {TABLE}"), error))?,
        };
        let mut elements = Vec::new();
        for answer in answers {
            let NetfilterMessageInner::NfTables(NfTablesMessage::NewSetElement(answer)) = answer.inner else {
                continue;
            };
            let lists = answer.attributes.into_iter().filter_map(|attribute| match attribute {
                SetElementList::Elements(list) => Some(list),
                _ => None,
            });
            elements.extend(lists.flatten().filter_map(|entry| read_element(set, entry)));
        }
        Ok(elements)
    }

    fn has(&mut self, element: &Element) -> io::Result<bool> {
        match self.netlink.batch(vec![(element_question(element), NLM_F_REQUEST)]) {
            Ok(_) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(error),
        }
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
        if !ports.is_empty() {
            let added = self.commit(&nft::port_elements(ports, base), NfTablesMessage::NewSetElement);
            let what = || format!("publish {} ports in table inet {TABLE}", ports.len());
            added.map_err(|error| Error::refused(what(), error))?;
        }
        Ok(true)
    }

    fn holds(&mut self, network: &NetworkNeeds, base: &Base, ports: &[Publish]) -> Result<bool> {
        if !self.is_whole(network, base)? {
            return Ok(false);
        }
        for element in nft::port_elements(ports, base) {
            let what = |error| Error::refused(format!("look for published ports in table inet {TABLE}"), error);
            if !self.has(&element.without_data()).map_err(what)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn load(&mut self, all: &Needs) -> Result<()> {
        program::run("nft", &["-f", "-"], &nft::ruleset(all)).map(drop)
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
            found.extend(self.elements(set)?.into_iter().map(parts));
        }
        Ok(found == expected)
    }

    fn published(&mut self) -> Result<Vec<Publish>> {
        let mut elements = self.elements("publish4_any")?;
        elements.extend(self.elements("publish4_addr")?);
        Ok(elements.iter().filter_map(Element::publish).collect())
    }

    fn closes_forwarding(&mut self) -> Result<bool> {
        Ok(!self.elements("closed")?.is_empty())
    }

    fn unload(&mut self) -> Result<()> {
        let text = if self.operator_has_rules()? { nft::clearing() } else { nft::deletion() };
        program::run("nft", &["-f", "-"], &text).map(drop)
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
        let what =
            |error| Error::refused(format!("take {} published ports out of table inet {TABLE}", ports.len()), error);
        let mut elements: Vec<Element> =
            nft::port_elements(ports, base).into_iter().map(Element::without_data).collect();
        // One missing element undoes the whole batch, and someone may flush between our look and our change.
        for _ in 0..3 {
            if elements.is_empty() {
                return Ok(());
            }
            match self.commit(&elements, NfTablesMessage::DeleteSetElement) {
                Err(error) if is_absent(&error) => {
                    let mut there = Vec::new();
                    for element in elements {
                        if self.has(&element).map_err(what)? {
                            there.push(element);
                        }
                    }
                    elements = there;
                }
                result => return result.map_err(what),
            }
        }
        Err(what(Errno::ENOENT.into()))
    }
}

fn read_element(set: &'static str, entry: ListAttribute<SetElementAttribute>) -> Option<Element> {
    let ListAttribute::Element(attributes) = entry else { return None };
    let mut element = Element { set, key: Vec::new(), data: Vec::new(), userdata: Vec::new() };
    for attribute in attributes {
        match attribute {
            SetElementAttribute::Key(DataAttribute::Value(bytes)) => element.key = bytes,
            SetElementAttribute::Data(DataAttribute::Value(bytes)) => element.data = bytes,
            SetElementAttribute::UserData(bytes) => element.userdata = bytes,
            SetElementAttribute::Flags(flags) if flags.contains(SetElementFlags::IntervalEnd) => return None,
            _ => {}
        }
    }
    Some(element)
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
