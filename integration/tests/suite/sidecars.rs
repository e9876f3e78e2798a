//! Containers that share another's network, and what goes through it, in `ocinet ps`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use ocinet_integration::{OCINET, Proto::Tcp, Runtime, Settings, every};
use serde_json::Value;

/// Below the container whose network it is, by name and short id, and as it is when one of the two has gone.
#[test]
fn they_are_listed_with_the_one_whose_network_it_is() -> Result<()> {
    every([Runtime::Bare, Runtime::Runc, Runtime::Crun], |runtime| {
        Settings::default().runtime(*runtime).test(|host| {
            host.sh("ip netns add pod")?;
            let long = "0123456789abcdef".repeat(4);
            let owner = host.container("web").in_namespace("/run/netns/pod").publish("8080:80").run()?;
            let member = host.container(&long).in_namespace("/run/netns/pod").serving(&["81"]).run()?;
            let ps = |arguments: &str| host.ocinet(&format!("ps {arguments}"))?.success();
            let table = ps("")?;
            let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
            ensure!(lines.len() == 3 && lines[2][0] == &long[..12] && lines[2][2] == "container:web", "{table}");
            ensure!(lines[2].last() == Some(&"up"), "{table}");
            let listed: Value = serde_json::from_str(&ps("--json")?)?;
            ensure!(listed[0]["members"][0]["container"] == long.as_str(), "{listed:#}");
            ensure!(ps("-q --filter network=container:web")?.trim() == &long[..12], "{}", ps("")?);
            ensure!(ps("--filter port=8080 --format {{.ID}}")?.lines().next() == Some("web"), "{}", ps("")?);
            // It is called by its short id everywhere, and has what the other has.
            let inspected = host.ocinet(&format!("inspect {}", &long[..6]))?.success()?;
            ensure!(inspected.contains("container    web\n") && inspected.contains("shared by"), "{inspected}");
            ensure!(host.ocinet(&format!("port {}", &long[..6]))?.success()? == "80/tcp -> 0.0.0.0:8080\n");
            owner.delete()?;
            ensure!(ps("")?.contains("cut off") && ps("--format {{.Status}}")? == "cut off\n", "{}", ps("")?);
            host.ocinet(&format!("inspect {}", &long[..6]))?.exits(5)?.says(&["web", "that is gone"])?;
            let told = host.ocinet("doctor")?.exits(1)?.stdout;
            ensure!(told.contains(&format!("wrong: container {long} is cut off")), "{told}");
            let told = host.ocinet(&format!("doctor {}", &long[..12]))?.exits(1)?.stdout;
            ensure!(told.contains("is cut off"), "{told}");
            member.delete()?;
            ensure!(ps("")?.lines().count() == 1, "{}", ps("")?);
            let member = host.container("late").serving(&["81"]).in_namespace("/run/netns/pod").run()?;
            member.delete()?;
            host.settles()?;
            host.sh("ip netns del pod").map(drop)
        })
    })
}

/// Started again, the other one has another network, and what shares that of before is not in it.
#[test]
fn the_next_start_of_the_other_one_cuts_them_off() -> Result<()> {
    every([Runtime::Bare, Runtime::Runc], |runtime| {
        Settings::default().runtime(*runtime).test(|host| {
            let mut owner = host.container("web").run()?;
            let namespace = format!("/proc/{}/ns/net", owner.pid());
            let member = host.container("side").in_namespace(&namespace).serving(&["81"]).run()?;
            let statuses = || host.ocinet("ps --format {{.Names}}:{{.Status}}")?.success();
            ensure!(statuses()? == "web:up\nside:up\n", "{}", statuses()?);
            owner.restart()?;
            ensure!(statuses()? == "web:up\nside:cut off\n", "{}", statuses()?);
            let inspected = host.ocinet("inspect web")?.success()?;
            ensure!(!inspected.contains("shared by"), "{inspected}");
            let told = host.ocinet("doctor side")?.exits(1)?.stdout;
            ensure!(told.contains("container side is cut off"), "{told}");
            ensure!(host.ocinet("doctor web")?.exits(0)?.stdout.contains("nothing is wrong"), "of the other alone");
            member.delete()?;
            owner.delete()
        })
    })
}

/// One whose runtime never called poststop is dead, and `ocinet gc` forgets it.
#[test]
fn a_dead_one_is_forgotten() -> Result<()> {
    Settings::default().test(|host| {
        host.sh("ip netns add pod")?;
        let owner = host.container("web").in_namespace("/run/netns/pod").run()?;
        let member = host.container("side").in_namespace("/run/netns/pod").serving(&["81"]).run()?;
        host.ocinet("reset")?.exits(3)?.says(&["2 in all (web, side)"])?;
        member.abandon()?;
        let statuses = || host.ocinet("ps --format {{.Names}}:{{.Status}}")?.success();
        host.ocinet("reset")?.exits(3)?.says(&["1 in all (web)"])?;
        ensure!(statuses()? == "web:up\nside:dead\n", "{}", statuses()?);
        host.ocinet("gc")?.success()?;
        ensure!(statuses()? == "web:up\n", "{}", statuses()?);
        owner.delete()?;
        host.settles()?;
        host.sh("ip netns del pod").map(drop)
    })
}

/// What went through the link of each, as the container sees it; and again whenever something changes.
#[test]
fn what_goes_through_is_counted() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").serving(&["80"]).run()?;
        let address = web.sandbox()?.address().context("an address")?;
        let received = || -> Result<u64> {
            let listed: Value = serde_json::from_str(&host.ocinet("ps --stats --json")?.success()?)?;
            listed[0]["traffic"][0]["received_packets"].as_u64().context("a number")
        };
        let before = received()?;
        host.reaches(Tcp, format!("{address}:80"))?.is("web")?;
        ensure!(received()? > before, "nothing was counted");
        let table = host.ocinet("ps --stats")?.success()?;
        ensure!(table.contains("RECEIVED") && table.contains(" B ("), "{table}");
        let mut watch = host.command(&[OCINET, "ps", "--watch", "-q"]).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(watch.stdout.take().context("stdout")?).lines();
        ensure!(lines.next().context("a line")?? == "web", "the first list");
        let _late = host.container("late").run()?;
        ensure!(lines.by_ref().any(|line| line.is_ok_and(|line| line == "late")), "the next one");
        drop(lines);
        // Its reader has gone, so it ends by itself.
        watch.wait()?;
        Ok(())
    })
}
