//! What is not ours and may stand in the way.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::{Finding, uplinks};
use crate::decide::ipam::{self, Standing};
use crate::decide::neighbours;
use crate::decide::proxy;
use crate::decide::published::dormant;
use crate::engine::rules::{Passes, Unpassed, passed_families};
use crate::engine::{Engine, Result};
use crate::firewall::Kind;
use crate::firewall::pass::MissingPass;
use crate::input::config::PublishedPorts;
use crate::kernel::{self, HostLinks, Listeners, Uplink};
use crate::model::{Families, Family, Network, PortMapping, Sandbox};
use crate::shell;
use crate::store::Forwarding;

const NEIGHBOUR_LIMIT: &str = "net.ipv4.neigh.default.gc_thresh3";

impl Engine {
    /// What other programs and the operator made that stands in the way of the networks and containers in use.
    pub(super) fn examine_outside(&mut self) -> Result<Vec<Finding>> {
        let networks = self.networks_in_use()?;
        let mut findings = Vec::new();
        if !networks.is_empty() && self.rules.keeper.kind(&self.store)?.has_rules() {
            findings.extend(passes(&mut self.rules.passes, &networks)?);
        }
        for network in &networks {
            findings.extend(routes(&mut self.links, network)?);
        }
        let sandboxes = self.store.read().sandboxes()?;
        let (mut listeners, uplink) = (Listeners::of_many(), self.links.uplink()?);
        for sandbox in sandboxes.iter().filter(|sandbox| sandbox.state.is_wired()) {
            let at_host: Vec<PortMapping> =
                sandbox.publish.iter().flat_map(|mapping| sandbox.reached_at_host(mapping)).collect();
            findings.extend(vanished_addresses(sandbox, &at_host)?);
            findings.extend(shadowed_listeners(sandbox, &at_host, &mut listeners)?);
            if let Some(ports) = dormant(sandbox, sandbox.dormant_ports()) {
                let trouble = format!("publishes {ports}");
                findings.push(Finding::note(format!("container {}", sandbox.container), trouble));
            }
            findings.extend(sandbox.endpoints.iter().filter(|endpoint| endpoint.unguarded).map(|endpoint| {
                let trouble = format!("may send with every address on network {}, as guard=off asks", endpoint.network);
                Finding::note(format!("container {}", sandbox.container), trouble)
            }));
            findings.extend(uplink.as_ref().and_then(|uplink| larger_than(uplink, sandbox)));
        }
        if !networks.is_empty() {
            let kind = self.rules.keeper.kind(&self.store)?;
            findings.extend(uplinks::examine(&mut self.links, kind, &networks, &sandboxes)?);
            findings.extend(self.notes(&networks)?);
            findings.extend(neighbour_table(sandboxes.iter().flat_map(Sandbox::wired_endpoints).count()));
        }
        Ok(findings)
    }

    fn notes(&mut self, networks: &[Network]) -> Result<Vec<Finding>> {
        let kind = self.rules.keeper.kind(&self.store)?;
        let why = match kernel::choose(self.config.firewall) {
            Ok(choice) if choice.kind == kind => choice.why,
            _ => "it had them when nothing else was asked for",
        };
        let trouble = match kind {
            Kind::None => format!("is left to the operator: {why}"),
            _ => format!("is {kind}: {why}"),
        };
        let mut notes = vec![Finding::note("firewall", trouble)];
        let row = self.store.read().host_row()?;
        let ours = Family::ALL.into_iter().filter(|family| row.forwarding_of(*family) != Forwarding::OfOthers);
        for family in ours {
            let name = kernel::forwarding_setting(family)?.dotted();
            let trouble = "was switched on by ocinet, which therefore drops what is forwarded between links that are not its \
                own; close_forwarding = false in config.toml leaves them alone";
            notes.push(Finding::note(format!("sysctl {name}"), trouble));
        }
        if self.config.published_ports == PublishedPorts::RespectHostFirewall {
            let trouble = "obey the host's own rules for what comes in: published_ports = \"respect-host-firewall\"";
            notes.push(Finding::note("published ports", trouble));
        }
        let families: Families =
            networks.iter().flat_map(|network| network.families().iter().collect::<Vec<_>>()).collect();
        for family in families.iter().filter(|family| kernel::frames_pass_ip_hooks(*family)) {
            let trouble = "is 1: another program's firewall also sees, and may drop, what passes within one network";
            notes.push(Finding::note(format!("sysctl {}", kernel::frames_to_ip_hooks(family)), trouble));
        }
        for link in networks.iter().filter_map(Network::link) {
            if kernel::strict_reverse_path(link) {
                let trouble = format!("is strict for {link}: packets are dropped whose way back leads elsewhere");
                notes.push(Finding::note("sysctl net.ipv4.conf.*.rp_filter", trouble));
            }
        }
        Ok(notes)
    }
}

/// Firewalls of other programs that drop what our networks forward.
fn passes(passes: &mut Passes, networks: &[Network]) -> Result<Vec<Finding>> {
    let survey = passes.survey(passed_families(networks))?;
    let finding = |missing: MissingPass| {
        if missing.is_the_operators() {
            return Finding::yours(missing.subject(), missing.trouble(), shell::firewalld_zone());
        }
        Finding::ours(missing.subject(), missing.trouble())
    };
    let mut findings: Vec<Finding> = survey.missing_passes().into_iter().map(finding).collect();
    for network in networks {
        let Some(bridge) = network.link() else { continue };
        let options = &network.options;
        let addressed = match (options.internal, options.trusted_interfaces.is_empty()) {
            (true, _) => Families::default(),
            (false, true) => network.routed(),
            (false, false) => network.families(),
        };
        if let Some(Unpassed { subject, trouble, remedy }) = passes.unpassed(&survey, network, addressed)? {
            findings.push(Finding::yours(subject, trouble, remedy));
        }
        for foreign in passes.obstacles(&survey, network)? {
            let trouble = format!("of another program drops what {bridge} forwards");
            findings.push(Finding::yours(
                format!("chain {}", foreign.place()),
                trouble,
                shell::accept_in(foreign, bridge),
            ));
        }
    }
    Ok(findings)
}

/// Routes that lead elsewhere with addresses of ours, or whose on-link hosts ours hides; of another wider one ours
/// wins, but hides what is behind it.
fn routes(links: &mut HostLinks, network: &Network) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let Some(link) = network.link() else { return Ok(findings) };
    let routes =
        proxy::minded(links.host_routes(link, network.families())?, &proxy::ranges(&network.options, &network.subnets));
    for subnet in &network.subnets {
        let (range, name) = (subnet.range, &network.name);
        for route in &routes {
            let subject = format!("route {}", route.range);
            let elsewhere = "set another subnet in config.toml after ocinet reset";
            match ipam::standing(&range, &[*route]) {
                Standing::Free => {}
                Standing::Under(_) => {
                    let trouble = format!("is hidden by network {name} where they overlap ({range})");
                    findings.push(Finding::note(subject, trouble));
                }
                Standing::Conflict(wider) if wider.contains(&range) && wider != range => {
                    let trouble = format!("leads to neighbours of the host that network {name} hides ({range})");
                    findings.push(Finding::yours(subject, trouble, elsewhere));
                }
                Standing::Conflict(route) => {
                    let trouble = format!("leads elsewhere with addresses of network {name} ({range})");
                    findings.push(Finding::yours(subject, trouble, format!("ip route del {route}, or {elsewhere}")));
                }
            }
        }
    }
    Ok(findings)
}

/// Ports published at addresses that the host has no more.
fn vanished_addresses(sandbox: &Sandbox, published: &[PortMapping]) -> Result<Vec<Finding>> {
    let addresses: BTreeSet<IpAddr> = published.iter().filter_map(|mapping| mapping.host_address.into()).collect();
    let mut findings = Vec::new();
    for address in addresses {
        if kernel::is_local(address)? {
            continue;
        }
        let name = &sandbox.container;
        let trouble =
            format!("is no address of this host any more, so what container {name} publishes there cannot be reached");
        let remedy = "give it to the host again with ip address add, or start the container with another";
        findings.push(Finding::yours(format!("address {address}"), trouble, remedy));
    }
    Ok(findings)
}

/// Listeners of the host that cannot be reached, since their port leads to a container.
fn shadowed_listeners(sandbox: &Sandbox, published: &[PortMapping], listeners: &mut Listeners) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for mapping in published {
        let (protocol, address) = (mapping.protocol, mapping.host_address);
        for (port, _) in mapping.pairs() {
            if listeners.has(protocol, address, port)? {
                let socket = SocketAddr::new(address.ip(), port);
                let trouble =
                    format!("is listened on by a process of the host, but leads to container {}", sandbox.container);
                let remedy = format!("stop that process, see ss -lp sport = {port}, or publish another port");
                findings.push(Finding::yours(format!("port {socket}/{protocol}"), trouble, remedy));
            }
        }
    }
    Ok(findings)
}

/// A neighbour table that is too small for so many containers.
fn neighbour_table(containers: usize) -> Option<Finding> {
    let limit = kernel::neighbour_limit()?;
    let needed = neighbours::needed(containers, limit)?;
    let trouble = format!(
        "is {limit} for the neighbour tables of all network namespaces together: {containers} containers that all send to \
         each other need {needed} entries, and where there is no room left, packets to further addresses are dropped; \
         sysctl -w {NEIGHBOUR_LIMIT}={} makes room",
        needed.next_power_of_two()
    );
    Some(Finding::note(format!("sysctl {NEIGHBOUR_LIMIT}"), trouble))
}

/// Larger packets than the uplink takes; harmless where every router says so, and not all do.
fn larger_than(uplink: &Uplink, sandbox: &Sandbox) -> Option<Finding> {
    let endpoint = sandbox.endpoints.iter().find(|endpoint| endpoint.mtu > uplink.mtu)?;
    let trouble = format!("has MTU {} on {}, and the uplink {}", endpoint.mtu, endpoint.interface, uplink.mtu);
    let remedy = format!("start it again, or set mtu={} in io.ocinet.network", uplink.mtu);
    Some(Finding::yours(format!("container {}", sandbox.container), trouble, remedy))
}
