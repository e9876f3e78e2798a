//! Hooks are killed: at their system calls, at random times, by the end of their runtime. Nothing is left.

use anyhow::{Result, bail, ensure};
use ocinet_integration::survive::{CALLER, Scene, Share, Stage, at_every_call, at_random, runtime_killed, under_runc};
use ocinet_integration::{ASKING, Firewall, OCINET, Output, Proto::Tcp, Settings, State, UPLINK};

/// The child that a detach leaves behind to delete the link is killed. The next call for the container continues its
/// work, without a wait for a container that needs the address.
#[test]
fn a_drain_that_was_cut_off_is_taken_up() -> Result<()> {
    Settings::default().test(|host| {
        for stage in ["poststop", "createRuntime"] {
            let mut web = host.container("web").publish("8080:80").run()?;
            let mut poststop = host.command(&[CALLER, "kill-at", "1", "10", OCINET, "hook", "poststop"]);
            let killed = Output::of(&mut poststop, web.state("poststop").to_string().as_bytes())?;
            ensure!(killed.stderr.contains("caller: killed"), "{killed}");
            ensure!(
                host.sandboxes()?.iter().any(|sandbox| sandbox.state == State::Draining),
                "{:#?}",
                host.sandboxes()?
            );
            web.hook(stage)?.success()?;
            let left = host.settled_sandboxes()?.len();
            ensure!(left == usize::from(stage == "createRuntime"), "{:#?}", host.sandboxes()?);
            web.kill()?;
            web.hook("poststop")?.success()?;
            host.settles()?;
        }
        Ok(())
    })
}

/// Every kind of call is killed at a share of the system calls of each of its threads and children.
#[test]
fn killed_at_system_calls() -> Result<()> {
    for scene in Scene::KILLS {
        at_every_call(scene, &Settings::default(), Share::percent(0.5), 4)?.is_clean()?;
    }
    Ok(())
}

/// Kills at random moments, also in the background part.
#[test]
fn killed_at_random_moments() -> Result<()> {
    at_random(50, &Settings::default(), Share::ALL, 4)?.is_clean()
}

/// The same with iptables, whose processes are killed too. How often a hook reads their output varies, so some of the
/// system calls never come.
#[test]
fn killed_with_iptables() -> Result<()> {
    for firewall in [Firewall::IptablesNft, Firewall::IptablesLegacy] {
        let settings = Settings::default().firewall(firewall);
        for scene in Scene::KILLS {
            let tally = at_every_call(scene, &settings, Share::percent(0.2), 4)?;
            ensure!(tally.leaks.is_empty() && tally.missed.len() * 4 <= tally.tried, "{tally:#?}");
        }
        at_random(20, &settings, Share::ALL, 4)?.is_clean()?;
    }
    Ok(())
}

/// The same with `respect-host-firewall`, where a link pair and further rules have to be made, kept up to date and
/// removed.
#[test]
fn killed_where_the_host_is_asked() -> Result<()> {
    for firewall in Firewall::ALL {
        let settings = Settings::default().firewall(firewall).prepare(ASKING);
        for scene in [Scene::FirstAttach, Scene::Attach, Scene::Detach] {
            let tally = at_every_call(scene, &settings, Share::percent(0.3), 4)?;
            ensure!(tally.leaks.is_empty() && tally.missed.len() * 4 <= tally.tried, "{tally:#?}");
        }
        at_random(14, &settings, Share::ALL, 4)?.is_clean()?;
    }
    Ok(())
}

/// A hook is killed while iptables adds its ports. iptables continues alone, and other hooks wait for it: otherwise it
/// would publish a port of a container that is already gone.
#[test]
fn an_orphaned_iptables_publishes_nothing() -> Result<()> {
    for (firewall, restore) in
        [(Firewall::IptablesNft, "iptables-nft-restore"), (Firewall::IptablesLegacy, "iptables-legacy-restore")]
    {
        Settings::default().firewall(firewall).test(|host| {
            let _first = host.container("first").publish("8080:80").run()?;
            host.sh(&format!(
                "mount -t tmpfs tmpfs /usr/local/sbin
                 printf '#!/bin/sh\nsleep 1\nexec /usr/sbin/{restore} \"$@\"\n' >/usr/local/sbin/{restore}
                 chmod 755 /usr/local/sbin/{restore}"
            ))?;
            let web = host.container("web").publish("8081:80").prepare()?;
            let mut attach = host.command(&[CALLER, "kill-after", "400000", "one", OCINET, "hook", "createRuntime"]);
            let killed = Output::of(&mut attach, web.state("createRuntime").to_string().as_bytes())?;
            ensure!(killed.stderr.contains("caller: killed"), "{killed}");
            host.sh("umount --lazy /usr/local/sbin")?;
            web.hook("poststop")?.success()?;
            host.settled_sandboxes()?;
            host.sh("while grep -q ^iptables /proc/[0-9]*/comm; do sleep 0.05; done")?;
            host.check()
        })?;
    }
    Ok(())
}

/// Kills of hooks under runc, followed by what runc does after a failed hook.
#[test]
fn killed_under_runc() -> Result<()> {
    [Stage::Attach, Stage::Detach]
        .into_iter()
        .try_for_each(|stage| under_runc(stage, Share::percent(2.0), 2)?.is_clean())
}

/// runc is killed while it starts a container: poststop is never called.
#[test]
fn killed_runtimes() -> Result<()> {
    runtime_killed(20, Share::ALL, 2)?.is_clean()
}

/// A hook is killed while `nft` loads the ruleset for it. nft continues alone, and must not load its rules after other
/// hooks have made their changes: its rules are older than those.
#[test]
fn an_orphaned_nft_undoes_nobodys_work() -> Result<()> {
    Settings::default().test(|host| {
        host.sh("cp $(command -v nft) /mnt/nft
             printf '#!/bin/sh\\nsleep 1\\nexec /mnt/nft \"$@\"\\n' >/mnt/slow-nft; chmod 755 /mnt/slow-nft
             mount --bind /mnt/slow-nft $(command -v nft)")?;
        let first = host.container("first").publish("8080:80").prepare()?;
        let mut attach = host.command(&[CALLER, "kill-after", "400000", "one", OCINET, "hook", "createRuntime"]);
        let killed = Output::of(&mut attach, first.state("createRuntime").to_string().as_bytes())?;
        ensure!(killed.stderr.contains("caller: killed"), "{killed}");
        host.sh("umount --lazy $(command -v nft)")?;
        let _second = host.container("second").publish("8081:80").run()?;
        host.sh("while grep -qx nft /proc/[0-9]*/comm || grep -qx slow-nft /proc/[0-9]*/comm; do sleep 0.05; done")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("second")?;
        first.hook("poststop")?.success()?;
        host.check()
    })
}

/// A kill at every call needs a complete list of calls: the helper's count is compared with strace's. Threads do not
/// race in the same way each time, so the two may differ by chance, but not always.
#[test]
fn the_helper_sees_what_strace_sees() -> Result<()> {
    Settings::default().test(|host| {
        host.container("first").publish("8080:80").run()?.delete()?;
        let counts = |argv: &[&str]| -> Result<String> {
            let web = host.container("web").isolated().publish("8080:80").prepare()?;
            let mut attach = host.command(&[argv, &[OCINET, "hook", "createRuntime"]].concat());
            let said = Output::of(&mut attach, web.state("createRuntime").to_string().as_bytes())?.success()?;
            web.hook("poststop")?.success()?;
            host.settles()?;
            Ok(said)
        };
        let mut seen = Vec::new();
        for _ in 0..10 {
            counts(&["strace", "-f", "-o", "/mnt/strace"])?;
            // Each call begins on a line of its own; the first line is the start of the program.
            let calls = host.sh("grep -vE 'resumed>|\\+\\+\\+|---' /mnt/strace | tail -n +2 | wc -l")?;
            let trace: Vec<Vec<u64>> = serde_json::from_str(&counts(&[CALLER, "trace"])?)?;
            seen.push((calls.trim().parse::<usize>()?, trace.iter().map(Vec::len).sum::<usize>()));
            if seen.iter().any(|(strace, ours)| strace == ours) {
                return Ok(());
            }
        }
        bail!("strace and the helper count {seen:?}")
    })
}
