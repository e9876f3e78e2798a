//! Switching IP forwarding on and off, of each family by itself: once after a boot at the most, so it may take its
//! time.
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
use crate::firewall::{Inventory, NetworkNeeds};
use crate::kernel::{self, HostLinks};
use crate::model::{Families, Family};
use crate::store::{self, Forwarding, Store, Write};

impl Rules {
    /// The host forwards all `families`, and the firewall holds all that the store says.
    pub fn forward(&mut self, families: Families, store: &mut Store, links: &mut HostLinks) -> Result<()> {
        families.iter().try_for_each(|family| self.forward_family(family, store, links))
    }

    fn forward_family(&mut self, family: Family, store: &mut Store, links: &mut HostLinks) -> Result<()> {
        let _alone = alone_at_firewall(&self.locks)?;
        let before = store.read().host_row()?.forwarding_of(family);
        if before == Forwarding::OfOthers {
            kernel::refuse_partial_forwarding(family)?;
        }
        if (before != Forwarding::OfOthers || self.close_forwarding) && !kernel::forwarding(family)? {
            remember_intent(family, store)?;
        }
        if let Err(error) = self.reload_if_different_locked(store, links) {
            // Rules that close the host may be loaded all the same. They are to be known as ours, and so where nothing
            // can be seen.
            let row = store.read().host_row()?;
            let closes = |held: Inventory| held.closes_forwarding.contains(family);
            let is_open = self.keeper.backend_of(&row)?.inventory().is_ok_and(|held| !closes(held));
            return Err(if is_open { error.after(forget_intent(family, store)) } else { error });
        }
        match kernel::switch_forwarding_on(family) {
            Ok(()) if intends_to_forward(family, store)? => {
                Ok(store.write(|store| store.set_forwarding(family, Forwarding::Ours))?)
            }
            Ok(()) => Ok(()),
            Err(error) => {
                // A person may make the host a router later.
                let undone = forget_intent(family, store).and_then(|()| self.reload_if_different_locked(store, links));
                Err(Error::from(error).after(undone))
            }
        }
    }
}

/// The families of `networks`, and IPv4 in any case, that the host does not forward.
pub(in crate::engine) fn not_forwarded<'n>(mut networks: impl Iterator<Item = &'n NetworkNeeds>) -> Result<Families> {
    let needed = if networks.any(NetworkNeeds::has_ipv6) { &Family::ALL[..] } else { &[Family::V4] };
    let mut missing = Families::default();
    for family in needed {
        if !kernel::forwarding(*family)? {
            missing = missing.with(*family);
        }
    }
    Ok(missing)
}

/// Remembers that we are about to switch forwarding on, with all that is to be undone then.
fn remember_intent(family: Family, store: &mut Store) -> Result<()> {
    let changes = kernel::changes_to_forward(family)?;
    let write = |store: &Write<'_>| {
        if store.host_row()?.forwarding_of(family) == Forwarding::OfOthers {
            store.set_forwarding(family, Forwarding::Intended)?;
        }
        if changes.is_empty() { Ok(()) } else { store.add_changed(&changes) }
    };
    Ok(store.write::<_, store::Error>(write)?)
}

fn intends_to_forward(family: Family, store: &Store) -> Result<bool> {
    Ok(store.read().host_row()?.forwarding_of(family) == Forwarding::Intended)
}

/// Takes back in the store that we are about to switch forwarding on.
fn forget_intent(family: Family, store: &mut Store) -> Result<()> {
    if !intends_to_forward(family, store)? {
        return Ok(());
    }
    Ok(store.write(|store| store.set_forwarding(family, Forwarding::OfOthers))?)
}

/// Switches forwarding of those families off of which we switched it on, and returns the settings of each. To be called
/// while the rules still close the host, and before the store forgets it.
pub(in crate::engine) fn forward_no_more(store: &Store) -> Result<Vec<Vec<Setting>>> {
    let row = store.read().host_row()?;
    let ours = Family::ALL.into_iter().filter(|family| row.forwarding_of(*family) != Forwarding::OfOthers);
    // Also what an earlier try that was cut off has left.
    let off = ours.map(|family| Ok(kernel::switch_forwarding_off(family)?));
    let off: Vec<Vec<Setting>> = off.collect::<Result<_>>()?;
    Ok(off.into_iter().filter(|settings| !settings.is_empty()).collect())
}
