//! The networks of the scenes.

use anyhow::{Result, ensure};

use super::scene::sandbox;
use crate::Host;
use crate::host::OCINET;

/// Three networks: the default one, one of one's own, and an internal one.
pub(super) const THREE: &str = "bridge;own;shut";

/// Defines the second and the third of them.
pub(super) const DEFINE: &str = "mkdir -p /etc/ocinet/networks
    printf 'bridge = \"ocn-1\"\n[[subnet]]\nrange = \"10.64.1.0/24\"\n' >/etc/ocinet/networks/own.toml
    printf 'bridge = \"ocn-2\"\ninternal = true\n[[subnet]]\nrange = \"10.64.2.0/24\"\n' >/etc/ocinet/networks/shut.toml\n";

/// The network that is created and removed.
pub(super) const MADE: &str = "made";

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
