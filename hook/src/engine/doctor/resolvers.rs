//! Name servers of containers that differ from the host's.

use super::Finding;
use crate::engine::{Engine, Result};

impl Engine {
    /// The containers that were told of other name servers than the host has by now.
    pub(super) fn examine_resolvers(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for sandbox in self.store.read().sandboxes()? {
            let subject = format!("container {}", sandbox.container);
            match self.files.outdated_resolver(&sandbox, &self.config.dns_fallback) {
                Ok(None) => {}
                Ok(Some(_)) => {
                    findings.push(Finding::ours(subject, "has an /etc/resolv.conf from before the host's changed"));
                }
                Err(error) => findings.push(Finding::unexamined(subject, &error)),
            }
        }
        Ok(findings)
    }
}
