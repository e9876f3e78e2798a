//! The container's side: its network namespace.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::NeighbourFlags;
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use rtnetlink::{LinkUnspec, RouteMessageBuilder};

use crate::driver::{GROUPS, GROUPS_METRIC, InterfaceIpv6, SandboxStep, Setting};
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::namespace::Netns;
use crate::kernel::netlink::{Netlink, address_message, entry, errno, no_own_ipv6, permanent, question};
use crate::kernel::sysctl;
use crate::model::{Families, Family, InterfaceName, Mac, StaticRoute};

/// The loopback interface is the first link of every namespace (`LOOPBACK_IFINDEX`, include/net/net_namespace.h).
pub(super) const LOOPBACK: u32 = 1;

/// The tables `main` and `local` (`RT_TABLE_MAIN`, `RT_TABLE_LOCAL`, linux/rtnetlink.h).
pub(super) const MAIN: u8 = 254;
const LOCAL: u8 = 255;
/// The rules that every namespace begins with, beside that of its own addresses (`fib_default_rules_init`,
/// net/ipv4/fib_rules.c).
const MAIN_AND_DEFAULT: [u32; 2] = [32_766, 32_767];
/// The first after that of its own addresses.
pub(super) const OWN_PRIORITY: u32 = 1;

/// What the kernel answers where it lacks IPv6, by a parameter of the kernel or of the link (`inet6_addr_add`,
/// net/ipv6/addrconf.c).
const NO_IPV6: [Errno; 3] = [Errno::EAFNOSUPPORT, Errno::EOPNOTSUPP, Errno::EACCES];

/// Performs the steps inside `namespace`, in their order. `index` is the interface's, if the caller knows it.
///
/// # Errors
/// Those of the kernel.
pub fn inside(namespace: &Netns, steps: &[SandboxStep], index: Option<u32>) -> Result<()> {
    let mut netlink = Netlink::inside(namespace)?;
    steps.iter().try_for_each(|step| apply(&mut netlink, namespace, step, index))
}

/// A connection to the kernel about the container's namespace.
type Inside<'n> = Netlink<BorrowedFd<'n>>;

fn apply(netlink: &mut Inside<'_>, namespace: &Netns, step: &SandboxStep, index: Option<u32>) -> Result<()> {
    match step {
        SandboxStep::Loopback => up(netlink, LOOPBACK).doing(|| "set lo up".into()),
        SandboxStep::Interface { name, addresses, ipv6 } => {
            let index = index_of(netlink, name, index)?;
            set_ipv6(netlink, namespace, name, index, *ipv6)?;
            interface(netlink, name, index, addresses)?;
            if *ipv6 == InterfaceIpv6::On { lead_groups(netlink, name, index) } else { Ok(()) }
        }
        SandboxStep::Neighbour { name, address, mac } => neighbour(netlink, name, index, *address, *mac),
        SandboxStep::Announce { name, address } => announce(netlink, name, index, *address),
        SandboxStep::Route(route) => static_route(netlink, route),
        SandboxStep::Settings(settings) => namespace.within(|| sysctl::set(settings)),
        SandboxStep::OwnAddress(address) => own_address(netlink, *address),
        SandboxStep::RouteOwnAlone => route_own_alone(netlink),
        SandboxStep::Near { name, to, source } => near(netlink, name, index, *to, *source),
        SandboxStep::NotNear { name, to } => not_near(netlink, name, *to),
        SandboxStep::DefaultRoute { gateway } => default_route(netlink, *gateway),
        SandboxStep::MoveDefaultRoute { from, to } => move_default_route(netlink, *from, *to),
    }
}

/// Gives an interface what it is to have of IPv6, from inside the namespace: what /proc/sys/net shows is that of the
/// process.
fn set_ipv6(
    netlink: &mut Inside<'_>,
    namespace: &Netns,
    name: &InterfaceName,
    index: u32,
    ipv6: InterfaceIpv6,
) -> Result<()> {
    match ipv6 {
        InterfaceIpv6::On => namespace.within(|| enable_ipv6(name)),
        InterfaceIpv6::Filtered => without_own_ipv6(netlink, name, index),
        InterfaceIpv6::Off => match namespace.within(|| disable_ipv6(name)) {
            // /proc/sys is read-only. The setting belongs to the container, so the operator could not have made it
            // beforehand.
            Err(error) if error.errno() == Some(libc::EROFS) => without_own_ipv6(netlink, name, index),
            result => result,
        },
    }
}

fn interface(netlink: &mut Inside<'_>, name: &InterfaceName, index: u32, addresses: &[IpNet]) -> Result<()> {
    for address in addresses {
        let message = RouteNetlinkMessage::NewAddress(address_message(index, *address));
        let added = netlink.request(message, NLM_F_CREATE | NLM_F_EXCL);
        added.doing(|| format!("give address {address} to {name} in the container"))?;
    }
    up(netlink, index).doing(|| format!("set {name} up in the container"))
}

/// Leads groups of IPv6 to an interface that has addresses of it. The kernel gives each interface which has IPv6 such a
/// route, also without an address (`addrconf_add_mroute`, net/ipv6/addrconf.c): of several the oldest would have the
/// groups. Those have the metric 256 (`IP6_RT_PRIO_ADDRCONF`, net/ip6_route.h).
fn lead_groups(netlink: &mut Inside<'_>, name: &InterfaceName, index: u32) -> Result<()> {
    let mut message = RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(GROUPS.addr(), GROUPS.prefix_len())
        .output_interface(index)
        .priority(GROUPS_METRIC)
        .build();
    (message.header.table, message.header.kind) = (LOCAL, RouteType::Multicast);
    match netlink.request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE) {
        Err(error) if errno(&error) != Errno::EEXIST => {
            Err(Error::refused(format!("lead groups of IPv6 to {name} in the container"), error))
        }
        _ => Ok(()),
    }
}

/// Whether the interface `name` has IPv6 switched off in `namespace`, or is not there.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn has_ipv6_off(namespace: &Netns, name: &InterfaceName) -> Result<bool> {
    let mut netlink = Netlink::inside(namespace)?;
    let answers = match netlink.request(RouteNetlinkMessage::GetLink(question(name)), 0) {
        Err(error) if errno(&error) == Errno::ENODEV => return Ok(true),
        answers => answers.doing(|| format!("look for {name} in the container"))?,
    };
    Ok(!answers.iter().any(|answer| matches!(answer, RouteNetlinkMessage::NewLink(link) if has_ipv6_on(link))))
}

/// A link without IPv6 has no settings of it.
fn has_ipv6_on(link: &LinkMessage) -> bool {
    let families = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::AfSpecUnspec(families) => Some(families),
        _ => None,
    });
    let parts = families.flatten().filter_map(|family| match family {
        AfSpecUnspec::Inet6(parts) => Some(parts),
        _ => None,
    });
    parts.flatten().any(|part| matches!(part, AfSpecInet6::DevConf(settings) if settings.disable_ipv6 == 0))
}

/// Makes the first packet to `address` need no ARP. The container may delete or replace the entry, and harms only
/// itself.
fn neighbour(
    netlink: &mut Inside<'_>,
    name: &InterfaceName,
    known: Option<u32>,
    address: IpAddr,
    mac: Mac,
) -> Result<()> {
    let entry = permanent(index_of(netlink, name, known)?, address, mac);
    let done = netlink.request(RouteNetlinkMessage::NewNeighbour(entry), NLM_F_CREATE | NLM_F_REPLACE);
    done.map(drop).doing(|| format!("make {name} in the container know {address}"))
}

/// Makes the kernel look for the interface's own `address`. Its ARP question goes to all hosts on the network and holds
/// the address and the MAC (RFC 826). Hosts that remember another MAC for the address learn the new one. Without the
/// question that would take them half a minute if the container sends nothing. No host has the address, so the kernel
/// gets no answer and asks three times in two seconds (`neigh_timer_handler`, net/core/neighbour.c). The bridge's port
/// may miss the first question, since it is not ready at once. The kernel sends the question of `arp_notify` only once,
/// before the port is ready.
fn announce(netlink: &mut Inside<'_>, name: &InterfaceName, known: Option<u32>, address: IpAddr) -> Result<()> {
    let mut question = entry(index_of(netlink, name, known)?, address);
    question.header.flags = NeighbourFlags::Use;
    match netlink.request(RouteNetlinkMessage::NewNeighbour(question), NLM_F_CREATE) {
        // The neighbour table, which all containers share with the host, is full (`neigh_alloc`, net/core/neighbour.c).
        Err(error) if errno(&error) == Errno::ENOBUFS => Ok(()),
        result => result.map(drop).doing(|| format!("announce {address} of {name} in the container")),
    }
}

fn index_of(netlink: &mut Inside<'_>, name: &InterfaceName, known: Option<u32>) -> Result<u32> {
    known.map_or_else(|| index(netlink, name), Ok).doing(|| format!("look for {name} in the container"))
}

/// Switches IPv6 off on an interface. On a kernel without IPv6 there is nothing to do.
fn disable_ipv6(name: &InterfaceName) -> Result<()> {
    let setting = Setting::without_ipv6(name);
    // A new interface has IPv6 in nearly every namespace.
    if sysctl::write(&setting).is_ok() { Ok(()) } else { sysctl::set(&[setting]) }
}

/// Gives an interface no IPv6 address of its own.
fn without_own_ipv6(netlink: &mut Inside<'_>, name: &InterfaceName, index: u32) -> Result<()> {
    let link = LinkUnspec::new_with_index(index).append_extra_attribute(no_own_ipv6()).build();
    match netlink.request(RouteNetlinkMessage::NewLink(link), 0) {
        Err(error) if errno(&error) != Errno::EAFNOSUPPORT => {
            Err(Error::refused(format!("keep {name} in the container without IPv6"), error))
        }
        _ => Ok(()),
    }
}

/// Gives an interface the settings for IPv6. If /proc/sys is read-only, it has the kernel's, and the guards of siblings
/// let no router advertisement pass.
fn enable_ipv6(name: &InterfaceName) -> Result<()> {
    let settings = Setting::with_ipv6(name);
    if settings.iter().all(|setting| sysctl::write(setting).is_ok()) {
        return Ok(());
    }
    match sysctl::set(&settings) {
        Err(error) if error.errno() == Some(libc::EROFS) => Ok(()),
        result => result,
    }
}

/// Adds a route. One to the same addresses, which another network or program added, stays.
fn static_route(netlink: &mut Inside<'_>, route: &StaticRoute) -> Result<()> {
    let StaticRoute { to, via, metric } = *route;
    let mut message = match (to, via) {
        (IpNet::V4(to), IpAddr::V4(via)) => {
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to.addr(), to.prefix_len()).gateway(via).build()
        }
        (IpNet::V6(to), IpAddr::V6(via)) => {
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to.addr(), to.prefix_len()).gateway(via).build()
        }
        // A definition with two families in one route is refused.
        _ => return Ok(()),
    };
    message.attributes.extend(metric.map(RouteAttribute::Priority));
    match netlink.request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL) {
        Err(error) if error.raw_os_error() != Some(Errno::EEXIST as i32) => {
            Err(Error::refused(format!("route {to} via {via} in the container"), error))
        }
        _ => Ok(()),
    }
}

fn own_address(netlink: &mut Inside<'_>, address: IpNet) -> Result<()> {
    let message = RouteNetlinkMessage::NewAddress(address_message(LOOPBACK, address));
    match netlink.request(message, NLM_F_CREATE | NLM_F_EXCL) {
        // The kernel has no IPv6, or was told to have none.
        Err(error) if address.addr().is_ipv6() && NO_IPV6.contains(&errno(&error)) => Ok(()),
        result => result.map(drop).doing(|| format!("give address {address} to lo")),
    }
}

fn near(
    netlink: &mut Inside<'_>,
    name: &InterfaceName,
    known: Option<u32>,
    to: IpNet,
    source: Option<IpAddr>,
) -> Result<()> {
    let what = || format!("route {to} by {name}");
    let mut message = directly(index_of(netlink, name, known)?, to);
    message.attributes.extend(source.map(|source| RouteAttribute::PrefSource(source.into())));
    match netlink.request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_APPEND) {
        Err(error) if error.raw_os_error() != Some(Errno::EEXIST as i32) => Err(Error::refused(what(), error)),
        _ => Ok(()),
    }
}

fn not_near(netlink: &mut Inside<'_>, name: &InterfaceName, to: IpNet) -> Result<()> {
    let index = match index(netlink, name) {
        Err(error) if errno(&error) == Errno::ENODEV => return Ok(()),
        index => index.doing(|| format!("look for {name} in the container"))?,
    };
    match netlink.request(RouteNetlinkMessage::DelRoute(directly(index, to)), 0) {
        Err(error) if errno(&error) != Errno::ESRCH => {
            Err(Error::refused(format!("route {to} by {name} no more in the container"), error))
        }
        _ => Ok(()),
    }
}

/// The route to `to` by the link `index`, without a next hop.
fn directly(index: u32, to: IpNet) -> RouteMessage {
    match to {
        IpNet::V4(to) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to.addr(), to.prefix_len())
            .output_interface(index)
            .scope(RouteScope::Link)
            .build(),
        IpNet::V6(to) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(to.addr(), to.prefix_len())
            .output_interface(index)
            .build(),
    }
}

/// A packet that came in by a link finds no route but to an address of this namespace. The kernel looks up the routes
/// of its own packets, and of their sources (`__fib_validate_source`), as if they came in by `lo`.
fn route_own_alone(netlink: &mut Inside<'_>) -> Result<()> {
    let what = || "route packets of its own alone".to_owned();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut own = rule(family, OWN_PRIORITY);
        own.attributes.extend([RuleAttribute::Iifname("lo".into()), RuleAttribute::Table(MAIN.into())]);
        match netlink.request(RouteNetlinkMessage::NewRule(own), NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if family == AddressFamily::Inet6 && NO_IPV6.contains(&errno(&error)) => continue,
            result => result.map(drop).doing(what)?,
        }
        for priority in MAIN_AND_DEFAULT {
            match netlink.request(RouteNetlinkMessage::DelRule(rule(family, priority)), 0) {
                // IPv6 has no second one.
                Err(error) if errno(&error) == Errno::ENOENT && family == AddressFamily::Inet6 => {}
                result => result.map(drop).doing(what)?,
            }
        }
    }
    Ok(())
}

fn rule(family: AddressFamily, priority: u32) -> RuleMessage {
    let mut rule = RuleMessage::default();
    (rule.header.family, rule.header.action) = (family, RuleAction::ToTable);
    rule.attributes.push(RuleAttribute::Priority(priority));
    rule
}

/// Whether `namespace` has a default route of one of `families`.
///
/// # Errors
/// Those of the kernel.
pub fn has_way_out(namespace: &Netns, families: Families) -> Result<bool> {
    let mut netlink = Netlink::inside(namespace)?;
    for family in families.iter() {
        let any = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        if has_default_route(&mut netlink, any).doing(|| "list the routes in the container".into())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A namespace that was wired before, such as a pod's or podman's, keeps its default route, whatever the metric is.
fn default_route(netlink: &mut Inside<'_>, gateway: IpAddr) -> Result<()> {
    if has_default_route(netlink, gateway).doing(|| "list the routes in the container".into())? {
        return Ok(());
    }
    match netlink.request(RouteNetlinkMessage::NewRoute(default_by(gateway)), NLM_F_CREATE | NLM_F_EXCL) {
        Err(error) if error.raw_os_error() != Some(Errno::EEXIST as i32) => {
            Err(Error::refused(format!("route everything via {gateway} in the container"), error))
        }
        _ => Ok(()),
    }
}

/// Another default route than the one by `from` is another program's, or the container's own, and stays.
fn move_default_route(netlink: &mut Inside<'_>, from: IpAddr, to: Option<IpAddr>) -> Result<()> {
    let what = || format!("take the default route via {from} away in the container");
    match netlink.request(RouteNetlinkMessage::DelRoute(default_by(from)), 0) {
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {}
        result => result.map(drop).doing(what)?,
    }
    to.map_or(Ok(()), |to| default_route(netlink, to))
}

fn default_by(gateway: IpAddr) -> RouteMessage {
    match gateway {
        IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(v4).build(),
        IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(v6).build(),
    }
}

/// Whether there is a default route of the same family as `gateway`.
fn has_default_route(netlink: &mut Inside<'_>, gateway: IpAddr) -> std::io::Result<bool> {
    let question = match gateway {
        IpAddr::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        IpAddr::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    let answers = netlink.request(RouteNetlinkMessage::GetRoute(question), NLM_F_DUMP)?;
    Ok(answers.into_iter().any(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => {
            let RouteHeader { destination_prefix_length, kind, table, .. } = route.header;
            destination_prefix_length == 0 && kind == RouteType::Unicast && table == RouteHeader::RT_TABLE_MAIN
        }
        _ => false,
    }))
}

fn up(netlink: &mut Inside<'_>, index: u32) -> std::io::Result<()> {
    let link = LinkUnspec::new_with_index(index).up().build();
    netlink.request(RouteNetlinkMessage::NewLink(link), 0).map(drop)
}

fn index(netlink: &mut Inside<'_>, name: &InterfaceName) -> std::io::Result<u32> {
    let answers = netlink.request(RouteNetlinkMessage::GetLink(question(name)), 0)?;
    let index = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(link) => Some(link.header.index),
        _ => None,
    });
    index.ok_or_else(|| Errno::ENODEV.into())
}
