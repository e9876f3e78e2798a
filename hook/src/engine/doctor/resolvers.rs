//! Name servers of containers that differ from the host's.

use std::net::IpAddr;

use super::Finding;
use crate::engine::Result;
use crate::engine::files::ContainerFiles;
use crate::store::Store;

/// The containers that were told of other name servers than the host has by now.
pub(super) fn examine(store: &Store, files: &ContainerFiles, fallback: &[IpAddr]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for sandbox in store.read().sandboxes()? {
        let subject = format!("container {}", sandbox.container);
        match files.outdated_resolver(&sandbox, fallback) {
            Ok(None) => {}
            Ok(Some(_)) => {
                findings.push(Finding::ours(subject, "has an /etc/resolv.conf from before the host's changed"));
            }
            Err(error) => findings.push(Finding::unexamined(subject, &error)),
        }
    }
    Ok(findings)
}
