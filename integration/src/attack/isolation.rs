//! Packets that must not pass: from a container to the host, from the LAN to a container, and through the host.

use anyhow::{Context, Result, ensure};

use super::guard::{Guard, duel};
use super::{Attack, Outcome};
use crate::counter::{count, has_counted};
use crate::{ASKING, GATEWAY, Host, PEER, Place, Proto, Proto::Tcp, UPLINK};

/// Two networks on either side of the host: the LAN peer, and `other`. Each sends to the other through the host.
const OTHER_LAN: &str = "
    ip netns add other
    ip netns exec other /mnt/bin/newborn
    sysctl -q net.ipv6.conf.default.disable_ipv6=1
    ip link add lan2 type veth peer name eth0 netns other
    ip address add 192.0.2.1/30 dev lan2
    ip link set lan2 up
    ip -netns other address add 192.0.2.2/30 dev eth0
    ip -netns other link set eth0 up
    ip -netns other route add default via 192.0.2.1
    ip -netns peer route add 192.0.2.0/30 via 198.51.100.1";

/// A host whose own rules drop what comes in, with the setting that they decide about published ports.
const CLOSED: &str = "
    echo 'published_ports = \"respect-host-firewall\"' >>/etc/ocinet/config.toml
    nft add table inet gate
    nft add chain inet gate input '{ type filter hook input priority filter; policy drop; }'
    nft add rule inet gate input iifname lo accept
    nft add rule inet gate input ct state established,related accept";

/// Switches off the check whether the answer to a packet would leave by the link that the packet came in by (RFC 3704).
const NO_REVERSE_PATH: &str = "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.uplink.rp_filter=0";

/// Loose check (RFC 3704): a source address is accepted on any link if some link leads to it. A container's bridge
/// does.
const LOOSE_REVERSE_PATH: &str = "sysctl -qw net.ipv4.conf.all.rp_filter=2";

/// Attacks by the LAN and by a container on the host, and on what is published.
pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        what: "a container sends to 127.0.0.1 of the host by its gateway",
        seen: "CVE-2020-8558",
        guard: "rule in guard; classifier at its link",
        prepare: "",
        story: loopback_through_the_gateway,
    },
    Attack {
        what: "the LAN sends to 127.0.0.1, where a port is published",
        seen: "moby#41872",
        guard: "condition of the published port's rule",
        prepare: "",
        story: loopback_from_the_lan,
    },
    Attack {
        what: "the LAN has a route to a port that is not published, or on 127.0.0.1 only",
        seen: "moby#14041, moby#45610, CVE-2025-54388",
        guard: "rule in guard",
        prepare: "",
        story: unpublished_by_a_route,
    },
    Attack {
        what: "the same, after other programs have loaded their rules anew",
        seen: "CVE-2025-54388, CVE-2025-54410",
        guard: "a table, or chains, of our own",
        prepare: "",
        story: unpublished_after_a_reload,
    },
    Attack {
        what: "the LAN has a route to a service at the gateway's address",
        seen: "moby#45610",
        guard: "rule in guard",
        prepare: "",
        story: gateway_by_a_route,
    },
    Attack {
        what: "the LAN sends to the host and to published ports under a container's address, without rp_filter",
        seen: "RFC 2827",
        guard: "rule in guard",
        prepare: NO_REVERSE_PATH,
        story: forged_container,
    },
    Attack {
        what: "the same, with the loose rp_filter",
        seen: "RFC 2827",
        guard: "rule in guard",
        prepare: LOOSE_REVERSE_PATH,
        story: forged_container,
    },
    Attack {
        what: "the LAN sends into a connection that the host has with a container, under the container's address",
        seen: "RFC 2827",
        guard: "rule in guard",
        prepare: NO_REVERSE_PATH,
        story: forged_answer,
    },
    Attack {
        what: "the LAN sends into a connection of two containers by a published port, under the server's address",
        seen: "RFC 2827",
        guard: "rule in guard",
        prepare: NO_REVERSE_PATH,
        story: forged_sibling,
    },
    Attack {
        what: "a packet outside the window of a published connection has the host reset it",
        seen: "kubernetes#74839",
        guard: "rule in guard",
        prepare: "",
        story: reset_by_the_host,
    },
    Attack {
        what: "a packet outside the window of a container's connection leaves under the container's own address",
        seen: "kubernetes#74839",
        guard: "rule in forward",
        prepare: "",
        story: untranslated_sender,
    },
    Attack {
        what: "strangers send to each other through the host, which did not forward before",
        seen: "moby#14041",
        guard: "last rule in forward",
        prepare: OTHER_LAN,
        story: open_router,
    },
    Attack {
        what: "a published port takes what is sent to that port of others",
        seen: "CVE-2025-67499",
        guard: "condition of the published port's rule",
        prepare: "",
        story: captured_destination,
    },
    Attack {
        what: "a published port takes what is sent to a resolver at 127.0.0.53",
        seen: "systemd-resolved",
        guard: "condition of the published port's rule",
        prepare: "",
        story: captured_resolver,
    },
    Attack {
        what: "the LAN sends to a published port that the host's own rules keep shut",
        seen: "moby#4737, moby#22054",
        guard: "published_ports = \"respect-host-firewall\"",
        prepare: CLOSED,
        story: past_the_hosts_rules,
    },
    Attack {
        what: "the LAN sends to 127.0.0.1, where a port is published, and the host's own rules are asked",
        seen: "moby#41872",
        guard: "condition of the published port's rule",
        prepare: ASKING,
        story: loopback_from_the_lan,
    },
    Attack {
        what: "a published port takes what is sent to that port of others, and the host's own rules are asked",
        seen: "CVE-2025-67499",
        guard: "condition of the published port's rule",
        prepare: ASKING,
        story: captured_destination,
    },
    Attack {
        what: "a published port takes what is sent to a resolver at 127.0.0.53, and the host's own rules are asked",
        seen: "systemd-resolved",
        guard: "condition of the published port's rule",
        prepare: ASKING,
        story: captured_resolver,
    },
];

/// Sends packets for 127.0.0.1 to `gateway`.
fn lead_loopback_to(place: &Place, gateway: &str) -> Result<()> {
    let script = format!(
        "sysctl -q net.ipv4.conf.eth0.route_localnet=1
         ip address del 127.0.0.1/8 dev lo
         ip route add 127.0.0.1 via {gateway}"
    );
    place.sh(&script).map(drop)
}

fn loopback_through_the_gateway(host: &Host) -> Result<Outcome> {
    let _secret = host.serve("secret", &["9999"])?;
    let attacker = host.container("attacker").run()?;
    lead_loopback_to(&attacker, GATEWAY)?;
    duel(host, &[Guard::Rules, Guard::Links], || attacker.hears(Tcp, "127.0.0.1:9999", "secret"))
}

fn loopback_from_the_lan(host: &Host) -> Result<Outcome> {
    let _web = host.container("web").publish("127.0.0.1:8081:80,127.0.0.1:8081:80/udp").run()?;
    let peer = host.peer();
    lead_loopback_to(&peer, UPLINK)?;
    duel(host, &[Guard::Destinations], || any(Proto::ALL, |proto| peer.hears(proto, "127.0.0.1:8081", "web")))
}

fn unpublished_by_a_route(host: &Host) -> Result<Outcome> {
    let web = host.container("web").publish("127.0.0.1:8081:80").serving(&["80", "81"]).run()?;
    let peer = host.peer();
    peer.sh(&format!("ip route add 10.90.0.0/16 via {UPLINK}"))?;
    duel(host, &[Guard::Rules], || {
        any([80, 81], |port| any(Proto::ALL, |proto| peer.hears(proto, web.at(port)?, "web")))
    })
}

/// What the restart of another program's firewall does to iptables rules. All such programs leave alone chains that are
/// not theirs.
const RELOAD_OF_CHAINS: &str = "
    for variant in legacy nft; do
        printf '*filter\\n:FORWARD ACCEPT\\n:OTHER -\\n-F OTHER\\n-A OTHER -j RETURN\\nCOMMIT\\n' | iptables-$variant-restore --noflush
        iptables-$variant -F OTHER
        iptables-$variant -X OTHER
    done";

/// What such a restart does where our rules are not in iptables. It flushes the tables of both variants; then the
/// program's own rules are restored.
const RELOAD: &str = "
    iptables-legacy-save --table filter >/mnt/before
    for program in iptables-legacy iptables-nft; do
        printf '*filter\\n:FORWARD ACCEPT\\nCOMMIT\\n' | $program-restore
    done
    nft list tables ip | sed 's/^/delete /' | nft -f -
    iptables-legacy-restore </mnt/before";

fn unpublished_after_a_reload(host: &Host) -> Result<Outcome> {
    let web = host.container("web").publish("127.0.0.1:8081:80").run()?;
    let peer = host.peer();
    peer.sh(&format!("ip route add 10.90.0.0/16 via {UPLINK}"))?;
    host.sh(if host.firewall().iptables().is_some() { RELOAD_OF_CHAINS } else { RELOAD })?;
    duel(host, &[Guard::Rules], || peer.hears(Tcp, web.at(80)?, "web"))
}

fn gateway_by_a_route(host: &Host) -> Result<Outcome> {
    let _service = host.serve("service", &["9999"])?;
    let _web = host.container("web").run()?;
    let peer = host.peer();
    peer.sh(&format!("ip route add 10.90.0.0/16 via {UPLINK}"))?;
    duel(host, &[Guard::Rules], || peer.hears(Tcp, format!("{GATEWAY}:9999"), "service"))
}

/// The peer sends to the host with the source address `address`.
fn forge(peer: &Place, address: impl ToString, towards: &str) -> Result<()> {
    let address = address.to_string();
    let script = format!(
        "ip address replace {address}/32 dev lo
         ip route replace {towards} via {UPLINK} src {address} onlink dev eth0"
    );
    peer.sh(&script).map(drop)
}

/// The answers go to the container whose address was forged, so the attack succeeds if the packet arrives.
fn forged_container(host: &Host) -> Result<Outcome> {
    let _service = host.serve("service", &["9999"])?;
    let _web = host.container("web").publish("8080:80,8080:80/udp").run()?;
    let victim = host.container("victim").run()?;
    let address = victim.sandbox()?.address().context("an address")?;
    count(host, "input", &format!("iifname uplink ip saddr {address}"))?;
    count(host, "postrouting", &format!("oifname ocinet0 ip saddr {address}"))?;
    let peer = host.peer();
    forge(&peer, address, UPLINK)?;
    let outcome = duel(host, &[Guard::Origins], || {
        for proto in Proto::ALL {
            for port in [9999, 8080] {
                peer.hears(proto, format!("{UPLINK}:{port}"), "service")?;
            }
        }
        has_counted(host)
    })?;
    host.sh("nft delete table inet watch")?;
    Ok(outcome)
}

fn forged_answer(host: &Host) -> Result<Outcome> {
    let web = host.container("web").run()?;
    let address = web.sandbox()?.address().context("an address")?;
    let mut client = host.keep_asking(&web.at(80)?, 5555)?;
    client.hears("web")?;
    count(host, "input", &format!("iifname uplink ip saddr {address} udp dport 5555"))?;
    answers_of_the_peer(host, address)
}

/// Both ends of such a connection are translated: the server answers to the gateway, which the LAN can also address.
fn forged_sibling(host: &Host) -> Result<Outcome> {
    let web = host.container("web").publish("8080:80/udp").run()?;
    let address = web.sandbox()?.address().context("an address")?;
    let sibling = host.container("sibling").run()?;
    let mut client = sibling.keep_asking(&format!("{UPLINK}:8080"), 5555)?;
    client.hears("web")?;
    count(host, "forward", "iifname uplink udp dport 5555")?;
    answers_of_the_peer(host, address)
}

/// The peer answers a client on port 5555 as the server at `address` does, by the gateway's address. The attack
/// succeeds if such a packet is counted.
fn answers_of_the_peer(host: &Host, address: impl ToString) -> Result<Outcome> {
    let peer = host.peer();
    forge(&peer, address, GATEWAY)?;
    let mut forger = peer.keep_asking(&format!("{GATEWAY}:5555"), 80)?;
    let outcome = duel(host, &[Guard::Origins], || {
        forger.hears("-")?;
        forger.hears("-")?;
        has_counted(host)
    })?;
    host.sh("nft delete table inet watch")?;
    Ok(outcome)
}

/// The attack comes from the LAN, and from a sibling container.
fn reset_by_the_host(host: &Host) -> Result<Outcome> {
    let _web = host.container("web").publish("8080:80,127.0.0.1:8081:80").run()?;
    let sibling = host.container("sibling").run()?;
    let clients = [host.peer(), (*sibling).clone()];
    for client in &clients {
        count(client, "input", &format!("ip saddr {UPLINK} tcp sport 8080 tcp flags & rst == rst"))?;
    }
    duel(host, &[Guard::Origins], || {
        any(&clients, |client| {
            ensure!(client.strays(&format!("{UPLINK}:8080"))?.name == "web", "the connection should stand");
            has_counted(client)
        })
    })
}

fn untranslated_sender(host: &Host) -> Result<Outcome> {
    let peer = host.peer();
    let _world = peer.serve("world", &["7000"])?;
    let web = host.container("web").run()?;
    count(&peer, "prerouting", "ip saddr 10.90.0.0/16")?;
    duel(host, &[Guard::Forwarding], || {
        web.strays(&format!("{PEER}:7000"))?;
        has_counted(&peer)
    })
}

fn open_router(host: &Host) -> Result<Outcome> {
    let other = host.beside("/run/netns/other");
    let _server = other.serve("other", &["7000"])?;
    let web = host.container("web").run()?;
    web.reaches(Tcp, "192.0.2.2:7000")?.is("other").context("forwarding is on")?;
    web.delete()?;
    let peer = host.peer();
    duel(host, &[Guard::Rules], || any(Proto::ALL, |proto| peer.hears(proto, "192.0.2.2:7000", "other")))
}

fn captured_destination(host: &Host) -> Result<Outcome> {
    let _world = host.peer().serve("world", &["8080"])?;
    let _web = host.container("web").publish("8080:80,8080:80/udp").run()?;
    let sibling = host.container("sibling").run()?;
    duel(host, &[Guard::Destinations], || {
        any([&*sibling, host.place()], |victim| {
            any(Proto::ALL, |proto| victim.hears(proto, format!("{PEER}:8080"), "web"))
        })
    })
}

/// While the resolver listens, ocinet refuses to publish its port. A resolver that starts later must still get the
/// packets for its own address.
fn captured_resolver(host: &Host) -> Result<Outcome> {
    let _dns = host.container("dns").publish("53:53/udp").serving(&["53"]).run()?;
    let _resolver = host.serve_at("resolver", "127.0.0.53:53")?;
    host.reaches(Proto::Udp, "127.0.0.53:53")?.is("resolver")?;
    duel(host, &[Guard::Destinations], || host.hears(Proto::Udp, "127.0.0.53:53", "dns"))
}

fn past_the_hosts_rules(host: &Host) -> Result<Outcome> {
    let _web = host.container("web").publish("8080:80,8080:80/udp").run()?;
    let peer = host.peer();
    duel(host, &[Guard::Destinations], || any(Proto::ALL, |proto| peer.hears(proto, format!("{UPLINK}:8080"), "web")))
}

/// Whether one of several attempts succeeds.
fn any<T>(ways: impl IntoIterator<Item = T>, mut attempt: impl FnMut(T) -> Result<bool>) -> Result<bool> {
    ways.into_iter().map(&mut attempt).find(|result| !matches!(result, Ok(false))).unwrap_or(Ok(false))
}
