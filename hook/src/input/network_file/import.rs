//! Definitions of other programs: Docker's `network inspect`, and the files of netavark and CNI.
//!
//! The name of their bridge is not taken over: it may be in use, and what other firewalls accept is named `ocn-*`.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde_json::{Map, Value};

use super::Draft;
use super::read::static_route;
use crate::input::json;
use crate::model::{Invalid, Masquerade};

/// Reads the first network in the text of the file at `path`.
///
/// # Errors
/// When it is of no form that is known, or says what cannot be had. The error names the file, the key and the value.
pub fn import(text: &[u8], path: &str) -> Result<Draft, Invalid> {
    let place = format!("network definition {path}");
    let wrong = |why: String| Invalid::new(&place, "", why);
    let value = json::parse(text).map_err(|error| wrong(format!("is no JSON: {error}")))?;
    let networks = match value {
        Value::Array(list) => list,
        other => vec![other],
    };
    let [Value::Object(network)] = &networks[..] else {
        return Err(wrong("holds not exactly one network; take them over one by one".into()));
    };
    let mut import = Import::default();
    let read = match network {
        network if network.contains_key("IPAM") => import.docker(network),
        network if network.contains_key("network_interface") || network.contains_key("subnets") => {
            import.netavark(network)
        }
        network if network.contains_key("plugins") || network.contains_key("cniVersion") => import.cni(network),
        _ => Err(wrong("is none of Docker's network inspect, netavark's and CNI's definitions".into())),
    };
    read.map_err(|error| if error.field == place { error } else { error.within(&place) })?;
    Ok(import.draft)
}

type Object = Map<String, Value>;
type Done = Result<(), Invalid>;

#[derive(Default)]
struct Import {
    draft: Draft,
}

impl Import {
    fn docker(&mut self, network: &Object) -> Done {
        self.draft.name = text(network, "Name")?.map(str::to_owned);
        bridge_only("Driver", text(network, "Driver")?)?;
        self.draft.options.internal = flag(network, "Internal")?;
        // Older versions of Docker do not say the first.
        self.draft.ipv4 = of_kind(network, "EnableIPv4", "true or false", Value::as_bool)?;
        self.draft.ipv6 = flag(network, "EnableIPv6")?.then_some(true);
        self.labels(network, "Labels")?;
        self.options(network, "Options")?;
        let ipam = object(network, "IPAM")?;
        for (nth, range) in objects(ipam, "Config")?.enumerate() {
            let range = range?;
            let pool = text(range, "IPRange")?.filter(|pool| !pool.is_empty());
            let pool = pool.map(|pool| net("IPRange", pool)).transpose()?;
            let subnet = text(range, "Subnet")?.ok_or_else(|| missing(&format!("IPAM.Config {nth}: Subnet")))?;
            self.range(net("Subnet", subnet)?, text(range, "Gateway")?, pool)?;
            for (name, address) in texts(range, "AuxiliaryAddresses")? {
                self.draft.aux.push((name.to_owned(), address_of("AuxiliaryAddresses", address)?));
            }
        }
        Ok(())
    }

    fn netavark(&mut self, network: &Object) -> Done {
        self.draft.name = text(network, "name")?.map(str::to_owned);
        bridge_only("driver", text(network, "driver")?)?;
        self.draft.options.internal = flag(network, "internal")?;
        self.draft.ipv6 = flag(network, "ipv6_enabled")?.then_some(true);
        self.labels(network, "labels")?;
        self.options(network, "options")?;
        for server in list(network, "network_dns_servers")? {
            let server = server.as_str().unwrap_or_default();
            self.draft.options.dns.push(address_of("network_dns_servers", server)?);
        }
        for range in objects(network, "subnets")? {
            let range = range?;
            let subnet = net("subnet", text(range, "subnet")?.ok_or_else(|| missing("subnet"))?)?;
            let lease = object(range, "lease_range")?;
            let pool = pool_of(subnet, text(lease, "start_ip")?, text(lease, "end_ip")?)?;
            self.range(subnet, text(range, "gateway")?, pool)?;
        }
        for route in objects(network, "routes")? {
            let route = route?;
            let part = |key| text(route, key).map(Option::unwrap_or_default);
            let metric = route.get("metric").and_then(Value::as_u64).map(|metric| format!(",{metric}"));
            self.route(&format!("{},{}{}", part("destination")?, part("gateway")?, metric.unwrap_or_default()))?;
        }
        Ok(())
    }

    fn cni(&mut self, network: &Object) -> Done {
        self.draft.name = text(network, "name")?.map(str::to_owned);
        self.labels(network, "nerdctlLabels")?;
        let plugins = objects(network, "plugins")?.collect::<Result<Vec<_>, _>>()?;
        let plugin = plugins.first().copied().unwrap_or(network);
        bridge_only("type", text(plugin, "type")?)?;
        if plugin.get("vlan").and_then(Value::as_u64).is_some_and(|vlan| vlan > 0) {
            return Err(Invalid::new("vlan", &plugin["vlan"], "is not built yet"));
        }
        let options = &mut self.draft.options;
        options.internal = !(flag(plugin, "isGateway")? || flag(plugin, "isDefaultGateway")?);
        if !flag(plugin, "ipMasq")? {
            options.masquerade = Masquerade::Off;
        }
        options.icc = !flag(plugin, "portIsolation")?;
        if let Some(mtu) = plugin.get("mtu").and_then(Value::as_u64).filter(|mtu| *mtu > 0) {
            self.draft.set("mtu", &mtu.to_string())?;
        }
        for server in list(object(plugin, "dns")?, "nameservers")? {
            self.draft.options.dns.push(address_of("nameservers", server.as_str().unwrap_or_default())?);
        }
        self.host_local(object(plugin, "ipam")?)
    }

    fn host_local(&mut self, ipam: &Object) -> Done {
        match text(ipam, "type")? {
            None | Some("host-local") => {}
            Some(other) => return Err(Invalid::new("ipam: type", other, "is not built yet; there is host-local")),
        }
        // Each is a list of alternatives for one address.
        let groups = list(ipam, "ranges")?.iter().flat_map(|group| group.as_array().into_iter().flatten());
        let mut ranges: Vec<&Object> = groups.filter_map(Value::as_object).collect();
        if ipam.contains_key("subnet") {
            ranges.push(ipam);
        }
        for range in ranges {
            let subnet = net("subnet", text(range, "subnet")?.ok_or_else(|| missing("subnet"))?)?;
            let pool = pool_of(subnet, text(range, "rangeStart")?, text(range, "rangeEnd")?)?;
            self.range(subnet, text(range, "gateway")?, pool)?;
        }
        for route in objects(ipam, "routes")? {
            let route = route?;
            let (to, via) = (text(route, "dst")?.unwrap_or_default(), text(route, "gw")?.unwrap_or_default());
            if to != "0.0.0.0/0" || !via.is_empty() {
                self.route(&format!("{to},{via}"))?;
            }
        }
        Ok(())
    }

    fn range(&mut self, range: IpNet, gateway: Option<&str>, pool: Option<IpNet>) -> Done {
        self.draft.ranges.push(range);
        if let Some(gateway) = gateway.filter(|gateway| !gateway.is_empty()) {
            // Docker wrote it with the prefix length once.
            let address = gateway.split('/').next().unwrap_or_default();
            self.draft.gateways.push(address_of("gateway", address)?);
        }
        self.draft.pools.extend(pool);
        Ok(())
    }

    fn route(&mut self, route: &str) -> Done {
        let read = static_route(route).map_err(|why| Invalid::new("routes", route, why))?;
        self.draft.options.routes.push(read);
        Ok(())
    }

    fn labels(&mut self, network: &Object, key: &str) -> Done {
        let labels = texts(network, key)?.map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.draft.options.labels.extend(labels);
        Ok(())
    }

    fn options(&mut self, network: &Object, key: &str) -> Done {
        for (key, value) in texts(network, key)? {
            self.draft.set(key, value)?;
        }
        self.draft.link = None;
        Ok(())
    }
}

/// What a program gives out from `start` to `end`, as a range; none for all of `subnet`.
fn pool_of(subnet: IpNet, start: Option<&str>, end: Option<&str>) -> Result<Option<IpNet>, Invalid> {
    let IpNet::V4(subnet) = subnet else { return Ok(None) };
    let address = |text: Option<&str>, or| text.filter(|text| !text.is_empty()).map_or(Ok(or), str::parse);
    let wrong = |value: &str, why: &str| Invalid::new("lease range", value, why);
    let shown = format!("{}-{}", start.unwrap_or_default(), end.unwrap_or_default());
    let start = address(start, subnet.network()).map_err(|_| wrong(&shown, "has no address of IPv4"))?;
    let end = address(end, subnet.broadcast()).map_err(|_| wrong(&shown, "has no address of IPv4"))?;
    // With or without the two addresses that no host has.
    let fits = |range: &Ipv4Net| {
        let (first, last) = (u32::from(range.network()), u32::from(range.broadcast()));
        [first, first + 1].contains(&start.into()) && [last, last.saturating_sub(1)].contains(&end.into())
    };
    let candidates = (subnet.prefix_len()..=30).filter_map(|length| Ipv4Net::new(start, length).ok());
    match candidates.map(|range| range.trunc()).find(fits) {
        Some(all) if all == subnet => Ok(None),
        Some(part) => Ok(Some(part.into())),
        None => Err(wrong(&shown, "is not all of a range ADDRESS/PREFIX; say one with --ip-range")),
    }
}

fn bridge_only(key: &str, driver: Option<&str>) -> Done {
    match driver {
        None | Some("bridge") => Ok(()),
        Some(other) => Err(Invalid::new(key, other, "is not built yet; there is bridge")),
    }
}

fn net(key: &str, text: &str) -> Result<IpNet, Invalid> {
    text.parse().map_err(|_| Invalid::new(key, text, "is no range ADDRESS/PREFIX"))
}

fn address_of(key: &str, text: &str) -> Result<IpAddr, Invalid> {
    text.parse().map_err(|_| Invalid::new(key, text, "is no address"))
}

fn missing(key: &str) -> Invalid {
    Invalid::new(key, "", "is missing")
}

fn of_kind<'j, T>(
    object: &'j Object,
    key: &str,
    kind: &str,
    read: impl FnOnce(&'j Value) -> Option<T>,
) -> Result<Option<T>, Invalid> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).ok_or_else(|| Invalid::new(key, value, format!("is no {kind}"))),
    }
}

fn text<'j>(object: &'j Object, key: &str) -> Result<Option<&'j str>, Invalid> {
    of_kind(object, key, "text", Value::as_str)
}

fn flag(object: &Object, key: &str) -> Result<bool, Invalid> {
    Ok(of_kind(object, key, "true or false", Value::as_bool)?.unwrap_or_default())
}

fn list<'j>(object: &'j Object, key: &str) -> Result<&'j [Value], Invalid> {
    Ok(of_kind(object, key, "list", Value::as_array)?.map_or(&[], Vec::as_slice))
}

fn objects<'j>(object: &'j Object, key: &'j str) -> Result<impl Iterator<Item = Result<&'j Object, Invalid>>, Invalid> {
    let one = move |value: &'j Value| value.as_object().ok_or_else(|| Invalid::new(key, value, "is no object"));
    Ok(list(object, key)?.iter().map(one))
}

/// The object of that key; an empty one where there is none.
fn object<'j>(object: &'j Object, key: &str) -> Result<&'j Object, Invalid> {
    static EMPTY: std::sync::LazyLock<Object> = std::sync::LazyLock::new(Object::new);
    Ok(of_kind(object, key, "object", Value::as_object)?.unwrap_or(&EMPTY))
}

fn texts<'j>(network: &'j Object, key: &str) -> Result<impl Iterator<Item = (&'j str, &'j str)>, Invalid> {
    let all = object(network, key)?;
    if let Some((name, value)) = all.iter().find(|(_, value)| !value.is_string()) {
        return Err(Invalid::new(format!("{key}: {name}"), value, "is no text"));
    }
    Ok(all.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())))
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
