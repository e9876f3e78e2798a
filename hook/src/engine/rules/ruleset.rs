//! What the firewall must hold, and when all of it is loaded: under the firewall's lock alone, where a look at the
//! kernel found that something is missing or otherwise.

use std::os::fd::BorrowedFd;

use slog::{Logger, info, warn};

use super::input_loop::{LinkPair, input_loop_of, is_input_loop_as_needed};
use super::keeper::Keeper;
use super::pass::Passes;
use crate::engine::Result;
use crate::engine::locks::alone_at_firewall;
use crate::firewall::{Base, Needs, NetworkNeeds, Publish, publish_needs};
use crate::input::config::{Config, PublishedPorts};
use crate::kernel::{self, HostLinks, LockFile};
use crate::model::{Family, InterfaceName, Network};
use crate::store::{HostRow, Store};

/// The rules of the host's firewall, and the passes through others.
pub(in crate::engine) struct Rules {
    /// The firewall that keeps them.
    pub keeper: Keeper,
    /// The passes.
    pub passes: Passes,
    /// What config.toml says of published ports.
    pub(super) published_ports: PublishedPorts,
    /// Whether config.toml has the host closed where we switch forwarding on.
    pub(super) close_forwarding: bool,
    pub(super) locks: LockFile,
    pub(super) log: Logger,
}

impl Rules {
    pub fn new(config: &Config, locks: &LockFile, log: &Logger) -> Self {
        let Config { firewall, published_ports, close_forwarding, .. } = *config;
        let (keeper, passes) = (Keeper::new(firewall), Passes::new(log));
        Self { keeper, passes, published_ports, close_forwarding, locks: locks.clone(), log: log.clone() }
    }

    /// The sockets that take the kernel long to close after elements of a firewall were deleted.
    pub fn slow_sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.keeper.slow_sockets().into_iter().chain(self.passes.slow_socket())
    }

    /// What `row` says that holds on the whole host.
    pub fn base(&self, row: &HostRow, links: &mut HostLinks) -> Result<Base> {
        let input_loop = input_loop_of(row, &self.keeper, links)?;
        let close_forwarding = row.closed();
        let HostRow { has_internal, has_addressed, has_ipv6, .. } = *row;
        // The host stays closed also when the last network with IPv6 has gone.
        let has_ipv6 = has_ipv6 || close_forwarding.contains(Family::V6);
        Ok(Base { close_forwarding, input_loop, has_internal, has_addressed, has_ipv6 })
    }

    /// What `row`, the store and, for networks, the host's routes say that the firewall must hold.
    pub fn needs(&self, row: &HostRow, store: &Store, links: &mut HostLinks) -> Result<Needs> {
        let base = self.base(row, links)?;
        let read = store.read();
        let publish: Vec<Publish> =
            read.sandboxes()?.iter().filter(|sandbox| sandbox.state.is_wired()).flat_map(publish_needs).collect();
        let networks: Vec<NetworkNeeds> = read.networks()?.iter().filter_map(NetworkNeeds::of).collect();
        let sources = if networks.is_empty() { Vec::new() } else { links.sources()? };
        Ok(Needs { base, networks, publish, sources })
    }

    /// Whether the kernel holds everything that `all` needs.
    fn is_whole(&mut self, row: &HostRow, all: &Needs, links: &mut HostLinks) -> Result<bool> {
        Ok(is_input_loop_as_needed(all.base.input_loop, links)? && self.keeper.backend_of(row)?.matches(all)?)
    }

    /// Loads the ruleset where the firewall does not hold all of the ports in `publish`, or of `networks`.
    pub(super) fn load_for(
        &mut self,
        publish: Vec<Publish>,
        networks: Vec<NetworkNeeds>,
        store: &Store,
        links: &mut HostLinks,
    ) -> Result<()> {
        let _alone = alone_at_firewall(&self.locks)?;
        let row = store.read().host_row()?;
        let part = Needs { base: self.base(&row, links)?, networks, publish, sources: Vec::new() };
        // A process that loaded it while we waited has read our sandbox, too.
        if self.keeper.backend_of(&row)?.holds(&part)? { Ok(()) } else { self.load(&row, store, links) }
    }

    /// The firewall holds what the store says and nothing else: not the port of a container that is gone from the
    /// store, whose address another container may have.
    pub fn reload_if_different(&mut self, store: &Store, links: &mut HostLinks) -> Result<()> {
        let _alone = alone_at_firewall(&self.locks)?;
        let row = store.read().host_row()?;
        let all = self.needs(&row, store, links)?;
        if all == Needs::default() && !self.keeper.backend_of(&row)?.inventory()?.is_loaded {
            return Ok(());
        }
        if self.is_whole(&row, &all, links)? { Ok(()) } else { self.load(&row, store, links) }
    }

    /// The firewall holds what the store says. The caller holds the firewall's lock alone.
    pub(super) fn reload_if_different_locked(&mut self, store: &Store, links: &mut HostLinks) -> Result<()> {
        let row = store.read().host_row()?;
        let all = self.needs(&row, store, links)?;
        if self.is_whole(&row, &all, links)? { Ok(()) } else { self.load(&row, store, links) }
    }

    /// Loads the ruleset where another program took it away, or a part of it. True where it did.
    pub fn repair(&mut self, store: &Store, links: &mut HostLinks) -> Result<bool> {
        // The first look is without the lock, for which attaches would wait.
        let row = store.read().host_row()?;
        let all = self.needs(&row, store, links)?;
        if all.networks.is_empty() || self.is_whole(&row, &all, links)? {
            return Ok(false);
        }
        let _alone = alone_at_firewall(&self.locks)?;
        let row = store.read().host_row()?;
        let all = self.needs(&row, store, links)?;
        if self.is_whole(&row, &all, links)? {
            return Ok(false);
        }
        warn!(self.log, "rules of ours were missing, or not what the containers need");
        self.load(&row, store, links)?;
        Ok(true)
    }

    /// Takes the rules of `network` away, on which no endpoint is. The caller holds the firewall's lock alone.
    pub fn load_without(&mut self, network: &Network, store: &Store, links: &mut HostLinks) -> Result<()> {
        let row = store.read().host_row()?;
        if !self.keeper.kind_of(&row)?.has_rules() || !self.keeper.backend_of(&row)?.inventory()?.is_loaded {
            return Ok(());
        }
        self.load_but(&row, network.link(), store, links)
    }

    /// Loads all that `row` and the store say. The caller holds the firewall's lock alone.
    pub(super) fn load(&mut self, row: &HostRow, store: &Store, links: &mut HostLinks) -> Result<()> {
        self.load_but(row, None, store, links)
    }

    /// The same without the network that has the bridge `but`.
    fn load_but(
        &mut self,
        row: &HostRow,
        but: Option<&InterfaceName>,
        store: &Store,
        links: &mut HostLinks,
    ) -> Result<()> {
        let pair = LinkPair::of(row, &self.keeper, links)?;
        let loaded = pair.before_load(links).and_then(|()| {
            let mut all = self.needs(row, store, links)?;
            if but.is_some() {
                all.networks.retain(|network| Some(&network.bridge) != but);
                all.base.has_internal = all.networks.iter().any(|network| network.internal);
                let is_closed = all.base.close_forwarding.contains(Family::V6);
                all.base.has_ipv6 = is_closed || all.networks.iter().any(NetworkNeeds::has_ipv6);
                all.base.has_addressed &= all.networks.iter().any(NetworkNeeds::is_addressed);
            }
            info!(self.log, "loading the ruleset"; "networks" => all.networks.len(), "ports" => all.publish.len());
            self.keeper.backend_of(row)?.load(&all)?;
            Ok(all)
        });
        let settled = pair.after_load(loaded.is_ok(), links);
        match loaded {
            Ok(all) => settled.and_then(|()| self.verify(row, &all)),
            Err(error) => Err(error.after(settled)),
        }
    }

    /// Exit code 0 of `nft` or `iptables-restore` does not prove that the program read all of its input: it takes a
    /// read that fails for the end.
    fn verify(&mut self, row: &HostRow, all: &Needs) -> Result<()> {
        if self.keeper.backend_of(row)?.matches(all)? {
            return Ok(());
        }
        let kind = self.keeper.kind_of(row)?;
        let what = "ended with exit code 0, and the kernel does not hold all of ocinet's rules";
        let remedy = "another program may have changed them meanwhile; try again, and see ocinet doctor";
        Err(kernel::Error::Program(format!("the program that loads rules for {kind} {what}: {remedy}")).into())
    }
}
