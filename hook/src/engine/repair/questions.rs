//! Questions to a store that may turn out to be lost.

use super::RebuildContext;
use crate::decide::liveness::Life;
use crate::engine::{Engine, Error, Result, alive, resolve};
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
    /// runtime have one id.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none, [`Error::Conflict`] where several of different ids are called so.
    pub fn sandboxes_of(&mut self, container: &str) -> Result<Vec<Sandbox>> {
        let id: ContainerId = container.parse()?;
        let all = self.sandboxes()?;
        let meant =
            resolve::meant(id.as_str(), &all, |sandbox| alive::is_dead(&mut self.links, &self.origin, sandbox))?;
        Ok(meant.into_iter().cloned().collect())
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
