//! Answering the host's neighbours for containers whose addresses are a part of the neighbours' range (RFC 4389, NDP
//! proxy).
//!
//! An entry on a link follows from an endpoint, which is in the store before it. Our entries are marked, so that those
//! whose endpoint is not known can be told from another program's. The settings of the links stay until `reset`; what
//! they were is in the host's row before they are changed.

use std::net::Ipv6Addr;

use slog::warn;

use crate::decide::proxy::{self, ProxyEntry, distinct};
use crate::engine::{Engine, Result};
use crate::kernel;
use crate::model::{ChangedSetting, Endpoint, Family, InterfaceName, Sandbox};

impl Engine {
    /// The entries that `endpoints` need on the links of the host as they are now.
    pub(in crate::engine) fn entries_for(&mut self, endpoints: &[&Endpoint]) -> Result<Vec<ProxyEntry>> {
        let addresses: Vec<Ipv6Addr> = endpoints.iter().flat_map(|endpoint| endpoint.proxied_addresses()).collect();
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        let (near, out) = (self.links.near_routes(&addresses)?, self.links_out()?);
        let mut entries = Vec::new();
        for endpoint in endpoints {
            let of = |address| proxy::entries(address, endpoint.wire.master(), &near, &out);
            entries.extend(endpoint.proxied_addresses().flat_map(of));
        }
        Ok(entries)
    }

    /// The settings that are to be changed for `entries`.
    pub(in crate::engine) fn settings_for(&mut self, entries: &[ProxyEntry]) -> Result<Vec<ChangedSetting>> {
        let links = distinct(entries.iter().map(|entry| &entry.link));
        if links.is_empty() {
            return Ok(Vec::new());
        }
        let out = self.links_out()?;
        Ok(kernel::settings_to_answer(&links, &out)?)
    }

    /// The links of the host's default routes of IPv6.
    fn links_out(&mut self) -> Result<Vec<InterfaceName>> {
        let ways = self.links.ways_out(Family::V6)?;
        Ok(distinct(ways.iter().map(|way| &way.link)))
    }

    /// Those of `entries` that the kernel does not have.
    pub(in crate::engine) fn missing_entries(&mut self, entries: Vec<ProxyEntry>) -> Result<Vec<ProxyEntry>> {
        let mut missing = Vec::new();
        for entry in entries {
            if !self.links.has_proxy_entry(&entry)? {
                missing.push(entry);
            }
        }
        Ok(missing)
    }

    /// Whether the host answers its neighbours for `endpoint`, where its network asks for that.
    pub(in crate::engine) fn answers_for(&mut self, endpoint: &Endpoint) -> Result<bool> {
        let entries = self.entries_for(&[endpoint])?;
        Ok(self.settings_for(&entries)?.is_empty() && self.missing_entries(entries)?.is_empty())
    }

    /// Has the host answer its neighbours for `endpoint`, which is in the store, where its network asks for that.
    pub(in crate::engine) fn answer_for(&mut self, endpoint: &Endpoint) -> Result<()> {
        let entries = self.entries_for(&[endpoint])?;
        if entries.is_empty() && endpoint.proxied_addresses().next().is_some() {
            let network = &endpoint.network;
            warn!(
                self.log,
                "no link of the host leads to neighbours that could look for containers of network {network}"
            );
        }
        self.make_entries(entries)
    }

    /// The same for every endpoint of the store.
    pub(in crate::engine) fn answer_for_all(&mut self) -> Result<()> {
        let sandboxes = self.store.read().sandboxes()?;
        let endpoints: Vec<&Endpoint> = sandboxes.iter().flat_map(Sandbox::wired_endpoints).collect();
        let entries = self.entries_for(&endpoints)?;
        self.make_entries(entries)
    }

    fn make_entries(&mut self, entries: Vec<ProxyEntry>) -> Result<()> {
        let settings = self.settings_for(&entries)?;
        if !settings.is_empty() {
            self.store.write(|store| store.add_changed(&settings))?;
            kernel::make_changes(&settings)?;
        }
        for entry in self.missing_entries(entries)? {
            self.links.add_proxy_entry(&entry)?;
        }
        Ok(())
    }

    /// Entries of ours for addresses that no endpoint of the store has. They are left where the store was lost after a
    /// container's link was gone.
    pub(in crate::engine) fn stray_proxies(&mut self) -> Result<Vec<ProxyEntry>> {
        let mut stray = self.proxies_seen_as_stray()?;
        if !stray.is_empty() {
            // A drain deletes an entry before its endpoint is gone from the store, so the second look does not find it.
            let again = self.proxies_seen_as_stray()?;
            stray.retain(|one| again.contains(one));
        }
        Ok(stray)
    }

    fn proxies_seen_as_stray(&mut self) -> Result<Vec<ProxyEntry>> {
        // An endpoint is stored before its entries are made. So the entries come first.
        let entries = self.links.proxy_entries()?;
        if entries.is_empty() {
            return Ok(entries);
        }
        let (sandboxes, draining) =
            self.store.read().at_one_moment(|store| Ok((store.sandboxes()?, store.all_draining()?)))?;
        let endpoints = sandboxes.iter().flat_map(|sandbox: &Sandbox| &sandbox.endpoints);
        let endpoints = endpoints.chain(draining.iter().map(|draining| &draining.endpoint));
        let answered: Vec<Ipv6Addr> = endpoints.flat_map(Endpoint::proxied_addresses).collect();
        Ok(proxy::stray(entries, &answered))
    }

    /// Deletes those entries.
    pub(in crate::engine) fn forget_stray_proxies(&mut self) -> Result<()> {
        for entry in self.stray_proxies()? {
            self.links.remove_proxy_entry(&entry)?;
        }
        Ok(())
    }

    /// Deletes every entry of ours, and puts the settings of the links back, which were changed for that or for forwarding.
    /// Returns the settings that were put back.
    pub(in crate::engine) fn answer_no_more(&mut self) -> Result<Vec<ChangedSetting>> {
        for entry in self.links.proxy_entries()? {
            self.links.remove_proxy_entry(&entry)?;
        }
        Ok(kernel::put_back(&self.store.read().host_row()?.changed)?)
    }
}
