//! Several networks for containers of podman and containerd: annotations are all that they need.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use ocinet_integration::containerd::with_containerd;
use ocinet_integration::podman::with_podman;
use ocinet_integration::{Endpoint, Host, OCINET, Place, Proto::Tcp, Sandbox, UPLINK};

/// Runs `story` on a host with the networks front and back, and an internal one, which it removes afterwards.
fn with_networks(host: &Host, story: impl FnOnce() -> Result<()>) -> Result<()> {
    host.sh(&format!(
        "{OCINET} network create front; {OCINET} network create back; {OCINET} network create --internal shut"
    ))?;
    story()?;
    host.settled_sandboxes()?;
    host.sh(&format!("{OCINET} network rm front back shut; rmdir /etc/ocinet/networks")).map(drop)
}

/// Makes sure that the container at `place` is on these networks, in this order, and has the default route by `gateway`.
fn is_on(place: &Place, sandbox: &Sandbox, networks: &[&str], gateway: &str) -> Result<()> {
    let joined: Vec<_> = sandbox.endpoints.iter().map(|endpoint| endpoint.network.as_str()).collect();
    ensure!(joined == networks, "{sandbox:#?}");
    for (nth, endpoint) in sandbox.endpoints.iter().enumerate() {
        let address = endpoint.addresses.first().map_or("", String::as_str);
        let seen = place.sh(&format!("ip -4 -oneline address show dev eth{nth}"))?;
        ensure!(!address.is_empty() && seen.contains(address), "eth{nth} has not {address}: {seen}");
    }
    let route = place.sh("ip -4 route show default")?;
    ensure!(route.contains(&format!("default via {gateway} ")), "{route}");
    Ok(())
}

#[test]
fn containers_of_podman() -> Result<()> {
    with_podman(|host, podman| {
        with_networks(host, || {
            let flags = |networks: &str| {
                format!(
                    "--network=none --annotation 'io.ocinet.network={networks}' --annotation io.ocinet.publish=8080:80"
                )
            };
            let mut web = podman.start("web", &flags("shut;front;bridge:gw-priority=1;back"), "80")?;
            let networks = ["shut", "front", "bridge", "back"];
            is_on(&web, &web.sandbox()?, &networks, "10.90.0.1")?;
            let db = podman.start("db", "--network=none --annotation io.ocinet.network=back", "80")?;
            let address = db.sandbox()?.address().map(|address| address.to_string()).unwrap_or_default();
            web.reaches(Tcp, format!("{address}:80"))?.is("db")?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            host.ocinet(&format!("network disconnect bridge {}", web.id))?.success()?;
            host.ocinet(&format!("network connect --gw-priority 1 bridge {}", &web.id[..12]))?.success()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            ensure!(web.sh("ip -4 route show default")?.contains("via 10.90.0.1 dev eth2"), "it has its route again");
            let before = web.sandbox()?.endpoints;
            web.ends_by("restart -t 0")?;
            web.found()?;
            is_on(&web, &web.sandbox()?, &networks, "10.90.0.1")?;
            let addresses = |endpoints: Vec<Endpoint>| -> BTreeMap<String, Vec<String>> {
                endpoints.into_iter().map(|endpoint| (endpoint.network, endpoint.addresses)).collect()
            };
            ensure!(addresses(web.sandbox()?.endpoints) == addresses(before), "other addresses");
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            web.ends_by("rm -f -t 0")?;
            db.ends_by("rm -f -t 0")
        })
    })
}

#[test]
fn containers_of_containerd() -> Result<()> {
    with_containerd(|host, containerd| {
        with_networks(host, || {
            let flags = "--annotation 'io.ocinet.network=front;shut' --annotation io.ocinet.publish=8080:80";
            let web = containerd.run("web", flags, "80")?;
            let sandbox = web.sandbox()?;
            let front = sandbox.address().map(|address| address.to_string()).unwrap_or_default();
            is_on(&web, &sandbox, &["front", "shut"], "10.64.0.1")?;
            let db = containerd.run("db", "--annotation io.ocinet.network=shut", "80")?;
            host.ocinet("network connect --gw-priority 1 back web")?.success()?;
            is_on(&web, &web.sandbox()?, &["front", "shut", "back"], "10.64.1.1")?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            host.ocinet("network disconnect front web")?.success()?;
            host.ocinet("network connect front web")?.success()?;
            host.ocinet("network disconnect back web")?.success()?;
            ensure!(web.sh("ip -4 route show default")?.contains("via 10.64.0.1 dev eth0"), "the route goes back");
            web.reaches(Tcp, format!("{}:80", db.address()?))?.is("db")?;
            db.cannot_reach(Tcp, format!("{front}:80"))?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            web.delete()?;
            db.delete()
        })
    })
}

/// podman gives a container that is run anew another id, and containerd another bundle: its connections are kept by its
/// name there, and by its id here, until they are ended.
#[test]
fn podmans_connections_are_kept_by_name() -> Result<()> {
    with_podman(|host, podman| {
        with_networks(host, || {
            let run = || podman.start("web", "--network=none --annotation io.ocinet.network=front", "80");
            let is_on =
                |place: &Place, sandbox: &Sandbox, networks: &[&str]| is_on(place, sandbox, networks, "10.64.0.1");
            let web = run()?;
            let first = web.id.clone();
            host.ocinet("network connect back web")?.success()?;
            web.ends_by("rm -f -t 0")?;
            host.ocinet("gc")?.success()?;
            let web = run()?;
            ensure!(web.id != first, "another id");
            is_on(&web, &web.sandbox()?, &["front", "back"])?;
            let other = podman.start("other", "--network=none --annotation io.ocinet.network=front", "80")?;
            is_on(&other, &other.sandbox()?, &["front"])?;
            other.ends_by("rm -f -t 0")?;
            web.ends_by("rm -f -t 0")?;
            host.ocinet("network disconnect back web")?.success()?;
            let web = run()?;
            is_on(&web, &web.sandbox()?, &["front"])?;
            web.ends_by("rm -f -t 0")
        })
    })
}

#[test]
fn containerds_connections_are_kept_by_id() -> Result<()> {
    with_containerd(|host, containerd| {
        with_networks(host, || {
            let run = || containerd.run("web", "--annotation io.ocinet.network=front", "80");
            let web = run()?;
            host.ocinet("network connect back web")?.success()?;
            web.delete()?;
            host.ocinet("gc")?.success()?;
            let web = run()?;
            is_on(&web, &web.sandbox()?, &["front", "back"], "10.64.0.1")?;
            host.ocinet("network disconnect back web")?.success()?;
            web.delete()?;
            let web = run()?;
            is_on(&web, &web.sandbox()?, &["front"], "10.64.0.1")?;
            web.delete()
        })
    })
}
