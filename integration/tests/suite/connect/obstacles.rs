//! What stands in the way of a connect or disconnect, and of other containers' connections.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{OCINET, Proto::Tcp, Runtime, Settings};

use super::{DEFINE, joined, network};

/// Makes what the store says of one container unreadable, which is not seen when it is opened.
const DAMAGE: &str = "store=$(ls /run/ocinet/store-*.db)
    at=$(grep -oba '10[.]90[.]0[.]' $store | head -n 1 | cut -d: -f1)
    printf zz | dd of=$store bs=1 seek=$at conv=notrunc status=none";

/// A store that another command finds damaged and rebuilds in the middle of a connect or disconnect: that is done once
/// more, and the container is on the networks that it was on, and on the one that was asked for.
#[test]
fn a_store_is_rebuilt_meanwhile() -> Result<()> {
    Settings::default().prepare(DEFINE).test(|host| {
        let web = host.container("web").run()?;
        for round in 0..2 {
            for (arguments, expected) in [("connect front web", 2), ("disconnect front web", 1)] {
                host.sh(&format!(
                    "strace -o /dev/null -e inject=setns:delay_enter=1s:when=4 {OCINET} network {arguments} &
                     sleep 0.5; {DAMAGE}; {OCINET} gc 2>/dev/null; kill -0 $!; wait $!"
                ))
                .with_context(|| format!("{arguments}, {round}"))?;
                host.sh("rm /run/ocinet/store-*.damaged").context("the store was set aside")?;
                ensure!(joined(&web)?.len() == expected, "{arguments}: {:?}", joined(&web)?);
                host.ocinet("doctor")?.success().with_context(|| arguments)?;
            }
        }
        // The kernel does not know the bundle with which it would end.
        network(host, "connect back web")?.exits(0)?.says(&["its next start does not join the network"])?;
        web.delete()
    })
}

/// A container whose file of hosts cannot be rewritten leaves a network all the same.
#[test]
fn a_file_of_hosts_that_cannot_be_written() -> Result<()> {
    Settings::default().runtime(Runtime::Runc).prepare(DEFINE).test(|host| {
        let web = host.container("web").network("front;back").run()?;
        host.sh("head -c 1100000 /dev/zero | tr '\\0' '#' | tee -a /run/ocinet/containers/*/hosts >/dev/null")?;
        network(host, "connect shut web")?.exits(1)?.says(&["hosts"])?;
        ensure!(joined(&web)?.len() == 2, "{:?}", joined(&web)?);
        network(host, "disconnect back web")?.exits(0)?.says(&["files of container web"])?;
        ensure!(joined(&web)?.len() == 1, "{:?}", joined(&web)?);
        host.ocinet("doctor")?.success()?;
        web.delete()
    })
}

/// A connection that is kept and cannot be made again, since its network is another now: what says so names what ends it.
#[test]
fn a_network_that_has_changed() -> Result<()> {
    Settings::default().prepare(DEFINE).test(|host| {
        let mut web = host.container("web").run()?;
        network(host, "create --subnet 10.64.8.0/24 moving")?.success()?;
        network(host, "connect --ip 10.64.8.9 moving web")?.success()?;
        web.kill()?;
        web.hook("poststop")?.success()?;
        host.settles()?;
        host.sh("sed -i s/10.64.8./10.64.9./ /etc/ocinet/networks/moving.toml")?;
        let refused = format!("{:#}", web.restart().err().context("its address is not in the range")?);
        ensure!(refused.contains("10.64.8.9") && refused.contains("network disconnect moving web"), "{refused}");
        network(host, "disconnect moving web")?.success()?;
        web.restart()?;
        web.delete()?;
        network(host, "rm moving")?.success().map(drop)
    })
}

/// A port that cannot be joined to a bridge that was made anew keeps none of the others cut off.
#[test]
fn a_port_that_cannot_be_joined() -> Result<()> {
    Settings::default().test(|host| {
        let [web, db, next] = ["web", "db", "next"].map(|id| host.container(id).run());
        let (web, db, next) = (web?, db?, next?);
        // The link of the first is in use by another one, which no port of a bridge can be.
        let link = web.sandbox()?.endpoints[0].host_interface.clone();
        host.sh("ip link delete ocinet0")?;
        host.sh(&format!("ip link add link {link} name over type macvlan"))?;
        host.container("last").refused()?.says(&[&link])?;
        db.reaches(Tcp, next.at(80)?)?.is("next")?;
        host.sh("ip link delete over")?;
        host.ocinet("doctor --fix")?.success()?;
        db.reaches(Tcp, web.at(80)?)?.is("web")?;
        web.delete()?;
        db.delete()?;
        next.delete()
    })
}
