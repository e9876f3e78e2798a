//! From text to a [`Definition`]. Every error names the file, the line, the key and the value.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use toml::Value;

use super::{Definition, definable};
use crate::input::config::{FOR_HOSTS, is_for_hosts};
use crate::input::toml_file::{self, Keys, Read, address, list, named, number, parsed, text, yes_or_no};
use crate::model::{
    Families, Family, Gateway, GatewayMode, IPV6_MIN_MTU, InterfaceName, Invalid, Masquerade, NAME_SERVERS,
    NetworkName, Options, StaticRoute, Subnet,
};

/// Reads the text of the file at `path`, which defines the network `name`.
///
/// # Errors
/// When it says what it may not, or the name may not be defined.
pub fn parse(text: &str, path: &str, name: &str) -> Result<Definition, Invalid> {
    read(text, path, name).map_err(toml_file::first)
}

/// All for which [`parse`] would refuse the file. Whether its values go together is told once each can be read.
pub fn mistakes(text: &str, path: &str, name: &str) -> Vec<Invalid> {
    read(text, path, name).err().unwrap_or_default()
}

fn read(text: &str, path: &str, name: &str) -> Result<Definition, Vec<Invalid>> {
    let file = format!("network {path}");
    let name = definable(name).map_err(|error| vec![error.within(&file)])?;
    toml_file::read(&file, text, |keys| definition(keys, name))
}

fn definition(keys: &mut Keys, name: NetworkName) -> Option<Definition> {
    keys.take("driver", driver);
    let link = keys.take("bridge", parsed);
    let subnets = tables(keys, "subnet", subnet_of);
    let (ipv4, ipv6) = (keys.take("ipv4", yes_or_no), keys.take("ipv6", yes_or_no));
    let options = options(keys);
    let created = keys.take("created", moment);
    if !keys.is_sound() {
        return None;
    }
    let families = families(&subnets, ipv4, ipv6).map_err(|error| keys.refuse(error)).ok()?;
    let definition = Definition { name, link, families, subnets, options, created };
    contradictions(&definition).into_iter().for_each(|error| keys.refuse(error));
    Some(definition)
}

/// The tables of the list `key`, which may not be empty.
fn tables<T>(keys: &mut Keys, key: &'static str, read: impl Fn(&mut Keys) -> Option<T>) -> Vec<T> {
    let Some(all) = keys.tables(key, read) else { return Vec::new() };
    if all.is_empty() && keys.is_sound() {
        keys.wrong(key, &"[]", "is empty; leave the key out".into());
    }
    all
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

fn options(keys: &mut Keys) -> Options {
    let default = Options::default();
    let mtu = keys.take("mtu", number(68, 65_535));
    Options {
        mtu: mtu.unwrap_or(default.mtu),
        mtu_fixed: mtu.is_some(),
        derived_macs: default.derived_macs,
        internal: keys.take("internal", yes_or_no).unwrap_or(default.internal),
        icc: keys.take("icc", yes_or_no).unwrap_or(default.icc),
        masquerade: keys.take("masquerade", masquerade).unwrap_or_default(),
        mode: keys.take("mode", parsed).unwrap_or_default(),
        mode6: keys.take("mode6", parsed),
        ndp_proxy: keys.take("ndp_proxy", yes_or_no).unwrap_or(default.ndp_proxy),
        host_binding: keys.take("host_binding", address),
        interface_prefix: keys.take("interface_prefix", prefix),
        trusted_interfaces: keys.take("trusted_interfaces", list(parsed)).unwrap_or_default(),
        routes: tables(keys, "route", route),
        dns: keys.take("dns", list(address)).unwrap_or_default(),
        labels: keys
            .take("labels", named(|value| text(value).map(str::to_owned)))
            .unwrap_or_default()
            .into_iter()
            .collect(),
    }
}

/// What no key alone can be wrong with. Each error names the key as the file calls it.
pub(super) fn contradictions(definition: &Definition) -> Vec<Invalid> {
    let Definition { subnets, options, .. } = definition;
    let modes = Family::ALL.into_iter().filter(|family| definition.families.contains(*family));
    let mut all: Vec<Invalid> = wrong_mode6(options, definition.families).into_iter().collect();
    all.extend(modes.filter_map(|family| wrong_mode(options, family)));
    // Where it is said of both families together, it is one mistake.
    all.dedup_by_key(|mistake| mistake.to_string());
    all.extend(wrong_binding(options));
    if options.ndp_proxy && !(options.is_routed(Family::V6) && definition.families.contains(Family::V6)) {
        all.push(Invalid::new("ndp_proxy", true, "is for networks of mode routed with IPv6"));
    }
    if definition.families.contains(Family::V6) && options.mtu_fixed && options.mtu < IPV6_MIN_MTU {
        let why = format!("is too small for IPv6, which needs {IPV6_MIN_MTU}");
        all.push(Invalid::new("mtu", options.mtu, why));
    }
    for (nth, subnet) in subnets.iter().enumerate() {
        if let Some(other) = subnets[..nth].iter().find(|other| overlap(&other.range, &subnet.range)) {
            let why = format!("overlaps {} of the same network", other.range);
            all.push(Invalid::new("subnet", subnet.range, why));
        }
    }
    all.extend(options.routes.iter().filter_map(|route| wrong_route(route, subnets)));
    all
}

fn wrong_route(StaticRoute { to, via, .. }: &StaticRoute, subnets: &[Subnet]) -> Option<Invalid> {
    let wrong = |value: &dyn std::fmt::Display, why: String| Some(Invalid::new("route", value, why));
    if to.addr().is_ipv4() != via.is_ipv4() {
        return wrong(via, format!("is of another family than {to}"));
    }
    if !subnets.iter().any(|subnet| subnet.range.contains(via)) {
        return wrong(via, "is in no range of the network; say the range that it is in, too".into());
    }
    if subnets.iter().any(|subnet| subnet.range.contains(to)) {
        return wrong(to, "is in the network's own range".into());
    }
    None
}

/// How others may reach the network.
fn wrong_mode(options: &Options, family: Family) -> Option<Invalid> {
    let Options { internal, masquerade, mode6, .. } = options;
    let (key, mode) = (if family == Family::V6 && mode6.is_some() { "mode6" } else { "mode" }, options.mode_of(family));
    let is_outbound = matches!(masquerade, Masquerade::Outbound(address) if Family::of(*address) == family);
    let why = match mode {
        GatewayMode::Isolated if !internal => "is for internal networks alone; say internal, too",
        GatewayMode::Routed if *internal => "leads to other hosts, and an internal network does not",
        GatewayMode::Routed if is_outbound => {
            "leaves containers their own addresses outside, and masquerade gives them one of the host's"
        }
        _ => return None,
    };
    Some(Invalid::new(key, mode, why))
}

fn wrong_mode6(Options { mode, mode6, .. }: &Options, families: Families) -> Option<Invalid> {
    let mode6 = (*mode6)?;
    let why = match [*mode, mode6].contains(&GatewayMode::Isolated) {
        _ if !families.contains(Family::V6) => "is for networks with IPv6; say ipv6, too",
        true if *mode != mode6 => "goes with the same mode alone: isolated is for both families",
        _ => return None,
    };
    Some(Invalid::new("mode6", mode6, why))
}

fn wrong_binding(Options { host_binding, .. }: &Options) -> Option<Invalid> {
    let why = match (*host_binding)? {
        IpAddr::V6(_) => "is an address of IPv6, which is not built yet",
        IpAddr::V4(address) if address.is_multicast() || address.is_broadcast() => "is no address of a host",
        IpAddr::V4(_) => return None,
    };
    Some(Invalid::new("host_binding", (*host_binding)?, why))
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

fn subnet_of(keys: &mut Keys) -> Option<Subnet> {
    let range = keys.need("range", net);
    let gateway = keys.take("gateway", address);
    let pool = keys.take("pool", net);
    let aux = keys.take("aux", named(address)).unwrap_or_default();
    let subnet = subnet(range?, gateway, pool, aux.into_iter().collect());
    subnet.map_err(|mistakes| mistakes.into_iter().for_each(|error| keys.refuse(error))).ok()
}

/// A subnet of these parts; without a gateway, its first address.
///
/// # Errors
/// All that is wrong with them. Each [`Invalid`] names the part, as the file calls it.
pub(super) fn subnet(
    range: IpNet,
    gateway: Option<IpAddr>,
    pool: Option<IpNet>,
    aux: BTreeMap<String, IpAddr>,
) -> Result<Subnet, Vec<Invalid>> {
    let of_range = |why: String| vec![Invalid::new("range", range, why)];
    check_range(range).map_err(of_range)?;
    let mut subnet =
        Subnet::with_first_gateway(range).ok_or_else(|| of_range("has no address for a gateway".into()))?;
    let mut wrong = Vec::new();
    let is_hosts =
        |address: IpAddr| range.contains(&address) && address != range.network() && address != range.broadcast();
    if let Some(gateway) = gateway {
        if !is_hosts(gateway) {
            wrong.push(Invalid::new("gateway", gateway, format!("is no address of a host in {range}")));
        }
        subnet.gateway = Gateway::Host(gateway);
    }
    if pool.is_some_and(|pool| !range.contains(&pool) || pool.trunc() != pool) {
        wrong.extend(pool.map(|pool| Invalid::new("pool", pool, format!("is no part of {range}"))));
    }
    subnet.pool = pool;
    for (name, address) in &aux {
        let why = match () {
            () if !is_hosts(*address) => format!("of {name:?} is no address of a host in {range}"),
            () if subnet.gateway.address() == Some(*address) => format!("of {name:?} is the gateway's"),
            () => continue,
        };
        wrong.push(Invalid::new("aux", address, why));
    }
    subnet.aux = aux;
    if wrong.is_empty() { Ok(subnet) } else { Err(wrong) }
}

/// Whether a network can have `range`.
fn check_range(range: IpNet) -> Read<()> {
    if range.trunc() != range {
        return Err(format!("has host bits; the range is {}", range.trunc()));
    }
    let least = range.max_prefix_len() - 3;
    if range.prefix_len() > least {
        return Err(format!("has no room for containers; /{least} is the least"));
    }
    let why = match range {
        IpNet::V4(v4) if !is_for_hosts(&v4) => FOR_HOSTS,
        IpNet::V6(v6) if !is_for_hosts6(&v6) => "a part of fc00::/7 or 2000::/3, a /16 at most",
        _ => "",
    };
    if !why.is_empty() {
        return Err(format!("is no range for a network: {why}"));
    }
    match NAME_SERVERS.iter().find(|server| range.contains(*server)) {
        Some(server) => Err(format!("has {server}, where containers ask for names")),
        None => Ok(()),
    }
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

fn route(keys: &mut Keys) -> Option<StaticRoute> {
    let to = keys.need("to", destination);
    let via = keys.need("via", address);
    let metric = keys.take("metric", number(0, u32::MAX));
    Some(StaticRoute { to: to?, via: via?, metric })
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
