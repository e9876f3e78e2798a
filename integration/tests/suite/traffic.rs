//! Packets that must arrive: out of a container, and into it through a published port, from everywhere.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{
    GATEWAY, PEER, Proto, Proto::Tcp, Publish, UPLINK, in_every_world, on_every_runtime, with_every_firewall,
};

/// The container has the addresses of its sandbox, and the outside sees the host's address instead of its own.
#[test]
fn a_container_reaches_the_outside() -> Result<()> {
    in_every_world(|host| {
        let _server = host.peer().serve("world", &["7000"])?;
        let web = host.container("web").run()?;
        for proto in Proto::ALL {
            web.reaches(proto, format!("{PEER}:7000"))?.is("world")?.seen_from(UPLINK)?;
        }
        web.reaches(Tcp, "203.0.113.1:7000")?.is("world")?.seen_from(UPLINK)?;
        host.check()
    })
}

/// Programs in the container see the network too, not only test programs that enter its namespace.
#[test]
fn the_container_sees_its_network() -> Result<()> {
    on_every_runtime(|host| {
        let web = host.container("web").run()?;
        let address = web.sandbox()?.address().context("an address")?;
        let seen = web.exec(&["ip", "-o", "address", "show", "eth0"])?;
        ensure!(seen.contains(&format!("inet {address}/16 ")), "{seen}");
        let route = web.exec(&["ip", "route", "show", "default"])?;
        ensure!(route.starts_with(&format!("default via {GATEWAY} dev eth0")), "{route}");
        Ok(())
    })
}

/// Clients are the LAN, the host by each of its addresses, a sibling, and the container itself.
#[test]
fn a_published_port_is_reached_from_everywhere() -> Result<()> {
    in_every_world(|host| {
        let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
        let sibling = host.container("sibling").run()?;
        host.check()?;
        for proto in Proto::ALL {
            host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER)?;
            for address in [UPLINK, GATEWAY, "192.168.77.1", "127.0.0.1"] {
                host.reaches(proto, format!("{address}:8080"))?.is("web")?;
            }
            for client in [&sibling, &web] {
                for address in [UPLINK, GATEWAY] {
                    client.reaches(proto, format!("{address}:8080"))?.is("web")?;
                }
            }
        }
        Ok(())
    })
}

/// Containers on one network reach each other directly, and see each other's real address.
#[test]
fn siblings_talk_directly() -> Result<()> {
    in_every_world(|host| {
        let (web, sibling) = (host.container("web").run()?, host.container("sibling").run()?);
        let address = sibling.sandbox()?.address().context("an address")?;
        for proto in Proto::ALL {
            sibling.reaches(proto, web.at(80)?)?.is("web")?.seen_from(address)?;
        }
        Ok(())
    })
}

/// A real web server, and a real client.
#[test]
fn a_page_is_served_to_the_lan() -> Result<()> {
    on_every_runtime(|host| {
        let httpd = ["/bin/httpd", "-f", "-p", "80", "-h", "/www"];
        let _web = host.container("web").publish("8080:80").command(&httpd).run()?;
        let patience = "--retry 50 --retry-delay 0 --retry-max-time 5 --retry-connrefused --max-time 5";
        let page = host.peer().sh(&format!("curl --silent --fail {patience} http://{UPLINK}:8080/"))?;
        ensure!(page == "a page of the web server\n", "the page is {page:?}");
        Ok(())
    })
}

/// Each port of a range gets a port of the host, and `ocinet` chooses one where none is named.
#[test]
fn ranges_and_free_ports_lead_into_the_container() -> Result<()> {
    with_every_firewall(|host| {
        let web = host.container("web").publish("9000-9002:9100-9102,80").serving(&["80", "9100-9102"]).run()?;
        let sandbox = web.sandbox()?;
        let pairs: Vec<_> = sandbox.publish.iter().flat_map(Publish::pairs).collect();
        let (free, _) = *pairs.iter().find(|(_, inner)| *inner == 80).context("port 80")?;
        ensure!(pairs.len() == 4 && pairs.contains(&(9001, 9101)), "{sandbox:#?}");
        for port in [9000, 9001, 9002, free] {
            host.peer().reaches(Tcp, format!("{UPLINK}:{port}"))?.is("web")?;
        }
        let listing = host.ocinet("port web")?.success()?;
        ensure!(listing.contains(&free.to_string()) && listing.contains("9000"), "{listing}");
        host.check()
    })
}

/// A port published on one address is reached there, and nowhere else.
#[test]
fn a_single_address_publishes_there_only() -> Result<()> {
    with_every_firewall(|host| {
        let _web = host.container("web").publish("198.51.100.1:8080:80").run()?;
        host.peer().reaches(Tcp, "198.51.100.1:8080")?.is("web")?;
        host.reaches(Tcp, "198.51.100.1:8080")?.is("web")?;
        host.cannot_reach(Tcp, "127.0.0.1:8080")?;
        host.cannot_reach(Tcp, format!("{GATEWAY}:8080"))
    })
}

/// The kernel here may have no SCTP sockets, so only the rule is tested: the checker compares it with the store.
#[test]
fn sctp_has_its_rule() -> Result<()> {
    with_every_firewall(|host| {
        let _web = host.container("web").publish("8132:132/sctp").run()?;
        host.check()
    })
}
