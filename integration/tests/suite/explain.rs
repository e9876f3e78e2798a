//! `ocinet explain`: what it says of the way of a packet is what packets do. The table of cases without packets is in
//! `hook/src/decide/way/tests.rs`.

use std::net::{IpAddr, SocketAddr};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use ocinet_integration::{Container, Firewall, Host, OCINET, PEER, Place, Proto, Runtime, Settings, UPLINK, every};
use serde_json::Value;

use crate::families::{CABLE, PEER6, UPLINK6};

/// Networks beside the default one, each closed in another way.
fn networks() -> String {
    let define = |name: &str, n: u8, more: &str| {
        format!(
            "printf 'bridge = \"ocn-{n}\"\\n{more}\\n[[subnet]]\\nrange = \"10.64.{n}.0/24\"\\n' >/etc/ocinet/networks/{name}.toml\n"
        )
    };
    let of_ipv6 = "printf '[[subnet]]\\nrange = \"fd00:1::/64\"\\n' >>/etc/ocinet/networks/own.toml\n";
    CABLE.to_owned()
        + "mkdir -p /etc/ocinet/networks\n"
        + &define("own", 1, "")
        + of_ipv6
        + &define("inside", 2, "internal = true")
        + &define("apart", 3, "icc = false")
        + &define("routed", 4, "mode = \"routed\"")
        + &define("bare", 5, "masquerade = \"off\"")
        + &define("trusting", 6, "trusted_interfaces = [\"uplink\"]")
}

/// A second LAN behind the host, to which the first has a route.
const FAR_LAN: &str = "ip netns add far
    ip link add far0 type veth peer name eth0 netns far
    ip address add 192.168.50.1/24 dev far0; ip link set far0 up
    ip -netns far address add 192.168.50.2/24 dev eth0; ip -netns far link set eth0 up
    ip -netns far route add default via 192.168.50.1
    ip -netns peer route add 192.168.50.0/24 via 198.51.100.1
";

/// Compares what `explain` says of a packet from `name` to `to` with a packet that is sent at `from`, and that `server`
/// would answer. Returns whether it arrived.
fn compare(host: &Host, (name, from): (&str, &Place), proto: Proto, to: &str, server: &str) -> Result<bool> {
    let line = format!("{OCINET} explain --json {name} '{to}/{}' || test $? -ge 6", proto.name());
    let told: Value = host.json(&line)?;
    let arrives = match told["verdict"].as_str().context("a verdict")? {
        "arrives" => true,
        "dropped" | "no way" => false,
        // What comes from the LAN comes by the trusted link.
        "others decide" => told["rule"].as_str().is_some_and(|rule| rule.contains("by the trusted link uplink")),
        other => anyhow::bail!("{other}"),
    };
    let receiver = match server {
        "service" => "host",
        "world" | "far" => "lan",
        name => name,
    };
    let expected = arrives && told["receiver"] == receiver;
    let arrived = match expected {
        true => from.reaches(proto, to).and_then(|answer| answer.is(server)).is_ok(),
        false => from.hears(proto, to, server)?,
    };
    ensure!(arrived == expected, "{name} to {to}: arrived {arrived}, but\n{told:#}");
    Ok(arrived)
}

/// A protocol, an address and a port, and the server that answers there.
type Target = (Proto, String, &'static str);

/// A server on a network of each kind, with the port of the host that leads to it. The port 8001 of the host's loopback is
/// open at that of each, too.
fn servers(host: &Host) -> Result<Vec<(&'static str, Container<'_>, u16)>> {
    let run = |(id, network, publish, port): (&'static str, &str, &str, u16)| {
        let server = host.container(id).network(network).serving(&["80", "81", "8001"]).publish(publish).run()?;
        Ok((id, server, port))
    };
    let rows = [
        ("plain", "bridge", "8000:80", 8000),
        ("web", "own", "8001:80,8001:80/udp", 8001),
        ("closed", "inside", "8002:80", 8002),
        ("one", "apart", "8003:80", 8003),
        ("open", "routed", "80", 80),
        ("bare", "bare", "8005:80", 8005),
        ("friend", "trusting", "8006:80", 8006),
    ];
    rows.into_iter().map(run).collect()
}

/// Every server at its addresses and at its published port, what is published nowhere, and what stands for ::1. The LAN
/// gets a route to each.
fn targets(host: &Host, peer: &Place, servers: &[(&'static str, Container<'_>, u16)]) -> Result<Vec<Target>> {
    let mut targets = vec![
        (Proto::Tcp, format!("{UPLINK}:7000"), "service"),
        (Proto::Tcp, "10.64.2.1:7000".to_owned(), "service"),
        (Proto::Tcp, format!("[{UPLINK6}]:8001"), "web"),
        (Proto::Tcp, "127.0.0.1:8001".to_owned(), "web"),
        (Proto::Tcp, "[::1]:8001".to_owned(), "web"),
        (Proto::Udp, format!("{UPLINK}:8001"), "web"),
        (Proto::Tcp, "10.64.4.2:81".to_owned(), "open"),
        (Proto::Tcp, "10.64.6.2:81".to_owned(), "friend"),
        (Proto::Tcp, "10.64.6.1:8006".to_owned(), "friend"),
    ];
    for gateway in ["10.64.2.1", "10.64.6.1"] {
        peer.sh(&format!("ip route replace {gateway} via {UPLINK}"))?;
    }
    // Beside the gateway's and the link's own.
    let stand_ins =
        host.sh("ip -br -6 address show dev ocn-1 scope global | tr ' ' '\\n' | grep ^fd | grep -v ^fd00")?;
    for stand_in in stand_ins.lines().filter_map(|net| net.split('/').next()) {
        peer.sh(&format!("ip route replace {stand_in} via {UPLINK6}"))?;
        targets.push((Proto::Tcp, format!("[{stand_in}]:8001"), "web"));
    }
    for (id, server, port) in servers {
        for address in server.sandbox()?.endpoints.iter().flat_map(|endpoint| &endpoint.addresses) {
            let address: IpAddr = address.split('/').next().unwrap_or_default().parse()?;
            let via = if address.is_ipv6() { UPLINK6 } else { UPLINK };
            peer.sh(&format!("ip route replace {address} via {via}"))?;
            targets.push((Proto::Tcp, SocketAddr::new(address, 80).to_string(), *id));
        }
        targets.push((Proto::Tcp, format!("{UPLINK}:{port}"), *id));
    }
    Ok(targets)
}

/// Every sender to every target, each sender in a thread.
fn everywhere(host: &Host) -> Result<()> {
    let _service = host.serve("service", &["7000"])?;
    let peer = host.peer();
    let _world = peer.serve("world", &["7000"])?;
    let _far = host.beside("/run/netns/far").serve("far", &["7000"])?;
    let servers = servers(host)?;
    let clients = [("both", "own;inside"), ("two", "apart"), ("second", "bare"), ("keeper", "apart:guard=off")];
    let clients = clients.map(|(id, network)| host.container(id).network(network).run().map(|client| (id, client)));
    let clients: Vec<(&str, Container<'_>)> = clients.into_iter().collect::<Result<_>>()?;
    let targets = targets(host, &peer, &servers)?;
    // What is not masqueraded needs the LAN's answers.
    peer.sh(&format!("ip route replace 10.64.5.0/24 via {UPLINK}"))?;
    let world = |address: &str| (Proto::Tcp, format!("{address}:7000"), "world");
    let outside = [world(PEER), world(&format!("[{PEER6}]")), (Proto::Tcp, "192.168.50.2:7000".to_owned(), "far")];
    let mut senders: Vec<(&str, &Place)> = servers.iter().map(|(id, server, _)| (*id, &**server)).collect();
    senders.extend(clients.iter().map(|(id, client)| (*id, &**client)));
    senders.extend([("host", host.place()), ("lan", &peer)]);
    let of_sender = |sender: (&str, &Place)| {
        let is_other = |(_, _, server): &&Target| (sender.0, *server) != ("lan", "world");
        let rows = targets.iter().chain(outside.iter().filter(is_other));
        let mut came = Vec::new();
        every(rows, |(proto, to, server)| compare(host, sender, *proto, to, server).map(|arrived| came.push(arrived)))?;
        Ok(came)
    };
    let results: Vec<Result<Vec<bool>>> = thread::scope(|scope| {
        let of_sender = &of_sender;
        let threads: Vec<_> = senders.iter().map(|sender| scope.spawn(move || of_sender(*sender))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a sender panicked"))?).collect()
    });
    let came: Vec<bool> = results.into_iter().collect::<Result<Vec<_>>>()?.concat();
    let (all, arrived) = (came.len(), came.iter().filter(|came| **came).count());
    ensure!(all > 150 && arrived > all / 4 && arrived < all * 3 / 4, "{arrived} of {all}: nothing is compared");
    Ok(())
}

#[test]
fn the_verdict_is_what_packets_do() -> Result<()> {
    every([(Firewall::Nftables, true), (Firewall::IptablesNft, false)], |(firewall, bridge_nf)| {
        let settings = Settings::default().runtime(Runtime::Runc).firewall(*firewall).bridge_nf(*bridge_nf);
        settings.prepare(&(networks() + FAR_LAN)).test(everywhere)
    })
}

/// What a person reads, the exit code, and parties by their names.
#[test]
fn a_way_in_words() -> Result<()> {
    Settings::default().prepare(&networks()).test(|host| {
        host.ocinet("explain web host")?.exits(5)?.is_one_line()?;
        ensure!(host.ocinet("explain lan host:22")?.success()?.contains("a process of the host"), "an unused host");
        // There is a default network before its first container, and what config.toml says of the rules.
        host.ocinet("explain bridge lan")?.exits(0)?;
        host.sh("mkdir /mnt/none; printf 'firewall = \"none\"\n' >/mnt/none/config.toml")?;
        host.ocinet("--config-dir /mnt/none explain bridge lan")?.exits(7)?;
        let mut web = host.container("web").network("own").publish("8080:80,127.0.0.1:8082:80").run()?;
        let db = host.container("db-0123").network("inside").annotation("io.ocinet.name", "db").run()?;
        let rows: [(&str, i32, &[&str]); 10] = [
            (
                "web db:5432",
                6,
                &["container web to container db, port 5432/tcp: is dropped", "=> forward: oifname @internal"],
            ),
            ("db-01 web:80", 6, &["has no way", "none of its networks leads out"]),
            (
                "web 192.0.2.1",
                0,
                &["arrives", "1. container web: 10.64.1.2 sends to 192.0.2.1 by eth0", "the sender's address becomes"],
            ),
            ("lan host:8080", 0, &["arrives", "leads to 10.64.1.2:80 of web"]),
            ("lan web:80", 6, &["is dropped", "guard:"]),
            ("lan host:8082", 7, &["to the host at", "8082/tcp is published on 127.0.0.1 alone, by web"]),
            (
                "host host:8082",
                0,
                &["the host at 127.0.0.1", "at ::1, ", "it arrives where others let it pass: 8082/tcp"],
            ),
            ("own web:80", 0, &["a container of network own to container web, port 80/tcp: arrives"]),
            ("web 10.64.2.2:80", 6, &["container db at 10.64.2.2", "sends to 10.64.2.2"]),
            ("lan 192.0.2.1", 6, &["is dropped", "=> forward: meta nfproto @closed drop"]),
        ];
        every(rows, |(line, code, words)| {
            let said = host.unchanged_by(|| host.ocinet(&format!("explain {line}"))?.exits(*code))?;
            for word in *words {
                ensure!(said.stdout.contains(word), "{word} in {said}");
            }
            Ok(())
        })?;
        for (line, code, word) in [
            ("wbe host", 5, "web"),
            ("web hots:80", 5, "host"),
            ("web 224.0.0.1:80", 2, "224.0.0.1"),
            ("web fe80::1", 2, "fe80::1"),
            ("web db:x", 2, "65535"),
            ("web db:80/x", 2, "tcp, udp"),
        ] {
            host.ocinet(&format!("explain {line}"))?.exits(code)?.is_one_line()?.says(&[word])?;
        }
        // An address that a program could bind to is none of the host's by that.
        host.sh("sysctl -q net.ipv4.ip_nonlocal_bind=1")?;
        ensure!(
            host.ocinet("explain lan 10.64.2.2:80")?.exits(6)?.stdout.contains("guard:"),
            "an address of a container"
        );
        host.sh("sysctl -q net.ipv4.ip_nonlocal_bind=0")?;
        // What is wrong with a network or a link is said.
        host.sh("echo nonsense >/etc/ocinet/networks/broken.toml")?;
        let said = host.ocinet("explain lan host:8080")?.exits(0)?;
        ensure!(said.stderr.contains("broken.toml") && !said.stdout.contains("damaged"), "{said}");
        host.sh(&format!("rm /etc/ocinet/networks/broken.toml; ip link set {} down", web.host_interface()?))?;
        let said = host.ocinet("explain lan host:8080")?.exits(7)?;
        let first = "port 8080/tcp: arrives only once what is damaged is mended";
        let last = "web is damaged: see ocinet doctor\n";
        ensure!(said.stdout.lines().next().is_some_and(|line| line.ends_with(first)), "{said}");
        ensure!(said.stdout.ends_with(last), "{said}");
        // One that has ended is none that a packet reaches, or that sends one.
        web.kill()?;
        for line in ["db web:80", "web lan", "lan host:8080"] {
            let said = host.ocinet(&format!("explain {line}"))?.exits(6)?;
            ensure!(line == "db web:80" || said.stdout.contains("container web has ended"), "{line}: {said}");
        }
        // Its name may be another's by then.
        let again = host.container("again").annotation("io.ocinet.name", "web").publish("8081:80").run()?;
        host.ocinet("explain lan host:8081")?.exits(0)?;
        let said = host.ocinet("explain lan host:8080")?.exits(6)?;
        ensure!(said.stdout.contains("container web has ended"), "beside one of its name: {said}");
        [web, db, again].into_iter().try_for_each(|container| container.delete())
    })
}
