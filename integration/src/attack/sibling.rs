//! A container that pretends to be another, or a router.

use anyhow::{Context, Result};

use super::guard::{Guard, duel};
use super::{Attack, Outcome};
use crate::traffic::PROBE;
use crate::{Container, GATEWAY, Host, PEER, Proto::Tcp, Proto::Udp, UPLINK};

/// Attacks on other containers of the same network.
pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        what: "a container has its sibling's address (ARP), and takes what others send there",
        seen: "whatever has CAP_NET_RAW",
        guard: "classifier at its link",
        prepare: "",
        story: stolen_address,
    },
    Attack {
        what: "a container has its sibling's MAC address, and takes what others send there",
        seen: "whatever has CAP_NET_RAW",
        guard: "classifier at its link; entry of the bridge",
        prepare: "",
        story: stolen_mac,
    },
    Attack {
        what: "a container sends into the LAN under somebody else's address",
        seen: "RFC 2827",
        guard: "classifier at its link",
        prepare: "",
        story: forged_source,
    },
    Attack {
        what: "a container sends to the bridge's own group address, past the host's rules for the bridge",
        seen: "IEEE 802.1D, table 7-10",
        guard: "classifier at its link; rule in guard",
        prepare: SHUT_TO_THE_BRIDGE,
        story: past_the_bridge,
    },
    Attack {
        what: "a container sends frames with a VLAN tag",
        seen: "IEEE 802.1Q",
        guard: "classifier at its link",
        prepare: "",
        story: tagged_frame,
    },
    Attack {
        what: "a container calls itself the router (RA), and the host believes it",
        seen: "CVE-2020-10749, CVE-2020-13401",
        guard: "classifier at its link; accept_ra and disable_ipv6 of the bridge",
        prepare: "",
        story: router_advertisement,
    },
    Attack {
        what: "an unguarded container calls itself the router (RA), and a sibling without IPv6 believes it",
        seen: "CVE-2020-10749",
        guard: "classifier at the sibling's link",
        prepare: "",
        story: router_advertisement_to_a_sibling,
    },
];

/// A host whose own rules drop what comes in from the bridge. With any rp_filter the kernel accepts no source on a link
/// without an address, and a bridge port has none (`__fib_validate_source`, net/ipv4/fib_frontend.c).
const SHUT_TO_THE_BRIDGE: &str = "
    sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
    nft add table inet gate
    nft add chain inet gate input '{ type filter hook input priority filter; policy accept; }'
    nft add rule inet gate input iifname ocinet0 drop";

/// The victim, a sibling, and the attacker, which runs its own server on the same port.
fn trio(host: &Host) -> Result<[Container<'_>; 3]> {
    Ok([host.container("victim").run()?, host.container("sibling").run()?, host.container("attacker").run()?])
}

fn stolen_address(host: &Host) -> Result<Outcome> {
    let [victim, sibling, attacker] = trio(host)?;
    let address = victim.sandbox()?.address().context("an address")?;
    let sibling_address = sibling.sandbox()?.address().context("an address")?;
    attacker.sh(&format!("ip address add {address}/32 dev eth0"))?;
    duel(host, &[Guard::Links], || {
        // The sibling's entry has expired. Now an ARP request with the victim's address as its sender would give the
        // sibling the attacker's MAC.
        sibling.sh(&format!("ip neigh flush to {address}"))?;
        attacker.sh(&format!("ping -c 1 -W 1 -I {address} {sibling_address} || true"))?;
        sibling.hears(Tcp, victim.at(80)?, "attacker")
    })
}

fn stolen_mac(host: &Host) -> Result<Outcome> {
    let [victim, sibling, attacker] = trio(host)?;
    let sandbox = victim.sandbox()?;
    let (address, mac) = (sandbox.address().context("an address")?, &sandbox.endpoints[0].mac);
    let sibling_address = sibling.sandbox()?.address().context("an address")?;
    attacker.sh(&format!("ip link set eth0 address {mac}; ip address add {address}/32 dev eth0"))?;
    duel(host, &[Guard::Links], || {
        // Each frame of the attacker moves the bridge's entry for the victim's MAC to the attacker's port.
        attacker.sh(&format!("ip neigh flush dev eth0; ping -c 1 -W 1 -I {address} {sibling_address} || true"))?;
        sibling.hears(Tcp, victim.at(80)?, "attacker")
    })
}

/// The peer counts packets from an address that belongs to no host.
fn forged_source(host: &Host) -> Result<Outcome> {
    let attacker = host.container("attacker").run()?;
    let peer = host.peer();
    peer.sh("nft -f - <<RULES
        table ip watch {
            chain watch {
                type filter hook prerouting priority raw
                ip saddr 203.0.113.99 counter
            }
        }
RULES")?;
    attacker.sh("ip address add 203.0.113.99/32 dev lo")?;
    duel(host, &[Guard::Links], || {
        attacker.sh(&format!("ping -c 1 -W 1 -I 203.0.113.99 {PEER} || true"))?;
        Ok(!peer.sh("nft list table ip watch")?.contains("packets 0 "))
    })
}

/// The host's answer goes back by the bridge, so the attack succeeds if the packet arrives.
fn past_the_bridge(host: &Host) -> Result<Outcome> {
    let address = format!("{UPLINK}:9999");
    let _secret = host.serve_at("secret", &address)?;
    let attacker = host.container("attacker").run()?;
    duel(host, &[Guard::Links, Guard::Origins], || {
        attacker.sh(&format!("ip neigh replace {GATEWAY} lladdr 01:80:c2:00:00:02 nud permanent dev eth0"))?;
        attacker.hears(Udp, &address, "secret")
    })
}

/// An ARP question about the attacker's own address. It would pass without the VLAN tag. The sibling counts the
/// questions that it gets.
fn tagged_frame(host: &Host) -> Result<Outcome> {
    let [_, sibling, attacker] = trio(host)?;
    let sandbox = attacker.sandbox()?;
    let (address, mac) = (sandbox.address().context("an address")?, &sandbox.endpoints[0].mac);
    sibling.sh("nft -f - <<RULES
        table netdev watch {
            chain watch {
                type filter hook ingress device eth0 priority 0
                vlan id 5 counter
            }
        }
RULES")?;
    duel(host, &[Guard::Links], || {
        attacker.sh(&format!("{PROBE} tagged eth0 {mac} {address} 5"))?;
        Ok(!sibling.sh("nft list table netdev watch")?.contains("packets 0 "))
    })
}

/// Gives an attacker on a network without IPv6 a link-local address.
fn with_own_ipv6(attacker: &Container<'_>) -> Result<()> {
    let script =
        "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.addr_gen_mode=0
         until ip -6 address show dev eth0 scope link -tentative | grep -q inet6; do sleep 0.01; done";
    attacker.sh(script).map(drop)
}

/// The attacker's own link has no classifier that drops anything.
fn router_advertisement_to_a_sibling(host: &Host) -> Result<Outcome> {
    let victim = host.container("victim").run()?;
    let attacker = host.container("attacker").network("bridge:guard=off").run()?;
    attacker.sh("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0")?;
    // As in a namespace that was not born as a router.
    victim.sh("sysctl -qw net.ipv6.conf.eth0.accept_ra=2")?;
    with_own_ipv6(&attacker)?;
    let address = victim.sandbox()?.address().context("an address")?;
    duel(host, &[Guard::Links], || {
        attacker.sh(&format!("{PROBE} advertise eth0"))?;
        // The bridge learns where the victim is, in case its entry is out.
        victim.sh(&format!("ping -c 1 {GATEWAY}"))?;
        attacker.reaches(Tcp, format!("{address}:80"))?.is("victim")?;
        Ok(!victim.sh("ip -6 route show default proto ra")?.is_empty())
    })
}

fn router_advertisement(host: &Host) -> Result<Outcome> {
    let attacker = host.container("attacker").run()?;
    with_own_ipv6(&attacker)?;
    let outcome = duel(host, &[Guard::Links, Guard::Settings], || {
        // The answer to ping comes after the advertisement was handled, which was sent before.
        attacker.sh(&format!("{PROBE} advertise eth0; ping -c 1 {GATEWAY}"))?;
        Ok(!host.sh("ip -6 route show default dev ocinet0")?.is_empty())
    })?;
    host.sh("ip -6 route flush dev ocinet0")?;
    Ok(outcome)
}
