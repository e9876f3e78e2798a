//! What is asked for of a network that is to be defined, in the words of Docker, podman and nerdctl.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use toml::Value;

use super::read::{families, prefix, static_route, subnet};
use super::{Definition, contradictions};
use crate::input::toml_file::{self, Read, address, list, number, parsed};
use crate::model::{Family, GatewayMode, InterfaceName, Invalid, Masquerade, NetworkName, Options, Subnet};

/// What is asked for, as it is said part by part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// What it is called, where a file that is taken over says so.
    pub name: Option<String>,
    /// The link of its bridge.
    pub link: Option<InterfaceName>,
    /// What holds for all of its endpoints.
    pub options: Options,
    /// How others reach it over IPv4 alone, where that is said.
    pub mode4: Option<GatewayMode>,
    /// Whether it has IPv4, where that is said.
    pub ipv4: Option<bool>,
    /// Whether it has IPv6, where that is said.
    pub ipv6: Option<bool>,
    /// The ranges.
    pub ranges: Vec<IpNet>,
    /// Gateways, each of the range that it is in.
    pub gateways: Vec<IpAddr>,
    /// What this host gives out, each of the range that it is in.
    pub pools: Vec<IpNet>,
    /// Reserved addresses, each of the range that it is in.
    pub aux: Vec<(String, IpAddr)>,
}

impl Draft {
    /// Takes the option `key` of a bridge, by Docker's name, podman's, nerdctl's or the key of a definition.
    ///
    /// # Errors
    /// When there is none, or it cannot have that value.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Invalid> {
        let known = match key.strip_prefix("com.docker.network.") {
            Some(of_docker) => of_docker.rsplit('.').next().unwrap_or(of_docker),
            None => key,
        };
        let done = match known {
            "name" if known == key => Err("is no option; the name stands at the end".to_owned()),
            _ => self.set_known(known, value),
        };
        done.map_err(|why| Invalid::new(format!("option {key}"), value, why))
    }

    fn set_known(&mut self, key: &str, value: &str) -> Read<()> {
        let text = &Value::from(value);
        let options = &mut self.options;
        match key {
            "bridge" | "name" | "bridge_name" | "interface_name" => self.link = Some(parsed(text)?),
            "mtu" => {
                let bytes = value.parse::<i64>().map_err(|_| "is no number of bytes")?;
                (options.mtu, options.mtu_fixed) = (number(68, 65_535)(&bytes.into())?, true);
            }
            "icc" | "enable_icc" => options.icc = truth(value)?,
            "masquerade" | "enable_ip_masquerade" | "ip_masq" | "ip-masq" => {
                options.masquerade = match (truth(value), options.masquerade) {
                    (Ok(true), Masquerade::Outbound(address)) => Masquerade::Outbound(address),
                    (Ok(true), _) => Masquerade::On,
                    (Ok(false), _) => Masquerade::Off,
                    (Err(_), _) => parsed(text)?,
                };
            }
            "outbound" | "host_ipv4" | "outbound_addr4" => options.masquerade = Masquerade::Outbound(address(text)?),
            // podman's `managed` is Docker's `nat`.
            "mode" if value == "managed" => options.mode = GatewayMode::Nat,
            "mode" => options.mode = parsed(text)?,
            "gateway_mode_ipv4" => self.mode4 = Some(parsed(text)?),
            "mode6" | "gateway_mode_ipv6" => options.mode6 = Some(parsed(text)?),
            "ndp_proxy" | "ndp-proxy" => options.ndp_proxy = truth(value)?,
            "host_binding" | "host_binding_ipv4" => {
                // Docker's default, which is every address.
                options.host_binding = if value == "0.0.0.0" { None } else { Some(address(text)?) };
            }
            "interface_prefix" | "container_iface_prefix" => options.interface_prefix = Some(prefix(text)?),
            "trusted_interfaces" | "trusted_host_interfaces" => {
                let names = value.split([':', ',']).filter(|name| !name.is_empty()).collect::<Vec<_>>();
                options.trusted_interfaces = list(parsed)(&names.into())?;
            }
            "ipv4" | "enable_ipv4" => self.ipv4 = Some(truth(value)?),
            "ipv6" | "enable_ipv6" => self.ipv6 = Some(truth(value)?),
            "route" => options.routes.push(static_route(value)?),
            _ => return other(key, value),
        }
        Ok(())
    }

    /// The definition of the network `name`.
    ///
    /// # Errors
    /// When the parts do not fit together.
    pub fn definition(self, name: NetworkName) -> Result<Definition, Invalid> {
        let Self { link, options, ranges, gateways, pools, aux, .. } = &self;
        let within = |range: &IpNet, address: &IpAddr| range.contains(address);
        let is_homeless = |address: &IpAddr| !ranges.iter().any(|range| within(range, address));
        let parts = gateways.iter().map(|address| ("gateway", *address));
        let parts = parts.chain(pools.iter().map(|pool| ("ip-range", pool.addr())));
        let mut parts = parts.chain(aux.iter().map(|(_, address)| ("aux-address", *address)));
        if let Some((part, address)) = parts.find(|(_, address)| is_homeless(address)) {
            return Err(Invalid::new(part, address, "is in no subnet of the network; name that subnet with --subnet"));
        }
        let one = |range: &IpNet| -> Result<Subnet, Invalid> {
            let gateway = only("gateway", range, gateways.iter().filter(|address| within(range, address)))?;
            let pool = only("ip-range", range, pools.iter().filter(|pool| within(range, &pool.addr())))?;
            let mut reserved = BTreeMap::new();
            for (name, address) in aux.iter().filter(|(_, address)| within(range, address)) {
                if reserved.insert(name.clone(), *address).is_some() {
                    return Err(Invalid::new("aux-address", name, "is given twice"));
                }
            }
            subnet(*range, gateway.copied(), pool.copied(), reserved).map_err(toml_file::first)
        };
        let subnets = ranges.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        let families = families(&subnets, self.ipv4, self.ipv6)?;
        let (link, mut options) = (link.clone(), options.clone());
        if let Some(mode4) = self.mode4 {
            let of_v6 = families.contains(Family::V6).then(|| options.mode_of(Family::V6));
            (options.mode, options.mode6) = (mode4, of_v6.or(options.mode6));
        }
        // Said only where it differs, as a file does.
        options.mode6 = options.mode6.filter(|mode6| *mode6 != options.mode);
        let definition = Definition { name, link, families, subnets, options, created: None };
        match contradictions(&definition) {
            none if none.is_empty() => Ok(definition),
            mistakes => Err(toml_file::first(mistakes)),
        }
    }
}

/// The only one of those that belong to `range`.
fn only<'a, T: std::fmt::Display>(
    part: &str,
    range: &IpNet,
    mut all: impl Iterator<Item = &'a T>,
) -> Result<Option<&'a T>, Invalid> {
    let first = all.next();
    match all.next() {
        Some(second) => Err(Invalid::new(part, second, format!("is the second of subnet {range}"))),
        None => Ok(first),
    }
}

/// Options that change nothing here, and those that cannot be had.
fn other(key: &str, value: &str) -> Read<()> {
    let is = |expected: bool| truth(value).is_ok_and(|value| value == expected);
    match key {
        "inhibit_ipv4" | "no_default_route" | "default_bridge" if is(false) => Ok(()),
        "default_bridge" => Ok(()),
        // Networks do not reach each other.
        "isolate" if is(true) || value == "strict" => Ok(()),
        "isolate" => Err("is not built; networks do not reach each other".into()),
        "inhibit_ipv4" | "no_default_route" | "vlan" | "vrf" | "metric" | "parent"
        | "host_ipv6" | "outbound_addr6" | "host_binding_ipv6" => Err("is not built yet".into()),
        _ => Err(
            "is no option; there are bridge, ipv4, ipv6, mtu, icc, masquerade, outbound, host_binding, mode, mode6, ndp_proxy, \
                  interface_prefix, trusted_interfaces, route, and Docker's names of them"
                .into(),
        ),
    }
}

/// As Docker reads it (Go's `strconv.ParseBool`).
pub(super) fn truth(text: &str) -> Read<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "yes" => Ok(true),
        "0" | "f" | "false" | "off" | "no" => Ok(false),
        _ => Err("is neither true nor false".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(options: &[(&str, &str)]) -> Result<Draft, Invalid> {
        let mut draft = Draft::default();
        options.iter().try_for_each(|(key, value)| draft.set(key, value))?;
        Ok(draft)
    }

    #[test]
    fn options_by_every_name() {
        let docker = [
            ("com.docker.network.bridge.name", "br7"),
            ("com.docker.network.driver.mtu", "1400"),
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.enable_ip_masquerade", "false"),
            ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1"),
            ("com.docker.network.bridge.gateway_mode_ipv6", "routed"),
            ("com.docker.network.container_iface_prefix", "net"),
            ("com.docker.network.bridge.trusted_host_interfaces", "vpn0:vpn1"),
            ("com.docker.network.bridge.default_bridge", "false"),
        ];
        let ours = [
            ("bridge", "br7"),
            ("mtu", "1400"),
            ("icc", "off"),
            ("masquerade", "off"),
            ("host_binding", "127.0.0.1"),
            ("mode6", "routed"),
            ("interface_prefix", "net"),
            ("trusted_interfaces", "vpn0,vpn1"),
            ("isolate", "true"),
            ("ndp-proxy", "false"),
        ];
        let draft = set(&docker).unwrap();
        assert_eq!(draft, set(&ours).unwrap());
        assert_eq!((draft.options.mtu, draft.options.mtu_fixed, draft.options.icc), (1400, true, false));
        let source = set(&[("outbound_addr4", "192.0.2.1"), ("masquerade", "true")]).unwrap();
        assert_eq!(source, set(&[("com.docker.network.host_ipv4", "192.0.2.1")]).unwrap());
    }

    /// `mode` is for both families, and Docker's two options for one each.
    #[test]
    fn each_family_has_its_mode() {
        use GatewayMode::{Nat, Routed};
        let modes = |ranges: &[&str], options: &[(&str, &str)]| {
            let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
            let definition = Draft { ranges, ..set(options)? }.definition("web".parse().unwrap())?;
            Ok::<_, Invalid>((definition.options.mode, definition.options.mode6))
        };
        let (v4, v6) = (("gateway_mode_ipv4", "routed"), ("gateway_mode_ipv6", "routed"));
        let both = ["10.64.0.0/24", "fd00::/64"];
        assert_eq!(modes(&both, &[v4]).unwrap(), (Routed, Some(Nat)));
        assert_eq!(modes(&both, &[v6]).unwrap(), (Nat, Some(Routed)));
        assert_eq!(modes(&both, &[v6, v4]).unwrap(), (Routed, None));
        assert_eq!(modes(&both, &[("mode", "routed")]).unwrap(), (Routed, None));
        assert_eq!(modes(&both[..1], &[v4]).unwrap(), (Routed, None));
        assert!(modes(&both[..1], &[v6]).unwrap_err().to_string().contains("say ipv6"));
        let isolated = modes(&both, &[("mode6", "isolated")]).unwrap_err().to_string();
        assert!(isolated.contains("isolated is for both"), "{isolated}");
    }

    #[test]
    fn options_that_cannot_be_had() {
        let rows = [
            ("speed", "9", "there are bridge"),
            ("mtu", "9x", "no number of bytes"),
            ("mtu", "67", "from 68"),
            ("icc", "perhaps", "neither true nor false"),
            ("masquerade", "perhaps", "on, off"),
            ("ndp_proxy", "perhaps", "neither true nor false"),
            ("mode", "unmanaged", "there are nat, routed and isolated"),
            ("com.docker.network.bridge.gateway_mode_ipv4", "nat-unprotected", "every port"),
            ("com.docker.network.bridge.inhibit_ipv4", "true", "not built yet"),
            ("com.docker.network.enable_ipv6", "perhaps", "neither true nor false"),
            ("isolate", "false", "do not reach each other"),
            ("vlan", "7", "not built yet"),
            ("name", "x", "stands at the end"),
            ("bridge", "a b", "character"),
            ("trusted_interfaces", "a,a", "twice"),
            ("route", "10.0.0.0/8", "DESTINATION,GATEWAY"),
            ("route", "10.0.0.0/8,web", "\"web\""),
            ("route", "10.0.0.0/8,10.1.1.1,x", "metric"),
        ];
        for (key, value, why) in rows {
            let error = set(&[(key, value)]).expect_err(key).to_string();
            let named = format!("option {key} {value:?}");
            assert!(error.starts_with(&named) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn each_part_finds_its_range() {
        let draft = Draft {
            ranges: vec!["10.64.1.0/24".parse().unwrap(), "10.64.2.0/24".parse().unwrap()],
            gateways: vec!["10.64.2.9".parse().unwrap()],
            pools: vec!["10.64.1.128/25".parse().unwrap()],
            aux: vec![("nas".into(), "10.64.2.7".parse().unwrap())],
            ..Draft::default()
        };
        let definition = draft.clone().definition("web".parse().unwrap()).unwrap();
        let [one, two] = &definition.subnets[..] else { panic!("{definition:?}") };
        assert_eq!((one.gateway.address(), one.pool), ("10.64.1.1".parse().ok(), "10.64.1.128/25".parse().ok()));
        assert_eq!((two.gateway.address(), two.pool), ("10.64.2.9".parse().ok(), None));
        assert_eq!((one.aux.len(), two.aux["nas"]), (0, "10.64.2.7".parse().unwrap()));
        let refused = |change: fn(&mut Draft)| {
            let mut draft = draft.clone();
            change(&mut draft);
            draft.definition("web".parse().unwrap()).unwrap_err().to_string()
        };
        let rows = [
            refused(|draft| draft.gateways.push("10.64.2.8".parse().unwrap())),
            refused(|draft| draft.gateways.push("10.64.3.1".parse().unwrap())),
            refused(|draft| draft.pools.push("10.64.1.0/25".parse().unwrap())),
            refused(|draft| draft.aux.push(("nas".into(), "10.64.2.6".parse().unwrap()))),
            refused(|draft| draft.ranges.push("10.64.2.0/25".parse().unwrap())),
            refused(|draft| draft.ranges.clear()),
        ];
        let parts = ["the second of subnet", "in no subnet", "the second", "given twice", "overlaps", "in no subnet"];
        for (error, part) in rows.iter().zip(parts) {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
