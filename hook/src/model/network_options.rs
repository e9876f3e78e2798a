//! What holds for all endpoints of a network, beside its addresses.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Family, InterfaceName, Invalid};

/// What holds for all endpoints of a network. Only what differs from the default network's is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The MTU in bytes of its link, and of endpoints that name none: that of the host's way out, unless it is fixed.
    pub mtu: u32,
    /// Whether the definition said the MTU, so that it does not follow the host's way out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mtu_fixed: bool,
    /// Whether the MAC of every endpoint that the network ever had is the one of its address ([`Mac::of`]). No definition
    /// says it.
    ///
    /// [`Mac::of`]: super::Mac::of
    #[serde(default, skip_serializing_if = "is_default")]
    pub derived_macs: bool,
    /// Whether nothing leads out of it, or into it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub internal: bool,
    /// Whether its containers reach each other (Docker's `enable_icc`).
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub icc: bool,
    /// What its containers are seen as outside.
    #[serde(default, skip_serializing_if = "is_default")]
    pub masquerade: Masquerade,
    /// How others reach it: over IPv4, and over IPv6 where nothing else is said of that.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: GatewayMode,
    /// How others reach it over IPv6, where that differs. Never [`GatewayMode::Isolated`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode6: Option<GatewayMode>,
    /// Whether the host answers its neighbours for the containers' addresses of IPv6, where these are a part of the
    /// range on a link of the host.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ndp_proxy: bool,
    /// The host's address for published ports that name none; without it the host's setting decides.
    #[serde(default, skip_serializing_if = "is_default")]
    pub host_binding: Option<IpAddr>,
    /// What the names of interfaces inside begin with; without it `eth`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub interface_prefix: Option<InterfaceName>,
    /// Links of the host by which others reach published ports at the containers' addresses, too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub trusted_interfaces: Vec<InterfaceName>,
    /// Routes of its containers, beside the default route.
    #[serde(default, skip_serializing_if = "is_default", rename = "static_routes")]
    pub routes: Vec<StaticRoute>,
    /// Name servers of its containers; without any the host's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dns: Vec<IpAddr>,
    /// What people and programs noted about it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
}

impl Default for Options {
    /// Those of the default network, with the MTU of a host that has no way out to take it from: Ethernet's. Nothing is
    /// known of earlier endpoints.
    fn default() -> Self {
        Self {
            mtu: 1500,
            mtu_fixed: false,
            derived_macs: false,
            internal: false,
            icc: true,
            masquerade: Masquerade::On,
            mode: GatewayMode::Nat,
            mode6: None,
            ndp_proxy: false,
            host_binding: None,
            interface_prefix: None,
            trusted_interfaces: Vec::new(),
            routes: Vec::new(),
            dns: Vec::new(),
            labels: BTreeMap::new(),
        }
    }
}

impl Options {
    /// How others reach it over `family`.
    pub fn mode_of(&self, family: Family) -> GatewayMode {
        match family {
            Family::V4 => self.mode,
            Family::V6 => self.mode6.unwrap_or(self.mode),
        }
    }

    /// Whether others reach its containers at their own addresses of `family`.
    pub fn is_routed(&self, family: Family) -> bool {
        self.mode_of(family) == GatewayMode::Routed
    }

    /// Whether what its containers send out over `family` has an address of the host as its sender.
    pub fn is_masqueraded(&self, family: Family) -> bool {
        self.masquerade != Masquerade::Off && !self.is_routed(family)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

/// How others reach the containers of a network (Docker's `gateway_mode_ipv4`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayMode {
    /// By ports of the host, which lead to them.
    #[default]
    Nat,
    /// At their own addresses, and there by their published ports alone. No port of the host leads to them, and outside
    /// they are seen with their own addresses.
    Routed,
    /// Not at all, the host included, which has no address in the network. Only of an internal network.
    Isolated,
}

impl FromStr for GatewayMode {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let why = match text {
            "nat" => return Ok(Self::Nat),
            "routed" => return Ok(Self::Routed),
            "isolated" => return Ok(Self::Isolated),
            "nat-unprotected" => {
                "would open every port of its containers to other hosts, and is not built; routed opens those that are \
                 published, and trusted_interfaces opens them to one link"
            }
            _ => "is no mode; there are nat, routed and isolated",
        };
        Err(Invalid::new("mode", text, why))
    }
}

impl fmt::Display for GatewayMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nat => "nat",
            Self::Routed => "routed",
            Self::Isolated => "isolated",
        })
    }
}

/// The source address of what a network's containers send out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Masquerade {
    /// The host's, on the link by which it leaves.
    #[default]
    On,
    /// The container's own.
    Off,
    /// This one of the host's.
    Outbound(IpAddr),
}

impl FromStr for Masquerade {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "on" | "true" => Ok(Self::On),
            "off" | "false" => Ok(Self::Off),
            _ => match text.parse::<IpAddr>() {
                Ok(address) if !address.is_unspecified() => Ok(Self::Outbound(address)),
                _ => Err(Invalid::new("", text, "is none of on, off and an address of the host")),
            },
        }
    }
}

impl fmt::Display for Masquerade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On => f.write_str("on"),
            Self::Off => f.write_str("off"),
            Self::Outbound(address) => address.fmt(f),
        }
    }
}

impl TryFrom<String> for Masquerade {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Masquerade> for String {
    fn from(masquerade: Masquerade) -> Self {
        masquerade.to_string()
    }
}

/// A route of a network's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticRoute {
    /// The addresses that it leads to.
    pub to: IpNet,
    /// The next hop, an address of the network's range.
    pub via: IpAddr,
    /// Its metric; without it the kernel's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_is_written() {
        let text = r#"{"mtu":1400}"#;
        let options: Options = serde_json::from_str(text).unwrap();
        assert_eq!((options.icc, options.masquerade, options.internal), (true, Masquerade::On, false));
        assert_eq!(serde_json::to_string(&options).unwrap(), text);
    }

    #[test]
    fn what_was_said_is_read_again() {
        let text = r#"{"mtu":1400,"mtu_fixed":true,"internal":true,"icc":false,"masquerade":"192.0.2.1","mode":"isolated","ndp_proxy":true,"host_binding":"127.0.0.1","interface_prefix":"net","trusted_interfaces":["vpn0"],"static_routes":[{"to":"10.0.0.0/8","via":"10.64.0.9"}],"dns":["192.0.2.53"],"labels":{"a":"b"}}"#;
        let options: Options = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&options).unwrap(), text);
    }

    #[test]
    fn masquerading_is_on_off_or_an_address() {
        for (text, shown) in [("true", "on"), ("off", "off"), ("192.0.2.1", "192.0.2.1"), ("fd00::1", "fd00::1")] {
            assert_eq!(text.parse::<Masquerade>().unwrap().to_string(), shown);
        }
        for text in ["", "yes", "0.0.0.0", "192.0.2.0/24"] {
            assert!(text.parse::<Masquerade>().is_err(), "{text}");
        }
    }
}
