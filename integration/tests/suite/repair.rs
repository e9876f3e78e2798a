//! Somebody has damaged what is ours while containers run. The next attach repairs it.

use anyhow::{Result, ensure};
use ocinet_integration::{Proto, Proto::Tcp, Settings, UPLINK};

/// A host without other people's rules: `nft flush ruleset` would take them along.
fn alone() -> Settings {
    Settings::default().prepare("nft delete table inet stranger")
}

/// The ruleset is gone in one way or another; the next attach brings back everybody's elements, not only its own.
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

/// An attach that publishes nothing looks after the ruleset too.
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

/// A whole ruleset is not loaded again: an attach leaves every handle as it was.
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

/// A repeated attach of a container verifies it and does nothing.
#[test]
fn a_repeated_attach_changes_nothing() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        host.unchanged_by(|| web.hook("createRuntime")?.success())?;
        ensure!(host.records()?.len() == 1, "{:#?}", host.records()?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        Ok(())
    })
}

/// One key, and a second namespace: refused while the first one lives, taken over when it is dead.
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
        ensure!(host.settled_records()?.len() == 1, "{:#?}", host.records()?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("successor")?;
        Ok(())
    })
}

/// The bridge was deleted under a running container. The next one gets a bridge that works.
#[test]
fn the_next_attach_restores_the_bridge() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").run()?;
        host.sh("ip link del ocinet0")?;
        web.delete()?;
        let _next = host.container("next").publish("8081:80").run()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("next")?;
        host.reaches(Tcp, "127.0.0.1:8081")?.is("next")?;
        host.check()
    })
}
