//! Finds the namespaces of containers that the store has lost, and the interfaces in them.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use nix::errno::Errno;
use rtnetlink::LinkUnspec;

use super::error::{Doing, Result};
use super::netlink::Netlink;
use crate::decide::liveness::Sight;
use crate::kernel::namespace::Netns;
use crate::kernel::namespace::{Origin, process_start};
use crate::kernel::netlink::{HostLinks, address_on, errno};
use crate::model::{InterfaceName, Mac, Namespace, NetnsLocator};

/// A network namespace that was found.
pub struct Found {
    /// The namespace itself.
    pub netns: Netns,
    /// How to find it again.
    pub namespace: Namespace,
}

/// An interface in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerInterface {
    /// Its name.
    pub name: InterfaceName,
    /// Its MAC address.
    pub mac: Mac,
    /// Its addresses with their prefixes, without those that the kernel assigns itself.
    pub addresses: Vec<IpNet>,
    /// The next hops of its default routes.
    pub gateways: Vec<IpAddr>,
}

/// The network namespaces that this process can see and that have a link in common with the host's, by their ids in the
/// host's namespace. A bound one is found by its path, another by its oldest process.
///
/// # Errors
/// When /proc cannot be read.
pub fn namespaces(links: &mut HostLinks, origin: &Origin) -> Result<BTreeMap<i32, Found>> {
    let (mut found, here) = (BTreeMap::new(), origin.here()?);
    for (path, locator) in bound_paths()?.into_iter().chain(oldest_processes()?) {
        let Ok(netns) = Netns::at(&path) else { continue };
        let Some(nsid) = links.nsid(&netns)? else { continue };
        let Ok(cookie) = netns.cookie() else { continue };
        let (seen_from_pid_ns, seen_from_mnt_ns) = (here.pid_ns, here.mnt_ns);
        let namespace = Namespace { cookie, locator, seen_from_pid_ns, seen_from_mnt_ns, nsid: Some(nsid) };
        // A process that has ended meanwhile would lead to no namespace.
        if matches!(Netns::look(&namespace, origin), Sight::Alive(_)) {
            found.entry(nsid).or_insert(Found { netns, namespace });
        }
    }
    Ok(found)
}

/// The paths to which network namespaces are bound (proc_pid_mountinfo(5)).
fn bound_paths() -> Result<Vec<(PathBuf, NetnsLocator)>> {
    let path = "/proc/self/mountinfo";
    let text = fs::read_to_string(path).doing(|| format!("read {path}"))?;
    let bound = text.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        root.starts_with("net:[").then(|| PathBuf::from(unescaped(point)))
    });
    Ok(bound.map(|path| (path.clone(), NetnsLocator::Path(path))).collect())
}

/// mountinfo encodes blanks and backslashes as three octal digits.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, character)| text.replace(code, character))
}

/// Of each network namespace, the process in it that started first.
fn oldest_processes() -> Result<Vec<(PathBuf, NetnsLocator)>> {
    let mut oldest = BTreeMap::<PathBuf, (u64, i32)>::new();
    let processes = fs::read_dir("/proc").doing(|| "list /proc".into())?.flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        // Many processes share a namespace. The text of the link identifies it without opening it.
        let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/net")) else { continue };
        let Ok(started) = process_start(pid) else { continue };
        let entry = oldest.entry(namespace).or_insert((started, pid));
        *entry = (*entry).min((started, pid));
    }
    let locator = |(started, pid): (u64, i32)| {
        let path = Path::new("/proc").join(pid.to_string()).join("ns/net");
        (path, NetnsLocator::Process { pid, started })
    };
    Ok(oldest.into_values().map(locator).collect())
}

/// The interface with `index` in `netns`; none if it is gone.
///
/// # Errors
/// When the namespace cannot be entered or asked.
pub fn interface_in(netns: &Netns, index: u32) -> Result<Option<ContainerInterface>> {
    netns.within(|| {
        let mut netlink = Netlink::route()?;
        let what = || format!("look at link {index} of a container");
        let question = LinkUnspec::new_with_index(index).build();
        let links = match netlink.request(RouteNetlinkMessage::GetLink(question), 0) {
            Err(error) if errno(&error) == Errno::ENODEV => return Ok(None),
            result => result.doing(what)?,
        };
        let (mut name, mut mac) = (None, None);
        for link in links {
            let RouteNetlinkMessage::NewLink(link) = link else { continue };
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(text) => name = text.parse().ok(),
                    LinkAttribute::Address(bytes) => mac = bytes.try_into().ok().map(Mac),
                    _ => {}
                }
            }
        }
        let question = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let addresses = netlink.request(question, NLM_F_DUMP).doing(what)?;
        let addresses = addresses.iter().filter_map(|answer| address_on(answer, index));
        let addresses = addresses.filter(|net| !is_link_local(net.addr())).collect();
        let routes = netlink.request(RouteNetlinkMessage::GetRoute(RouteMessage::default()), NLM_F_DUMP).doing(what)?;
        let gateways = routes.iter().filter_map(|answer| default_gateway(answer, index)).collect();
        Ok(name.zip(mac).map(|(name, mac)| ContainerInterface { name, mac, addresses, gateways }))
    })
}

/// Those of `names` that interfaces in `netns` have.
///
/// # Errors
/// When the namespace cannot be entered or asked.
pub fn taken_in(netns: &Netns, names: &[InterfaceName]) -> Result<Vec<InterfaceName>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    netns.within(|| {
        let mut netlink = Netlink::route()?;
        let mut taken = Vec::new();
        for name in names {
            let question = LinkUnspec::new_with_name(name.as_str()).build();
            match netlink.request(RouteNetlinkMessage::GetLink(question), 0) {
                Err(error) if errno(&error) == Errno::ENODEV => {}
                result => {
                    result.doing(|| format!("look for link {name} in a container"))?;
                    taken.push(name.clone());
                }
            }
        }
        Ok(taken)
    })
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn default_gateway(answer: &RouteNetlinkMessage, index: u32) -> Option<IpAddr> {
    let RouteNetlinkMessage::NewRoute(route) = answer else { return None };
    let leads_out = route.attributes.contains(&RouteAttribute::Oif(index));
    if !leads_out || route.header.destination_prefix_length != 0 {
        return None;
    }
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4)) => Some((*v4).into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    })
}
