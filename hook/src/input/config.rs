//! `/etc/ocinet/config.toml`: the host's settings.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;

use super::toml_text;
use crate::model::{Families, Family, Invalid, NAME_SERVERS, NetworkName, Subnet};

/// The host's settings; every one has a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Wires containers without any `io.ocinet.*` annotation too, as this value of `io.ocinet.network` would.
    pub default_network: Option<String>,
    /// The address range of the network `bridge`; by default 10.90.0.0/16, or another where the host has a route there
    /// already.
    pub subnet: Option<Ipv4Net>,
    /// Whether the network `bridge` has IPv6, too.
    pub ipv6: bool,
    /// What the ranges of other networks are taken from, where their definitions say none.
    pub network_pools: Vec<Pool>,
    /// Name servers for containers where the host has none but on its loopback.
    pub dns_fallback: Vec<IpAddr>,
    /// Who keeps our rules.
    pub firewall: Firewall,
    /// The host's address for published ports that name none; by default every one of them.
    pub publish_default_address: Option<Ipv4Addr>,
    /// Whether the host's own rules decide which hosts reach a published port.
    pub published_ports: PublishedPorts,
    /// Where we switched IP forwarding on: drop what is forwarded between two links of which neither is ours, so that
    /// the host does not become an open router.
    pub close_forwarding: bool,
    /// Where the file is; the definitions of networks are in its folder `networks`.
    #[serde(skip)]
    pub directory: PathBuf,
}

impl Config {
    /// The defaults, with definitions of networks beside the file in `directory`.
    pub fn unread(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), ..Self::default() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_network: None,
            subnet: None,
            ipv6: false,
            network_pools: vec![Pool { base: Ipv4Net::new_assert([10, 64, 0, 0].into(), 12), size: 24 }],
            dns_fallback: Vec::new(),
            firewall: Firewall::Auto,
            publish_default_address: None,
            published_ports: PublishedPorts::Open,
            close_forwarding: true,
            directory: "/etc/ocinet".into(),
        }
    }
}

/// One of the setting `network_pools`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The range that it divides.
    pub base: Ipv4Net,
    /// The prefix length of the parts.
    pub size: u8,
}

impl Pool {
    /// The ranges that it divides into.
    pub fn ranges(&self) -> impl Iterator<Item = IpNet> + use<> {
        self.base.trunc().subnets(self.size).into_iter().flatten().map(IpNet::V4)
    }
}

/// The setting `firewall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firewall {
    /// nftables where it can be had, else iptables.
    Auto,
    /// nftables.
    Nftables,
    /// iptables, in the variant that the host prefers.
    Iptables,
    /// No rules at all: no port is published, nothing masqueraded or guarded, and forwarding left as it is.
    None,
}

/// The setting `published_ports`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishedPorts {
    /// Everybody reaches them, whatever the host's own rules say of what comes in.
    Open,
    /// Those that the host's own rules let in: they are asked as if a process of the host listened there.
    RespectHostFirewall,
}

/// A setting, and what people are told about it.
pub struct ConfigKey {
    /// Its name in the file.
    pub name: &'static str,
    /// What it takes.
    pub grammar: &'static str,
    /// What it means and what holds without it, a paragraph each.
    pub help: &'static [&'static str],
    /// A value, as it is written in the file: the default where there is one.
    pub example: &'static str,
}

impl ConfigKey {
    /// The value that holds without the key, as it is written in the file, where its help names one.
    pub fn default(&self) -> Option<&'static str> {
        let named = format!("Without this key: `{}`", self.example.trim_matches('"'));
        self.help.iter().any(|text| text.contains(&named)).then_some(self.example)
    }
}

impl Config {
    /// The one table of settings.
    pub const KEYS: &[ConfigKey] = &[
        ConfigKey {
            name: "default_network",
            grammar: "NETWORK",
            help: &[
                "Also wire containers without any annotation of ocinet, as this value of `io.ocinet.network` would. \
                 Those in the host's namespace, or in one with a path, are left alone. Without this key: no container \
                 without an annotation is wired.",
            ],
            example: "\"bridge\"",
        },
        ConfigKey {
            name: "subnet",
            grammar: "ADDRESS/PREFIX",
            help: &[
                "The range of the network `bridge`; at least a /29. The gateway is its first address. A changed value \
                 takes effect after `ocinet reset`, or when the host restarts.",
                "A range is refused where the host has a route to all or a part of it, and where it is a part of a network \
                 that the host is in itself.",
                "Without this key: 10.90.0.0/16. Where a route of the host overlaps that: the first that none overlaps, of \
                 10.91.0.0/16 to 10.127.0.0/16, 172.31.0.0/16 down to 172.16.0.0/16, and 192.168.240.0/20 down to \
                 192.168.0.0/20. The default route does not count.",
                "A range that is a part of a wider route to a gateway or a tunnel, such as a VPN's 0.0.0.0/1, is taken \
                 where `subnet` names it or no other range is left. A warning says that the route does not lead to this \
                 part any more.",
            ],
            example: "\"10.90.0.0/16\"",
        },
        ConfigKey {
            name: "ipv6",
            grammar: "true | false",
            help: &[
                "Whether the network `bridge` has IPv6 beside IPv4: a unique local /64 (RFC 4193) that follows from this \
                 machine and stays the same. A changed value takes effect with the next container when the last one has \
                 left the network. What IPv6 needs of the host is on the page on networks. Without this key: `false`.",
            ],
            example: "false",
        },
        ConfigKey {
            name: "network_pools",
            grammar: "[{ base = ADDRESS/PREFIX, size = PREFIX }, ...]",
            help: &[
                "The ranges of networks of one's own whose definitions say none: the first part of that size which no other                  network has, and no route of the host is for; where every part is under a route, the first that is only a                  part of a wider one to a gateway or a tunnel. Without this key: the /24s of 10.64.0.0/12.",
            ],
            example: "[{ base = \"10.64.0.0/12\", size = 24 }]",
        },
        ConfigKey {
            name: "dns_fallback",
            grammar: "[ADDRESS, ...]",
            help: &["Name servers for containers where the host has none that they reach. Without this key: none."],
            example: "[\"192.0.2.53\"]",
        },
        ConfigKey {
            name: "firewall",
            grammar: "auto | nftables | iptables | none",
            help: &["Who keeps the rules, see the page on the firewall. Without this key: `auto`."],
            example: "\"auto\"",
        },
        ConfigKey {
            name: "publish_default_address",
            grammar: "ADDRESS",
            help: &[
                "The host's address for published ports that name none. With `127.0.0.1`, `8080:80` is for this host \
                 alone, and `0.0.0.0:8080:80` for everybody. Without this key: every address.",
            ],
            example: "\"127.0.0.1\"",
        },
        ConfigKey {
            name: "published_ports",
            grammar: "open | respect-host-firewall",
            help: &[
                "Who reaches published ports from outside: everybody, or those whom the host's own rules let in, see \
                 the page on the firewall. Without this key: `open`.",
            ],
            example: "\"open\"",
        },
        ConfigKey {
            name: "close_forwarding",
            grammar: "true | false",
            help: &[
                "Where ocinet switched IP forwarding on: drop what is forwarded between two links of which neither is \
                 ocinet's. Without this key: `true`.",
            ],
            example: "true",
        },
    ];

    /// Larger files are refused.
    pub const MAX_BYTES: usize = 1 << 20;

    /// Reads the text of the file at `path`.
    pub fn parse(text: &str, path: &str) -> Result<Self, Invalid> {
        let mut config: Self =
            toml::from_str(text).map_err(|error| toml_text::mistake(&format!("config {path}"), text, &error))?;
        if let Some(range) = config.subnet.filter(|range| range.prefix_len() > 29) {
            return Err(Invalid::new(
                format!("config {path}: subnet"),
                range,
                "has no room for containers; /29 is the least",
            ));
        }
        if let Some(range) = config.subnet.filter(|range| !is_for_hosts(range)) {
            let why = "is no range for a network: a /8 at most, and none of 0.0.0.0/8, 127.0.0.0/8 and 224.0.0.0/3";
            return Err(Invalid::new(format!("config {path}: subnet"), range, why));
        }
        let has_server = |range: &Ipv4Net| NAME_SERVERS.into_iter().find(|server| IpNet::V4(*range).contains(server));
        if let Some((range, server)) = config.subnet.and_then(|range| Some((range, has_server(&range)?))) {
            let why = format!("has {server}, where containers ask for names");
            return Err(Invalid::new(format!("config {path}: subnet"), range, why));
        }
        for Pool { base, size } in &config.network_pools {
            let why = match *size {
                _ if !is_for_hosts(base) => {
                    "is no range for networks: a /8 at most, and none of 0.0.0.0/8, 127.0.0.0/8 and 224.0.0.0/3"
                }
                size if size > 29 => "is divided into ranges without room for containers; /29 is the least",
                size if size < base.prefix_len() => "is smaller than the ranges that it is divided into",
                _ => continue,
            };
            return Err(Invalid::new(format!("config {path}: network_pools"), format!("{base} by /{size}"), why));
        }
        config.directory = Path::new(path).parent().unwrap_or(Path::new("")).to_owned();
        Ok(config)
    }

    /// The families of the network `bridge`.
    pub fn bridge_families(&self) -> Families {
        let of_ipv4 = Families::default().with(Family::V4);
        if self.ipv6 { of_ipv4.with(Family::V6) } else { of_ipv4 }
    }

    /// The ranges of IPv4 to try for the network `bridge`, the best first.
    pub fn subnets(&self) -> impl Iterator<Item = Subnet> + use<> {
        let tens = (90..=127).map(|second| Ipv4Net::new_assert([10, second, 0, 0].into(), 16));
        // Others begin at the other end of these.
        let others = (16..=31).rev().map(|second| Ipv4Net::new_assert([172, second, 0, 0].into(), 16));
        let small = (0..=15).rev().map(|third| Ipv4Net::new_assert([192, 168, third << 4, 0].into(), 20));
        let defaults = tens.chain(others).chain(small);
        let ranges: Vec<_> = self.subnet.map_or_else(|| defaults.collect(), |range| vec![range]);
        ranges.into_iter().filter_map(|range| Subnet::with_first_gateway(range.into()))
    }
}

/// Whether hosts can have the addresses of `range` (RFC 6890, section 2.2.2).
pub(super) fn is_for_hosts(range: &Ipv4Net) -> bool {
    range.prefix_len() >= 8 && !matches!(range.addr().octets()[0], 0 | 127 | 224..)
}

/// The name of the network that needs no definition.
pub fn default_bridge() -> NetworkName {
    "bridge".parse().expect("a constant that follows the grammar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_refused_with_their_line() {
        let error = Config::parse("close_forwarding = false\nsubnett = 1\n", "/c").unwrap_err().to_string();
        assert!(error.contains("/c, line 2") && error.contains("subnett"), "{error}");
        assert!(!Config::parse("close_forwarding = false", "/c").unwrap().close_forwarding);
        for range in ["10.0.0.0/30", "0.0.0.0/0", "10.0.0.0/7", "127.0.0.0/8", "224.0.0.0/8", "0.1.0.0/16"] {
            let error = Config::parse(&format!("subnet = \"{range}\""), "/c").unwrap_err().to_string();
            assert!(error.contains(range), "{error}");
        }
    }

    #[test]
    fn the_table_has_every_setting() {
        let error = Config::parse("none = 1", "/c").unwrap_err().to_string();
        let (_, expected) = error.split_once("expected one of ").unwrap();
        let expected: Vec<_> = expected.split(", ").map(|name| name.trim_matches('`')).collect();
        assert_eq!(expected, Config::KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
    }

    #[test]
    fn an_example_is_the_default_where_there_is_one() {
        for key in Config::KEYS {
            let named = key.help.iter().find_map(|text| text.split_once("Without this key: `")?.1.split('`').next());
            let Some(named) = named else { continue };
            let config = Config::parse(&format!("{} = {}", key.name, key.example), "/etc/ocinet/config.toml").unwrap();
            assert_eq!(
                (named, format!("{config:?}")),
                (key.example.trim_matches('"'), format!("{:?}", Config::default()))
            );
        }
    }

    #[test]
    fn the_first_range_is_the_documented_one() {
        let first = Config::default().subnets().next().unwrap();
        assert_eq!(
            (first.range.to_string().as_str(), first.gateway.address().unwrap().to_string().as_str()),
            ("10.90.0.0/16", "10.90.0.1")
        );
    }
}
