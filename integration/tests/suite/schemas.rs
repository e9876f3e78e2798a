//! What commands print as JSON is what packaging/doc/schemas says, in both directions: no field that is not described,
//! and every field that is described is printed by some scene. So one that is renamed or removed fails here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use jsonschema::{Registry, Validator};
use ocinet_integration::containerd::{Containerd, Release};
use ocinet_integration::{Host, OCINET, Runtime, Settings, eventually};
use serde_json::{Value, json};

/// What no scene here makes, and where it comes from.
const UNSEEN: [(&str, &str); 3] = [
    ("common.json", "/$defs/record/properties/kept_by"), // podman's containers with connections of their own
    ("common.json", "/$defs/record/properties/leads_elsewhere"), // pods, whose default route is another's
    ("common.json", "/$defs/namespace/properties/nsid"), // a namespace that the host gave an id
];

/// A key of the schemas by which a part is not the whole of its object.
const EXTENDED: &str = "allOf";

type Schemas = BTreeMap<String, Value>;

/// All schemas, by their files.
fn schemas() -> Result<Schemas> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/doc/schemas");
    fs::read_dir(folder)?
        .map(|entry| {
            let path = entry?.path();
            let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
            Ok((name.clone(), serde_json::from_str(&fs::read_to_string(&path)?).context(name)?))
        })
        .collect()
}

/// The schema refuses further properties, which it lets pass for programs that read it: they are added to.
fn strict(schema: &mut Value, is_part: bool) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                strict(value, key == EXTENDED);
            }
            let is_object = map.contains_key("properties") || map.contains_key("$ref");
            if is_object && !is_part && map.get("type").is_none_or(|kind| kind == "object" || kind == "array") {
                map.insert("unevaluatedProperties".into(), false.into());
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| strict(one, is_part)),
        _ => {}
    }
}

/// The definitions that others extend are strict where they are used, and not by themselves.
fn made_strict(mut all: Schemas) -> Schemas {
    for (name, schema) in &mut all {
        strict(schema, false);
        let extended = ["record", "member"].map(|part| format!("/$defs/{part}"));
        for part in extended.iter().filter(|_| name == "common.json") {
            if let Some(map) = schema.pointer_mut(part).and_then(Value::as_object_mut) {
                map.remove("unevaluatedProperties");
            }
        }
    }
    all
}

fn validator(all: &Schemas, name: &str) -> Result<Validator> {
    let common = &all["common.json"];
    let id = common["$id"].as_str().context("an id")?;
    let registry = Registry::new().add(id, common.clone())?.prepare()?;
    Ok(jsonschema::options().with_registry(&registry).build(&all[name])?)
}

/// Every description of a property, as a pointer into its file.
fn properties(schema: &Value, at: &str, found: &mut Vec<String>) {
    if let Value::Object(map) = schema {
        for (key, value) in map {
            let here = format!("{at}/{key}");
            if key == "properties" {
                found.extend(value.as_object().into_iter().flatten().map(|(name, _)| format!("{here}/{name}")));
            }
            properties(value, &here, found);
        }
    }
    if let Value::Array(all) = schema {
        all.iter().enumerate().for_each(|(nth, one)| properties(one, &format!("{at}/{nth}"), found));
    }
}

/// Outputs of commands, each with the file that describes it.
#[derive(Default)]
struct Seen(Vec<(&'static str, Value)>);

impl Seen {
    fn take(&mut self, host: &Host, schema: &'static str, command: &str) -> Result<()> {
        let text = host.sh(&format!("{OCINET} {command} || test $? = 1 -o $? -ge 6"))?;
        self.0.push((schema, serde_json::from_str(&text).context(text)?));
        Ok(())
    }

    fn take_lines(&mut self, schema: &'static str, lines: &str) -> Result<()> {
        for line in lines.lines() {
            self.0.push((schema, serde_json::from_str(line).with_context(|| line.to_owned())?));
        }
        Ok(())
    }

    /// What is shown of a host and a container on it.
    fn look(&mut self, host: &Host, container: &str) -> Result<()> {
        self.take(host, "ps.json", "ps --all --json")?;
        self.take(host, "ps.json", "ps --stats --json")?;
        self.take(host, "inspect.json", &format!("inspect {container} --json"))?;
        self.take(host, "port.json", &format!("port {container} --json"))?;
        self.take(host, "network-ls.json", "network ls --json")?;
        self.take(host, "network-inspect.json", "network inspect bridge own host")?;
        self.take(host, "doctor.json", "doctor --json")?;
        self.take(host, "explain.json", &format!("explain --json lan {container}:80"))?;
        self.take_lines("log.json", &host.sh(&format!("{OCINET} log --json"))?)?;
        self.take(host, "config-show.json", "config show --json")
    }
}

/// Networks of one's own, and a setting.
const PREPARE: &str = r#"
    mkdir -p /etc/ocinet/networks
    printf 'dns_fallback = ["192.0.2.53"]\n' >/etc/ocinet/config.toml
    printf 'bridge = "ocn-1"\ncreated = 2026-01-02T03:04:05Z\n[[subnet]]\nrange = "10.70.0.0/24"\npool = "10.70.0.128/25"\naux = { printer = "10.70.0.9" }\n[labels]\nshop = "1"\n' >/etc/ocinet/networks/own.toml
    printf 'bridge = "ocn-2"\nmode = "routed"\n[[subnet]]\nrange = "10.71.0.0/24"\n' >/etc/ocinet/networks/routed.toml
    printf 'bridge = "ocn-3"\n[[subnet]]\nrange = "10.72.0.0/24"\n' >/etc/ocinet/networks/third.toml"#;

/// A network whose containers are neighbours of the host over IPv6.
const NEAR: &str = r#"
    mkdir -p /etc/ocinet/networks
    ip address add fd00:72::1:0:0:1/64 dev uplink nodad
    printf 'bridge = "ocn-3"\nmode6 = "routed"\nndp_proxy = true\n[[subnet]]\nrange = "10.72.0.0/24"\n[[subnet]]\nrange = "fd00:72::/80"\n' >/etc/ocinet/networks/near.toml"#;

/// Containers of every kind under a runtime, and what is told of them.
fn under_a_runtime(seen: &mut Seen) -> Result<()> {
    Settings::default().runtime(Runtime::Runc).prepare(PREPARE).test(|host| {
        let mut events = host.background(&["sh", "-c", &format!("exec {OCINET} events --json")])?;
        let _began = eventually("it follows", || Ok(host.sh(&format!("pgrep -f '{OCINET} events'")).is_ok()));
        host.sh("sleep 1; ip netns add pod")?;
        let web = host
            .container("web")
            .network("bridge:gw-priority=1,guard=off;own:alias=shop")
            .publish("8080-8082:80-82,127.0.0.1:53:53/udp")
            .annotation("io.ocinet.publish-via", "own")
            .annotation("io.ocinet.dns", "192.0.2.7")
            .annotation("io.ocinet.dns-search", "example.org")
            .annotation("io.ocinet.dns-option", "ndots:2")
            .run()?;
        let away = host.container("away").network("routed").publish("80").run()?;
        let pod = host.container("pod").in_namespace("/run/netns/pod").publish("8090:80").run()?;
        let member = host.container("side").in_namespace("/run/netns/pod").serving(&["81"]).run()?;
        host.ocinet("network connect --ip 10.72.0.9 --mac-address 02:00:00:00:00:99 --interface shop0 --mtu 1400 --gw-priority=-1 third web")?.success()?;
        host.ocinet("network connect --gw-priority -1 own away")?.success()?;
        host.container("refused").publish("8080:80").refused()?;
        seen.look(host, "web")?;
        seen.look(host, "pod")?;
        seen.take(host, "explain.json", "explain --json away lan")?;
        seen.take(host, "explain.json", "explain --json host host:53/udp")?;
        seen.take(host, "plan.json", &format!("plan --json {}", web.bundle()))?;
        host.ocinet("network disconnect third web")?.success()?;
        host.ocinet("network disconnect own away")?.success()?;
        // A finding that is the operator's to mend.
        host.sh("nft add table inet theirs; nft 'add chain inet theirs forward { type filter hook forward priority 0; policy drop; }'")?;
        seen.take(host, "doctor.json", "doctor --json")?;
        host.sh("nft delete table inet theirs")?;
        host.sh("rm /run/ocinet/store-*")?;
        host.ocinet("gc")?.success()?;
        seen.look(host, "away")?;
        [web, away, member, pod].into_iter().try_for_each(|container| container.delete())?;
        host.settles()?;
        let mut lines = String::new();
        while !lines.contains("\"disconnected\"") || !lines.contains("\"detached\"") {
            lines += &(events.line()? + "\n");
        }
        seen.take_lines("events.json", &lines)?;
        drop(events);
        host.sh("ip netns del pod").map(drop)
    })
}

/// A container that is found by neighbours of the host.
fn as_a_neighbour(seen: &mut Seen) -> Result<()> {
    Settings::default().runtime(Runtime::Runc).prepare(NEAR).test(|host| {
        let near = host.container("near").network("near").publish("8080:80").run()?;
        seen.take(host, "inspect.json", "inspect --json near")?;
        near.delete()?;
        host.settles()?;
        host.ocinet("reset --force")?.success().map(drop)
    })
}

/// A namespace that the shim made for containerd.
fn under_containerd(seen: &mut Seen) -> Result<()> {
    Settings::default().prepare(PREPARE).test(|host| {
        let containerd = Containerd::start(host, Release::V2)?;
        let shop = containerd.run("shop", "--annotation io.ocinet.publish=8080:80", "80")?;
        seen.look(host, "shop")?;
        shop.delete()?;
        host.settles()
    })
}

#[test]
fn the_schemas_are_what_is_printed() -> Result<()> {
    let mut seen = Seen::default();
    under_a_runtime(&mut seen)?;
    as_a_neighbour(&mut seen)?;
    under_containerd(&mut seen)?;
    let schemas = schemas()?;
    for (name, schema) in &schemas {
        ensure!(schemas.len() > 8 && jsonschema::meta::is_valid(schema), "{name} is no schema");
        ensure!(name == "common.json" || seen.0.iter().any(|(of, _)| of == name), "nothing is printed of {name}");
    }
    let known = made_strict(schemas.clone());
    for (name, value) in &seen.0 {
        let errors: Vec<_> = validator(&known, name)?
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        ensure!(errors.is_empty(), "{name}: {errors:#?}\n{value:#}");
    }
    // A property that may be forbidden while all is still valid was not printed.
    let mut unseen = Vec::new();
    for (name, schema) in &schemas {
        let mut all = Vec::new();
        properties(schema, "", &mut all);
        for property in all {
            let mut less = known.clone();
            let (parent, key) = property.rsplit_once('/').context("a pointer")?;
            let described = less.get_mut(name).and_then(|schema| schema.pointer_mut(parent)).context("a place")?;
            described.as_object_mut().context("properties")?.insert(key.to_owned(), false.into());
            let uses = |of: &str| of == name || name == "common.json";
            let is_seen =
                seen.0.iter().filter(|(of, _)| uses(of)).map(|(of, value)| Ok(!validator(&less, of)?.is_valid(value)));
            if !is_seen.collect::<Result<Vec<_>>>()?.contains(&true) {
                unseen.push((name.clone(), property));
            }
        }
    }
    unseen.retain(|(name, property)| !UNSEEN.contains(&(name, property)));
    ensure!(unseen.is_empty(), "described, and not printed: {unseen:#?}");
    Ok(())
}

/// The strict form finds a field that is not described.
#[test]
fn a_field_that_is_not_described_is_found() -> Result<()> {
    let known = made_strict(schemas()?);
    let port = |more: Value| {
        let mut port = json!({"protocol": "tcp", "host_address": null, "host_port": 80, "container_port": 80});
        port.as_object_mut().context("an object")?.extend(more.as_object().cloned().unwrap_or_default());
        Ok::<_, anyhow::Error>(validator(&known, "port.json")?.is_valid(&json!([port])))
    };
    ensure!(port(json!({}))? && !port(json!({"colour": 1}))? && !port(json!({"count": 1}))?, "strict");
    Ok(())
}
