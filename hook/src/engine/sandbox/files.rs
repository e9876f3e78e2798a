//! The container's `/etc/resolv.conf`, `/etc/hosts`, `/etc/hostname`, and its host name.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use slog::warn;

use crate::decide::files::{self, File, Reach, Resolver};
use crate::decide::identity::{HostNameSource, Identity};
use crate::decide::request::Request;
use crate::engine::{Engine, Failures, Result};
use crate::kernel::{self, Overlay, Place, Process};
use crate::model::{HostName, Key, Mode, Sandbox};
use crate::store::Host;

/// Where the host says which name servers it has.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved names the servers that it asks, when the former names only its own stub.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
const MAX_BYTES: usize = 64 << 10;
/// Where the files are, in the state directory.
pub(in crate::engine) const CONTAINERS: &str = "containers";

impl Engine {
    /// Makes the container's files. Where there is a `process` they are mounted over its own, and its host name is set if the
    /// runtime does not. Without a process the runtime does both.
    pub(in crate::engine) fn provide_files(
        &mut self,
        request: &Request,
        sandbox: &Sandbox,
        process: Option<&Process>,
    ) -> Result<()> {
        let Some(process) = process else {
            self.write_files(request, sandbox, &hostname_to_be(&request.identity)?)?;
            self.step("files");
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
        let is_mounted = self.adopt_spec_files(&request.root, &sandbox.key())?;
        let overlays = self.write_files(request, sandbox, &hostname)?;
        if is_mounted {
            self.step("files");
            return Ok(());
        }
        for missing in kernel::mount_over(process, &request.root.path, &overlays)? {
            warn!(self.log, "{missing}");
        }
        self.step("files");
        Ok(())
    }

    /// Mounts the files that another container of the same network was given over those of `process`, where its spec mounts none.
    pub(in crate::engine) fn share_files(
        &mut self,
        request: &Request,
        owner: &Sandbox,
        process: &Process,
    ) -> Result<()> {
        let directory = self.files_of(&owner.key());
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

    fn write_files(&self, request: &Request, sandbox: &Sandbox, hostname: &HostName) -> Result<Vec<Overlay>> {
        let texts = self.texts(request, sandbox, hostname)?;
        let directory = self.files_of(&sandbox.key());
        kernel::write_files(&directory, &texts, request.root.label.as_deref())?;
        Ok(texts.iter().map(|(name, _)| overlay(&directory, name)).collect())
    }

    /// Removes the files of a container, and the namespace that was made for it. Its mounts of them ended with its mount
    /// namespace.
    pub(in crate::engine) fn remove_files(&self, key: &Key) -> Result<()> {
        Ok(kernel::remove_files(&self.files_of(key))?)
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
    pub(in crate::engine) fn texts(
        &self,
        request: &Request,
        sandbox: &Sandbox,
        hostname: &HostName,
    ) -> Result<Vec<(&'static str, String)>> {
        request.root.files.iter().map(|file| Ok((file.name(), self.text(*file, request, sandbox, hostname)?))).collect()
    }

    fn text(&self, file: File, request: &Request, sandbox: &Sandbox, hostname: &HostName) -> Result<String> {
        let identity = &request.identity;
        Ok(match file {
            File::HostName => format!("{hostname}\n"),
            File::Hosts => {
                let addresses: Vec<IpAddr> =
                    sandbox.endpoints.iter().flat_map(|endpoint| &endpoint.addresses).map(|net| net.addr()).collect();
                let gateway = sandbox.endpoints.iter().find_map(|endpoint| endpoint.gateways().next());
                files::hosts(identity, hostname, &addresses, gateway)
            }
            File::ResolvConf => {
                let reach = Reach::of(sandbox);
                let host = host_resolver(reach, |error| {
                    warn!(self.log, "{error}: it is taken for a file that is not there");
                })?;
                let resolver = host.for_container(&identity.resolver, &self.config.dns_fallback, reach);
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

    /// The directory of a container's files. Ids are not file names: keys are hashed. Two hosts that share a /run may have
    /// one key each.
    pub(in crate::engine) fn files_of(&self, key: &Key) -> PathBuf {
        let Host { boot, cookie } = &self.host;
        self.state_dir.join(CONTAINERS).join(format!("{boot}-{cookie:x}-{}", key.hex()))
    }

    /// Removes the files of containers that no sandbox in the store has, as after a store was lost, and those of other boots. What fails for one
    /// directory is noted in `failures`.
    pub(in crate::engine) fn collect_files(&self, failures: &mut Failures) -> Result<()> {
        let directory = self.state_dir.join(CONTAINERS);
        let names = kernel::names_in(&directory).map_err(Into::into);
        for name in failures.note("files of containers", names)?.into_iter().flatten() {
            let collected = self.collect_files_in(&directory, &name);
            failures.note(format!("files in {name}"), collected)?;
        }
        Ok(())
    }

    fn collect_files_in(&self, directory: &Path, name: &str) -> Result<()> {
        let Host { boot, cookie } = &self.host;
        let rest = name.strip_prefix(&format!("{boot}-{cookie:x}-"));
        match rest.and_then(|hex| hex.parse::<Key>().ok()) {
            Some(key) => {
                let Some(_lock) = self.locks.attempt(Place::Sandbox(key.lock_offset()))? else { return Ok(()) };
                if self.store.read().find(&key)?.is_none() { self.remove_files(&key) } else { Ok(()) }
            }
            None if rest.is_some() => self.collect_spec_files(&directory.join(name)),
            // Another host's, which shares this /run.
            None if name.starts_with(&format!("{boot}-")) => Ok(()),
            None => Ok(kernel::remove_files(&directory.join(name))?),
        }
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

/// The host's name servers: those that it asks itself, or, where a container reaches none of them, those that systemd-resolved asks.
/// What is in the file's place and is no regular file counts as absent, and `tell` gets the error.
pub(in crate::engine) fn host_resolver(reach: Reach, tell: impl Fn(&kernel::Error)) -> Result<Resolver> {
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
    if reach == Reach::Host || own.is_of_use(reach) {
        return Ok(own);
    }
    Ok(read(RESOLVED)?.filter(|resolved| resolved.is_of_use(reach)).unwrap_or(own))
}
