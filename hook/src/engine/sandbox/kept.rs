//! Connections that were made while a container ran, and are made again with its next start.
//!
//! They are found by the container's key, which is its id and the path of its bundle. podman gives a container that is
//! run anew another id, and its name stays: there it is the name. They go with the bundle, be it that another is at its
//! path now. podman and containerd make a bundle for each start: theirs stay until they are disconnected, or the network
//! is removed.

use std::path::Path;

use slog::{info, warn};

use crate::decide::request::Request;
use crate::engine::{Engine, Error, Result};
use crate::input::config;
use crate::kernel;
use crate::model::{FileIdentity, Invalid, KeptConnection, NetworkName, Sandbox};

impl Engine {
    /// Those of the connections that are `kept` of the container which it joins again: of its own, those whose network is
    /// still defined. The others are kept no more.
    pub(super) fn still_to_join(
        &mut self,
        request: &Request,
        kept: Vec<KeptConnection>,
    ) -> Result<Vec<KeptConnection>> {
        let key = request.keeping_key();
        if self.are_of_earlier_bundle(request)? {
            info!(self.log, "the bundle is another than that whose connections were kept");
            self.store.write(|store| store.keep_no_more(&key, None))?;
            return Ok(Vec::new());
        }
        let mut there = Vec::new();
        for connection in kept {
            if self.can_be_joined(&connection)? {
                there.push(connection);
                continue;
            }
            let name = &connection.network;
            warn!(self.log, "the container is not connected to network {name} again, which is not defined any more");
            self.store.write(|store| store.keep_no_more(&key, Some(name)))?;
        }
        Ok(there)
    }

    /// The same connections, where nothing may change.
    pub(in crate::engine) fn seen_to_join(&mut self, request: &Request) -> Result<Vec<KeptConnection>> {
        let mut there = Vec::new();
        if !self.are_of_earlier_bundle(request)? {
            for connection in self.store.read().kept_connections(&request.keeping_key())? {
                let is_asked_for =
                    |name: &NetworkName| request.wiring.connections().iter().any(|one| one.network == *name);
                if !is_asked_for(&connection.network) && self.can_be_joined(&connection)? {
                    there.push(connection);
                }
            }
        }
        Ok(there)
    }

    /// Whether what is kept is of an earlier container, whose bundle was at the same path.
    fn are_of_earlier_bundle(&self, request: &Request) -> Result<bool> {
        let kept = self.store.read().kept(&request.keeping_key())?;
        let then = kept.and_then(|kept| kept.directory);
        let now = then.and_then(|_| kernel::identity_of(Path::new(&request.bundle)));
        Ok(then.zip(now).is_some_and(|(then, now)| then.is_other(&now)))
    }

    fn can_be_joined(&self, connection: &KeptConnection) -> Result<bool> {
        Ok(connection.network == config::default_bridge() || self.definitions().exists(&connection.network)?)
    }
}

/// The directory with which the connections go that are kept of the container of `sandbox`.
pub(super) fn directory_of(sandbox: &Sandbox) -> Option<FileIdentity> {
    if sandbox.has_passing_bundle() { None } else { kernel::identity_of(Path::new(&sandbox.bundle)) }
}

/// The same error, with the networks that the container joins since it was connected to them while it ran.
pub(super) fn naming_kept(error: Error, rejoined: &[NetworkName], request: &Request) -> Error {
    let [first, ..] = rejoined else { return error };
    let names: Vec<&str> = rejoined.iter().map(NetworkName::as_str).collect();
    let named = |why: &str| {
        format!(
            "{why}; it joins {} since it was connected while it ran, until ocinet network disconnect {first} {}",
            names.join(", "),
            request.container
        )
    };
    match error {
        Error::Conflict(why) => Error::Conflict(named(&why)),
        Error::NotFound(why) => Error::NotFound(named(&why)),
        Error::Exhausted(why) => Error::Exhausted(named(&why)),
        // A network may have changed since, so that it does not take what is kept.
        Error::Invalid(invalid) => Invalid { why: named(&invalid.why), ..invalid }.into(),
        other => other,
    }
}
