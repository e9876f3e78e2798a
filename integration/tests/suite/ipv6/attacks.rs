//! Packets of IPv6 that must not pass, with each firewall: each attack fails, and succeeds once the rules against it are
//! flushed.

use anyhow::{Context, Result, ensure};
use ocinet_integration::counter::{count, has_counted};
use ocinet_integration::{Host, Proto, Proto::Tcp};

use super::{PEER6, UPLINK6, addresses, with_every_firewall};

/// The rules that are flushed.
#[derive(Clone, Copy)]
enum Guard {
    All,
    /// Those that test a packet first: its source, and whether its connection is known.
    Origins,
    /// Those for packets that are forwarded.
    Forwarding,
}

/// Makes sure that `attempt` fails with our rules and succeeds without `guard`, and puts that back.
fn duel(host: &Host, guard: Guard, what: &str, mut attempt: impl FnMut() -> Result<bool>) -> Result<()> {
    ensure!(!attempt()?, "{what}: it succeeds");
    let program = host.firewall().iptables().map(|program| program.replace("ip", "ip6"));
    match (guard, program) {
        (Guard::All, _) => host.disarm()?,
        (Guard::Origins, None) => drop(host.sh("nft flush chain inet ocinet guard")?),
        (Guard::Forwarding, None) => drop(host.sh("nft flush chain inet ocinet forward")?),
        (Guard::Origins, Some(program)) => drop(host.sh(&format!("{program} -t mangle -F OCINET-GUARD"))?),
        (Guard::Forwarding, Some(program)) => drop(host.sh(&format!("{program} -F OCINET-FORWARD"))?),
    }
    // On a busy machine an attack that should succeed can fail by chance.
    let mut succeeds = false;
    for _ in 0..20 {
        succeeds = succeeds || attempt()?;
    }
    ensure!(succeeds, "{what}: it fails without rules, too");
    host.ocinet("doctor --fix")?.success().map(drop)
}

fn address(container: &ocinet_integration::Container<'_>) -> Result<String> {
    let all = addresses(container, "dual")?;
    Ok(all.get(1).and_then(|net| net.split('/').next()).context("an address of IPv6")?.to_owned())
}

/// What the LAN can send to: an address of a container or of its gateway by a route, and one of the host's under a
/// container's address.
#[test]
fn the_lan_reaches_published_ports_alone() -> Result<()> {
    with_every_firewall(|host| {
        let web = host.container("web").network("dual").publish("8080:80").serving(&["80", "81"]).run()?;
        let _service = host.serve("service", &["9999"])?;
        let (peer, own) = (host.peer(), address(&web)?);
        peer.sh(&format!("ip route add fd00:7::/64 via {UPLINK6}"))?;
        for port in [80, 81] {
            duel(host, Guard::All, "a container's port by a route", || {
                peer.hears(Tcp, format!("[{own}]:{port}"), "web")
            })?;
        }
        duel(host, Guard::All, "the gateway's address by a route", || peer.hears(Tcp, "[fd00:7::1]:9999", "service"))?;
        // The answers go to the container, so the packet is counted where it arrives.
        peer.sh(&format!(
            "ip address add {own}/128 dev lo nodad
             ip route replace {UPLINK6}/128 src {own} dev eth0"
        ))?;
        count(host, "input", &format!("iifname uplink ip6 saddr {own} meta l4proto {{ tcp, udp }}"))?;
        duel(host, Guard::Origins, "a container's address as the sender", || {
            for proto in Proto::ALL {
                peer.hears(proto, format!("[{UPLINK6}]:9999"), "service")?;
            }
            has_counted(host)
        })?;
        host.sh("nft delete table inet watch")?;
        peer.sh(&format!("ip address delete {own}/128 dev lo; ip route delete {UPLINK6}/128"))?;
        peer.reaches(Tcp, format!("[{UPLINK6}]:8080"))?.is("web")?;
        web.delete()
    })
}

/// A packet outside the window of a published connection is not answered with a reset by the host, and one of a
/// container's own connection does not leave under the container's address.
#[test]
fn strays_are_neither_answered_nor_let_out() -> Result<()> {
    with_every_firewall(|host| {
        let web = host.container("web").network("dual").publish("8080:80").run()?;
        let sibling = host.container("sibling").network("dual").run()?;
        let peer = host.peer();
        for client in [&peer, &*sibling] {
            count(client, "input", &format!("ip6 saddr {UPLINK6} tcp sport 8080 tcp flags & rst == rst"))?;
            duel(host, Guard::Origins, "a reset by the host", || {
                ensure!(client.strays(&format!("[{UPLINK6}]:8080"))?.name == "web", "the connection should stand");
                has_counted(client)
            })?;
            client.sh("nft delete table inet watch")?;
        }
        let _world = peer.serve("world", &["7000"])?;
        count(&peer, "prerouting", "ip6 saddr fd00:7::/64 meta l4proto tcp")?;
        duel(host, Guard::Forwarding, "the container's own address outside", || {
            web.strays(&format!("[{PEER6}]:7000"))?;
            has_counted(&peer)
        })?;
        peer.sh("nft delete table inet watch")?;
        sibling.delete()?;
        web.delete()
    })
}

/// A published port is the host's alone: what a container or the host sends to that port of others goes there.
#[test]
fn what_is_for_others_goes_there() -> Result<()> {
    with_every_firewall(|host| {
        let _world = host.peer().serve("world", &["8080"])?;
        let web = host.container("web").network("dual").publish("8080:80,8080:80/udp").run()?;
        let sibling = host.container("sibling").network("dual").run()?;
        for proto in Proto::ALL {
            for client in [&*sibling, host.place()] {
                client.reaches(proto, format!("[{PEER6}]:8080"))?.is("world")?;
                client.reaches(proto, format!("[{UPLINK6}]:8080"))?.is("web")?;
            }
            // The host's ::1 is for itself: a service there is reached, and never from a container.
            let service = host.serve("service", &["8090"])?;
            host.reaches(proto, "[::1]:8090")?.is("service")?;
            sibling.sh("ip -6 address delete ::1/128 dev lo; ip -6 route add ::1/128 via fd00:7::1")?;
            sibling.cannot_reach(proto, "[::1]:8090")?;
            sibling.reaches(proto, "[fd00:7::1]:8090")?.is("service")?;
            sibling.sh("ip -6 route delete ::1/128 via fd00:7::1; ip -6 address add ::1/128 dev lo")?;
            drop(service);
        }
        sibling.delete()?;
        web.delete()
    })
}
