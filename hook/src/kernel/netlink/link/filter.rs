//! Classifiers of kind bpf for the frames that come in or go out by a link.

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, Nla};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption};
use nix::errno::Errno;

use super::{HostLinks, errno, is_gone};
use crate::driver::FilterProgram;
use crate::kernel::error::{Error, Result};

/// The number of our filter at its priority.
const HANDLE: u32 = 1;

// Attributes (linux/pkt_cls.h).
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;

/// Where a filter of ours stands on a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    /// The minor number of the hook of clsact: [`TcHandle::MIN_INGRESS`] or [`TcHandle::MIN_EGRESS`].
    pub hook: u16,
    /// A filter of a lower one runs first.
    pub priority: u32,
}

/// A filter that a link has.
#[derive(Debug)]
pub(super) struct Found(Vec<TcFilterBpfOption>);

impl Found {
    /// Its program, in the kernel's binary form.
    pub fn program(&self) -> Option<Vec<u8>> {
        self.attribute(TCA_BPF_OPS)
    }

    /// Whether it has that option.
    pub fn has(&self, option: &TcFilterBpfOption) -> bool {
        self.0.contains(option)
    }

    /// The bytes of the attribute `kind`, if the crate does not know it.
    pub fn attribute(&self, kind: u16) -> Option<Vec<u8>> {
        self.0.iter().find_map(|option| match option {
            TcFilterBpfOption::Other(attribute) if attribute.kind() == kind => {
                let mut bytes = vec![0; attribute.value_len()];
                attribute.emit_value(&mut bytes);
                Some(bytes)
            }
            _ => None,
        })
    }
}

impl HostLinks {
    /// Makes `program` the filter at `position` on the link `index`, instead of one that is there; `more` says what
    /// becomes of frames that it matches. The link has the hooks already.
    pub(super) fn set_filter(
        &mut self,
        index: u32,
        position: Position,
        program: &FilterProgram,
        more: TcFilterBpfOption,
    ) -> std::io::Result<()> {
        let other = |kind, bytes| TcFilterBpfOption::Other(DefaultNla::new(kind, bytes));
        let length = other(TCA_BPF_OPS_LEN, program.count().to_ne_bytes().to_vec());
        let options = [length, other(TCA_BPF_OPS, program.bytes()), more];
        let options = TcAttribute::Options(options.into_iter().map(TcOption::Bpf).collect());
        let request = RouteNetlinkMessage::NewTrafficFilter(message(index, position, vec![options]));
        self.netlink.request(request, NLM_F_CREATE).map(drop)
    }

    /// The filter at `position` on the link `index`; none also where the link is gone, as one of a container is with its
    /// namespace at any time.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(super) fn filter(&mut self, index: u32, position: Position) -> Result<Option<Found>> {
        let question = RouteNetlinkMessage::GetTrafficFilter(message(index, position, Vec::new()));
        match self.netlink.request(question, 0) {
            Ok(answers) => Ok(answers.into_iter().find_map(found)),
            Err(error)
                if is_gone(&error) || matches!(errno(&error), Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::refused(format!("look at the filters of link {index}"), error)),
        }
    }
}

fn found(answer: RouteNetlinkMessage) -> Option<Found> {
    let RouteNetlinkMessage::NewTrafficFilter(message) = answer else { return None };
    let options = message.attributes.into_iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    let of_bpf = |option| if let TcOption::Bpf(option) = option { Some(option) } else { None };
    Some(Found(options.into_iter().filter_map(of_bpf).collect()))
}

/// A message about our filter at `position`, for every protocol (`ETH_P_ALL`, in network byte order).
fn message(index: u32, position: Position, mut attributes: Vec<TcAttribute>) -> TcMessage {
    let parent = TcHandle { major: TcHandle::CLSACT.major, minor: position.hook };
    let info = position.priority << 16 | u32::from(3u16.to_be());
    attributes.insert(0, TcAttribute::Kind(TcFilterBpf::KIND.into()));
    TcMessage::from_parts(TcHeader { handle: HANDLE.into(), parent, info, ..of_link(index) }, attributes)
}

pub(super) fn of_link(index: u32) -> TcHeader {
    TcHeader { index: index.cast_signed(), ..TcHeader::default() }
}
