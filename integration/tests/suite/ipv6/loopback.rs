//! Published ports at ::1 of the host.

use anyhow::{Context, Result, ensure};
use ocinet_integration::counter::{count, has_counted};
use ocinet_integration::{Firewall, Host, Proto, Proto::Tcp, eventually};

use super::{PEER6, UPLINK6, doctor, every, refused, settings};

/// The host reaches them, those of ::1 alone and those of every address. A move to another network takes them along.
#[test]
fn the_host_reaches_published_ports_at_its_loopback() -> Result<()> {
    every([true, false], |bridge_nf| {
        settings().bridge_nf(*bridge_nf).test(|host| {
            let publish =
                "8080:80,8080:80/udp,[::1]:8081-8082:81-82,[::1]:8081:81/udp,127.0.0.1:8083:80,[::1]:8084:84/udp";
            let web = host.container("web").network("dual").publish(publish).serving(&["80", "81", "82"]).run()?;
            host.check()?;
            ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
            let reaches = |gateway: &str| -> Result<()> {
                for (proto, port) in [(Tcp, 8080), (Proto::Udp, 8080), (Tcp, 8081), (Tcp, 8082), (Proto::Udp, 8081)] {
                    host.reaches(proto, format!("[::1]:{port}"))?.is("web")?.seen_from(gateway)?;
                }
                host.peer().reaches(Tcp, format!("[{UPLINK6}]:8080"))?.is("web")?.seen_from(PEER6)?;
                host.peer().cannot_reach(Tcp, format!("[{UPLINK6}]:8081"))?;
                // No program of the container is there, and the first error comes back: the kernel limits their rate.
                let closed = host.output(&["/mnt/bin/probe", "ask", "udp", "[::1]:8084", "0"])?;
                ensure!(closed.stderr.contains("refused"), "{closed}");
                host.cannot_reach(Tcp, "[::1]:8083")
            };
            reaches("fd00:7::1")?;
            // The container answers one that is gone, and is told so.
            count(&web, "input", "tcp flags & rst == rst")?;
            host.output(&["bash", "-c", "exec 3<>/dev/tcp/::1/8080"])?.success()?;
            eventually("a reset by the host", || has_counted(&web))?;
            web.sh("nft delete table inet watch")?;
            let shown = host.ocinet("port web")?.success()?;
            ensure!(shown.contains("81/tcp -> [::1]:8081\n") && shown.contains("81/udp -> [::1]:8081\n"), "{shown}");
            host.ocinet("network connect six web")?.success()?;
            host.ocinet("network disconnect dual web")?.success()?;
            host.check()?;
            reaches("fd00:8::1")?;
            web.delete()?;
            host.cannot_reach(Tcp, "[::1]:8081")
        })
    })
}

/// Where iptables keeps the rules, and where a container has no IPv6.
#[test]
fn where_no_port_can_be_published_at_the_loopback() -> Result<()> {
    every([Firewall::IptablesNft, Firewall::IptablesLegacy], |firewall| {
        settings().firewall(*firewall).test(|host| {
            refused(host, "dual", "[::1]:8080:80", "iptables cannot lead [::1] of the host to a container")?;
            host.container("web").network("dual").publish("127.0.0.1:8080:80,[::]:8081:81").run()?.delete()
        })
    })?;
    settings().test(|host| refused(host, "plain", "[::1]:8080:80", "is an address of IPv6, and the network"))
}

/// A listener and another container hold a port of ::1, and one of 127.0.0.1 is another.
#[test]
fn conflicts_at_the_loopback() -> Result<()> {
    settings().test(|host| {
        let refused = |publish: &str, why: &str| -> Result<()> {
            let refused = host.container("other").network("dual").publish(publish).refused()?;
            ensure!(refused.stderr.contains(why), "{publish}: {refused}");
            Ok(())
        };
        for listener in ["[::1]:8080", "[::]:8080"] {
            let _listener = host.listen(Tcp, listener)?;
            refused("[::1]:8080:80", "[::1]:8080/tcp is in use by a process of this host")?;
            refused("[::]:8080:80", "[::]:8080/tcp is in use by a process of this host")?;
            host.container("other").network("dual").publish("[::1]:8080:80/udp,[::1]:8081:80").run()?.delete()?;
        }
        let _listener = host.listen(Tcp, "127.0.0.1:8090")?;
        let web = host.container("web").network("dual").publish("[::1]:8080:80,[::1]:8090:80").run()?;
        refused("[::1]:8080:80", "web")?;
        refused("8080:80", "web")?;
        let other = host.container("other").network("dual").publish("127.0.0.1:8080:80").run()?;
        host.reaches(Tcp, "[::1]:8080")?.is("web")?;
        host.reaches(Tcp, "127.0.0.1:8080")?.is("other")?;
        other.delete()?;
        web.delete()
    })
}

/// A program of the host that asks another at ::1 from a published port gets its answer.
#[test]
fn a_client_of_the_host_may_have_a_published_port() -> Result<()> {
    settings().test(|host| {
        let _service = host.serve("service", &["7000", "7001"])?;
        every(Proto::ALL, |proto| {
            let _standing = host.hold(*proto, "[::1]:7000", 8080)?;
            let web =
                host.container("web").network("dual").publish(&format!("8080-8081:80-81/{}", proto.name())).run()?;
            let _client = host.hold(*proto, "[::1]:7001", 8081)?;
            host.reaches(*proto, "[::1]:8080")?.is("web")?;
            web.delete()
        })
    })
}

/// The stand-in for ::1 on the bridge of `dual`.
fn stand_in(host: &Host) -> Result<String> {
    let shown = host.sh("ip -6 -oneline address show dev ocn-7 deprecated")?;
    let address = shown.split_whitespace().find_map(|word| word.strip_suffix("/128"));
    Ok(address.context(shown.clone())?.to_owned())
}

/// Whatever is lost is told by the doctor, and comes back: rules by a collection, an address of the bridge as others do.
#[test]
fn what_is_lost_comes_back() -> Result<()> {
    settings().test(|host| {
        let web = host.container("web").network("dual").publish("8080:80,[::1]:8081:80").run()?;
        let reaches =
            || [8080, 8081].iter().try_for_each(|port| host.reaches(Tcp, format!("[::1]:{port}"))?.is("web").map(drop));
        reaches()?;
        let stand_in = stand_in(host)?;
        for (port, damage, told, remedy) in [
            (Some(8080), "nft delete element inet ocinet loopback6 '{ tcp . 8080 }'".to_owned(), "rules", "gc"),
            (Some(8081), "nft delete element inet ocinet publish6_loopback '{ tcp . 8081 }'".to_owned(), "rules", "gc"),
            (Some(8080), "nft flush set inet ocinet stand_ins6".to_owned(), "rules", "gc"),
            (Some(8080), "nft flush chain inet ocinet loopback_in".to_owned(), "rules", "gc"),
            (Some(8080), "nft delete chain inet ocinet loopback_out".to_owned(), "rules", "gc"),
            (Some(8081), format!("ip address delete {stand_in}/128 dev ocn-7"), "has lost its address", "doctor --fix"),
            (
                None,
                "ip -6 route delete local ::1 dev ocn-7 table local".to_owned(),
                "has lost its route",
                "doctor --fix",
            ),
        ] {
            host.sh(&damage)?;
            if let Some(port) = port {
                host.cannot_reach(Tcp, format!("[::1]:{port}")).context(damage.clone())?;
            }
            ensure!(doctor(host)?.contains(told), "{damage}: {}", doctor(host)?);
            host.ocinet(remedy)?.success()?;
            reaches().context(damage)?;
            ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
        }
        // Without IPv6 on the bridge, which the next attach gives back to it.
        host.sh("ip link set ocn-7 mtu 1200")?;
        host.container("next").network("dual").run()?.delete()?;
        ensure!(host.sh("ip -6 address show dev ocn-7")?.contains(&stand_in), "with its IPv6");
        host.ocinet("doctor --fix")?.success()?;
        reaches()?;
        web.delete()
    })
}

/// Makes sure that `attempt` fails with our rules and succeeds once `without` was run, and puts the rules back.
fn duel(host: &Host, what: &str, without: &str, mut attempt: impl FnMut() -> Result<bool>) -> Result<()> {
    ensure!(!attempt()?, "{what}: it succeeds");
    host.sh(without)?;
    let mut succeeds = false;
    for _ in 0..20 {
        succeeds = succeeds || attempt()?;
    }
    ensure!(succeeds, "{what}: it fails without rules, too");
    host.ocinet("doctor --fix")?.success().map(drop)
}

/// A LAN host and a sibling reach no port that is published on ::1, and nothing of the host at a stand-in's address. A
/// packet that they send from that address reaches no container.
#[test]
fn the_loopback_is_the_hosts_alone() -> Result<()> {
    settings().test(|host| {
        let web = host.container("web").network("dual").publish("[::1]:8081:80,[::1]:8081:80/udp,8080:80/udp").run()?;
        let sibling = host.container("sibling").network("dual").run()?;
        let (peer, stand_in) = (host.peer(), stand_in(host)?);
        let _service = host.serve("service", &["9999"])?;
        for (attacker, gateway) in [(&peer, UPLINK6), (&*sibling, "fd00:7::1")] {
            let to = |address: &str| {
                format!("ip -6 address delete ::1/128 dev lo || true; ip -6 route replace {address}/128 via {gateway}")
            };
            attacker.sh(&to("::1"))?;
            attacker.sh(&to(&stand_in))?;
            for proto in Proto::ALL {
                host.reaches(proto, "[::1]:8081")?.is("web")?;
                attacker.cannot_reach(proto, "[::1]:8081")?;
                attacker.cannot_reach(proto, format!("[{stand_in}]:8081"))?;
                attacker.reaches(proto, format!("[{gateway}]:9999"))?.is("service")?;
            }
            let open = "nft flush chain inet ocinet loopback_in; nft flush chain inet ocinet guard";
            duel(host, "a service by a stand-in", open, || {
                attacker.hears(Tcp, format!("[{stand_in}]:9999"), "service")
            })?;
        }
        // The answer of the container goes to the stand-in, and its connection was none of the host's.
        peer.sh(&format!(
            "ip -6 route delete {stand_in}/128; ip address add {stand_in}/128 dev lo nodad
             ip -6 route replace {UPLINK6}/128 src {stand_in} dev eth0"
        ))?;
        count(host, "input", &format!("ip6 daddr {{ ::1, {stand_in} }} iifname != lo"))?;
        count(&web, "input", "udp dport 80")?;
        peer.cannot_reach(Proto::Udp, format!("[{UPLINK6}]:8080"))?;
        ensure!(!has_counted(&web)?, "a packet with a stand-in as its sender gets to the container");
        web.sh("nft delete table inet watch")?;
        let open = "nft flush chain inet ocinet loopback_in; nft flush chain inet ocinet guard";
        duel(host, "an answer to what the host did not ask", open, || {
            peer.hears(Proto::Udp, format!("[{UPLINK6}]:8080"), "web")?;
            has_counted(host)
        })?;
        host.reaches(Tcp, "[::1]:8081")?.is("web")?;
        ensure!(has_counted(host)?, "an answer that is one");
        host.sh("nft delete table inet watch")?;
        sibling.delete()?;
        web.delete()
    })
}
