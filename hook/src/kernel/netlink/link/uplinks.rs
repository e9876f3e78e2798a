//! The host's default routes, and the rules that choose between them.

use std::net::{Ipv4Addr, Ipv6Addr};

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::rule::{RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};

use super::HostLinks;
use super::read::{new_link, new_route, output_interface};
use crate::decide::uplinks::{PolicyRule, WayOut};
use crate::kernel::error::{Doing, Result};
use crate::model::{Family, InterfaceName};

impl HostLinks {
    /// The links of the default routes of `family` of all tables. A link is listed twice if two tables have it.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn ways_out(&mut self, family: Family) -> Result<Vec<WayOut>> {
        let question = match family {
            Family::V4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        };
        let answers = self.netlink.request(RouteNetlinkMessage::GetRoute(question), NLM_F_DUMP);
        let routes = answers.doing(|| "list the host's routes".into())?.into_iter().filter_map(new_route);
        let mut ways = Vec::new();
        for route in routes.filter(is_default) {
            for index in outputs(&route) {
                let Some(link) = self.name_of(index)? else { continue };
                let way = WayOut { link, table: table(&route) };
                if !ways.contains(&way) {
                    ways.push(way);
                }
            }
        }
        Ok(ways)
    }

    /// The IPv4 policy rules, which choose the routing table for a packet.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn policy_rules(&mut self) -> Result<Vec<PolicyRule>> {
        let mut question = RuleMessage::default();
        question.header.family = AddressFamily::Inet;
        let answers = self.netlink.request(RouteNetlinkMessage::GetRule(question), NLM_F_DUMP);
        let rules =
            answers.doing(|| "list the host's policy rules".into())?.into_iter().filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRule(rule) => Some(policy_rule(&rule)),
                _ => None,
            });
        Ok(rules.collect())
    }

    /// None if the link is gone, or is one of the kernel's own, such as `lo`.
    pub(super) fn name_of(&mut self, index: u32) -> Result<Option<InterfaceName>> {
        let question = LinkUnspec::new_with_index(index).build();
        let answers = match self.netlink.request(RouteNetlinkMessage::GetLink(question), 0) {
            Err(error) if super::is_gone(&error) => return Ok(None),
            result => result.doing(|| format!("look at link {index}"))?,
        };
        let attributes = answers.into_iter().filter_map(new_link).flat_map(|link| link.attributes);
        let mut names = attributes.filter_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        Ok(names.next().and_then(|name| name.parse().ok()))
    }
}

/// Whether it is a default route.
pub(super) fn is_default(route: &RouteMessage) -> bool {
    route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast
}

/// The output links of a route: several if it has several next hops.
fn outputs(route: &RouteMessage) -> Vec<u32> {
    let hops = route.attributes.iter().filter_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops.iter().map(|hop| hop.interface_index)),
        _ => None,
    });
    hops.flatten().chain(output_interface(route)).collect()
}

/// The number of the routing table, from the attribute: the header has room only for small numbers.
pub(super) fn table(route: &RouteMessage) -> u32 {
    let number = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(number) => Some(*number),
        _ => None,
    });
    number.unwrap_or_else(|| route.header.table.into())
}

fn policy_rule(rule: &RuleMessage) -> PolicyRule {
    let (mut priority, mut table, mut mark) = (0, rule.header.table.into(), None);
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::FwMark(number) if !rule.header.flags.contains(RuleFlags::Invert) => mark = Some(*number),
            _ => {}
        }
    }
    PolicyRule { priority, table, mark }
}
