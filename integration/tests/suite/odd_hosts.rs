//! Hosts with unusual settings: small and large packets, settings that cannot be written, links that do not forward.

use anyhow::{Result, ensure};
use ocinet_integration::{Container, Host, PEER, Proto, Proto::Tcp, Settings, UPLINK, every};

/// No IPv6, and no address from a router advertisement.
const CLOSED: &str = "net.ipv6.conf.ocinet0.accept_ra = 0\nnet.ipv6.conf.ocinet0.disable_ipv6 = 1\n";

fn guards(host: &Host) -> Result<String> {
    host.sh("sysctl net.ipv6.conf.ocinet0.accept_ra net.ipv6.conf.ocinet0.disable_ipv6")
}

fn bridge_mtu(host: &Host) -> Result<String> {
    host.sh("cat /sys/class/net/ocinet0/mtu")
}

/// Sends a packet of `bytes` bytes, which must not be fragmented, to `target`, and expects an answer.
fn carries(place: &Container<'_>, bytes: u32, target: &str) -> Result<()> {
    // The headers of IPv4 and ICMP are 28 bytes.
    place.sh(&format!("ping -q -c 1 -W 5 -M do -s {} {target}", bytes - 28)).map(drop)
}

/// One container asks for a small MTU: it gets it, and all others keep the MTU of the network.
#[test]
fn a_small_mtu_is_one_containers_own() -> Result<()> {
    Settings::default().test(|host| {
        let db = host.container("db").run()?;
        let web = host.container("web").network("bridge:mtu=576").publish("8080:80,8080:80/udp").run()?;
        for proto in Proto::ALL {
            host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
        }
        db.reaches(Tcp, web.at(80)?)?.is("web")?;
        carries(&web, 576, PEER)?;
        ensure!(carries(&web, 577, PEER).is_err(), "its interface takes 576 bytes");
        carries(&db, 1500, PEER)?;
        ensure!(bridge_mtu(host)? == "1500\n" && guards(host)? == CLOSED, "{}{}", bridge_mtu(host)?, guards(host)?);
        web.delete()?;
        host.sh("cp -r /mnt/rootfs /mnt/broken; rm -f /mnt/broken/etc/hostname; mkdir /mnt/broken/etc/hostname")?;
        host.container("broken").network("bridge:mtu=576").isolated().image("/mnt/broken").refused()?.exits(1)?;
        ensure!(guards(host)? == CLOSED, "an attach that failed has opened the bridge: {}", guards(host)?);
        carries(&db, 1500, PEER)
    })
}

/// A link with an MTU under 1280 bytes has no IPv6, so such a bridge has no IPv6 settings. It gets them with a larger
/// MTU.
#[test]
fn a_network_may_have_small_packets() -> Result<()> {
    Settings::default().mtu(1200).test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        carries(&web, 1200, PEER)?;
        ensure!(bridge_mtu(host)? == "1200\n", "{}", bridge_mtu(host)?);
        host.ocinet("doctor")?.success()?;
        host.sh("ip link set uplink mtu 1500; ip -netns peer link set eth0 mtu 1500")?;
        let db = host.container("db").run()?;
        carries(&db, 1500, PEER)?;
        ensure!(guards(host)? == CLOSED, "{}", guards(host)?);
        let told = host.ocinet("doctor")?.success()?;
        ensure!(told.starts_with("nothing is wrong"), "{told}");
        host.sh("ip link set uplink mtu 1200").map(drop)
    })
}

/// The default route has a smaller MTU than its link, as behind a tunnel.
#[test]
fn a_routes_own_mtu_holds() -> Result<()> {
    Settings::default().test(|host| {
        let old = host.container("old").run()?;
        host.sh(&format!("ip route change default via {PEER} mtu 1400"))?;
        let told = host.ocinet("doctor")?.exits(1)?.stdout;
        ensure!(told.contains("container old has MTU 1500") && told.contains("mtu=1400"), "{told}");
        let web = host.container("web").run()?;
        ensure!(web.sandbox()?.endpoints[0].mtu == 1400, "{:#?}", web.sandbox()?);
        ensure!(bridge_mtu(host)? == "1400\n", "{}", bridge_mtu(host)?);
        carries(&web, 1400, PEER)?;
        old.delete()?;
        host.ocinet("doctor")?.success()?;
        host.sh(&format!("ip route change default via {PEER}")).map(drop)
    })
}

/// A host whose settings can only be read, as in a hardened unit: nothing is written where nothing is missing, and the
/// error names each missing setting as a command.
#[test]
fn settings_that_cannot_be_written() -> Result<()> {
    let shut = "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys";
    Settings::default().test(|host| {
        host.sh(shut)?;
        let refuse = |words: &[&str]| {
            let refusal = host.container("web").publish("8080:80").refused()?.exits(1)?;
            refusal.is_one_line()?.says(words)
        };
        refuse(&["sysctl -w net/ipv4/ip_forward=1", "Read-only"])?;
        host.sh(&format!("umount /proc/sys; sysctl -qw net/ipv4/ip_forward=1; {shut}"))?;
        let settings =
            ["ipv6/conf/ocinet0/accept_ra=0", "ipv6/conf/ocinet0/disable_ipv6=1", "ipv4/conf/ocinet0/route_localnet=1"];
        let settings = settings.map(|setting| format!("net/{setting}")).join(" ");
        refuse(&[&format!("sysctl -w {settings}"), "Read-only"])?;
        host.sh(&format!("umount /proc/sys; sysctl -qw {settings}; {shut}"))?;
        let web = host.container("web").publish("8080:80").run()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.reaches(Tcp, "127.0.0.1:8080")?.is("web")?;
        let addresses = web.sh("ip -6 address show dev eth0")?;
        ensure!(addresses.is_empty(), "{addresses}");
        let told = host.ocinet("doctor")?.success()?;
        ensure!(told.starts_with("nothing is wrong"), "{told}");
        web.delete()?;
        host.sh("umount /proc/sys").map(drop)
    })
}

/// The host forwards but new links do not: an attach switches forwarding on for the bridge, also after it was switched
/// off.
#[test]
fn a_bridge_forwards_whatever_new_links_do() -> Result<()> {
    let prepare = "sysctl -qw net.ipv4.ip_forward=1; sysctl -qw net.ipv4.conf.default.forwarding=0";
    Settings::default().prepare(prepare).test(|host| {
        let outside = host.peer().serve("outside", &["90"])?;
        every(["true", "sysctl -qw net.ipv4.conf.ocinet0.forwarding=0"], |damage| {
            host.sh(damage)?;
            let web = host.container("web").publish("8080:80").run()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            web.reaches(Tcp, format!("{PEER}:90"))?.is("outside").map(drop)
        })?;
        drop(outside);
        Ok(())
    })
}
