use crate::engine::{Engine, Result};

impl Engine {
    /// Loads the ruleset where another program took it away, or a part of it. True where it did.
    ///
    /// # Errors
    /// Those of the kernel and the store.
    pub fn repair_firewall(&mut self) -> Result<bool> {
        self.rules.repair(&self.store, &mut self.links)
    }
}
