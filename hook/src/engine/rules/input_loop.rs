//! The input loop: who calls for it, and when its link pair comes and goes.

use crate::engine::locks::alone_at_firewall;
use crate::engine::{Engine, Result};
use crate::firewall::InputLoop;
use crate::input::config::PublishedPorts;
use crate::store::HostRow;

impl Engine {
    /// The input loop as `row` calls for it, by which all commands go.
    pub(in crate::engine) fn input_loop_of(&mut self, row: &HostRow) -> Result<InputLoop> {
        let is_used = self.respects_host_firewall(row)?;
        self.input_loop_if(is_used)
    }

    /// The input loop as config.toml calls for it: the next attach stores that.
    pub(in crate::engine) fn input_loop_of_config(&mut self) -> Result<InputLoop> {
        self.input_loop_if(self.config.published_ports == PublishedPorts::RespectHostFirewall)
    }

    fn input_loop_if(&mut self, is_used: bool) -> Result<InputLoop> {
        if is_used { Ok(self.links.input_loop()?) } else { Ok(InputLoop::Unused) }
    }

    /// Whether the host's own rules decide which hosts reach a published port.
    fn respects_host_firewall(&self, row: &HostRow) -> Result<bool> {
        Ok(row.respect_host_firewall && self.keeper.kind_of(row)?.has_rules())
    }

    /// Stores the setting `published_ports`, for commands that do not read config.toml. Where the rules are not of that kind,
    /// the next command that checks them loads them again.
    pub(in crate::engine) fn store_published_ports_setting(&mut self, row: &HostRow) -> Result<()> {
        let asks = self.config.published_ports == PublishedPorts::RespectHostFirewall;
        if row.respect_host_firewall == asks {
            return Ok(());
        }
        let _alone = alone_at_firewall(&self.locks)?;
        Ok(self.store.write(|store| store.set_respect_host_firewall(asks))?)
    }

    /// Whether the link pair is whole where it is used, and absent where not.
    pub(in crate::engine) fn is_input_loop_as_needed(&mut self, input_loop: InputLoop) -> Result<bool> {
        match input_loop {
            InputLoop::Unused => Ok(self.links.input_loop()? == InputLoop::ToBeMade),
            InputLoop::ToBeMade | InputLoop::Made { .. } => Ok(self.links.has_input_loop()?),
        }
    }

    /// Runs `load`, which loads the rules. The link pair that they name is made before, and goes where no rules in the kernel use it
    /// then.
    pub(super) fn load_with_input_loop(&mut self, load: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let is_used = self.respects_host_firewall(&self.store.read().host_row()?)?;
        let was_made = self.links.input_loop()? != InputLoop::ToBeMade;
        if is_used {
            self.links.make_input_loop()?;
        }
        let loaded = load(self);
        let stays = if loaded.is_ok() { is_used } else { was_made };
        if !stays {
            self.links.delete_input_loop()?;
        }
        loaded
    }
}
