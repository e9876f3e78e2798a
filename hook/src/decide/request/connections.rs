//! The networks that a container joins, as the annotation names them: in podman's grammar, joined by `;`, or, from
//! programs, as a JSON array of objects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

use super::EndpointRequest;
use crate::input::config;
use crate::input::network_file::definable;
use crate::model::{Invalid, NetworkName};

/// The connections that `text` asks for, at least one.
///
/// # Errors
/// Where one of them is none, or two are on the same network or have the same interface.
pub fn parse(text: &str) -> Result<Vec<EndpointRequest>, Invalid> {
    let connections: Vec<EndpointRequest> = if text.trim_start().starts_with('[') {
        let objects: Vec<Object> =
            serde_json::from_str(text).map_err(|error| Invalid::new("", text, error.to_string()))?;
        objects.into_iter().map(Object::request).collect::<Result<_, _>>()?
    } else {
        text.split(';').map(|one| one.trim().parse()).collect::<Result<_, _>>()?
    };
    if connections.is_empty() {
        return Err(Invalid::new("", text, "names no network; the word for a container on no network is none"));
    }
    for (nth, one) in connections.iter().enumerate() {
        let others = || connections[..nth].iter();
        if others().any(|other| other.network == one.network) {
            return Err(Invalid::new("network", &one.network, "is named twice"));
        }
        let is_taken = |name: &&_| others().any(|other| other.interface.as_ref() == Some(*name));
        if let Some(name) = one.interface.as_ref().filter(is_taken) {
            return Err(Invalid::new("interface", name, "is wanted on two networks"));
        }
    }
    Ok(connections)
}

/// A connection as a program writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    network: String,
    ip: Option<String>,
    ip6: Option<String>,
    mac: Option<String>,
    interface: Option<String>,
    mtu: Option<u32>,
    #[serde(rename = "gw-priority")]
    gw_priority: Option<i32>,
    #[serde(default)]
    alias: Vec<String>,
    guard: Option<String>,
}

impl Object {
    fn request(self) -> Result<EndpointRequest, Invalid> {
        let mut request = EndpointRequest::on(&self.network)?;
        let options = [
            ("ip", self.ip),
            ("ip6", self.ip6),
            ("mac", self.mac),
            ("interface", self.interface),
            ("mtu", self.mtu.map(|mtu| mtu.to_string())),
            ("gw-priority", self.gw_priority.map(|priority| priority.to_string())),
            ("guard", self.guard),
        ];
        for (key, value) in options {
            if let Some(value) = value {
                request.set(key, &value)?;
            }
        }
        for alias in self.alias {
            request.set("alias", &alias)?;
        }
        Ok(request)
    }
}

impl std::str::FromStr for EndpointRequest {
    type Err = Invalid;

    /// podman's grammar: `NAME[:option=value[,option=value]...]`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        if name.contains([',', '=']) {
            return Err(Invalid::new(
                "",
                text,
                "is no network: several are separated by ; and the options of one follow a colon, as in bridge:ip=10.90.0.5;backend",
            ));
        }
        let mut request = Self::on(name)?;
        for option in options.split([',', ' ']).filter(|option| !option.is_empty()) {
            let wrong = |why: &str| Invalid::new("option", option, why);
            let (key, value) = option.split_once('=').ok_or_else(|| wrong("is not of the form key=value"))?;
            if request.set(key, value)? {
                return Err(wrong("is given twice"));
            }
        }
        Ok(request)
    }
}

impl EndpointRequest {
    /// A connection to the network `name` that asks for nothing more. Whether there is such a network shows when it is
    /// looked up.
    fn on(name: &str) -> Result<Self, Invalid> {
        let network: NetworkName = name.parse()?;
        if network != config::default_bridge() {
            definable(name)?;
        }
        Ok(Self {
            network,
            addresses: Vec::new(),
            mac: None,
            interface: None,
            mtu: None,
            gw_priority: None,
            aliases: Vec::new(),
            unguarded: None,
        })
    }

    /// Sets an option; true where it was set before.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, Invalid> {
        Ok(match key {
            "ip" => {
                let address: Ipv4Addr = value.parse().map_err(|_| Invalid::new("ip", value, "is no IPv4 address"))?;
                self.add_address(address.into())
            }
            "ip6" => {
                let address: Ipv6Addr = value.parse().map_err(|_| Invalid::new("ip6", value, "is no IPv6 address"))?;
                self.add_address(address.into())
            }
            "mac" => self.mac.replace(value.parse()?).is_some(),
            "interface" => self.interface.replace(value.parse()?).is_some(),
            "mtu" => self.mtu.replace(parse_mtu(value)?).is_some(),
            "gw-priority" => {
                let priority = value.parse().map_err(|_| Invalid::new("gw-priority", value, "is no whole number"))?;
                self.gw_priority.replace(priority).is_some()
            }
            "alias" if self.network == config::default_bridge() => {
                return Err(Invalid::new(
                    "alias",
                    value,
                    "is wanted on network bridge, whose containers have no names",
                ));
            }
            "alias" => {
                let alias = value.parse().map_err(|e: Invalid| e.within("alias"))?;
                if !self.aliases.contains(&alias) {
                    self.aliases.push(alias);
                }
                false
            }
            "guard" => {
                let off = match value {
                    "on" => false,
                    "off" => true,
                    _ => return Err(Invalid::new("guard", value, "is neither on nor off")),
                };
                self.unguarded.replace(off).is_some()
            }
            _ => {
                let option = format!("{key}={value}");
                let why = "is none of ip=, ip6=, mac=, interface=, mtu=, gw-priority=, alias=, guard=";
                return Err(Invalid::new("option", option, why));
            }
        })
    }
}

impl EndpointRequest {
    /// Asks for `address`; true where another of its family was asked for.
    fn add_address(&mut self, address: IpAddr) -> bool {
        let again = self.addresses.iter().any(|other| other.is_ipv4() == address.is_ipv4());
        self.addresses.push(address);
        again
    }
}

/// Bounds: RFC 791 asks for 68 bytes at least, and a veth takes 65,535 at most.
fn parse_mtu(text: &str) -> Result<u32, Invalid> {
    let range = 68..=65_535;
    let mtu = text.parse().ok().filter(|mtu| range.contains(mtu));
    mtu.ok_or_else(|| Invalid::new("mtu", text, "is no number of bytes from 68 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HostName;

    #[test]
    fn several_are_joined_by_a_semicolon_or_come_as_json() {
        let text = "front:ip=10.64.0.5,ip6=fd00::5,mac=02:00:00:00:00:05,interface=lan,alias=www,alias=shop;bridge:mtu=1400 gw-priority=-7; back:guard=off";
        let json = r#"[{"network":"front","ip":"10.64.0.5","ip6":"fd00::5","mac":"02:00:00:00:00:05","interface":"lan","alias":["www","shop","www"]},
            {"network":"bridge","mtu":1400,"gw-priority":-7},{"network":"back","guard":"off"}]"#;
        let connections = parse(text).unwrap();
        assert_eq!(connections.iter().map(|one| one.network.as_str()).collect::<Vec<_>>(), ["front", "bridge", "back"]);
        assert_eq!((connections[1].mtu, connections[1].gw_priority), (Some(1400), Some(-7)));
        assert_eq!(connections[0].aliases.iter().map(HostName::as_str).collect::<Vec<_>>(), ["www", "shop"]);
        assert_eq!((connections[1].unguarded, connections[2].unguarded), (None, Some(true)));
        assert_eq!(parse(json).unwrap(), connections);
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        for (text, part) in [
            ("a;a", "\"a\": is named twice"),
            ("a;", "is no network name"),
            ("a;host", "\"host\": is no network of"),
            ("a;container:b", "\"container\": means"),
            ("a:interface=x;b:interface=x", "interface \"x\": is wanted on two"),
            ("a:guard=none", "guard \"none\": is neither"),
            ("a:alias=-x", "alias"),
            ("bridge:alias=www", "alias \"www\": is wanted on network bridge"),
            ("a:gw-priority=high", "gw-priority \"high\""),
            ("a:gw-priority=1,gw-priority=2", "twice"),
            ("a:ip6=10.0.0.1", "ip6 \"10.0.0.1\": is no IPv6"),
            ("a:ip=10.0.0.1,ip=10.0.0.2", "twice"),
            ("a/b", "is no network name"),
            ("[]", "names no network"),
            (r#"[{"network":"a","speed":1}]"#, "speed"),
            (r#"[{"network":"a","ip":"10.0.0"}]"#, "ip \"10.0.0\""),
            (r#"[{"ip":"10.0.0.1"}]"#, "network"),
            ("[", "EOF"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
