//! A store that is lost or damaged, rebuilt from what the kernel holds.
//!
//! Only the host's side is believed. A link of ours tells its address by its name, its sandbox by its alias, its
//! network by its bridge and its MAC address by its guard; the firewall has the published ports. A container may have
//! changed everything on its own side, so what is read there is compared and reported, and never leased. The name of
//! its interface is the one exception: it means something in that container alone. What the host does not know is lost:
//! the bundle's path, and sandboxes that have no link. An address is never given out twice meanwhile, since the kernel
//! has no second link of that name.

use std::path::Path;

use slog::{Logger, warn};

use super::inventory::Inventory;
use super::look;
use crate::driver;
use crate::engine::network::remember_mac;
use crate::engine::removal::clear_addresses;
use crate::engine::{Engine, Error, Result, alive};
use crate::input::config::Config;
use crate::kernel::{LockFile, perform};
use crate::model::Endpoint;
use crate::store::{self, Forwarding, Host, Store, Write, Writing};

/// What a store is opened and rebuilt with.
pub(in crate::engine) struct RebuildContext<'a> {
    pub state_dir: &'a Path,
    pub host: &'a Host,
    pub locks: &'a LockFile,
    /// The settings, which tell the range of a network whose bridge is gone.
    pub config: &'a Config,
    pub log: &'a Logger,
}

impl RebuildContext<'_> {
    /// Opens the store; where there is none, or none that is whole, makes it from what the kernel holds. True where it
    /// did.
    pub fn open(&self) -> Result<(Store, bool)> {
        match Store::open(self.state_dir, self.host, self.locks) {
            Ok(Some(store)) => Ok((store, false)),
            Ok(None) => Ok((self.rebuild(None)?, true)),
            Err(error) if error.is_damage() => Ok((self.rebuild(None)?, true)),
            Err(error) => Err(error.into()),
        }
    }

    /// The store as it is; where there is none, or none that is whole, one in memory. Nothing is changed.
    pub fn look(&self) -> Result<Store> {
        match Store::open(self.state_dir, self.host, self.locks) {
            Ok(Some(store)) => Ok(store),
            Ok(None) => self.seen(&format!("there is no store in {}", self.state_dir.display())),
            Err(error) if error.is_damage() => self.seen(&error.to_string()),
            Err(error) => Err(error.into()),
        }
    }

    /// A store in memory with what the kernel holds, since `why` there is no other.
    pub fn seen(&self, why: &str) -> Result<Store> {
        let inventory = look::inventory(self.config, self.state_dir)?;
        warn!(self.log, "{why}: this is what the kernel holds; ocinet doctor --fix makes the store anew");
        Ok(Store::in_memory(self.locks, |write| adopt(&inventory, write).map(drop))?)
    }

    /// Makes a store anew. `damaged` is one that opens, and what is wrong with it all the same.
    pub fn rebuild(&self, damaged: Option<(&Store, &Error)>) -> Result<Store> {
        let writing = Writing::begin(self.locks)?;
        let opened = Store::open_to_write(self.state_dir, self.host, self.locks, &writing);
        let why = match (opened, damaged) {
            (Ok(Some(_)), Some((store, why))) if store.is_current()? => Some(why.to_string()),
            // Another process has rebuilt it.
            (Ok(Some(store)), _) => return Ok(store),
            (Ok(None), _) => None,
            (Err(error), _) if error.is_damage() => Some(error.to_string()),
            (Err(error), _) => return Err(error.into()),
        };
        let inventory = look::inventory(self.config, self.state_dir)?;
        let aside = why.is_some().then(|| Store::set_aside(self.state_dir, self.host, &writing)).transpose()?;
        let fill = |write: &Write<'_>| adopt(&inventory, write).map(drop);
        let store = Store::create(self.state_dir, self.host, self.locks, &writing, fill)?;
        let found = inventory.sandboxes.len() + inventory.draining.len();
        match (why, aside) {
            (Some(why), Some(aside)) => {
                let aside = aside.display();
                warn!(self.log, "{why}; the store was set aside as {aside} and rebuilt with {found} containers found");
            }
            _ if found > 0 => warn!(self.log, "the store was missing; it was rebuilt with {found} containers found"),
            _ => {}
        }
        inventory.reports.iter().for_each(|report| warn!(self.log, "{report}"));
        Ok(store)
    }
}

impl Engine {
    /// Goes on with a store that is whole and knows every link of ours, after `error` of the one so far.
    pub(in crate::engine) fn renew_store(&mut self, error: &Error) -> Result<()> {
        // What we were deleting must not be found again.
        for (draining, _lock) in std::mem::take(&mut self.drains.waiting) {
            clear_addresses(&mut self.links, &mut self.flows, &draining)?;
        }
        let Self { state_dir, host, locks, config, log, .. } = self;
        let context = RebuildContext { state_dir, host, locks, config, log };
        self.store = context.rebuild(Some((&self.store, error)))?;
        self.adopt()?;
        self.forget_stray_neighbours()?;
        self.forget_stray_proxies()?;
        self.rules.reload_if_different(&self.store, &mut self.links)
    }

    /// Takes into the store every link of ours that it does not know, and says how many.
    pub(in crate::engine) fn adopt(&mut self) -> Result<usize> {
        let inventory = look::inventory(&self.config, &self.state_dir)?;
        // The owner of one may have deleted its links since we looked: those who follow the store are told of none.
        let mut found = Vec::new();
        for sandbox in &inventory.sandboxes {
            if alive::has_a_link(&mut self.links, sandbox)? {
                found.push(sandbox.clone());
            }
        }
        let mut draining = Vec::new();
        for endpoint in &inventory.draining {
            for step in driver::undo(&endpoint.endpoint, &endpoint.alias()) {
                if perform::is_there(&mut self.links, &step)? {
                    draining.push(endpoint.clone());
                }
            }
        }
        let inventory = Inventory { sandboxes: found, draining, ..inventory };
        Ok(self.store.write(|store| adopt(&inventory, store))?)
    }
}

/// Adds what `store` does not know, and says how many sandboxes and draining endpoints.
fn adopt(inventory: &Inventory, store: &Write<'_>) -> store::Result<usize> {
    for (family, forwarding) in &inventory.forwarding {
        if store.host_row()?.forwarding_of(*family) == Forwarding::OfOthers && *forwarding != Forwarding::OfOthers {
            store.set_forwarding(*family, *forwarding)?;
        }
    }
    if inventory.respect_host_firewall {
        store.set_respect_host_firewall(true)?;
    }
    if let (Some((kind, former)), None) = (inventory.firewalls.split_first(), store.host_row()?.firewall) {
        store.set_firewall(*kind, former)?;
    }
    for network in &inventory.networks {
        if store.network(&network.name)?.is_none() {
            store.add_network(network)?;
        }
    }
    let mut added = 0;
    for sandbox in &inventory.sandboxes {
        if store.find(&sandbox.key())?.is_none() && !is_any_leased(store, &sandbox.endpoints)? {
            store.insert(&mut sandbox.clone())?;
            for endpoint in &sandbox.endpoints {
                if let Some(mut network) = store.network(&endpoint.network)? {
                    remember_mac(store, &mut network, endpoint)?;
                }
            }
            added += 1;
        }
    }
    for draining in &inventory.draining {
        if !store.is_leased(&draining.endpoint)? {
            store.insert_draining(&mut draining.clone())?;
            added += 1;
        }
    }
    Ok(added)
}

fn is_any_leased(store: &Write<'_>, endpoints: &[Endpoint]) -> store::Result<bool> {
    for endpoint in endpoints {
        if store.is_leased(endpoint)? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::store::tests::{FIXTURES, place};

    /// A store of an earlier version is no damage: a rebuild upgrades it with the right to write that it holds already.
    #[test]
    fn an_old_store_is_upgraded_and_not_rebuilt() {
        let directory = std::env::temp_dir().join(format!("ocinet-rebuild-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        let (host, locks) = (Host { boot: "a".into(), cookie: 7 }, LockFile::of(&directory));
        let log = Logger::root(slog::Discard, slog::o!());
        let config = Config::default();
        let context = RebuildContext { state_dir: &directory, host: &host, locks: &locks, config: &config, log: &log };
        for fixture in FIXTURES {
            place(&directory, &host, fixture);
            let began = Instant::now();
            assert_eq!(context.rebuild(None).unwrap().read().sandboxes().unwrap().len(), 2);
            assert!(began.elapsed() < Duration::from_secs(5), "it waited for itself: {:?}", began.elapsed());
            Store::remove(&directory, &host, &Writing::begin(&locks).unwrap()).unwrap();
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
