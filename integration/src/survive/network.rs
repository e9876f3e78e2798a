//! The networks of the scenes.

use anyhow::{Result, bail, ensure};

use super::scene::sandbox;
use crate::host::OCINET;
use crate::{Container, Host};

/// Three networks: the default one, one of one's own, and an internal one.
pub(super) const THREE: &str = "bridge;own;shut";

/// Defines the second and the third of them.
pub(super) const DEFINE: &str = "mkdir -p /etc/ocinet/networks
    printf 'bridge = \"ocn-1\"\n[[subnet]]\nrange = \"10.64.1.0/24\"\n' >/etc/ocinet/networks/own.toml
    printf 'bridge = \"ocn-2\"\ninternal = true\n[[subnet]]\nrange = \"10.64.2.0/24\"\n' >/etc/ocinet/networks/shut.toml\n";

/// The network that is created and removed.
pub(super) const MADE: &str = "made";

/// Connects the container of the scenes to the second, to which its default route and its port move.
pub(super) const CONNECT: [&str; 7] = [OCINET, "network", "connect", "--gw-priority", "1", "own", "web"];

/// Cuts [`CONNECT`] off where it leaves the container's namespace in which it moved the default route. How often it
/// enters namespaces before depends on who else is there.
pub(super) fn cut_a_connect(host: &Host, container: &Container<'_>) -> Result<()> {
    let connect = CONNECT.join(" ");
    for call in 9..=60 {
        host.sh(&format!("strace -o /dev/null -e inject=setns:signal=KILL:when={call} {connect} 2>/dev/null || true"))?;
        let endpoints = container.sandbox()?.endpoints.len();
        if endpoints == 2 && container.sh("ip -4 route show default")?.contains("via 10.64.1.1") {
            return Ok(());
        }
        host.ocinet("gc")?.success()?;
    }
    bail!("it was never cut off where it should be")
}

/// Creates [`MADE`], and has a container join and leave it, so that its bridge and its rules are there.
pub(super) fn use_made(host: &Host) -> Result<()> {
    host.sh(&format!("{OCINET} network create {MADE}"))?;
    let first = sandbox(host, "first").network(MADE).prepare()?;
    first.hook("createRuntime")?.success()?;
    first.hook("poststop")?.success()?;
    drop(first);
    host.settled_sandboxes().map(drop)
}

/// Removes [`MADE`], complete or not, and makes sure that nothing is left of it after a collection.
pub(super) fn remove_made(host: &Host) -> Result<()> {
    host.sh(&format!("{OCINET} network rm -f {MADE}; {OCINET} gc"))?;
    let files = host.sh("ls -A /etc/ocinet/networks 2>/dev/null || true")?;
    let is_known = |name: &&str| ["own.toml", "shut.toml"].contains(name);
    ensure!(files.lines().all(|name| is_known(&name)), "files are left: {files}");
    let links = host.sh("ip -details link show type bridge")?;
    ensure!(!links.contains(&format!("ocinet:network:{MADE}")), "the bridge is left: {links}");
    // The folder was made with the first definition.
    host.sh("rmdir /etc/ocinet/networks 2>/dev/null || true").map(drop)
}
