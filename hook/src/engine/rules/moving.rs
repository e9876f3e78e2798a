//! The way of the rules from one firewall to another, where config.toml asks for another, or a new store finds some.
//!
//! The store says where they go and which firewalls have some that have to go, before anything moves. They are in the
//! new place before they go from the old one, so that nothing opens meanwhile. A move that is cut off is finished by
//! the next command, to where the store says: a detach and `gc` read no config.toml.

use slog::{Logger, info, warn};

use super::container::{refuse_loopback, refuse_unasked};
use super::forwarding::forward_no_more;
use super::input_loop;
use super::ruleset::Rules;
use crate::driver;
use crate::engine::locks::alone_at_firewall;
use crate::engine::{Error, Failures, Result};
use crate::firewall::{Kind, Publish, publish_needs};
use crate::input::config::PublishedPorts;
use crate::kernel::{self, HostLinks, perform};
use crate::model::Family;
use crate::store::{Forwarding, HostRow, Store};

impl Rules {
    /// The rules are kept as config.toml says, and no other firewall has any of ours. The store says of published ports
    /// what config.toml says; the row that is returned may have their earlier setting.
    pub fn follow_config(&mut self, store: &mut Store, links: &mut HostLinks) -> Result<HostRow> {
        let row = self.ensure_configured_firewall(store, links)?;
        if self.published_ports == PublishedPorts::RespectHostFirewall && !row.respect_host_firewall {
            let ports: Vec<Publish> = store.read().sandboxes()?.iter().flat_map(publish_needs).collect();
            refuse_unasked(ports.iter())?;
        }
        input_loop::store_setting(self.published_ports, &row, store, &self.locks)?;
        Ok(row)
    }

    fn ensure_configured_firewall(&mut self, store: &mut Store, links: &mut HostLinks) -> Result<HostRow> {
        let row = store.read().host_row()?;
        if self.keeper.is_as_configured(&row) {
            return Ok(row);
        }
        let _alone = alone_at_firewall(&self.locks)?;
        let row = store.read().host_row()?;
        let kind = self.keeper.configured(&row)?;
        store.read().sandboxes()?.iter().try_for_each(|sandbox| refuse_loopback(kind, sandbox))?;
        let HostRow { firewall: now, former_firewalls: mut former, .. } = row;
        former.extend(now);
        former.retain(|former| *former != kind && former.has_rules());
        store.write(|store| store.set_firewall(kind, &former))?;
        self.move_rules(store, links)?;
        Ok(store.read().host_row()?)
    }

    /// Goes on with a move of the rules that was cut off.
    pub fn finish_moving(&mut self, store: &mut Store, links: &mut HostLinks) -> Result<()> {
        if store.read().host_row()?.former_firewalls.is_empty() {
            return Ok(());
        }
        let _alone = alone_at_firewall(&self.locks)?;
        self.move_rules(store, links)
    }

    /// Takes over rules of ours, in any firewall, that a new store does not know.
    pub fn take_over(&mut self, store: &mut Store, links: &mut HostLinks) -> Result<()> {
        let loaded = kernel::loaded()?;
        if loaded.is_empty() {
            return Ok(());
        }
        let kind = self.keeper.kind(store)?;
        let former: Vec<Kind> = loaded.into_iter().map(|(loaded, _)| loaded).filter(|loaded| *loaded != kind).collect();
        store.write(|store| store.set_firewall(kind, &former))?;
        self.ensure_configured_firewall(store, links)?;
        self.reload_if_different(store, links)
    }

    /// Moves the rules to the firewall that the store names, from those that it says have some. The caller holds the
    /// firewall's lock alone.
    fn move_rules(&mut self, store: &mut Store, links: &mut HostLinks) -> Result<()> {
        let row = store.read().host_row()?;
        if row.former_firewalls.is_empty() {
            return Ok(());
        }
        let kind = self.keeper.kind_of(&row)?;
        info!(self.log, "moving the rules"; "to" => %kind);
        if kind.has_rules() {
            self.load(&row, store, links)?;
        } else {
            leave_unguarded(store, links, &self.log)?;
        }
        for former in &row.former_firewalls {
            kernel::backend(*former)?.unload()?;
        }
        if !kind.has_rules() {
            links.delete_input_loop()?;
        }
        Ok(store.write(|store| store.set_firewall(kind, &[]))?)
    }
}

/// Takes back what is safe only with rules of ours.
fn leave_unguarded(store: &mut Store, links: &mut HostLinks, log: &Logger) -> Result<()> {
    forward_no_more(store)?;
    store.write(|store| {
        Family::ALL.into_iter().try_for_each(|family| store.set_forwarding(family, Forwarding::OfOthers))
    })?;
    // The rules stay where one fails: its bridge would let in what they keep out.
    let mut failures = Failures::default();
    for network in store.read().networks()? {
        for step in driver::of_network(&network, Kind::None.has_rules()) {
            let closed = perform::ensure_settings(links, &step).map(drop).map_err(Error::from);
            failures.note(format!("network {}", network.name), closed)?;
        }
    }
    failures.into_result()?;
    if store.read().sandboxes()?.iter().any(|sandbox| !sandbox.publish.is_empty()) {
        warn!(log, "firewall = \"none\": ports that were published are not any more");
    }
    Ok(())
}
