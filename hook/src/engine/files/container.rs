//! What the files of a container say, how they come into it, and its host name.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;

use slog::warn;

use super::ContainerFiles;
use crate::decide::files::{self, File, Reach, Resolver};
use crate::decide::identity::{HostNameSource, Identity};
use crate::decide::request::Request;
use crate::engine::Result;
use crate::kernel::{self, Overlay, Process};
use crate::model::{HostName, Mode, Sandbox};

/// Where the host says which name servers it has.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved names the servers that it asks, when the former names only its own stub.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
const MAX_BYTES: usize = 64 << 10;

impl ContainerFiles {
    /// Makes the container's files. Where there is a `process` they are mounted over its own, and its host name is set
    /// if the runtime does not. Without a process the runtime does both. `fallback` is what it gets for name servers
    /// where the host has none that it can reach.
    pub fn provide(
        &self,
        request: &Request,
        sandbox: &Sandbox,
        process: Option<&Process>,
        fallback: &[IpAddr],
    ) -> Result<()> {
        let Some(process) = process else {
            self.write(request, sandbox, &hostname_to_be(&request.identity)?, fallback)?;
            return Ok(());
        };
        // The host name of a pod is its infra container's.
        let hostname = match &request.identity.hostname {
            HostNameSource::Ours(name) if request.has_owner => name.clone(),
            _ => self.provide_hostname(&request.identity, process)?,
        };
        if !process.has_own_mounts()? {
            // Its /etc is the host's.
            return Ok(());
        }
        let is_mounted = self.adopt(&request.root, &sandbox.key())?;
        let overlays = self.write(request, sandbox, &hostname, fallback)?;
        if is_mounted {
            return Ok(());
        }
        for missing in kernel::mount_over(process, &request.root.path, &overlays)? {
            warn!(self.log, "{missing}");
        }
        Ok(())
    }

    /// Mounts the files that another container of the same network was given over those of `process`, where its spec
    /// mounts none.
    pub fn share(&self, request: &Request, owner: &Sandbox, process: &Process) -> Result<()> {
        let directory = self.of(&owner.key());
        let names = request.root.files.iter().map(|file| file.name());
        let there: Vec<Overlay> =
            names.map(|name| overlay(&directory, name)).filter(|overlay| overlay.source.is_file()).collect();
        if !there.is_empty() && process.has_own_mounts()? {
            for missing in kernel::mount_over(process, &request.root.path, &there)? {
                warn!(self.log, "{missing}");
            }
        }
        Ok(())
    }

    fn write(
        &self,
        request: &Request,
        sandbox: &Sandbox,
        hostname: &HostName,
        fallback: &[IpAddr],
    ) -> Result<Vec<Overlay>> {
        let texts = self.texts(request, sandbox, hostname, fallback)?;
        let directory = self.of(&sandbox.key());
        kernel::write_files(&directory, &texts, request.root.label.as_deref())?;
        Ok(texts.iter().map(|(name, _)| overlay(&directory, name)).collect())
    }

    fn provide_hostname(&self, identity: &Identity, process: &Process) -> Result<HostName> {
        match &identity.hostname {
            HostNameSource::Spec(name) => Ok(name.clone()),
            HostNameSource::Ours(name) if process.has_own_hostname()? => {
                kernel::set_hostname(process.uts.as_fd(), name)?;
                Ok(name.clone())
            }
            HostNameSource::Ours(_) | HostNameSource::Host => Ok(kernel::hostname()?),
        }
    }

    /// The container's files, by name.
    pub fn texts(
        &self,
        request: &Request,
        sandbox: &Sandbox,
        hostname: &HostName,
        fallback: &[IpAddr],
    ) -> Result<Vec<(&'static str, String)>> {
        request
            .root
            .files
            .iter()
            .map(|file| Ok((file.name(), self.text(*file, request, sandbox, hostname, fallback)?)))
            .collect()
    }

    fn text(
        &self,
        file: File,
        request: &Request,
        sandbox: &Sandbox,
        hostname: &HostName,
        fallback: &[IpAddr],
    ) -> Result<String> {
        let identity = &request.identity;
        Ok(match file {
            File::HostName => format!("{hostname}\n"),
            File::Hosts => files::hosts(identity, hostname, &sandbox.own_addresses(), sandbox.gateway()),
            File::ResolvConf => {
                let reach = Reach::of(sandbox);
                let host = host_resolver(reach, |error| {
                    warn!(self.log, "{error}: it is taken for a file that is not there");
                })?;
                let resolver =
                    host.for_container(sandbox.resolver.as_deref().unwrap_or(&identity.resolver), fallback, reach);
                if resolver.nameservers.is_empty() && sandbox.mode != Mode::None {
                    let why = "this host has none that it can reach";
                    warn!(
                        self.log,
                        "the container has no name server: {why}; set io.ocinet.dns, or dns_fallback in config.toml"
                    );
                }
                resolver.text()
            }
        })
    }
}

fn overlay(directory: &Path, name: &str) -> Overlay {
    Overlay { source: directory.join(name), target: format!("etc/{name}") }
}

/// The host name that the container gets from its runtime.
fn hostname_to_be(identity: &Identity) -> Result<HostName> {
    match &identity.hostname {
        HostNameSource::Spec(name) | HostNameSource::Ours(name) => Ok(name.clone()),
        HostNameSource::Host => Ok(kernel::hostname()?),
    }
}

/// The host's name servers: those that it asks itself, or, where a container reaches none of them, those that
/// systemd-resolved asks. What is in the file's place and is no regular file counts as absent, and `tell` gets the
/// error.
pub(super) fn host_resolver(reach: Reach, tell: impl Fn(&kernel::Error)) -> Result<Resolver> {
    let read = |path: &str| -> Result<Option<Resolver>> {
        let bytes = match kernel::read_regular(Path::new(path), MAX_BYTES) {
            Err(error @ kernel::Error::NotRegular { .. }) => {
                tell(&error);
                None
            }
            read => read?,
        };
        Ok(bytes.map(|bytes| Resolver::parse(&String::from_utf8_lossy(&bytes))))
    };
    let own = read(RESOLV_CONF)?.unwrap_or_default();
    if matches!(reach, Reach::Host | Reach::Names(_)) || own.is_of_use(reach) {
        return Ok(own);
    }
    Ok(read(RESOLVED)?.filter(|resolved| resolved.is_of_use(reach)).unwrap_or(own))
}
