//! What one container needs of the rules: at its attach, when it stands and is looked at again, and at its detach.

use std::net::Ipv6Addr;

use super::forwarding::not_forwarded;
use super::ruleset::Rules;
use crate::engine::locks::FirewallLock;
use crate::engine::{Error, Result};
use crate::firewall::{Change, Kind, NetworkNeeds, Publish, moved_ports, publish_needs};
use crate::kernel::HostLinks;
use crate::model::{Families, Family, Network, PortMapping, Sandbox};
use crate::store::{HostRow, Store};

/// Refuses ports of IPv6 where the host's own rules decide about published ports: they cannot be asked about these.
pub(in crate::engine) fn refuse_unasked<'p>(mut ports: impl Iterator<Item = &'p Publish>) -> Result<()> {
    if ports.all(|port| port.family() != Some(Family::V6) || !port.reached_by.has_host()) {
        return Ok(());
    }
    Err(Error::Conflict(
        "published_ports = \"respect-host-firewall\" in config.toml cannot be kept for IPv6: publish ports on a network \
         without IPv6, or on an IPv4 address of the host"
            .into(),
    ))
}

/// Refuses ports on ::1 where iptables keeps the rules: it changes the address of a packet by NAT alone, and the kernel
/// lets no answer to ::1 in by a bridge. Ports that lead nowhere by now may lead somewhere by the next connect.
pub(in crate::engine) fn refuse_loopback(kind: Kind, sandbox: &Sandbox) -> Result<()> {
    let is_at_loopback = |ports: &&PortMapping| ports.host_address.one() == Some(Ipv6Addr::LOCALHOST.into());
    let Some(ports) = sandbox.publish.iter().find(is_at_loopback) else { return Ok(()) };
    if !matches!(kind, Kind::IptablesNft | Kind::IptablesLegacy) {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "iptables cannot lead [::1] of the host to a container, and container {} publishes {ports}: publish it on \
         127.0.0.1, or have nftables keep the rules (firewall in config.toml)",
        sandbox.container
    )))
}

impl Rules {
    /// Puts in place what `sandbox` needs. `firewall_lock` was taken before its lease was written.
    pub fn open_for(
        &mut self,
        sandbox: &Sandbox,
        networks: &[Network],
        firewall_lock: FirewallLock,
        store: &mut Store,
        links: &mut HostLinks,
    ) -> Result<()> {
        self.open(sandbox, &publish_needs(sandbox), networks, firewall_lock, store, links)
    }

    /// Puts in place what a further endpoint of `sandbox` on `network` needs, to which no published port leads yet.
    /// `firewall_lock` was taken before its lease was written.
    pub fn open_network(
        &mut self,
        sandbox: &Sandbox,
        network: &Network,
        firewall_lock: FirewallLock,
        store: &mut Store,
        links: &mut HostLinks,
    ) -> Result<()> {
        self.open(sandbox, &[], std::slice::from_ref(network), firewall_lock, store, links)
    }

    /// Has the published ports of a container lead where `after` says, and no more where `before` said. The store says
    /// the former already, in a transaction under `firewall_lock`.
    pub fn move_ports(
        &mut self,
        before: &Sandbox,
        after: &Sandbox,
        firewall_lock: FirewallLock,
        store: &Store,
        links: &mut HostLinks,
    ) -> Result<()> {
        let FirewallLock { row, lock } = firewall_lock;
        let (base, [remove, add]) = (self.base(&row, links)?, moved_ports(before, after));
        let change = Change { base, networks: &[], add: &add, remove: &remove };
        let whole = self.keeper.backend_of(&row)?.apply(&change)?;
        drop(lock);
        if whole { Ok(()) } else { self.reload_if_different(store, links) }
    }

    /// Refuses a container whose ports were moved to `network` and are reached there at its own address, where no pass
    /// lets them through.
    ///
    /// # Errors
    /// [`Error::Conflict`](crate::engine::Error::Conflict), which names the firewall.
    pub fn refuse_unpassed(&mut self, sandbox: &Sandbox, network: &Network, store: &Store) -> Result<()> {
        if network.link().is_none() || sandbox.addressed_on(&network.name).is_empty() {
            return Ok(());
        }
        if !self.keeper.kind(store)?.has_rules() {
            return Ok(());
        }
        let networks = std::slice::from_ref(network);
        let survey = self.passes.add_missing(&self.locks, networks)?;
        self.passes.refuse_unpassed(&survey, sandbox, networks)
    }

    fn open(
        &mut self,
        sandbox: &Sandbox,
        ports: &[Publish],
        networks: &[Network],
        firewall_lock: FirewallLock,
        store: &mut Store,
        links: &mut HostLinks,
    ) -> Result<()> {
        let FirewallLock { row, lock } = firewall_lock;
        let kind = self.keeper.kind_of(&row)?;
        if !kind.has_rules() {
            return Ok(());
        }
        if networks.iter().all(|network| network.link().is_none()) {
            return Ok(());
        }
        refuse_loopback(kind, sandbox)?;
        let needs: Vec<NetworkNeeds> = networks.iter().filter_map(NetworkNeeds::of).collect();
        let base = self.base(&row, links)?;
        if base.input_loop.is_used() {
            refuse_unasked(ports.iter())?;
        }
        let missing = not_forwarded(needs.iter())?;
        if missing != Families::default() {
            drop(lock);
            // Loads all that the store says, these ports included.
            self.forward(missing, store, links)?;
            let survey = self.passes.add_missing(&self.locks, networks)?;
            return self.passes.refuse_unpassed(&survey, sandbox, networks);
        }
        let change = Change { base, networks: &needs, add: ports, remove: &[] };
        let whole = self.keeper.backend_of(&row)?.apply(&change)?;
        drop(lock);
        if !whole {
            self.load_for(ports.to_vec(), needs, store, links)?;
        }
        let survey = self.passes.add_missing(&self.locks, networks)?;
        self.passes.refuse_unpassed(&survey, sandbox, networks)
    }

    /// Loads the ruleset where anything of it, or a published port of `sandbox`, is missing, and lets the host forward.
    pub fn restore_for(
        &mut self,
        sandbox: &Sandbox,
        network: &Network,
        store: &mut Store,
        links: &mut HostLinks,
    ) -> Result<()> {
        if network.link().is_none() {
            return Ok(());
        }
        let needs = Vec::from_iter(NetworkNeeds::of(network));
        self.forward(not_forwarded(needs.iter())?, store, links)?;
        self.load_for(publish_needs(sandbox), needs, store, links)?;
        self.passes.add_missing(&self.locks, std::slice::from_ref(network)).map(drop)
    }

    /// Lets no published port lead to `sandbox` any more. The caller shares the firewall's lock, and has read `row`
    /// since.
    pub fn close_for(&mut self, sandbox: &Sandbox, row: &HostRow, links: &mut HostLinks) -> Result<()> {
        let (base, ports) = (self.base(row, links)?, publish_needs(sandbox));
        self.keeper.backend_of(row)?.apply(&Change { base, remove: &ports, ..Change::default() })?;
        Ok(())
    }
}
