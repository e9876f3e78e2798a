use slog::{info, warn};

use crate::driver;
use crate::engine::locks::{FirewallLock, alone_at_firewall};
use crate::engine::{Engine, Result};
use crate::firewall::{Base, Change, Kind, Needs, NetworkNeeds, Publish, publish_needs};
use crate::kernel::{self, perform};
use crate::model::{Network, Sandbox};
use crate::store::{Forwarding, HostRow};

impl Engine {
    /// Puts in place what `sandbox` needs. `firewall_lock` was taken before its lease was written.
    pub(in crate::engine) fn open_firewall(
        &mut self,
        sandbox: &Sandbox,
        network: &Network,
        firewall_lock: FirewallLock,
    ) -> Result<()> {
        let FirewallLock { row, lock } = firewall_lock;
        if !self.keeper.kind_of(&row)?.has_rules() {
            return Ok(());
        }
        let Some(link) = network.link() else { return Ok(()) };
        if !kernel::forwarding()? {
            drop(lock);
            // Loads all that the store says, this sandbox's ports included.
            self.forward()?;
            return self.passes.add_missing(&self.locks, link);
        }
        let (networks, ports) = (Vec::from_iter(NetworkNeeds::of(network)), publish_needs(sandbox));
        let change = Change { base: self.base_of(&row)?, networks: &networks, add: &ports, remove: &[] };
        let whole = self.keeper.backend_of(&row)?.apply(&change)?;
        drop(lock);
        if !whole {
            self.load_ruleset(sandbox, network)?;
        }
        self.passes.add_missing(&self.locks, link)
    }

    /// Loads the ruleset where the firewall does not hold the ports of `sandbox`, or not all that `network` needs.
    pub(in crate::engine) fn load_ruleset(&mut self, sandbox: &Sandbox, network: &Network) -> Result<()> {
        let _alone = alone_at_firewall(&self.locks)?;
        let (base, networks) = (self.base()?, Vec::from_iter(NetworkNeeds::of(network)));
        let part = Needs { base, networks, publish: publish_needs(sandbox), sources: Vec::new() };
        // A process that loaded it while we waited has read our sandbox, too.
        if self.keeper.backend(&self.store)?.holds(&part)? { Ok(()) } else { self.load_all() }
    }

    /// The firewall holds what the store says and nothing else: not the port of a container that is gone from the store, whose
    /// address another container may have.
    pub(in crate::engine) fn reload_firewall_if_different(&mut self) -> Result<()> {
        let _alone = alone_at_firewall(&self.locks)?;
        let all = self.all_needs()?;
        if all == Needs::default() && !self.keeper.backend(&self.store)?.inventory()?.is_loaded {
            return Ok(());
        }
        if self.is_firewall_whole(&all)? { Ok(()) } else { self.load_all() }
    }

    /// The firewall holds what the store says. The caller holds the firewall's lock alone.
    pub(in crate::engine) fn reload_if_different_locked(&mut self) -> Result<()> {
        let all = self.all_needs()?;
        if self.is_firewall_whole(&all)? { Ok(()) } else { self.load_all() }
    }

    /// Whether the kernel holds everything that `all` needs.
    fn is_firewall_whole(&mut self, all: &Needs) -> Result<bool> {
        Ok(self.is_input_loop_as_needed(all.base.input_loop)? && self.keeper.backend(&self.store)?.matches(all)?)
    }

    /// Loads the ruleset where another program took it away, or a part of it. True where it did.
    ///
    /// # Errors
    /// Those of the kernel and the store.
    pub fn repair_firewall(&mut self) -> Result<bool> {
        // The first look is without the lock, for which attaches would wait.
        let all = self.all_needs()?;
        if all.networks.is_empty() || self.is_firewall_whole(&all)? {
            return Ok(false);
        }
        let _alone = alone_at_firewall(&self.locks)?;
        let all = self.all_needs()?;
        if self.is_firewall_whole(&all)? {
            return Ok(false);
        }
        warn!(self.log, "rules of ours were missing, or not what the containers need");
        self.load_all()?;
        Ok(true)
    }

    fn load_all(&mut self) -> Result<()> {
        self.load_with_input_loop(|engine| {
            let all = engine.all_needs()?;
            info!(engine.log, "loading the ruleset"; "networks" => all.networks.len(), "ports" => all.publish.len());
            engine.load_and_verify(&all)
        })
    }

    /// Exit code 0 of `nft` or `iptables-restore` does not prove that the program read all of its input: it takes a read
    /// that fails for the end.
    fn load_and_verify(&mut self, all: &Needs) -> Result<()> {
        let firewall = self.keeper.backend(&self.store)?;
        firewall.load(all)?;
        if firewall.matches(all)? {
            return Ok(());
        }
        let kind = self.keeper.kind(&self.store)?;
        let what = "ended with exit code 0, and the kernel does not hold all of ocinet's rules";
        let remedy = "another program may have changed them meanwhile; try again, and see ocinet doctor";
        Err(kernel::Error::Program(format!("the program that loads rules for {kind} {what}: {remedy}")).into())
    }

    /// The rules are kept as config.toml says, and no other firewall has any of ours. Where they have to move, they are in the new
    /// place before they go from the old one, so that nothing opens meanwhile.
    pub(in crate::engine) fn ensure_configured_firewall(&mut self) -> Result<HostRow> {
        let row = self.store.read().host_row()?;
        if self.keeper.is_as_configured(&row) {
            return Ok(row);
        }
        self.move_rules()?;
        Ok(self.store.read().host_row()?)
    }

    fn move_rules(&mut self) -> Result<()> {
        let _alone = alone_at_firewall(&self.locks)?;
        let row = self.store.read().host_row()?;
        let kind = self.keeper.configured(&row)?;
        let HostRow { firewall: now, former_firewalls: mut former, .. } = row;
        former.extend(now);
        former.retain(|former| *former != kind && former.has_rules());
        self.store.write(|store| store.set_firewall(kind, &former))?;
        if former.is_empty() {
            return Ok(());
        }
        info!(self.log, "moving the rules"; "to" => %kind);
        if kind.has_rules() {
            self.load_all()?;
        } else {
            self.leave_unguarded()?;
        }
        for former in &former {
            kernel::backend(*former)?.unload()?;
        }
        if !kind.has_rules() {
            self.links.delete_input_loop()?;
        }
        Ok(self.store.write(|store| store.set_firewall(kind, &[]))?)
    }

    /// Takes back what is safe only with rules of ours.
    fn leave_unguarded(&mut self) -> Result<()> {
        self.forward_no_more()?;
        self.store.write(|store| store.set_forwarding(Forwarding::OfOthers))?;
        for network in self.store.read().networks()? {
            for step in driver::of_network(&network, Kind::None.has_rules()) {
                perform::ensure_settings(&mut self.links, &step)?;
            }
        }
        if self.store.read().sandboxes()?.iter().any(|sandbox| !sandbox.publish.is_empty()) {
            warn!(self.log, "firewall = \"none\": ports that were published are not any more");
        }
        Ok(())
    }

    /// Goes on with a move of the rules that was cut off.
    pub(in crate::engine) fn finish_moving_rules(&mut self) -> Result<()> {
        if self.store.read().host_row()?.former_firewalls.is_empty() { Ok(()) } else { self.move_rules() }
    }

    /// Finds rules of ours, in any firewall, that a new store does not know.
    pub(in crate::engine) fn find_firewalls(&mut self) -> Result<()> {
        let loaded = kernel::loaded()?;
        if loaded.is_empty() {
            return Ok(());
        }
        let kind = self.keeper.kind(&self.store)?;
        let former: Vec<Kind> = loaded.into_iter().map(|(loaded, _)| loaded).filter(|loaded| *loaded != kind).collect();
        self.store.write(|store| store.set_firewall(kind, &former))?;
        self.ensure_configured_firewall()?;
        self.reload_firewall_if_different()
    }

    /// What the store, and for networks the host's routes, say that the firewall must hold.
    pub(in crate::engine) fn all_needs(&mut self) -> Result<Needs> {
        let base = self.base()?;
        let read = self.store.read();
        let publish: Vec<Publish> =
            read.sandboxes()?.iter().filter(|sandbox| sandbox.state.is_wired()).flat_map(publish_needs).collect();
        let networks: Vec<NetworkNeeds> = read.networks()?.iter().filter_map(NetworkNeeds::of).collect();
        let sources = if networks.is_empty() { Vec::new() } else { self.links.sources()? };
        Ok(Needs { base, networks, publish, sources })
    }

    /// What holds on the whole host.
    pub(in crate::engine) fn base(&mut self) -> Result<Base> {
        let row = self.store.read().host_row()?;
        self.base_of(&row)
    }

    /// What `row` says that holds on the whole host.
    pub(in crate::engine) fn base_of(&mut self, row: &HostRow) -> Result<Base> {
        let input_loop = self.input_loop_of(row)?;
        Ok(Base { close_forwarding: row.forwarding != Forwarding::OfOthers, input_loop })
    }
}
