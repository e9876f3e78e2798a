//! The steps of a driver as commands.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{PID, word};
use crate::decide::proxy::ProxyEntry;
use crate::driver::{
    BridgeLink, EndpointStep, FilterProgram, GROUPS, GROUPS_METRIC, InterfaceIpv6, LOOPBACK_METRIC, NetworkStep,
    SandboxStep, Setting, Veth,
};
use crate::firewall::input_loop::{self, ADDRESS, ENTRANCE, EXIT, MAC, MTU};
use crate::model::{Alias, ChangedSetting, Mac, StaticRoute};

/// A step for all endpoints of a network.
pub fn network_step(step: &NetworkStep) -> Vec<String> {
    match step {
        NetworkStep::Bridge(bridge) => {
            let BridgeLink { name, alias, mac, mtu, addresses, stand_ins, .. } = bridge;
            let (name, alias) = (word(name.as_str()), alias.to_string());
            let mut lines = vec![
                format!("ip link add {name} address {mac} type bridge"),
                format!("ip link set {name} mtu {}", BridgeLink::other_mtu(*mtu)),
                format!("ip link set {name} mtu {mtu}"),
            ];
            lines.extend(bridge.settings().iter().map(setting));
            lines.extend(addresses.iter().map(|address| address_on(address, &name)));
            let stand_in =
                |address| format!("ip address add {address}/128 dev {name} nodad noprefixroute preferred_lft 0");
            lines.extend(stand_ins.iter().map(stand_in));
            lines.push(format!("ip link set {name} alias {} up", word(&alias)));
            if !stand_ins.is_empty() {
                lines.push(format!("ip -6 route add local ::1 dev {name} table local metric {LOOPBACK_METRIC}"));
            }
            lines
        }
    }
}

/// A step for one endpoint in the host's namespace; `pid` is the container's init process.
pub fn endpoint_step(step: &EndpointStep, pid: &str) -> Vec<String> {
    match step {
        EndpointStep::Veth(Veth {
            name,
            alias,
            bridge,
            peer,
            mac,
            mtu,
            addresses,
            advertised,
            guard,
            unguarded,
            intake,
            isolated,
            host_mac,
        }) => {
            let (name, bridge, peer) = (word(name.as_str()), word(bridge.as_str()), word(peer.as_str()));
            let alias = alias.to_string();
            let apart = if *isolated { " isolated on" } else { "" };
            let flood = if *unguarded { "on" } else { "off" };
            let mut lines = vec![
                format!(
                    "ip link add {name} mtu {mtu} master {bridge} type veth \
                     peer name {peer} address {mac} mtu {mtu} netns {pid}"
                ),
                format!("tc qdisc add dev {name} clsact"),
                format!("tc filter add dev {name} ingress pref 1 handle 1 bpf da bytecode '{guard}'"),
            ];
            lines.extend(
                intake.as_ref().map(|program| {
                    format!("tc filter add dev {name} egress pref 1 handle 1 bpf da bytecode '{program}'")
                }),
            );
            lines.extend(host_mac.map(|mac| format!("ip link set {name} address {mac}")));
            lines.extend(host_mac.map(|mac| {
                let program = FilterProgram::to_station(mac);
                format!("tc filter add dev {name} ingress pref 2 handle 1 bpf bytecode '{program}' action mirred ingress redirect dev {bridge}")
            }));
            lines.push(format!("bridge fdb replace {mac} dev {name} master static sticky"));
            lines.extend(addresses.iter().map(|address| neighbour(*address, *mac, &bridge)));
            let alias = word(&alias);
            lines
                .push(format!("ip link set {name} alias {alias} up type bridge_slave hairpin on flood {flood}{apart}"));
            lines.extend(advertised.iter().map(|address| {
                format!(
                    "# an unsolicited neighbor advertisement tells the others on {bridge} that {address} is at {mac}"
                )
            }));
            lines
        }
    }
}

/// Steps inside the container's network namespace, typed on the host.
pub fn in_sandbox(steps: &[SandboxStep]) -> Vec<String> {
    steps.iter().flat_map(sandbox_step).map(|line| format!("nsenter -t {PID} -n {line}")).collect()
}

/// A step inside the container's network namespace.
pub fn sandbox_step(step: &SandboxStep) -> Vec<String> {
    match step {
        SandboxStep::Loopback => vec!["ip link set lo up".into()],
        SandboxStep::Interface { name, addresses, ipv6 } => {
            let link = word(name.as_str());
            let before: Vec<String> = match ipv6 {
                InterfaceIpv6::On => Setting::with_ipv6(name).iter().map(setting).collect(),
                InterfaceIpv6::Filtered => vec![format!("ip link set dev {link} addrgenmode none")],
                InterfaceIpv6::Off => vec![setting(&Setting::without_ipv6(name))],
            };
            let name = link;
            let addresses = addresses.iter().map(|address| address_on(address, &name));
            let groups = format!("ip -6 route add multicast {GROUPS} dev {name} table local metric {GROUPS_METRIC}");
            let after = (*ipv6 == InterfaceIpv6::On).then_some(groups);
            before.into_iter().chain(addresses).chain([format!("ip link set dev {name} up")]).chain(after).collect()
        }
        SandboxStep::Neighbour { name, address, mac } => vec![neighbour(*address, *mac, &word(name.as_str()))],
        SandboxStep::Announce { name, address } => {
            vec![format!("ip neighbour replace {address} dev {} use", word(name.as_str()))]
        }
        SandboxStep::Route(StaticRoute { to, via, metric }) => {
            let metric = metric.map(|metric| format!(" metric {metric}")).unwrap_or_default();
            vec![format!("ip route add {to} via {via}{metric}")]
        }
        SandboxStep::Settings(settings) => settings.iter().map(setting).collect(),
        SandboxStep::OwnAddress(address) => vec![format!("ip address add {address} dev lo")],
        SandboxStep::RouteOwnAlone => vec![
            "ip rule add priority 1 iif lo lookup main".into(),
            "ip rule del priority 32766".into(),
            "ip rule del priority 32767".into(),
        ],
        SandboxStep::Near { name, to, source } => {
            let source = source.map(|source| format!(" src {source}")).unwrap_or_default();
            vec![format!("ip route append {to} dev {}{source}", word(name.as_str()))]
        }
        SandboxStep::NotNear { name, to } => vec![format!("ip route del {to} dev {}", word(name.as_str()))],
        SandboxStep::DefaultRoute { gateway } => vec![format!("ip route add default via {gateway}")],
        SandboxStep::MoveDefaultRoute { from, to } => {
            let add = to.map(|to| format!("ip route add default via {to}"));
            std::iter::once(format!("ip route del default via {from}")).chain(add).collect()
        }
    }
}

/// The command that gives an address to `link`, a word of the shell.
fn address_on(address: &IpNet, link: &str) -> String {
    let nodad = if address.addr().is_ipv6() { " nodad" } else { "" };
    format!("ip address add {address} dev {link}{nodad}")
}

/// The command that makes a permanent neighbour entry on `link`, a word of the shell.
fn neighbour(address: IpAddr, mac: Mac, link: &str) -> String {
    format!("ip neighbour replace {address} lladdr {mac} nud permanent protocol 111 dev {link}")
}

/// The command that sets a sysctl.
pub fn setting(setting: &Setting) -> String {
    format!("sysctl -qw {}={}", word(&setting.key), setting.value)
}

/// The command that changes a setting of the host's links.
pub fn change(ChangedSetting { key, to, .. }: &ChangedSetting) -> String {
    format!("sysctl -qw {}={to}", word(key))
}

/// The command that has the host answer its neighbours for an address.
pub fn proxy_entry(ProxyEntry { link, address }: &ProxyEntry) -> String {
    format!("ip -6 neigh add proxy {address} dev {} protocol 111", word(link.as_str()))
}

/// The commands that make the link pair of the input loop.
pub fn input_loop() -> Vec<String> {
    let mut lines = vec![format!(
        "ip link add {ENTRANCE} address {MAC} mtu {MTU} arp off type veth \
         peer name {EXIT} address {MAC} mtu {MTU} arp off"
    )];
    lines.extend(input_loop::settings().iter().map(setting));
    lines.push(format!("ip address add {ADDRESS} dev {EXIT} scope host"));
    lines.extend([EXIT, ENTRANCE].map(|link| format!("ip link set {link} alias {} up", Alias::InputLoop)));
    lines
}
