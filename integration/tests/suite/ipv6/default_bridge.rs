//! IPv6 on the default network, by the setting `ipv6`.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Container, Firewall, Host, PEER, Proto, Proto::Tcp, Runtime, Settings, UPLINK, every};

use super::{CABLE, FAR6, PEER6, UPLINK6, addresses, doctor, planned};

/// Settings that a story changes in a place that the checker does not compare.
const CHANGEABLE: &str = "touch /mnt/config.toml; ln -s /mnt/config.toml /etc/ocinet";

fn set(host: &Host, ipv6: bool) -> Result<()> {
    host.sh(&format!("echo 'ipv6 = {ipv6}' >/mnt/config.toml")).map(drop)
}

/// Its address of IPv6 on `bridge`, without the prefix length.
fn address6(container: &Container<'_>) -> Result<String> {
    let all = addresses(container, "bridge")?;
    let [_, v6] = &all[..] else { anyhow::bail!("one of each family, not {all:?}") };
    Ok(v6.trim_end_matches("/64").to_owned())
}

/// Packets of both families to and from containers of the default network.
#[test]
fn the_default_network_has_both_families() -> Result<()> {
    let settings = Settings::default().runtime(Runtime::Runc).prepare(CABLE);
    let settings = settings.prepare("mkdir -p /etc/ocinet; echo 'ipv6 = true' >>/etc/ocinet/config.toml");
    every(Firewall::ALL, |firewall| settings.clone().firewall(*firewall).test(both_families))
}

fn both_families(host: &Host) -> Result<()> {
    let planned = planned(host, "bridge", "[::]:8080:80")?.success()?;
    ensure!(planned.contains("/64"), "{planned}");
    let web = host.container("web").publish("8080:80,[::]:8081:80,8080:80/udp").run()?;
    let sibling = host.container("sibling").run()?;
    let (own, other) = (address6(&web)?, address6(&sibling)?);
    ensure!(own.starts_with("fd") && own.ends_with(":a5a:2") && other.ends_with(":a5a:3"), "{own} {other}");
    host.check()?;
    ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
    let _server = host.peer().serve("peer", &["80"])?;
    every(Proto::ALL, |proto| {
        web.reaches(*proto, format!("{PEER}:80"))?.is("peer")?.seen_from(UPLINK)?;
        web.reaches(*proto, format!("[{PEER6}]:80"))?.is("peer")?.seen_from(UPLINK6)?;
        sibling.reaches(*proto, format!("[{own}]:80"))?.is("web")?.seen_from(&*other)?;
        sibling.reaches(*proto, format!("[{UPLINK6}]:8080"))?.is("web")?;
        for at in [UPLINK.to_owned(), format!("[{UPLINK6}]")] {
            host.peer().reaches(*proto, format!("{at}:8080"))?.is("web")?;
        }
        Ok(())
    })?;
    host.peer().reaches(Tcp, format!("[{UPLINK6}]:8081"))?.is("web")?;
    web.reaches(Tcp, format!("[{FAR6}]:80"))?.is("peer")?;
    host.peer().sh(&format!("ip route add {own}/128 via {UPLINK6}"))?;
    host.peer().cannot_reach(Tcp, format!("[{own}]:80"))?;
    let shown = host.ocinet("network inspect bridge")?.success()?;
    ensure!(shown.contains(&own.replace(":a5a:2", ":/64")), "{own}: {shown}");
    // The kernel alone tells of both families, also where the bridge is gone.
    let before = web.sandbox()?;
    for loss in ["true", "ip link delete ocinet0"] {
        host.sh(&format!("{loss}; rm -f /run/ocinet/store*"))?;
        host.ocinet("doctor --fix")?.success()?;
        let after = web.sandbox()?;
        ensure!(before.endpoints == after.endpoints && before.publish == after.publish, "{before:#?}\n{after:#?}");
        host.check().context(loss)?;
        host.peer().reaches(Tcp, format!("[{UPLINK6}]:8080"))?.is("web")?;
        sibling.reaches(Tcp, format!("[{own}]:80"))?.is("web")?;
    }
    sibling.delete()?;
    web.delete()?;
    host.settles()?;
    // The range is the same after all of it was gone.
    host.ocinet("reset --force")?.success()?;
    let again = host.container("again").run()?;
    ensure!(address6(&again)? == own, "{:?}", again.sandbox()?);
    again.delete()
}

/// The default network as it runs stays as it is until its last container has left it.
#[test]
fn a_changed_setting_waits_for_the_last_container() -> Result<()> {
    super::settings().prepare(CHANGEABLE).test(|host| {
        let first = host.container("first").publish("8080:80").run()?;
        ensure!(addresses(&first, "bridge")?.len() == 1, "off by default: {:?}", first.sandbox()?);
        set(host, true)?;
        let note = host.ocinet("doctor --json")?.stdout;
        ensure!(note.contains("gets IPv6 when the last container has left it"), "{note}");
        host.ocinet("config check")?.success()?;
        let shown = host.ocinet("config show")?.success()?;
        ensure!(shown.contains("ipv6") && shown.contains("config.toml, line 1"), "{shown}");
        // Whatever is asked of ports, they are those of the network as it is.
        for networks in ["bridge", "bridge;plain"] {
            let second = host.container("second").network(networks).publish("8081:80").run()?;
            ensure!(addresses(&second, "bridge")?.len() == 1, "{:?}", second.sandbox()?);
            ensure!(!host.ocinet("port second")?.success()?.contains("[::]"), "{networks}");
            second.delete()?;
            let refused = host.container("second").network(networks).publish("[::]:8081:80").refused()?;
            ensure!(refused.stderr.contains("is an address of IPv6, and the network"), "{refused}");
            let planned = planned(host, networks, "8081:80")?.success()?;
            ensure!(!planned.contains("/64"), "{planned}");
        }
        let refused = host.container("second").network("bridge:ip6=fd00::5").refused()?;
        ensure!(refused.stderr.contains("network bridge has no IPv6"), "{refused}");
        first.delete()?;
        host.settles()?;
        ensure!(planned(host, "bridge", "[::]:8080:80")?.success()?.contains("/64"), "the plan of the next");
        // The network that decides of the ports is the other one.
        host.container("both").network("dual;bridge").publish("[::]:8080:80").run()?.delete()?;
        host.settles()?;
        let third = host.container("third").publish("[::]:8080:80").run()?;
        let own = address6(&third)?;
        host.check()?;
        host.peer().reaches(Tcp, format!("[{UPLINK6}]:8080"))?.is("third")?;
        host.reaches(Tcp, format!("[{own}]:80"))?.is("third")?;
        // And back.
        set(host, false)?;
        let note = host.ocinet("doctor --json")?.stdout;
        ensure!(note.contains("has IPv6 until the last container has left it"), "{note}");
        let fourth = host.container("fourth").publish("8081:80").run()?;
        address6(&fourth)?;
        host.peer().reaches(Tcp, format!("[{UPLINK6}]:8081"))?.is("fourth")?;
        ensure!(planned(host, "bridge", "8082:80")?.success()?.contains("/64"), "the plan beside it");
        fourth.delete()?;
        third.delete()?;
        host.settles()?;
        let last = host.container("last").publish("8080:80").run()?;
        ensure!(addresses(&last, "bridge")? == ["10.90.0.2/16"], "{:?}", last.sandbox()?);
        host.check()?;
        ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
        host.peer().cannot_reach(Tcp, format!("[{UPLINK6}]:8080"))?;
        last.delete()
    })
}

/// A container that has the default network and one of both families joins and leaves it while it runs.
#[test]
fn connect_knows_the_setting() -> Result<()> {
    super::settings().prepare(CHANGEABLE).test(|host| {
        let web = host.container("web").network("plain").publish("8080:80").run()?;
        set(host, true)?;
        ensure!(host.ocinet("plan connect -v bridge web")?.success()?.contains("/64"), "the plan of the connect");
        host.ocinet("network connect bridge web --gw-priority 1")?.success()?;
        address6(&web)?;
        host.check()?;
        host.peer().reaches(Tcp, format!("[{UPLINK6}]:8080"))?.is("web")?;
        host.ocinet("network disconnect bridge web")?.success()?;
        host.peer().cannot_reach(Tcp, format!("[{UPLINK6}]:8080"))?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        web.delete()
    })
}
