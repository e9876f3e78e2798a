//! From text to a [`Definition`]. Every error names the file, the key and the value.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use toml::Value;

use super::keys::{Keys, Read, address, list, named, number, parsed, text, yes_or_no};
use super::{Definition, definable};
use crate::input::config::is_for_hosts;
use crate::input::toml_text;
use crate::model::{
    Families, Family, Gateway, GatewayMode, IPV6_MIN_MTU, InterfaceName, Invalid, Masquerade, NAME_SERVERS, Options,
    StaticRoute, Subnet,
};

/// Reads the text of the file at `path`, which defines the network `name`.
///
/// # Errors
/// When it says what it may not, or the name may not be defined.
pub fn parse(text: &str, path: &str, name: &str) -> Result<Definition, Invalid> {
    let place = format!("network {path}");
    let name = definable(name).map_err(|error| error.within(&place))?;
    let table: toml::Table = toml::from_str(text).map_err(|error| toml_text::mistake(&place, text, &error))?;
    let mut keys = Keys::of(place, table);
    keys.take("driver", driver)?;
    let link = keys.take("bridge", parsed)?;
    let subnets: Vec<Subnet> = keys.tables("subnet")?.into_iter().map(subnet_of).collect::<Result<_, _>>()?;
    let (ipv4, ipv6) = (keys.take("ipv4", yes_or_no)?, keys.take("ipv6", yes_or_no)?);
    let families = families(&subnets, ipv4, ipv6).map_err(|error| keys.about(error))?;
    let definition = Definition {
        name,
        link,
        families,
        subnets,
        options: options(&mut keys)?,
        created: keys.take("created", moment)?,
    };
    check_together(&definition).map_err(|error| keys.about(error))?;
    keys.end()?;
    Ok(definition)
}

/// The families of a network with `subnets`, where `ipv4` and `ipv6` are what is said of them: IPv4 unless it is
/// switched off, and IPv6 where it is switched on, or has a range.
pub(super) fn families(subnets: &[Subnet], ipv4: Option<bool>, ipv6: Option<bool>) -> Result<Families, Invalid> {
    let mut families = Families::default();
    for (family, key, said, unsaid) in [(Family::V4, "ipv4", ipv4, true), (Family::V6, "ipv6", ipv6, false)] {
        let range = subnets.iter().map(|subnet| subnet.range).find(|range| Family::of(range.addr()) == family);
        match (said.unwrap_or(unsaid || range.is_some()), range) {
            (true, _) => families = families.with(family),
            (false, Some(range)) => return Err(Invalid::new(key, false, format!("and {range} is of that family"))),
            (false, None) => {}
        }
    }
    if families == Families::default() {
        return Err(Invalid::new("ipv4", false, "leaves the network without addresses; say ipv6, too"));
    }
    Ok(families)
}

fn options(keys: &mut Keys) -> Result<Options, Invalid> {
    let default = Options::default();
    let mtu = keys.take("mtu", number(68, 65_535))?;
    Ok(Options {
        mtu: mtu.unwrap_or(default.mtu),
        mtu_fixed: mtu.is_some(),
        derived_macs: default.derived_macs,
        internal: keys.take("internal", yes_or_no)?.unwrap_or(default.internal),
        icc: keys.take("icc", yes_or_no)?.unwrap_or(default.icc),
        masquerade: keys.take("masquerade", masquerade)?.unwrap_or_default(),
        mode: keys.take("mode", parsed)?.unwrap_or_default(),
        mode6: keys.take("mode6", parsed)?,
        ndp_proxy: keys.take("ndp_proxy", yes_or_no)?.unwrap_or(default.ndp_proxy),
        host_binding: keys.take("host_binding", address)?,
        interface_prefix: keys.take("interface_prefix", prefix)?,
        trusted_interfaces: keys.take("trusted_interfaces", list(parsed))?.unwrap_or_default(),
        routes: keys.tables("route")?.into_iter().map(route).collect::<Result<_, _>>()?,
        dns: keys.take("dns", list(address))?.unwrap_or_default(),
        labels: keys
            .take("labels", named(|value| text(value).map(str::to_owned)))?
            .unwrap_or_default()
            .into_iter()
            .collect(),
    })
}

/// What no key alone can be wrong with. The error names the key as the file calls it.
pub(super) fn check_together(definition: &Definition) -> Result<(), Invalid> {
    let Definition { subnets, options, .. } = definition;
    check_ways_in(options, definition.families)?;
    if options.ndp_proxy && !(options.is_routed(Family::V6) && definition.families.contains(Family::V6)) {
        return Err(Invalid::new("ndp_proxy", true, "is for networks of mode routed with IPv6"));
    }
    if definition.families.contains(Family::V6) && options.mtu_fixed && options.mtu < IPV6_MIN_MTU {
        let why = format!("is too small for IPv6, which needs {IPV6_MIN_MTU}");
        return Err(Invalid::new("mtu", options.mtu, why));
    }
    for (nth, subnet) in subnets.iter().enumerate() {
        let before = &subnets[..nth];
        if let Some(other) = before.iter().find(|other| overlap(&other.range, &subnet.range)) {
            let why = format!("overlaps {} of the same network", other.range);
            return Err(Invalid::new("subnet", subnet.range, why));
        }
    }
    for StaticRoute { to, via, .. } in &options.routes {
        let wrong = |value: &dyn std::fmt::Display, why: String| Err(Invalid::new("route", value, why));
        if to.addr().is_ipv4() != via.is_ipv4() {
            return wrong(via, format!("is of another family than {to}"));
        }
        if !subnets.iter().any(|subnet| subnet.range.contains(via)) {
            return wrong(via, "is in no range of the network; say the range that it is in, too".into());
        }
        if subnets.iter().any(|subnet| subnet.range.contains(to)) {
            return wrong(to, "is in the network's own range".into());
        }
    }
    Ok(())
}

/// How others may reach the network.
fn check_ways_in(options: &Options, families: Families) -> Result<(), Invalid> {
    let Options { internal, masquerade, mode, mode6, host_binding, .. } = options;
    if let Some(mode6) = mode6 {
        let wrong = |why: &str| Err(Invalid::new("mode6", mode6, why));
        if !families.contains(Family::V6) {
            return wrong("is for networks with IPv6; say ipv6, too");
        }
        if [*mode, *mode6].contains(&GatewayMode::Isolated) && mode != mode6 {
            return wrong("goes with the same mode alone: isolated is for both families");
        }
    }
    for family in families.iter() {
        let (key, mode) = match mode6 {
            Some(mode6) if family == Family::V6 => ("mode6", mode6),
            _ => ("mode", mode),
        };
        let wrong = |why: &str| Err(Invalid::new(key, mode, why));
        let is_outbound = matches!(masquerade, Masquerade::Outbound(address) if Family::of(*address) == family);
        match mode {
            GatewayMode::Isolated if !internal => return wrong("is for internal networks alone; say internal, too"),
            GatewayMode::Routed if *internal => {
                return wrong("leads to other hosts, and an internal network does not");
            }
            GatewayMode::Routed if is_outbound => {
                return wrong(
                    "leaves containers their own addresses outside, and masquerade gives them one of the host's",
                );
            }
            _ => {}
        }
    }
    match host_binding {
        Some(IpAddr::V6(address)) => {
            Err(Invalid::new("host_binding", address, "is an address of IPv6, which is not built yet"))
        }
        Some(IpAddr::V4(address)) if address.is_multicast() || address.is_broadcast() => {
            Err(Invalid::new("host_binding", address, "is no address of a host"))
        }
        _ => Ok(()),
    }
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

fn driver(value: &Value) -> Read<()> {
    match text(value)? {
        "bridge" => Ok(()),
        "macvlan" | "ipvlan" | "overlay" => Err("is not built yet; there is bridge".into()),
        _ => Err("is no driver; there is bridge".into()),
    }
}

fn masquerade(value: &Value) -> Read<Masquerade> {
    match value {
        Value::Boolean(true) => Ok(Masquerade::On),
        Value::Boolean(false) => Ok(Masquerade::Off),
        _ => parsed(value),
    }
}

/// With room for a number.
pub(super) fn prefix(value: &Value) -> Read<InterfaceName> {
    let prefix: InterfaceName = parsed(value)?;
    match prefix.as_str() {
        long if long.len() > 12 => Err("is longer than 12 bytes, which leaves no room for a number".into()),
        digits if digits.ends_with(|last: char| last.is_ascii_digit()) => Err("ends with a digit".into()),
        _ => Ok(prefix),
    }
}

fn moment(value: &Value) -> Read<String> {
    value.as_datetime().map(ToString::to_string).ok_or_else(|| "is no date and time, as create writes it".into())
}

fn subnet_of(mut keys: Keys) -> Result<Subnet, Invalid> {
    let range = keys.take("range", net)?.ok_or_else(|| keys.missing("range"))?;
    let gateway = keys.take("gateway", address)?;
    let pool = keys.take("pool", net)?;
    let aux = keys.take("aux", named(address))?.unwrap_or_default();
    let subnet = subnet(range, gateway, pool, aux.into_iter().collect());
    let subnet = subnet.map_err(|error| keys.about(error))?;
    keys.end()?;
    Ok(subnet)
}

/// A subnet of these parts; without a gateway, its first address.
///
/// # Errors
/// [`Invalid`] names the part, as the file calls it.
pub(super) fn subnet(
    range: IpNet,
    gateway: Option<IpAddr>,
    pool: Option<IpNet>,
    aux: BTreeMap<String, IpAddr>,
) -> Result<Subnet, Invalid> {
    let wrong = |key: &str, value: &dyn std::fmt::Display, why: String| Err(Invalid::new(key, value, why));
    if range.trunc() != range {
        return wrong("range", &range, format!("has host bits; the range is {}", range.trunc()));
    }
    let least = range.max_prefix_len() - 3;
    if range.prefix_len() > least {
        return wrong("range", &range, format!("has no room for containers; /{least} is the least"));
    }
    let why = match range {
        IpNet::V4(v4) if !is_for_hosts(&v4) => "a /8 at most, and none of 0.0.0.0/8, 127.0.0.0/8 and 224.0.0.0/3",
        IpNet::V6(v6) if !is_for_hosts6(&v6) => "a part of fc00::/7 or 2000::/3, a /16 at most",
        _ => "",
    };
    if !why.is_empty() {
        return wrong("range", &range, format!("is no range for a network: {why}"));
    }
    if let Some(server) = NAME_SERVERS.iter().find(|server| range.contains(*server)) {
        return wrong("range", &range, format!("has {server}, where containers ask for names"));
    }
    let is_hosts =
        |address: IpAddr| range.contains(&address) && address != range.network() && address != range.broadcast();
    let Some(mut subnet) = Subnet::with_first_gateway(range) else {
        return wrong("range", &range, "has no address for a gateway".into());
    };
    if let Some(gateway) = gateway {
        if !is_hosts(gateway) {
            return wrong("gateway", &gateway, format!("is no address of a host in {range}"));
        }
        subnet.gateway = Gateway::Host(gateway);
    }
    if let Some(pool) = pool {
        if !range.contains(&pool) || pool.trunc() != pool {
            return wrong("pool", &pool, format!("is no part of {range}"));
        }
        subnet.pool = Some(pool);
    }
    for (name, address) in &aux {
        if !is_hosts(*address) {
            return wrong("aux", address, format!("of {name:?} is no address of a host in {range}"));
        }
        if subnet.gateway.address() == Some(*address) {
            return wrong("aux", address, format!("of {name:?} is the gateway's"));
        }
    }
    subnet.aux = aux;
    Ok(subnet)
}

/// Unique local addresses (RFC 4193) and those of the whole Internet (RFC 4291, section 2.4).
fn is_for_hosts6(range: &Ipv6Net) -> bool {
    const RANGES: [Ipv6Net; 2] = [
        Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
        Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3),
    ];
    range.prefix_len() >= 16 && RANGES.iter().any(|of_hosts| of_hosts.contains(range))
}

fn net(value: &Value) -> Read<IpNet> {
    text(value)?.parse().map_err(|_| "is no range ADDRESS/PREFIX".into())
}

fn route(mut keys: Keys) -> Result<StaticRoute, Invalid> {
    let to = keys.take("to", destination)?.ok_or_else(|| keys.missing("to"))?;
    let via = keys.take("via", address)?.ok_or_else(|| keys.missing("via"))?;
    let metric = keys.take("metric", number(0, u32::MAX))?;
    keys.end()?;
    Ok(StaticRoute { to, via, metric })
}

/// `DESTINATION,GATEWAY[,METRIC]`, as podman writes it.
pub(super) fn static_route(route: &str) -> Read<StaticRoute> {
    let parts: Vec<&str> = route.split(',').collect();
    let ([to, via] | [to, via, _]) = parts[..] else {
        return Err("is not of the form DESTINATION,GATEWAY[,METRIC]".into());
    };
    let metric = parts.get(2).map(|metric| metric.parse().map_err(|_| "has a metric that is no number".to_owned()));
    let part = |text: &str, why: String| format!("has {text:?}, which {why}");
    Ok(StaticRoute {
        to: destination(&to.into()).map_err(|why| part(to, why))?,
        via: address(&via.into()).map_err(|why| part(via, why))?,
        metric: metric.transpose()?,
    })
}

fn destination(value: &Value) -> Read<IpNet> {
    let to = net(value)?;
    match to {
        _ if to.trunc() != to => Err(format!("has host bits; the range is {}", to.trunc())),
        _ if to.prefix_len() == 0 => Err("is the default route, which follows the gateway".into()),
        _ => Ok(to),
    }
}
