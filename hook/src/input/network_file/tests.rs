use super::*;

fn read(text: &str) -> Result<Definition, Invalid> {
    parse(text, "/n/web.toml", "web")
}

const WHOLE: &str = r#"driver = "bridge"
bridge = "ocn-0123abcd"
mtu = 1400
internal = true
icc = false
masquerade = "192.0.2.1"
mode = "isolated"
host_binding = "127.0.0.1"
interface_prefix = "net"
trusted_interfaces = ["vpn0", "vpn1"]
dns = ["192.0.2.53", "2001:db8::53"]
# ocinet network prune removes the files that have this.
created = 2026-11-27T05:40:16Z

[[subnet]]
range = "10.64.3.0/24"
gateway = "10.64.3.254"
pool = "10.64.3.128/25"
aux = { "it's \"quoted\"" = "10.64.3.9" }

[[subnet]]
range = "10.64.4.0/24"
gateway = "10.64.4.1"

[[route]]
to = "10.0.0.0/9"
via = "10.64.3.9"
metric = 50

[labels]
"a.b" = "c\u000Ad"
"#;

#[test]
fn what_is_written_is_read_again() {
    let definition = read(WHOLE).unwrap();
    assert_eq!(definition.text(), WHOLE);
    let network = definition.network().unwrap();
    assert_eq!(network.link().unwrap().as_str(), "ocn-0123abcd");
    assert_eq!((network.subnets.len(), network.options.mtu), (2, 1400));
}

#[test]
fn a_proxy_is_written_again() {
    let text = "driver = \"bridge\"\nipv6 = true\nmode = \"routed\"\nndp_proxy = true\n";
    let definition = read(text).unwrap();
    assert!(definition.options.ndp_proxy);
    assert_eq!(definition.text(), text);
}

#[test]
fn all_may_be_left_open() {
    let definition = read("").unwrap();
    assert_eq!(definition, Definition::new("web".parse().unwrap()));
    assert_eq!(definition.network(), None);
    assert_eq!(definition.text(), "driver = \"bridge\"\n");
}

#[test]
fn every_mistake_is_named_with_file_key_and_value() {
    let rows = [
        ("nonsense", "line 1", "nonsense"),
        ("mtu = 1400\nmtu = 2", "line 2", "mtu = 2"),
        ("subnett = \"10.0.0.0/24\"", "subnett \"10.0.0.0/24\"", "there are driver, bridge, subnet"),
        ("driver = \"overlay\"", "driver \"overlay\"", "not built yet"),
        ("driver = \"brigde\"", "driver \"brigde\"", "there is bridge"),
        ("driver = 7", "driver \"7\"", "quotes"),
        ("mode = \"x\"", "mode \"x\"", "there are nat, routed"),
        ("mode = \"nat-unprotected\"", "mode \"nat-unprotected\"", "every port"),
        ("mode = \"isolated\"", "mode \"isolated\"", "internal networks alone"),
        ("mode = \"routed\"\ninternal = true", "mode \"routed\"", "does not"),
        ("mode = \"routed\"\nmasquerade = \"192.0.2.1\"", "mode \"routed\"", "masquerade"),
        ("mode = \"routed\"\nndp_proxy = true", "ndp_proxy \"true\"", "mode routed with IPv6"),
        ("ipv6 = true\nndp_proxy = true", "ndp_proxy \"true\"", "mode routed with IPv6"),
        ("ndp_proxy = 1", "ndp_proxy \"1\"", "neither true nor false"),
        ("bridge = \"abcdefghijklmnop\"", "bridge \"abcdefghijklmnop\"", "15 bytes"),
        ("bridge = true", "bridge \"true\"", "quotes"),
        ("mtu = \"1400\"", "mtu \"1400\"", "no number from 68 to 65535"),
        ("mtu = 67", "mtu \"67\"", "no number"),
        ("mtu = 65536", "mtu \"65536\"", "no number"),
        ("mtu = -1", "mtu \"-1\"", "no number"),
        ("internal = \"yes\"", "internal \"yes\"", "neither true nor false"),
        ("icc = 1", "icc \"1\"", "neither true nor false"),
        ("masquerade = \"maybe\"", "masquerade \"maybe\"", "on, off"),
        ("masquerade = 1", "masquerade \"1\"", "quotes"),
        ("host_binding = \"fd00::1\"", "host_binding \"fd00::1\"", "not built yet"),
        ("host_binding = \"224.0.0.1\"", "host_binding \"224.0.0.1\"", "no address of a host"),
        ("host_binding = \"web\"", "host_binding \"web\"", "no address"),
        ("host_binding = \"0.0.0.0\"", "host_binding \"0.0.0.0\"", "no address"),
        ("interface_prefix = \"a/b\"", "interface_prefix \"a/b\"", "character"),
        ("interface_prefix = \"abcdefghijklm\"", "abcdefghijklm", "12 bytes"),
        ("interface_prefix = \"eth0\"", "eth0", "digit"),
        ("trusted_interfaces = \"vpn0\"", "trusted_interfaces \"vpn0\"", "no list"),
        ("trusted_interfaces = [\"a b\"]", "trusted_interfaces", "a b"),
        ("dns = [\"192.0.2.1\", \"192.0.2.1\"]", "dns", "twice"),
        ("dns = [\"localhost\"]", "dns", "no address"),
        ("labels = \"a=b\"", "labels \"a=b\"", "no table"),
        ("[labels]\na = 1", "labels", "\"a\" is no text"),
        ("created = \"today\"", "created \"today\"", "date"),
        ("subnet = \"10.64.3.0/24\"", "subnet \"10.64.3.0/24\"", "[[subnet]]"),
        ("subnet = []", "subnet \"[]\"", "leave the key out"),
        ("subnet = [1]", "subnet \"1\"", "[[subnet]]"),
        ("[[subnet]]", "subnet 1: range", "missing"),
        ("[[subnet]]\nrange = \"10.64.3.0\"", "subnet 1: range \"10.64.3.0\"", "ADDRESS/PREFIX"),
        ("[[subnet]]\nrange = \"10.64.3.5/24\"", "subnet 1: range \"10.64.3.5/24\"", "10.64.3.0/24"),
        ("[[subnet]]\nrange = \"10.64.3.0/30\"", "subnet 1: range", "/29"),
        ("[[subnet]]\nrange = \"127.0.0.0/8\"", "subnet 1: range", "127.0.0.0/8"),
        ("[[subnet]]\nrange = \"fe80::/64\"", "subnet 1: range \"fe80::/64\"", "2000::/3"),
        ("[[subnet]]\nrange = \"fd00::/126\"", "subnet 1: range \"fd00::/126\"", "/125"),
        ("ipv6 = false\n[[subnet]]\nrange = \"fd00::/64\"", "ipv6 \"false\"", "fd00::/64"),
        ("ipv4 = false", "ipv4 \"false\"", "without addresses"),
        ("ipv6 = true\nmtu = 1279", "mtu \"1279\"", "1280"),
        (
            "[[subnet]]\nrange = \"10.64.3.0/24\"\ngateway = \"10.64.4.1\"",
            "subnet 1: gateway \"10.64.4.1\"",
            "10.64.3.0/24",
        ),
        (
            "[[subnet]]\nrange = \"10.64.3.0/24\"\ngateway = \"10.64.3.255\"",
            "gateway \"10.64.3.255\"",
            "no address of a host",
        ),
        ("[[subnet]]\nrange = \"10.64.3.0/24\"\npool = \"10.64.4.0/25\"", "pool \"10.64.4.0/25\"", "no part"),
        ("[[subnet]]\nrange = \"10.64.3.0/24\"\naux = { a = \"10.64.4.7\" }", "aux \"10.64.4.7\"", "\"a\""),
        ("[[subnet]]\nrange = \"10.64.3.0/24\"\naux = { a = \"10.64.3.1\" }", "aux \"10.64.3.1\"", "gateway"),
        ("[[subnet]]\nrange = \"10.64.3.0/24\"\nspeed = 1", "subnet 1: speed \"1\"", "range, gateway, pool, aux"),
        (
            "[[subnet]]\nrange = \"10.64.0.0/16\"\n[[subnet]]\nrange = \"10.64.3.0/24\"",
            "subnet \"10.64.3.0/24\"",
            "10.64.0.0/16",
        ),
        ("[[route]]\nvia = \"10.64.3.9\"", "route 1: to", "missing"),
        ("[[route]]\nto = \"10.0.0.0/9\"", "route 1: via", "missing"),
        ("[[route]]\nto = \"0.0.0.0/0\"\nvia = \"10.64.3.9\"", "route 1: to \"0.0.0.0/0\"", "default route"),
        ("[[route]]\nto = \"10.0.0.1/9\"\nvia = \"10.64.3.9\"", "route 1: to \"10.0.0.1/9\"", "host bits"),
        ("[[route]]\nto = \"10.0.0.0/9\"\nvia = \"fd00::1\"", "route \"fd00::1\"", "family"),
        ("[[route]]\nto = \"10.0.0.0/9\"\nvia = \"10.9.9.9\"", "route \"10.9.9.9\"", "say the range"),
        (
            "[[subnet]]\nrange = \"10.64.3.0/24\"\n[[route]]\nto = \"10.0.0.0/9\"\nvia = \"10.9.9.9\"",
            "route \"10.9.9.9\"",
            "no range",
        ),
        (
            "[[subnet]]\nrange = \"10.64.3.0/24\"\n[[route]]\nto = \"10.64.3.0/28\"\nvia = \"10.64.3.9\"",
            "route \"10.64.3.0/28\"",
            "own range",
        ),
    ];
    for (text, value, why) in rows {
        let error = read(text).map(|_| ()).expect_err(text).to_string();
        let is_named = error.starts_with("network /n/web.toml") && error.contains(value) && error.contains(why);
        assert!(is_named, "{text}: {error}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_told() {
    let told = |text: &str| mistakes(text, "/n/web.toml", "web").iter().map(ToString::to_string).collect::<Vec<_>>();
    let starts = |text: &str, starts: &[&str]| {
        let told = told(text);
        let as_expected = |(line, start): (&String, &&str)| line.starts_with(&format!("network /n/web.toml, {start}"));
        assert!(told.len() == starts.len() && told.iter().zip(starts).all(as_expected), "{text}: {told:#?}");
    };
    starts(
        "mtuu = 1400\ninternal = 1\n\n[[subnet]]\nrange = \"x\"\npool = 7\n[[route]]\nvia = \"10.0.0.1\"\n",
        &[
            "line 1: mtuu \"1400\"",
            "line 2: internal \"1\"",
            "line 5: subnet 1: range \"x\"",
            "line 6: subnet 1: pool \"7\"",
            "line 7: route 1: to \"\": is missing",
        ],
    );
    // What does not go together, as long as each can be read.
    let apart = "mode = \"isolated\"\nhost_binding = \"fd00::1\"\nspeed = 1\n";
    starts(apart, &["line 1: mode", "line 2: host_binding", "line 3: speed"]);
    starts(&format!("icc = 1\n{apart}"), &["line 1: icc", "line 4: speed"]);
    starts(
        "[[subnet]]\nrange = \"10.64.3.0/24\"\ngateway = \"10.64.4.1\"\npool = \"10.64.5.0/25\"\n",
        &["line 3: subnet 1: gateway", "line 4: subnet 1: pool"],
    );
    assert!(told(WHOLE).is_empty());
}

#[test]
fn names_that_mean_something_else_are_refused() {
    for name in ["bridge", "host", "none", "container", "default", "ns"] {
        let error = parse("", "/n/x.toml", name).unwrap_err().to_string();
        assert!(error.contains(&format!("network {name:?}").replace('"', "\"")), "{error}");
    }
    for name in ["container:x", "a/b", "..", "", "it's", "a\"b", &"x".repeat(300), "ü"] {
        assert!(definable(name).is_err(), "{name}");
    }
    for name in ["web", "Web_1.a-b", "hosts", &"x".repeat(64)] {
        assert_eq!(definable(name).unwrap().as_str(), name);
    }
}

proptest::proptest! {
    #[test]
    fn never_panics(text in ".{0,80}") {
        let _ = read(&text);
    }
}
