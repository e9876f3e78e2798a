//! Switching IP forwarding on and off: once after a boot at the most, so it may take its time.
//!
//! Two things must hold whatever fails or is killed:
//!
//! - The host never becomes an open router. The rules that drop what is forwarded between links of which none is ours
//!   are loaded before forwarding is switched on, and go after it was switched off.
//! - A router that was made by another program or a person stays one. It is neither closed by rules nor switched off.
//!
//! So the store has [`Forwarding::Intended`] before the switch, while forwarding is still off, and [`Forwarding::Ours`]
//! after it. Where the rules or the switch fail, it has [`Forwarding::OfOthers`] again. A process that is killed in
//! between leaves `Intended`, which counts as ours, since forwarding was off before.

use super::ruleset::Rules;
use crate::driver::Setting;
use crate::engine::locks::alone_at_firewall;
use crate::engine::{Error, Result};
use crate::kernel::{self, HostLinks};
use crate::store::{Forwarding, Store};

impl Rules {
    /// The host forwards, and the firewall holds all that the store says.
    pub fn forward(&mut self, store: &mut Store, links: &mut HostLinks) -> Result<()> {
        let _alone = alone_at_firewall(&self.locks)?;
        let before = store.read().host_row()?.forwarding;
        if before == Forwarding::OfOthers && self.close_forwarding && !kernel::forwarding()? {
            store.write(|store| store.set_forwarding(Forwarding::Intended))?;
        }
        if let Err(error) = self.reload_if_different_locked(store, links) {
            // Rules that close the host may be loaded all the same. They are to be known as ours, and so where nothing
            // can be seen.
            let row = store.read().host_row()?;
            let is_open = self.keeper.backend_of(&row)?.inventory().is_ok_and(|held| !held.closes_forwarding);
            return Err(if is_open { error.after(forget_intent(store)) } else { error });
        }
        match kernel::set(&[Setting::forwarding()]) {
            Ok(()) if intends_to_forward(store)? => Ok(store.write(|store| store.set_forwarding(Forwarding::Ours))?),
            Ok(()) => Ok(()),
            Err(error) => {
                // A person may make the host a router later.
                let undone = forget_intent(store).and_then(|()| self.reload_if_different_locked(store, links));
                Err(Error::from(error).after(undone))
            }
        }
    }
}

fn intends_to_forward(store: &Store) -> Result<bool> {
    Ok(store.read().host_row()?.forwarding == Forwarding::Intended)
}

/// Takes back in the store that we are about to switch forwarding on.
fn forget_intent(store: &mut Store) -> Result<()> {
    if !intends_to_forward(store)? {
        return Ok(());
    }
    Ok(store.write(|store| store.set_forwarding(Forwarding::OfOthers))?)
}

/// Switches forwarding off if we switched it on; true where it did. To be called while the rules still close the host,
/// and before the store forgets it.
pub(in crate::engine) fn forward_no_more(store: &Store) -> Result<bool> {
    let is_ours = store.read().host_row()?.forwarding != Forwarding::OfOthers && kernel::forwarding()?;
    if is_ours {
        kernel::switch_forwarding_off()?;
    }
    Ok(is_ours)
}
