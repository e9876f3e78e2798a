//! Switching IP forwarding on and off: once after a boot at the most, so it may take its time.
//!
//! Two things must hold whatever fails or is killed:
//!
//! - The host never becomes an open router. The rules that drop what is forwarded between links of which none is ours are
//!   loaded before forwarding is switched on, and go after it was switched off.
//! - A router that was made by another program or a person stays one. It is neither closed by rules nor switched off.
//!
//! So the store has [`Forwarding::Intended`] before the switch, while forwarding is still off, and [`Forwarding::Ours`]
//! after it. Where the rules or the switch fail, it has [`Forwarding::OfOthers`] again. A process that is killed in between leaves
//! `Intended`, which counts as ours, since forwarding was off before.

use crate::driver::Setting;
use crate::engine::locks::alone_at_firewall;
use crate::engine::{Engine, Error, Result};
use crate::kernel;
use crate::store::Forwarding;

impl Engine {
    /// The host forwards, and the firewall holds all that the store says.
    pub(in crate::engine) fn forward(&mut self) -> Result<()> {
        let _alone = alone_at_firewall(&self.locks)?;
        let before = self.store.read().host_row()?.forwarding;
        if before == Forwarding::OfOthers && self.config.close_forwarding && !kernel::forwarding()? {
            self.store.write(|store| store.set_forwarding(Forwarding::Intended))?;
        }
        if let Err(error) = self.reload_if_different_locked() {
            // The firewall holds what it held before.
            return Err(error.after(self.forget_intent()));
        }
        match kernel::set(&[Setting::forwarding()]) {
            Ok(()) if self.intends_to_forward()? => {
                Ok(self.store.write(|store| store.set_forwarding(Forwarding::Ours))?)
            }
            Ok(()) => Ok(()),
            Err(error) => {
                // A person may make the host a router later.
                let undone = self.forget_intent().and_then(|()| self.reload_if_different_locked());
                Err(Error::from(error).after(undone))
            }
        }
    }

    fn intends_to_forward(&self) -> Result<bool> {
        Ok(self.store.read().host_row()?.forwarding == Forwarding::Intended)
    }

    /// Takes back in the store that we are about to switch forwarding on.
    fn forget_intent(&mut self) -> Result<()> {
        if !self.intends_to_forward()? {
            return Ok(());
        }
        Ok(self.store.write(|store| store.set_forwarding(Forwarding::OfOthers))?)
    }

    /// Switches forwarding off if we switched it on; true where it did. To be called while the rules still close the host, and
    /// before the store forgets it.
    pub(in crate::engine) fn forward_no_more(&mut self) -> Result<bool> {
        let is_ours = self.store.read().host_row()?.forwarding != Forwarding::OfOthers && kernel::forwarding()?;
        if is_ours {
            kernel::switch_forwarding_off()?;
        }
        Ok(is_ours)
    }
}
