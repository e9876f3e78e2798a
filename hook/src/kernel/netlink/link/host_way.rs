//! The way of a container's frames to the host where the bridge is to see none of them: from the port to the bridge's own
//! interface, as if they had passed.

use netlink_packet_core::{DefaultNla, Emitable, NlaBuffer, Parseable};
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionGeneric, TcActionMirror, TcActionMirrorOption, TcActionOption, TcActionType,
    TcFilterBpfOption, TcHandle, TcMirror, TcMirrorActionType,
};
use nix::errno::Errno;

use super::filter::Position;
use super::read::mac;
use super::{HostLinks, errno};
use crate::driver::{FilterProgram, Veth};
use crate::kernel::error::{Doing, Result};

/// The message for a kernel that cannot lead frames past the bridge.
pub const NO_REDIRECT: &str = "the kernel lacks the action mirred (CONFIG_NET_ACT_MIRRED)";

/// After the guard.
const PLACE: Position = Position { hook: TcHandle::MIN_INGRESS, priority: 2 };

/// The actions of a filter of kind bpf (linux/pkt_cls.h).
const TCA_BPF_ACT: u16 = 1;

impl HostLinks {
    /// Leads the frames to the host that come in by `port`, with this index, to its bridge's own interface, where they
    /// are to go there. False if the kernel has no such action.
    pub(super) fn lead_to_host(&mut self, index: u32, port: &Veth) -> Result<bool> {
        let Some(host) = port.host_mac else { return Ok(true) };
        let actions = [redirect(self.bridge_index(&port.bridge)?)];
        let mut bytes = vec![0; actions.as_slice().buffer_len()];
        actions.as_slice().emit(&mut bytes);
        let actions = TcFilterBpfOption::Other(DefaultNla::new(TCA_BPF_ACT, bytes));
        match self.set_filter(index, PLACE, &FilterProgram::to_station(host), actions) {
            Err(error) if matches!(errno(&error), Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(false),
            result => result.doing(|| format!("lead frames of {} to the host", port.name)).map(|()| true),
        }
    }

    /// Whether frames to the host that come in by `port` go to its bridge's own interface, where they are to go there;
    /// false if a link is gone.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(in crate::kernel) fn is_led_to_host(&mut self, port: &Veth) -> Result<bool> {
        let Some(host) = port.host_mac else { return Ok(true) };
        let (Some(bridge), Some(link)) = (self.find(&port.bridge)?, self.find(&port.name)?) else { return Ok(false) };
        let Some(found) = self.filter(link.header.index, PLACE)? else { return Ok(false) };
        let action = found.attribute(TCA_BPF_ACT).and_then(|bytes| first_redirect(&bytes));
        Ok(mac(&link) == Some(host)
            && found.program() == Some(FilterProgram::to_station(host).bytes())
            && action == Some(bridge.header.index))
    }
}

/// Takes a frame as if it had come in by the link `index`.
fn redirect(index: u32) -> TcAction {
    let mut parameters = TcMirror::default();
    let mut generic = TcActionGeneric::default();
    generic.action = TcActionType::Stolen;
    parameters.generic = generic;
    parameters.eaction = TcMirrorActionType::IngressRedir;
    parameters.ifindex = index;
    let mut action = TcAction::default();
    let options = TcActionOption::Mirror(TcActionMirrorOption::Parms(parameters));
    action.attributes =
        vec![TcActionAttribute::Kind(TcActionMirror::KIND.into()), TcActionAttribute::Options(vec![options])];
    action
}

/// The link by which the first action takes frames, if it does that.
fn first_redirect(actions: &[u8]) -> Option<u32> {
    let action = TcAction::parse(&NlaBuffer::new_checked(actions).ok()?).ok()?;
    let options = action.attributes.into_iter().find_map(|attribute| match attribute {
        TcActionAttribute::Options(options) => Some(options),
        _ => None,
    });
    options?.into_iter().find_map(|option| match option {
        TcActionOption::Mirror(TcActionMirrorOption::Parms(parameters))
            if parameters.eaction == TcMirrorActionType::IngressRedir =>
        {
            Some(parameters.ifindex)
        }
        _ => None,
    })
}
