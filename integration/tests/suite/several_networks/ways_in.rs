//! How others reach the containers of a network: by the modes `routed` and `isolated`, by trusted links, and where
//! published ports are bound. The LAN peer has a route to the networks, and the other LAN has, too.

use anyhow::{Result, ensure};
use ocinet_integration::{Firewall, Host, OCINET, PEER, Place, Proto, Proto::Tcp, Runtime, Settings, UPLINK, every};

use super::{address_on, define, doctor};

/// Another LAN behind the host. Both LANs send to 10.64.0.0/16 through it.
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

/// Runs a story with each firewall, once of them where frames on a bridge pass the IP hooks.
fn with_networks(networks: &str, story: impl Fn(&Host) -> Result<()>) -> Result<()> {
    let worlds = [(Firewall::Nftables, false), (Firewall::IptablesNft, true), (Firewall::IptablesLegacy, false)];
    every(worlds, |(firewall, bridge_nf)| {
        let settings = Settings::default().runtime(Runtime::Runc).firewall(*firewall).bridge_nf(*bridge_nf);
        settings.prepare(LANS).prepare(networks).test(&story)
    })
}

fn other_lan(host: &Host) -> Place {
    host.beside("/run/netns/other")
}

/// Ports of a routed network are reached at the container's address from everywhere but an internal network, and there
/// alone; what is not published is not reached. Nothing is translated in either direction.
#[test]
fn a_routed_network_is_reached_at_its_containers() -> Result<()> {
    let networks =
        define("n1", 1, "mode = \"routed\"") + &define("n2", 2, "") + &define("inside", 3, "internal = true");
    with_networks(&networks, |host| {
        let _world = host.peer().serve("world", &["7000"])?;
        let web = host.container("web").network("n1").publish("8080:80,8080:80/udp").run()?;
        let _unpublished = web.serve("unpublished", &["81"])?;
        // Neither holds port 8080 of the host.
        let twin = host.container("twin").network("n1").publish("8080:80").run()?;
        let own = host.container("own").network("n2").publish("8080:80").run()?;
        let inside = host.container("inside").network("inside").run()?;
        host.check()?;
        let address = address_on(&web, "n1")?;
        for proto in Proto::ALL {
            let at = format!("{address}:80");
            host.peer().reaches(proto, &at)?.is("web")?.seen_from(PEER)?;
            other_lan(host).reaches(proto, &at)?.is("web")?.seen_from("192.0.2.2")?;
            own.reaches(proto, &at)?.is("web")?.seen_from(address_on(&own, "n2")?)?;
            twin.reaches(proto, &at)?.is("web")?;
            host.reaches(proto, &at)?.is("web")?;
            inside.cannot_reach(proto, &at)?;
            let unpublished = format!("{address}:81");
            host.reaches(proto, &unpublished)?.is("unpublished")?;
            for place in [&host.peer(), &other_lan(host), &own] {
                place.cannot_reach(proto, &unpublished)?;
            }
            web.cannot_reach(proto, format!("{}:80", address_on(&own, "n2")?))?;
        }
        host.peer().sh(&format!("ping -c 1 -W 5 {address}"))?;
        ensure!(host.peer().sh(&format!("ping -c 1 -W 1 {}", address_on(&own, "n2")?)).is_err(), "of another network");
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("own")?;
        web.reaches(Tcp, format!("{PEER}:7000"))?.is("world")?.seen_from(&address)?;
        let shown = host.ocinet("port web 80")?.success()?;
        ensure!(shown.trim() == format!("{address}:80"), "{shown}");
        let shown = host.ocinet("ps")?.success()?;
        ensure!(shown.contains(&format!("{address}:80->80/tcp")), "{shown}");
        ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
        lost_and_rebuilt(host)?;
        host.peer().reaches(Tcp, format!("{address}:80"))?.is("web")?;
        host.peer().cannot_reach(Tcp, format!("{address}:81"))?;
        web.delete()?;
        host.peer().cannot_reach(Tcp, format!("{address}:80"))?;
        host.peer().reaches(Tcp, format!("{}:80", address_on(&twin, "n1")?))?.is("twin")?;
        host.check()
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
    let networks = define("n1", 1, "trusted_interfaces = [\"lan2\", \"vpn0\"]");
    with_networks(&networks, |host| {
        let web = host.container("web").network("n1").publish("127.0.0.1:8080:80,8081:80/udp").run()?;
        let _unpublished = web.serve("unpublished", &["81"])?;
        host.check()?;
        let address = address_on(&web, "n1")?;
        for proto in Proto::ALL {
            other_lan(host).reaches(proto, format!("{address}:80"))?.is("web")?.seen_from("192.0.2.2")?;
            host.peer().cannot_reach(proto, format!("{address}:80"))?;
            other_lan(host).cannot_reach(proto, format!("{address}:81"))?;
            host.reaches(proto, format!("{address}:81"))?.is("unpublished")?;
        }
        host.reaches(Tcp, "127.0.0.1:8080")?.is("web")?;
        host.peer().reaches(Proto::Udp, format!("{UPLINK}:8081"))?.is("web")?;
        ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
        web.delete()?;
        other_lan(host).cannot_reach(Tcp, format!("{address}:80"))?;
        host.check()
    })
}

/// The network's address is that of ports which name none, in conflicts, and in all that is shown.
#[test]
fn ports_are_bound_where_their_network_says() -> Result<()> {
    let networks = define("n1", 1, "host_binding = \"127.0.0.1\"") + &define("n2", 2, "");
    with_networks(&networks, |host| {
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
    let networks = define("n1", 1, "internal = true\nmode = \"isolated\"") + &define("n2", 2, "internal = true");
    with_networks(&networks, |host| {
        let _service = host.serve("service", &["7000"])?;
        let web = host.container("web").network("n1").publish("8080:80").run()?;
        let sibling = host.container("sibling").network("n1").run()?;
        let inside = host.container("inside").network("n2").run()?;
        host.check()?;
        let addresses = host.sh("ip -4 -o address show dev ocn-1")?;
        ensure!(addresses.is_empty(), "{addresses}");
        let address = address_on(&web, "n1")?;
        sibling.reaches(Tcp, format!("{address}:80"))?.is("web")?;
        inside.reaches(Tcp, "10.64.2.1:7000")?.is("service")?;
        sibling.cannot_reach(Tcp, "10.64.1.1:7000")?;
        sibling.sh("ip route add default via 10.64.1.1")?;
        sibling.cannot_reach(Tcp, format!("{UPLINK}:7000"))?;
        host.cannot_reach(Tcp, format!("{address}:80"))?;
        ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
        let found: serde_json::Value = host.json(&format!("{OCINET} network inspect n1"))?;
        let mode = &found[0]["Options"]["com.docker.network.bridge.gateway_mode_ipv4"];
        ensure!(mode == "isolated", "{found:#}");
        web.delete()?;
        sibling.delete()
    })
}
