//! `/etc/ocinet/config.toml`: the host's settings.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use toml::Value;

use super::toml_file::{self, Keys, Read, each, number, one_of, text, yes_or_no};
use crate::model::{Families, Family, Invalid, NAME_SERVERS, NetworkName, Subnet};

/// The host's settings; every one has a default.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    ///
    /// # Errors
    /// The first mistake, when it says what it may not.
    pub fn parse(text: &str, path: &str) -> Result<Self, Invalid> {
        Self::read(text, path).map_err(toml_file::first)
    }

    /// All for which [`Config::parse`] would refuse the file.
    pub fn mistakes(text: &str, path: &str) -> Vec<Invalid> {
        Self::read(text, path).err().unwrap_or_default()
    }

    fn read(text: &str, path: &str) -> Result<Self, Vec<Invalid>> {
        let directory = Path::new(path).parent().unwrap_or(Path::new(""));
        toml_file::read(&format!("config {path}"), text, |keys| Some(Self::of_keys(keys, directory)))
    }

    fn of_keys(keys: &mut Keys, directory: &Path) -> Self {
        let default = Self::unread(directory);
        Self {
            default_network: keys.take("default_network", |value| text(value).map(str::to_owned)),
            subnet: keys.take("subnet", range_of_bridge),
            ipv6: keys.take("ipv6", yes_or_no).unwrap_or(default.ipv6),
            network_pools: keys.tables("network_pools", pool).unwrap_or(default.network_pools),
            dns_fallback: keys.take("dns_fallback", each(address)).unwrap_or(default.dns_fallback),
            firewall: keys.take("firewall", one_of(FIREWALLS)).unwrap_or(default.firewall),
            publish_default_address: keys.take("publish_default_address", address),
            published_ports: keys.take("published_ports", one_of(PUBLISHED_PORTS)).unwrap_or(default.published_ports),
            close_forwarding: keys.take("close_forwarding", yes_or_no).unwrap_or(default.close_forwarding),
            directory: default.directory,
        }
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

const FIREWALLS: &[(&str, Firewall)] = &[
    ("auto", Firewall::Auto),
    ("nftables", Firewall::Nftables),
    ("iptables", Firewall::Iptables),
    ("none", Firewall::None),
];

const PUBLISHED_PORTS: &[(&str, PublishedPorts)] =
    &[("open", PublishedPorts::Open), ("respect-host-firewall", PublishedPorts::RespectHostFirewall)];

fn address<T: FromStr>(value: &Value) -> Read<T> {
    text(value)?.parse().map_err(|_| "is no address".into())
}

fn range(value: &Value) -> Read<Ipv4Net> {
    text(value)?.parse().map_err(|_| "is no range ADDRESS/PREFIX of IPv4".into())
}

fn range_of_bridge(value: &Value) -> Read<Ipv4Net> {
    let range = range(value)?;
    if range.prefix_len() > 29 {
        return Err("has no room for containers; /29 is the least".into());
    }
    if !is_for_hosts(&range) {
        return Err(format!("is no range for a network: {FOR_HOSTS}"));
    }
    match NAME_SERVERS.into_iter().find(|server| IpNet::V4(range).contains(server)) {
        Some(server) => Err(format!("has {server}, where containers ask for names")),
        None => Ok(range),
    }
}

fn pool(keys: &mut Keys) -> Option<Pool> {
    let base = keys.need("base", |value| {
        let why = format!("is no range for networks: {FOR_HOSTS}");
        range(value).and_then(|range| if is_for_hosts(&range) { Ok(range) } else { Err(why) })
    });
    let size = keys.need("size", number(0, 29));
    let pool = Pool { base: base?, size: u8::try_from(size?).ok()? };
    if pool.size < pool.base.prefix_len() {
        keys.wrong("size", &pool.size, format!("is smaller than {}, which is divided into ranges of it", pool.base));
    }
    Some(pool)
}

/// What [`is_for_hosts`] asks, for people.
pub(super) const FOR_HOSTS: &str = "a /8 at most, and none of 0.0.0.0/8, 127.0.0.0/8 and 224.0.0.0/3";

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
    fn all_mistakes_are_told_with_their_lines() {
        let text = "firewall = \"nft\"\nipv6 = 1\nsubnet = \"10.0.0.0/30\"\nnetwork_pools = [\n  { base = \"10.0.0.0/8\" },\n  \
                    { base = \"10.0.0.0/16\", size = 8, x = 1 },\n]\nnetwork-pools = []\n";
        let told: Vec<_> = Config::mistakes(text, "/c").iter().map(ToString::to_string).collect();
        let expected = [
            "config /c, line 1: firewall \"nft\": is none of auto, nftables, iptables, none",
            "config /c, line 2: ipv6 \"1\": is neither true nor false",
            "config /c, line 3: subnet \"10.0.0.0/30\": has no room for containers; /29 is the least",
            "config /c, line 5: network_pools 1: size \"\": is missing",
            "config /c, line 6: network_pools 2: size \"8\": is smaller than 10.0.0.0/16, which is divided into ranges of it",
            "config /c, line 6: network_pools 2: x \"1\": is no key; there are base, size",
        ];
        assert_eq!(told[..6], expected);
        assert!(told.len() == 7 && told[6].starts_with("config /c, line 8: network-pools"), "{told:?}");
        assert_eq!(Config::parse(text, "/c").unwrap_err().to_string(), told[0]);
        assert!(Config::mistakes("network_pools = []\ndns_fallback = [\"fd00::1\", \"fd00::1\"]", "/c").is_empty());
    }

    #[test]
    fn the_table_has_every_setting() {
        let error = Config::parse("none = 1", "/c").unwrap_err().to_string();
        let (_, expected) = error.split_once("is no key; there are ").unwrap();
        let expected: Vec<_> = expected.split(", ").collect();
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
