//! Published ports of a container that runs, which come to lead to it over a family that it did not have.
//!
//! When they were chosen, nothing was asked about the host's ports of that family. A port that was published on every
//! address leads to the container by the new family, too, unless a process of the host listens on it there: then it
//! stays with the family that it has, until the container starts again.

use crate::decide::published;
use crate::engine::{Engine, Result};
use crate::kernel::Listeners;
use crate::model::{Family, HostAddress, PortMapping, Sandbox};

/// A published port that stays with the family that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct HeldBack {
    /// As it was published.
    mapping: PortMapping,
    /// The family that it has.
    family: Family,
    /// Why it gets no other.
    why: String,
}

impl HeldBack {
    /// As people are told of it.
    pub fn told(&self, container: &str) -> String {
        let Self { mapping, family, why } = self;
        let port = format!("{}/{}", mapping.host_port, mapping.protocol);
        format!("published port {port} leads to container {container} over {family} alone until its next start: {why}")
    }
}

impl Engine {
    /// The published ports of `after` that stay with the family by which they led to the container in `before`.
    pub(in crate::engine) fn held_back(&mut self, before: &Sandbox, after: &Sandbox) -> Result<Vec<HeldBack>> {
        let Some((family, gained)) = published::gained(before, after) else { return Ok(Vec::new()) };
        let unasked = gained == Family::V6 && self.store.read().host_row()?.respect_host_firewall;
        let mut listeners = Listeners::of_few();
        let mut held = Vec::new();
        for mapping in after.publish.iter().filter(|mapping| mapping.host_address == HostAddress::Any) {
            let mut hold = |why| held.push(HeldBack { mapping: mapping.clone(), family, why });
            if unasked {
                hold("published_ports = \"respect-host-firewall\" cannot be kept for IPv6".to_owned());
                continue;
            }
            let (protocol, address) = (mapping.protocol, HostAddress::AnyOf(gained));
            for (port, _) in mapping.pairs() {
                if listeners.has(protocol, address, port)? {
                    hold(format!("a process of this host listens on port {port}/{protocol} of {gained}"));
                    break;
                }
            }
        }
        Ok(held)
    }
}

/// Has those ports of `sandbox` stay with their family.
pub(in crate::engine) fn hold_back(sandbox: &mut Sandbox, held: &[HeldBack]) {
    for HeldBack { mapping, family, .. } in held {
        for one in sandbox.publish.iter_mut().filter(|one| *one == mapping) {
            one.host_address = HostAddress::AnyOf(*family);
        }
    }
}
