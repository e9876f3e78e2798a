//! Which containers find each other by their names, and by which of their interfaces they ask. Pure.

use std::net::IpAddr;

use crate::driver::SandboxStep;
use crate::model::{Endpoint, Sandbox};

/// Where the container of `sandbox` asks for names; none where it is on no network with names. Where it can, it asks
/// over IPv4, so that it asks the same server after a connect.
pub fn name_server(sandbox: &Sandbox) -> Option<IpAddr> {
    sandbox.wired_endpoints().filter_map(|endpoint| endpoint.name_server).min_by_key(IpAddr::is_ipv6)
}

/// What has to be done in a container that runs where some of its endpoints are about to go: the name server is not
/// asked by them any more.
pub fn not_asked_by(before: &Sandbox, after: &Sandbox) -> Vec<SandboxStep> {
    let stays = |endpoint: &&Endpoint| after.wired_endpoints().any(|other| other.number == endpoint.number);
    let leaving = before.wired_endpoints().filter(|endpoint| !stays(endpoint));
    let not_near = |endpoint: &Endpoint| {
        let name = endpoint.interface.clone();
        endpoint.name_server.map(|server| SandboxStep::NotNear { name, to: server.into() })
    };
    leaving.filter_map(not_near).collect()
}
