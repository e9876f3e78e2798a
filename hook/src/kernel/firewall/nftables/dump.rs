//! Dumps of nf_tables of which a part of each answer is read. The crate's reader decodes the whole of it: each
//! expression of each rule, and of a set each element, with the whole list as text in case there is an error to tell.

use netlink_packet_core::{DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator};
use netlink_packet_netfilter::NetfilterMessage;

/// The length of `struct nfgenmsg`.
const FAMILY_HEADER: usize = 4;

/// A message of a dump: what is asked, or what is read of an answer.
pub(super) enum Dump<A> {
    /// What is asked.
    Question(NetfilterMessage),
    /// What is read of one answer.
    Answer(A),
}

/// What is read of an answer.
pub(super) trait Answer: Sized {
    /// Reads it from the attributes behind `struct nfgenmsg`.
    ///
    /// # Errors
    /// When they are cut off.
    fn read(attributes: NlasIterator<&[u8]>) -> Result<Self, DecodeError>;
}

impl<A> Dump<A> {
    /// What was read; none of a question.
    pub fn answer(self) -> Option<A> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::Question(_) => None,
        }
    }

    fn question(&self) -> Option<&NetfilterMessage> {
        match self {
            Self::Question(question) => Some(question),
            Self::Answer(_) => None,
        }
    }
}

impl<A> NetlinkSerializable for Dump<A> {
    fn message_type(&self) -> u16 {
        self.question().map_or(0, NetlinkSerializable::message_type)
    }

    fn buffer_len(&self) -> usize {
        self.question().map_or(0, NetlinkSerializable::buffer_len)
    }

    fn serialize(&self, buffer: &mut [u8]) {
        if let Some(question) = self.question() {
            question.serialize(buffer);
        }
    }
}

impl<A: Answer> NetlinkDeserializable for Dump<A> {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let attributes = payload.get(FAMILY_HEADER..).unwrap_or_default();
        A::read(NlasIterator::new(attributes)).map(Self::Answer)
    }
}
