//! The real containerd, which starts our shim, and `ctr`: the networks that containers get.

use anyhow::{Context, Result, ensure};
use ocinet_integration::containerd::with_containerd;
use ocinet_integration::{Mode, PEER, Proto::Tcp, UPLINK, every};

/// A container without annotations is on the bridge; one with a published port can be reached from the LAN. The two
/// reach each other.
#[test]
fn bridge_mode() -> Result<()> {
    with_containerd(|host, containerd| {
        let web = containerd.run("web", "--annotation io.ocinet.publish=8080:80", "80")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER)?;
        let plain = containerd.run("plain", "", "80")?;
        ensure!(plain.sandbox()?.mode == Mode::Bridge, "{:#?}", plain.sandbox()?);
        web.reaches(Tcp, format!("{}:80", plain.address()?))?.is("plain")?;
        plain.reaches(Tcp, format!("{}:80", web.address()?))?.is("web")?;
        let hosts = web.exec("cat /etc/hosts")?;
        ensure!(hosts.contains(&format!("{}\tweb", web.address()?)), "{hosts}");
        ensure!(web.exec("cat /etc/resolv.conf")?.contains("192.0.2.53"), "its name servers");
        ensure!(web.exec("busybox hostname")?.trim() == "web", "its host name");
        ensure!(web.exec("ip route")?.contains("default via 10.90.0.1"), "its default route");
        host.check()?;
        web.delete()?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        plain.delete()?;
        host.settles()
    })
}

/// The host's network, for a container that ctr gave a namespace of its own and for one that it did not.
#[test]
fn host_mode() -> Result<()> {
    let host_mode = "--annotation io.ocinet.network=host";
    with_containerd(|host, containerd| {
        every([host_mode.to_owned(), format!("--net-host {host_mode}")], |flags| {
            let web = containerd.run("web", flags, "8088")?;
            ensure!(web.sandbox()?.mode == Mode::Host, "{:#?}", web.sandbox()?);
            host.peer().reaches(Tcp, format!("{UPLINK}:8088"))?.is("web")?.seen_from(PEER)?;
            host.check()?;
            web.delete()?;
            host.settles()
        })
    })
}

/// Loopback only, and it is up.
#[test]
fn none_mode() -> Result<()> {
    with_containerd(|host, containerd| {
        let web = containerd.run("web", "--annotation io.ocinet.network=none", "80")?;
        ensure!(web.sandbox()?.mode == Mode::None, "{:#?}", web.sandbox()?);
        web.reaches(Tcp, "127.0.0.1:80")?.is("web")?;
        ensure!(web.sh("ip route show")?.is_empty(), "no route");
        host.check()
    })
}

/// `container:ID`: the other's network, and its names.
#[test]
fn container_mode() -> Result<()> {
    with_containerd(|host, containerd| {
        let publish = "--annotation io.ocinet.publish=8080:80,8081:81 --annotation io.ocinet.name=shop";
        let owner = containerd.run("owner", publish, "80")?;
        every(["owner", "shop", "own"], |called| {
            let guest = containerd.run("guest", &format!("--annotation io.ocinet.network=container:{called}"), "81")?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("guest")?;
            ensure!(host.sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
            for command in ["cat /etc/hosts", "cat /etc/resolv.conf", "busybox hostname"] {
                ensure!(owner.exec(command)? == guest.exec(command)?, "both say the same to {command}");
            }
            guest.delete()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("owner").map(drop)
        })
    })
}

/// A container with `--net-host` and no annotation of ours is not wired. A label works as an annotation, since ctr
/// makes an annotation of it.
#[test]
fn who_asks_and_who_does_not() -> Result<()> {
    with_containerd(|host, containerd| {
        let plain = containerd.run("plain", "--net-host", "8088")?;
        ensure!(host.sandboxes()?.is_empty(), "{:#?}", host.sandboxes()?);
        plain.delete()?;
        let labelled = containerd.run("labelled", "--label io.ocinet.publish=8080:80", "80")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("labelled")?;
        let asked = "--annotation io.ocinet.hostname=www --annotation io.ocinet.network=bridge:ip=10.90.0.77";
        let named = containerd.run("named", asked, "80")?;
        ensure!(named.exec("busybox hostname")?.trim() == "www", "its host name");
        ensure!(named.address()?.to_string() == "10.90.0.77", "{:#?}", named.sandbox()?);
        drop((labelled, named));
        host.sh("echo 'default_network = \"none\"' >/etc/ocinet/config.toml")?;
        let by_default = containerd.run("by-default", "", "80")?;
        let mode = by_default.sandbox().map(|sandbox| sandbox.mode).context("default_network");
        host.sh("rm /etc/ocinet/config.toml")?;
        ensure!(mode? == Mode::None, "default_network");
        Ok(())
    })
}

/// The runtime name and the annotation that nerdctl uses: runc gets its options, and a container without a network gets
/// one only if it asks for ours.
#[test]
fn as_nerdctl_says_it() -> Result<()> {
    with_containerd(|host, containerd| {
        let none = r#"--runtime io.containerd.runc.ocinet.v2 --annotation 'nerdctl/networks=["none"]'"#;
        let plain = containerd.run("plain", none, "80")?;
        ensure!(plain.sh("ip link")?.lines().count() == 2, "loopback alone: {}", plain.sh("ip link")?);
        ensure!(host.sandboxes()?.is_empty(), "{:#?}", host.sandboxes()?);
        let asked = "--annotation io.ocinet.network=bridge --annotation io.ocinet.publish=8080:80";
        let web = containerd.run("web", &format!("{none} {asked}"), "80")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        web.delete()?;
        host.settles()
    })
}
