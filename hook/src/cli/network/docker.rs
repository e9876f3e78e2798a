//! A network in the format of Docker's API (`GET /networks/{id}`), for programs that read `docker network inspect`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use sha2::{Digest, Sha256};

use ocinet::engine::{NetworkKind, NetworkView};
use ocinet::input::config;
use ocinet::model::{self, Family, GatewayMode, InterfaceName, Masquerade, Sandbox, Subnet};

/// A network. Docker's `Created` is left out where `ocinet network create` did not write its definition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Network {
    name: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    scope: &'static str,
    driver: &'static str,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: bool,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    ipam: Ipam,
    internal: bool,
    attachable: bool,
    ingress: bool,
    config_from: ConfigFrom,
    config_only: bool,
    containers: BTreeMap<String, Container>,
    options: Map,
    labels: BTreeMap<String, String>,
}

type Map = BTreeMap<&'static str, String>;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    driver: &'static str,
    options: Map,
    config: Vec<Range>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Range {
    subnet: String,
    #[serde(rename = "IPRange", skip_serializing_if = "Option::is_none")]
    ip_range: Option<String>,
    gateway: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    auxiliary_addresses: BTreeMap<String, IpAddr>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigFrom {
    network: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    name: String,
    /// What identifies the endpoint: its link on the host or, where it has none there, its MAC; empty in the modes
    /// `host` and `none`.
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    mac_address: String,
    #[serde(rename = "IPv4Address")]
    ipv4_address: String,
    #[serde(rename = "IPv6Address")]
    ipv6_address: String,
}

impl From<&NetworkView> for Network {
    fn from(view: &NetworkView) -> Self {
        let (subnets, options): (&[Subnet], _) = match &view.kind {
            NetworkKind::Defined(network) => (&network.subnets, options(network)),
            NetworkKind::Host | NetworkKind::None => (&[], Map::new()),
        };
        let is_defined = matches!(view.kind, NetworkKind::Defined(_));
        let gateway = |subnet: &Subnet| subnet.gateway.address().map(|address| address.to_string()).unwrap_or_default();
        let range = |subnet: &Subnet| Range {
            subnet: subnet.range.to_string(),
            ip_range: subnet.pool.map(|pool| pool.to_string()),
            gateway: gateway(subnet),
            auxiliary_addresses: subnet.aux.clone(),
        };
        Self {
            name: view.name.clone(),
            id: id(&view.name),
            created: view.created().map(str::to_owned),
            scope: "local",
            driver: view.kind.driver(),
            // Docker gives the same for `host` and `none`.
            enable_ipv4: !is_defined || subnets.iter().any(|subnet| subnet.range.addr().is_ipv4()),
            enable_ipv6: subnets.iter().any(|subnet| subnet.range.addr().is_ipv6()),
            ipam: Ipam { driver: "default", options: Map::new(), config: subnets.iter().map(range).collect() },
            internal: matches!(&view.kind, NetworkKind::Defined(network) if network.options.internal),
            attachable: false,
            ingress: false,
            config_from: ConfigFrom { network: "" },
            config_only: false,
            containers: containers(view),
            options,
            labels: view.labels().clone(),
        }
    }
}

/// An id of 64 hexadecimal digits, derived from the name, as podman does it for its default network.
pub(super) fn id(name: &str) -> String {
    Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Docker's options of a bridge; none of a network without one.
fn options(network: &model::Network) -> Map {
    let Some(bridge) = network.link() else { return Map::new() };
    let mut options = Map::from([
        ("com.docker.network.bridge.name", bridge.to_string()),
        ("com.docker.network.bridge.enable_icc", network.options.icc.to_string()),
        ("com.docker.network.bridge.enable_ip_masquerade", (network.options.masquerade != Masquerade::Off).to_string()),
    ]);
    let set = &network.options;
    let mut add = |key, value: Option<String>| options.extend(value.map(|value| (key, value)));
    add("com.docker.network.driver.mtu", set.mtu_fixed.then(|| set.mtu.to_string()));
    let mode = |mode: GatewayMode| (mode != GatewayMode::Nat).then(|| mode.to_string());
    add("com.docker.network.bridge.gateway_mode_ipv4", mode(set.mode));
    add("com.docker.network.bridge.gateway_mode_ipv6", mode(set.mode_of(Family::V6)).filter(|_| network.has_ipv6()));
    add("ndp_proxy", set.ndp_proxy.then(|| true.to_string()));
    add("com.docker.network.bridge.host_binding_ipv4", set.host_binding.map(|address| address.to_string()));
    add("com.docker.network.container_iface_prefix", set.interface_prefix.as_ref().map(ToString::to_string));
    if let Masquerade::Outbound(address) = set.masquerade {
        add("com.docker.network.host_ipv4", Some(address.to_string()));
    }
    let trusted: Vec<&str> = set.trusted_interfaces.iter().map(InterfaceName::as_str).collect();
    add("com.docker.network.bridge.trusted_host_interfaces", (!trusted.is_empty()).then(|| trusted.join(":")));
    if network.name == config::default_bridge() {
        options.insert("com.docker.network.bridge.default_bridge", true.to_string());
    }
    options
}

/// By container id. If two roots of a runtime have the same id, the later ones are listed by id and bundle.
fn containers(view: &NetworkView) -> BTreeMap<String, Container> {
    let mut containers = BTreeMap::new();
    for sandbox in &view.sandboxes {
        let id = sandbox.container.to_string();
        let key = if containers.contains_key(&id) { format!("{id}@{}", sandbox.bundle) } else { id };
        containers.insert(key, container(view, sandbox));
    }
    containers
}

fn container(view: &NetworkView, sandbox: &Sandbox) -> Container {
    let endpoint = view.endpoint(sandbox);
    let address = |is_wanted: fn(&&ipnet::IpNet) -> bool| {
        let addresses = endpoint.map_or(&[][..], |endpoint| &endpoint.addresses);
        addresses.iter().find(is_wanted).map(ToString::to_string).unwrap_or_default()
    };
    let mac_address = endpoint.map(|e| e.mac.to_string()).unwrap_or_default();
    let link = endpoint.and_then(|e| e.wire.host_link());
    Container {
        name: sandbox.name.to_string(),
        endpoint_id: link.map_or_else(|| mac_address.clone(), ToString::to_string),
        mac_address,
        ipv4_address: address(|address| address.addr().is_ipv4()),
        ipv6_address: address(|address| address.addr().is_ipv6()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sandbox(id: &str, bundle: &str, mode: &str, octet: u8) -> Sandbox {
        let endpoint = json!({
            "endpoint": 2, "state": "attached", "network": "bridge", "driver": "bridge", "bridge": "ocinet0",
            "host_interface": format!("ocv{octet}"), "interface": "eth0", "mac": "02:0c:0a:5a:00:02", "mtu": 1500,
            "addresses": [format!("10.90.0.{octet}/16")], "gateways": ["10.90.0.1"],
        });
        let sandbox = json!({
            "record": 1, "container": id, "bundle": bundle, "name": id, "mode": mode, "state": "attached",
            "namespace": {"cookie": 1, "witness": {"path": "/n"}, "seen_from_pid_ns": 1, "seen_from_mnt_ns": 1},
            "endpoints": if mode == "bridge" { vec![endpoint] } else { vec![] }, "publish": [],
        });
        serde_json::from_value(sandbox).unwrap()
    }

    fn bridge() -> model::Network {
        let subnet = Subnet::with_first_gateway("10.90.0.0/16".parse().unwrap()).unwrap();
        model::Network::of_bridge(config::default_bridge(), "ocinet0".parse().unwrap(), vec![subnet])
    }

    #[test]
    fn a_bridge_reads_like_dockers() {
        let views =
            NetworkView::arrange(vec![bridge()], &[sandbox("web", "/b", "bridge", 2), sandbox("vpn", "/b", "host", 0)]);
        assert_eq!(views.iter().map(|view| view.name.as_str()).collect::<Vec<_>>(), ["bridge", "host", "none"]);
        let found = serde_json::to_value(Network::from(&views[0])).unwrap();
        let fields = "Attachable ConfigFrom ConfigOnly Containers Driver EnableIPv4 EnableIPv6 IPAM Id Ingress Internal \
                      Labels Name Options Scope";
        let mut names: Vec<_> = found.as_object().unwrap().keys().cloned().collect();
        names.sort_unstable();
        assert_eq!(names.join(" "), fields);
        assert_eq!(found["IPAM"]["Config"], json!([{"Subnet": "10.90.0.0/16", "Gateway": "10.90.0.1"}]));
        assert_eq!(found["Options"]["com.docker.network.bridge.name"], "ocinet0");
        let expected = json!({"web": {
            "Name": "web", "EndpointID": "ocv2", "MacAddress": "02:0c:0a:5a:00:02",
            "IPv4Address": "10.90.0.2/16", "IPv6Address": "",
        }});
        assert_eq!(found["Containers"], expected);
        let host = serde_json::to_value(Network::from(&views[1])).unwrap();
        assert_eq!((&host["Driver"], &host["Containers"]["vpn"]["IPv4Address"]), (&json!("host"), &json!("")));
    }

    #[test]
    fn no_container_hides_another_of_the_same_id() {
        let views = NetworkView::arrange(
            vec![bridge()],
            &[sandbox("web", "/a", "bridge", 2), sandbox("web", "/b", "bridge", 3)],
        );
        let keys: Vec<String> = containers(&views[0]).into_keys().collect();
        assert_eq!(keys, ["web", "web@/b"]);
    }
}
