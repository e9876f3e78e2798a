//! Switching IP forwarding on and off: once after a boot at the most, so it may take its time.
//!
//! Two things must hold whatever fails or is killed. The host never becomes an open router for its neighbours: the rules
//! that close it to them are loaded before it forwards, and go after it does no more. And who was a router before us
//! stays one: what others switched on is neither closed nor switched off. So the store says "intended" before anything
//! is changed, when forwarding is still off, "ours" when it was switched on, and nothing again when that failed. Until
//! one of these is written, "intended" counts as ours: forwarding was off before.

use super::{Engine, Error, Result};
use crate::driver::Setting;
use crate::kernel;
use crate::store::Forwarding;

impl Engine {
    /// The host forwards, and the firewall holds all that the store says.
    pub(super) fn forward(&mut self) -> Result<()> {
        let _alone = self.alone_at_firewall()?;
        let before = self.store.read().host_row()?.forwarding;
        if before == Forwarding::OfOthers && self.config.close_forwarding && !kernel::forwarding()? {
            self.store.write(|store| store.set_forwarding(Forwarding::Intended))?;
        }
        self.load_if_different()?;
        let switched = kernel::set(&[Setting::forwarding()]);
        let intended = self.store.read().host_row()?.forwarding == Forwarding::Intended;
        match switched {
            Ok(()) if intended => Ok(self.store.write(|store| store.set_forwarding(Forwarding::Ours))?),
            Err(error) if intended => Err(self.give_up_forwarding(error.into())),
            result => Ok(result?),
        }
    }

    /// Forgets an intent that came to nothing, and opens the rules again: the host may become a router by others' hands.
    fn give_up_forwarding(&mut self, error: Error) -> Error {
        let written: Result<()> = self.store.write(|store| Ok(store.set_forwarding(Forwarding::OfOthers)?));
        match written.and_then(|()| self.load_if_different()) {
            Ok(()) => error,
            Err(detach) => Error::Rollback { attach: error.into(), detach: detach.into() },
        }
    }

    /// The host forwards no more if that was our work; true where it was. Comes before the rules go that kept strangers from
    /// using it, and the store is to forget it, or to go, after them.
    pub(super) fn forward_no_more(&mut self) -> Result<bool> {
        let is_ours = self.store.read().host_row()?.forwarding != Forwarding::OfOthers && kernel::forwarding()?;
        if is_ours {
            kernel::switch_forwarding_off()?;
        }
        Ok(is_ours)
    }
}
