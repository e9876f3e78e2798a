//! What the files say of networks, against what is used.

use super::Finding;
use crate::engine::{Engine, Error, Result};
use crate::input::config;
use crate::input::network_file::Definition;
use crate::model::{Families, Invalid, Network, NetworkName};

impl Engine {
    /// Definitions with which something is wrong, and those that say something else than what their containers have.
    pub(super) fn examine_definitions(&mut self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let used = self.networks_in_use()?;
        let all = self.definitions().all()?;
        for (name, definition) in &all {
            match definition {
                Err(error) => findings.push(wrong(name, error)),
                Ok(definition) => {
                    let network = used.iter().find(|network| network.name == definition.name);
                    findings.extend(network.and_then(|network| changed(network, definition)));
                }
            }
        }
        let is_used = |name: &NetworkName| used.iter().any(|network| network.name == *name);
        let refused = self.definitions().overlapping()?.into_iter().filter(|(name, _)| !is_used(name));
        findings.extend(refused.map(|(name, overlap)| wrong(name.as_str(), &overlap.into())));
        let default = config::default_bridge();
        let bridge = used.iter().find(|network| network.name == default);
        findings.extend(bridge.and_then(|bridge| changed_families(bridge, self.config.bridge_families())));
        let is_orphaned = |network: &&Network| network.name != default && !all.contains_key(network.name.as_str());
        for Network { name, .. } in used.iter().filter(is_orphaned) {
            let trouble = "has no definition any more: once the last container has left it, no other can join";
            findings.push(Finding::yours(format!("network {name}"), trouble, "write its definition again"));
        }
        Ok(findings)
    }
}

/// A file that cannot be used as it is.
fn wrong(name: &str, error: &Error) -> Finding {
    let remedy = format!("correct the file, or ocinet network rm {name}");
    match error {
        // Its field names the file already.
        Error::Invalid(Invalid { field, value, why }) => {
            Finding::yours(field.clone(), format!("{value:?} {why}"), remedy)
        }
        error => Finding::yours(format!("network {name}"), format!("cannot be used: {error}"), remedy),
    }
}

/// A file that was changed since the first of the containers on `network` joined it.
fn changed(network: &Network, definition: &Definition) -> Option<Finding> {
    let defined = definition.network()?;
    let trouble = "has a changed definition, which takes effect when the last container has left it";
    (!network.is_as_defined(&defined)).then(|| Finding::note(format!("network {}", network.name), trouble))
}

/// A setting that was changed since the first of the containers on the default network joined it.
fn changed_families(bridge: &Network, declared: Families) -> Option<Finding> {
    let trouble = match (bridge.families() == declared, bridge.has_ipv6()) {
        (true, _) => return None,
        (false, true) => "has IPv6 until the last container has left it: ipv6 is false in config.toml",
        (false, false) => "gets IPv6 when the last container has left it: ipv6 is true in config.toml",
    };
    Some(Finding::note(format!("network {}", bridge.name), trouble))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::network_file;

    #[test]
    fn a_changed_file_is_told_and_a_moved_uplink_is_not() {
        let read = |mtu: &str, dns: &str| {
            let text = format!("bridge = \"ocn-1\"\n{mtu}{dns}[[subnet]]\nrange = \"10.64.0.0/24\"\n");
            network_file::parse(&text, "/web.toml", "web").unwrap()
        };
        let mut used = read("", "").network().unwrap();
        used.options.mtu = 1400;
        used.options.derived_macs = true;
        assert_eq!(changed(&used, &read("", "")), None);
        for definition in [read("mtu = 1300\n", ""), read("", "dns = [\"192.0.2.53\"]\n")] {
            let finding = changed(&used, &definition).unwrap();
            assert!(!finding.is_fault() && finding.trouble.contains("last container"), "{finding:?}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let error = network_file::parse("mtu = 9", "/n/web.toml", "web").unwrap_err().into();
        let finding = wrong("web", &error);
        assert_eq!(finding.subject, "network /n/web.toml, line 1: mtu");
        assert!(finding.is_fault() && finding.trouble.contains("\"9\" is no number"), "{finding:?}");
    }
}
