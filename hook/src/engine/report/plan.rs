//! The look before the leap: what an attach would do, with nothing of it done.

use std::path::Path;
use std::slice;

use slog::Logger;

use crate::decide::identity::HostNameSource;
use crate::decide::published::PublishedBy;
use crate::decide::request::{EndpointRequest, Request, Wiring};
use crate::driver::{self, Facts, SandboxStep, Setting};
use crate::engine::network::Declared;
use crate::engine::rules::{input_loop_by, not_forwarded, refuse_loopback, refuse_unasked};
use crate::engine::sandbox::{AskedNetworks, LeaseConflict, LeaseRequest, Leased, grant, intent, no_address};
use crate::engine::{Engine, Error, Result};
use crate::firewall::{InputLoop, Kind, Needs, NetworkNeeds, publish_needs};
use crate::input::config::Config;
use crate::input::{NetworkNamespace, PublishRequest};

use crate::kernel::perform::{self, NetworkFault};
use crate::kernel::{self, Netns};
use crate::model::{
    ContainerId, DrainingEndpoint, Endpoint, Families, Invalid, Namespace, NetnsLocator, Network, Sandbox, shown,
};
use crate::shell;
use crate::store::{self, Forwarding, Holder, HostRow, Write};

/// What an attach would do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The sandbox it would write.
    pub sandbox: Sandbox,
    /// What it would do, as commands that a person could type; `$PID` is the container's init process.
    pub commands: Vec<String>,
    /// The container's files that it would make, as paths in the container.
    pub files: Vec<String>,
    /// What it would make on the host, in words.
    pub new: Vec<String>,
    /// Whether the container is attached, so that this is its next start.
    pub is_attached: bool,
}

/// What is done on the host: as commands, and in words what is not there yet.
#[derive(Default)]
pub(super) struct HostWork {
    pub commands: Vec<String>,
    pub new: Vec<String>,
}

/// What will have left its place by the next attach.
struct Gone {
    sandboxes: Vec<Sandbox>,
    draining: Vec<DrainingEndpoint>,
}

impl Gone {
    fn count(&self) -> usize {
        self.sandboxes.len() + self.draining.len()
    }
}

impl Engine {
    /// What an attach of `request` would do on the host whose state is in `state_dir`. Nothing is changed, nothing
    /// leased.
    ///
    /// # Errors
    /// Those that the attach would meet.
    pub fn plan(state_dir: &Path, config: Config, log: Logger, request: &Request) -> Result<Plan> {
        let mut engine = Self::open_to_plan(state_dir, config, log)?;
        engine.refuse_planned_place(request)?;
        let request = &engine.with_kept(request)?;
        // The container is yet to be.
        let locator = NetnsLocator::Process { pid: 0, started: 0 };
        let namespace = Namespace { cookie: 0, locator, seen_from_pid_ns: 0, seen_from_mnt_ns: 0, nsid: None };
        let attached = engine.store.read().find(&request.key())?;
        let mut work = HostWork::default();
        let sandbox = match &request.wiring {
            // The sandbox is wired, and the files are the owner's.
            Wiring::Member(owner) => {
                let sandbox = engine.netns_owner(owner)?.sandbox;
                let nothing = format!(
                    "# shares the network of container {}: there is nothing to do",
                    shown(sandbox.container.as_str())
                );
                let (files, new) = (Vec::new(), Vec::new());
                return Ok(Plan { sandbox, commands: vec![nothing], files, new, is_attached: false });
            }
            Wiring::Host => intent(request, &namespace, Vec::new(), Vec::new()),
            Wiring::None => {
                work.commands = shell::in_sandbox(&[SandboxStep::Loopback]);
                intent(request, &namespace, Vec::new(), Vec::new())
            }
            Wiring::Networks { connections, publish, publish_via } => {
                let asked_networks = AskedNetworks { connections, publish, publish_via: publish_via.as_ref() };
                let (sandbox, networks) = engine.rehearse(request, &namespace, asked_networks, attached.as_ref())?;
                engine.plan_firewall(&sandbox, &networks, &mut work)?;
                engine.plan_wires(&sandbox, &networks, &mut work)?;
                sandbox
            }
        };
        let files = engine.plan_files(request, &sandbox, &mut work.commands)?;
        let HostWork { commands, mut new } = work;
        // A link of the same name goes with the container, and comes with its next start.
        let standing = attached.iter().flat_map(|attached| &attached.endpoints);
        let links: Vec<String> = standing.filter_map(link_of).collect();
        new.retain(|what| !links.contains(what));
        Ok(Plan { sandbox, commands, files, new, is_attached: attached.is_some() })
    }

    /// `request` with the connections that are kept of its container.
    fn with_kept(&mut self, request: &Request) -> Result<Request> {
        let kept = self.seen_to_join(request)?;
        let mut request = request.clone();
        request.wiring.join(&kept);
        Ok(request)
    }

    /// Refuses what the attach would refuse of the network namespace that the container is going to have.
    fn refuse_planned_place(&mut self, request: &Request) -> Result<()> {
        let is_hosts = match &request.namespace {
            NetworkNamespace::New => false,
            NetworkNamespace::Inherited => true,
            NetworkNamespace::At(path) => {
                let cookie = Netns::at(path).and_then(|namespace| namespace.cookie()).map_err(|error| {
                    let invalid = |why| Invalid::new("config: path of the network namespace", path.display(), why);
                    Error::about_input(error, invalid)
                })?;
                cookie == self.host.cookie
            }
        };
        self.refuse_misplaced(request, is_hosts)
    }

    /// Leases in a transaction of which nothing is kept. What the container has, which may be `attached`, is gone by its
    /// next start.
    fn rehearse(
        &mut self,
        request: &Request,
        namespace: &Namespace,
        asked_networks: AskedNetworks<'_>,
        attached: Option<&Sandbox>,
    ) -> Result<(Sandbox, Vec<Network>)> {
        let (container, asked) = (&request.container, request.wiring.asked_ports());
        let mut gone = Gone { sandboxes: attached.into_iter().cloned().collect(), draining: Vec::new() };
        let mut decided: Option<PublishedBy> = None;
        loop {
            let conflict = match self.rehearse_once(request, namespace, asked_networks, &gone, decided) {
                Ok(granted) => return Ok(granted),
                Err(conflict) => conflict,
            };
            let holders = match &conflict {
                LeaseConflict::Moved(by) if decided.is_none() => {
                    decided = Some(*by);
                    continue;
                }
                LeaseConflict::Held { by, .. } => slice::from_ref(by),
                LeaseConflict::NoAddress { holders, .. } => holders,
                _ => &[],
            };
            let before = gone.count();
            for holder in holders {
                self.add_leaving(*holder, &mut gone)?;
            }
            if gone.count() == before {
                return Err(self.refusal(conflict, container, asked));
            }
        }
    }

    /// Adds what `holder` is to those that are `gone`, where the attach would wait for its end or take it away.
    fn add_leaving(&mut self, holder: Holder, gone: &mut Gone) -> Result<()> {
        let draining = holder.endpoint.map(|number| self.store.read().draining(number)).transpose()?.flatten();
        if let Some(draining) = draining {
            if !gone.draining.contains(&draining) {
                gone.draining.push(draining);
            }
            return Ok(());
        }
        if let Some(sandbox) = self.store.read().sandbox(holder.sandbox)?
            && gone.sandboxes.iter().all(|one| one.number != sandbox.number)
            && self.is_leaving(&sandbox)
        {
            gone.sandboxes.push(sandbox);
        }
        Ok(())
    }

    /// One rehearsal after those that are `gone`, with the ports chosen by `decided` where that is known.
    fn rehearse_once(
        &mut self,
        request: &Request,
        namespace: &Namespace,
        asked_networks: AskedNetworks<'_>,
        gone: &Gone,
        decided: Option<PublishedBy>,
    ) -> Leased<(Sandbox, Vec<Network>)> {
        let declared = self.all_declared(asked_networks.connections)?;
        let new = self.networks_to_define(asked_networks.connections, &declared)?;
        let mtu = self.links.uplink()?.map(|uplink| uplink.mtu);
        let published_by = match decided {
            Some(by) => by,
            None => self.published_by(asked_networks, &declared, &new, false)?,
        };
        let mappings = self.choose_ports(asked_networks.publish, &published_by)?;
        self.store.rehearse(|store| {
            define_anew(store, &new)?;
            let mut draining = store.draining_of(&request.key())?;
            draining.extend(gone.draining.iter().filter(|one| !draining.contains(one)).cloned().collect::<Vec<_>>());
            for sandbox in &gone.sandboxes {
                // It may have ended since it was seen.
                draining.extend(match store.sandbox(sandbox.number)? {
                    Some(now) => store.end(&now)?,
                    None => store.draining_of(&sandbox.key())?,
                });
            }
            // By then it will be gone, and its addresses will be remembered.
            for one in &draining {
                store.remove_draining(one)?;
            }
            let leads_elsewhere = false;
            let nth = 0;
            let wanted = LeaseRequest {
                request,
                namespace,
                asked_networks,
                declared,
                published_by,
                mappings,
                mtu,
                leads_elsewhere,
                nth,
            };
            grant(store, wanted)
        })
    }

    /// Those networks that would be defined, or defined anew, by their first container.
    pub(super) fn networks_to_define(
        &mut self,
        connections: &[EndpointRequest],
        declared: &[Declared],
    ) -> Result<Vec<Network>> {
        let mut new = Vec::new();
        for (connection, declared) in connections.iter().zip(declared) {
            let name = &connection.network;
            let read = self.store.read();
            let stands = match read.network(name)? {
                Some(known) => declared.is_met_by(&known) || read.is_network_used(name)?,
                None => false,
            };
            if !stands {
                new.push(self.new_network(name)?);
            }
        }
        Ok(new)
    }

    /// The error that what was asked for cannot be had, `asked` of published ports.
    pub(super) fn refusal(&self, conflict: LeaseConflict, container: &ContainerId, asked: &[PublishRequest]) -> Error {
        match conflict {
            LeaseConflict::Failed(error) => error,
            LeaseConflict::Held { by, what } => match self.refuse_held(by, &what, asked) {
                Err(error) => error,
                Ok(()) => Error::Conflict("a port was taken meanwhile; try again".into()),
            },
            LeaseConflict::NoAddress { network, .. } => no_address(&network),
            LeaseConflict::Earlier(_)
            | LeaseConflict::Owned(_)
            | LeaseConflict::Draining(_)
            | LeaseConflict::Moved(_)
            | LeaseConflict::Kept(_)
            | LeaseConflict::NoNetwork(_)
            | LeaseConflict::Redefined(_) => {
                Error::Conflict(format!("container {container} is in the way of its own plan"))
            }
        }
    }

    /// What connects the container. What an earlier attach has made is not made again.
    pub(super) fn plan_wires(&mut self, sandbox: &Sandbox, networks: &[Network], work: &mut HostWork) -> Result<()> {
        let guarded = self.rules.keeper.kind(&self.store)?.has_rules();
        for (endpoint, network) in sandbox.endpoints.iter().zip(networks) {
            let facts = Facts { alias: sandbox.alias(endpoint), guarded };
            let steps = driver::steps(network, endpoint, &facts);
            for step in &steps.network {
                if perform::network_faults(&mut self.links, step)?.contains(&NetworkFault::Missing) {
                    work.new.push(step.to_string());
                    work.commands.extend(shell::network_step(step));
                }
            }
            self.plan_names(network, work)?;
            work.new.extend(link_of(endpoint));
            work.commands.extend(steps.endpoint.iter().flat_map(|step| shell::endpoint_step(step, shell::PID)));
            work.commands.extend(shell::in_sandbox(&steps.sandbox));
            let entries = self.entries_for(&[endpoint])?;
            work.commands.extend(self.settings_for(&entries)?.iter().map(shell::change));
            work.commands.extend(entries.iter().map(shell::proxy_entry));
            work.new.extend(entries.iter().map(|entry| format!("proxy entry {entry}")));
        }
        Ok(())
    }

    /// What answers for names, and how the container reaches it. Networks share most of it.
    fn plan_names(&mut self, network: &Network, work: &mut HostWork) -> Result<()> {
        for (what, commands) in self.missing_for_names(network)? {
            if !work.new.contains(&what) {
                work.new.push(what);
                work.commands.extend(commands);
            }
        }
        Ok(())
    }

    /// The rules that are not there yet. The whole ruleset is loaded only where it changes.
    pub(super) fn plan_firewall(&mut self, sandbox: &Sandbox, networks: &[Network], work: &mut HostWork) -> Result<()> {
        let row = self.store.read().host_row()?;
        let kind = self.rules.keeper.kind_of(&row)?;
        let needs: Vec<NetworkNeeds> = networks.iter().filter_map(NetworkNeeds::of).collect();
        if kind == Kind::None || needs.is_empty() {
            return Ok(());
        }
        refuse_loopback(kind, sandbox)?;
        let missing = not_forwarded(needs.iter())?;
        let mut base = self.rules.base(&row, &mut self.links)?;
        base.input_loop = input_loop_by(self.config.published_ports, &mut self.links)?;
        if base.input_loop.is_used() {
            refuse_unasked(publish_needs(sandbox).iter())?;
        }
        refuse_unforwardable(missing, &row)?;
        if self.config.close_forwarding {
            base.close_forwarding = missing.iter().fold(base.close_forwarding, Families::with);
        }
        base.has_ipv6 |= needs.iter().any(NetworkNeeds::has_ipv6);
        base.has_internal |= needs.iter().any(|network| network.internal);
        base.has_addressed |= needs.iter().any(NetworkNeeds::is_addressed);
        let commands = &mut work.commands;
        let part = Needs { base, networks: needs.clone(), ..Needs::default() };
        if self.rules.keeper.backend_of(&row)?.holds(&part)? {
            commands.extend(publish_needs(sandbox).iter().flat_map(|port| shell::port(kind, port, &base)));
        } else {
            let mut all = Needs { base, ..self.rules.needs(&row, &self.store, &mut self.links)? };
            for network in needs.into_iter().filter(|network| !all.networks.contains(network)).collect::<Vec<_>>() {
                all.networks.retain(|other| other.bridge != network.bridge);
                all.networks.push(network);
                all.sources = self.links.sources()?;
            }
            all.publish.extend(publish_needs(sandbox));
            work.new.push(format!("ruleset of {kind}"));
            if base.input_loop == InputLoop::ToBeMade {
                work.new.push("links of the input loop".to_owned());
                commands.extend(shell::input_loop());
            }
            commands.extend(shell::load(kind, &all));
        }
        for family in missing.iter() {
            commands.push(format!("sysctl -qw {}", Setting::words(&kernel::forwarding_settings(family)?)));
        }
        work.new.extend(missing.iter().map(|family| format!("forwarding of {family}")));
        Ok(())
    }

    /// Returns the paths of the container's files.
    fn plan_files(&self, request: &Request, sandbox: &Sandbox, commands: &mut Vec<String>) -> Result<Vec<String>> {
        let hostname = match &request.identity.hostname {
            HostNameSource::Spec(name) => name.clone(),
            HostNameSource::Host => kernel::hostname()?,
            HostNameSource::Ours(name) => {
                commands.push(shell::hostname(name));
                name.clone()
            }
        };
        let texts = self.files.texts(request, sandbox, &hostname, &self.config.dns_fallback)?;
        let directory = self.files.of(&sandbox.key());
        commands.extend(shell::files(&self.state_dir, &directory, &request.root.path, &texts));
        Ok(texts.iter().map(|(name, _)| format!("/etc/{name}")).collect())
    }
}

/// The endpoint's link on the host, in words.
fn link_of(endpoint: &Endpoint) -> Option<String> {
    endpoint.wire.host_link().map(|link| format!("link {link}"))
}

/// Refuses what cannot be forwarded and is not.
fn refuse_unforwardable(missing: Families, row: &HostRow) -> Result<()> {
    for family in missing.iter() {
        if row.forwarding_of(family) == Forwarding::OfOthers {
            kernel::refuse_partial_forwarding(family)?;
        }
        kernel::refuse_unforwardable(family)?;
    }
    Ok(())
}

/// Has the store of a rehearsal know the networks as they would be defined.
pub(super) fn define_anew(store: &Write<'_>, networks: &[Network]) -> store::Result<()> {
    networks.iter().try_for_each(|network| {
        store.remove_network(&network.name)?;
        store.add_network(network)
    })
}
