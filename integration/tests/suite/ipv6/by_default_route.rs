//! Published ports of each family lead where the container has its default route of that family.

use anyhow::{Result, ensure};
use ocinet_integration::{Host, Proto, Proto::Tcp, UPLINK, every};

use super::{UPLINK6, define, planned, settings, with_every_firewall};

/// The IPv4 port and the IPv6 port of the host lead to the container called `web`, or do not.
fn is_reached(host: &Host, v4: bool, v6: bool) -> Result<()> {
    let peer = host.peer();
    for (at, leads) in [(UPLINK.to_owned(), v4), (format!("[{UPLINK6}]"), v6)] {
        every(Proto::ALL, |proto| match leads {
            true => peer.reaches(*proto, format!("{at}:8080"))?.is("web").map(drop),
            false => peer.cannot_reach(*proto, format!("{at}:8080")),
        })?;
    }
    Ok(())
}

const PORTS: &str = "8080:80,8080:80/udp";

/// By different networks for each family, from the attach on, by a connect and a disconnect, and in a rebuilt store.
#[test]
fn ports_lead_by_both_default_routes() -> Result<()> {
    with_every_firewall(|host| {
        for networks in ["plain;dual", "six;plain"] {
            let web = host.container("web").network(networks).publish(PORTS).run()?;
            is_reached(host, true, true)?;
            let shown = host.ocinet("port web")?.success()?;
            ensure!(shown.contains("0.0.0.0:8080") && shown.contains("[::]:8080"), "{shown}");
            host.check()?;
            let before = web.sandbox()?;
            host.sh("rm -f /run/ocinet/store*")?;
            host.ocinet("doctor --fix")?.success()?;
            let after = web.sandbox()?;
            ensure!(before.endpoints == after.endpoints && before.publish == after.publish, "{before:#?}\n{after:#?}");
            is_reached(host, true, true)?;
            web.delete()?;
        }
        let web = host.container("web").network("plain").publish(PORTS).run()?;
        is_reached(host, true, false)?;
        host.ocinet("network connect dual web")?.success()?;
        is_reached(host, true, true)?;
        host.check()?;
        host.ocinet("network disconnect plain web")?.success()?;
        is_reached(host, true, true)?;
        host.check()?;
        host.ocinet("network connect plain web")?.success()?;
        host.ocinet("network disconnect dual web")?.success()?;
        is_reached(host, true, false)?;
        host.check()?;
        web.delete()
    })
}

/// A network of IPv4 alone that joins, and takes the default route, takes no port of IPv6 away, whatever form it was
/// published in; and so it is after the next start.
#[test]
fn a_network_of_ipv4_that_joins_takes_no_port_of_ipv6() -> Result<()> {
    with_every_firewall(|host| {
        let publish = format!("[::]:8080:80,[::]:8080:80/udp,0.0.0.0:8080:80,0.0.0.0:8080:80/udp,[{UPLINK6}]:8081:80");
        let mut web = host.container("web").network("dual").publish(&publish).run()?;
        let holds = || -> Result<()> {
            is_reached(host, true, true)?;
            host.peer().reaches(Tcp, format!("[{UPLINK6}]:8081"))?.is("web")?;
            let shown = host.ocinet("port web")?.success()?;
            let all = ["[::]:8080", "0.0.0.0:8080", &format!("[{UPLINK6}]:8081")].map(|at| shown.contains(at));
            ensure!(all == [true; 3], "{shown}");
            host.check()
        };
        holds()?;
        host.ocinet("network connect plain web --gw-priority 1")?.success()?;
        let route = web.sh("ip -4 route show default")?;
        ensure!(route.contains("via 10.64.9.1"), "{route}");
        holds()?;
        for _ in 0..2 {
            web.restart()?;
            let route = web.sh("ip -4 route show default")?;
            ensure!(route.contains("via 10.64.9.1"), "{route}");
            holds()?;
        }
        host.ocinet("network disconnect plain web")?.success()?;
        holds()?;
        web.restart()?;
        holds()?;
        web.delete()
    })
}

/// A network that decides otherwise of published ports gets none, and that is said.
#[test]
fn what_one_family_has_not_is_said() -> Result<()> {
    let bound = define("bound", 6, "host_binding = \"127.0.0.1\"\n[[subnet]]\nrange = \"10.64.6.0/24\"");
    settings().prepare(&bound).test(|host| {
        let said = "do not lead to container web over IPv6: its default route of IPv6 is by network bound";
        let planned = planned(host, "plain;bound", "8080:80")?;
        ensure!(planned.stderr.contains(said), "{planned}");
        let web = host.container("web").network("plain;bound").publish("8080:80").run()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.peer().cannot_reach(Tcp, format!("[{UPLINK6}]:8080"))?;
        ensure!(host.sh("cat /run/ocinet/log")?.contains(said), "the attach says nothing");
        let port = host.ocinet("port web")?;
        ensure!(port.stderr.contains(said) && !port.stdout.contains("[::]"), "{port}");
        web.delete()?;
        let refused = host.container("web").network("plain;bound").publish("[::]:8080:80").refused()?;
        ensure!(refused.stderr.contains("is an address of IPv6, and the network"), "{refused}");
        Ok(())
    })
}

/// A container that comes to a network of both families takes no port of IPv6 from a process of the host.
#[test]
fn a_port_that_the_host_has_is_not_taken() -> Result<()> {
    settings().test(|host| {
        for connect in ["--gw-priority 1 dual", "six"] {
            let web = host.container("web").network("plain").publish("8080:80,8081:80").run()?;
            // It listens on both families, and IPv4 leads to the container all the same.
            let service = host.serve("host", &["8080"])?;
            let planned = host.ocinet(&format!("plan connect -v {connect} web"))?;
            let said = "published port 8080/tcp leads to container web over IPv4 alone";
            ensure!(planned.stderr.contains(said) && planned.stdout.contains(" . 8081"), "{planned}");
            let connected = host.ocinet(&format!("network connect {connect} web"))?;
            connected.success()?;
            ensure!(host.sh("cat /run/ocinet/log")?.contains(said), "nothing is said");
            let reached = |at: &str, name: &str| host.peer().reaches(Tcp, at)?.is(name).map(drop);
            reached(&format!("{UPLINK}:8080"), "web")?;
            reached(&format!("[{UPLINK6}]:8080"), "host")?;
            reached(&format!("[{UPLINK6}]:8081"), "web")?;
            host.check()?;
            let shown = host.ocinet("port web 80")?.success()?;
            ensure!(shown.contains("[::]:8081") && !shown.contains("[::]:8080"), "{shown}");
            // Its port of IPv6 is free for others.
            let other = host.container("other").network("dual").publish("[::]:8080:80").refused()?;
            ensure!(other.stderr.contains("[::]:8080/tcp is in use by a process"), "{other}");
            drop(service);
            host.container("other").network("dual").publish("[::]:8080:80").run()?.delete()?;
            web.delete()?;
        }
        Ok(())
    })?;
    let asked = "printf 'published_ports = \"respect-host-firewall\"\\n' >/etc/ocinet/config.toml\n";
    settings().prepare(asked).test(|host| {
        let web = host.container("web").network("plain").publish("8080:80").run()?;
        host.ocinet("network connect dual web --gw-priority 1")?.success()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        let shown = host.ocinet("port web")?.success()?;
        ensure!(!shown.contains("[::]"), "{shown}");
        host.check()?;
        web.delete()
    })
}

/// Ports that are published for IPv6 alone are dormant once the container has none, and that is said everywhere; with the
/// next network of IPv6 they are back.
#[test]
fn ports_of_a_family_that_is_left_are_dormant() -> Result<()> {
    settings().test(|host| {
        let web = host.container("web").network("dual").publish("[::1]:8610:80,[::]:8611:80,8612:80").run()?;
        host.ocinet("network connect plain web")?.success()?;
        let left = host.ocinet("network disconnect dual web")?;
        let said = "container web publishes [::1]:8610->80/tcp, [::]:8611->80/tcp, which lead nowhere (dormant)";
        ensure!(left.code == 0 && left.stderr.contains(said), "{left}");
        let dormant = |command: &str| -> Result<usize> {
            let shown = host.ocinet(command)?.success()?;
            let lines = shown.lines().flat_map(|line| line.split(", "));
            let lines: Vec<&str> = lines.filter(|line| line.contains("(dormant")).collect();
            ensure!(lines.iter().all(|line| line.contains(":8610") || line.contains(":8611")), "{shown}");
            Ok(lines.len())
        };
        for command in ["port web", "ps --no-trunc", "inspect web"] {
            ensure!(dormant(command)? == 2, "{command}");
        }
        let doctor = host.ocinet("doctor")?;
        ensure!(doctor.stdout.contains("[::1]:8610->80/tcp, [::]:8611->80/tcp, which lead nowhere"), "{doctor}");
        host.peer().reaches(Tcp, format!("{UPLINK}:8612"))?.is("web")?;
        host.check()?;
        host.ocinet("network connect dual web")?.success()?;
        ensure!(dormant("port web")? == 0, "they are back");
        host.reaches(Tcp, "[::1]:8610")?.is("web")?;
        host.peer().reaches(Tcp, format!("[{UPLINK6}]:8611"))?.is("web")?;
        web.delete()
    })
}
