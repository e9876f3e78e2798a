//! Packets that must not arrive, beside ones that must. The packets of attackers are in `attacks`.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{
    Firewall, GATEWAY, PEER, Proto, Proto::Tcp, Runtime, Settings, UPLINK, every, in_every_world_and_of_a_router,
};

/// Two networks on either side of the host: the LAN peer, and `other`. Each sends to the other through the host.
const OTHER_LAN: &str = "
    ip netns add other
    ip netns exec other /mnt/bin/newborn
    ip link add lan2 type veth peer name eth0 netns other
    ip address add 192.0.2.1/30 dev lan2
    ip link set lan2 up
    ip -netns other address add 192.0.2.2/30 dev eth0
    ip -netns other link set eth0 up
    ip -netns other route add default via 192.0.2.1
    ip -netns peer route add 192.0.2.0/30 via 198.51.100.1
    ip address add 2001:db8:1::1/64 dev uplink nodad
    ip -netns peer address add 2001:db8:1::2/64 dev eth0 nodad
    ip -netns peer route add default via 2001:db8:1::1
    ip address add 2001:db8:2::1/64 dev lan2 nodad
    ip -netns other address add 2001:db8:2::2/64 dev eth0 nodad
    ip -netns other route add default via 2001:db8:2::1";

/// A port published on 127.0.0.1 can be reached only from the host.
#[test]
fn a_port_on_loopback_is_reached_from_the_host_only() -> Result<()> {
    in_every_world_and_of_a_router(|host| {
        let _web =
            host.container("web").publish("127.0.0.1:8081:80,127.0.0.1:8081:80/udp,8080:80,8080:80/udp").run()?;
        let sibling = host.container("sibling").run()?;
        for proto in Proto::ALL {
            host.reaches(proto, "127.0.0.1:8081")?.is("web")?;
            for client in [&host.peer(), &*sibling] {
                client.reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
                client.cannot_reach(proto, format!("{UPLINK}:8081"))?;
            }
            sibling.cannot_reach(proto, format!("{GATEWAY}:8081"))?;
            host.cannot_reach(proto, format!("{UPLINK}:8081"))?;
        }
        host.check()
    })
}

/// A host that forwarded before ocinet keeps forwarding.
#[test]
fn a_router_stays_a_router() -> Result<()> {
    let settings = || Settings::default().prepare(OTHER_LAN).prepare("sysctl -q net.ipv4.ip_forward=1");
    every([(0, false), (1, false), (2, false), (0, true), (1, true), (2, true)], |(firewall, born_of_router)| {
        settings().firewall(Firewall::ALL[*firewall]).born_of_router(*born_of_router).test(|host| {
            let other = host.beside("/run/netns/other");
            let _server = other.serve("other", &["7000"])?;
            host.peer().reaches(Tcp, "192.0.2.2:7000")?.is("other")?;
            let web = host.container("web").run()?;
            host.peer().reaches(Tcp, "192.0.2.2:7000")?.is("other")?.seen_from(PEER)?;
            web.delete()?;
            host.peer().reaches(Tcp, "192.0.2.2:7000")?.is("other")?;
            Ok(())
        })
    })
}

/// A host that routed IPv6 and not IPv4 keeps routing IPv6, and does not route IPv4.
#[test]
fn a_router_of_ipv6_stays_one() -> Result<()> {
    let settings = || Settings::default().prepare(OTHER_LAN).prepare("sysctl -q net.ipv6.conf.all.forwarding=1");
    every([false, true], |born_of_router| {
        settings().born_of_router(*born_of_router).test(|host| {
            let other = host.beside("/run/netns/other");
            let _server = other.serve("other", &["7000"])?;
            host.peer().sh("ping -c 1 -W 5 2001:db8:2::2")?;
            let web = host.container("web").run()?;
            host.peer().sh("ping -c 1 -W 5 2001:db8:2::2")?;
            host.peer().cannot_reach(Tcp, "192.0.2.2:7000")?;
            web.delete()
        })
    })
}

/// A router sees only one direction of a connection whose answers take another way. conntrack calls the later packets
/// of that direction invalid.
#[test]
fn a_router_passes_on_what_is_answered_by_another_way() -> Result<()> {
    const OTHER_WAY: &str = "
        ip link add shortcut netns other type veth peer name shortcut netns peer
        ip -netns other link set shortcut up
        ip -netns peer link set shortcut up
        ip -netns peer address add 192.0.2.9/30 dev shortcut
        ip -netns other address add 192.0.2.10/30 dev shortcut
        ip -netns other route add 198.51.100.2 via 192.0.2.9
        ip netns exec peer sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.shortcut.rp_filter=0
        sysctl -q net.ipv4.ip_forward=1";
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(OTHER_LAN).prepare(OTHER_WAY).test(|host| {
            let _server = host.beside("/run/netns/other").serve("other", &["7000"])?;
            host.peer().reaches(Tcp, "192.0.2.2:7000")?.is("other")?;
            let web = host.container("web").publish("7000:80").run()?;
            host.peer().reaches(Tcp, "192.0.2.2:7000")?.is("other")?;
            let invalid = host.sh("cat /proc/net/stat/nf_conntrack")?;
            ensure!(invalid.lines().count() > 1, "{invalid}");
            web.delete()
        })
    })
}

/// A namespace that begins with the settings of a router forwards packets that a sibling sends to it. The classifier at
/// its link drops them, since their source address is another's. (Where frames on a bridge pass the IP hooks, conntrack
/// sees such a packet twice, which also drops it.)
#[test]
fn a_container_that_forwards_is_no_way_out() -> Result<()> {
    every([Runtime::Runc, Runtime::Crun], |runtime| {
        Settings::default().bridge_nf(false).runtime(*runtime).born_of_router(true).test(|host| {
            let _world = host.peer().serve("world", &["7000"])?;
            let (router, sibling) = (host.container("router").run()?, host.container("sibling").run()?);
            let gateway = router.sandbox()?.address().context("an address")?;
            // The router sends a redirect to the shorter way, which is open to the sibling; so the sibling must ignore
            // redirects.
            let script =
                format!("echo 0 >/proc/sys/net/ipv4/conf/all/accept_redirects; ip route add {PEER} via {gateway}");
            sibling.sh(&script)?;
            sibling.cannot_reach(Tcp, format!("{PEER}:7000"))?;
            host.sh(&format!("tc qdisc del dev {} clsact", router.host_interface()?))?;
            let without = sibling.reaches(Tcp, format!("{PEER}:7000")).context("without the classifier")?;
            without.is("world")?;
            host.ocinet("doctor --fix")?.success()?;
            sibling.cannot_reach(Tcp, format!("{PEER}:7000"))
        })
    })
}
