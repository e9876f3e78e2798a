//! The `/etc/resolv.conf` of containers that run: it follows the host's, which changes when a machine moves to another network.

use std::net::IpAddr;
use std::path::PathBuf;

use slog::info;

use crate::decide::files::{File, Reach};
use crate::engine::sandbox::host_resolver;
use crate::engine::{Engine, Failures, Result};
use crate::kernel;
use crate::model::{Sandbox, State};

/// Longer than any that we write.
const MAX_BYTES: usize = 64 << 10;

impl Engine {
    /// Brings each container's file up to date, and returns the containers whose file changed. `fallback` is what a container
    /// gets where the host has no server for it. What fails for one container is noted in `failures`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn refresh_resolvers(&mut self, fallback: &[IpAddr], failures: &mut Failures) -> Result<Vec<String>> {
        let mut refreshed = Vec::new();
        for sandbox in self.sandboxes()? {
            let result = self.refresh_resolver(&sandbox, fallback);
            if failures.note(format!("container {}", sandbox.container), result)? == Some(true) {
                refreshed.push(sandbox.container.to_string());
            }
        }
        Ok(refreshed)
    }

    fn refresh_resolver(&mut self, sandbox: &Sandbox, fallback: &[IpAddr]) -> Result<bool> {
        // An attach or detach of it is at work: the one writes the file, the other removes it.
        let Some(_alone) = self.locks.attempt(Self::place_of(sandbox))? else { return Ok(false) };
        let Some(sandbox) = self.store.read().sandbox(sandbox.number)? else { return Ok(false) };
        let Some((path, text)) = self.outdated_resolver(&sandbox, fallback)? else { return Ok(false) };
        kernel::rewrite(&path, &text)?;
        info!(self.log, "name servers brought up to date"; "container" => %sandbox.container);
        Ok(true)
    }

    /// The file of a container and what it should say, where that differs.
    pub(in crate::engine) fn outdated_resolver(
        &self,
        sandbox: &Sandbox,
        fallback: &[IpAddr],
    ) -> Result<Option<(PathBuf, String)>> {
        let (State::Attached, Some(choice)) = (sandbox.state, &sandbox.resolver) else { return Ok(None) };
        let path = self.files_of(&sandbox.key()).join(File::ResolvConf.name());
        let Some(there) = kernel::read_regular(&path, MAX_BYTES)? else { return Ok(None) };
        let reach = Reach::of(sandbox);
        let host = host_resolver(reach, |_| {})?;
        let resolver = host.for_container(choice, fallback, reach);
        // Between two networks a host has no server at all. What the container has may be right again afterwards.
        if host.nameservers.is_empty() || resolver.nameservers.is_empty() {
            return Ok(None);
        }
        let text = resolver.text();
        Ok((text.as_bytes() != there).then_some((path, text)))
    }
}
