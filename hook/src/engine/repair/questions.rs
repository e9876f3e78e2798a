//! Questions to a store that may turn out to be lost.

use std::collections::BTreeMap;

use super::RebuildContext;
use crate::decide::liveness::Life;
use crate::engine::files::Member;
use crate::engine::{Engine, Error, Result, alive, resolve};
use crate::kernel::Traffic;
use crate::model::{ContainerId, DrainingEndpoint, KeptConnection, Network, Sandbox};
use crate::store::{self, Read};

impl Engine {
    /// All sandboxes.
    ///
    /// # Errors
    /// When the store fails.
    pub fn sandboxes(&mut self) -> Result<Vec<Sandbox>> {
        self.read(|store| store.sandboxes())
    }

    /// The first `count` sandboxes whose numbers are greater than `after`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn sandboxes_after(&mut self, after: i64, count: u32) -> Result<Vec<Sandbox>> {
        self.read(|store| store.sandboxes_after(after, count))
    }

    /// The same, with what is still known of sandboxes that have ended while the kernel has links of theirs.
    ///
    /// # Errors
    /// When the store fails.
    pub fn all_after(&mut self, after: i64, count: u32) -> Result<Vec<Sandbox>> {
        // Of one moment: a container that ends meanwhile is not there twice.
        let (mut all, draining) = self.read(|store| {
            store.at_one_moment(|store| Ok((store.sandboxes_after(after, count)?, store.all_draining()?)))
        })?;
        all.extend(DrainingEndpoint::remains(draining).into_iter().filter(|sandbox| sandbox.number > after));
        all.sort_by_key(|sandbox| sandbox.number);
        all.truncate(count as usize);
        Ok(all)
    }

    /// The sandboxes of the container of that id, of that name, or whose id begins so: several where several roots of a
    /// runtime have one id. Of a container that shares another's network, those of that one.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none, [`Error::Conflict`] where several of different ids are called so.
    pub fn sandboxes_of(&mut self, container: &str) -> Result<Vec<Sandbox>> {
        let id: ContainerId = container.parse()?;
        let all = self.sandboxes()?;
        self.meant(id.as_str(), &all)
    }

    /// The sandboxes that `text` means; of a container that shares another's network, those of that one.
    pub(in crate::engine) fn meant(&mut self, text: &str, all: &[Sandbox]) -> Result<Vec<Sandbox>> {
        let meant = resolve::meant(text, all, |sandbox| alive::is_dead(&mut self.links, &self.origin, sandbox));
        let error = match meant {
            Ok(meant) => return Ok(meant.into_iter().cloned().collect()),
            Err(error) => error,
        };
        if !matches!(error, Error::NotFound(_)) {
            return Err(error);
        }
        let members = self.files.members()?;
        let called: Vec<&Member> = members.iter().filter(|member| member.is_called(text)).collect();
        let owners: Vec<Sandbox> =
            all.iter().filter(|sandbox| called.iter().any(|member| member.is_of(sandbox))).cloned().collect();
        match (&called[..], &owners[..]) {
            (_, [_]) => Ok(owners),
            ([member, ..], []) => {
                let (container, owner) = (&member.name, &member.owner_name);
                Err(Error::NotFound(format!(
                    "container {container} shared a network of {owner} that is gone; start {owner} if it does not run, and then it \
                     again, after ocinet prepare of its bundle"
                )))
            }
            (_, [_, _, ..]) => Err(resolve::ambiguous(text, &owners.iter().collect::<Vec<_>>())),
            _ => Err(error),
        }
    }

    /// The connections of a container that are made again with its next start.
    ///
    /// # Errors
    /// When the store fails.
    pub fn kept_connections(&self, sandbox: &Sandbox) -> Result<Vec<KeptConnection>> {
        Ok(self.store.read().kept_connections(&sandbox.keeping_key())?)
    }

    /// Whether the sandbox lives. What cannot be looked at is unknown.
    pub fn life(&mut self, sandbox: &Sandbox) -> Life {
        alive::life(&mut self.links, &self.origin, sandbox)
    }

    /// What went through the links of the host, by their names.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn traffic(&mut self) -> Result<BTreeMap<String, Traffic>> {
        Ok(self.links.traffic()?)
    }

    /// The networks that were defined so far; `bridge` is defined by its first container.
    ///
    /// # Errors
    /// When the store fails.
    pub fn networks(&mut self) -> Result<Vec<Network>> {
        self.read(|store| store.networks())
    }

    /// Reads from the store. A lost one is rebuilt, or replaced by one in memory where nothing may change, and read
    /// again.
    fn read<T>(&mut self, question: impl Fn(&Read<'_>) -> store::Result<T>) -> Result<T> {
        match question(&self.store.read()).map_err(Error::from) {
            Err(error) if error.is_store_lost() => {
                if self.only_looks {
                    let Self { state_dir, host, locks, config, log, .. } = &*self;
                    self.store = RebuildContext { state_dir, host, locks, config, log }.seen(&error.to_string())?;
                } else {
                    self.renew_store(&error)?;
                }
                Ok(question(&self.store.read())?)
            }
            result => result,
        }
    }
}
