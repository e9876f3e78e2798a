//! State + bundle + annotations + config -> [`Request`]. Everything a user can write is validated here.

mod connections;

use std::net::IpAddr;
use std::path::PathBuf;

use crate::decide::files::{self, File};
use crate::decide::identity::Identity;
use crate::driver::NAME_SERVERS;
use crate::input::config::{self, Config};
use crate::input::{Annotations, Bundle, NetworkNamespace, State};
use crate::input::{PublishRequest, exposed_ports, parse_publish};
use crate::model::{
    ContainerId, ContainerName, HostAddress, HostName, InterfaceName, Invalid, KeptConnection, Key, Mac, Mode,
    NetworkName,
};

/// What one container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The container's id.
    pub container: ContainerId,
    /// Its bundle directory.
    pub bundle: String,
    /// Its names and its name servers.
    pub identity: Identity,
    /// Where its files go.
    pub root: RootFs,
    /// Where its network namespace is.
    pub namespace: NetworkNamespace,
    /// How to wire it.
    pub wiring: Wiring,
    /// Whether `container` and `bundle` are those of another container, in whose network namespace this one is.
    pub has_owner: bool,
    /// What its kept connections are found by, where that is not its key.
    pub kept_by: Option<Key>,
    /// Its own id, bundle and name, where it is wired for another one.
    pub guest: Option<(ContainerId, String, ContainerName)>,
    /// What is accepted but has no effect, in words.
    pub warnings: Vec<String>,
}

/// A container's root file system, and what we mount into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFs {
    /// Its path on the host.
    pub path: PathBuf,
    /// The SELinux label under which the container may read our files.
    pub label: Option<String>,
    /// Our files: those of which the spec mounts none of its own.
    pub files: Vec<File>,
    /// Where they were made before the container was, and the spec mounts them from; none where they are to be mounted.
    pub spec_files: Option<PathBuf>,
}

/// How to wire a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wiring {
    /// The host's own namespace; nothing to do.
    Host,
    /// Loopback only.
    None,
    /// Endpoints on networks, of which there is one at least.
    Networks {
        /// The connections, in the order in which they were named.
        connections: Vec<EndpointRequest>,
        /// The published ports.
        publish: Vec<PublishRequest>,
        /// The network by which these reach the container; none where its default route decides.
        publish_via: Option<NetworkName>,
    },
    /// The sandbox of another container, called by its id, its name or the beginning of its id.
    Member(ContainerId),
}

impl std::fmt::Display for Wiring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host | Self::None => self.mode().fmt(f),
            Self::Networks { connections, .. } => {
                f.write_str(&connections.iter().map(|one| one.network.as_str()).collect::<Vec<_>>().join(";"))
            }
            Self::Member(owner) => write!(f, "container:{owner}"),
        }
    }
}

impl Wiring {
    /// The mode as a sandbox states it; that of a member, which has no sandbox of its own, is what it gets of its own.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Host => Mode::Host,
            Self::None | Self::Member(_) => Mode::None,
            Self::Networks { .. } => Mode::Networks,
        }
    }

    /// The connections to networks.
    pub fn connections(&self) -> &[EndpointRequest] {
        match self {
            Self::Networks { connections, .. } => connections,
            Self::Host | Self::None | Self::Member(_) => &[],
        }
    }

    /// Adds connections that are kept from earlier, which come after those that were asked for. One whose interface has
    /// a name that is asked for now gets another.
    pub fn join(&mut self, kept: &[KeptConnection]) {
        if let Self::Networks { connections, .. } = self {
            for mut further in kept.iter().cloned().map(EndpointRequest::from) {
                let is_named = |one: &EndpointRequest| one.interface.is_some() && one.interface == further.interface;
                if connections.iter().any(is_named) {
                    further.interface = None;
                }
                connections.push(further);
            }
        }
    }

    /// The ports that are to be published.
    pub fn asked_ports(&self) -> &[PublishRequest] {
        match self {
            Self::Networks { publish, .. } => publish,
            Self::Host | Self::None | Self::Member(_) => &[],
        }
    }

    /// Has the published ports reach the container by the network `name`.
    fn publish_by(&mut self, name: &str) -> Result<(), Invalid> {
        let wrong = |why| Err(Invalid::new("", name, why));
        match self {
            Self::Networks { connections, publish_via, .. } => {
                let network: NetworkName = name.parse()?;
                if !connections.iter().any(|one| one.network == network) {
                    return wrong("is none of the networks in io.ocinet.network");
                }
                *publish_via = Some(network);
                Ok(())
            }
            // The refusal of what a member cannot have comes later, and says more.
            Self::Member(_) => Ok(()),
            Self::Host | Self::None => wrong("has no effect where the container is on no network of ocinet"),
        }
    }
}

/// A connection to a network with the options the user gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRequest {
    /// The network.
    pub network: NetworkName,
    /// `ip=`: these addresses instead of the next free ones.
    pub addresses: Vec<IpAddr>,
    /// `mac=`: this instead of the one that follows from the address.
    pub mac: Option<Mac>,
    /// `interface=`: this name inside the container instead of the first of `eth0`, `eth1`, ... that is free.
    pub interface: Option<InterfaceName>,
    /// `mtu=`: bytes, instead of the uplink's.
    pub mtu: Option<u32>,
    /// `gw-priority=`: of several connections, the one with the highest has the default route; 0 without it.
    pub gw_priority: Option<i32>,
    /// `alias=`: what others on the network find it by, beside its container's name.
    pub aliases: Vec<HostName>,
    /// `guard=off`: whether it may send with every address; no without it.
    pub unguarded: Option<bool>,
}

impl From<KeptConnection> for EndpointRequest {
    fn from(kept: KeptConnection) -> Self {
        let KeptConnection { network, addresses, mac, interface, mtu, gw_priority, aliases } = kept;
        Self { network, addresses, mac, interface, mtu, gw_priority, aliases, unguarded: None }
    }
}

impl From<&EndpointRequest> for KeptConnection {
    fn from(request: &EndpointRequest) -> Self {
        let EndpointRequest { network, addresses, mac, interface, mtu, gw_priority, aliases, unguarded: _ } =
            request.clone();
        Self { network, addresses, mac, interface, mtu, gw_priority, aliases }
    }
}

impl Request {
    /// What the container's sandbox is found by.
    pub fn key(&self) -> Key {
        Key::new(&self.container, &self.bundle)
    }

    /// What the connections that are kept of it are found by.
    pub fn keeping_key(&self) -> Key {
        self.kept_by.unwrap_or_else(|| self.key())
    }

    /// Has it, which is called `own_name`, wired for the container `id` of `bundle`, in whose network namespace it is: the network comes and goes
    /// with that one.
    pub fn belong_to(&mut self, id: ContainerId, bundle: String, own_name: ContainerName) {
        let own = (std::mem::replace(&mut self.container, id), std::mem::replace(&mut self.bundle, bundle));
        (self.guest, self.has_owner) = (Some((own.0, own.1, own_name)), true);
    }

    /// Reads what the container asks for; `None` where it asks for nothing of ours.
    ///
    /// # Errors
    /// [`Invalid`] names the annotation or field and its value.
    pub fn new(state: &State, bundle: &Bundle, config: &Config) -> Result<Option<Self>, Invalid> {
        let mut all = bundle.annotations.clone().unwrap_or_default();
        all.extend(state.annotations.clone());
        let namespace = bundle.network_namespace();
        let annotations = match Annotations::pick(&all)? {
            Some(annotations) => annotations,
            // A default must not touch those who chose the host's namespace or brought a wired one.
            None if config.default_network.is_some() && namespace == NetworkNamespace::New => Annotations::default(),
            None => return Ok(None),
        };
        let network = annotations.network.as_deref().or(config.default_network.as_deref()).unwrap_or("bridge");
        let address = HostAddress::from(config.publish_default_address.map(IpAddr::V4));
        let exposed = || exposed_ports(&all, address);
        let publish = parse_publish(annotations.publish.as_deref().unwrap_or_default(), address, exposed)
            .map_err(|e| e.within("annotation io.ocinet.publish"))?;
        let (mut wiring, mut warnings) =
            wiring(network, publish).map_err(|e| e.within("annotation io.ocinet.network"))?;
        if let Some(via) = &annotations.publish_via {
            wiring.publish_by(via).map_err(|e| e.within("annotation io.ocinet.publish-via"))?;
        }
        if matches!(wiring, Wiring::Member(_)) {
            refuse_own_names(&annotations, network)?;
        }
        let identity = Identity::new(&annotations, bundle, &state.id)?;
        let root = RootFs {
            path: bundle.root(&state.bundle),
            label: bundle.mount_label().map(String::from),
            files: files::left_to_us(bundle),
            spec_files: files::made_for(bundle),
        };
        if has_names(&wiring) && !root.files.contains(&File::ResolvConf) {
            warnings.push(format!(
                "its spec mounts an /etc/resolv.conf, which stays: where that does not name {}, the container does not \
                 find others by their names",
                NAME_SERVERS[0]
            ));
        }
        let (container, bundle) = (state.id.clone(), state.bundle.clone());
        Ok(Some(Self {
            container,
            bundle,
            identity,
            root,
            namespace,
            wiring,
            has_owner: false,
            kept_by: None,
            guest: None,
            warnings,
        }))
    }
}

/// Whether it may be on a network whose containers find each other by their names.
fn has_names(wiring: &Wiring) -> bool {
    wiring.connections().iter().any(|one| one.network != config::default_bridge())
}

fn wiring(network: &str, publish: Vec<PublishRequest>) -> Result<(Wiring, Vec<String>), Invalid> {
    let (name, options) = network.split_once(':').unwrap_or((network, ""));
    let unwired = match name {
        "host" | "none" if !options.is_empty() => {
            return Err(Invalid::new("", network, format!("has options, which {name} does not take")));
        }
        "host" => Some(Wiring::Host),
        "none" => Some(Wiring::None),
        _ => None,
    };
    if let Some(wiring) = unwired {
        let mode = wiring.mode();
        let idle = (!publish.is_empty()).then(|| format!("published ports have no effect with network {mode}"));
        return Ok((wiring, idle.into_iter().collect()));
    }
    if name == "container" {
        if !publish.is_empty() {
            let why = "shares that container's network, so publish the ports there, not with io.ocinet.publish here";
            return Err(Invalid::new("", network, why));
        }
        return Ok((Wiring::Member(options.parse()?), Vec::new()));
    }
    Ok((Wiring::Networks { connections: connections::parse(network)?, publish, publish_via: None }, Vec::new()))
}

/// As in Docker, a container that shares another's network shares its names.
fn refuse_own_names(annotations: &Annotations, network: &str) -> Result<(), Invalid> {
    let Annotations { publish_via, hostname, dns, dns_search, dns_option, add_host, .. } = annotations;
    let own = [
        ("publish-via", publish_via),
        ("hostname", hostname),
        ("dns", dns),
        ("dns-search", dns_search),
        ("dns-option", dns_option),
        ("add-host", add_host),
    ];
    match own.into_iter().find_map(|(key, value)| Some((key, value.as_ref()?))) {
        Some((key, value)) => {
            let why = format!("has no effect with network {network}, whose names the container shares; give it there");
            Err(Invalid::new(format!("annotation io.ocinet.{key}"), value, why))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(annotations: &[(&str, &str)], config: &Config) -> Result<Option<Request>, Invalid> {
        let annotations: std::collections::HashMap<_, _> = annotations.iter().copied().collect();
        let state = serde_json::json!({"id": "web", "pid": 42, "bundle": "/b", "annotations": annotations});
        let bundle =
            Bundle::parse(br#"{"root":{"path":"r"},"linux":{"namespaces":[{"type":"network"},{"type":"uts"}]}}"#, "/b")
                .unwrap();
        Request::new(&State::parse(state.to_string().as_bytes())?, &bundle, config)
    }

    fn wiring_of(network: &str) -> Result<Wiring, Invalid> {
        let request = request(&[("io.ocinet.network", network)], &Config::default())?;
        Ok(request.expect("an annotation asks for something").wiring)
    }

    #[test]
    fn nothing_asked_for() {
        assert_eq!(request(&[("org.other", "x")], &Config::default()), Ok(None));
        let config = Config { default_network: Some("none".into()), ..Config::default() };
        assert_eq!(request(&[], &config).unwrap().unwrap().wiring, Wiring::None);
    }

    #[test]
    fn bridge_with_options() {
        let Wiring::Networks { connections, .. } =
            wiring_of("bridge:ip=10.90.0.5,mac=02:00:00:00:00:05,interface=net0,mtu=1400").unwrap()
        else {
            panic!("no network");
        };
        let [connection] = &connections[..] else { panic!("{connections:?}") };
        assert_eq!(connection.addresses, ["10.90.0.5".parse::<IpAddr>().unwrap()]);
        assert_eq!(connection.interface.as_ref().unwrap().as_str(), "net0");
        assert_eq!((connection.mac.unwrap().0[5], connection.mtu), (5, Some(1400)));
        assert_eq!(wiring_of("bridge"), wiring_of("bridge:"));
        assert_eq!(wiring_of("bridge:ip=10.90.0.5 mtu=1400"), wiring_of("bridge:ip=10.90.0.5,mtu=1400"));
    }

    #[test]
    fn refusals_name_field_and_value() {
        let rows = [
            ("bri/gde", "\"bri/gde\""),
            ("container:", "is empty"),
            ("container:a/b", "slash"),
            ("bridge;bridge", "twice"),
            ("bridge;host", "\"host\""),
            ("bridge:ip=10.90.0", "ip \"10.90.0\""),
            ("bridge:ip=010.90.0.5", "ip \"010.90.0.5\""),
            ("bridge:ip=10.90.0.5,ip=10.90.0.6", "twice"),
            ("bridge:mac=01:00:5e:00:00:01", "multicast"),
            ("bridge:interface=abcdefghijklmnop", "15 bytes"),
            ("bridge:interface=a/b", "\"a/b\""),
            ("bridge:mtu=67", "mtu \"67\""),
            ("bridge:speed=9", "\"speed=9\""),
            ("bridge:ip", "key=value"),
            ("bridge,ip=10.90.0.5", "colon"),
            ("none:ip=10.90.0.5", "options"),
        ];
        for (network, part) in rows {
            let error = wiring_of(network).unwrap_err().to_string();
            assert!(error.contains(part) && error.starts_with("annotation io.ocinet.network"), "{network}: {error}");
        }
    }

    #[test]
    fn every_example_of_the_manual_is_accepted() {
        for key in Annotations::KEYS {
            let request = request(&[(key.name, key.example)], &Config::default());
            assert!(matches!(request, Ok(Some(_))), "{}: {request:?}", key.name);
        }
    }

    #[test]
    fn a_member_has_nothing_of_its_own() {
        assert_eq!(wiring_of("container:web"), Ok(Wiring::Member("web".parse().unwrap())));
        for (key, value) in [("publish", "80:80"), ("hostname", "x"), ("dns", "192.0.2.1"), ("add-host", "a:192.0.2.1")]
        {
            let key = format!("io.ocinet.{key}");
            let pairs = [("io.ocinet.network", "container:web"), (&key, value)];
            let error = request(&pairs, &Config::default()).unwrap_err().to_string();
            assert!(error.contains(&key) && error.contains("container:web"), "{error}");
        }
    }

    #[test]
    fn ports_are_published_by_a_network_that_is_named() {
        let of = |network: &str, via: &str| {
            let pairs = [("io.ocinet.network", network), ("io.ocinet.publish-via", via)];
            request(&pairs, &Config::default()).map(|request| request.unwrap().wiring)
        };
        let Ok(Wiring::Networks { publish_via, .. }) = of("a;b", "b") else { panic!("no network") };
        assert_eq!(publish_via.unwrap().as_str(), "b");
        for (network, via) in [("a;b", "c"), ("host", "a"), ("container:web", "a")] {
            let error = of(network, via).unwrap_err().to_string();
            assert!(error.contains("io.ocinet.publish-via"), "{network}: {error}");
        }
    }

    #[test]
    fn all_that_the_engine_exposes_is_published() {
        let image = ("org.opencontainers.image.exposedPorts", "80/tcp,53/udp");
        let asks = ("io.ocinet.publish", "all");
        let Wiring::Networks { publish, .. } = request(&[asks, image], &Config::default()).unwrap().unwrap().wiring
        else {
            panic!("no network")
        };
        assert_eq!(publish.len(), 2);
        assert_eq!(request(&[image], &Config::default()), Ok(None), "an image alone asks for nothing");
        let error = request(&[asks], &Config::default()).unwrap_err().to_string();
        assert!(error.starts_with("annotation io.ocinet.publish") && error.contains("exposedPorts"), "{error}");
    }

    #[test]
    fn idle_ports_are_a_warning() {
        for mode in ["host", "none"] {
            let request = request(&[("io.ocinet.network", mode), ("io.ocinet.publish", "80:80")], &Config::default());
            assert_eq!(request.unwrap().unwrap().warnings.len(), 1);
        }
    }

    proptest! {
        #[test]
        fn never_panics(network in ".{0,60}", publish in ".{0,60}") {
            let _ = request(&[("io.ocinet.network", &network), ("io.ocinet.publish", &publish)], &Config::default());
        }
    }
}
