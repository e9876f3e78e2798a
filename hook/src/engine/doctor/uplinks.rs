//! The host's ways out.

use super::Finding;
use crate::decide::uplinks::WayOut;
use crate::driver::Setting;
use crate::engine::Result;
use crate::firewall::Kind;
use crate::kernel::{self, HostLinks};
use crate::model::{Family, InterfaceName, Network, Sandbox};
use crate::shell;

/// Ways out that do not let the containers' packets back in, or that answers may miss.
pub(super) fn examine(
    links: &mut HostLinks,
    kind: Kind,
    networks: &[Network],
    sandboxes: &[Sandbox],
) -> Result<Vec<Finding>> {
    let ways = links.ways_out(Family::V4)?;
    let mut findings = closed_to(Family::V4, ways.iter().map(|way| way.link.clone()).collect())?;
    if networks.iter().any(Network::has_ipv6) {
        // Of IPv4, forwarding of a bridge is a setting of ours.
        let bridges = networks.iter().filter(|network| network.has_ipv6()).filter_map(Network::link).cloned();
        let out = links.ways_out(Family::V6)?.into_iter().map(|way| way.link);
        findings.extend(closed_to(Family::V6, out.chain(bridges).collect())?);
    }
    let publishes = sandboxes.iter().any(|sandbox| sandbox.state.is_wired() && !sandbox.publish.is_empty());
    if publishes {
        findings.extend(note_on_rules(links, kind, &ways, networks)?);
    }
    Ok(findings)
}

/// Those of the links `by` that let no packet of `family` in to containers although the host forwards it.
fn closed_to(family: Family, mut by: Vec<InterfaceName>) -> Result<Vec<Finding>> {
    by.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    by.dedup();
    // Off for the whole host is another finding, and ours to put right.
    if !kernel::forwards_link_by_link(family)? {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for link in by {
        let setting = Setting::forwarding_by(&link, family);
        if !kernel::is_set(&setting)? {
            let trouble = format!("is 0: what comes in by {link} reaches no container, not even an answer");
            let remedy = shell::setting(&setting).replace(" -qw ", " -w ");
            findings.push(Finding::yours(format!("sysctl {}", setting.key), trouble, remedy));
        }
    }
    Ok(findings)
}

fn note_on_rules(links: &mut HostLinks, kind: Kind, ways: &[WayOut], networks: &[Network]) -> Result<Option<Finding>> {
    let rules = links.policy_rules()?;
    let bridges: Vec<InterfaceName> = networks.iter().filter_map(Network::link).cloned().collect();
    let commands = shell::keep_uplinks(ways, &rules, kind, &bridges);
    if commands.is_empty() {
        return Ok(None);
    }
    let trouble = format!(
        "chooses between several uplinks by more than the target, and does not know yet, when it routes the answer of a \
         published port, which of them it was asked by; to keep each on its own: {}",
        commands.join("; ")
    );
    Ok(Some(Finding::note("ip rule", trouble)))
}
