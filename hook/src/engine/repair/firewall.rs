use crate::engine::rules::not_forwarded;
use crate::engine::{Engine, Result};
use crate::firewall::NetworkNeeds;
use crate::model::{Families, Family};

impl Engine {
    /// Loads the ruleset where another program took it away, or a part of it. True where it did. The host forwards IPv6
    /// again where a write to `net.ipv6.conf.all.forwarding` ended that, and a network needs it.
    ///
    /// # Errors
    /// Those of the kernel and the store.
    pub fn repair_firewall(&mut self) -> Result<bool> {
        let needs: Vec<NetworkNeeds> = self.store.read().networks()?.iter().filter_map(NetworkNeeds::of).collect();
        let has_rules = self.rules.keeper.kind(&self.store)?.has_rules();
        if has_rules && not_forwarded(needs.iter())?.contains(Family::V6) {
            self.rules.forward(Families::default().with(Family::V6), &mut self.store, &mut self.links)?;
            // It took forwarding from the links on which the host answers its neighbours, too.
            self.answer_for_all()?;
        }
        self.rules.repair(&self.store, &mut self.links)
    }
}
