use super::*;
use crate::input::network_file::Definition;

fn read(json: &str) -> Result<Draft, Invalid> {
    import(json.as_bytes(), "/f.json")
}

fn definition(json: &str) -> Definition {
    read(json).unwrap().definition("web".parse().unwrap()).unwrap()
}

/// As `docker network inspect` of version 29 prints it.
#[test]
fn dockers() {
    let json = r#"[{
        "Name": "shop", "Id": "5cf1", "Created": "2026-08-01T10:00:00Z", "Scope": "local", "Driver": "bridge",
        "EnableIPv4": true, "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": {}, "Config": [{
            "Subnet": "172.28.0.0/16", "IPRange": "172.28.5.0/24", "Gateway": "172.28.5.254",
            "AuxiliaryAddresses": {"nas": "172.28.1.5"}
        }]},
        "Internal": true, "Attachable": false, "Ingress": false, "ConfigFrom": {"Network": ""}, "ConfigOnly": false,
        "Containers": {}, "Options": {
            "com.docker.network.bridge.name": "br-shop", "com.docker.network.bridge.enable_icc": "false",
            "com.docker.network.driver.mtu": "1400"
        }, "Labels": {"com.docker.compose.project": "shop"}
    }]"#;
    let expected = r#"driver = "bridge"
mtu = 1400
internal = true
icc = false

[[subnet]]
range = "172.28.0.0/16"
gateway = "172.28.5.254"
pool = "172.28.5.0/24"
aux = { "nas" = "172.28.1.5" }

[labels]
"com.docker.compose.project" = "shop"
"#;
    assert_eq!(definition(json).text(), expected);
    assert_eq!(read(json).unwrap().name.as_deref(), Some("shop"));
}

/// As podman 5 writes it to /etc/containers/networks.
#[test]
fn netavarks() {
    let json = r#"{
        "name": "shop", "id": "2f25", "driver": "bridge", "network_interface": "podman1",
        "created": "2026-08-01T10:00:00.0+02:00",
        "subnets": [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.1",
                     "lease_range": {"start_ip": "10.89.0.129", "end_ip": "10.89.0.255"}}],
        "routes": [{"destination": "10.10.0.0/16", "gateway": "10.89.0.9", "metric": 100}],
        "ipv6_enabled": false, "internal": false, "dns_enabled": true, "network_dns_servers": ["192.0.2.53"],
        "labels": {"a": "b"}, "options": {"mtu": "1400", "isolate": "true"}, "ipam_options": {"driver": "host-local"}
    }"#;
    let expected = r#"driver = "bridge"
mtu = 1400
dns = ["192.0.2.53"]

[[subnet]]
range = "10.89.0.0/24"
gateway = "10.89.0.1"
pool = "10.89.0.128/25"

[[route]]
to = "10.10.0.0/16"
via = "10.89.0.9"
metric = 100

[labels]
"a" = "b"
"#;
    assert_eq!(definition(json).text(), expected);
}

/// As nerdctl 2 writes it to /etc/cni/net.d.
#[test]
fn cnis() {
    let json = r#"{
        "cniVersion": "1.0.0", "name": "shop", "nerdctlID": "17f2", "nerdctlLabels": {"a": "b"},
        "plugins": [
            {"type": "bridge", "bridge": "br-17f2", "mtu": 1400, "isGateway": true, "ipMasq": true, "hairpinMode": true,
             "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}],
                      "ranges": [[{"subnet": "10.4.1.0/24", "gateway": "10.4.1.1"}]]}},
            {"type": "portmap", "capabilities": {"portMappings": true}}, {"type": "firewall"}, {"type": "tuning"}
        ]
    }"#;
    let expected = r#"driver = "bridge"
mtu = 1400

[[subnet]]
range = "10.4.1.0/24"
gateway = "10.4.1.1"

[labels]
"a" = "b"
"#;
    assert_eq!(definition(json).text(), expected);
    let alone = r#"{"cniVersion": "0.4.0", "name": "n", "type": "bridge", "bridge": "cni0",
                    "ipam": {"type": "host-local", "subnet": "10.22.0.0/16", "rangeStart": "10.22.1.0", "rangeEnd": "10.22.1.255"}}"#;
    let found = definition(alone);
    assert!(found.options.internal, "without a gateway nothing leads out");
    assert_eq!((found.options.masquerade, found.subnets[0].pool), (Masquerade::Off, "10.22.1.0/24".parse().ok()));
}

#[test]
fn every_mistake_is_named_with_file_key_and_value() {
    let rows = [
        ("", "is no JSON"),
        ("{}", "none of Docker's"),
        ("[]", "one by one"),
        ("[{}, {}]", "one by one"),
        (r#"{"IPAM": {}, "IPAM": {}}"#, "duplicate"),
        (r#"{"IPAM": {}, "Driver": "overlay"}"#, "Driver \"overlay\""),
        (r#"{"IPAM": {}, "Driver": 7}"#, "Driver \"7\""),
        (r#"{"IPAM": {"Config": [{"Gateway": "10.0.0.1"}]}}"#, "IPAM.Config 0: Subnet"),
        (r#"{"IPAM": {"Config": [{"Subnet": "10.0.0.0"}]}}"#, "Subnet \"10.0.0.0\""),
        (r#"{"IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "Gateway": "x"}]}}"#, "gateway \"x\""),
        (r#"{"IPAM": {}, "Options": {"speed": "9"}}"#, "option speed \"9\""),
        (r#"{"IPAM": {}, "Labels": {"a": 1}}"#, "Labels: a \"1\""),
        (r#"{"subnets": [{}]}"#, "subnet \"\""),
        (r#"{"subnets": [7]}"#, "subnets \"7\""),
        (r#"{"subnets": [], "driver": "macvlan"}"#, "driver \"macvlan\""),
        (r#"{"subnets": [], "routes": [{"destination": "10.0.0.0/8"}]}"#, "routes"),
        (
            r#"{"subnets": [{"subnet": "10.0.0.0/24", "lease_range": {"start_ip": "10.0.0.10", "end_ip": "10.0.0.20"}}]}"#,
            "10.0.0.10-10.0.0.20",
        ),
        (r#"{"plugins": [{"type": "ptp"}]}"#, "type \"ptp\""),
        (r#"{"plugins": [{"type": "bridge", "ipam": {"type": "dhcp"}}]}"#, "\"dhcp\""),
        (r#"{"plugins": [{"type": "bridge", "vlan": 7}]}"#, "vlan \"7\""),
    ];
    for (json, part) in rows {
        let error = read(json).map(|_| ()).expect_err(json).to_string();
        assert!(error.starts_with("network definition /f.json") && error.contains(part), "{json}: {error}");
    }
}
