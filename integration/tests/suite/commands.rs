//! What the commands show to people and to programs.

use std::fs;

use anyhow::{Context, Result, ensure};
use ocinet_integration::{OCINET, Publish, Record, Settings, every};
use serde_json::Value;

/// Looking at a host that was never used shows nothing and makes nothing.
#[test]
fn an_unused_host_stays_unused() -> Result<()> {
    Settings::default().test(|host| {
        ensure!(host.records()?.is_empty(), "no record");
        host.ocinet("ps")?.success()?;
        host.ocinet("gc")?.success()?;
        every(["inspect web", "inspect web --json", "port web"], |command| {
            host.ocinet(command)?.exits(5)?.is_one_line()?.says(&["web"]).map(drop)
        })?;
        ensure!(!host.path("/run/ocinet").exists(), "not even a folder");
        Ok(())
    })
}

/// Tables name the container, its address and its ports; JSON says the same as `ps`.
#[test]
fn the_commands_agree() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80,127.0.0.1:9000-9002:90-92/udp").run()?;
        let _other = host.container("other").publish("80").run()?;
        let address = web.record()?.address().context("an address")?.to_string();
        every(["ps", "inspect web"], |command| {
            let table = host.ocinet(command)?.success()?;
            ensure!(["web", &address, "8080", "9000"].iter().all(|word| table.contains(word)), "{table}");
            Ok(())
        })?;
        let ports = host.ocinet("port web")?.success()?;
        ensure!(ports.contains("80/tcp -> 0.0.0.0:8080") && ports.contains("127.0.0.1:9002"), "{ports}");
        let inspected: Vec<Record> = host.json(&format!("{OCINET} inspect web --json"))?;
        ensure!(inspected == [web.record()?], "{inspected:#?}");
        let listed: Vec<Publish> = host.json(&format!("{OCINET} port web --json"))?;
        let pairs = |ports: &[Publish]| ports.iter().flat_map(Publish::pairs).collect::<Vec<_>>();
        ensure!(pairs(&listed) == pairs(&web.record()?.publish), "{listed:#?}");
        Ok(())
    })
}

/// Nobody but root reads what is in the store.
#[test]
fn the_state_is_roots_own() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").run()?;
        ensure!(host.sh("stat --format %a:%U /run/ocinet")?.trim() == "700:root", "/run/ocinet");
        Ok(())
    })
}

/// One JSON object a line, each saying whose it is, and how long a step took.
#[test]
fn the_log_is_json() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").prepare()?;
        fs::write(host.path("/mnt/state"), web.state("createRuntime").to_string())?;
        host.sh(&format!("{OCINET} --log-file /mnt/log hook createRuntime </mnt/state"))?;
        let log = fs::read_to_string(host.path("/mnt/log"))?;
        let lines = log.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let ours = |line: &Value| line["container"] == "web" && line["stage"] == "createRuntime";
        ensure!(!lines.is_empty() && lines.iter().all(ours), "{log}");
        // Which network it is turns out once the bundle is read.
        let wired = lines.iter().skip_while(|line| line["step"] != "request").skip(1);
        ensure!(wired.clone().count() > 3 && wired.clone().all(|line| line["network"] == "bridge"), "{log}");
        ensure!(lines.iter().any(|line| line["step"].is_string() && line["us"].is_u64()), "{log}");
        web.hook("poststop")?.success().map(drop)
    })
}
