//! Addresses and ranges: which are given, which are refused, and how other hosts learn of a new owner.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{
    Container, Firewall, Host, OCINET, PEER, Place, Proto, Proto::Tcp, Runtime, Settings, UPLINK, eventually, every,
};
use serde_json::Value;

/// If a container has the MAC that would follow from an address, that address is skipped. The gateway's MAC is refused.
#[test]
fn a_mac_is_given_once() -> Result<()> {
    Settings::default().test(|host| {
        let third = "02:0c:0a:5a:00:03";
        let first = host.container("first").network(&format!("bridge:mac={third}")).run()?;
        let second = host.container("second").run()?;
        ensure!(second.at(80)? == "10.90.0.4:80", "{}", second.at(80)?);
        second.reaches(Tcp, first.at(80)?)?.is("first")?;
        let refusal = host.container("third").network("bridge:ip=10.90.0.3").refused()?;
        refusal.exits(3)?.is_one_line()?.says(&[third, "first"])?;
        let refusal = host.container("gateway").network("bridge:mac=02:0c:0a:5a:00:01").refused()?;
        refusal.is_refusal()?.exits(2)?.says(&["02:0c:0a:5a:00:01", "gateway", "10.90.0.1"]).map(drop)
    })
}

/// A container that is started again has the address that it had, also at once and although others came meanwhile; one
/// that others have taken is lost.
#[test]
fn a_container_that_comes_back_has_its_address() -> Result<()> {
    every([Runtime::Bare, Runtime::Runc, Runtime::Crun], |runtime| {
        Settings::default().runtime(*runtime).test(|host| {
            host.sh(&format!("{OCINET} network create own"))?;
            let mut web = host.container("web").network("bridge;own").publish("8080:80").run()?;
            let mut gone = host.container("gone").run()?;
            let addresses = |container: &Container<'_>| -> Result<Vec<String>> {
                Ok(container.sandbox()?.endpoints.iter().flat_map(|endpoint| endpoint.addresses.clone()).collect())
            };
            let before = addresses(&web)?;
            for _ in 0..3 {
                web.restart()?;
                ensure!(addresses(&web)? == before, "{:?} instead of {before:?}", addresses(&web)?);
                host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            }
            let other = host.container("other").run()?;
            ensure!(addresses(&other)? == ["10.90.0.4/16"], "{:?}", addresses(&other)?);
            let had = gone.at(80)?;
            gone.kill()?;
            gone.hook("poststop")?.success()?;
            let heir = host.container("heir").network(&format!("bridge:ip={}", had.trim_end_matches(":80"))).run()?;
            web.reaches(Tcp, &had)?.is("heir")?;
            drop((heir, other));
            host.sh("rm -r /etc/ocinet/networks")?;
            host.check()
        })
    })
}

/// A container with `guard=off` may have a further address and take over another's, as keepalived does; one without it
/// may not. The doctor names it, and leaves it so; a rebuild of the store finds it so.
#[test]
fn an_unguarded_container_may_have_any_address() -> Result<()> {
    let firewalls = [Firewall::Nftables, Firewall::IptablesNft];
    every(firewalls, |firewall| {
        Settings::default().firewall(*firewall).test(|host| {
            let sibling = host.container("sibling").run()?;
            let guarded = host.container("guarded").network("bridge:guard=on").run()?;
            let open = host.container("open").network("bridge:guard=off").run()?;
            let (floating, mac) = ("10.90.7.7", "00:00:5e:00:01:07");
            let take = |container: &Container<'_>| {
                container.sh(&format!(
                    "ip link add vrrp link eth0 address {mac} type macvlan; ip link set vrrp up
                    ip address add {floating}/16 dev vrrp"
                ))
            };
            let leave = |container: &Container<'_>| container.sh("ip link del vrrp");
            take(&guarded)?;
            sibling.cannot_reach(Tcp, format!("{floating}:80"))?;
            leave(&guarded)?;
            take(&open)?;
            for place in [&*sibling, host.place()] {
                place.reaches(Tcp, format!("{floating}:80"))?.is("open")?;
            }
            let named = "may send with every address on network bridge";
            let told = host.ocinet("doctor")?.exits(0)?.stdout;
            ensure!(told.contains("container open") && told.matches(named).count() == 1, "{told}");
            ensure!(host.ocinet("inspect open")?.stdout.contains("guard        off"));
            host.sh("rm /run/ocinet/store-*")?;
            host.ocinet("doctor --fix")?;
            let told = host.ocinet("doctor")?.stdout;
            ensure!(told.matches(named).count() == 1, "after a rebuild: {told}");
            sibling.reaches(Tcp, format!("{floating}:80"))?.is("open")?;
            leave(&open)?;
            take(&guarded)?;
            sibling.sh("ip neighbour flush dev eth0")?;
            sibling.cannot_reach(Tcp, format!("{floating}:80"))?;
            leave(&guarded).map(drop)
        })
    })
}

/// The entry for an address in the neighbour table of `place`.
fn remembered(place: &Place, address: &str) -> Result<Value> {
    let entries: Vec<Value> = place.json(&format!("ip -s -json neighbour show {address}"))?;
    entries.into_iter().next().with_context(|| format!("{address} is not remembered"))
}

/// An address goes to another MAC. Hosts that remember the old one reach the new container at once, although it sends
/// nothing by itself.
#[test]
fn a_new_owner_of_an_address_is_announced() -> Result<()> {
    Settings::default().test(|host| {
        let sibling = host.container("sibling").run()?;
        let (address, network) = ("10.90.0.9", |mac: &str| format!("bridge:ip=10.90.0.9,mac=02:00:00:00:00:{mac}"));
        let old = host.container("old").network(&network("aa")).run()?;
        for place in [&*sibling, host.place()] {
            place.reaches(Tcp, format!("{address}:80"))?.is("old")?;
            // The kernel accepts a second answer only after a second (`locktime`, arp(7)).
            eventually("it was learned a moment ago", || {
                Ok(remembered(place, address)?["updated"].as_u64().is_some_and(|seconds| seconds >= 2))
            })?;
            ensure!(remembered(place, address)?["lladdr"] == "02:00:00:00:00:aa");
        }
        old.delete()?;
        let new = host.container("new").network(&network("bb")).run()?;
        for place in [&*sibling, host.place()] {
            for proto in Proto::ALL {
                place.reaches(proto, format!("{address}:80"))?.is("new")?;
            }
            ensure!(remembered(place, address)?["lladdr"] == "02:00:00:00:00:bb", "{}", remembered(place, address)?);
        }
        new.delete()
    })
}

/// A published address was removed from the host: the doctor reports it, and examines the rest.
#[test]
fn a_published_address_that_vanished_is_a_finding() -> Result<()> {
    Settings::default().prepare("ip address add 198.51.100.9/24 dev uplink").test(|host| {
        let web = host.container("web").publish("198.51.100.9:8080:80,198.51.100.9:8081:80,8082:80").run()?;
        host.peer().reaches(Tcp, "198.51.100.9:8080")?.is("web")?;
        host.sh("ip address del 198.51.100.9/24 dev uplink; ip link set uplink mtu 1400")?;
        let told = host.ocinet("doctor")?.exits(1)?.stdout;
        for words in ["address 198.51.100.9 is no address of this host", "container web has MTU 1500", "note: firewall"]
        {
            ensure!(told.contains(words), "{words}: {told}");
        }
        ensure!(told.matches("198.51.100.9 is no").count() == 1, "once for all ports: {told}");
        host.sh("ip link set uplink mtu 1500; ip address add 198.51.100.9/24 dev uplink")?;
        host.ocinet("doctor")?.success()?;
        host.peer().reaches(Tcp, "198.51.100.9:8080")?.is("web")?;
        web.delete()
    })
}

/// The address of a new container and what its attach said, on a host with these routes and `config.toml`.
fn first_address(host: &Host) -> Result<(String, String)> {
    let (web, output) = host.container("web").publish("8080:80").start()?;
    let web = web.with_context(|| output.to_string())?;
    host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
    let address = web.at(80)?;
    web.delete()?;
    Ok((address, output.stderr))
}

/// A range without any route is chosen before one that is part of a wider route. The latter gives a warning.
#[test]
fn a_range_under_a_wider_route_is_the_last_choice() -> Result<()> {
    let via = |range: &str| format!("ip route add {range} via {PEER}");
    let vpn = [via("0.0.0.0/1"), via("128.0.0.0/1")].join(";");
    let configured =
        |range: &str| format!("{}; echo 'subnet = \"{range}\"' >/etc/ocinet/config.toml", via("10.0.0.0/8"));
    let rows = [
        (via("10.0.0.0/8"), "172.31.0.2:80", ""),
        (format!("{}; {}", via("10.0.0.0/8"), via("172.16.0.0/12")), "192.168.240.2:80", ""),
        (vpn, "10.90.0.2:80", "0.0.0.0/1"),
        (configured("10.90.64.0/24"), "10.90.64.2:80", "10.0.0.0/8"),
        ("ip address add 10.1.1.1/8 dev stranger0; ip link set stranger0 up".into(), "172.31.0.2:80", ""),
    ];
    every(rows, |(prepare, expected, route)| {
        Settings::default().prepare(prepare).test(|host| {
            let (address, said) = first_address(host)?;
            ensure!(address == *expected, "{address} {said}");
            ensure!(said.contains(route) && said.is_empty() == route.is_empty(), "{said}");
            let web = host.container("web").run()?;
            let told = host.ocinet("doctor")?.success()?;
            ensure!(told.contains(&format!("note: route {route}")) || route.is_empty(), "{told}");
            web.delete()
        })
    })
}

/// A range that overlaps an address, a neighbour or a narrower route of the host is refused, and the error names the
/// route.
#[test]
fn a_range_of_the_host_is_refused() -> Result<()> {
    let subnet = "echo 'subnet = \"10.90.0.0/16\"' >/etc/ocinet/config.toml";
    let rows = [
        ("ip address add 10.90.1.1/32 dev stranger0", "10.90.1.1/32"),
        ("ip route add 10.90.7.0/24 dev uplink", "10.90.7.0/24"),
        ("ip address add 10.1.1.1/8 dev stranger0; ip link set stranger0 up", "10.0.0.0/8"),
    ];
    every(rows, |(prepare, route)| {
        Settings::default().prepare(&format!("{prepare}; {subnet}")).test(|host| {
            let refusal = host.container("web").refused()?;
            refusal.is_refusal()?.exits(2)?.says(&["subnet", "10.90.0.0/16", route]).map(drop)
        })
    })
}
