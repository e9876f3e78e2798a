//! What ocinet made, beside what the store says.

use super::Finding;
use crate::decide::liveness::Life;
use crate::driver::{self, EndpointStep, NamesPort};
use crate::engine::locks::{place_of, place_of_draining};
use crate::engine::repair::Connected;
use crate::engine::rules::{is_input_loop_as_needed, not_forwarded};
use crate::engine::{Engine, Member, Result};
use crate::firewall::{InputLoop, Kind, NetworkNeeds, input_loop, iptables};
use crate::input::config::PublishedPorts;
use crate::kernel::perform::{self, EndpointFault, NetworkFault};
use crate::kernel::{self, Place};
use crate::model::{Alias, ChangedSetting, Endpoint, Family, InterfaceName, Mode, Network, Sandbox, State};
use crate::store::HostRow;

/// The trouble with what no container owns.
const NO_OWNER: &str = "belongs to no container that is known";

impl Engine {
    /// The containers: dead ones that hold something, and links that are not as they were made.
    pub(super) fn examine_containers(&mut self) -> Result<Vec<Finding>> {
        // First, since one whose network is gone is told by what is attached after it.
        let members = self.members();
        let sandboxes = self.store.read().sandboxes()?;
        let mut findings: Vec<Finding> = match &members {
            Ok(members) => members
                .iter()
                .filter(|(member, alive)| {
                    *alive == Some(true) && !sandboxes.iter().any(|sandbox| member.is_of(sandbox))
                })
                .map(|(member, _)| cut_off(member))
                .collect(),
            Err(error) => vec![Finding::unexamined("containers that share a network", error)],
        };
        for sandbox in &sandboxes {
            let subject = format!("container {}", sandbox.container);
            match self.examine_container(sandbox, &subject) {
                Ok(found) => findings.extend(found),
                Err(error) if error.is_store_lost() => return Err(error),
                Err(error) => {
                    findings.push(Finding::unexamined(subject, &error));
                }
            }
        }
        findings.extend(self.examine_draining()?);
        let stray = |link: InterfaceName| Finding::ours(format!("link {link}"), NO_OWNER);
        findings.extend(self.stray_links()?.into_iter().map(stray));
        let stray = |(link, address)| Finding::ours(format!("neighbour entry {address} of {link}"), NO_OWNER);
        findings.extend(self.stray_neighbours()?.into_iter().map(stray));
        let stray = |entry| Finding::ours(format!("proxy entry {entry}"), NO_OWNER);
        findings.extend(self.stray_proxies()?.into_iter().map(stray));
        Ok(findings)
    }

    fn examine_container(&mut self, listed: &Sandbox, subject: &str) -> Result<Vec<Finding>> {
        // Where another process has the lock, it is at work on the sandbox.
        let Some(_lock) = self.locks.attempt(place_of(listed))? else { return Ok(Vec::new()) };
        // It may have changed, or gone, before we had the lock.
        let Some(sandbox) = self.store.read().sandbox(listed.number)? else { return Ok(Vec::new()) };
        if sandbox.state != State::Attached {
            return Ok(vec![Finding::ours(subject, format!("was left {}", sandbox.state))]);
        }
        match self.life(&sandbox) {
            Life::Alive => self.examine_links(&sandbox, subject),
            Life::Dead => Ok(vec![Finding::ours(subject, format!("is dead, and still holds {}", held_by(&sandbox)))]),
            Life::Unknown(why) => {
                let trouble = format!("cannot be looked at, so it keeps {}: {why}", held_by(&sandbox));
                let remedy = format!(
                    "ocinet doctor as root with CAP_SYS_PTRACE and CAP_SYS_ADMIN; where the container is gone for certain: \
                     ocinet gc --forget {}",
                    sandbox.container
                );
                Ok(vec![Finding::yours(subject, trouble, remedy)])
            }
        }
    }

    fn examine_links(&mut self, sandbox: &Sandbox, subject: &str) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for Connected { endpoint, network, steps } in self.connected(sandbox)? {
            if endpoint.state != State::Attached {
                findings.push(Finding::ours(
                    subject,
                    format!("was left {} to network {}", endpoint.state, endpoint.network),
                ));
                continue;
            }
            if network.is_none() {
                let trouble = format!("is on network {}, of which nothing is known any more", endpoint.network);
                findings.push(Finding::yours(subject, trouble, "start it again"));
            }
            for step in &steps {
                let fault = self.fault_of(sandbox, endpoint, step)?;
                findings.extend(fault.map(|fault| Finding::ours(subject, trouble_of_endpoint(endpoint, fault))));
            }
            let entries = self.entries_for(&[endpoint])?;
            findings.extend(self.missing_entries(entries)?.into_iter().map(|entry| {
                let trouble = format!("is not found by neighbours of the host: a proxy entry is missing, {entry}");
                Finding::ours(subject, trouble)
            }));
            if let Some(link) = endpoint.wire.host_link()
                && self.links.has_peer_down(link)?
            {
                findings.push(down_inside(subject, endpoint));
            }
        }
        Ok(findings)
    }

    /// What is wrong with an endpoint of `sandbox`, which lives. One of an earlier version may lack the filter of what goes
    /// in: IPv6 is switched off on its interface itself.
    pub(super) fn fault_of(
        &mut self,
        sandbox: &Sandbox,
        endpoint: &Endpoint,
        step: &EndpointStep,
    ) -> Result<Option<EndpointFault>> {
        let fault = perform::endpoint_fault(&mut self.links, step)?;
        let is_off = fault == Some(EndpointFault::OpenToIpv6)
            && perform::has_ipv6_off(&self.namespace_of(sandbox)?, &endpoint.interface)?;
        Ok(fault.filter(|_| !is_off))
    }

    /// Drains that were cut off.
    fn examine_draining(&mut self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for listed in self.store.read().all_draining()? {
            // Where another process has the lock, it drains the endpoint.
            let Some(_lock) = self.locks.attempt(place_of_draining(&listed))? else { continue };
            if self.store.read().draining(listed.endpoint.number)?.is_some() {
                let subject = format!("container {}", listed.container);
                findings.push(Finding::ours(subject, format!("was left {}", State::Draining)));
            }
        }
        Ok(findings)
    }

    /// Links of endpoints that the store does not name.
    fn stray_links(&mut self) -> Result<Vec<InterfaceName>> {
        let mut stray = self.links_of_endpoints()?;
        let (sandboxes, draining) =
            self.store.read().at_one_moment(|store| Ok((store.sandboxes()?, store.all_draining()?)))?;
        let standing = sandboxes.iter().flat_map(|sandbox| &sandbox.endpoints);
        let endpoints: Vec<&Endpoint> = standing.chain(draining.iter().map(|draining| &draining.endpoint)).collect();
        stray.retain(|link| !endpoints.iter().any(|endpoint| endpoint.wire.host_link() == Some(link)));
        if !stray.is_empty() {
            // An endpoint is stored before its link is made, and for longer than that lasts: one that came or went
            // meanwhile is not in both lists.
            let still = self.links_of_endpoints()?;
            stray.retain(|link| still.contains(link));
        }
        Ok(stray)
    }

    fn links_of_endpoints(&mut self) -> Result<Vec<InterfaceName>> {
        let is_endpoints = |alias: &Alias| matches!(alias, Alias::Endpoint { .. } | Alias::Draining { .. });
        let links = self.links.all_ours()?.into_iter();
        Ok(links.filter(|link| is_endpoints(&link.alias)).map(|link| link.name).collect())
    }

    /// What the endpoints of the networks in use share.
    pub(super) fn examine_networks(&mut self) -> Result<Vec<Finding>> {
        let (mut findings, mut has_names) = (Vec::new(), false);
        let guarded = self.rules.keeper.kind(&self.store)?.has_rules();
        for network in self.networks_in_use()? {
            has_names |= driver::names_port(&network).is_some();
            match self.examine_network(&network, guarded) {
                Ok(found) => findings.extend(found),
                Err(error) => findings.push(Finding::unexamined(format!("network {}", network.name), &error)),
            }
        }
        match self.examine_answering() {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(Finding::unexamined("answers to neighbours of the host", &error)),
        }
        if has_names {
            findings.extend(self.examine_names());
        }
        Ok(findings)
    }

    /// The settings of the host's links by which it answers neighbours for containers.
    fn examine_answering(&mut self) -> Result<Vec<Finding>> {
        let sandboxes = self.store.read().sandboxes()?;
        let endpoints: Vec<&Endpoint> = sandboxes.iter().flat_map(Sandbox::wired_endpoints).collect();
        let entries = self.entries_for(&endpoints)?;
        // What protects the host's own routes from such a change is none of the containers' needs.
        let needed = self.settings_for(&entries)?.into_iter().filter(|setting| !setting.key.ends_with("/accept_ra"));
        let finding = |ChangedSetting { key, from, .. }| {
            let trouble = format!("is {from}: neighbours of the host find no container by their NDP proxy");
            Finding::ours(format!("sysctl {key}"), trouble)
        };
        Ok(needed.map(finding).collect())
    }

    fn examine_network(&mut self, network: &Network, guarded: bool) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for step in driver::of_network(network, guarded) {
            let faults = perform::network_faults(&mut self.links, &step)?;
            let trouble = |fault| Finding::ours(step.to_string(), trouble_of_network(network, fault));
            findings.extend(faults.into_iter().map(trouble));
        }
        if let Some(NamesPort { port, .. }) = driver::names_port(network)
            && perform::endpoint_fault(&mut self.links, &port)?.is_some()
        {
            let trouble = "is missing, or not as it was made: its containers do not find each other by their names";
            findings.push(Finding::ours(format!("name server on network {}", network.name), trouble));
        }
        Ok(findings)
    }

    /// The networks that a container is on.
    pub(super) fn networks_in_use(&mut self) -> Result<Vec<Network>> {
        let sandboxes = self.store.read().sandboxes()?;
        let endpoints = || sandboxes.iter().flat_map(Sandbox::wired_endpoints);
        let mut networks = self.store.read().networks()?;
        networks.retain(|network| endpoints().any(|endpoint| endpoint.network == network.name));
        Ok(networks)
    }

    /// Whether the rules that the firewall keeps are those that the containers need.
    ///
    /// # Errors
    /// When the kernel or the store cannot be asked.
    pub fn has_whole_rules(&mut self) -> Result<bool> {
        let _alone = self.locks.exclusive(Place::Firewall)?;
        let row = self.store.read().host_row()?;
        let all = self.rules.needs(&row, &self.store, &mut self.links)?;
        Ok(self.rules.keeper.backend_of(&row)?.matches(&all)?)
    }

    /// The ruleset, and the switch without which it has nothing to do.
    pub(super) fn examine_firewall(&mut self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        // Under this lock no process has written to the store and not yet to the kernel.
        let alone = self.locks.exclusive(Place::Firewall)?;
        let row = self.store.read().host_row()?;
        let all = self.rules.needs(&row, &self.store, &mut self.links)?;
        if !self.rules.keeper.backend_of(&row)?.matches(&all)? {
            let trouble = "are missing, or not what the containers need: published ports may be closed, or guards open";
            findings.push(Finding::ours(rules_of(self.rules.keeper.kind_of(&row)?), trouble));
        }
        if !all.networks.is_empty() && !is_input_loop_as_needed(all.base.input_loop, &mut self.links)? {
            let trouble = match all.base.input_loop {
                InputLoop::Unused => "is left from when the host's own rules were asked about published ports",
                InputLoop::ToBeMade | InputLoop::Made { .. } => {
                    "is missing, or not as it was made: published ports cannot be reached from outside"
                }
            };
            findings.push(Finding::ours(format!("link {}", input_loop::ENTRANCE), trouble));
        }
        drop(alone);
        if !self.rules.keeper.is_as_configured(&row) && row.firewall.is_some() {
            let trouble = "are not, or not only, kept by the firewall that config.toml asks for";
            findings.push(Finding::ours(rules_of(self.rules.keeper.kind_of(&row)?), trouble));
        }
        findings.extend(self.examine_published_ports(&row)?);
        let guarded = self.rules.keeper.kind_of(&row)?.has_rules();
        let needs: Vec<NetworkNeeds> = self.networks_in_use()?.iter().filter_map(NetworkNeeds::of).collect();
        if guarded && !needs.is_empty() {
            for family in not_forwarded(needs.iter())?.iter() {
                let by = if family == Family::V6 { " by IPv6" } else { "" };
                let trouble = format!("is 0: no container reaches the outside{by}");
                findings
                    .push(Finding::ours(format!("sysctl {}", kernel::forwarding_setting(family)?.dotted()), trouble));
            }
        }
        Ok(findings)
    }

    /// Whether published ports are reached by those that config.toml lets in.
    fn examine_published_ports(&self, row: &HostRow) -> Result<Vec<Finding>> {
        let asks = self.config.published_ports == PublishedPorts::RespectHostFirewall;
        let mut findings = Vec::new();
        if row.respect_host_firewall != asks && row.firewall.is_some() {
            let trouble = "are not, or still, subject to the host's own rules, as published_ports in config.toml says";
            findings.push(Finding::ours("published ports", trouble));
        }
        if let Some(priority) = iptables::priority_of_asking(self.rules.keeper.kind_of(row)?).filter(|_| asks) {
            for chain in kernel::chains_behind_security(priority)? {
                let trouble = "is not asked about published ports: it comes later than ocinet's own in table security";
                let remedy =
                    format!("give it a priority below {priority}, or set firewall = \"nftables\" in config.toml");
                findings.push(Finding::yours(format!("chain {chain}"), trouble, remedy));
            }
        }
        Ok(findings)
    }
}

/// That a container that shares another's network is left in one that is gone.
fn cut_off(member: &Member) -> Finding {
    let Member { container, owner_name, bundle, .. } = member;
    let trouble = format!("is cut off: it shares a network of {owner_name} that is gone");
    let remedy = format!("end it; with {owner_name} running, ocinet prepare {bundle}, and start it again");
    Finding::yours(format!("container {container}"), trouble, remedy)
}

/// That a container has set its interface down. It may, so that nothing is repaired.
fn down_inside(subject: &str, endpoint: &Endpoint) -> Finding {
    let Endpoint { interface, network, .. } = endpoint;
    let trouble = format!("is cut off from network {network}: {interface} is down inside it");
    Finding::yours(subject, trouble, format!("set {interface} up in the container, or start it again"))
}

/// What is wrong with an endpoint, as a sentence about its container. Its link is the one in the container where the
/// host has none for it.
fn trouble_of_endpoint(endpoint: &Endpoint, fault: EndpointFault) -> String {
    let Endpoint { wire, interface, .. } = endpoint;
    let link = wire.host_link().unwrap_or(interface);
    match fault {
        EndpointFault::Missing => format!("has lost its link {link}"),
        EndpointFault::NotConnected => {
            let port = wire.master().map(|master| format!("no port of {master}, or is "));
            format!("is not connected: {link} is {}down", port.unwrap_or_default())
        }
        EndpointFault::NoEntries => {
            "lacks the host's permanent entries for its MAC: an earlier version attached it, or \
                                     its bridge was set down or got another MAC"
                .into()
        }
        EndpointFault::Unguarded => {
            let why = kernel::NO_GUARD;
            format!("can send under its neighbours' names: {link} has lost its guard, unless {why}")
        }
        EndpointFault::OpenToIpv6 => {
            let network = &endpoint.network;
            format!("can get IPv6, which network {network} does not have: {link} has lost the filter of what goes in")
        }
        EndpointFault::NotLedToHost => {
            let why = kernel::NO_REDIRECT;
            format!(
                "may not reach published ports of its siblings: an earlier version attached it, or {link} has lost a filter, unless {why}"
            )
        }
    }
}

/// What is wrong with what the endpoints of `network` share, as a sentence about it.
fn trouble_of_network(network: &Network, fault: NetworkFault) -> String {
    match fault {
        NetworkFault::Missing => format!("of network {} is missing, or down", network.name),
        NetworkFault::Mtu(mtu) => format!("has MTU {mtu}, and its network {}", network.options.mtu),
        NetworkFault::Mac(mac) => format!("has MAC {mac}, and containers send to the one that it was made with"),
        NetworkFault::LoopbackRoute => "has lost its route for ::1 in table local".to_owned(),
        NetworkFault::Address(address) => format!("has lost its address {address}"),
        NetworkFault::Setting(setting) => {
            format!("has another value than {} in {}", setting.value, setting.path())
        }
    }
}

/// What people call the rules that `kind` keeps.
fn rules_of(kind: Kind) -> String {
    match kind {
        Kind::Nftables => "rules of table inet ocinet".into(),
        Kind::IptablesNft | Kind::IptablesLegacy => format!("rules of {kind} in chains OCINET-*"),
        Kind::None => "rules".into(),
    }
}

/// What a sandbox keeps from others.
fn held_by(sandbox: &Sandbox) -> String {
    if sandbox.mode != Mode::Networks {
        return "its files".into();
    }
    let addresses = sandbox.endpoints.iter().flat_map(|endpoint| &endpoint.addresses).map(|net| net.addr().to_string());
    addresses.chain(sandbox.reached_ports().iter().map(ToString::to_string)).collect::<Vec<_>>().join(", ")
}
