//! The input loop: who calls for it, and when its link pair comes and goes.

use super::keeper::Keeper;
use crate::engine::Result;
use crate::engine::locks::alone_at_firewall;
use crate::firewall::InputLoop;
use crate::input::config::PublishedPorts;
use crate::kernel::{HostLinks, LockFile};
use crate::store::{HostRow, Store};

/// The input loop as `row` calls for it, by which all commands go.
pub(super) fn input_loop_of(row: &HostRow, keeper: &Keeper, links: &mut HostLinks) -> Result<InputLoop> {
    if is_used(row, keeper)? { Ok(links.input_loop()?) } else { Ok(InputLoop::Unused) }
}

/// The input loop as config.toml calls for it: the next attach stores that.
pub(in crate::engine) fn input_loop_by(published_ports: PublishedPorts, links: &mut HostLinks) -> Result<InputLoop> {
    match published_ports {
        PublishedPorts::Open => Ok(InputLoop::Unused),
        PublishedPorts::RespectHostFirewall => Ok(links.input_loop()?),
    }
}

/// Whether the host's own rules decide which hosts reach a published port.
fn is_used(row: &HostRow, keeper: &Keeper) -> Result<bool> {
    Ok(row.respect_host_firewall && keeper.kind_of(row)?.has_rules())
}

/// Stores the setting `published_ports`, for commands that do not read config.toml. Where the rules are not of that
/// kind, the next command that checks them loads them again.
pub(super) fn store_setting(
    published_ports: PublishedPorts,
    row: &HostRow,
    store: &mut Store,
    locks: &LockFile,
) -> Result<()> {
    let asks = published_ports == PublishedPorts::RespectHostFirewall;
    if row.respect_host_firewall == asks {
        return Ok(());
    }
    let _alone = alone_at_firewall(locks)?;
    Ok(store.write(|store| store.set_respect_host_firewall(asks))?)
}

/// Whether the link pair is whole where it is used, and absent where not.
pub(in crate::engine) fn is_input_loop_as_needed(input_loop: InputLoop, links: &mut HostLinks) -> Result<bool> {
    match input_loop {
        InputLoop::Unused => Ok(links.is_input_loop_gone()?),
        InputLoop::ToBeMade | InputLoop::Made { .. } => Ok(links.has_input_loop()?),
    }
}

/// The link pair while the rules that name it are loaded.
pub(super) struct LinkPair {
    is_used: bool,
    was_made: bool,
}

impl LinkPair {
    /// The link pair as it is, and as `row` calls for it.
    pub fn of(row: &HostRow, keeper: &Keeper, links: &mut HostLinks) -> Result<Self> {
        Ok(Self { is_used: is_used(row, keeper)?, was_made: links.input_loop()? != InputLoop::ToBeMade })
    }

    /// Makes it, or completes it, where it is used.
    pub fn before_load(&self, links: &mut HostLinks) -> Result<()> {
        if self.is_used { Ok(links.make_input_loop()?) } else { Ok(()) }
    }

    /// Deletes it, or the part of it that could be made, where no rules in the kernel use it: the rules were `loaded`,
    /// or the earlier ones stayed.
    pub fn after_load(self, loaded: bool, links: &mut HostLinks) -> Result<()> {
        let stays = if loaded { self.is_used } else { self.was_made };
        if stays { Ok(()) } else { Ok(links.delete_input_loop()?) }
    }
}
