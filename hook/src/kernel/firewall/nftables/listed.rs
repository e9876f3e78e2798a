//! The elements of a set as the kernel lists them. The crate's reader takes about a millisecond for one of some
//! thousands.

use netlink_packet_core::{DecodeError, NlaBuffer, NlasIterator};

use super::dump::Answer;

/// The elements in one answer.
pub(super) struct Elements(pub Vec<Listed>);

/// One element.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its key, the fields joined.
    pub key: Vec<u8>,
    /// What the key leads to; empty in a set.
    pub data: Vec<u8>,
    /// What its maker attached, such as a comment.
    pub userdata: Vec<u8>,
    /// Whether it is the end of a range, and no element by itself.
    pub ends_range: bool,
}

/// Attributes (linux/netfilter/nf_tables.h): `NFTA_SET_ELEM_LIST_ELEMENTS`, `NFTA_LIST_ELEM`, and those of an element.
const LIST: u16 = 3;
const ENTRY: u16 = 1;
const KEY: u16 = 1;
const DATA: u16 = 2;
const FLAGS: u16 = 3;
const USERDATA: u16 = 6;
/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u8 = 1;

impl Answer for Elements {
    fn read(attributes: NlasIterator<&[u8]>) -> Result<Self, DecodeError> {
        let mut listed = Vec::new();
        for attribute in attributes {
            let attribute = attribute?;
            if attribute.kind() != LIST {
                continue;
            }
            for entry in NlasIterator::new(attribute.value()) {
                let entry = entry?;
                if entry.kind() == ENTRY {
                    listed.push(element(entry.value())?);
                }
            }
        }
        Ok(Self(listed))
    }
}

fn element(fields: &[u8]) -> Result<Listed, DecodeError> {
    let mut element = Listed::default();
    for field in NlasIterator::new(fields) {
        let field = field?;
        match field.kind() {
            KEY => element.key = value(&field)?,
            DATA => element.data = value(&field)?,
            USERDATA => element.userdata = field.value().to_vec(),
            // In network order.
            FLAGS => element.ends_range = field.value().last().is_some_and(|flags| flags & INTERVAL_END != 0),
            _ => {}
        }
    }
    Ok(element)
}

/// The value in a field (`NFTA_DATA_VALUE`, its first attribute).
fn value(field: &NlaBuffer<&[u8]>) -> Result<Vec<u8>, DecodeError> {
    let value = NlasIterator::new(field.value()).next().transpose()?;
    Ok(value.map(|value| value.value().to_vec()).unwrap_or_default())
}
