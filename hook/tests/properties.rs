//! Whatever others write, no way in panics and what must hold holds. `entry/` says what that is; here is what they
//! write: anything at all, what is nearly right, and what is right.

mod entry;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn states(id in ".{0,300}", pid: i64, bundle in ".{0,40}", junk: Vec<u8>, cut in 0usize..400) {
        entry::state(&junk);
        let state = serde_json::json!({ "id": id, "pid": pid, "bundle": format!("/{bundle}") }).to_string();
        entry::state(state.as_bytes());
        entry::state(&state.as_bytes()[..cut.min(state.len())]);
    }

    #[test]
    fn bundles(kind in ".{0,20}", path in ".{0,20}", root in ".{0,20}", junk: Vec<u8>) {
        entry::bundle(&junk);
        for kind in [kind.as_str(), "network"] {
            let linux = serde_json::json!({ "namespaces": [{ "type": kind, "path": path }], "mountLabel": path });
            let spec = serde_json::json!({ "root": { "path": root }, "linux": linux, "mounts": [{ "destination": path }] });
            entry::bundle(spec.to_string().as_bytes());
        }
    }

    #[test]
    fn specs(members in prop::collection::vec((section(), json()), 0..6), note in json(), junk: Vec<u8>) {
        entry::spec(&junk);
        let mut spec: serde_json::Map<_, _> = members.into_iter().collect();
        entry::spec(serde_json::Value::from(spec.clone()).to_string().as_bytes());
        // A forged note of ours.
        let changes = serde_json::json!([{ "set": [["hooks"], note] }, { "taken": [["mounts"], 7, note] }]);
        spec.insert("annotations".into(), serde_json::json!({ "io.ocinet.undo": changes.to_string() }));
        entry::spec(serde_json::Value::from(spec).to_string().as_bytes());
    }

    #[test]
    fn annotations(fields in prop::collection::vec(field(), 0..8), junk: Vec<u8>) {
        entry::annotations(&junk);
        let fields = fields.iter().map(|(which, text)| [&[*which], text.as_bytes()].concat());
        entry::annotations(&fields.collect::<Vec<_>>().join(&0xff));
    }

    #[test]
    fn configs(key in "[a-z_]{0,16}", value in ".{0,40}", range: [u8; 4], bits in 0u8..40, junk in ".{0,60}") {
        entry::config(junk.as_bytes());
        entry::config(format!("{key} = {value}").as_bytes());
        entry::config(format!("subnet = \"{}/{bits}\"", std::net::Ipv4Addr::from(range)).as_bytes());
    }

    #[test]
    fn stores(junk: Vec<u8>, damages in prop::collection::vec(damage(), 1..4)) {
        entry::store(&junk);
        entry::store(&[b"SQLite format 3\0", junk.as_slice()].concat());
        entry::damaged_store(damages.as_flattened());
    }

    #[test]
    fn publish_lists(entries in prop::collection::vec(publish_entry(), 0..6), junk in "[0-9:./,\\[\\] -]{0,40}") {
        entry::publish(entries.join(",").as_bytes());
        entry::publish(junk.as_bytes());
    }
}

/// `-p` as people write it, with ports so near to one another that they meet.
fn publish_entry() -> impl Strategy<Value = String> {
    let range = (1u16..12, 0u16..4).prop_map(|(first, more)| match more {
        0 => first.to_string(),
        _ => format!("{first}-{}", first + more),
    });
    let address = prop::sample::select(vec!["", "", "0.0.0.0:", "127.0.0.1:", "127.0.0.2:"]);
    let protocol = prop::sample::select(vec!["", "", "/tcp", "/udp"]);
    let host = prop_oneof![Just(String::new()), range.clone().prop_map(|range| format!("{range}:"))];
    (address, host, range, protocol).prop_map(|(address, host, container, protocol)| {
        let host = if host.is_empty() && !address.is_empty() { ":".into() } else { host };
        format!("{address}{host}{container}{protocol}")
    })
}

/// A damage as `entry::damaged_store` reads it: most turn a digit into another.
fn damage() -> impl Strategy<Value = [u8; 4]> {
    let kind = prop_oneof![4 => Just(0), 1 => 1u8..4];
    let value = prop_oneof![3 => Just(1), 1 => any::<u8>()];
    (any::<[u8; 2]>(), kind, value).prop_map(|([high, low], kind, value)| [high, low, kind, value])
}

/// A field as `entry::annotations` reads it: any in any, or one that is nearly right.
fn field() -> impl Strategy<Value = (u8, String)> {
    let which = prop_oneof![4 => 0u8..8, 1 => prop::sample::select(b"ibhds?".to_vec())];
    let host = "[a-zA-Z0-9.-]{1,20}:(192\\.0\\.2\\.[1-9]|host-gateway|\\[::1\\])";
    let publish = prop::collection::vec(publish_entry(), 1..4).prop_map(|entries| entries.join(","));
    prop_oneof![
        (which, ".{0,300}"),
        (Just(0), "bridge:(mtu=1400,)?interface=[!-+--~]{1,15}"),
        (Just(0), "bridge:interface=[a-z0-9.'-]{1,15},ip=10\\.90\\.0\\.[1-9],mac=0[0-9a-f]:0c:0a:5a:00:0[0-9a-f]"),
        (Just(1), publish),
        (2u8..4, "[a-zA-Z0-9_.-]{1,70}"),
        (Just(4), "(192\\.0\\.2\\.[1-9],){0,3}::1"),
        (5u8..7, "([a-z.:0-9-]{1,12},){0,3}[ -~]{0,3}"),
        (Just(7), prop::collection::vec(host, 1..4).prop_map(|hosts| hosts.join(","))),
        (prop::sample::select(b"ibhd".to_vec()), "[ -~é]{1,255}"),
    ]
}

/// A member of a spec, known or not.
fn section() -> impl Strategy<Value = String> {
    let known = vec!["annotations", "hooks", "mounts", "linux", "hostname"];
    prop_oneof![prop::sample::select(known).prop_map(String::from), ".{0,3}"]
}

/// Any JSON whose objects may have the names that we look for.
fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::from("network")),
        ".{0,6}".prop_map(Value::from),
    ];
    let names = ["type", "path", "args", "namespaces", "sysctl", "poststop", "createRuntime", "destination", "source"];
    let name = prop_oneof![prop::sample::select(names.to_vec()).prop_map(String::from), ".{0,3}"];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
