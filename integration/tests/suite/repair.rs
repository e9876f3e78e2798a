//! Links, rules or settings of ours are damaged while containers run. The next attach repairs them.

use anyhow::{Result, ensure};
use ocinet_integration::{Firewall, Proto, Proto::Tcp, Settings, UPLINK, with_every_firewall};

/// A host without rules of other programs: `nft flush ruleset` would delete them too.
fn alone() -> Settings {
    Settings::default().prepare("nft delete table inet stranger")
}

/// The ruleset is damaged in several ways; the next attach restores the elements of all containers, not only its own.
#[test]
fn the_next_attach_restores_the_ruleset() -> Result<()> {
    for damage in ["flush ruleset", "delete table inet ocinet", "flush table inet ocinet"] {
        alone().test(|host| {
            let _web = host.container("web").publish("8080:80,127.0.0.1:8082:80,8080:80/udp").run()?;
            host.sh(&format!("nft {damage}"))?;
            host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
            let _next = host.container("next").publish("8081:80").run()?;
            for proto in Proto::ALL {
                host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
            }
            host.reaches(Tcp, "127.0.0.1:8082")?.is("web")?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("next")?;
            host.check()
        })?;
    }
    Ok(())
}

/// Without an attach: `ocinet gc`, which a timer calls, restores the rules. On a healthy host it changes nothing and
/// prints nothing.
#[test]
fn gc_restores_the_rules() -> Result<()> {
    with_every_firewall(|host| {
        let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
        ensure!(host.unchanged_by(|| host.ocinet("gc")?.success())?.is_empty(), "all was well");
        host.disarm()?;
        for proto in Proto::ALL {
            host.peer().cannot_reach(proto, format!("{UPLINK}:8080"))?;
        }
        let told = host.ocinet("gc")?.success()?;
        ensure!(told.contains("loaded the firewall's rules again"), "{told}");
        for proto in Proto::ALL {
            host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
        }
        host.check()?;
        web.delete()
    })
}

/// The same with iptables: chains, jumps and rules of ours were deleted.
#[test]
fn the_next_attach_restores_the_chains() -> Result<()> {
    for (firewall, iptables) in [(Firewall::IptablesNft, "iptables-nft"), (Firewall::IptablesLegacy, "iptables-legacy")]
    {
        for damage in [
            "-F FORWARD",
            "-t nat -F",
            "-t mangle -F PREROUTING",
            "-t mangle -F OCINET-GUARD",
            "-t mangle -F OCINET-INVALID",
            "-D OCINET-FORWARD -o ocinet0 -g OCINET-IN",
            "-F OCINET-IN",
        ] {
            Settings::default().firewall(firewall).test(|host| {
                let _web = host.container("web").publish("8080:80,127.0.0.1:8082:80,8080:80/udp").run()?;
                host.sh(&format!("{iptables} {damage}"))?;
                let rules = || host.sh(&format!("{iptables}-save | grep -c OCINET"));
                let damaged = rules()?;
                let next = host.container("next").publish("8081:80").run()?;
                for proto in Proto::ALL {
                    host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
                }
                host.reaches(Tcp, "127.0.0.1:8082")?.is("web")?;
                host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("next")?;
                ensure!(rules()?.trim().parse::<usize>()? > damaged.trim().parse::<usize>()? + 1, "{damage} stays");
                host.check()?;
                next.delete()
            })?;
        }
    }
    Ok(())
}

/// An attach without published ports repairs the ruleset too.
#[test]
fn an_attach_without_ports_restores_the_ruleset() -> Result<()> {
    alone().test(|host| {
        let _web = host.container("web").publish("8080:80").run()?;
        host.sh("nft flush ruleset")?;
        let _next = host.container("next").run()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.check()
    })
}

/// A complete ruleset is not loaded again: an attach leaves every handle as it was.
#[test]
fn a_whole_ruleset_is_left_alone() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").publish("8080:80").run()?;
        let rules = || host.sh("nft --handle --stateless list table inet ocinet | grep -v '[.] [0-9]'");
        let before = rules()?;
        let _next = host.container("next").publish("8081:80").run()?;
        ensure!(rules()? == before, "{before}\nbecame\n{}", rules()?);
        Ok(())
    })
}

/// A repeated attach of a container verifies it and changes nothing.
#[test]
fn a_repeated_attach_changes_nothing() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        host.unchanged_by(|| web.hook("createRuntime")?.success())?;
        ensure!(host.sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        Ok(())
    })
}

/// One key and a second namespace: refused while the first one lives, replaced when it is dead.
#[test]
fn a_key_belongs_to_one_namespace() -> Result<()> {
    Settings::default().test(|host| {
        let mut web = host.container("web").publish("8080:80").run()?;
        let successor = host.container("successor").prepare()?;
        let mut state = web.state("createRuntime");
        state["pid"] = successor.pid().into();
        let refusal = host.unchanged_by(|| host.hook("createRuntime", state.to_string()))?;
        refusal.exits(3)?.says(&["web"])?;
        web.kill()?;
        host.hook("createRuntime", state.to_string())?.success()?;
        ensure!(host.settled_sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("successor")?;
        Ok(())
    })
}

/// The bridge was deleted under running containers. The next attach makes a working one, and joins them to it again.
#[test]
fn the_next_attach_restores_the_bridge() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").publish("8080:80").run()?;
        let db = host.container("db").run()?;
        let before = host.sh(SHAPE)?;
        host.sh("ip link del ocinet0")?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        let next = host.container("next").publish("8081:80").run()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.reaches(Tcp, "127.0.0.1:8080")?.is("web")?;
        next.reaches(Tcp, db.at(80)?)?.is("db")?;
        host.check()?;
        next.delete()?;
        host.settled_sandboxes()?;
        ensure!(host.sh(SHAPE)? == before, "{before}\nbecame\n{}", host.sh(SHAPE)?);
        Ok(())
    })
}

/// A bridge and its ports, without the numbers that the kernel assigns.
const SHAPE: &str = "for link in /sys/class/net/oc*; do
    cd $link; echo $(basename $link) $(cat mtu address ifalias flags)
    if [ -e brport ]; then echo $(basename $(readlink master)) $(cat brport/hairpin_mode); fi
done
ip -brief address show ocinet0 | awk '{ print $1, $3 }'
sysctl net.ipv4.conf.ocinet0.route_localnet net.ipv6.conf.ocinet0.accept_ra net.ipv6.conf.ocinet0.disable_ipv6";

/// Settings of ours were switched off. The next attach switches them on again.
#[test]
fn the_next_attach_restores_the_settings() -> Result<()> {
    let settings = ["ipv4.ip_forward=0", "ipv4.conf.ocinet0.route_localnet=0", "ipv6.conf.ocinet0.disable_ipv6=0"];
    for setting in settings {
        Settings::default().test(|host| {
            let _web = host.container("web").publish("8080:80").run()?;
            let name = setting.split('=').next().unwrap_or_default();
            let before = host.sh(&format!("sysctl net.{name}"))?;
            host.sh(&format!("sysctl -w net.{setting}"))?;
            let _next = host.container("next").run()?;
            ensure!(host.sh(&format!("sysctl net.{name}"))? == before, "{setting} stays");
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            host.reaches(Tcp, "127.0.0.1:8080")?.is("web")?;
            Ok(())
        })?;
    }
    Ok(())
}

/// The bridge is set up only after everything else about it is done. So a bridge that is up is complete, even if its
/// maker was killed.
#[test]
fn the_bridge_is_up_when_all_else_is_done() -> Result<()> {
    Settings::default().test(|host| {
        let mut monitor = host.background(&["ip", "-oneline", "monitor", "link", "address"])?;
        host.sh("until ss --family=netlink | grep -q rtnl:ip/; do sleep 0.01; done")?;
        let _web = host.container("web").run()?;
        let mut news = Vec::new();
        while !news.last().is_some_and(|line: &String| line.contains("ocinet0") && line.contains(",UP")) {
            news.push(monitor.line()?);
        }
        let address = news.iter().position(|line| line.contains("ocinet0") && line.contains("inet 10.90.0.1/16"));
        ensure!(address.is_some(), "it was up before it had its address: {news:#?}");
        ensure!(host.sh("cat /proc/sys/net/ipv6/conf/ocinet0/disable_ipv6")? == "1\n", "with IPv6");
        Ok(())
    })
}
