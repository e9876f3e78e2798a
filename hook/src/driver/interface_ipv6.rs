use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::SandboxStep;
use crate::model::Endpoint;

/// The groups of IPv6 (RFC 4291, section 2.7).
pub const GROUPS: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8);
/// The metric of the route to them by an interface that has addresses of IPv6.
pub const GROUPS_METRIC: u32 = 128;

/// What a container's interface has of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterfaceIpv6 {
    /// The addresses that it is given, and a link-local one of its MAC.
    On,
    /// No address of its own. [`Veth::intake`](super::Veth::intake) lets no packet of IPv6 in.
    Filtered,
    /// None: a setting of the interface. The kernel walks the settings of all network namespaces of the machine until it
    /// finds that of one (`proc_sys_compare`, fs/proc/proc_sysctl.c): 0.8 ms beside 1,000 containers.
    Off,
}

impl InterfaceIpv6 {
    /// That of `endpoint`.
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        match endpoint.addresses.iter().any(|address| address.addr().is_ipv6()) {
            true => Self::On,
            false if endpoint.unguarded => Self::Off,
            false => Self::Filtered,
        }
    }
}

impl SandboxStep {
    /// The same where the kernel has no filters for links.
    pub fn without_filters(self) -> Self {
        match self {
            Self::Interface { name, addresses, ipv6: InterfaceIpv6::Filtered } => {
                Self::Interface { name, addresses, ipv6: InterfaceIpv6::Off }
            }
            other => other,
        }
    }
}
