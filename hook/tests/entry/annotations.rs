use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

use ocinet::decide::files::{self, Reach, Resolver};
use ocinet::decide::identity::{HostNameSource, Identity};
use ocinet::decide::request::{EndpointRequest, Request, Wiring};
use ocinet::decide::{joined, plan};
use ocinet::driver::{self, Facts};
use ocinet::firewall::nftables::encoded_ports;
use ocinet::firewall::{Base, InputLoop, Needs, NetworkNeeds, iptables, publish_needs};
use ocinet::input::PublishRequest;
use ocinet::input::config::Config;
use ocinet::input::{Annotations, Bundle, State};
use ocinet::model::{
    Endpoint, Families, Family, Invalid, Namespace, NetnsLocator, Network, NetworkName, Sandbox, State as Progress,
    Subnet,
};

use super::ports::{disjoint, every_port, ports};
use super::publish::in_range;
use super::{one_line, shell};

/// A container's annotations and the rest that its engine writes: id, bundle, names.
///
/// The bytes are fields that end at 0xff, which no text holds; the first byte of a field says which it is.
pub fn annotations(bytes: &[u8]) {
    let request = match Said::from(bytes).request() {
        Ok(Some(request)) => request,
        Ok(None) => return,
        Err(error) => return one_line(&error),
    };
    request.warnings.iter().for_each(one_line);
    texts(&request.identity);
    let Wiring::Networks { connections, publish, publish_via } = &request.wiring else { return };
    publish.iter().for_each(in_range);
    disjoint(publish, every_port);
    wired(&request, connections, publish, publish_via.as_ref());
}

/// What is said about one container.
#[derive(Default)]
struct Said {
    annotations: HashMap<String, String>,
    id: Option<String>,
    bundle: Option<String>,
    hostname: Option<String>,
    default_network: Option<String>,
    shares_names: bool,
}

impl From<&[u8]> for Said {
    fn from(bytes: &[u8]) -> Self {
        let mut said = Self::default();
        for field in bytes.split(|byte| *byte == 0xff) {
            let Some((which, text)) = field.split_first() else { continue };
            let text = String::from_utf8_lossy(text).into_owned();
            match (Annotations::KEYS.get(usize::from(*which)), which) {
                (Some(key), _) => drop(said.annotations.insert(key.name.into(), text)),
                (None, b'i') => said.id = Some(text),
                (None, b'b') => said.bundle = Some(format!("/{text}")),
                (None, b'h') => said.hostname = Some(text),
                (None, b'd') => said.default_network = Some(text),
                (None, b's') => said.shares_names = true,
                (None, _) => drop(said.annotations.insert(text, String::new())),
            }
        }
        said
    }
}

impl Said {
    /// The way of a hook from stdin to the request.
    fn request(self) -> Result<Option<Request>, Invalid> {
        let id = self.id.as_deref().unwrap_or("web");
        let bundle = self.bundle.as_deref().unwrap_or("/b");
        let state = json!({ "id": id, "pid": 42, "bundle": bundle, "annotations": self.annotations });
        let kinds: &[&str] = if self.shares_names { &["network"] } else { &["network", "uts"] };
        let namespaces: Vec<_> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
        let spec = json!({ "root": { "path": "r" }, "hostname": self.hostname, "linux": { "namespaces": namespaces } });
        let state = State::parse(state.to_string().as_bytes())?;
        let spec = Bundle::parse(spec.to_string().as_bytes(), "/b/config.json").expect("the engine's own words");
        Request::new(&state, &spec, &Config { default_network: self.default_network, ..Config::default() })
    }
}

/// Makes sure that the container's files say what they should, line by line.
fn texts(identity: &Identity) {
    one_line(&identity.name);
    let hostname = match &identity.hostname {
        HostNameSource::Spec(name) | HostNameSource::Ours(name) => name.clone(),
        HostNameSource::Host => "host".parse().expect("a name"),
    };
    assert!(hostname.as_str().len() <= 64, "{hostname}");
    let (own, gateway): (IpAddr, IpAddr) = ([10, 90, 0, 2].into(), [10, 90, 0, 1].into());
    let hosts = files::hosts(identity, &hostname, &[own], Some(gateway));
    assert_eq!(hosts.lines().count(), 3 + identity.hosts.len(), "{hosts}");
    for line in hosts.lines() {
        let (address, names) = line.split_once('\t').unwrap_or_else(|| panic!("{line:?}"));
        assert!(address.parse::<IpAddr>().is_ok(), "{line:?}");
        assert!(names.split(' ').all(|name| !name.is_empty()) && names.chars().all(is_visible), "{line:?}");
    }
    let resolver = Resolver::default().for_container(&identity.resolver, &[], Reach::Own { ipv6: false });
    let text = resolver.text();
    assert!(text.chars().all(|c| c == '\n' || is_visible(c)), "{text:?}");
    assert_eq!(Resolver::parse(&text), resolver, "{text}");
}

fn is_visible(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}

/// Makes sure of everything that is made of a request on bridges: the sandbox, the steps, the lines, the rules.
fn wired(request: &Request, connections: &[EndpointRequest], publish: &[PublishRequest], via: Option<&NetworkName>) {
    let Ok(ports) = ports(publish, every_port) else { return };
    let network = |(connection, nth): (&EndpointRequest, u8)| {
        let range = IpNet::new([10, nth, 0, 0].into(), 16).expect("a range");
        let bridge = format!("ocn-{nth}").parse().expect("a name");
        let subnet = Subnet::with_first_gateway(range).expect("a range with addresses");
        Network::of_bridge(connection.network.clone(), bridge, vec![subnet])
    };
    let networks: Vec<Network> = connections.iter().zip(0..).map(network).collect();
    let mut endpoints: Vec<Endpoint> = Vec::new();
    let interfaces = joined::interfaces(connections, &networks);
    for ((connection, network), (interface, nth)) in
        connections.iter().zip(&networks).zip(interfaces.into_iter().zip(0..))
    {
        let address = IpNet::new([10, nth, 0, 2].into(), 16).expect("an address");
        endpoints.push(plan::endpoint(connection, network, vec![address], interface));
    }
    let priorities = joined::priorities(connections);
    joined::arrange(&mut endpoints, &|nth, _| priorities[nth], &networks, via, false).expect("no network is internal");
    assert_eq!(endpoints.iter().flat_map(Endpoint::gateways).count(), 1, "{endpoints:?}");
    for endpoint in &endpoints {
        assert!((68..=65_535).contains(&endpoint.mtu) && endpoint.mac.0[0] & 1 == 0, "{endpoint:?}");
    }
    let sandbox = Sandbox {
        number: 1,
        container: request.container.clone(),
        bundle: request.bundle.clone(),
        name: request.identity.name.clone(),
        mode: request.wiring.mode(),
        state: Progress::Attaching,
        since: None,
        namespace: Namespace {
            cookie: 1,
            locator: NetnsLocator::Process { pid: 42, started: 1 },
            seen_from_pid_ns: 1,
            seen_from_mnt_ns: 1,
            nsid: None,
        },
        endpoints,
        publish: ports,
        adopted: None,
        resolver: Some(request.identity.resolver.clone().into()),
        publish_via: None,
        routed: false,
        leads_elsewhere: false,
        kept_by: None,
    };
    assert_eq!(request.key(), sandbox.key());
    let stored = serde_json::to_string(&sandbox).expect("a record is JSON");
    assert_eq!(serde_json::from_str::<Sandbox>(&stored).as_ref().ok(), Some(&sandbox), "{stored}");
    lines(&sandbox, &networks);
    let publish = publish_needs(&sandbox);
    let none = Base::default();
    for element in publish.iter().flat_map(|port| encoded_ports(std::slice::from_ref(port), &none).into_iter().take(1))
    {
        assert!(element.userdata.len() <= 256 && element.key.len() % 4 == 0, "{element:?}");
        assert_eq!(element.userdata.iter().filter(|byte| **byte == 0).count(), 2, "{element:?}");
    }
    let base = Base { close_forwarding: Families::default().with(Family::V4), ..Base::default() };
    let all =
        Needs { base, networks: networks.iter().filter_map(NetworkNeeds::of).collect(), publish, ..Needs::default() };
    shell::only_elements(&all);
    shell::only_elements(&Needs { base: Base { input_loop: InputLoop::Made { link: 7 }, ..base }, ..all.clone() });
    only_rules(&all);
    only_rules(&Needs { base: Base { input_loop: InputLoop::Made { link: 7 }, ..base }, ..all });
}

/// Makes sure that every line for iptables is one rule about one chain of ours or one of the kernel's, and each
/// published port can be read back.
fn only_rules(all: &Needs) {
    let both = Needs { base: Base { has_ipv6: true, ..all.base }, ..all.clone() };
    let loaded = |family| iptables::load(family, &both, &iptables::Held::default());
    let text: String = [Family::V4, Family::V6].map(loaded).concat();
    let known = |line: &str| {
        line.starts_with(":OCINET-")
            || line.starts_with("-A OCINET-")
            || ["-I PREROUTING ", "-I OUTPUT ", "-I POSTROUTING ", "-I FORWARD ", "-A INPUT "]
                .iter()
                .any(|jump| line.starts_with(jump))
            || ["*mangle", "*filter", "*security", "*nat", "COMMIT"].contains(&line)
    };
    assert!(text.lines().all(known), "{text}");
    for port in &all.publish {
        let rule = iptables::rule(port);
        assert_eq!(rule.matches(" -j ").count(), 1, "{rule}");
        let read = iptables::published(&format!("-A {rule}"));
        assert!(read.as_ref().is_some_and(|read| read.is_same_port(port)), "{rule}: {read:?}");
    }
}

/// Makes sure that each step is one command a line, whatever is called how, and that the alias fits the kernel.
fn lines(sandbox: &Sandbox, networks: &[Network]) {
    for (endpoint, network) in sandbox.endpoints.iter().zip(networks) {
        let facts = Facts { alias: sandbox.alias(endpoint), guarded: true };
        let alias = facts.alias.to_string();
        assert!(alias.len() <= 255, "{alias}");
        let steps = driver::steps(network, endpoint, &facts);
        let shared = steps.network.iter().flat_map(ocinet::shell::network_step);
        let own = steps.endpoint.iter().flat_map(|step| ocinet::shell::endpoint_step(step, "42"));
        let lines: Vec<Vec<String>> = shared
            .chain(own)
            .chain(steps.sandbox.iter().flat_map(ocinet::shell::sandbox_step))
            .map(|line| shell::words(&line))
            .collect();
        assert!(lines.iter().flatten().any(|word| *word == alias), "{alias} in {lines:?}");
        let interface = endpoint.interface.as_str();
        assert!(lines.iter().flatten().any(|word| word == interface), "{interface} in {lines:?}");
    }
    assert_eq!(shell::words(&ocinet::shell::word(&sandbox.bundle)), [sandbox.bundle.as_str()]);
}
