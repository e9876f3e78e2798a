//! `ocinet network`: the networks and the containers on them, in Docker's format.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{GATEWAY, OCINET, Settings, every};
use serde_json::{Value, json};

/// A host has three networks from the start, and looking at them creates nothing.
#[test]
fn the_networks_of_an_unused_host() -> Result<()> {
    Settings::default().test(|host| {
        host.unchanged_by(|| {
            every(["network ls", "network list"], |command| {
                let table = host.ocinet(command)?.success()?;
                let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
                let expected: [&[&str]; 4] = [
                    &["NETWORK", "DRIVER", "SUBNET", "CONTAINERS"],
                    &["bridge", "bridge", "10.90.0.0/16", "0"],
                    &["host", "host", "0"],
                    &["none", "null", "0"],
                ];
                ensure!(rows == expected, "{table}");
                Ok(())
            })?;
            let found: Value = host.json(&format!("{OCINET} network inspect bridge host none"))?;
            let names = found.as_array().context("an array")?.iter().map(|network| &network["Name"]);
            ensure!(names.collect::<Vec<_>>() == ["bridge", "host", "none"], "{found:#}");
            ensure!(found[0]["Containers"] == json!({}), "{found:#}");
            Ok(())
        })?;
        ensure!(!host.path("/run/ocinet").exists(), "not even a folder");
        Ok(())
    })
}

/// A program that reads Docker's `network inspect` can read ours.
#[test]
fn a_network_reads_like_dockers() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("0123456789abcdef").annotation("io.ocinet.name", "shop").run()?;
        let _other = host.container("other").run()?;
        let _none = host.container("silent").network("none").run()?;
        let _host = host.container("open").network("host").in_host_namespace().serving(&["8088"]).run()?;
        let found: Value = host.json(&format!("{OCINET} network inspect bridge host none"))?;
        let [bridge, of_host, of_none] = [&found[0], &found[1], &found[2]];
        let sandbox = web.sandbox()?;
        let endpoint = &sandbox.endpoints[0];
        let rows = [
            ("/Name", json!("bridge")),
            ("/Driver", json!("bridge")),
            ("/Scope", json!("local")),
            ("/Internal", json!(false)),
            ("/EnableIPv6", json!(false)),
            ("/IPAM/Driver", json!("default")),
            ("/IPAM/Config", json!([{ "Subnet": "10.90.0.0/16", "Gateway": GATEWAY }])),
            ("/Options/com.docker.network.bridge.name", json!("ocinet0")),
            ("/Containers/0123456789abcdef/Name", json!("shop")),
            ("/Containers/0123456789abcdef/IPv4Address", json!(endpoint.addresses[0])),
            ("/Containers/0123456789abcdef/IPv6Address", json!("")),
            ("/Containers/0123456789abcdef/MacAddress", json!(endpoint.mac)),
            ("/Containers/0123456789abcdef/EndpointID", json!(endpoint.host_interface)),
            ("/Containers/other/Name", json!("other")),
        ];
        every(rows, |(path, value)| {
            ensure!(bridge.pointer(path) == Some(value), "{:?} in {bridge:#}", bridge.pointer(path));
            Ok(())
        })?;
        let ids =
            |network: &Value| network["Containers"].as_object().map(|all| all.keys().cloned().collect::<Vec<_>>());
        ensure!(ids(bridge).is_some_and(|ids| ids == ["0123456789abcdef", "other"]), "{bridge:#}");
        ensure!(ids(of_host).is_some_and(|ids| ids == ["open"]), "{of_host:#}");
        ensure!(ids(of_none).is_some_and(|ids| ids == ["silent"]), "{of_none:#}");
        ensure!(of_none["Driver"] == "null" && of_none["IPAM"]["Config"] == json!([]), "{of_none:#}");
        let id = bridge["Id"].as_str().unwrap_or_default();
        ensure!(id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
        Ok(())
    })
}

/// The list counts the containers that are attached now.
#[test]
fn the_list_counts_containers() -> Result<()> {
    Settings::default().test(|host| {
        let counts = || -> Result<Vec<(String, u64)>> {
            let lines: Vec<Value> = host.json(&format!("{OCINET} network ls --json"))?;
            let count = |line: &Value| Some((line["name"].as_str()?.to_owned(), line["containers"].as_u64()?));
            Ok(lines.iter().filter_map(count).collect())
        };
        let expect = |bridge: u64, none: u64| -> Result<()> {
            let expected =
                [("bridge", bridge), ("host", 0), ("none", none)].map(|(name, count)| (name.to_owned(), count));
            ensure!(counts()? == expected, "{:?}", counts()?);
            Ok(())
        };
        expect(0, 0)?;
        let one = host.container("one").run()?;
        let two = host.container("two").run()?;
        let _none = host.container("none").network("none").run()?;
        expect(2, 1)?;
        one.delete()?;
        // At once: the link that is still draining does not count.
        expect(1, 1)?;
        two.delete()?;
        expect(0, 1)
    })
}

/// A configured range is shown before the first container.
#[test]
fn the_configured_range_is_shown() -> Result<()> {
    Settings::default().prepare("echo 'subnet = \"10.99.0.0/24\"' >/etc/ocinet/config.toml").test(|host| {
        let range = json!([{ "Subnet": "10.99.0.0/24", "Gateway": "10.99.0.1" }]);
        for _ in 0..2 {
            let found: Value = host.json(&format!("{OCINET} network inspect bridge"))?;
            ensure!(found[0]["IPAM"]["Config"] == range, "{found:#}");
            host.container("web").run()?.delete()?;
        }
        Ok(())
    })
}

/// An unknown network: nothing of it on stdout, and perhaps a suggestion.
#[test]
fn a_network_that_is_not_there() -> Result<()> {
    Settings::default().test(|host| {
        let rows = [
            ("brigde", "did you mean bridge"),
            ("hots", "did you mean host"),
            ("frontend", "network ls"),
            ("bridge nnoe", "nnoe"),
        ];
        every(rows, |(name, word)| {
            let refusal = host.unchanged_by(|| host.ocinet(&format!("network inspect {name}")))?.exits(5)?;
            // Those that there are are shown.
            let shown = refusal.stdout.matches("\"Name\"").count();
            ensure!(shown == usize::from(name.starts_with("bridge ")), "{refusal}");
            refusal.is_one_line()?.says(&[word]).map(drop)
        })
    })
}
