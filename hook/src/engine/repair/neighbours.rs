//! The host's permanent neighbour entries whose containers the store does not know.

use std::net::IpAddr;

use crate::driver::Undo;
use crate::engine::{Engine, Result};
use crate::kernel::perform;
use crate::model::InterfaceName;

impl Engine {
    /// Permanent entries on the bridges of our networks for addresses that no container holds, each with its bridge.
    /// They are left where the store was lost after a container's link was gone, and before its address was free.
    pub(in crate::engine) fn stray_neighbours(&mut self) -> Result<Vec<(InterfaceName, IpAddr)>> {
        let mut stray = self.seen_as_stray()?;
        if !stray.is_empty() {
            // A drain deletes an entry before its address is free, so the second look does not find it.
            let again = self.seen_as_stray()?;
            stray.retain(|one| again.contains(one));
        }
        Ok(stray)
    }

    fn seen_as_stray(&mut self) -> Result<Vec<(InterfaceName, IpAddr)>> {
        let mut stray = Vec::new();
        for network in self.store.read().networks()? {
            let Some(link) = network.link() else { continue };
            // An address is leased before its entry is made, and longer than that lasts. So the entries come first.
            for address in perform::permanent_neighbours(&mut self.links, link)? {
                let is_ours = network.subnets.iter().any(|subnet| subnet.range.contains(&address));
                if is_ours && self.store.read().address_holder(&network.name, address)?.is_none() {
                    stray.push((link.clone(), address));
                }
            }
        }
        Ok(stray)
    }

    /// Deletes those entries. If a container gets such an address in this moment, it may lose its entry: packets to it
    /// wait for ARP then, until the next repair.
    pub(in crate::engine) fn forget_stray_neighbours(&mut self) -> Result<()> {
        for (link, address) in self.stray_neighbours()? {
            perform::undo(&mut self.links, &mut self.flows, &Undo::Neighbour { link, address })?;
        }
        Ok(())
    }
}
