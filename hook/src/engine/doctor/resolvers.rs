//! What containers know of the host's name servers.

use super::Finding;
use crate::engine::{Engine, Result};

impl Engine {
    /// The containers that were told of other name servers than the host has by now.
    pub(super) fn examine_resolvers(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for record in self.store.read().records()? {
            if self.outdated_resolver(&record, &self.config.dns_fallback)?.is_some() {
                let trouble = "has an /etc/resolv.conf from before the host's changed";
                findings.push(Finding::ours(format!("container {}", record.container), trouble));
            }
        }
        Ok(findings)
    }
}
