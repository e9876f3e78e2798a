//! The default route and the published ports of a container that runs, after one of its endpoints has come or is about
//! to go.
//!
//! The store says first where they lead. Then the container's own route moves, then the elements of the firewall, and
//! at last the flows of the old target are forgotten: TCP clients get a reset with their next packet. What does not
//! change is not touched.

use std::net::IpAddr;

use slog::warn;

use super::gained::{HeldBack, hold_back};
use crate::decide::joined;
use crate::decide::names::not_asked_by;
use crate::decide::published::{PublishedBy, dormant, gained};
use crate::driver::SandboxStep;
use crate::engine::locks::{FirewallLock, change_at_firewall};
use crate::engine::{Engine, Error, Result};
use crate::firewall::publish_needs;
use crate::kernel::{Netns, Place, perform};
use crate::model::{Endpoint, Families, Family, HostAddress, Network, NetworkName, Protocol, Publishing, Sandbox};
use crate::store::{HostRow, Write};

impl Engine {
    /// Changes the states of the endpoints of a sandbox as `mark` does in the same transaction, and gives the default route and the published
    /// ports to those that are to have them. `netns` is its namespace; none where that is gone. The caller holds the
    /// sandbox's lock.
    pub(in crate::engine) fn rearrange(
        &mut self,
        number: i64,
        netns: Option<&Netns>,
        mark: impl Fn(&Write<'_>, &mut Sandbox) -> Result<()>,
    ) -> Result<Sandbox> {
        self.rules.finish_moving(&mut self.store, &mut self.links)?;
        let deletion = self.locks.shared(Place::Deletion)?;
        let lock = change_at_firewall(&self.locks)?;
        let Arranged { before, after, row } = self.arrange_in_store(number, mark)?;
        if let Some(netns) = netns {
            for step in moved_routes(&before, &after) {
                // The container may have set its links down: then it has no such route, and harms itself alone.
                self.warn_of(perform::inside(netns, &[step], None));
            }
        }
        self.step("route");
        let newly = after.dormant_ports().filter(|mapping| !before.is_dormant(mapping));
        if let Some(ports) = dormant(&after, newly) {
            warn!(self.log, "container {} publishes {ports}", after.container);
        }
        if publish_needs(&before) == publish_needs(&after) {
            return Ok(after);
        }
        if self.rules.keeper.kind_of(&row)?.has_rules() {
            self.drains.deletion_lock = Some(deletion);
            let firewall_lock = FirewallLock { lock, row };
            self.rules.move_ports(&before, &after, firewall_lock, &self.store, &mut self.links)?;
        }
        for old in targets_left(&before, &after) {
            let forgotten = self.flows.conntrack().and_then(|conntrack| conntrack.forget_flows_led_to(old));
            self.warn_of(forgotten);
        }
        self.forget_earlier_flows(&after);
        self.step("ports");
        Ok(after)
    }

    /// Writes what is decided anew. The kernel is asked about ports of a family that the container gains outside of the
    /// transaction.
    fn arrange_in_store(
        &mut self,
        number: i64,
        mark: impl Fn(&Write<'_>, &mut Sandbox) -> Result<()>,
    ) -> Result<Arranged> {
        let mut held: Option<Vec<HeldBack>> = None;
        loop {
            let written = self.store.write(|store| {
                let gone = || Error::NotFound("the container was detached meanwhile".into());
                let before = store.sandbox(number)?.ok_or_else(gone)?;
                let mut after = before.clone();
                mark(store, &mut after)?;
                arrange(store, &mut after)?;
                match &held {
                    Some(held) => hold_back(&mut after, held),
                    None if gained(&before, &after).is_some() => {
                        return Err(Unarranged::Gained(Box::new((before, after))));
                    }
                    None => {}
                }
                if after.publish != before.publish {
                    store.set_ports(&before, &after)?;
                } else if after != before {
                    store.set_sandbox(&after)?;
                }
                Ok(Arranged { before, after, row: store.host_row()? })
            });
            let (before, after) = match written {
                Err(Unarranged::Gained(sandboxes)) => *sandboxes,
                Err(Unarranged::Failed(error)) => return Err(error),
                Ok(arranged) => {
                    let container = arranged.after.container.as_str();
                    held.iter().flatten().for_each(|one| warn!(self.log, "{}", one.told(container)));
                    return Ok(arranged);
                }
            };
            held = Some(self.held_back(&before, &after)?);
        }
    }

    /// A UDP client that keeps sending keeps its flow, and would never reach this container. TCP tells its client with
    /// a reset.
    pub(in crate::engine) fn forget_earlier_flows(&mut self, sandbox: &Sandbox) {
        let udp = sandbox.publish.iter().filter(|mapping| mapping.protocol == Protocol::Udp);
        let ports: Vec<(HostAddress, u16)> =
            udp.flat_map(|mapping| mapping.pairs().map(|(port, _)| (mapping.host_address, port))).collect();
        for target in sandbox.port_targets().into_iter().filter(|_| !ports.is_empty()) {
            let forgotten = self.flows.conntrack().and_then(|conntrack| conntrack.forget_flows_to(&ports, target));
            self.warn_of(forgotten);
            self.step("flows");
        }
    }
}

/// A sandbox before and after it was arranged, with what holds on the host.
struct Arranged {
    before: Sandbox,
    after: Sandbox,
    row: HostRow,
}

/// Why nothing was written.
enum Unarranged {
    /// The sandbox, before and after, gains a family of which the host's ports are to be asked about first.
    Gained(Box<(Sandbox, Sandbox)>),
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Unarranged {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Decides for those endpoints of `sandbox` that it is to have; to the others nothing leads.
///
/// Its published ports keep what was chosen for them at its attach. Where the network to which they would lead now
/// decides otherwise (`PublishedBy`), they lead to the first that takes them as they are, and else nowhere.
pub(in crate::engine) fn arrange(store: &Write<'_>, sandbox: &mut Sandbox) -> Result<()> {
    // A sandbox that was rebuilt, or is of an earlier version, does not say so: then its published ports were
    // masqueraded without being asked for.
    let leads_elsewhere = sandbox.leads_elsewhere
        || sandbox.publish_via.is_none()
            && sandbox.endpoints.iter().any(|endpoint| {
                Family::ALL.into_iter().any(|family| endpoint.publishing_of(family) == Publishing::Masqueraded)
            });
    let (mut staying, mut networks): (Vec<Endpoint>, Vec<Network>) = (Vec::new(), Vec::new());
    for endpoint in sandbox.wired_endpoints() {
        let network = store.network(&endpoint.network)?;
        let unknown = || Error::Conflict(format!("nothing is known of network {} any more", endpoint.network));
        networks.push(network.ok_or_else(unknown)?);
        staying.push(endpoint.clone());
    }
    joined::rearrange(&mut staying, &networks, sandbox.publish_via.as_ref(), leads_elsewhere)?;
    let is_taken = |staying: &[Endpoint], family| is_taken_as_it_is(sandbox, staying, &networks, family);
    let are_taken = |staying: &[Endpoint]| Family::ALL.into_iter().all(|family| is_taken(staying, family));
    if !are_taken(&staying) {
        let mut others = networks.iter().map(|network| &network.name);
        let is_other = |name: &&NetworkName| {
            let arranged = joined::rearrange(&mut staying, &networks, Some(name), leads_elsewhere);
            arranged.is_ok() && are_taken(&staying)
        };
        if others.find(is_other).is_none() {
            joined::rearrange(&mut staying, &networks, sandbox.publish_via.as_ref(), leads_elsewhere)?;
            let taken: Families = Family::ALL.into_iter().filter(|family| is_taken(&staying, *family)).collect();
            for endpoint in &mut staying {
                let arranged = endpoint.clone();
                let of = |family| if taken.contains(family) { arranged.publishing_of(family) } else { Publishing::Off };
                endpoint.set_publishing(of);
            }
        }
    }
    for endpoint in &mut sandbox.endpoints {
        match staying.iter().find(|one| one.number == endpoint.number) {
            Some(arranged) => endpoint.clone_from(arranged),
            None => {
                endpoint.routes = Vec::new();
                endpoint.set_publishing(|_| Publishing::Off);
            }
        }
    }
    Ok(())
}

/// Whether the published ports of `before` can lead over `family` where they would lead to those `endpoints`, each on the
/// network in its place. Where they stay they are as they were asked for.
fn is_taken_as_it_is(before: &Sandbox, endpoints: &[Endpoint], networks: &[Network], family: Family) -> bool {
    let after = Sandbox { endpoints: endpoints.to_vec(), ..before.clone() };
    let Some((to, publishing)) = after.port_target(family) else { return true };
    let is_routed = |publishing| publishing == Publishing::Routed;
    let stays = |(from, was): (IpAddr, Publishing)| from == to && is_routed(was) == is_routed(publishing);
    if before.publish.is_empty() || before.port_target(family).is_some_and(stays) {
        return true;
    }
    let mut both = endpoints.iter().zip(networks);
    let network = both.find(|(endpoint, _)| endpoint.address_of(family) == Some(to)).map(|(_, network)| network);
    network.is_some_and(|network| PublishedBy::of(network).takes(&before.publish, family, before.routed))
}

/// The addresses to which published ports of `before` lead, and those of `after` do not.
pub(in crate::engine) fn targets_left(before: &Sandbox, after: &Sandbox) -> Vec<IpAddr> {
    let mut left = before.port_targets();
    left.retain(|target| !after.port_targets().contains(target));
    left
}

/// What has to be done in the container for the default route, of either family, and for the way to the name server.
pub(in crate::engine) fn moved_routes(before: &Sandbox, after: &Sandbox) -> Vec<SandboxStep> {
    let gateway = |sandbox: &Sandbox, is_v4: bool| {
        sandbox.endpoints.iter().flat_map(Endpoint::gateways).find(|gateway| gateway.is_ipv4() == is_v4)
    };
    let of_family = |is_v4| match (gateway(before, is_v4), gateway(after, is_v4)) {
        (Some(from), to) if Some(from) != to => Some(SandboxStep::MoveDefaultRoute { from, to }),
        (None, Some(gateway)) => Some(SandboxStep::DefaultRoute { gateway }),
        _ => None,
    };
    [true, false].into_iter().filter_map(of_family).chain(not_asked_by(before, after)).collect()
}
