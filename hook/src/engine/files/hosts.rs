//! The `/etc/hosts` of containers that run: it follows the networks that they are on.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::decide::files::{self, File};
use crate::decide::identity::LOCALHOST;
use crate::engine::{Engine, Result};
use crate::kernel;
use crate::model::{Sandbox, State};

/// Longer than any that we write.
const MAX_BYTES: usize = 1 << 20;

impl Engine {
    /// Brings the container's own addresses in its file up to date, from all of `before` to those of `after`, and those
    /// of the host. A file that is none of ours stays. The caller holds the lock of the sandbox.
    pub(in crate::engine) fn rewrite_hosts(&self, before: &Sandbox, after: &Sandbox) -> Result<()> {
        match self.moved_hosts(before, after)? {
            Some((path, text)) => Ok(kernel::rewrite(&path, &text)?),
            None => Ok(()),
        }
    }

    /// The file that would change, and its new text; none where none would.
    pub(in crate::engine) fn moved_hosts(
        &self,
        before: &Sandbox,
        after: &Sandbox,
    ) -> Result<Option<(PathBuf, String)>> {
        let path = self.files.of(&after.key()).join(File::Hosts.name());
        let Some(there) = kernel::read_regular(&path, MAX_BYTES)? else { return Ok(None) };
        let there = String::from_utf8_lossy(&there);
        let addresses = [&before.every_address()[..], &after.own_addresses()];
        let text = files::hosts_moved(&there, addresses, (&self.gateways_of(before)?, after.gateway()));
        Ok((text != there).then_some((path, text)))
    }

    /// What a line for the host can say in the file of `sandbox`: where a connect or disconnect of it was cut off, its
    /// default route may have moved already, and the line not.
    fn gateways_of(&self, sandbox: &Sandbox) -> Result<Vec<IpAddr>> {
        let mut gateways = vec![sandbox.gateway().unwrap_or(LOCALHOST)];
        for endpoint in sandbox.endpoints.iter().filter(|endpoint| endpoint.state != State::Attached) {
            let network = self.store.read().network(&endpoint.network)?;
            let subnets = network.iter().flat_map(|network| &network.subnets);
            gateways.extend(subnets.filter_map(|subnet| subnet.gateway.address()));
        }
        Ok(gateways)
    }
}
