//! The elements of our sets and maps: adding, deleting and listing them.

use std::collections::HashSet;
use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList, SetElementMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use nix::errno::Errno;

use super::dump::Dump;
use super::listed::{Elements, Listed};
use super::{Nftables, in_table, is_absent};
use crate::firewall::nftables::{Encoded, Set, TABLE};
use crate::kernel::error::{Doing, Result};

/// The bytes of elements in one transaction, which is one datagram. It stays below what ends it on its way: the 16 bits
/// of an attribute's length, a socket's buffer for sending (`net.core.wmem_default`, 208 KiB), and, since the kernel
/// repeats each message that it refuses, the buffer for receiving and our own.
const TRANSACTION: usize = 48 << 10;

/// The length of an attribute's header, to a multiple of which its value is padded (`NLA_HDRLEN`, `NLA_ALIGNTO`).
const HEADER: usize = 4;

/// The subsystem's number, in the header of a batch (`NFNL_SUBSYS_NFTABLES`).
pub(super) const NFTABLES: u16 = 10;

impl Nftables {
    /// One transaction: all of it, or nothing.
    fn commit(&mut self, elements: &[Encoded], change: fn(SetElementMessage) -> NfTablesMessage) -> io::Result<()> {
        let begin = (control(ControlMessage::BatchBegin), NLM_F_REQUEST);
        let end = (control(ControlMessage::BatchEnd), NLM_F_REQUEST);
        let of_each_set = Set::all().filter_map(|set| {
            let of_set: Vec<&Encoded> = elements.iter().filter(|element| element.set == set).collect();
            (!of_set.is_empty()).then(|| in_table_of(set, change(message(set, &of_set))))
        });
        let changes = of_each_set.map(|message| (message, NLM_F_REQUEST | NLM_F_CREATE));
        self.netlink.batch([begin].into_iter().chain(changes).chain([end]).collect()).map(drop)
    }

    /// Adds elements, none of which is there: all of them, or none. Many take several transactions; where one fails,
    /// what those before it added is taken away.
    pub(super) fn add(&mut self, elements: &[Encoded]) -> io::Result<()> {
        let mut added = 0;
        for transaction in transactions(elements) {
            if let Err(error) = self.commit(transaction, NfTablesMessage::NewSetElement) {
                // The first error says what is wrong. What a failed deletion leaves, the caller takes away when it
                // detaches the container.
                let _ = self.delete(elements[..added].to_vec());
                return Err(error);
            }
            added += transaction.len();
        }
        Ok(())
    }

    /// Deletes those of `elements` that are there.
    pub(super) fn delete(&mut self, elements: Vec<Encoded>) -> io::Result<()> {
        let mut elements: Vec<Encoded> = elements.into_iter().map(Encoded::without_data).collect();
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
    pub(super) fn those_there(&mut self, elements: Vec<Encoded>) -> io::Result<Vec<Encoded>> {
        let mut there = HashSet::new();
        for set in Set::all().filter(|set| elements.iter().any(|element| element.set == *set)) {
            there.extend(self.elements(set)?.into_iter().map(|element| (set, element.key)));
        }
        Ok(elements.into_iter().filter(|element| there.contains(&(element.set, element.key.clone()))).collect())
    }

    /// The elements of a set of ours, without the ends of ranges; none where there is no such set.
    fn elements(&mut self, set: Set) -> io::Result<Vec<Encoded>> {
        let question = in_table_of(set, NfTablesMessage::GetSetElement(message(set, &[])));
        let answers = match self.netlink.request(Dump::Question(question), NLM_F_DUMP) {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            result => result?,
        };
        let lists = answers.into_iter().filter_map(Dump::answer);
        let listed = lists.flat_map(|Elements(listed)| listed).filter(|listed| !listed.ends_range);
        Ok(listed.map(|Listed { key, data, userdata, .. }| Encoded { set, key, data, userdata }).collect())
    }

    /// The elements of a set; its absence is no error, as the set is empty then.
    pub(super) fn list(&mut self, set: Set) -> Result<Vec<Encoded>> {
        self.elements(set).doing(|| format!("list set {} of table {} {TABLE}", set.name(), set.table().family()))
    }
}

/// Divides `elements` into transactions of bounded size.
fn transactions(elements: &[Encoded]) -> impl Iterator<Item = &[Encoded]> {
    let mut rest = elements;
    std::iter::from_fn(move || {
        let mut size = 0;
        let fits = |element: &&Encoded| {
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
fn size_of_entry(element: &Encoded) -> usize {
    let field = |bytes: &[u8], headers: usize| headers * HEADER + bytes.len().next_multiple_of(HEADER);
    HEADER + field(&element.key, 2) + field(&element.data, 2) + field(&element.userdata, 1)
}

/// A message that begins or ends a transaction.
fn control(message: ControlMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES), message)
}

/// A message about a set of ours.
fn in_table_of(set: Set, message: NfTablesMessage) -> NetfilterMessage {
    in_table(set.table(), message)
}

/// Asks for one element of a set.
pub(super) fn element_question(element: &Encoded) -> NetfilterMessage {
    in_table_of(element.set, NfTablesMessage::GetSetElement(message(element.set, &[element])))
}

fn message(set: Set, elements: &[&Encoded]) -> SetElementMessage {
    let attributes = |element: &&Encoded| {
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
            SetElementList::Set(set.name()),
            SetElementList::Elements(elements.iter().map(attributes).collect()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};

    use super::*;
    use crate::firewall::nftables::encoded_ports;
    use crate::firewall::{Base, InputLoop, Publish, ReachedBy};
    use crate::model::{HostAddress, Protocol};

    fn ports(count: u16, label: &str) -> Vec<Publish> {
        let one = |host_port| Publish {
            protocol: Protocol::Tcp,
            host_address: HostAddress::V4([192, 0, 2, 1].into()),
            host_port,
            target: ([10, 90, 0, 2], host_port).into(),
            reached_by: ReachedBy::Host,
            masquerade: false,
            stand_in: None,
            label: label.into(),
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn what_is_listed_is_read_as_it_was_written() {
        let elements = encoded_ports(&ports(300, "web"), &Base::default());
        let of_set: Vec<&Encoded> = elements.iter().collect();
        let written = in_table_of(elements[0].set, NfTablesMessage::NewSetElement(message(elements[0].set, &of_set)));
        let mut bytes = vec![0; written.buffer_len()];
        written.serialize(&mut bytes);
        let answer = Dump::deserialize(&NetlinkHeader::default(), &bytes).unwrap().answer();
        let Elements(listed) = answer.expect("a list");
        assert_eq!(listed.len(), elements.len());
        for (listed, element) in listed.iter().zip(&elements) {
            assert_eq!((&listed.key, &listed.data), (&element.key, &element.data));
            assert_eq!((&listed.userdata, listed.ends_range), (&element.userdata, false));
        }
    }

    #[test]
    fn a_transaction_is_bounded_and_the_whole_is_divided() {
        let base = Base { input_loop: InputLoop::Made { link: 7 }, ..Base::default() };
        for label in ["web", &"x".repeat(255)] {
            let elements = encoded_ports(&ports(20_000, label), &base);
            let mut rejoined = Vec::new();
            for transaction in transactions(&elements) {
                let bytes: usize = Set::all()
                    .map(|set| {
                        let of_set: Vec<&Encoded> = transaction.iter().filter(|element| element.set == set).collect();
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
        assert_eq!(transactions(&encoded_ports(&ports(300, "web"), &base)).count(), 1, "a few hundred are one");
    }
}
