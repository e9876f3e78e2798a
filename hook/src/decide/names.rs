//! Which containers find each other by their names, and by which of their interfaces they ask. Pure.

use crate::driver::{self, NAME_SERVER, SandboxStep};
use crate::model::{Endpoint, Sandbox};

/// Whether the container of `sandbox` is on a network with names.
pub fn has_names(sandbox: &Sandbox) -> bool {
    asking(sandbox).next().is_some()
}

/// The endpoints by which it reaches the name server.
fn asking(sandbox: &Sandbox) -> impl Iterator<Item = &Endpoint> {
    sandbox.wired_endpoints().filter(|endpoint| {
        // The name server has an address of one family.
        let reaches = endpoint.addresses.iter().any(|net| net.addr().is_ipv4() == NAME_SERVER.is_ipv4());
        reaches && driver::has_names(&endpoint.network)
    })
}

/// What has to be done in a container that runs where some of its endpoints are about to go: the name server is not
/// asked by them any more.
pub fn not_asked_by(before: &Sandbox, after: &Sandbox) -> Vec<SandboxStep> {
    let stays = |endpoint: &Endpoint| asking(after).any(|other| other.number == endpoint.number);
    let leaving = asking(before).filter(|endpoint| !stays(endpoint));
    leaving.map(|endpoint| SandboxStep::NotNear { name: endpoint.interface.clone(), to: NAME_SERVER.into() }).collect()
}
