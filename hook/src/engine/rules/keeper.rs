//! Which firewall keeps the rules. The store says it, since a host has one at a time; before the store says any, it is
//! the one that config.toml asks for.

use std::os::fd::BorrowedFd;

use crate::engine::Result;
use crate::firewall::{Backend, Kind};
use crate::input::config::Firewall;
use crate::kernel;
use crate::store::{HostRow, Store};

/// The firewall that keeps the rules.
pub(in crate::engine) struct Keeper {
    /// What config.toml says.
    setting: Firewall,
    /// Opened when it is first needed and kept open, since closing it can take long.
    open: Option<(Kind, Box<dyn Backend<Error = kernel::Error>>)>,
}

impl Keeper {
    pub fn new(setting: Firewall) -> Self {
        Self { setting, open: None }
    }

    /// Which firewall keeps the rules by `row`, or would.
    pub fn kind_of(&self, row: &HostRow) -> Result<Kind> {
        row.firewall.map_or_else(|| self.chosen(), Ok)
    }

    /// Which firewall keeps the rules, or would.
    pub fn kind(&self, store: &Store) -> Result<Kind> {
        self.kind_of(&store.read().host_row()?)
    }

    /// Whether the rules are kept by the firewall of config.toml, and by no other.
    pub fn is_as_configured(&self, row: &HostRow) -> bool {
        row.firewall.is_some_and(|kind| kernel::suits(self.setting, kind)) && row.former_firewalls.is_empty()
    }

    /// The firewall of config.toml: that of `row`, where it is one of those that are asked for.
    pub fn configured(&self, row: &HostRow) -> Result<Kind> {
        row.firewall.filter(|kind| kernel::suits(self.setting, *kind)).map_or_else(|| self.chosen(), Ok)
    }

    fn chosen(&self) -> Result<Kind> {
        Ok(kernel::choose(self.setting)?.kind)
    }

    /// The firewall that `row` names. Other processes may move the rules unless its lock is held.
    pub fn backend_of(&mut self, row: &HostRow) -> Result<&mut dyn Backend<Error = kernel::Error>> {
        let kind = self.kind_of(row)?;
        let open = self.open.take().filter(|(open, _)| *open == kind);
        let open = match open {
            Some(open) => open,
            None => (kind, kernel::backend(kind)?),
        };
        Ok(self.open.insert(open).1.as_mut())
    }

    /// The sockets that take the kernel long to close after elements of the firewall were deleted.
    pub fn slow_sockets(&self) -> Vec<BorrowedFd<'_>> {
        self.open.as_ref().map(|(_, backend)| backend.slow_sockets()).unwrap_or_default()
    }
}
