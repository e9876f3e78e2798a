use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use serde::{Deserialize, Serialize};

use super::{
    Alias, ContainerId, ContainerName, Endpoint, Families, Family, HostAddress, Key, NetworkName, PortMapping,
    Publishing, State,
};

/// How a container is wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Endpoints on networks. It is called as the first driver is.
    #[serde(rename = "bridge")]
    Networks,
    /// The host's own namespace.
    Host,
    /// Loopback only.
    None,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Networks => "bridge",
            Self::Host => "host",
            Self::None => "none",
        })
    }
}

/// How to find a network namespace again, to see whether it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetnsLocator {
    /// A path that was bound to it.
    Path(PathBuf),
    /// A process that was in it. Pids are recycled; together with the start time (clock ticks since boot, field 22 of
    /// proc_pid_stat(5)) they are not.
    Process {
        /// The process's id.
        pid: i32,
        /// Its start time.
        started: u64,
    },
    /// A path of ours: we made the namespace before its container existed. It lives while a process is in it.
    Made {
        /// The path that it is bound to.
        path: PathBuf,
        /// Which engine asked for it; none where that is not known any more.
        #[serde(rename = "patron")]
        requester: Option<Requester>,
    },
    /// Nothing: it was found by its link alone.
    Unseen,
}

/// A container engine (containerd) that asked for a namespace to be made for its container. While the engine runs and
/// the bundle exists, the namespace is wanted, also before its first process and after its last; the engine has it
/// detached with the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// The engine's process.
    pub pid: i32,
    /// When that started, as in [`NetnsLocator::Process`].
    pub started: u64,
    /// The container's bundle, which goes with it.
    pub bundle: PathBuf,
}

/// A network namespace as it was seen at attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its `SO_NETNS_COOKIE`: unlike inode numbers, never reused within one store.
    pub cookie: u64,
    /// How to find it again.
    #[serde(rename = "witness")]
    pub locator: NetnsLocator,
    /// The pid namespace (inode number) in which the locator's pid means something.
    pub seen_from_pid_ns: u64,
    /// The mount namespace (inode number) in which the locator's path means something.
    pub seen_from_mnt_ns: u64,
    /// The id that the host's network namespace has for it (`ip netns list-id`, ip-netns(8)), which the kernel forgets
    /// when it ends; none in those of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nsid: Option<i32>,
}

/// What a container says of its resolv.conf(5); what it does not say is as on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResolverChoice {
    /// `io.ocinet.dns`: these name servers instead of the host's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// `io.ocinet.dns-search`: these search domains instead of the host's; `.` for none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// `io.ocinet.dns-option`: these resolver options instead of the host's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// A sandbox in its stored form: everything that was, is or will be wired for one container. It is written before the
/// kernel is touched, and is enough to take everything away again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The number the store gave it; never reused within one store.
    #[serde(rename = "record")]
    pub number: i64,
    /// The container's id.
    pub container: ContainerId,
    /// Its bundle directory as the runtime states it; empty where the sandbox was rebuilt from the kernel, which does
    /// not know it.
    pub bundle: String,
    /// The key, where the bundle is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Key>,
    /// What it chose for its resolv.conf; none where that is not known any more, or the file is none of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<Box<ResolverChoice>>,
    /// Its name.
    pub name: ContainerName,
    /// How it is wired.
    pub mode: Mode,
    /// How far that has come; never [`State::Draining`], which endpoints alone are.
    pub state: State,
    /// When its attach began, in seconds since 1970; none where that is not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// What its kept connections are found by, where that is not its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<Key>,
    /// The network namespace.
    pub namespace: Namespace,
    /// The connections; empty in `host` and `none` mode.
    pub endpoints: Vec<Endpoint>,
    /// The published ports; those of a family lead to the first endpoint that they can lead to.
    pub publish: Vec<PortMapping>,
    /// The network by which they reach the container; none where its default route decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish_via: Option<NetworkName>,
    /// Whether they were chosen for a routed network, so that they hold no port of the host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub routed: bool,
    /// Whether its namespace had a default route of another program, so that published ports are masqueraded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leads_elsewhere: bool,
}

impl Sandbox {
    /// The addresses to which published ports lead, at most one of each family.
    pub fn port_targets(&self) -> Vec<IpAddr> {
        Family::ALL.into_iter().filter_map(|family| self.port_target(family)).map(|(address, _)| address).collect()
    }

    /// The address to which published ports of `family` lead, and what its endpoint has to do with them. The answers of
    /// a container leave by its default route of that family.
    pub fn port_target(&self, family: Family) -> Option<(IpAddr, Publishing)> {
        let target = |endpoint: &Endpoint| Some((endpoint.address_of(family)?, endpoint.publishing_of(family)));
        let answers = |endpoint: &&Endpoint| match endpoint.publishing_of(family) {
            Publishing::Off => false,
            Publishing::Masqueraded => true,
            Publishing::Direct | Publishing::Trusted | Publishing::Routed => endpoint.has_gateway_of(family),
        };
        // Stores of earlier versions do not say of every endpoint that it is masqueraded, and have IPv4 alone.
        let first = || {
            let mut all = self.publishing_endpoints().filter_map(target).filter(|_| family == Family::V4);
            all.find(|(_, publishing)| *publishing != Publishing::Off)
        };
        self.publishing_endpoints().filter(answers).find_map(target).or_else(first)
    }

    /// A family of which no published port leads to the container, although it has its default route by the network that
    /// is returned, since ports lead to another network. None where it has none, or no port is published for that
    /// family.
    pub fn without_ports(&self) -> Option<(Family, &NetworkName)> {
        let is_published = |family| {
            let may_lead = |mapping: &PortMapping| mapping.host_address.family().is_none_or(|of| of == family);
            self.publish.iter().any(may_lead) && !self.port_targets().is_empty()
        };
        let left_out = |family| self.port_target(family).is_none() && is_published(family);
        let by = |family| self.wired_endpoints().find(|endpoint| endpoint.has_gateway_of(family));
        let found = |family| Some((family, &by(family)?.network));
        Family::ALL.into_iter().filter(|family| left_out(*family)).find_map(found)
    }

    /// The endpoints with these addresses.
    pub fn publishing_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(|endpoint| endpoint.wire.host_link().is_some() && endpoint.has_ports())
    }

    /// The families over which others reach its published ports at the container's address alone.
    pub fn routed_families(&self) -> Families {
        let is_routed =
            |family: &Family| self.port_target(*family).is_some_and(|(_, publishing)| publishing == Publishing::Routed);
        Family::ALL.into_iter().filter(is_routed).collect()
    }

    /// The families over which others reach them at its address on `network`, from everywhere or by trusted links.
    pub fn addressed_on(&self, network: &NetworkName) -> Families {
        let is_there = |own: IpAddr| {
            let on_it = self.endpoints.iter().filter(|endpoint| endpoint.network == *network);
            on_it.flat_map(|endpoint| &endpoint.addresses).any(|net| net.addr() == own)
        };
        let is_addressed = |family: &Family| {
            let target = self.port_target(*family).filter(|_| !self.publish.is_empty());
            let kinds = [Publishing::Routed, Publishing::Trusted];
            target.is_some_and(|(own, publishing)| kinds.contains(&publishing) && is_there(own))
        };
        Family::ALL.into_iter().filter(is_addressed).collect()
    }

    /// Whether they reach all of them so. Then it holds no port of the host.
    pub fn is_routed(&self) -> bool {
        let routed = self.routed_families();
        !routed.is_empty() && self.port_targets().into_iter().all(|target| routed.contains(Family::of(target)))
    }

    /// The published ports where they are reached: at the host's addresses of the families that the container has, and over
    /// those that are routed at the container's own. Dormant ones are as they were published.
    pub fn reached_ports(&self) -> Vec<PortMapping> {
        let reached = |mapping: &PortMapping| match self.is_dormant(mapping) {
            true => vec![mapping.clone()],
            false => [self.reached_at_host(mapping), self.reached_at_its_own(mapping)].concat(),
        };
        self.publish.iter().flat_map(reached).collect()
    }

    /// Those of the host's addresses from which `mapping` leads to the container.
    pub fn reached_at_host(&self, mapping: &PortMapping) -> Vec<PortMapping> {
        let (targets, routed) = (self.port_targets(), self.routed_families());
        let of_host = targets.iter().map(|target| Family::of(*target)).filter(|family| !routed.contains(*family));
        let of_host: Families = of_host.collect();
        let only_v4 = routed.is_empty() && of_host == Families::default().with(Family::V4);
        let all = if only_v4 { vec![mapping.host_address] } else { mapping.host_address.of_families(of_host) };
        let leads = |at: &HostAddress| match at.family() {
            Some(family) => of_host.contains(family),
            None => !of_host.is_empty(),
        };
        all.into_iter().filter(leads).map(|at| PortMapping { host_address: at, ..mapping.clone() }).collect()
    }

    /// The container's own addresses at which it is reached.
    fn reached_at_its_own(&self, mapping: &PortMapping) -> Vec<PortMapping> {
        let routed = self.routed_families().iter().filter(|family| self.opens(mapping, *family));
        let own = routed.filter_map(|family| self.port_target(family));
        let at = |(own, _): (IpAddr, Publishing)| PortMapping {
            host_address: Some(own).into(),
            host_port: mapping.container_port,
            ..mapping.clone()
        };
        own.map(at).collect()
    }

    /// Whether `mapping` opens the container's own port over `family`, if that is routed. What it says of the host's address
    /// has no effect where it was chosen for a network that is routed over all families. Else it is open to others only
    /// where it was published on every address of the family.
    pub fn opens(&self, mapping: &PortMapping, family: Family) -> bool {
        let is_for_all = mapping.host_address.one().is_none();
        self.routed || is_for_all && mapping.host_address.family().is_none_or(|of| of == family)
    }

    /// Whether `mapping`, which is published or where it is reached, is leased and leads nowhere: none of its networks can
    /// publish it over a family for which it is published.
    pub fn is_dormant(&self, mapping: &PortMapping) -> bool {
        let own = |family| self.port_target(family).map(|(own, _)| own);
        let is_reached = mapping.host_address.one().is_some_and(|at| own(Family::of(at)) == Some(at));
        self.mode == Mode::Networks
            && !is_reached
            && self.reached_at_host(mapping).is_empty()
            && self.reached_at_its_own(mapping).is_empty()
    }

    /// The published ports that are.
    pub fn dormant_ports(&self) -> impl Iterator<Item = &PortMapping> {
        self.publish.iter().filter(|mapping| self.is_dormant(mapping))
    }

    /// Whether there are any.
    pub fn has_dormant_ports(&self) -> bool {
        self.dormant_ports().next().is_some()
    }

    /// The endpoints that the container has, or is about to have.
    pub fn wired_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(|endpoint| endpoint.state.is_wired())
    }

    /// The container's own addresses: that of the endpoint with the default route first.
    pub fn own_addresses(&self) -> Vec<IpAddr> {
        let (first, rest): (Vec<_>, Vec<_>) =
            self.endpoints.iter().partition(|endpoint| endpoint.gateways().next().is_some());
        let all = first.into_iter().chain(rest).filter(|endpoint| endpoint.state.is_wired());
        all.flat_map(|endpoint| &endpoint.addresses).map(IpNet::addr).collect()
    }

    /// The addresses of all its endpoints, also of those that leave.
    pub fn every_address(&self) -> Vec<IpAddr> {
        self.endpoints.iter().flat_map(|endpoint| &endpoint.addresses).map(IpNet::addr).collect()
    }

    /// The next hop of its default route, where one of its endpoints has that.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.endpoints.iter().find_map(|endpoint| endpoint.gateways().next())
    }

    /// Says of the sandbox and of its endpoints how far they have come.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
        self.endpoints.iter_mut().for_each(|endpoint| endpoint.state = state);
    }

    /// What the sandbox is found by.
    pub fn key(&self) -> Key {
        self.adopted.unwrap_or_else(|| Key::new(&self.container, &self.bundle))
    }

    /// What the connections that are kept of it are found by.
    pub fn keeping_key(&self) -> Key {
        self.kept_by.unwrap_or_else(|| self.key())
    }

    /// Whether its engine makes another bundle for each start of the container, at the same path or another. In
    /// containerd's namespace k8s.io no container starts twice.
    pub fn has_passing_bundle(&self) -> bool {
        let is_pods = Path::new(&self.bundle).parent().is_some_and(|parent| parent.ends_with("k8s.io"));
        self.kept_by.is_some() || matches!(self.namespace.locator, NetnsLocator::Made { .. }) && !is_pods
    }

    /// The alias of the link of its `endpoint`.
    pub fn alias(&self, endpoint: &Endpoint) -> Alias {
        Alias::endpoint(self.key(), endpoint, self.container.as_str())
    }
}
