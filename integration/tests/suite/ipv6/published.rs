//! Ports of the host that are published over both families.

use anyhow::{Result, ensure};
use ocinet_integration::{Proto, Proto::Tcp, UPLINK};

use super::{UPLINK6, with_every_firewall};

/// Each form of an address of the host, and what is in its way.
#[test]
fn ports_are_published_at_addresses_of_both_families() -> Result<()> {
    with_every_firewall(|host| {
        let peer = host.peer();
        let at = |publish: &str, reached: &[&str], closed: &[&str]| -> Result<()> {
            let web = host.container("web").network("dual").publish(publish).run()?;
            host.check()?;
            for proto in Proto::ALL.iter().filter(|proto| publish.contains("udp") || **proto == Tcp) {
                reached.iter().try_for_each(|to| peer.reaches(*proto, format!("{to}:8080"))?.is("web").map(drop))?;
            }
            closed.iter().try_for_each(|to| peer.cannot_reach(Tcp, format!("{to}:8080")))?;
            let shown = host.ocinet("port web")?.success()?;
            for to in reached.iter().filter(|_| !publish.starts_with("8080") && !publish.contains("]::")) {
                let any = if to.starts_with('[') { "[::]:8080" } else { "0.0.0.0:8080" };
                ensure!(shown.contains(&format!("{to}:8080")) || shown.contains(any), "{publish}: {shown}");
            }
            web.delete()
        };
        let (v4, v6) = (UPLINK, format!("[{UPLINK6}]"));
        at("8080:80,8080:80/udp", &[v4, &v6], &[])?;
        at("0.0.0.0:8080:80", &[v4], &[&v6])?;
        at("[::]:8080:80,[::]:8080:80/udp", &[&v6], &[v4])?;
        at(&format!("{v6}:8080:80"), &[&v6], &[v4])?;
        let web = host.container("web").network("dual").publish("0.0.0.0:8080:80,[::]:8080:81").run()?;
        let shown = host.ocinet("port web")?.success()?;
        ensure!(shown == "80/tcp -> 0.0.0.0:8080\n81/tcp -> [::]:8080\n", "{shown}");
        web.delete()
    })
}

/// As many as no program is told one by one (`firewall/iptables/alike.rs`).
#[test]
fn many_ports_come_and_go() -> Result<()> {
    with_every_firewall(|host| {
        let many = format!("9000-9299:9000-9299,[{UPLINK6}]:9300-9399:9300-9399,[::]:9400-9449:9400-9449/udp");
        let web = host.container("web").network("dual").publish(&many).serving(&["9000-9449"]).run()?;
        let other = host.container("other").network("dual").publish("8080:80").run()?;
        host.check()?;
        for (proto, port) in [(Tcp, 9000), (Tcp, 9299), (Tcp, 9399), (Proto::Udp, 9449)] {
            host.peer().reaches(proto, format!("[{UPLINK6}]:{port}"))?.is("web")?;
        }
        let inspected = host.ocinet("inspect other")?.success()?;
        ensure!(inspected.contains("0.0.0.0:8080->80/tcp") && inspected.contains("[::]:8080->80/tcp"), "{inspected}");
        web.delete()?;
        ensure!(host.settled_sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
        host.check()?;
        host.peer().cannot_reach(Tcp, format!("[{UPLINK6}]:9000"))?;
        host.peer().reaches(Tcp, format!("[{UPLINK6}]:8080"))?.is("other")?;
        other.delete()
    })
}

/// A listener of either family, and a container, are in the way of a port of their family.
#[test]
fn conflicts_are_named_across_families() -> Result<()> {
    with_every_firewall(|host| {
        let refused = |network: &str, publish: &str, why: &str| -> Result<()> {
            let refused = host.container("other").network(network).publish(publish).refused()?;
            ensure!(refused.stderr.contains(why), "{publish}: {refused}");
            Ok(())
        };
        let fits = |network: &str, publish: &str| -> Result<()> {
            host.container("other").network(network).publish(publish).run()?.delete()
        };
        // std::net binds :: for both families.
        let both = host.listen(Tcp, "[::]:8080")?;
        refused("dual", "8080:80", "8080/tcp is in use by a process")?;
        refused("dual", "0.0.0.0:8080:80", "0.0.0.0:8080/tcp is in use")?;
        refused("dual", &format!("[{UPLINK6}]:8080:80"), "is in use")?;
        refused("plain", "8080:80", "8080/tcp is in use by a process")?;
        drop(both);
        let v6 = host.listen(Tcp, &format!("[{UPLINK6}]:8080"))?;
        refused("dual", "8080:80", "[::]:8080/tcp is in use by a process of this host; 8081 is free")?;
        refused("dual", "[::]:8080:80", "[::]:8080/tcp is in use")?;
        fits("dual", "0.0.0.0:8080:80")?;
        fits("plain", "8080:80")?;
        drop(v6);
        let web = host.container("web").network("dual").publish("[::]:8080:80").run()?;
        refused("plain", "8080:80", "web")?;
        refused("dual", &format!("[{UPLINK6}]:8080:80"), "web")?;
        fits("plain", "0.0.0.0:8080:80")?;
        // No rule leads from one family to the other.
        refused("plain", "[::]:8081:80", "is an address of IPv6, and the network")?;
        refused("six", &format!("{UPLINK}:8081:80"), "is an address of IPv4, and the network")?;
        refused("dual", "[2001:db8:99::1]:8081:80", "is not one of this host's")?;
        web.delete()
    })
}
