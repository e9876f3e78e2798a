//! Connections that are made again with the next start of their container.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{OCINET, PEER, Proto::Tcp, Runtime, Settings, UPLINK, every};

use super::{DEFINE, joined, network, route};

/// What was connected is connected again with each start, with the same address, until it is disconnected; `--once` is
/// not kept. A network that is gone is no hindrance, and with its bundle all is forgotten of a container.
#[test]
fn a_connection_is_kept_over_restarts() -> Result<()> {
    every([Runtime::Bare, Runtime::Runc, Runtime::Crun], |runtime| {
        Settings::default().runtime(*runtime).prepare(DEFINE).test(|host| {
            let mut web = host.container("web").publish("8080:80").run()?;
            network(host, "connect --once back web")?.exits(0)?;
            network(host, "connect --gw-priority 1 --interface lan0 front web")?.exits(0)?;
            network(host, "create made")?.success()?;
            network(host, "connect made web")?.exits(0)?;
            let front = joined(&web)?[2].clone();
            ensure!(front.starts_with("front lan0 "), "{:?}", joined(&web)?);
            for _ in 0..2 {
                web.restart()?;
                let now = joined(&web)?;
                ensure!(now.len() == 3 && now.contains(&front), "{now:?} without {front}");
                ensure!(route(&web)? == "default via 10.64.1.1 dev lan0", "{}", route(&web)?);
                host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER)?;
            }
            network(host, "rm made")?.exits(3)?.says(&["web"])?;
            network(host, "disconnect made web")?.exits(0)?;
            web.restart()?;
            ensure!(joined(&web)?.len() == 2, "{:?}", joined(&web)?);
            network(host, "connect made web")?.exits(0)?;
            host.sh("rm /etc/ocinet/networks/made.toml")?;
            web.restart()?;
            ensure!(joined(&web)?.len() == 2, "its network has no definition: {:?}", joined(&web)?);
            network(host, "rm --force made")?.success()?;
            let bundle = web.bundle().to_owned();
            web.delete()?;
            host.sh(&format!("mv {bundle} /mnt/aside"))?;
            host.ocinet("gc")?.success()?;
            host.sh(&format!("mv /mnt/aside {bundle}"))?;
            host.settles()
        })
    })
}

/// Where a kept connection stands in the way of a start, that is said with what ends it; and it can be ended while the
/// container is away.
#[test]
fn it_can_be_ended_while_the_container_is_away() -> Result<()> {
    Settings::default().prepare(DEFINE).test(|host| {
        let mut web = host.container("web").annotation("io.ocinet.name", "shop").run()?;
        network(host, "connect --ip 10.64.1.9 front web")?.success()?;
        network(host, "connect back web")?.success()?;
        ensure!(host.ocinet("inspect web")?.stdout.contains("kept         network back"), "it is shown");
        let bundle = web.bundle().to_owned();
        let plan = || host.ocinet(&format!("plan {bundle} --id web"));
        // Its next start, with what is kept for it.
        ensure!(plan()?.success()?.contains("10.64.1.9/24 on front as eth1"), "its next start");
        web.kill()?;
        web.hook("poststop")?.success()?;
        host.settles()?;
        let other = host.container("other").network("front:ip=10.64.1.9").run()?;
        plan()?.exits(3)?.says(&["10.64.1.9", "other"])?;
        let refused = format!("{:#}", web.restart().err().context("its address is another's")?);
        let hint = "address 10.64.1.9 is leased to container other; it joins front, back since";
        ensure!(refused.contains(hint) && refused.contains("ocinet network disconnect front web"), "{refused}");
        network(host, "disconnect front shop")?.success()?;
        network(host, "disconnect front shop")?.exits(5)?;
        let lines = plan()?.success()?;
        ensure!(lines.contains("eth1") && !lines.contains("10.64.1."), "{lines}");
        web.restart()?;
        ensure!(joined(&web)?.len() == 2, "{:?}", joined(&web)?);
        web.delete()?;
        other.delete()
    })
}

/// The network by its id, as it is for connect.
#[test]
fn a_network_is_left_by_its_id() -> Result<()> {
    Settings::default().prepare(DEFINE).test(|host| {
        let web = host.container("web").run()?;
        network(host, "connect back web")?.success()?;
        let id = network(host, "inspect -f {{.Id}} back")?.success()?;
        network(host, &format!("disconnect {} web", &id[..12]))?.success()?;
        ensure!(joined(&web)?.len() == 1, "{:?}", joined(&web)?);
        web.delete()
    })
}

/// Its file of hosts has its address again once it has been on no network at all.
#[test]
fn hosts_after_no_network() -> Result<()> {
    Settings::default().runtime(Runtime::Runc).prepare(DEFINE).test(|host| {
        let web = host.container("web").network("front").annotation("io.ocinet.add-host", "up:host-gateway").run()?;
        let before = web.exec(&["cat", "/etc/hosts"])?;
        for _ in 0..2 {
            network(host, "connect --gw-priority 1 back web")?.success()?;
            let moved = web.exec(&["cat", "/etc/hosts"])?;
            ensure!(moved.contains("10.64.2.1\tup") && moved.contains("10.64.2.2\t"), "{moved}");
            network(host, "disconnect back web")?.success()?;
            network(host, "disconnect front web")?.success()?;
            ensure!(host.ocinet("ps")?.stdout.contains(" -  "), "on no network: {}", host.ocinet("ps")?);
            network(host, "connect --ip 10.64.1.2 front web")?.success()?;
            ensure!(web.exec(&["cat", "/etc/hosts"])? == before, "{before}\n{}", web.exec(&["cat", "/etc/hosts"])?);
        }
        web.delete()
    })
}

/// They go with the bundle: when it is gone, and also when another is at its path before anybody looked.
#[test]
fn it_is_forgotten_with_the_bundle() -> Result<()> {
    let rows = [
        // The spec may be written anew at any time.
        ("cp BUNDLE/config.json /mnt/copy; mv /mnt/copy BUNDLE/config.json; OCINET gc", 2),
        ("mv BUNDLE /mnt/aside; OCINET gc; mv /mnt/aside BUNDLE", 1),
        ("cp -a BUNDLE /mnt/aside; rm -r BUNDLE; mv /mnt/aside BUNDLE", 1),
        ("cp -a BUNDLE /mnt/aside; rm -r BUNDLE; mv /mnt/aside BUNDLE; OCINET gc", 1),
    ];
    every(rows, |(script, expected)| {
        Settings::default().prepare(DEFINE).test(|host| {
            let mut web = host.container("web").run()?;
            network(host, "connect front web")?.success()?;
            web.kill()?;
            web.hook("poststop")?.success()?;
            let bundle = web.bundle().to_owned();
            host.sh(&script.replace("BUNDLE", &bundle).replace("OCINET", OCINET))?;
            let plan = host.ocinet(&format!("plan {bundle} --id web"))?.success()?;
            ensure!(plan.contains("10.64.1.") == (*expected == 2), "{plan}");
            web.restart()?;
            ensure!(joined(&web)?.len() == *expected, "{:?}", joined(&web)?);
            web.delete()?;
            host.settles()
        })
    })
}
