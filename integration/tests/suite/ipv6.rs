//! Networks with IPv6, alone or beside IPv4.

mod attacks;
mod by_default_route;
mod default_bridge;
mod engines;
mod loopback;
mod ndp_proxy;
mod neighbours;
mod published;

use anyhow::{Result, ensure};
use ocinet_integration::{
    Container, Firewall, Host, OCINET, Output, PEER, Proto, Proto::Tcp, Runtime, Settings, UPLINK, every,
};

use crate::families::{CABLE, FAR6, PEER6, UPLINK6};

/// A script that defines the network `name` with the bridge `ocn-N` and these lines, and its range of IPv6.
fn define(name: &str, n: u8, lines: &str) -> String {
    format!(
        "mkdir -p /etc/ocinet/networks
         cat >/etc/ocinet/networks/{name}.toml <<'END'
bridge = \"ocn-{n}\"
{lines}
[[subnet]]
range = \"fd00:{n}::/64\"
END\n"
    )
}

/// A network of both families, one of IPv6 alone, and one of IPv4 alone.
fn three() -> String {
    let v4 = |n: u8| format!("[[subnet]]\nrange = \"10.64.{n}.0/24\"");
    let plain = define("plain", 9, &v4(9)).replace("[[subnet]]\nrange = \"fd00:9::/64\"\n", "");
    CABLE.to_owned() + &define("dual", 7, &v4(7)) + &define("six", 8, "ipv4 = false") + &plain
}

fn settings() -> Settings {
    Settings::default().runtime(Runtime::Runc).prepare(&three())
}

/// Runs a story with each firewall.
fn with_every_firewall(story: impl Fn(&Host) -> Result<()>) -> Result<()> {
    every(Firewall::ALL, |firewall| settings().firewall(*firewall).test(&story))
}

/// Its addresses on `network`.
fn addresses(container: &Container<'_>, network: &str) -> Result<Vec<String>> {
    let sandbox = container.sandbox()?;
    let endpoint = sandbox.on(network).cloned();
    Ok(endpoint.map(|endpoint| endpoint.addresses).unwrap_or_default())
}

/// What a plan of a container on `network` comes to.
fn planned(host: &Host, network: &str, publish: &str) -> Result<Output> {
    let container = host.container("web").network(network).publish(publish).prepare()?;
    host.unchanged_by(|| host.ocinet(&format!("plan {} --id web", container.bundle())))
}

/// The attach of a container on `network` is refused since `why`, and so is its plan.
fn refused(host: &Host, network: &str, publish: &str, why: &str) -> Result<()> {
    let refused = host.container("web").network(network).publish(publish).refused()?;
    ensure!(refused.stderr.contains(why), "{refused}");
    let planned = planned(host, network, publish)?.is_one_line()?;
    ensure!(planned.stdout.is_empty() && planned.stderr.contains(why), "{planned}");
    Ok(())
}

fn doctor(host: &Host) -> Result<String> {
    let findings: Vec<serde_json::Value> = host.json(&format!("{OCINET} doctor --json || true"))?;
    Ok(findings.iter().filter(|finding| finding["kind"] != "note").map(|finding| format!("{finding}\n")).collect())
}

/// Packets of both families to and from containers of a network that has both.
#[test]
fn a_container_has_both_families() -> Result<()> {
    for (firewall, bridge_nf) in [
        (Firewall::Nftables, true),
        (Firewall::Nftables, false),
        (Firewall::IptablesNft, true),
        (Firewall::IptablesNft, false),
        (Firewall::IptablesLegacy, true),
        (Firewall::IptablesLegacy, false),
    ] {
        settings().firewall(firewall).bridge_nf(bridge_nf).test(|host| {
            let web = host.container("web").network("dual").publish("8080:80,8080:80/udp").run()?;
            let sibling = host.container("sibling").network("dual").run()?;
            ensure!(addresses(&web, "dual")? == ["10.64.7.2/24", "fd00:7::a40:702/64"], "{:#?}", web.sandbox()?);
            host.check()?;
            ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
            let _server = host.peer().serve("peer", &["80"])?;
            every(Proto::ALL, |proto| {
                web.reaches(*proto, format!("{PEER}:80"))?.is("peer")?.seen_from(UPLINK)?;
                web.reaches(*proto, format!("[{PEER6}]:80"))?.is("peer")?.seen_from(UPLINK6)?;
                sibling.reaches(*proto, "[fd00:7::a40:702]:80")?.is("web")?.seen_from("fd00:7::a40:703")?;
                host.reaches(*proto, "[fd00:7::a40:702]:80")?.is("web")?.seen_from("fd00:7::1")?;
                host.peer().reaches(*proto, format!("[{UPLINK6}]:8080"))?.is("web")?.seen_from(PEER6)?;
                host.peer().reaches(*proto, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER)?;
                for at in [UPLINK6, "fd00:7::1"] {
                    host.reaches(*proto, format!("[{at}]:8080"))?.is("web")?;
                    sibling.reaches(*proto, format!("[{at}]:8080"))?.is("web")?;
                    web.reaches(*proto, format!("[{at}]:8080"))?.is("web")?;
                }
                Ok(())
            })?;
            web.reaches(Tcp, format!("[{FAR6}]:80"))?.is("peer")?.seen_from(UPLINK6)?;
            let hosts = web.exec(&["cat", "/etc/hosts"])?;
            ensure!(hosts.contains("10.64.7.2\tweb") && hosts.contains("fd00:7::a40:702\tweb"), "{hosts}");
            sibling.delete()?;
            web.delete()
        })?;
    }
    Ok(())
}

/// A network of IPv6 alone. Nothing of IPv4 is in the container.
#[test]
fn a_container_has_ipv6_alone() -> Result<()> {
    with_every_firewall(|host| {
        let web = host.container("web").network("six").publish("8080:80").run()?;
        ensure!(addresses(&web, "six")? == ["fd00:8::2/64"], "{:#?}", web.sandbox()?);
        let again = host.container("again").network("six:ip6=fd00:8::77").run()?;
        ensure!(addresses(&again, "six")? == ["fd00:8::77/64"], "{:#?}", again.sandbox()?);
        host.check()?;
        again.reaches(Tcp, "[fd00:8::2]:80")?.is("web")?.seen_from("fd00:8::77")?;
        host.peer().reaches(Tcp, format!("[{UPLINK6}]:8080"))?.is("web")?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        ensure!(web.sh("ip -4 route show default")?.is_empty(), "a route of IPv4");
        again.delete()?;
        web.delete()
    })
}

/// Another network of the host's, with a host `far` of both families on it.
const SECOND_LAN: &str = "
    ip netns add far
    ip link add lan2 type veth peer name eth0 netns far
    ip address add 2001:db8:53::1/64 dev lan2 nodad
    ip address add 198.51.101.1/24 dev lan2
    ip link set lan2 up
    ip -netns far link set lo up
    ip -netns far link set eth0 up
    ip -netns far address add 2001:db8:53::2/64 dev eth0 nodad
    ip -netns far address add 198.51.101.2/24 dev eth0
    ip -netns far route add default via 2001:db8:53::1
    ip -netns far route add default via 198.51.101.1
";

/// The host forwards for its containers alone, also when its store was lost, and no more after a reset that was cut off
/// before.
#[test]
fn the_host_is_nobody_elses_router() -> Result<()> {
    with_every_firewall(|host| {
        host.sh(SECOND_LAN)?;
        let (far, peer) = (host.beside("/run/netns/far"), host.peer());
        peer.sh(&format!("ip route add 2001:db8:53::/64 via {UPLINK6}; ip route add 198.51.101.0/24 via {UPLINK}"))?;
        let _server = peer.serve("peer", &["80"])?;
        let servers = [format!("{PEER}:80"), format!("[{PEER6}]:80")];
        let closed = || servers.iter().try_for_each(|server| far.cannot_reach(Tcp, server));
        let web = host.container("web").network("dual").run()?;
        closed()?;
        host.sh("rm -f /run/ocinet/store*")?;
        host.ocinet("doctor --fix")?.success()?;
        closed()?;
        host.disarm()?;
        servers.iter().try_for_each(|server| far.reaches(Tcp, server)?.is("peer").map(drop))?;
        host.ocinet("doctor --fix")?.success()?;
        closed()?;
        web.delete()?;
        host.settles()?;
        let forwards = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/*/force_forwarding";
        ensure!(host.sh(forwards)?.contains('1'), "the control");
        // As a reset leaves it that is killed between its two writes, in the one order and the other.
        for half in ["default", "all"] {
            host.sh(&format!("echo 0 >/proc/sys/net/ipv6/conf/{half}/force_forwarding"))?;
            host.ocinet("reset --force")?.success()?;
            ensure!(!host.sh(forwards)?.contains('1'), "{half}: {}", host.sh(forwards)?);
            host.container("again").network("dual").run()?.delete()?;
            host.settles()?;
        }
        host.ocinet("reset --force")?.success()?;
        host.sh("ip link delete lan2; ip netns delete far").map(drop)
    })
}

/// A person lets some links forward IPv6: how that was could not be restored.
#[test]
fn forwarding_of_some_links_is_left_alone() -> Result<()> {
    settings().prepare("echo 1 >/proc/sys/net/ipv6/conf/uplink/force_forwarding").test(|host| {
        refused(host, "dual", "8080:80", "uplink does already")?;
        host.container("web").network("plain").run()?.delete()?;
        host.ocinet("reset --force")?.success()?;
        let one = host.sh("cat /proc/sys/net/ipv6/conf/uplink/force_forwarding")?;
        ensure!(one.trim() == "1", "{one}");
        host.sh("sysctl -qw net.ipv6.conf.default.force_forwarding=1 net.ipv6.conf.all.force_forwarding=1")?;
        host.container("web").network("dual").run()?.delete()?;
        host.ocinet("reset --force")?.success()?;
        let of = "cat /proc/sys/net/ipv6/conf/all/force_forwarding /proc/sys/net/ipv6/conf/uplink/force_forwarding";
        ensure!(host.sh(of)? == "1\n1\n", "it is the operator's: {}", host.sh(of)?);
        Ok(())
    })
}

/// What does not follow from a published port is closed, although the host forwards IPv6 now.
#[test]
fn what_is_not_published_is_closed() -> Result<()> {
    with_every_firewall(|host| {
        let web = host.container("web").network("dual").publish("8080:80").run()?;
        let other = host.container("other").network("six").run()?;
        let peer = host.peer();
        // The way is there, and so is the answer: from the host itself it comes.
        peer.sh(&format!("ip route add fd00:7::/64 via {UPLINK6}; ip route add fd00:8::/64 via {UPLINK6}"))?;
        host.reaches(Tcp, "[fd00:7::a40:702]:80")?.is("web")?;
        peer.cannot_reach(Tcp, "[fd00:7::a40:702]:80")?;
        other.cannot_reach(Tcp, "[fd00:7::a40:702]:80")?;
        // iptables cannot lead what is for ::1 of the host to a container.
        if host.firewall() == Firewall::Nftables {
            host.reaches(Tcp, "[::1]:8080")?.is("web")?;
        } else {
            host.cannot_reach(Tcp, "[::1]:8080")?;
        }
        host.reaches(Tcp, "127.0.0.1:8080")?.is("web")?;
        // The host is no router between other links.
        host.sh(SECOND_LAN)?;
        let far = host.beside("/run/netns/far");
        peer.sh(&format!("ip route add 2001:db8:53::/64 via {UPLINK6}"))?;
        let _server = peer.serve("peer", &["80"])?;
        far.cannot_reach(Tcp, format!("[{PEER6}]:80"))?;
        host.disarm()?;
        far.reaches(Tcp, format!("[{PEER6}]:80"))?.is("peer")?;
        // Without the rules the peer and the other network reach the container, too.
        peer.reaches(Tcp, "[fd00:7::a40:702]:80")?.is("web")?;
        other.reaches(Tcp, "[fd00:7::a40:702]:80")?.is("web")?;
        host.ocinet("doctor --fix")?.success()?;
        far.cannot_reach(Tcp, format!("[{PEER6}]:80"))?;
        peer.cannot_reach(Tcp, "[fd00:7::a40:702]:80")?;
        peer.reaches(Tcp, format!("[{UPLINK6}]:8080"))?.is("web")?;
        host.sh("ip link delete lan2; ip netns delete far")?;
        other.delete()?;
        web.delete()
    })
}

/// A host that has its default route from a router advertisement keeps it.
#[test]
fn the_hosts_own_route_stays() -> Result<()> {
    settings().test(|host| {
        let route = || host.sh("ip -6 route show default proto ra");
        let hears = || -> Result<String> {
            let mut found = String::new();
            // The peer has no link-local address yet that it can send with.
            ocinet_integration::eventually("a route by a router advertisement", || {
                host.peer().output(&["/mnt/bin/probe", "advertise", "eth0"])?.success()?;
                found = route()?;
                Ok(!found.is_empty())
            })?;
            Ok(found)
        };
        host.sh("ip -6 route delete default")?;
        let known = hears()?;
        let web = host.container("web").network("dual").publish("8080:80").run()?;
        ensure!(!route()?.is_empty(), "the attach took {known}");
        host.sh("ip -6 route flush proto ra")?;
        hears()?;
        web.delete()?;
        host.settles()?;
        host.ocinet("reset --force")?.success()?;
        ensure!(!route()?.is_empty(), "reset took {known}");
        let settings =
            host.sh("cat /proc/sys/net/ipv6/conf/*/force_forwarding /proc/sys/net/ipv6/conf/all/forwarding")?;
        ensure!(!settings.contains('1'), "{settings}");
        host.sh(&format!(
            "ip -6 route flush proto ra; ip -6 address flush dev uplink dynamic
             ip -6 route delete 2001:db8::/64 dev uplink; ip -6 route add default via {PEER6}"
        ))
        .map(drop)
    })
}

/// A container calls itself the router.
#[test]
fn a_sibling_is_not_believed() -> Result<()> {
    settings().test(|host| {
        let victim = host.container("victim").network("dual").run()?;
        let attacker = host.container("attacker").network("dual").run()?;
        // The victim would take a route from anyone.
        victim.sh("for all in /proc/sys/net/ipv6/conf/eth0/accept_ra /proc/sys/net/ipv6/conf/eth0/autoconf; do echo 1 >$all; done")?;
        let took_it = || -> Result<bool> { Ok(!victim.sh("ip -6 route show default proto ra")?.is_empty()) };
        attacker.output(&["/mnt/bin/probe", "advertise", "eth0"])?.success()?;
        attacker.reaches(Tcp, "[fd00:7::a40:702]:80")?.is("victim")?;
        ensure!(!took_it()?, "the victim has a route by its sibling");
        host.sh(&format!("tc filter delete dev {} ingress", attacker.host_interface()?))?;
        attacker.output(&["/mnt/bin/probe", "advertise", "eth0"])?.success()?;
        ocinet_integration::eventually("without the guard the victim takes it", took_it)?;
        ensure!(doctor(host)?.contains("can send"), "{}", doctor(host)?);
        host.ocinet("doctor --fix")?.success()?;
        attacker.delete()?;
        victim.delete()
    })
}

/// The kernel alone tells of both addresses.
#[test]
fn a_lost_store_is_rebuilt() -> Result<()> {
    with_every_firewall(|host| {
        let web = host.container("web").network("dual:ip6=fd00:7::beef").publish("8080:80").run()?;
        let six = host.container("six").network("six").run()?;
        let loopback = if host.firewall() == Firewall::Nftables { ",[::1]:8093:80" } else { "" };
        // Each family has its own port of the container behind one of the host.
        let apart = host
            .container("apart")
            .network("dual")
            .publish(&format!("8092:80,0.0.0.0:8090:80,[::]:8090:81,[::]:8091:80{loopback}"))
            .run()?;
        let plain = host.container("plain").network("plain").publish("8101:80,0.0.0.0:8100:80").run()?;
        let known = || -> Result<Vec<_>> {
            let mut sandboxes = host.sandboxes()?;
            sandboxes.sort_by(|one, other| one.container.cmp(&other.container));
            Ok(sandboxes)
        };
        let before = known()?;
        host.sh("rm -f /run/ocinet/*.sqlite* /run/ocinet/store* ; ls /run/ocinet")?;
        host.ocinet("doctor --fix")?.success()?;
        let after = known()?;
        for (one, other) in before.iter().zip(&after) {
            ensure!(one.endpoints == other.endpoints && one.publish == other.publish, "{before:#?}\n{after:#?}");
        }
        ensure!(before.len() == after.len(), "{after:#?}");
        host.check()?;
        host.peer().reaches(Tcp, format!("[{UPLINK6}]:8080"))?.is("web")?;
        if !loopback.is_empty() {
            host.reaches(Tcp, "[::1]:8093")?.is("apart")?;
        }
        plain.delete()?;
        apart.delete()?;
        six.delete()?;
        web.delete()
    })
}

/// What another program did to forwarding is put right by the next collection.
#[test]
fn forwarding_comes_back() -> Result<()> {
    with_every_firewall(|host| {
        let web = host.container("web").network("dual").run()?;
        let _server = host.peer().serve("peer", &["80"])?;
        web.reaches(Tcp, format!("[{FAR6}]:80"))?.is("peer")?;
        host.sh("sysctl -qw net.ipv6.conf.all.forwarding=1; sysctl -qw net.ipv6.conf.all.forwarding=0")?;
        web.cannot_reach(Tcp, format!("[{FAR6}]:80"))?;
        ensure!(doctor(host)?.contains("net.ipv6.conf.all.force_forwarding"), "{}", doctor(host)?);
        host.ocinet("gc")?.success()?;
        web.reaches(Tcp, format!("[{FAR6}]:80"))?.is("peer")?;
        // What a person says of one link stays, and is named: answers come in by the uplink, packets by the bridge.
        for link in ["uplink", "ocn-7"] {
            let key = format!("net/ipv6/conf/{link}/force_forwarding");
            host.sh(&format!("sysctl -qw {key}=0"))?;
            web.cannot_reach(Tcp, format!("[{FAR6}]:80"))?;
            let told = host.unchanged_by(|| Ok(host.ocinet("doctor --fix")?.exits(1)?.stdout))?;
            ensure!(told.contains(&key) && told.contains(&format!("sysctl -w {key}=1")), "{told}");
            host.sh(&format!("sysctl -w {key}=1"))?;
            web.reaches(Tcp, format!("[{FAR6}]:80"))?.is("peer")?;
            ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
        }
        web.delete()
    })
}

/// Interfaces on a network without IPv6 have none, while others of the same container have.
#[test]
fn each_network_has_its_own_families() -> Result<()> {
    with_every_firewall(|host| {
        let web = host.container("web").network("plain;dual").publish("8080:80").run()?;
        let group = web.sh("ip -6 route get ff05::1234")?;
        ensure!(group.contains("dev eth1"), "an interface without IPv6 has no groups: {group}");
        let v6 = |link: &str| web.sh(&format!("ip -6 address show dev {link}"));
        ensure!(v6("eth0")?.is_empty() && v6("eth1")?.contains("fd00:7::a40:702"), "{}{}", v6("eth0")?, v6("eth1")?);
        let routes = web.sh("ip -4 route show default; ip -6 route show default")?;
        ensure!(routes.contains("via 10.64.9.1 dev eth0") && routes.contains("via fd00:7::1 dev eth1"), "{routes}");
        host.check()?;
        let _server = host.peer().serve("peer", &["80"])?;
        web.reaches(Tcp, format!("[{FAR6}]:80"))?.is("peer")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        // IPv6 comes and goes with its network.
        host.ocinet("network disconnect dual web")?.success()?;
        web.cannot_reach(Tcp, format!("[{FAR6}]:80"))?;
        host.ocinet("network connect six web")?.success()?;
        host.check()?;
        web.reaches(Tcp, format!("[{FAR6}]:80"))?.is("peer")?;
        host.ocinet("network disconnect plain web")?.success()?;
        host.check()?;
        host.peer().reaches(Tcp, format!("[{UPLINK6}]:8080"))?.is("web")?;
        web.delete()
    })
}

/// What cannot be had is refused in a line that says why, and leaves nothing.
#[test]
fn what_cannot_be_had_is_refused() -> Result<()> {
    settings().test(|host| {
        every(
            [
                ("dual:mtu=1279", "IPv6 on network dual, which needs 1280"),
                ("plain:ip6=fd00::5", "network plain has no IPv6"),
                ("six:ip=10.64.8.5", "network six has no IPv4"),
                ("dual:ip6=fd00:7::1", "is the gateway's"),
            ],
            |(network, why)| refused(host, network, "8080:80", why),
        )
    })?;
    let asked = "printf 'published_ports = \"respect-host-firewall\"\\n' >/etc/ocinet/config.toml\n";
    settings().prepare(asked).test(|host| {
        refused(host, "dual", "8080:80", "cannot be kept for IPv6")?;
        host.container("web").network("dual").run()?.delete()
    })?;
    Ok(())
}
