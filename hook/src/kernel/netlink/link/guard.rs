//! The classifier at a link of ours. It sees every frame that comes out of the container.

use std::io;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, Nla};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption,
};
use nix::errno::Errno;

use super::{HostLinks, errno, is_gone};
use crate::driver::{FilterProgram, Guard};
use crate::kernel::error::{Doing, Error, Result};
use crate::model::InterfaceName;

/// The message for a kernel that cannot guard a link.
pub const NO_GUARD: &str =
    "the kernel lacks the hook clsact or the classifier bpf (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF)";

/// It runs first, so that filters of other programs see only the frames that passed.
const PRIORITY: u32 = 1;
/// Our filter's number at that priority.
const HANDLE: u32 = 1;

// Attributes of a filter of kind bpf (linux/pkt_cls.h).
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;

impl HostLinks {
    /// Installs `program` as the filter of frames that come in by the link `name`. False if the kernel has no such
    /// classifier.
    pub(super) fn guard(&mut self, index: u32, name: &InterfaceName, program: &FilterProgram) -> Result<bool> {
        let what = || format!("guard {name} against forged packets");
        for (request, flags) in
            [(RouteNetlinkMessage::NewQueueDiscipline(hooks(index)), NLM_F_EXCL), (filter(index, program), 0)]
        {
            match self.netlink.request(request, NLM_F_CREATE | flags) {
                // The port already has the qdisc, from another program or an earlier call.
                Err(error) if flags == NLM_F_EXCL && errno(&error) == Errno::EEXIST => {}
                // Without CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF or CONFIG_NET_SCHED.
                Err(error) if matches!(errno(&error), Errno::ENOENT | Errno::EOPNOTSUPP) => return Ok(false),
                result => result.map(drop).doing(what)?,
            }
        }
        Ok(true)
    }

    /// Whether the link `name` has `program` as its guard; false if the link is gone.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(in crate::kernel) fn is_guarded(&mut self, name: &InterfaceName, program: &FilterProgram) -> Result<bool> {
        let Some(link) = self.find(name)? else { return Ok(false) };
        let question = RouteNetlinkMessage::GetTrafficFilter(message(link.header.index, Vec::new()));
        match self.netlink.request(question, 0) {
            Ok(answers) => Ok(answers.iter().any(|answer| has_program(answer, program))),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(Error::refused(format!("look at the guard of {name}"), error)),
        }
    }

    /// What the guard of the link `index` lets pass; none if it has no guard of ours, or is gone.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn guard_of(&mut self, index: u32) -> Result<Option<Guard>> {
        let question = RouteNetlinkMessage::GetTrafficFilter(message(index, Vec::new()));
        match self.netlink.request(question, 0) {
            Ok(answers) => Ok(answers.iter().filter_map(program_in).find_map(|program| FilterProgram::read(&program))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(Error::refused(format!("look at the guard of link {index}"), error)),
        }
    }
}

/// Whether there is no filter, or no link any more: the link of a container is deleted with its namespace at any time.
fn is_absent(error: &io::Error) -> bool {
    is_gone(error) || matches!(errno(error), Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP)
}

/// The program of our filter in an answer of the kernel.
fn program_in(answer: &RouteNetlinkMessage) -> Option<Vec<u8>> {
    let RouteNetlinkMessage::NewTrafficFilter(message) = answer else { return None };
    let options = message.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    options.flatten().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::Other(program)) if program.kind() == TCA_BPF_OPS => {
            let mut bytes = vec![0; program.value_len()];
            program.emit_value(&mut bytes);
            Some(bytes)
        }
        _ => None,
    })
}

/// The clsact qdisc of a link, to which classifiers for both directions are attached.
fn hooks(index: u32) -> TcMessage {
    let handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    let header = TcHeader { handle, parent: TcHandle::CLSACT, ..of_link(index) };
    TcMessage::from_parts(header, vec![TcAttribute::Kind("clsact".into())])
}

fn filter(index: u32, program: &FilterProgram) -> RouteNetlinkMessage {
    let other = |kind, bytes| TcOption::Bpf(TcFilterBpfOption::Other(DefaultNla::new(kind, bytes)));
    let options = vec![
        other(TCA_BPF_OPS_LEN, program.count().to_ne_bytes().to_vec()),
        other(TCA_BPF_OPS, program.bytes()),
        TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
    ];
    RouteNetlinkMessage::NewTrafficFilter(message(index, vec![TcAttribute::Options(options)]))
}

/// A message about our filter on the ingress side of the link.
fn message(index: u32, mut attributes: Vec<TcAttribute>) -> TcMessage {
    let parent = TcHandle { major: TcHandle::CLSACT.major, minor: TcHandle::MIN_INGRESS };
    // The priority, and every protocol (`ETH_P_ALL`) in network byte order.
    let info = PRIORITY << 16 | u32::from(3u16.to_be());
    attributes.insert(0, TcAttribute::Kind(TcFilterBpf::KIND.into()));
    TcMessage::from_parts(TcHeader { handle: HANDLE.into(), parent, info, ..of_link(index) }, attributes)
}

fn of_link(index: u32) -> TcHeader {
    TcHeader { index: index.cast_signed(), ..TcHeader::default() }
}

fn has_program(answer: &RouteNetlinkMessage, program: &FilterProgram) -> bool {
    let RouteNetlinkMessage::NewTrafficFilter(message) = answer else { return false };
    let options = message.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    let mut options = options.flatten();
    let bytes = program.bytes();
    let direct = TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction));
    let ours = TcOption::Bpf(TcFilterBpfOption::Other(DefaultNla::new(TCA_BPF_OPS, bytes)));
    let (mut is_ours, mut decides) = (false, false);
    options.by_ref().for_each(|option| {
        is_ours |= *option == ours;
        decides |= *option == direct;
    });
    is_ours && decides
}
