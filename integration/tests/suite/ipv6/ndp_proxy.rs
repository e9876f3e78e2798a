//! The host answers its neighbours for containers whose addresses are a part of the neighbours' range.

use anyhow::{Result, ensure};
use ocinet_integration::{Firewall, Host, OCINET, Output, Proto::Tcp, Runtime, Settings, UPLINK, eventually, every};

use super::{addresses, doctor};
use crate::families::{CABLE, PEER6};

/// The container's address on the network `near`.
const WEB: &str = "2001:db8:51:0:5::2";
/// All settings that are changed, and one that is not.
const SETTINGS: &str = "cd /proc/sys/net/ipv6/conf; grep -H . */forwarding */proxy_ndp */accept_ra";
const ENTRIES: &str = "ip -6 neigh show proxy";

/// The network `near` is a part of the range that the host's neighbours have. The kernel answers at once, where it waits
/// for up to 0.8 s otherwise.
fn settings(firewall: Firewall) -> Settings {
    let near = "mkdir -p /etc/ocinet/networks
        cat >/etc/ocinet/networks/near.toml <<'END'
bridge = \"ocn-1\"
ipv4 = false
mode = \"routed\"
ndp_proxy = true
[[subnet]]
range = \"2001:db8:51:0:5::/80\"
END
        echo 0 >/proc/sys/net/ipv6/neigh/uplink/proxy_delay\n";
    Settings::default().firewall(firewall).prepare(&format!("{CABLE}{near}"))
}

/// The answer that the peer gets of the container, after a question for its MAC.
fn peer_asks(host: &Host) -> Result<()> {
    host.peer().sh("ip -6 neigh flush dev eth0")?;
    host.peer().reaches(Tcp, format!("[{WEB}]:80"))?.is("web")?.seen_from(PEER6).map(drop)
}

/// The peer gets no answer, since it finds no MAC.
fn peer_finds_none(host: &Host) -> Result<()> {
    host.peer().sh("ip -6 neigh flush dev eth0")?;
    host.peer().cannot_reach(Tcp, format!("[{WEB}]:80"))
}

/// Another network of the host's, with the router `far`.
const SECOND_LAN: &str = "
    ip netns add far
    ip link add lan2 type veth peer name eth0 netns far
    ip link set lan2 up
    ip -netns far link set eth0 up
    ip -netns far address add fe80::fa/64 dev eth0 nodad
";

/// The host gets a default route by a router advertisement on `link`, whose router is in the namespace `router`.
fn advertised(host: &Host, link: &str, router: &str) -> Result<()> {
    host.sh("ip -6 route delete default")?;
    eventually("a route by a router advertisement", || {
        host.beside(&format!("/run/netns/{router}")).output(&["/mnt/bin/probe", "advertise", "eth0"])?.success()?;
        keeps_its_route(host, link)
    })
}

fn keeps_its_route(host: &Host, link: &str) -> Result<bool> {
    Ok(host.sh("ip -6 route show default proto ra")?.contains(&format!("dev {link}")))
}

/// Puts back what [`advertised`] changed.
fn as_before(host: &Host, link: &str) -> Result<()> {
    host.sh(&format!(
        "ip -6 route flush proto ra; ip -6 address flush dev {link} dynamic
         ip -6 route delete 2001:db8::/64 dev {link}; ip -6 route add default via {PEER6}"
    ))
    .map(drop)
}

/// A neighbour reaches the published port of a container, without a route of its own, while the container is attached.
/// The host keeps its own route, be it by another link, and reset puts every setting back.
#[test]
fn neighbours_find_a_container() -> Result<()> {
    let routers = [
        (Firewall::Nftables, "uplink", "peer"),
        (Firewall::IptablesNft, "lan2", "far"),
        (Firewall::IptablesLegacy, "uplink", "peer"),
    ];
    every(routers, |(firewall, link, router)| {
        settings(*firewall).prepare(SECOND_LAN).runtime(Runtime::Runc).test(|host| {
            let before = host.sh(SETTINGS)?;
            advertised(host, link, router)?;
            let web = host.container("web").network("near").publish("8080:80").prepare()?;
            let planned = host.ocinet(&format!("plan {} --id web --verbose", web.bundle()))?.success()?;
            let command = format!("ip -6 neigh add proxy {WEB} dev uplink protocol 111");
            ensure!(planned.contains(&command) && planned.contains("uplink/proxy_ndp=1"), "{planned}");
            let web = host.container("web").network("near").publish("8080:80").run()?;
            ensure!(addresses(&web, "near")? == [format!("{WEB}/80")], "{:#?}", web.sandbox()?);
            let _unpublished = web.serve("unpublished", &["81"])?;
            peer_asks(host)?;
            host.reaches(Tcp, format!("[{WEB}]:81"))?.is("unpublished")?;
            host.peer().cannot_reach(Tcp, format!("[{WEB}]:81"))?;
            host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
            ensure!(keeps_its_route(host, link)?, "the attach took the host's route");
            ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
            // A person's entry stays.
            host.sh("ip -6 neigh add proxy 2001:db8:51:0:5::99 dev uplink")?;
            let other = host.container("other").run()?;
            host.ocinet("network connect near other")?.success()?;
            ensure!(host.sh(ENTRIES)?.matches("111").count() == 2, "{}", host.sh(ENTRIES)?);
            host.ocinet("network disconnect near other")?.success()?;
            eventually("one goes", || Ok(host.sh(ENTRIES)?.matches("111").count() == 1))?;
            peer_asks(host)?;
            other.delete()?;
            web.delete()?;
            host.settles()?;
            peer_finds_none(host)?;
            host.ocinet("reset --force")?.success()?;
            ensure!(keeps_its_route(host, link)?, "reset took the host's route");
            let entries = host.sh(ENTRIES)?;
            ensure!(entries.trim() == "2001:db8:51:0:5::99 dev uplink proxy", "{entries}");
            let after = host.sh(SETTINGS)?;
            ensure!(after == before, "{before}\nbecame\n{after}");
            as_before(host, link)
        })
    })
}

/// What another program took away comes back, what nothing needs goes, and a store that was lost is made again.
#[test]
fn the_proxy_is_put_right() -> Result<()> {
    settings(Firewall::Nftables).test(|host| {
        let before = host.sh(SETTINGS)?;
        let web = host.container("web").network("near").publish("8080:80").run()?;
        peer_asks(host)?;
        for (damage, told) in [
            ("ip -6 neigh del proxy 2001:db8:51:0:5::2 dev uplink", "proxy entry is missing"),
            ("echo 0 >/proc/sys/net/ipv6/conf/uplink/proxy_ndp", "uplink/proxy_ndp"),
            ("echo 0 >/proc/sys/net/ipv6/conf/uplink/forwarding", "uplink/forwarding"),
        ] {
            host.sh(damage)?;
            peer_finds_none(host)?;
            ensure!(doctor(host)?.contains(told), "{}", doctor(host)?);
            host.ocinet("doctor --fix")?.success()?;
            peer_asks(host)?;
        }
        // A write of 0 for all links takes it from each.
        host.sh("sysctl -qw net.ipv6.conf.all.forwarding=1; sysctl -qw net.ipv6.conf.all.forwarding=0")?;
        peer_finds_none(host)?;
        host.ocinet("gc")?.success()?;
        peer_asks(host)?;
        host.sh("ip -6 neigh add proxy 2001:db8:51:0:5::77 dev uplink protocol 111")?;
        ensure!(doctor(host)?.contains("2001:db8:51:0:5::77 on uplink"), "{}", doctor(host)?);
        host.ocinet("doctor --fix")?.success()?;
        ensure!(host.sh(ENTRIES)?.trim() == format!("{WEB} dev uplink proxy proto 111"), "{}", host.sh(ENTRIES)?);
        host.ocinet("reset --force")?.success()?;
        ensure!(host.sh(SETTINGS)? == before, "{before}\nbecame\n{}", host.sh(SETTINGS)?);
        ensure!(host.sh(ENTRIES)?.is_empty(), "{}", host.sh(ENTRIES)?);
        web.delete()?;
        let web = host.container("web").network("near").publish("8080:80").run()?;
        let known = web.sandbox()?.endpoints;
        host.sh("rm -f /run/ocinet/store*")?;
        host.ocinet("doctor --fix")?.success()?;
        ensure!(web.sandbox()?.endpoints == known, "{known:#?}\nbecame\n{:#?}", web.sandbox()?);
        peer_asks(host)?;
        web.delete()?;
        host.settles()?;
        ensure!(host.sh(ENTRIES)?.is_empty(), "{}", host.sh(ENTRIES)?);
        // The store that was lost knew what they were.
        host.sh("cd /proc/sys/net/ipv6/conf/uplink; echo 0 >forwarding; echo 0 >proxy_ndp; echo 1 >accept_ra").map(drop)
    })
}

/// Killed when it has written a setting of the link, and before anything could say so.
#[test]
fn killed_at_a_setting() -> Result<()> {
    settings(Firewall::Nftables).test(|host| {
        let before = host.sh(SETTINGS)?;
        for key in ["accept_ra", "forwarding", "proxy_ndp"] {
            let mut web = host.container("web").network("near").publish("8080:80").prepare()?;
            let file = format!("/proc/sys/net/ipv6/conf/uplink/{key}");
            let strace = "strace -f -qq -o /mnt/strace -e inject=write:signal=KILL -P".split(' ').collect::<Vec<_>>();
            let mut hook = host.command(&[&strace[..], &[&file, OCINET, "hook", "createRuntime"]].concat());
            let output = Output::of(&mut hook, web.state("createRuntime").to_string().as_bytes())?;
            ensure!(output.code != 0 && host.sh(SETTINGS)? != before, "{key}: {output}");
            web.kill()?;
            host.ocinet("gc")?.success()?;
            host.settles()?;
            host.ocinet("reset --force")?.success()?;
            ensure!(host.sh(SETTINGS)? == before, "{key}: {before}\nbecame\n{}", host.sh(SETTINGS)?);
            ensure!(host.sh(ENTRIES)?.is_empty(), "{key}: {}", host.sh(ENTRIES)?);
        }
        Ok(())
    })
}

/// A part of the neighbours' range can be had with the proxy alone, and no address of the host with it.
#[test]
fn a_range_of_neighbours_needs_the_proxy() -> Result<()> {
    settings(Firewall::Nftables).test(|host| {
        let create = |rest: &str| host.ocinet(&format!("network create --ipv4=false --subnet {rest}"));
        let routed = "2001:db8:51:0:6::/80 -o mode=routed";
        let refused = create(&format!("{routed} plain"))?.exits(3)?;
        ensure!(refused.stderr.contains("overlaps 2001:db8:51::/64"), "{refused}");
        let refused = create("2001:db8:51::/80 -o mode=routed -o ndp-proxy=true own")?.exits(3)?;
        ensure!(refused.stderr.contains("overlaps 2001:db8:51::1/128"), "{refused}");
        let refused = create("fd00:7::/64 -o ndp-proxy=true nat")?.exits(2)?;
        ensure!(refused.stderr.contains("mode routed with IPv6"), "{refused}");
        create(&format!("{routed} -o ndp-proxy=true proxied"))?.success()?;
        let shown = host.ocinet("network inspect proxied")?.success()?;
        ensure!(shown.contains("\"ndp_proxy\": \"true\""), "{shown}");
        host.ocinet("network rm proxied")?.success().map(drop)
    })
}
