//! What the kernel must do for an endpoint, one file per driver. Pure: steps are data.

mod bridge;
mod detour;
mod guard;
mod setting;
mod uplinks;

pub use bridge::{bridge, bridge_of, port};
pub use detour::{DETOUR_IN, DETOUR_OUT, Detour};
pub use guard::Program;
pub use setting::Setting;
pub use uplinks::{PolicyRule, WayOut, keep_uplinks};

use ipnet::IpNet;
use std::net::IpAddr;

use crate::model::{Alias, InterfaceName, Mac, is_printable};

/// What an endpoint needs, in the order in which it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    /// In the host's namespace.
    pub host: Vec<HostStep>,
    /// In the container's namespace, after the host's.
    pub sandbox: Vec<SandboxStep>,
}

/// One thing in the host's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostStep {
    /// A bridge of ours is there and up.
    Bridge(Bridge),
    /// A veth pair connects the container to it.
    Veth(Veth),
}

/// A bridge of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: InterfaceName,
    /// What tells whose it is, readable by `ip -d link`.
    pub alias: Alias,
    /// Its own MAC, since udev and the kernel would otherwise change it with the ports.
    pub mac: Mac,
    /// Its MTU in bytes. A bridge that was never told one follows its smallest port (`br_mtu_auto_adjust`,
    /// net/bridge/br_if.c), so that one container's `mtu=` would hold for all.
    pub mtu: u32,
    /// The gateway addresses.
    pub addresses: Vec<IpNet>,
    /// Whether rules of ours guard the network.
    pub guarded: bool,
}

/// A veth pair: one end a port of the bridge, its peer born in the container's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Veth {
    /// The host's end.
    pub name: InterfaceName,
    /// What tells whose it is, readable by `ip -d link`.
    pub alias: Alias,
    /// The bridge.
    pub bridge: InterfaceName,
    /// The container's end.
    pub peer: InterfaceName,
    /// The MAC of the container's end.
    pub mac: Mac,
    /// The MTU of both ends.
    pub mtu: u32,
    /// What the host's end lets in.
    pub guard: Program,
}

/// One thing in the container's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxStep {
    /// The loopback interface is up.
    Loopback,
    /// An interface has its addresses and is up.
    Interface {
        /// Its name.
        name: InterfaceName,
        /// Its addresses with prefix length.
        addresses: Vec<IpNet>,
    },
    /// The others on the network learn of the interface's MAC: it asks for its gateway, which all of them hear.
    Announce {
        /// The interface.
        name: InterfaceName,
        /// Whom it asks for.
        gateway: IpAddr,
    },
    /// The default route, unless the namespace has one already.
    DefaultRoute {
        /// The next hop.
        gateway: IpAddr,
    },
}

impl HostStep {
    /// The step as commands that a person could type; `pid` is the container's init process.
    pub fn lines(&self, pid: &str) -> Vec<String> {
        match self {
            Self::Bridge(bridge) => {
                let Bridge { name, alias, mac, mtu, addresses, .. } = bridge;
                let name = word(name.as_str());
                let mut lines = vec![
                    format!("ip link add {name} address {mac} type bridge"),
                    format!("ip link set {name} mtu {}", Bridge::other_mtu(*mtu)),
                    format!("ip link set {name} mtu {mtu}"),
                ];
                lines.extend(bridge.settings().iter().map(Setting::line));
                lines.extend(addresses.iter().map(|address| format!("ip address add {address} dev {name}")));
                lines.push(format!("ip link set {name} alias {} up", word(&alias.to_string())));
                lines
            }
            Self::Veth(Veth { name, alias, bridge, peer, mac, mtu, guard }) => {
                let (name, bridge, peer) = (word(name.as_str()), word(bridge.as_str()), word(peer.as_str()));
                vec![
                    format!(
                        "ip link add {name} mtu {mtu} master {bridge} type veth \
                         peer name {peer} address {mac} mtu {mtu} netns {pid}"
                    ),
                    format!("tc qdisc add dev {name} clsact"),
                    format!("tc filter add dev {name} ingress pref 1 handle 1 bpf da bytecode '{guard}'"),
                    format!("ip link set {name} alias {} up type bridge_slave hairpin on", quoted(&alias.to_string())),
                ]
            }
        }
    }
}

impl SandboxStep {
    /// The step as commands that a person could type inside the container's network namespace.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Loopback => vec!["ip link set lo up".into()],
            Self::Interface { name, addresses } => {
                let v4_only = addresses.iter().all(|address| address.addr().is_ipv4());
                let quiet = v4_only.then(|| Setting::without_ipv6(name).line());
                let name = word(name.as_str());
                let addresses = addresses.iter().map(|address| format!("ip address add {address} dev {name}"));
                quiet.into_iter().chain(addresses).chain([format!("ip link set dev {name} up")]).collect()
            }
            Self::Announce { name, gateway } => {
                vec![format!("ip neighbour replace {gateway} dev {} use", word(name.as_str()))]
            }
            Self::DefaultRoute { gateway } => vec![format!("ip route add default via {gateway}")],
        }
    }
}

/// `text` as one word of a shell, in quotes where it needs them: an interface may be called `$(reboot)`.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+:/=,@".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { quoted(text) }
}

/// `text` as one word of a shell. What a terminal would not show as it is becomes octal numbers, in the quotes that bash, zsh and
/// POSIX have for them (POSIX.1-2024, Shell Command Language, 2.2.4).
pub fn quoted(text: &str) -> String {
    if text.chars().all(is_printable) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut word = "$'".to_owned();
    for c in text.chars() {
        match c {
            '\'' | '\\' => word.extend(['\\', c]),
            _ if is_printable(c) => word.push(c),
            _ => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| word.push_str(&format!("\\{byte:03o}"))),
        }
    }
    word + "'"
}

/// `command` with `text`, which ends its last line, on its stdin: a here-document that no line of the text ends, be it
/// the name of a host called `END`.
pub fn fed(command: &str, text: &str) -> String {
    let mut end = "END".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    format!("{command} <<'{end}'\n{text}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_quotes() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("'; reboot"), r"''\''; reboot'");
        assert_eq!(quoted("a\n'\\\u{202e}"), r"$'a\012\'\\\342\200\256'");
        let of = |name: &str| {
            let (name, addresses) = (name.parse().unwrap(), vec!["10.90.0.2/16".parse().unwrap()]);
            SandboxStep::Interface { name, addresses }.lines()
        };
        assert_eq!(of("a;reboot")[2], "ip link set dev 'a;reboot' up");
        assert_eq!(of("eth0.5")[0], "sysctl -qw net/ipv6/conf/eth0.5/disable_ipv6=1");
    }
    #[test]
    fn no_line_ends_a_document_early() {
        assert_eq!(fed("cat", "web\n"), "cat <<'END'\nweb\nEND");
        assert_eq!(fed("cat", "END\nEND_\n"), "cat <<'END__'\nEND\nEND_\nEND__");
    }
}
