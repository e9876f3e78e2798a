//! Names under the runtimes and engines that call ocinet: two containers on one network of one's own find each other.

use anyhow::{Result, ensure};
use ocinet_integration::containerd::with_containerd;
use ocinet_integration::podman::with_podman;
use ocinet_integration::{Host, OCINET, Place, Runtime, Settings};

use super::{DEFINE, asks};

const SERVER: &str = "169.254.53.53";

/// Runs `story` on a host with the network `own`, and takes that away.
fn beside_own(host: &Host, story: impl FnOnce() -> Result<()>) -> Result<()> {
    host.ocinet("network create --subnet 10.64.7.0/24 own")?.success()?;
    story()?;
    host.settles()?;
    host.sh(&format!("{OCINET} network rm own; rmdir /etc/ocinet/networks")).map(drop)
}

/// Asks for `names` from the network namespace of a container: the network's first address is the first container's.
fn asked(place: &Place, names: &[&str]) -> Result<String> {
    let mut words = vec!["/mnt/bin/asker", "ask", SERVER, "udp", "A"];
    words.extend(names);
    Ok(place.output(&words)?.success()?.trim_end().to_owned())
}

#[test]
fn crun() -> Result<()> {
    Settings::default().runtime(Runtime::Crun).prepare(DEFINE).test(|host| {
        let web = host.container("web").network("front:ip=10.64.1.5").run()?;
        let db = host.container("db").network("front:ip=10.64.1.6").run()?;
        ensure!(asks(&web, "udp", "A", &["db"])? == "NOERROR: 10.64.1.6");
        ensure!(asks(&db, "tcp", "A", &["web.front"])? == "NOERROR: 10.64.1.5");
        db.delete()?;
        ensure!(asks(&web, "udp", "A", &["db"])? == "NXDOMAIN:");
        web.delete()
    })
}

#[test]
fn podman() -> Result<()> {
    with_podman(|host, podman| {
        beside_own(host, || {
            let flags = "--network=none --annotation io.ocinet.network=own";
            let web = podman.start("web", flags, "80")?;
            let db = podman.start("db", flags, "80")?;
            let resolv = db.does("exec cat /etc/resolv.conf")?.success()?;
            ensure!(resolv.starts_with(&format!("nameserver {SERVER}\n")), "{resolv}");
            let page = db.does("exec /bin/busybox wget -q -O- http://web/")?.success()?;
            ensure!(page.contains("web"), "{page}");
            let told = asked(&web, &["db", &db.id[..12]])?;
            ensure!(told == "NOERROR: 10.64.7.3\nNOERROR: 10.64.7.3", "{told}");
            db.ends_by("rm -f -t 0")?;
            ensure!(asked(&web, &["db"])? == "NXDOMAIN:");
            web.ends_by("rm -f -t 0")
        })
    })
}

#[test]
fn containerd() -> Result<()> {
    with_containerd(|host, containerd| {
        beside_own(host, || {
            let flags = "--annotation io.ocinet.network=own";
            let web = containerd.run("web", flags, "80")?;
            let db = containerd.run("db", flags, "80")?;
            let page = db.exec("/bin/busybox wget -q -O- http://web/")?;
            ensure!(page.contains("web"), "{page}");
            ensure!(asked(&web, &["db.own"])? == "NOERROR: 10.64.7.3");
            db.delete()?;
            ensure!(asked(&web, &["db"])? == "NXDOMAIN:");
            web.delete()
        })
    })
}
