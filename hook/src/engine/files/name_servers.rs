//! The `/etc/resolv.conf` of containers that run: it follows the host's, which changes when a machine moves to another
//! network.

use std::net::IpAddr;
use std::path::PathBuf;

use slog::info;

use super::ContainerFiles;
use super::container::host_resolver;
use crate::decide::files::{File, Reach};
use crate::decide::names::name_server;
use crate::engine::Result;
use crate::kernel;
use crate::model::{Sandbox, State};

/// Longer than any that we write.
const MAX_BYTES: usize = 64 << 10;

impl ContainerFiles {
    /// Brings the file of `sandbox` up to date, and says whether it changed. `fallback` is what a container gets where
    /// the host has no server for it. The caller holds the lock of the sandbox.
    pub fn refresh_resolver(&self, sandbox: &Sandbox, fallback: &[IpAddr]) -> Result<bool> {
        let Some((path, text)) = self.outdated_resolver(sandbox, fallback)? else { return Ok(false) };
        kernel::rewrite(&path, &text)?;
        info!(self.log, "name servers brought up to date"; "container" => %sandbox.container);
        Ok(true)
    }

    /// Brings the file up to date where the container of `before` has come to a first network with names, or has left
    /// the last one.
    pub fn follow_names(&self, before: &Sandbox, after: &Sandbox, fallback: &[IpAddr]) -> Result<()> {
        if name_server(before) != name_server(after) {
            self.refresh_resolver(after, fallback)?;
        }
        Ok(())
    }

    /// The file of a container and what it should say, where that differs.
    pub fn outdated_resolver(&self, sandbox: &Sandbox, fallback: &[IpAddr]) -> Result<Option<(PathBuf, String)>> {
        let (State::Attached, Some(choice)) = (sandbox.state, &sandbox.resolver) else { return Ok(None) };
        let path = self.of(&sandbox.key()).join(File::ResolvConf.name());
        let Some(there) = kernel::read_regular(&path, MAX_BYTES)? else { return Ok(None) };
        let reach = Reach::of(sandbox);
        let host = host_resolver(reach, |_| {})?;
        let resolver = host.for_container(choice, fallback, reach);
        // Between two networks a host has no server at all. What the container has may be right again afterwards.
        // The name server of ocinet asks what the host has by then.
        let has_none = host.nameservers.is_empty() && reach.names_server().is_none();
        if has_none || resolver.nameservers.is_empty() {
            return Ok(None);
        }
        let text = resolver.text();
        Ok((text.as_bytes() != there).then_some((path, text)))
    }
}
