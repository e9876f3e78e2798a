//! How others reach the containers of a network: by the modes `routed` and `isolated`, by trusted links, and where
//! published ports are bound. The LAN peer has a route to the networks, and the other LAN has, too.

use anyhow::{Result, ensure};
use ocinet_integration::{Firewall, Host, OCINET, Place, Proto, Proto::Tcp, Runtime, Settings, UPLINK, every};

use super::doctor;
use crate::families::{CABLE, Family, at, define};

/// Another LAN behind the host. Both LANs send to the networks through it.
const LANS: &str = "
    ip netns add other
    ip netns exec other /mnt/bin/newborn
    ip link add lan2 type veth peer name eth0 netns other
    ip address add 192.0.2.1/30 dev lan2
    ip link set lan2 up
    ip -netns other address add 192.0.2.2/30 dev eth0
    ip -netns other link set lo up
    ip -netns other link set eth0 up
    ip -netns other route add default via 192.0.2.1
    ip -netns peer route add 10.64.0.0/16 via 198.51.100.1
    ip -netns peer route add 192.0.2.0/30 via 198.51.100.1";

/// The same of IPv6.
const LANS6: &str = "
    ip address add 2001:db8:53::1/64 dev lan2 nodad
    ip -netns other address add 2001:db8:53::2/64 dev eth0 nodad
    ip -netns other route add default via 2001:db8:53::1
    ip -netns peer route add fd00::/16 via 2001:db8:51::1
    ip -netns peer route add 2001:db8:53::/64 via 2001:db8:51::1";

/// A firewall, whether frames on a bridge pass the IP hooks, and the families of the networks.
type World = (Firewall, bool, &'static [Family]);

/// Runs a story with each firewall, once of them where frames on a bridge pass the IP hooks, and for networks of both
/// families. `networks` are their names, numbers and lines.
fn with_networks(networks: &[(&str, u8, &str)], story: impl Fn(&Host, &'static [Family]) -> Result<()>) -> Result<()> {
    let worlds = [
        (Firewall::Nftables, false, Family::FIRST),
        (Firewall::Nftables, true, Family::ALL),
        (Firewall::IptablesNft, true, Family::FIRST),
        (Firewall::IptablesNft, false, Family::ALL),
        (Firewall::IptablesLegacy, false, Family::FIRST),
        (Firewall::IptablesLegacy, true, Family::ALL),
    ];
    in_worlds(&worlds, networks, story)
}

fn in_worlds(
    worlds: &[World],
    networks: &[(&str, u8, &str)],
    story: impl Fn(&Host, &'static [Family]) -> Result<()>,
) -> Result<()> {
    every(worlds, |(firewall, bridge_nf, families)| {
        let settings = Settings::default().runtime(Runtime::Runc).firewall(*firewall).bridge_nf(*bridge_nf);
        let of = |(name, n, lines): &(&str, u8, &str)| define(name, *n, lines, families);
        let lans = if families.contains(&Family::V6) { format!("{CABLE}\n{LANS}\n{LANS6}") } else { LANS.to_owned() };
        let settings = settings.prepare(&lans).prepare(&networks.iter().map(of).collect::<String>());
        settings.test(|host| story(host, families))
    })
}

/// The address of the host `other` in its LAN.
fn in_other_lan(family: Family) -> &'static str {
    if family == Family::V4 { "192.0.2.2" } else { "2001:db8:53::2" }
}

fn other_lan(host: &Host) -> Place {
    host.beside("/run/netns/other")
}

/// Ports of a routed network are reached at the container's address from everywhere but an internal network, and there
/// alone; what is not published is not reached. Nothing is translated in either direction.
#[test]
fn a_routed_network_is_reached_at_its_containers() -> Result<()> {
    let networks = [("n1", 1, "mode = \"routed\""), ("n2", 2, ""), ("inside", 3, "internal = true")];
    with_networks(&networks, |host, families| {
        let _world = host.peer().serve("world", &["7000"])?;
        let web = host.container("web").network("n1").publish("8080:80,8080:80/udp").run()?;
        let _unpublished = web.serve("unpublished", &["81"])?;
        // Neither holds port 8080 of the host.
        let twin = host.container("twin").network("n1").publish("8080:80").run()?;
        let own = host.container("own").network("n2").publish("8080:80").run()?;
        let inside = host.container("inside").network("inside").run()?;
        host.check()?;
        let addresses = families.iter().map(|family| family.address_on(&web, "n1")).collect::<Result<Vec<_>>>()?;
        let each = || families.iter().zip(&addresses);
        for (family, address) in each() {
            // A hostile container has a way out that it was not given.
            inside.sh(&format!("ip route add default via {}", family.gateway(3)))?;
            let (ours, others) = (at(address, 80), family.address_on(&own, "n2")?);
            let unpublished = at(address, 81);
            for proto in Proto::ALL {
                host.peer().reaches(proto, &ours)?.is("web")?.seen_from(family.peer())?;
                other_lan(host).reaches(proto, &ours)?.is("web")?.seen_from(in_other_lan(*family))?;
                own.reaches(proto, &ours)?.is("web")?.seen_from(&others)?;
                twin.reaches(proto, &ours)?.is("web")?;
                host.reaches(proto, &ours)?.is("web")?;
                inside.cannot_reach(proto, &ours)?;
                host.reaches(proto, &unpublished)?.is("unpublished")?;
                for place in [&host.peer(), &other_lan(host), &own] {
                    place.cannot_reach(proto, &unpublished)?;
                }
                web.cannot_reach(proto, at(&others, 80))?;
            }
            host.peer().sh(&format!("ping -c 1 -W 5 {address}"))?;
            ensure!(host.peer().sh(&format!("ping -c 1 -W 1 {others}")).is_err(), "of another network");
            host.peer().reaches(Tcp, at(family.uplink(), 8080))?.is("own")?;
            web.reaches(Tcp, at(family.peer(), 7000))?.is("world")?.seen_from(address)?;
            inside.sh(&format!("{} route delete default", family.ip()))?;
        }
        let shown = host.ocinet("port web 80")?.success()?;
        ensure!(shown.lines().eq(addresses.iter().map(|address| at(address, 80))), "{shown}");
        let shown = host.ocinet("ps")?.success()?;
        for (_, address) in each() {
            ensure!(shown.contains(&format!("{}->80/tcp", at(address, 80))), "{shown}");
        }
        ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
        lost_and_rebuilt(host)?;
        for (_, address) in each() {
            host.peer().reaches(Tcp, at(address, 80))?.is("web")?;
            host.peer().cannot_reach(Tcp, at(address, 81))?;
        }
        web.delete()?;
        for (family, address) in each() {
            host.peer().cannot_reach(Tcp, at(address, 80))?;
            host.peer().reaches(Tcp, at(&family.address_on(&twin, "n1")?, 80))?.is("twin")?;
        }
        host.check()
    })
}

/// Each family has its mode: ports of the host lead to the container over one, and over the other it is reached at its own
/// address. What names an address of the one is not open over the other.
#[test]
fn a_network_is_routed_over_one_family() -> Result<()> {
    let (nft, iptables) = ((Firewall::Nftables, false, Family::ALL), (Firewall::IptablesNft, true, Family::ALL));
    let v6 = [("n1", 1, "mode6 = \"routed\""), ("n2", 2, "")];
    in_worlds(&[nft, iptables], &v6, |host, _| routed_over(host, Family::V6, Family::V4))?;
    let v4 = [("n1", 1, "mode = \"routed\"\nmode6 = \"nat\""), ("n2", 2, "")];
    in_worlds(&[nft], &v4, |host, _| routed_over(host, Family::V4, Family::V6))
}

fn routed_over(host: &Host, routed: Family, nat: Family) -> Result<()> {
    let _world = host.peer().serve("world", &["7000"])?;
    let every = if routed == Family::V4 { "0.0.0.0" } else { "[::]" };
    let publish = format!("8080:80,8080:80/udp,{}:81,{every}:8082:82", at(nat.uplink(), 8081));
    let web = host.container("web").network("n1").publish(&publish).run()?;
    let _more = web.serve("web", &["81", "82", "83"])?;
    let own = host.container("own").network("n2").run()?;
    let (of_nat, of_routed) = (nat.address_on(&web, "n1")?, routed.address_on(&web, "n1")?);
    let leads = || -> Result<()> {
        for place in [&host.peer(), &own] {
            for proto in Proto::ALL {
                place.reaches(proto, at(nat.uplink(), 8080))?.is("web")?;
                place.reaches(proto, at(&of_routed, 80))?.is("web")?;
            }
            place.reaches(Tcp, at(nat.uplink(), 8081))?.is("web")?;
            place.reaches(Tcp, at(&of_routed, 82))?.is("web")?;
            place.sh(&format!("ping -c 1 -W 5 {of_routed}"))?;
            ensure!(place.sh(&format!("ping -c 1 -W 1 {of_nat}")).is_err(), "{of_nat} is masqueraded");
        }
        web.reaches(Tcp, at(routed.peer(), 7000))?.is("world")?.seen_from(&of_routed)?;
        web.reaches(Tcp, at(nat.peer(), 7000))?.is("world")?.seen_from(nat.uplink()).map(drop)
    };
    leads()?;
    let loopback = if routed == Family::V4 { "127.0.0.1" } else { "::1" };
    for address in [routed.uplink(), loopback] {
        let refused = host.container("one").network("n1").publish(&format!("{}:80", at(address, 8083))).refused()?;
        ensure!(refused.stderr.contains("over which the network is routed"), "{refused}");
    }
    let closed = [at(&of_nat, 80), at(&of_routed, 81), at(&of_routed, 83), at(nat.uplink(), 8082)];
    for closed in closed.iter().chain(&[at(routed.uplink(), 8080)]) {
        host.peer().cannot_reach(Tcp, closed)?;
    }
    own.cannot_reach(Tcp, at(&of_nat, 80))?;
    own.cannot_reach(Tcp, at(&of_routed, 81))?;
    ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
    host.check()?;
    host.disarm()?;
    host.ocinet("doctor --fix")?.success()?;
    host.sh("rm /run/ocinet/store-*")?;
    host.ocinet("doctor --fix")?.success()?;
    leads()?;
    host.check()?;
    let shown = host.ocinet("port web 80/tcp")?.success()?;
    let any = if nat == Family::V4 { "0.0.0.0:8080" } else { "[::]:8080" };
    ensure!(shown.lines().eq([any, &at(&of_routed, 80)]), "{shown}");
    web.delete()?;
    host.peer().cannot_reach(Tcp, at(&of_routed, 80))?;
    host.check()
}

/// Ports that were chosen for ports of the host are not opened at the container's own address by a network that it joins
/// or that is left to it: what was published on the host's loopback stays there, or is dormant.
#[test]
fn a_routed_family_takes_no_ports_of_the_host() -> Result<()> {
    let networks = [("plain", 1, ""), ("open", 2, "mode = \"routed\""), ("mixed", 3, "mode6 = \"routed\"")];
    in_worlds(&[(Firewall::Nftables, false, Family::ALL)], &networks, |host, _| {
        for (other, ports) in [("open", "127.0.0.1:8080:80,[::1]:8080:80,8081:81"), ("mixed", "[::1]:8080:80,8081:81")]
        {
            let web = host.container("web").network("plain").publish(ports).serving(&["80", "81"]).run()?;
            host.ocinet(&format!("network connect --gw-priority 1 {other} web"))?.success()?;
            let own = [Family::V4, Family::V6].map(|family| family.address_on(&web, other));
            let own = own.into_iter().collect::<Result<Vec<_>>>()?;
            let closed = || -> Result<()> {
                for (address, port) in own.iter().flat_map(|address| [(address, 80), (address, 81)]) {
                    host.peer().cannot_reach(Tcp, at(address, port))?;
                }
                host.check()
            };
            closed()?;
            host.ocinet("network disconnect plain web")?.success()?;
            closed()?;
            let shown = host.ocinet("port web 80")?.success()?;
            ensure!(shown.contains("[::1]:8080 (dormant)"), "{shown}");
            ensure!(
                other != "mixed" || host.peer().reaches(Tcp, at(Family::V4.uplink(), 8081))?.is("web").is_ok(),
                "{other}"
            );
            web.delete()?;
        }
        // What was open to others at the attach stays so, and nothing else is.
        let publish = "127.0.0.1:8080:80,8081:81";
        let web = host.container("web").network("plain:gw-priority=0;mixed:gw-priority=-1").publish(publish).run()?;
        host.ocinet("network disconnect plain web")?.success()?;
        let own = Family::V6.address_on(&web, "mixed")?;
        host.peer().cannot_reach(Tcp, at(&own, 80))?;
        host.peer().cannot_reach(Tcp, at(&own, 81))?;
        host.check()?;
        web.delete()
    })
}

/// Rules that were flushed, and a store that is lost, come back as they were.
fn lost_and_rebuilt(host: &Host) -> Result<()> {
    let before = host.ocinet("port web")?.success()?;
    host.disarm()?;
    host.ocinet("doctor --fix")?.success()?;
    host.check()?;
    host.sh("rm /run/ocinet/store-*")?;
    host.ocinet("doctor --fix")?.success()?;
    let after = host.ocinet("port web")?.success()?;
    ensure!(before == after, "{before}\nbecame\n{after}");
    host.check()
}

/// Docker's meaning: published ports at the container's address, be they bound to the host's loopback, from the trusted
/// links alone.
#[test]
fn a_trusted_link_reaches_published_ports_at_the_containers() -> Result<()> {
    let networks = [("n1", 1, "trusted_interfaces = [\"lan2\", \"vpn0\"]")];
    with_networks(&networks, |host, families| {
        let web = host.container("web").network("n1").publish("127.0.0.1:8080:80,8081:80/udp").run()?;
        let _unpublished = web.serve("unpublished", &["81"])?;
        host.check()?;
        let addresses = families.iter().map(|family| family.address_on(&web, "n1")).collect::<Result<Vec<_>>>()?;
        for (family, address) in families.iter().zip(&addresses) {
            // What was published at an address of IPv4 alone is not published over IPv6.
            let protocols = if *family == Family::V4 { &Proto::ALL[..] } else { &[Proto::Udp] };
            for proto in protocols.iter().copied() {
                other_lan(host).reaches(proto, at(address, 80))?.is("web")?.seen_from(in_other_lan(*family))?;
                host.peer().cannot_reach(proto, at(address, 80))?;
                other_lan(host).cannot_reach(proto, at(address, 81))?;
                host.reaches(proto, at(address, 81))?.is("unpublished")?;
            }
            host.peer().reaches(Proto::Udp, at(family.uplink(), 8081))?.is("web")?;
        }
        host.reaches(Tcp, "127.0.0.1:8080")?.is("web")?;
        ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
        web.delete()?;
        for address in &addresses {
            other_lan(host).cannot_reach(Proto::Udp, at(address, 80))?;
        }
        host.check()
    })
}

/// The network's address is that of ports which name none, in conflicts, and in all that is shown.
#[test]
fn ports_are_bound_where_their_network_says() -> Result<()> {
    let networks = [("n1", 1, "host_binding = \"127.0.0.1\""), ("n2", 2, "")];
    with_networks(&networks, |host, _| {
        let planned = host.container("web").network("n2;n1:gw-priority=1").publish("8080:80").prepare()?;
        let plan = host.ocinet(&format!("plan {} --id web", planned.bundle()))?.success()?;
        ensure!(plan.contains("127.0.0.1") && plan.contains("8080"), "{plan}");
        let web = host.container("web").network("n2;n1:gw-priority=1").publish("8080:80,0.0.0.0:8081:80").run()?;
        host.check()?;
        host.reaches(Tcp, "127.0.0.1:8080")?.is("web")?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("web")?;
        // Another address of the host is free, and the same one is not.
        let other = host.container("other").network("n2").publish(&format!("{UPLINK}:8080:80")).run()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("other")?;
        let error = host.container("third").network("n1").publish("8080:80").refused()?.stderr;
        ensure!(error.contains("127.0.0.1:8080/tcp is published by container web"), "{error}");
        ensure!(host.ocinet("port web 80")?.success()?.contains("127.0.0.1:8080"), "port");
        ensure!(host.ocinet("ps")?.success()?.contains("127.0.0.1:8080->80/tcp"), "ps");
        ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
        other.delete()?;
        web.delete()
    })
}

/// The host has no address in an isolated network, and its containers reach each other alone.
#[test]
fn an_isolated_network_has_no_address_of_the_host() -> Result<()> {
    let networks = [("n1", 1, "internal = true\nmode = \"isolated\""), ("n2", 2, "internal = true")];
    with_networks(&networks, |host, families| {
        let _service = host.serve("service", &["7000"])?;
        let web = host.container("web").network("n1").publish("8080:80").run()?;
        let sibling = host.container("sibling").network("n1").run()?;
        let inside = host.container("inside").network("n2").run()?;
        host.check()?;
        let addresses = host.sh("ip -o address show dev ocn-1 scope global")?;
        ensure!(addresses.is_empty(), "{addresses}");
        for family in families {
            let address = family.address_on(&web, "n1")?;
            sibling.reaches(Tcp, at(&address, 80))?.is("web")?;
            inside.reaches(Tcp, at(&family.gateway(2), 7000))?.is("service")?;
            sibling.cannot_reach(Tcp, at(&family.gateway(1), 7000))?;
            sibling.sh(&format!("ip route add default via {}", family.gateway(1)))?;
            sibling.cannot_reach(Tcp, at(family.uplink(), 7000))?;
            host.cannot_reach(Tcp, at(&address, 80))?;
        }
        ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
        let found: serde_json::Value = host.json(&format!("{OCINET} network inspect n1"))?;
        let mode = &found[0]["Options"]["com.docker.network.bridge.gateway_mode_ipv4"];
        ensure!(mode == "isolated", "{found:#}");
        web.delete()?;
        sibling.delete()
    })
}
