//! Whether the steps inside a network namespace stand as they were done.

use ipnet::IpNet;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::sandbox::{LOOPBACK, MAIN, OWN_PRIORITY};
use crate::driver::{SandboxStep, Setting};
use crate::kernel::error::{Doing, Result};
use crate::kernel::namespace::Netns;
use crate::kernel::netlink::{Netlink, address_on, destination, is_up, new_link, new_route, output_interface};
use crate::kernel::sysctl;
use crate::model::InterfaceName;

/// Those of `steps` whose result is not in `namespace`, and of settings those that differ. Of neighbours and default
/// routes, which a container may change, nothing is said.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn undone(namespace: &Netns, steps: &[SandboxStep]) -> Result<Vec<SandboxStep>> {
    namespace.within(|| {
        let found = Found::take()?;
        let mut undone = Vec::new();
        for step in steps {
            match step {
                SandboxStep::Settings(settings) => {
                    let differing = differing(settings)?;
                    if !differing.is_empty() {
                        undone.push(SandboxStep::Settings(differing));
                    }
                }
                step if !found.has(step)? => undone.push(step.clone()),
                _ => {}
            }
        }
        Ok(undone)
    })
}

fn differing(settings: &[Setting]) -> Result<Vec<Setting>> {
    let mut differing = Vec::new();
    for setting in settings {
        if !sysctl::is_set(setting)? {
            differing.push(setting.clone());
        }
    }
    Ok(differing)
}

/// What is in the network namespace of this thread.
struct Found {
    links: Vec<LinkMessage>,
    addresses: Vec<RouteNetlinkMessage>,
    routes: Vec<RouteMessage>,
    rules: Vec<RuleMessage>,
}

impl Found {
    fn take() -> Result<Self> {
        let mut netlink = Netlink::route()?;
        let mut dump = |message| netlink.request(message, NLM_F_DUMP).doing(|| "look into a network namespace".into());
        let links = dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?.into_iter().filter_map(new_link);
        let addresses = dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let routes = dump(RouteNetlinkMessage::GetRoute(RouteMessage::default()))?.into_iter().filter_map(new_route);
        let rules = dump(RouteNetlinkMessage::GetRule(RuleMessage::default()))?.into_iter();
        let rules = rules.filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRule(rule) => Some(rule),
            _ => None,
        });
        Ok(Self { links: links.collect(), addresses, routes: routes.collect(), rules: rules.collect() })
    }

    fn has(&self, step: &SandboxStep) -> Result<bool> {
        Ok(match step {
            SandboxStep::Loopback => self.links.iter().any(|link| link.header.index == LOOPBACK && is_up(link)),
            SandboxStep::Interface { name, addresses, .. } => self.link(name).is_some_and(|link| {
                is_up(link) && addresses.iter().all(|one| self.has_address(link.header.index, one))
            }),
            SandboxStep::OwnAddress(address) => {
                self.has_address(LOOPBACK, address) || address.addr().is_ipv6() && !has_ipv6()?
            }
            SandboxStep::RouteOwnAlone => {
                [AddressFamily::Inet, AddressFamily::Inet6].into_iter().all(|family| self.routes_own_alone(family))
            }
            SandboxStep::Near { name, to, .. } => {
                let link = self.link(name).map(|link| link.header.index);
                let mut routes = self.routes.iter().filter(|route| link.is_some() && output_interface(route) == link);
                routes.any(|route| destination(route) == Some(to.trunc()))
            }
            SandboxStep::Settings(_)
            | SandboxStep::Neighbour { .. }
            | SandboxStep::Announce { .. }
            | SandboxStep::Route(_)
            | SandboxStep::NotNear { .. }
            | SandboxStep::DefaultRoute { .. }
            | SandboxStep::MoveDefaultRoute { .. } => true,
        })
    }

    fn link(&self, name: &InterfaceName) -> Option<&LinkMessage> {
        let is_called =
            |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::IfName(own) if own == name.as_str());
        self.links.iter().find(|link| link.attributes.iter().any(is_called))
    }

    fn has_address(&self, index: u32, address: &IpNet) -> bool {
        self.addresses.iter().any(|answer| address_on(answer, index).as_ref() == Some(address))
    }

    /// Whether the rules of `family` are the kernel's for its own addresses, and ours. A kernel without the family has none.
    fn routes_own_alone(&self, family: AddressFamily) -> bool {
        let mut priorities: Vec<u32> =
            self.rules.iter().filter(|rule| rule.header.family == family).map(priority).collect();
        priorities.sort_unstable();
        let ours = self.rules.iter().find(|rule| rule.header.family == family && priority(rule) == OWN_PRIORITY);
        let is_ours = ours.is_some_and(|rule| {
            rule.header.table == MAIN && rule.attributes.contains(&RuleAttribute::Iifname("lo".into()))
        });
        priorities.is_empty() && family == AddressFamily::Inet6 || priorities == [0, OWN_PRIORITY] && is_ours
    }
}

/// The kernel says nothing of a priority of 0 (`fib_nl_fill_rule`, net/core/fib_rules.c).
fn priority(rule: &RuleMessage) -> u32 {
    let priority = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Priority(priority) => Some(*priority),
        _ => None,
    });
    priority.unwrap_or_default()
}

/// Whether the loopback interface of this thread's namespace may have addresses of IPv6.
fn has_ipv6() -> Result<bool> {
    let (off, on) = (Setting::of("ipv6", "lo", "disable_ipv6", "1"), Setting::of("ipv6", "lo", "disable_ipv6", "0"));
    // Without IPv6 in the kernel the setting is not there, and counts as both.
    Ok(sysctl::is_set(&on)? && !sysctl::is_set(&off)?)
}
