//! Hosts with several uplinks, or with one that does not forward incoming packets.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Firewall, GATEWAY, Host, PEER, Proto, Proto::Tcp, Settings, UPLINK, every};

/// A second uplink. The host answers by it to requests for the address of that uplink. A client behind it has an
/// address to which the first uplink also has a route.
const SECOND_UPLINK: &str = "ip netns add far
    ip link add wan2 type veth peer name eth0 netns far
    ip address add 198.18.0.1/24 dev wan2; ip link set wan2 up
    ip -netns far link set lo up; ip -netns far address add 192.0.2.9/32 dev lo
    ip -netns far address add 198.18.0.2/24 dev eth0; ip -netns far link set eth0 up
    ip -netns far route add 198.18.0.1/32 dev eth0 src 192.0.2.9
    ip route add default via 198.18.0.2 table 100
    ip rule add from 198.18.0.1 lookup 100 priority 1000";

/// The doctor's note about policy rules.
fn note(host: &Host) -> Result<Option<String>> {
    let told = host.ocinet("doctor")?.success()?;
    Ok(told.lines().find(|line| line.starts_with("note: ip rule ")).map(str::to_owned))
}

/// Answers of a published port leave by the first uplink, whichever uplink the request came by. The doctor reports it,
/// with commands that change it.
#[test]
fn answers_leave_by_the_uplink_that_they_were_asked_by() -> Result<()> {
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(SECOND_UPLINK).test(|host| {
            let far = host.beside("/run/netns/far");
            let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
            let service = host.serve("host", &["90"])?;
            far.reaches(Tcp, "198.18.0.1:90")?.is("host")?.seen_from("192.0.2.9")?;
            drop(service);
            for proto in Proto::ALL {
                host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
                far.cannot_reach(proto, "198.18.0.1:8080")?;
            }
            let note = note(host)?.context("the doctor sees it")?;
            let (_, commands) = note.split_once("on its own: ").with_context(|| note.clone())?;
            host.sh(commands)?;
            for proto in Proto::ALL {
                far.reaches(proto, "198.18.0.1:8080")?.is("web")?.seen_from("192.0.2.9")?;
                host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
            }
            ensure!(self::note(host)?.is_none(), "it was done");
            web.delete()?;
            host.sh(match firewall {
                Firewall::Nftables => "nft delete table ip uplinks",
                Firewall::IptablesNft => "nft delete table ip mangle",
                Firewall::IptablesLegacy => "iptables-legacy -t mangle -F",
            })?;
            host.sh("ip rule del priority 100; ip rule del priority 100").map(drop)
        })
    })
}

/// Two default routes, of which one is a fallback, and no published port: the doctor reports nothing.
#[test]
fn a_second_uplink_alone_is_no_trouble() -> Result<()> {
    let spare = "ip route add default via 198.18.0.2 metric 500";
    Settings::default().prepare(&format!("{SECOND_UPLINK}; ip rule del priority 1000; {spare}")).test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        // The private host itself has one rule more than other hosts.
        host.sh("ip rule del priority 777")?;
        ensure!(note(host)?.is_none(), "{:?}", note(host)?);
        host.sh("ip rule add from 192.0.2.128/25 lookup 77 priority 777")?;
        web.delete()
    })
}

/// A single link does not forward, though the host does: no answers come back by it. The doctor names it, and changes
/// nothing.
#[test]
fn an_uplink_that_does_not_forward_is_named() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").publish("8080:80").run()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.sh("sysctl -qw net.ipv4.conf.uplink.forwarding=0")?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        let told = host.unchanged_by(|| Ok(host.ocinet("doctor --fix")?.exits(1)?.stdout))?;
        let remedy = "sysctl -w net/ipv4/conf/uplink/forwarding=1";
        ensure!(told.contains("sysctl net/ipv4/conf/uplink/forwarding is 0") && told.contains(remedy), "{told}");
        host.sh(remedy)?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.ocinet("doctor")?.success().map(drop)
    })
}

/// The host has a second address on its uplink, and one on `lo`; the LAN has a second host that needs no gateway.
const SECOND_ADDRESS: &str = "ip address add 198.51.100.9/24 dev uplink; ip address add 192.0.2.9/32 dev lo
    ip -netns peer address add 198.51.100.3/24 dev eth0; ip -netns peer route add 192.0.2.9/32 via 198.51.100.1
    ip route replace default via 198.51.100.2 src 198.51.100.9";

/// Packets of a container leave with the source address that the host's own packets to the same destination have: that
/// of the route. `gc` applies a changed route. Hairpin connections, and clients of published ports, are not affected.
#[test]
fn a_container_leaves_by_the_routes_preferred_source() -> Result<()> {
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(SECOND_ADDRESS).test(|host| {
            let _world = host.peer().serve("world", &["7000"])?;
            let planned = host.container("planned").prepare()?;
            let plan = host.ocinet(&format!("plan -v {} --id planned", planned.bundle()))?.success()?;
            ensure!(plan.contains("198.51.100.9"), "{plan}");
            let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
            let leaves_as = |source: &str, near: &str| -> Result<()> {
                host.reaches(Tcp, "203.0.113.1:7000")?.is("world")?.seen_from(source)?;
                web.reaches(Tcp, "203.0.113.1:7000")?.is("world")?.seen_from(source)?;
                web.reaches(Tcp, "198.51.100.3:7000")?.is("world")?.seen_from(near)?;
                for proto in Proto::ALL {
                    host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER)?;
                    web.reaches(proto, format!("{UPLINK}:8080"))?.is("web")?.seen_from(GATEWAY)?;
                }
                host.ocinet("doctor")?.success().map(drop)
            };
            leaves_as("198.51.100.9", UPLINK)?;
            host.check()?;
            for (route, source, near) in [
                ("via 198.51.100.2 src 192.0.2.9", "192.0.2.9", UPLINK),
                ("dev uplink src 198.51.100.9", "198.51.100.9", "198.51.100.9"),
                ("via 198.51.100.2 src 198.51.100.1", UPLINK, UPLINK),
            ] {
                host.sh(&format!("ip route replace default {route}"))?;
                let gc = host.ocinet("gc")?;
                ensure!(gc.stdout.contains("loaded the firewall's rules again"), "{gc:?}");
                leaves_as(source, near).with_context(|| format!("default {route}"))?;
            }
            web.delete()?;
            host.sh("ip route replace default via 198.51.100.2 src 198.51.100.9").map(drop)
        })
    })
}
