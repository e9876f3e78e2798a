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
}

/// Compares what `explain` says of a packet from `name` to `to` with a packet that is sent at `from`, and that `server`
/// would answer. Returns whether it arrived.
fn compare(host: &Host, (name, from): (&str, &Place), proto: Proto, to: &str, server: &str) -> Result<bool> {
    let line = format!("{OCINET} explain --json {name} '{to}/{}' || test $? = 6", proto.name());
    let told: Value = host.json(&line)?;
    let arrives = match told["verdict"].as_str().context("a verdict")? {
        "arrives" => true,
        "dropped" | "no way" => false,
        other => anyhow::bail!("{other}"),
    };
    let receiver = match server {
        "service" => "host",
        "world" => "lan",
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

/// A server on a network of each kind, with the port of the host that leads to it.
fn servers(host: &Host) -> Result<Vec<(&'static str, Container<'_>, u16)>> {
    let run = |(id, network, publish, port): (&'static str, &str, &str, u16)| {
        let server = host.container(id).network(network).serving(&["80", "81"]).publish(publish).run()?;
        Ok((id, server, port))
    };
    let rows = [
        ("plain", "bridge", "8000:80", 8000),
        ("web", "own", "8001:80,8001:80/udp", 8001),
        ("closed", "inside", "8002:80", 8002),
        ("one", "apart", "8003:80", 8003),
        ("open", "routed", "80", 80),
        ("bare", "bare", "8005:80", 8005),
    ];
    rows.into_iter().map(run).collect()
}

/// Every server at its addresses and at its published port, and what is published nowhere. The LAN gets a route to each.
fn targets(peer: &Place, servers: &[(&'static str, Container<'_>, u16)]) -> Result<Vec<Target>> {
    let mut targets = vec![
        (Proto::Tcp, format!("{UPLINK}:7000"), "service"),
        (Proto::Tcp, "10.64.2.1:7000".to_owned(), "service"),
        (Proto::Tcp, format!("[{UPLINK6}]:8001"), "web"),
        (Proto::Tcp, "127.0.0.1:8001".to_owned(), "web"),
        (Proto::Tcp, "[::1]:8001".to_owned(), "web"),
        (Proto::Udp, format!("{UPLINK}:8001"), "web"),
        (Proto::Tcp, "10.64.4.2:81".to_owned(), "open"),
    ];
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
    let servers = servers(host)?;
    let clients = [("both", "own;inside"), ("two", "apart"), ("second", "bare"), ("keeper", "apart:guard=off")];
    let clients = clients.map(|(id, network)| host.container(id).network(network).run().map(|client| (id, client)));
    let clients: Vec<(&str, Container<'_>)> = clients.into_iter().collect::<Result<_>>()?;
    let targets = targets(&peer, &servers)?;
    // What is not masqueraded needs the LAN's answers.
    peer.sh(&format!("ip route replace 10.64.5.0/24 via {UPLINK}"))?;
    let outside = [(Proto::Tcp, format!("{PEER}:7000"), "world"), (Proto::Tcp, format!("[{PEER6}]:7000"), "world")];
    let mut senders: Vec<(&str, &Place)> = servers.iter().map(|(id, server, _)| (*id, &**server)).collect();
    senders.extend(clients.iter().map(|(id, client)| (*id, &**client)));
    senders.extend([("host", host.place()), ("lan", &peer)]);
    let of_sender = |sender: (&str, &Place)| {
        let rows = targets.iter().chain(outside.iter().filter(|_| sender.0 != "lan"));
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
        settings.prepare(&networks()).test(everywhere)
    })
}

/// What a person reads, the exit code, and parties by their names.
#[test]
fn a_way_in_words() -> Result<()> {
    Settings::default().prepare(&networks()).test(|host| {
        host.ocinet("explain web host")?.exits(5)?.is_one_line()?;
        ensure!(host.ocinet("explain lan host:22")?.success()?.contains("a process of the host"), "an unused host");
        let mut web = host.container("web").network("own").publish("8080:80").run()?;
        let db = host.container("db-0123").network("inside").annotation("io.ocinet.name", "db").run()?;
        let rows: [(&str, i32, &[&str]); 8] = [
            (
                "web db:5432",
                6,
                &["container web to container db, port 5432/tcp: is dropped", "=> forward: oifname @internal"],
            ),
            ("db-01 web:80", 6, &["has no way", "none of its networks leads out"]),
            (
                "web 192.0.2.1",
                0,
                &["arrives", "1. container web: 10.64.1.2 sends to 192.0.2.1 by eth0", "the sender becomes"],
            ),
            ("lan host:8080", 0, &["arrives", "leads to 10.64.1.2:80 of web"]),
            ("lan web:80", 6, &["is dropped", "guard:"]),
            ("own web:80", 0, &["a container of network own to container web, port 80/tcp: arrives"]),
            ("web 10.64.2.2:80", 6, &["container db at 10.64.2.2", "sends to 10.64.2.2"]),
            ("lan 192.0.2.1", 7, &["arrives where others let it pass"]),
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
            ("web db:x", 2, "65535"),
            ("web db:80/x", 2, "tcp, udp"),
        ] {
            host.ocinet(&format!("explain {line}"))?.exits(code)?.is_one_line()?.says(&[word])?;
        }
        // One that has ended is none that a packet reaches, or that sends one.
        web.kill()?;
        for line in ["db web:80", "web lan", "lan host:8080"] {
            let said = host.ocinet(&format!("explain {line}"))?.exits(6)?;
            ensure!(line == "db web:80" || said.stdout.contains("container web has ended"), "{line}: {said}");
        }
        // Its name may be another's by then.
        let again = host.container("again").annotation("io.ocinet.name", "web").publish("8081:80").run()?;
        host.ocinet("explain lan host:8081")?.exits(0)?;
        [web, db, again].into_iter().try_for_each(|container| container.delete())
    })
}
