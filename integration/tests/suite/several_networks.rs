//! Networks of one's own, and several in one container. Their definitions are written by hand.

mod engines;
mod hundred;
mod isolation;
mod ways_in;

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use ocinet_integration::{
    Container, Firewall, Host, OCINET, PEER, Place, Proto, Proto::Tcp, Proto::Udp, Runtime, Settings, UPLINK, every,
};

use crate::families::{self, Family};

/// A script that defines the network `name` with the bridge `ocn-N` and the range 10.64.N.0/24.
fn define(name: &str, n: u8, more: &str) -> String {
    families::define(name, n, more, Family::FIRST)
}

/// Eight networks, n1 to n8.
fn eight() -> String {
    (1..=8).map(|n| define(&format!("n{n}"), n, "")).collect()
}

/// The network's address of the host, and that of its container number `host`.
fn gateway(n: u8) -> String {
    format!("10.64.{n}.1")
}

fn address_on(container: &Container<'_>, network: &str) -> Result<String> {
    let sandbox = container.sandbox()?;
    let endpoint = sandbox.on(network).with_context(|| format!("no endpoint on {network} in {sandbox:#?}"))?;
    Ok(endpoint.addresses[0].split('/').next().unwrap_or_default().to_owned())
}

/// The default route.
fn route(container: &Place) -> Result<String> {
    Ok(container.sh("ip -4 route show default")?.replace("proto static", "").trim().to_owned())
}

/// One, two, three and eight networks: interfaces in their order, one default route, each network reached by its own
/// interface. Nothing but the networks themselves is left.
#[test]
fn a_container_joins_as_many_networks_as_it_names() -> Result<()> {
    for firewall in Firewall::ALL {
        Settings::default().runtime(Runtime::Runc).firewall(firewall).prepare(&eight()).test(|host| {
            let sibling = host.container("sibling").network("n1;n2;n3;n4;n5;n6;n7;n8").run()?;
            for count in [1, 2, 3, 8] {
                let names = (1..=count).map(|n| format!("n{n}")).collect::<Vec<_>>();
                let web = host.container("web").network(&names.join(";")).run()?;
                host.check()?;
                ensure!(route(&web)? == "default via 10.64.1.1 dev eth0", "{}", route(&web)?);
                let sandbox = web.sandbox()?;
                for (nth, (endpoint, name)) in sandbox.endpoints.iter().zip(&names).enumerate() {
                    ensure!(endpoint.interface == format!("eth{nth}") && endpoint.network == *name, "{endpoint:#?}");
                    web.reaches(Tcp, format!("{}:80", address_on(&sibling, name)?))?
                        .is("sibling")?
                        .seen_from(address_on(&web, name)?)?;
                }
                ensure!(sandbox.endpoints.len() == names.len(), "{sandbox:#?}");
                ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
                web.delete()?;
                ensure!(host.settled_sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
            }
            sibling.delete()
        })?;
    }
    Ok(())
}

/// The bridges of networks of one's own.
fn bridges(host: &Host) -> Result<Vec<String>> {
    let links = host.sh("ip -br link show type bridge")?;
    let names = links.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| name.starts_with("ocn-"));
    Ok(names.map(str::to_owned).collect())
}

/// What the doctor finds wrong.
fn doctor(host: &Host) -> Result<String> {
    let findings: Vec<serde_json::Value> = host.json(&format!("{OCINET} doctor --json || true"))?;
    Ok(findings.iter().filter(|finding| finding["kind"] != "note").fold(String::new(), |mut all, finding| {
        let _ = writeln!(all, "{finding}");
        all
    }))
}

/// Published ports lead to the endpoint with the default route, whichever network that is.
#[test]
fn published_ports_follow_the_default_route() -> Result<()> {
    let internal = define("inside", 9, "internal = true");
    let rows = [
        ("n1;n2", None, "default via 10.64.1.1 dev eth0", true),
        ("n1;n2:gw-priority=5", None, "default via 10.64.2.1 dev eth1", true),
        ("inside;n2", None, "default via 10.64.2.1 dev eth1", true),
        ("bridge;n1", None, "default via 10.90.0.1 dev eth0", true),
        (r#"[{"network":"n1","interface":"lan"},{"network":"n2"}]"#, None, "default via 10.64.1.1 dev lan", true),
        ("n1;n2", Some("n2"), "default via 10.64.1.1 dev eth0", false),
    ];
    for firewall in Firewall::ALL {
        Settings::default().runtime(Runtime::Runc).firewall(firewall).prepare(&(eight() + &internal)).test(|host| {
            every(rows, |(networks, via, default, sees_client)| {
                let draft = host.container("web").network(networks).publish("8080:80,8080:80/udp,127.0.0.1:8081:80");
                let web = match via {
                    Some(via) => draft.annotation("io.ocinet.publish-via", via),
                    None => draft,
                }
                .run()?;
                host.check()?;
                ensure!(route(&web)? == *default, "{}", route(&web)?);
                let client = if *sees_client { PEER.to_owned() } else { gateway(2) };
                for proto in Proto::ALL {
                    host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?.seen_from(&client)?;
                    host.reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
                }
                host.reaches(Tcp, "127.0.0.1:8081")?.is("web")?;
                ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
                web.delete()?;
                host.settles()
            })
        })?;
    }
    Ok(())
}

/// A namespace that another program has wired keeps its default route: what comes by a published port is answered by
/// the network's own link all the same.
#[test]
fn ports_work_where_the_default_route_is_anothers() -> Result<()> {
    const OTHER: &str = "
        ip netns add pod
        ip netns exec pod /mnt/bin/newborn
        ip link add other type veth peer name cni0 netns pod
        ip address add 192.0.2.1/30 dev other
        ip link set other up
        ip -netns pod link set lo up
        ip -netns pod address add 192.0.2.2/30 dev cni0
        ip -netns pod link set cni0 up
        ip -netns pod route add default via 192.0.2.1";
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(OTHER).prepare(&eight()).test(|host| {
            let web = host
                .container("web")
                .network("n1:interface=net0;n2")
                .in_namespace("/run/netns/pod")
                .publish("8080:80,8081:80,8080:80/udp")
                .run()?;
            ensure!(web.sandbox()?.endpoints[0].publishing.as_deref() == Some("masqueraded"), "{:#?}", web.sandbox()?);
            for proto in Proto::ALL {
                host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?.seen_from(gateway(1))?;
            }
            host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("web")?;
            ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
            web.delete()?;
            host.settles()
        })
    })
}

/// A definition that is changed while a container is on the network takes effect once the last has left.
#[test]
fn a_changed_definition_waits_for_the_last_container() -> Result<()> {
    const FILE: &str = "/etc/ocinet/networks/own.toml";
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(&define("own", 1, "")).test(|host| {
            let first = host.container("first").network("own").publish("8080:80").run()?;
            // The checker compares the file.
            host.sh(&format!("mv {FILE} {FILE}.saved; {}", define("own", 2, "internal = true")))?;
            let second = host.container("second").network("own").run()?;
            ensure!(address_on(&second, "own")? == "10.64.1.3", "{:#?}", second.sandbox()?);
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("first")?;
            let found = host.ocinet("doctor")?.success()?;
            ensure!(found.contains("takes effect when the last container has left"), "{found}");
            first.delete()?;
            second.delete()?;
            host.settles()?;
            let third = host.container("third").network("own").publish("8080:80").run()?;
            ensure!(address_on(&third, "own")? == "10.64.2.2" && route(&third)?.is_empty(), "{:#?}", third.sandbox()?);
            host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
            host.reaches(Tcp, "10.64.2.2:80")?.is("third")?;
            ensure!(bridges(host)? == ["ocn-2"], "{:?}", bridges(host)?);
            ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
            host.sh(&format!("mv {FILE}.saved {FILE}"))?;
            third.delete()
        })
    })
}

/// What is killed with three networks leaves three links, which gc deletes; so does an attach that fails at its last
/// network leave nothing.
#[test]
fn the_dead_leave_nothing_on_any_network() -> Result<()> {
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(&eight()).test(|host| {
            host.container("web").network("n1;bridge;n3").publish("8080:80").run()?.abandon()?;
            ensure!(host.sandboxes()?.len() == 1);
            host.ocinet("gc")?.success()?;
            host.settles()?;
            host.check()?;
            let taken = host.container("taken").network("n3:ip=10.64.3.9").run()?;
            let refusal = host.container("web").network("n1;n2;n3:ip=10.64.3.9").publish("8080:80").refused()?;
            refusal.says(&["10.64.3.9", "taken"])?;
            let refusal = host.container("web").network("n1;n2;n3:interface=lo").refused();
            ensure!(refusal.is_ok_and(|refusal| refusal.code != 0), "lo is a name");
            ensure!(host.settled_sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
            host.check()?;
            taken.delete()
        })
    })
}

/// The store is lost: the endpoints, the default route and the ports are found where they were, and the options of the
/// networks in their files.
#[test]
fn a_lost_store_is_rebuilt_with_its_networks() -> Result<()> {
    let networks = eight() + &define("inside", 9, "internal = true");
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(&networks).test(|host| {
            let web = host.container("web").network("inside;n1;n2:gw-priority=1").publish("8080:80").run()?;
            let db = host.container("db").network("n1;n2").publish("8081:80").annotation("io.ocinet.publish-via", "n2");
            let db = db.run()?;
            let before = host.sandboxes()?;
            host.sh("rm /run/ocinet/store-*")?;
            let next = host.container("next").network("n1").run()?;
            for (mut sandbox, found) in before.into_iter().zip([web.sandbox()?, db.sandbox()?]) {
                sandbox.bundle.clear();
                ensure!(sandbox == found, "{sandbox:#?}\nbecame\n{found:#?}");
            }
            host.check()?;
            host.peer().reaches(Udp, format!("{UPLINK}:8080")).err().context("only TCP is published")?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("db")?.seen_from(gateway(2))?;
            ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
            web.delete()?;
            db.delete()?;
            next.delete()
        })
    })
}

/// What a definition says of senders, routes and interfaces holds in its containers.
#[test]
fn options_of_a_network_hold_in_its_containers() -> Result<()> {
    const FILE: &str = "/etc/ocinet/networks/own.toml";
    let options = "masquerade = \"198.51.100.7\"
interface_prefix = \"lan\"
[[route]]
to = \"192.0.2.0/24\"
via = \"10.64.1.9\"
metric = 50";
    let networks = define("own", 1, options) + "ip address add 198.51.100.7/24 dev uplink\n";
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(&networks).test(|host| {
            let _world = host.peer().serve("world", &["7000"])?;
            let web = host.container("web").network("own;bridge").run()?;
            let names: Vec<_> = web.sandbox()?.endpoints.iter().map(|endpoint| endpoint.interface.clone()).collect();
            ensure!(names == ["lan0", "eth0"], "{names:?}");
            for proto in Proto::ALL {
                web.reaches(proto, format!("{PEER}:7000"))?.is("world")?.seen_from("198.51.100.7")?;
            }
            let route = web.sh("ip route show 192.0.2.0/24")?;
            ensure!(route.starts_with("192.0.2.0/24 via 10.64.1.9 dev lan0") && route.contains("metric 50"), "{route}");
            let other = host.container("other").run()?;
            other.reaches(Tcp, format!("{PEER}:7000"))?.is("world")?.seen_from(UPLINK)?;
            ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
            web.delete()?;
            host.sh(&format!("cp -p {FILE} /run/saved; {OCINET} network rm own; mv /run/saved {FILE}"))?;
            ensure!(bridges(host)?.is_empty(), "{:?}", bridges(host)?);
            host.check()?;
            ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
            other.delete()
        })
    })
}

/// Networks that cannot be.
#[test]
fn networks_that_are_refused() -> Result<()> {
    let networks = define("own", 1, "")
        + &define("same", 1, "")
        + &define("broken", 3, "intrenal = true")
        + "sed 's/ocn-1/ocn-7/; s,10.64.1.0/24,10.64.0.0/16,' /etc/ocinet/networks/own.toml >/etc/ocinet/networks/wide.toml\n";
    Settings::default().prepare(&networks).test(|host| {
        let own = host.container("own").network("own").run()?;
        let rows = [
            ("brigde", "did you mean bridge?"),
            ("owm;bridge", "did you mean own?"),
            ("frontend", "ocinet network create frontend"),
            ("broken", "intrenal"),
            ("bridge;wide", "overlaps 10.64.1.0/24 of network own"),
            ("same", "bridge ocn-1 is that of network own"),
            ("own;own", "twice"),
            ("host;own", "\"host\""),
            ("own:ip=10.90.0.5", "outside"),
        ];
        every(rows, |(networks, word)| {
            let refusal = host.container("web").network(networks).refused()?;
            refusal.is_one_line()?.says(&[word])?;
            ensure!(host.settled_sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
            Ok(())
        })?;
        host.check()?;
        own.delete()
    })
}

/// With runc and with crun, the servers of its networks are asked for a container that names none.
#[test]
fn containers_ask_the_name_servers_of_their_networks() -> Result<()> {
    let networks = define("a", 1, "dns = [\"192.0.2.53\"]") + &define("b", 2, "dns = [\"192.0.2.54\"]");
    every([Runtime::Runc, Runtime::Crun], |runtime| {
        Settings::default().runtime(*runtime).prepare(&networks).test(|host| {
            let peer = host.peer();
            peer.sh("for n in 53 99; do ip address add 192.0.2.$n/32 dev lo; done")?;
            let _servers =
                [peer.name_server("192.0.2.53", "203.0.113.53")?, peer.name_server("192.0.2.99", "203.0.113.99")?];
            for (name, dns, answer) in [("one", "", "203.0.113.53"), ("two", "192.0.2.99", "203.0.113.99")] {
                let web = host.container(name).network("a;b");
                let web = if dns.is_empty() { web } else { web.annotation("io.ocinet.dns", dns) };
                let web = web.run()?;
                let text = web.exec(&["cat", "/etc/resolv.conf"])?;
                let found: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("nameserver ")).collect();
                ensure!(found == ["169.254.53.53"], "{text}");
                let found = web.exec(&["/bin/busybox", "nslookup", "www.example.com."])?;
                ensure!(found.contains(&format!("Address: {answer}\n")), "{found}");
                web.delete()?;
            }
            Ok(())
        })
    })
}

/// Who is on a network is named; without containers it goes with its bridge and its file.
#[test]
fn a_network_in_use_is_not_removed() -> Result<()> {
    Settings::default().prepare("mkdir /etc/ocinet/networks").test(|host| {
        host.ocinet("network create own")?.success()?;
        let bridge = host.sh("sed -n 's/^bridge = \"\\(.*\\)\"/\\1/p' /etc/ocinet/networks/own.toml")?;
        let web = host.container("web").network("own").run()?;
        let refusal = host.unchanged_by(|| host.ocinet("network rm own"))?;
        ensure!(refusal.code != 0 && refusal.stderr.contains("web"), "{refusal}");
        ensure!(host.sh(&format!("ip link show {}", bridge.trim()))?.contains("UP"), "the bridge is there");
        web.delete()?;
        host.settles()?;
        host.ocinet("network rm own")?.success()?;
        host.sh(&format!("! ip link show {} 2>/dev/null; [ ! -e /etc/ocinet/networks/own.toml ]", bridge.trim()))
            .map(drop)
    })
}
