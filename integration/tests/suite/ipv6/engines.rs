//! A network of both families under the engines that call ocinet.

use anyhow::{Result, ensure};
use ocinet_integration::containerd::with_containerd;
use ocinet_integration::podman::with_podman;
use ocinet_integration::pods::with_pods;
use ocinet_integration::{Host, OCINET, Place, Proto::Tcp, UPLINK};

use crate::families::{CABLE, FAR6, PEER6, UPLINK6};

const DUAL: &str = "network create --ipv6 --subnet 10.64.7.0/24 --subnet fd00:7::/64 dual";

/// Runs `story` on a host with IPv6 and the network `dual`, and takes both away.
fn beside_dual(host: &Host, story: impl FnOnce() -> Result<()>) -> Result<()> {
    host.sh(CABLE)?;
    host.ocinet(DUAL)?.success()?;
    story()?;
    host.settles()?;
    let uncable = format!("ip -6 route del default via {PEER6}; ip address del {UPLINK6}/64 dev uplink");
    host.sh(&format!("{OCINET} network rm dual; rmdir /etc/ocinet/networks; {uncable}")).map(drop)
}

/// Packets of both families into the container by its published port, where it sees them come from `sender6`, and out
/// of it.
fn has_both(host: &Host, container: &Place, sender6: &str) -> Result<()> {
    host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
    host.peer().reaches(Tcp, format!("[{UPLINK6}]:8080"))?.is("web")?.seen_from(sender6)?;
    host.reaches(Tcp, "[fd00:7::a40:702]:80")?.is("web")?;
    let _server = host.peer().serve("peer", &["80"])?;
    container.reaches(Tcp, format!("[{FAR6}]:80"))?.is("peer")?.seen_from(UPLINK6)?;
    Ok(())
}

#[test]
fn podman() -> Result<()> {
    with_podman(|host, podman| {
        beside_dual(host, || {
            let flags = "--network=none --annotation io.ocinet.network=dual --annotation io.ocinet.publish=8080:80";
            let web = podman.start("web", flags, "80")?;
            has_both(host, &web, PEER6)?;
            let hosts = web.does("exec cat /etc/hosts")?.success()?;
            ensure!(hosts.contains("10.64.7.2\t") && hosts.contains("fd00:7::a40:702\t"), "{hosts}");
            web.ends_by("rm -f -t 0")
        })
    })
}

#[test]
fn containerd() -> Result<()> {
    with_containerd(|host, containerd| {
        beside_dual(host, || {
            let flags = "--annotation io.ocinet.network=dual --annotation io.ocinet.publish=8080:80";
            let web = containerd.run("web", flags, "80")?;
            has_both(host, &web, PEER6)?;
            web.delete()
        })
    })
}

/// CNI gives the pod IPv4 and its default route. The further network has the default route of IPv6, which CNI's lacks. As
/// one default route is not ours, published ports of both families are masqueraded.
#[test]
fn a_pod() -> Result<()> {
    with_pods(|host, pods| {
        beside_dual(host, || {
            let asked = [("io.ocinet.network", "dual:interface=eth1"), ("io.ocinet.publish", "8080:80")];
            let pod = pods.run("shop", "ocinet", &asked)?;
            let web = pod.start("web", 80, &asked)?;
            has_both(host, &pod.place, "fd00:7::1")?;
            let routes = pod.place.sh("ip -4 route show default; ip -6 route show default")?;
            ensure!(routes.contains("dev eth0") && routes.contains("via fd00:7::1 dev eth1"), "{routes}");
            pod.stop(&web)?;
            pod.delete()
        })
    })
}
