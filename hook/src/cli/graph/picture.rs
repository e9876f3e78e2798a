use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use ocinet::engine::{NetworkKind, NetworkView};
use ocinet::model::{Endpoint, Family, GatewayMode, Masquerade, Mode, Network, PortMapping, Sandbox, shown};

use crate::cli::ps::{Line, Sidecar};

/// What is drawn. All text in it is of one line, without control characters; it may have those that a format gives a
/// meaning to.
#[derive(Debug)]
pub(super) struct Picture {
    /// The links by which the host reaches others.
    pub uplinks: Vec<String>,
    /// The networks, each with the containers on it; at last, where there are such, those that are on none.
    pub networks: Vec<Drawn>,
}

/// A network.
#[derive(Debug)]
pub(super) struct Drawn {
    /// What it is called.
    pub name: String,
    /// Its bridge, its ranges, and how it is closed.
    pub facts: Vec<String>,
    /// Whether something leads out of it.
    pub leads_out: bool,
    /// The containers on it.
    pub nodes: Vec<Node>,
}

/// A container as one network has it.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The number of the sandbox, by which it is the same container on several networks.
    pub number: i64,
    /// What it is called.
    pub name: String,
    /// How it is, as `ps` says it.
    pub status: String,
    /// Its interface and address there, a line each.
    pub addresses: Vec<String>,
    /// The published ports that lead to it there.
    pub ports: Vec<String>,
    /// The other networks that it is on, and the containers that share its network.
    pub notes: Vec<String>,
}

impl Picture {
    /// The host with `uplinks`, and its networks with the containers of `lines`.
    pub fn of(uplinks: Vec<String>, views: &[NetworkView], lines: &[Line], sidecars: &[Sidecar]) -> Self {
        let nodes = |view: &NetworkView| {
            let on = |line: &Line| {
                let endpoint = line.sandbox.wired_endpoints().find(|endpoint| endpoint.network.as_str() == view.name);
                let is_on = endpoint.is_some() || is_in(&view.name, &line.sandbox);
                is_on.then(|| node(endpoint, line, sidecars))
            };
            lines.iter().filter_map(on).collect::<Vec<_>>()
        };
        let drawn = |view: &NetworkView| {
            let (facts, leads_out) = match &view.kind {
                NetworkKind::Defined(network) => (facts(network), !network.options.internal),
                NetworkKind::Host => (vec!["the host's own network".to_owned()], true),
                NetworkKind::None => (vec!["loopback alone".to_owned()], false),
            };
            Drawn { name: shown(&view.name), facts, leads_out, nodes: nodes(view) }
        };
        let is_drawn = |view: &&NetworkView| {
            matches!(view.kind, NetworkKind::Defined(_)) || lines.iter().any(|line| is_in(&view.name, &line.sandbox))
        };
        let mut networks: Vec<Drawn> = views.iter().filter(is_drawn).map(drawn).collect();
        let is_on_none =
            |line: &&Line| line.sandbox.mode == Mode::Networks && line.sandbox.wired_endpoints().next().is_none();
        let nodes: Vec<Node> = lines.iter().filter(is_on_none).map(|line| node(None, line, sidecars)).collect();
        if !nodes.is_empty() {
            networks.push(Drawn { name: "on no network".into(), facts: Vec::new(), leads_out: false, nodes });
        }
        Self { uplinks, networks }
    }
}

/// A line of a graph, in a language that has objects and what joins them. Uplinks and networks have the numbers of their
/// place, containers those of their sandboxes.
pub(super) enum Object<'p> {
    /// An uplink and its name.
    Uplink(usize, &'p str),
    /// A network, with the lines that are in it.
    Network(usize, Vec<&'p str>),
    /// What joins an uplink to a network.
    Out(usize, usize),
    /// A container, with the lines that are in it. It comes once.
    Container(i64, Vec<&'p str>),
    /// What joins a network to a container, with its addresses.
    Joint(usize, i64, Vec<&'p str>),
}

impl Picture {
    /// The networks between the uplinks and the containers, each before what joins it.
    pub fn objects(&self) -> Vec<Object<'_>> {
        let uplinks = self.uplinks.iter().enumerate();
        let mut objects: Vec<Object<'_>> = uplinks.map(|(nth, name)| Object::Uplink(nth, name)).collect();
        let mut seen = BTreeSet::new();
        for (nth, network) in self.networks.iter().enumerate() {
            let label = [network.name.as_str()].into_iter().chain(network.facts.iter().map(String::as_str));
            objects.push(Object::Network(nth, label.collect()));
            let uplinks = (0..self.uplinks.len()).filter(|_| network.leads_out);
            objects.extend(uplinks.map(|uplink| Object::Out(uplink, nth)));
            for node in &network.nodes {
                if seen.insert(node.number) {
                    let label = [node.name.as_str(), &node.status].into_iter().chain(self.ports_of(node.number));
                    objects.push(Object::Container(node.number, label.collect()));
                }
                objects.push(Object::Joint(nth, node.number, node.addresses.iter().map(String::as_str).collect()));
            }
        }
        objects
    }

    /// The published ports of the container of that number, on all networks.
    fn ports_of(&self, number: i64) -> impl Iterator<Item = &str> {
        let nodes = self.networks.iter().flat_map(|network| &network.nodes);
        nodes.filter(move |node| node.number == number).flat_map(|node| &node.ports).map(String::as_str)
    }
}

/// Whether `sandbox` is wired as the network `host` or `none` says.
fn is_in(network: &str, sandbox: &Sandbox) -> bool {
    sandbox.mode != Mode::Networks && sandbox.mode.to_string() == network
}

/// The container of `line` as the network of `endpoint` has it; none is one that it has no endpoint on.
fn node(endpoint: Option<&Endpoint>, line: &Line, sidecars: &[Sidecar]) -> Node {
    let Line { sandbox, status, .. } = line;
    let address = |net: &IpNet| endpoint.map(|endpoint| shown(&format!("{} {}", endpoint.interface, net.addr())));
    let others = sandbox.wired_endpoints().filter(|other| Some(other.number) != endpoint.map(|own| own.number));
    let mut notes: Vec<String> = others.map(|other| format!("also on {}", other.network)).collect();
    let its = sidecars.iter().filter(|sidecar| sidecar.member.is_of(sandbox));
    notes.extend(its.map(|sidecar| format!("shared by {}", shown(sidecar.member.name.as_str()))));
    let ports = endpoint.map(|endpoint| ports(sandbox, endpoint)).unwrap_or_default();
    if sandbox.has_dormant_ports() && !ports.is_empty() {
        notes.push("the ports are dormant".to_owned());
    }
    Node {
        number: sandbox.number,
        name: shown(sandbox.name.as_str()),
        status: status.clone(),
        addresses: endpoint.iter().flat_map(|endpoint| &endpoint.addresses).filter_map(address).collect(),
        ports,
        notes,
    }
}

/// The published ports that lead to `endpoint`. Those that lead nowhere are shown with the first.
fn ports(sandbox: &Sandbox, endpoint: &Endpoint) -> Vec<String> {
    let is_first = sandbox.wired_endpoints().next().is_some_and(|first| first.number == endpoint.number);
    let has = |address: IpAddr| endpoint.addresses.iter().any(|net| net.addr() == address);
    let leads = |family: Family, mapping: &PortMapping| {
        mapping.host_address.family().is_none_or(|of| of == family)
            && sandbox.port_target(family).is_some_and(|(address, _)| has(address))
    };
    let here = |mapping: &PortMapping| {
        sandbox.is_dormant(mapping) && is_first || Family::ALL.into_iter().any(|family| leads(family, mapping))
    };
    sandbox.reached_ports().iter().filter(|mapping| here(mapping)).map(ToString::to_string).collect()
}

fn facts(network: &Network) -> Vec<String> {
    let options = &network.options;
    let mut facts: Vec<String> = network.link().map(|link| shown(&format!("bridge {link}"))).into_iter().collect();
    facts.extend(network.subnets.iter().map(|subnet| subnet.range.to_string()));
    let traits = [
        (options.internal, "internal"),
        (options.mode == GatewayMode::Isolated, "isolated from the host"),
        (!options.icc, "containers apart (icc = false)"),
        (options.masquerade == Masquerade::Off && options.mode == GatewayMode::Nat, "not masqueraded"),
    ];
    match network.routed() {
        routed if routed.is_empty() => {}
        routed if routed == network.families() => facts.push("routed".to_owned()),
        routed => facts.extend(routed.iter().map(|family| format!("routed over {family}"))),
    }
    facts.extend(traits.iter().filter(|(holds, _)| *holds).map(|(_, word)| (*word).to_owned()));
    facts
}
