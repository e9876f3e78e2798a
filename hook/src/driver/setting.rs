use std::fmt;

use crate::model::{Family, InterfaceName};

/// A kernel setting (sysctl(8)) and its required value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The path below /proc/sys/. It has slashes, since an interface's name may hold dots.
    pub key: String,
    /// The value.
    pub value: &'static str,
}

impl Setting {
    /// Forwarding of IPv4.
    pub fn ip_forward() -> Self {
        Self { key: "net/ipv4/ip_forward".into(), value: "1" }
    }

    /// Forwarding of IPv6 that leaves the host the routes of router advertisements (Linux 6.17): for links to come, and
    /// for those that are there.
    pub fn forced_forwarding() -> [Self; 2] {
        ["default", "all"].map(|links| Self::of("ipv6", links, "force_forwarding", "1"))
    }

    /// Forwarding of IPv6, by which the host is a router.
    pub fn router() -> Self {
        Self::of("ipv6", "all", "forwarding", "1")
    }

    /// That the host takes routes from router advertisements by `link`, also where it is a router.
    pub fn router_hears(link: &str) -> Self {
        Self::of("ipv6", link, "accept_ra", "2")
    }

    /// That the host is a router to the neighbours on `link`. It forwards no packet more for that (`ip6_forward`,
    /// net/ipv6/ip6_output.c).
    pub fn router_by(link: &InterfaceName) -> Self {
        Self::of("ipv6", link.as_str(), "forwarding", "1")
    }

    /// That the host answers the neighbours on `link` for the addresses of its proxy entries there.
    pub fn answers_by(link: &InterfaceName) -> Self {
        Self::of("ipv6", link.as_str(), "proxy_ndp", "1")
    }

    /// Forwarding of packets of `family` that come in by `interface`.
    pub fn forwarding_by(interface: &InterfaceName, family: Family) -> Self {
        match family {
            Family::V4 => Self::of("ipv4", interface.as_str(), "forwarding", "1"),
            Family::V6 => Self::of("ipv6", interface.as_str(), "force_forwarding", "1"),
        }
    }

    /// No IPv6 on `interface`.
    pub fn without_ipv6(interface: &InterfaceName) -> Self {
        Self::of("ipv6", interface.as_str(), "disable_ipv6", "1")
    }

    /// IPv6 on `interface` of a container, with the addresses that it is given and the link-local one of its MAC alone:
    /// none from a router advertisement, and each usable at once, without a search for another host that has it.
    pub fn with_ipv6(interface: &InterfaceName) -> [Self; 6] {
        let of = |name, value| Self::of("ipv6", interface.as_str(), name, value);
        [
            of("disable_ipv6", "0"),
            of("accept_ra", "0"),
            of("autoconf", "0"),
            of("accept_redirects", "0"),
            of("accept_dad", "0"),
            // `IN6_ADDR_GEN_MODE_EUI64`, which the guard lets pass.
            of("addr_gen_mode", "0"),
        ]
    }

    /// A setting of one interface.
    pub fn of(family: &str, interface: &str, name: &str, value: &'static str) -> Self {
        Self { key: format!("net/{family}/conf/{interface}/{name}"), value }
    }

    /// A setting of the neighbours by one interface.
    pub fn of_neighbours(family: &str, interface: &str, name: &str, value: &'static str) -> Self {
        Self { key: format!("net/{family}/neigh/{interface}/{name}"), value }
    }

    /// Its name, such as `forwarding`.
    pub fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }

    /// The key as people write it: `net.ipv4.ip_forward`. It keeps its slashes where an interface's name has dots.
    pub fn dotted(&self) -> String {
        if self.key.contains('.') { self.key.clone() } else { self.key.replace('/', ".") }
    }

    /// `settings` as they are given to sysctl(8): `net.ipv4.ip_forward=1`.
    pub fn words(settings: &[Self]) -> String {
        settings.iter().map(|one| format!("{}={}", one.dotted(), one.value)).collect::<Vec<_>>().join(" ")
    }

    /// Whether it exists only on a kernel and a link with IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.key.starts_with("net/ipv6/")
    }

    /// Its file.
    pub fn path(&self) -> String {
        format!("/proc/sys/{}", self.key)
    }
}

/// In the form that sysctl(8) takes.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}
