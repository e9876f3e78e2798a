//! The classifiers at a link of ours. They see every frame that comes out of the container, and that goes into it.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcHeader, TcMessage};
use nix::errno::Errno;

use super::filter::{Position, of_link};
use super::{HostLinks, errno};
use crate::driver::{FilterProgram, Guard};
use crate::kernel::error::{Doing, Result};
use crate::model::InterfaceName;

/// The message for a kernel that cannot guard a link.
pub const NO_GUARD: &str =
    "the kernel lacks the hook clsact or the classifier bpf (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF)";

/// They run first, so that filters of other programs see only the frames that passed.
const GUARD: Position = Position { hook: TcHandle::MIN_INGRESS, priority: 1 };
const INTAKE: Position = Position { hook: TcHandle::MIN_EGRESS, priority: 1 };

/// The result of the program is the verdict.
const DIRECT: TcFilterBpfOption = TcFilterBpfOption::Flags(TcBpfFlags::DirectAction);

impl HostLinks {
    /// Installs `guard` as the filter of frames that come in by the link `name`, and `intake`, where there is one, as that
    /// of frames that go out by it. False if the kernel has no such classifiers.
    pub(super) fn guard(
        &mut self,
        index: u32,
        name: &InterfaceName,
        guard: &FilterProgram,
        intake: Option<&FilterProgram>,
    ) -> Result<bool> {
        let hooks = RouteNetlinkMessage::NewQueueDiscipline(hooks(index));
        let hooked = match self.netlink.request(hooks, NLM_F_CREATE | NLM_F_EXCL) {
            // The port already has the qdisc, from another program or an earlier call.
            Err(error) if errno(&error) == Errno::EEXIST => Ok(()),
            result => result.map(drop),
        };
        let filtered = hooked.and_then(|()| {
            // First: where the guard is there, so is this, also after a kill in between.
            let intake = intake.map_or(Ok(()), |intake| self.set_filter(index, INTAKE, intake, DIRECT));
            self.set_filter(index, GUARD, guard, DIRECT).and(intake)
        });
        match filtered {
            // Without CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF or CONFIG_NET_SCHED.
            Err(error) if matches!(errno(&error), Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(false),
            result => result.doing(|| format!("guard {name} against forged packets")).map(|()| true),
        }
    }

    /// Whether the link `name` has `program` as its guard; false if the link is gone.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(in crate::kernel) fn is_guarded(&mut self, name: &InterfaceName, program: &FilterProgram) -> Result<bool> {
        self.has_program(name, GUARD, program)
    }

    /// Whether the link `name` has `program` as the filter of what goes out by it; false if the link is gone.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(in crate::kernel) fn has_intake(&mut self, name: &InterfaceName, program: &FilterProgram) -> Result<bool> {
        self.has_program(name, INTAKE, program)
    }

    fn has_program(&mut self, name: &InterfaceName, position: Position, program: &FilterProgram) -> Result<bool> {
        let Some(link) = self.find(name)? else { return Ok(false) };
        let found = self.filter(link.header.index, position)?;
        Ok(found.is_some_and(|found| found.program() == Some(program.bytes()) && found.has(&DIRECT)))
    }

    /// What the guard of the link `index` lets pass; none if it has no guard of ours, or is gone.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn guard_of(&mut self, index: u32) -> Result<Option<Guard>> {
        let program = self.filter(index, GUARD)?.and_then(|found| found.program());
        Ok(program.and_then(|program| FilterProgram::read(&program)))
    }
}

/// The clsact qdisc of a link, to which classifiers for both directions are attached.
fn hooks(index: u32) -> TcMessage {
    let handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    let header = TcHeader { handle, parent: TcHandle::CLSACT, ..of_link(index) };
    TcMessage::from_parts(header, vec![TcAttribute::Kind("clsact".into())])
}
