use std::path::Path;

use super::*;
use crate::input::{Bundle, State};

/// As `runc spec` writes it, with tabs, plus what other tools and later versions may add.
const SPEC: &str = r#"{
	"ociVersion": "1.0.2",
	"future": {
		"zeta": 1,
		"alpha": 18446744073709551615
	},
	"root": {
		"path": "rootfs"
	},
	"hostname": "runc",
	"hooks": {
		"createRuntime": [
			{
				"path": "/usr/bin/first"
			}
		],
		"poststop": [
			{
				"path": "/usr/bin/last",
				"timeout": 3
			}
		],
		"later": []
	},
	"linux": {
		"namespaces": [
			{
				"type": "pid"
			},
			{
				"type": "network"
			},
			{
				"type": "mount"
			}
		]
	}
}"#;

fn document(text: &str) -> Document {
    Document::parse(text.as_bytes(), "/b/config.json").unwrap()
}

fn text(document: &Document) -> String {
    String::from_utf8(document.to_json()).unwrap()
}

fn value(document: &Document) -> Value {
    Value::Object(document.spec.clone())
}

fn everything(network: Placement) -> Edit {
    Edit {
        hooks: Some(HookCommand {
            program: "/usr/bin/ocinet".into(),
            options: vec!["--state-dir".into(), "/run/x".into()],
        }),
        network: Some(network),
        annotations: vec![("io.ocinet.network", "bridge".into()), ("io.ocinet.publish", "8080:80".into())],
        hostname: Some("web".parse().unwrap()),
        mounts: vec![FileMount { source: "/run/ocinet/h".into(), destination: "/etc/hosts".into() }],
    }
}

#[test]
fn what_is_not_ours_stays_as_it_was() {
    let mut edited = document(SPEC);
    edited.edit(&everything(Placement::Own)).unwrap();
    let spec = value(&edited);
    assert_eq!(spec["hooks"]["createRuntime"][0]["path"], "/usr/bin/first");
    assert_eq!(spec["hooks"]["createRuntime"][1]["args"][2], "createRuntime");
    assert_eq!(spec["hooks"]["createRuntime"][1]["args"][3], "--state-dir");
    assert_eq!(spec["hooks"]["poststop"][0]["path"], "/usr/bin/ocinet");
    assert_eq!(spec["hooks"]["poststop"][1]["timeout"], 3);
    assert_eq!(spec["future"]["alpha"], u64::MAX);
    assert_eq!((&spec["hostname"], &spec["annotations"]["io.ocinet.publish"]), (&"web".into(), &"8080:80".into()));
    let (text, keys) = (text(&edited), ["ociVersion", "future", "zeta", "alpha", "root", "hostname", "linux"]);
    let places: Vec<_> = keys.iter().map(|key| text.find(&format!("\"{key}\"")).unwrap()).collect();
    assert!(places.is_sorted() && text.contains("\n\t\t\"zeta\""), "{text}");
}

#[test]
fn an_edit_made_twice_is_made_once() {
    for network in [Placement::Own, Placement::Host, Placement::At("/proc/7/ns/net".into())] {
        let mut edited = document(SPEC);
        edited.edit(&everything(network.clone())).unwrap();
        let once = text(&edited);
        edited.edit(&everything(network.clone())).unwrap();
        assert_eq!(text(&edited), once);
        let mut other = document(SPEC);
        other.edit(&everything(Placement::Host)).unwrap();
        other.edit(&everything(network)).unwrap();
        assert_eq!(text(&other), once, "an edit starts from where the last one did");
    }
}

#[test]
fn undo_gives_the_text_back() {
    let compact = r#"{"root":{"path":"r"},"annotations":{"a":"b","io.ocinet.network":"none","c":"d"},"mounts":null}"#;
    let ended = format!("{SPEC}\n");
    for original in [SPEC, compact, &ended, "{}"] {
        for network in [Placement::Own, Placement::Host, Placement::At("/proc/7/ns/net".into())] {
            let mut edited = document(original);
            edited.edit(&everything(network)).unwrap();
            assert_ne!(text(&edited), original);
            let mut read_again = document(&text(&edited));
            assert!(read_again.undo().unwrap());
            assert_eq!(text(&read_again), original);
            assert!(!read_again.undo().unwrap());
        }
    }
}

#[test]
fn undo_leaves_what_others_did_since() {
    let mut edited = document(SPEC);
    edited.edit(&everything(Placement::Host)).unwrap();
    let since = text(&edited).replace("/usr/bin/first", "/usr/bin/newer").replace("\"web\"", "\"theirs\"");
    let mut since = document(&since);
    since.spec["linux"]["namespaces"].as_array_mut().unwrap().clear();
    for key in ["x", "y", "z"] {
        since.spec["annotations"][key] = "theirs".into();
    }
    since.undo().unwrap();
    let spec = value(&since);
    assert_eq!(spec["annotations"].as_object().unwrap().keys().collect::<Vec<_>>(), ["x", "y", "z"]);
    assert_eq!(spec["hooks"]["createRuntime"], serde_json::json!([{"path": "/usr/bin/newer"}]));
    assert_eq!(spec["linux"]["namespaces"], serde_json::json!([{"type": "network"}]));
}

#[test]
fn namespaces_follow_the_placement() {
    let network = |original: &str, placement: Placement| {
        let mut edited = document(original);
        edited.edit(&Edit { network: Some(placement), ..Edit::default() }).unwrap();
        let spec = value(&edited);
        let list = spec["linux"]["namespaces"].as_array().cloned().unwrap_or_default();
        list.iter().find(|entry| entry["type"] == "network").cloned()
    };
    let own = r#"{"linux":{"namespaces":[{"type":"network"}]}}"#;
    let at = r#"{"linux":{"namespaces":[{"type":"network","path":"/run/netns/x"}]}}"#;
    let none = r#"{"linux":{}}"#;
    for original in [own, at, none] {
        assert_eq!(network(original, Placement::Host), None);
        assert_eq!(network(original, Placement::At("/p".into())).unwrap()["path"], "/p");
        assert!(network(original, Placement::Own).is_some());
    }
    assert_eq!(network(at, Placement::Own).unwrap()["path"], "/run/netns/x");
}

#[test]
fn a_hook_of_ours_is_brought_up_to_date_in_its_place() {
    for stage in ["prestart", "createRuntime"] {
        let spec = serde_json::json!({"hooks": {stage: [
            {"path": "/old/ocinet", "args": ["ocinet", "hook", stage]}, {"path": "/usr/bin/other"}]}});
        let mut edited = document(&spec.to_string());
        edited.edit(&everything(Placement::Own)).unwrap();
        let hooks = value(&edited)["hooks"].clone();
        let attaching = ["prestart", "createRuntime"].map(|stage| hooks[stage].as_array().map_or(0, Vec::len));
        assert_eq!(attaching.iter().sum::<usize>(), 2, "{hooks}");
        assert_eq!(hooks[stage][0]["path"], "/usr/bin/ocinet");
        edited.undo().unwrap();
        assert_eq!(value(&edited), spec);
    }
}

#[test]
fn another_tool_that_wires_is_not_doubled() {
    let nerdctl = |networks: &str| {
        serde_json::json!({"annotations": {"nerdctl/networks": networks}, "hooks": {"createRuntime": [
            {"path": "/usr/bin/nerdctl", "args": ["/usr/bin/nerdctl", "--data-root=/d", "internal", "oci-hook", "createRuntime"]}]}})
    };
    let docker = serde_json::json!({"hooks": {"prestart": [
        {"path": "/proc/7/exe", "args": ["libnetwork-setkey", "-exec-root=/var/run/docker", "id", "key"]}]}});
    for (spec, tool) in [(nerdctl(r#"["bridge"]"#), "nerdctl"), (docker, "Docker")] {
        let mut edited = document(&spec.to_string());
        let error = edited.edit(&everything(Placement::Own)).unwrap_err().to_string();
        assert!(error.contains(tool) && error.contains("--network none"), "{error}");
        assert_eq!(value(&edited), spec, "untouched");
    }
    let mut unwired = document(&nerdctl(r#"["none"]"#).to_string());
    assert!(unwired.is_left_to_others(), "until it asks for a network of ours");
    unwired.edit(&everything(Placement::Own)).unwrap();
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let rows = [
        ("[]", "no JSON object"),
        ("{", "config.json"),
        (r#"{"windows":{}}"#, "Windows"),
        (r#"{"vm":{}}"#, "virtual machine"),
        (r#"{"solaris":{}}"#, "Solaris"),
        (r#"{"hooks":[]}"#, "hooks"),
        (r#"{"hooks":{"poststop":{}}}"#, "hooks.poststop"),
        (r#"{"hooks":{"poststop":[{}]}}"#, "hooks.poststop"),
        (r#"{"annotations":{"a":1}}"#, "annotation a"),
        (r#"{"annotations":7}"#, "annotations"),
        (r#"{"linux":{"namespaces":{}}}"#, "linux.namespaces"),
        (r#"{"linux":{"namespaces":[{}]}}"#, "linux.namespaces"),
        (r#"{"linux":{"namespaces":[{"type":"network"},{"type":"network"}]}}"#, "twice"),
        (r#"{"mounts":{}}"#, "mounts"),
        (r#"{"mounts":[{}]}"#, "destination"),
        (r#"{"hostname":7}"#, "hostname"),
    ];
    for (json, part) in rows {
        let error = Document::parse(json.as_bytes(), "/b/config.json").unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("/b/config.json"), "{json}: {error}");
    }
    let mut sysctl = document(r#"{"linux":{"sysctl":{"net.core.somaxconn":"9"}}}"#);
    let error = sysctl.edit(&everything(Placement::Host)).unwrap_err().to_string();
    assert!(error.contains("net.core.somaxconn \"9\""), "{error}");
    let mut note = document(&format!(r#"{{"annotations":{{"{UNDO}":"x"}}}}"#));
    assert!(note.undo().unwrap_err().to_string().contains(UNDO));
}

#[test]
fn a_runtime_mounts_no_file_where_it_would_make_one_of_the_hosts() {
    let with = |root: &str, kind: &str, mount: &str| {
        document(&format!(
            r#"{{"root":{{"path":"r"{root}}},"linux":{{"namespaces":[{{"type":"mount"}}{kind}]}},"mounts":[{mount}]}}"#
        ))
    };
    let of = |folder: &str, kind: &str| format!(r#"{{"destination":"{folder}","type":"{kind}","source":"/srv"}}"#);
    let rows = [
        (with("", "", ""), true),
        (with("", "", &of("/etc", "tmpfs")), true),
        (with("", "", &of("/etc/ssl", "bind")), true),
        (with("", "", &of("/etc", "bind")), false),
        (with("", "", &of("/./etc/", "none")), false),
        (with(r#","readonly":true"#, "", ""), false),
        (with("", r#",{"type":"user"}"#, ""), false),
    ];
    for (mut document, expected) in rows {
        assert_eq!(document.can_mount_files(), expected, "{}", text(&document));
        document.edit(&everything(Placement::Own)).unwrap();
        let is_hosts = document.is_in_hosts_folder(Path::new("/etc/hosts"));
        assert_eq!(document.has_mount("/etc/hosts"), !is_hosts, "{}", text(&document));
    }
}

#[test]
fn podmans_own_files_give_way_and_its_users_stay() {
    let own = "/run/containers/storage/overlay-containers/0abf/userdata";
    let spec = serde_json::json!({
        "annotations": {"io.container.manager": "libpod"},
        "mounts": [
            {"destination": "/etc/hosts", "source": format!("{own}/hosts")},
            {"destination": "/etc/hostname", "source": "/home/me/userdata/hostname"},
            {"destination": "/dev/shm", "source": format!("{own}/shm")}],
        "linux": {"sysctl": {"net.ipv4.ping_group_range": "0 0", "net.core.somaxconn": "9"}}});
    let mut document = document(&spec.to_string());
    assert_eq!(document.podmans_file("hosts"), Some(format!("{own}/hosts").into()));
    assert_eq!(document.podmans_file("hostname"), None);
    document.leave_to_us(true);
    let left = value(&document);
    let mounts: Vec<_> = left["mounts"].as_array().unwrap().iter().map(|mount| &mount["destination"]).collect();
    assert_eq!(mounts, ["/etc/hostname", "/dev/shm"]);
    assert_eq!(left["linux"]["sysctl"], serde_json::json!({"net.core.somaxconn": "9"}));
}

#[test]
fn names_of_others_are_read_from_podmans_hosts() {
    let text = "192.0.2.9\tdb cache\n127.0.0.1\tlocalhost\n127.0.0.1\tvm\n2001:db8::9 six # note\nnonsense\n\
                192.0.2.1 a$b\n127.0.0.1\t0abf9418801f web\n";
    let others: Vec<_> = podmans_names(text).iter().map(|(name, address)| format!("{name}={address}")).collect();
    assert_eq!(others, ["db=192.0.2.9", "cache=192.0.2.9", "six=2001:db8::9"]);
}

#[test]
fn prepare_and_hook_refuse_the_same_keys() {
    let rows = [
        (r#""annotations":{"a":"1"},"annotations":{"b":"2"}"#, "annotations"),
        (r#""annotations":{"io.ocinet.network":"none","io.ocinet.network":"bridge"}"#, "io.ocinet.network"),
        (r#""hostname":"a","hostname":"b""#, "hostname"),
        (r#""linux":{},"linux":{"namespaces":[]}"#, "linux"),
        (r#""linux":{"namespaces":[],"namespaces":[]}"#, "namespaces"),
        (r#""linux":{"namespaces":[{"type":"network","type":"uts"}]}"#, "type"),
        (r#""mounts":[],"mounts":[]"#, "mounts"),
        (r#""mounts":[{"destination":"/a","destination":"/b"}]"#, "destination"),
        (r#""root":{"path":"s"}"#, "root"),
    ];
    for (members, key) in rows {
        let spec = format!(r#"{{"root":{{"path":"r"}},{members}}}"#);
        let prepare = Document::parse(spec.as_bytes(), "/b").unwrap_err().to_string();
        let hook = Bundle::parse(spec.as_bytes(), "/b").unwrap_err().to_string();
        let words = format!("duplicate field `{key}`");
        assert!(prepare.contains(&words) && hook.contains(&words), "{members}: {prepare}, {hook}");
    }
    let state = br#"{"id":"a","bundle":"/b","annotations":{"k":"1","k":"2"}}"#;
    assert!(State::parse(state).unwrap_err().to_string().contains("duplicate field `k`"));
}

#[test]
fn prepare_refuses_what_it_would_write_once() {
    for members in [r#""hooks":{},"hooks":{}"#, r#""process":{"args":["a"],"args":["b"]}"#] {
        let spec = format!(r#"{{"root":{{"path":"r"}},{members}}}"#);
        assert!(Document::parse(spec.as_bytes(), "/b").unwrap_err().to_string().contains("duplicate"), "{members}");
    }
}
