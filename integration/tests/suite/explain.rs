//! `ocinet explain`: what it says of the way of a packet is what packets do.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Container, Firewall, Host, OCINET, PEER, Place, Proto, Runtime, Settings, UPLINK, every};
use serde_json::Value;

const GATEWAY: &str = "10.90.0.1";

/// Four networks beside the default one, each closed in another way.
fn networks() -> String {
    let define = |name: &str, n: u8, more: &str| {
        format!(
            "printf 'bridge = \"ocn-{n}\"\\n{more}\\n[[subnet]]\\nrange = \"10.64.{n}.0/24\"\\n' >/etc/ocinet/networks/{name}.toml\n"
        )
    };
    "mkdir -p /etc/ocinet/networks\n".to_owned()
        + &define("own", 1, "")
        + &define("inside", 2, "internal = true")
        + &define("apart", 3, "icc = false")
        + &define("routed", 4, "mode = \"routed\"")
        + &define("open", 5, "masquerade = \"off\"")
        + &define("cell", 6, "internal = true\\nmode = \"isolated\"")
}

const NETWORKS: [&str; 7] = ["bridge", "own", "inside", "apart", "routed", "open", "cell"];

/// What `explain` says: whether a packet arrives at the server `name`, and all of it.
fn explained(host: &Host, from: &str, to: &str, name: &str) -> Result<(bool, Value)> {
    let told: Value = host.json(&format!("{OCINET} explain --json {from} '{to}'"))?;
    let arrives = match told["verdict"].as_str().context("a verdict")? {
        "arrives" => true,
        "dropped" | "no way" => false,
        other => anyhow::bail!("{other}"),
    };
    let receiver = match name {
        "service" | "hosts" => "host",
        "world" => "lan",
        name => name,
    };
    let arrives = arrives && told["receiver"] == receiver;
    ensure!(told["rule"].as_str().is_some_and(|rule| !rule.is_empty()), "{told:#}");
    Ok((arrives, told))
}

/// Someone who sends real packets.
struct Sender<'p> {
    name: String,
    place: &'p Place,
}

/// Compares the verdict about `to` with a packet to `address`, at which the server `name` would answer.
fn compare(host: &Host, sender: &Sender<'_>, to: &str, proto: Proto, address: &str, name: &str) -> Result<bool> {
    let (expected, told) = explained(host, &sender.name, &format!("{to}/{}", proto.name()), name)?;
    let arrived = if expected {
        sender.place.reaches(proto, address).and_then(|answer| answer.is(name)).is_ok()
    } else {
        sender.place.hears(proto, address, name)?
    };
    ensure!(arrived == expected, "{} to {to} ({address}): arrived {arrived}, but\n{told:#}", sender.name);
    Ok(arrived)
}

/// Every pair of containers, host and LAN: at the container's address, at its published port, at what is published
/// nowhere.
fn matrix(host: &Host) -> Result<()> {
    let _service = host.serve("service", &["7000"])?;
    let peer = host.peer();
    let _world = peer.serve("world", &["7000"])?;
    let mut servers: Vec<(String, Container<'_>, u16)> = Vec::new();
    let mut clients: Vec<(String, Container<'_>)> = Vec::new();
    for (nth, network) in (0_u16..).zip(NETWORKS) {
        let port = 8000 + nth;
        let publish = format!("{port}:80,{port}:80/udp");
        let server = host.container(&format!("{network}-server")).network(network).serving(&["80", "81"]);
        servers.push((format!("{network}-server"), server.publish(&publish).run()?, port));
        let client = format!("{network}-client");
        clients.push((client.clone(), host.container(&client).network(network).run()?));
    }
    // One that is on two of them, and one in the host's network.
    let both = host.container("both-server").network("own;routed").publish("8020:80,127.0.0.1:8021:80").run()?;
    clients.push(("both-client".into(), host.container("both-client").network("inside;apart").run()?));
    servers.push(("both-server".into(), both, 8020));
    let hosts = host.container("hosts").network("host").in_host_namespace().serving(&["7001"]).run()?;
    // The LAN knows the way to every container.
    for (_, server, _) in &servers {
        for address in server.sandbox()?.endpoints.iter().flat_map(|endpoint| endpoint.addresses.clone()) {
            let address = address.split('/').next().unwrap_or_default().to_owned();
            peer.sh(&format!("ip route replace {address}/32 via {UPLINK}"))?;
        }
    }
    let mut senders: Vec<Sender<'_>> =
        clients.iter().map(|(name, client)| Sender { name: name.clone(), place: client }).collect();
    senders.push(Sender { name: "host".into(), place: host });
    senders.push(Sender { name: "hosts".into(), place: host });
    senders.push(Sender { name: "lan".into(), place: &peer });
    let (mut arrived, mut all) = (0, 0);
    let mut count = |came: bool| {
        all += 1;
        arrived += usize::from(came);
    };
    for sender in &senders {
        for (name, server, port) in &servers {
            let is = |names: &[&str]| names.iter().any(|network| name.starts_with(network));
            for endpoint in &server.sandbox()?.endpoints {
                let address = endpoint.addresses[0].split('/').next().unwrap_or_default().to_owned();
                let at = |port: u16| format!("{address}:{port}");
                count(compare(host, sender, &at(80), Proto::Tcp, &at(80), name)?);
                if is(&["routed", "own"]) {
                    count(compare(host, sender, &at(80), Proto::Udp, &at(80), name)?);
                }
                if is(&["routed"]) {
                    count(compare(host, sender, &at(81), Proto::Tcp, &at(81), name)?);
                }
            }
            let at = |host: &str| format!("{host}:{port}");
            count(compare(host, sender, &at(UPLINK), Proto::Tcp, &at(UPLINK), name)?);
            if is(&["own", "inside"]) {
                count(compare(host, sender, &at(GATEWAY), Proto::Tcp, &at(GATEWAY), name)?);
                count(compare(host, sender, &at(UPLINK), Proto::Udp, &at(UPLINK), name)?);
            }
        }
        count(compare(host, sender, "127.0.0.1:8021", Proto::Tcp, "127.0.0.1:8021", "both-server")?);
        for at in [UPLINK, GATEWAY, "10.64.2.1"] {
            count(compare(host, sender, &format!("{at}:7000"), Proto::Tcp, &format!("{at}:7000"), "service")?);
        }
        count(compare(host, sender, &format!("{UPLINK}:7001"), Proto::Tcp, &format!("{UPLINK}:7001"), "hosts")?);
        if sender.name != "lan" {
            count(compare(host, sender, &format!("{PEER}:7000"), Proto::Tcp, &format!("{PEER}:7000"), "world")?);
        }
    }
    ensure!(all > 200 && arrived > all / 4 && arrived < all * 3 / 4, "{arrived} of {all} arrived: nothing is compared");
    hosts.delete()
}

#[test]
fn the_verdict_is_what_packets_do() -> Result<()> {
    every([(Firewall::Nftables, true), (Firewall::IptablesNft, false)], |(firewall, bridge_nf)| {
        let settings = Settings::default().runtime(Runtime::Runc).firewall(*firewall).bridge_nf(*bridge_nf);
        settings.prepare(&networks()).test(matrix)
    })
}

/// Parties by their names, in words: what a person reads.
#[test]
fn a_way_in_words() -> Result<()> {
    Settings::default().runtime(Runtime::Runc).prepare(&networks()).test(|host| {
        host.ocinet("explain web host")?.exits(5)?.is_one_line()?;
        let web = host.container("web").network("own").publish("8080:80").run()?;
        let db = host.container("db-0123").network("inside").annotation("io.ocinet.name", "db").run()?;
        let rows: [(&str, &[&str]); 10] = [
            ("web db:5432", &["container web to container db, port 5432/tcp: is dropped", "an internal network"]),
            ("db-01 web:80", &["has no way", "none of its networks leads out"]),
            (
                "web 192.0.2.1",
                &["arrives", "1. container web: 10.64.1.2 sends to 192.0.2.1 by eth0", "the sender becomes"],
            ),
            ("lan host:8080", &["arrives", "leads to 10.64.1.2:80 of web"]),
            ("lan host:9090", &["arrives", "a process of the host"]),
            ("lan web:80", &["is dropped", "guard:"]),
            ("own web:80", &["a container of network own to container web, port 80/tcp: arrives"]),
            ("open inside:80/udp", &["port 80/udp: is dropped", "internal"]),
            ("web 10.64.1.99:80", &["has no way", "no container has the address 10.64.1.99"]),
            ("web 127.0.0.1:80", &["has no way", "its own loopback"]),
        ];
        every(rows, |(line, words)| {
            let said = host.unchanged_by(|| host.ocinet(&format!("explain {line}")))?.success()?;
            for word in *words {
                ensure!(said.contains(word), "{word} in {said}");
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
        web.delete()?;
        db.delete()
    })
}
