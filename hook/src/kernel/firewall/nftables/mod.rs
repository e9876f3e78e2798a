//! The nftables backend: elements over netlink (`elements.rs`), the ruleset itself through `nft`.
//!
//! The kernel answers an nfnetlink request inside `send`. An acknowledgement does not mean committed; no error in any
//! answer to a batch does.

mod dump;
mod elements;
mod held;
mod listed;
mod xt;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::slice;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_netfilter::nftables::{ChainAttribute, ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use nix::errno::Errno;

use crate::firewall::nftables::{self, Chain, Element, Encoded, Held, Set, TABLE, Table};
use crate::firewall::{Backend, Base, Change, Inventory, Needs, NetworkNeeds, Publish};
use crate::kernel::child_process;
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::netlink::Netlink;
use crate::model::Family;
use elements::element_question;
pub(super) use xt::{NewRule, RulePlace, XtChain};

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

    /// Whether the kernel has nf_tables. Without it, the kernel has no subsystem of that number (`nfnetlink_rcv_msg`,
    /// net/netfilter/nfnetlink.c).
    pub fn is_supported() -> bool {
        let question = inet(NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() }));
        let answer = Self::open().map(|mut nft| nft.netlink.request(question, NLM_F_DUMP));
        !matches!(answer, Ok(Err(error)) if error.raw_os_error() == Some(Errno::EINVAL as i32))
    }

    /// Whether the kernel holds a ruleset of ours, of whatever version.
    fn is_loaded(&mut self) -> Result<bool> {
        let base = Base::default();
        let marked = nftables::chains(&base).filter(|chain| chain.name == nftables::MARKED);
        let questions = marked.map(|chain| (chain_question(chain), NLM_F_REQUEST)).collect();
        match self.netlink.batch(questions) {
            Ok(_) => Ok(true),
            Err(error) if is_absent(&error) || !Self::is_supported() => Ok(false),
            Err(error) => Err(Error::refused(format!("look at table inet {TABLE}"), error)),
        }
    }

    /// Whether the chains are of this version and have all of their rules, and the networks their places in the sets.
    fn is_whole(&mut self, networks: &[NetworkNeeds], base: &Base) -> Result<bool> {
        if !base.input_loop.may_have_rules() {
            return Ok(false);
        }
        let elements = nftables::base_elements(base)
            .chain(networks.iter().map(|network| nftables::bridge_element(&network.bridge)));
        let mut questions: Vec<_> = nftables::chains(base).map(chain_question).collect();
        questions.extend(elements.map(|element| element_question(&element.encode())));
        match self.netlink.batch(questions.into_iter().map(|q| (q, NLM_F_REQUEST)).collect()) {
            Ok(answers) => Ok(is_whole(&answers, base)),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(Error::refused(format!("look at table inet {TABLE}"), error)),
        }
    }

    /// Takes away those of `ports` that are there.
    fn remove(&mut self, ports: &[Publish], base: &Base) -> Result<()> {
        let mut elements = nftables::encoded_ports(ports, base);
        // Last in, first out: no copy of a packet is sent around for a port that leads nowhere any more.
        elements.reverse();
        self.delete(elements).doing(|| format!("take {} published ports out of table inet {TABLE}", ports.len()))
    }

    /// Loads what `text` makes of what the table holds. Once more where another program changed the table meanwhile:
    /// what is to be deleted has to be there.
    fn replace(&mut self, text: impl Fn(&Held) -> String) -> Result<()> {
        let held = self.held()?;
        match child_process::run("nft", &["-f", "-"], &text(&held)) {
            Ok(_) => Ok(()),
            Err(failed) => match self.held()? {
                now if now == held => Err(failed),
                now => child_process::run("nft", &["-f", "-"], &text(&now)).map(drop),
            },
        }
    }

    /// Whether the operator has rules in their chain.
    fn operator_has_rules(&mut self) -> Result<bool> {
        let attributes = vec![RuleAttribute::Table(TABLE.into()), RuleAttribute::Chain(nftables::OPERATOR.into())];
        let question = inet(NfTablesMessage::GetRule(RuleMessage { attributes }));
        match self.netlink.request(question, NLM_F_DUMP) {
            Ok(rules) => Ok(!rules.is_empty()),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => {
                Err(Error::refused(format!("look at chain {} of table inet {TABLE}", nftables::OPERATOR), error))
            }
        }
    }
}

impl Backend for Nftables {
    type Error = Error;

    fn ready(&mut self) -> Result<()> {
        // A change is one transaction of the kernel: there is no lock of user space to wait for.
        Ok(())
    }

    fn apply(&mut self, change: &Change<'_>) -> Result<bool> {
        let Change { base, networks, add, remove } = change;
        if !remove.is_empty() {
            self.remove(remove, base)?;
        }
        if change.only_removes() {
            return Ok(true);
        }
        if !self.is_whole(networks, base)? {
            return Ok(false);
        }
        let what = || format!("publish {} ports in table inet {TABLE}", add.len());
        self.add(&nftables::encoded_ports(add, base)).doing(what)?;
        Ok(true)
    }

    fn holds(&mut self, part: &Needs) -> Result<bool> {
        if !self.is_whole(&part.networks, &part.base)? {
            return Ok(false);
        }
        let elements = nftables::encoded_ports(&part.publish, &part.base);
        let wanted = elements.len();
        let there = self.those_there(elements).doing(|| format!("look for published ports in table inet {TABLE}"))?;
        Ok(there.len() == wanted)
    }

    fn matches(&mut self, all: &Needs) -> Result<bool> {
        // One by one: the answers to one batch have to fit into the socket's buffer.
        for network in &all.networks {
            if !self.is_whole(slice::from_ref(network), &all.base)? {
                return Ok(false);
            }
        }
        let parts = |element: Encoded| (element.set, element.key, element.data);
        let expected: BTreeSet<_> = nftables::elements(all).iter().map(Element::encode).map(parts).collect();
        let mut found = BTreeSet::new();
        for set in Set::of(all.base.families()) {
            found.extend(self.list(set)?.into_iter().map(parts));
        }
        Ok(found == expected)
    }

    fn load(&mut self, all: &Needs) -> Result<()> {
        self.replace(|held| nftables::ruleset(all, held))
    }

    fn unload(&mut self) -> Result<()> {
        if self.operator_has_rules()? {
            return self.replace(nftables::clearing);
        }
        child_process::run("nft", &["-f", "-"], &nftables::deletion()).map(drop)
    }

    fn inventory(&mut self) -> Result<Inventory> {
        if !self.is_loaded()? {
            return Ok(Inventory::default());
        }
        let mut published = Vec::new();
        for set in Set::all().filter(|set| {
            matches!(set, Set::PublishAny(_) | Set::PublishAddr(_) | Set::PublishLoopback | Set::RoutedPorts(_))
        }) {
            published.extend(self.list(set)?.iter().filter_map(Encoded::publish));
        }
        let mut masqueraded = Vec::new();
        for set in Set::all().filter(|set| matches!(set, Set::Masqueraded(_))) {
            masqueraded.extend(self.list(set)?.iter().filter_map(Encoded::address));
        }
        published.iter_mut().for_each(|port| port.masquerade = masqueraded.contains(&port.target.ip()));
        Ok(Inventory {
            is_loaded: true,
            published,
            internal: self.list(Set::Internal)?.iter().filter_map(Encoded::link).collect(),
            closes_forwarding: self.list(Set::Closed)?.iter().filter_map(Encoded::family).collect(),
            operators_chain: self.operator_has_rules()?.then_some("chain operator of table inet ocinet"),
        })
    }

    fn slow_sockets(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.as_fd()]
    }
}

impl AsFd for Nftables {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOENT as i32)
}

fn inet(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

/// A family of tables that are of one family of addresses.
pub(super) fn number(family: Family) -> NetfilterProtoFamily {
    match family {
        Family::V4 => NetfilterProtoFamily::IPv4,
        Family::V6 => NetfilterProtoFamily::IPv6,
    }
}

fn of_family(family: Family, message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(number(family), 0, 0), message)
}

fn in_table(table: Table, message: NfTablesMessage) -> NetfilterMessage {
    match table {
        Table::Inet => inet(message),
        Table::Ip => of_family(Family::V4, message),
    }
}

fn chain_question(chain: &Chain) -> NetfilterMessage {
    let attributes = vec![ChainAttribute::Table(TABLE.into()), ChainAttribute::Name(chain.name.into())];
    in_table(chain.table(), NfTablesMessage::GetChain(ChainMessage { attributes }))
}

/// One chain carries this version's comment, and each all of its rules: `nft flush table` takes the rules alone.
fn is_whole(answers: &[NetfilterMessage], base: &Base) -> bool {
    let version = nftables::version(base);
    let is_marked = |chain: &ChainMessage| {
        let says = |bytes: &Vec<u8>| bytes.windows(version.len()).any(|window| window == version.as_bytes());
        chain.attributes.iter().any(|attribute| matches!(attribute, ChainAttribute::UserData(bytes) if says(bytes)))
    };
    let is_as_made = |chain: &ChainMessage, expected: &Chain| {
        chain.attributes.contains(&ChainAttribute::Name(expected.name.into()))
            && chain.attributes.contains(&ChainAttribute::Use(expected.uses(base)))
            && (expected.name != nftables::MARKED || is_marked(chain))
    };
    let chains = answers.iter().filter_map(|answer| match &answer.inner {
        NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) => Some(chain),
        _ => None,
    });
    chains.filter(|chain| nftables::chains(base).any(|expected| is_as_made(chain, expected))).count()
        == nftables::chains(base).count()
}
