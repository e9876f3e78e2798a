//! After a container has stopped in any way, nothing of it is left.

use std::fs;

use anyhow::{Result, ensure};
use ocinet_integration::{
    Firewall, OCINET, Proto::Tcp, Runtime, Settings, UPLINK, eventually, every, in_every_world, on_every_runtime,
};

/// Start, stop, and start again. The checker at the end finds nothing of a container on the host.
#[test]
fn nothing_is_left_after_delete() -> Result<()> {
    in_every_world(|host| {
        for _ in 0..2 {
            let web = host.container("web").publish("8080:80,8080-8085:80-85/udp,127.0.0.1:99:99").run()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            host.check()?;
            web.delete()?;
            host.settles()?;
            host.check()?;
            ensure!(host.sh("ip -oneline link show type veth | grep ocv || true")?.is_empty(), "no link");
        }
        Ok(())
    })
}

/// After the last container the bridge, `ip_forward` and the ruleset remain, each only once.
#[test]
fn the_second_container_changes_nothing_for_good() -> Result<()> {
    Settings::default().test(|host| {
        host.container("first").publish("8080:80").run()?.delete()?;
        host.settles()?;
        host.unchanged_by(|| {
            host.container("second").publish("8081:80").run()?.delete()?;
            host.settles()
        })
    })
}

/// Detach uses only the sandbox. It works even if bundle, settings, link, rules, bridge or process are gone.
#[test]
fn poststop_cleans_whatever_else_is_gone() -> Result<()> {
    Settings::default().test(|host| {
        let losses = [
            ("nothing", "true"),
            ("the bundle", "rm -r BUNDLE"),
            ("the configuration", "rm BUNDLE/config.json"),
            ("a valid configuration", "echo nonsense >BUNDLE/config.json"),
            ("valid host settings", "echo nonsense = >/etc/ocinet/config.toml"),
            ("the link", "ip link del LINK"),
            ("the rules", "nft flush table inet ocinet"),
            ("the table", "nft delete table inet ocinet"),
            ("the elements", "nft flush map inet ocinet publish4_any"),
            ("the bridge", "ip link del ocinet0"),
            ("the process", "kill -KILL PID"),
        ];
        every(losses, |(_, deed)| {
            let web = host.container("web").publish("8080:80,8081:81").run()?;
            let deed = deed.replace("BUNDLE", web.bundle()).replace("LINK", &web.host_interface()?);
            host.sh(&deed.replace("PID", &web.pid().to_string()))?;
            let output = web.hook("poststop")?;
            host.sh("rm -f /etc/ocinet/config.toml")?;
            ensure!(output.code == 0 && output.stderr.is_empty(), "{output}");
            host.settles()?;
            host.check()
        })
    })
}

/// The same with iptables: rules were deleted, among them those of the container's ports.
#[test]
fn poststop_cleans_where_chains_are_gone() -> Result<()> {
    for (firewall, iptables) in [(Firewall::IptablesNft, "iptables-nft"), (Firewall::IptablesLegacy, "iptables-legacy")]
    {
        Settings::default().firewall(firewall).test(|host| {
            let losses = [
                ("nat", "-F OCINET-ANY"),
                ("nat", "-D OCINET-ANY 1"),
                ("nat", "-D OCINET-ANY 2"),
                ("nat", "-F"),
                ("filter", "-F FORWARD"),
            ];
            every(losses, |(table, deed)| {
                let web = host.container("web").publish("8080:80,8081:81").run()?;
                host.chains(iptables).execute(table, deed)?;
                let output = web.hook("poststop")?;
                ensure!(output.code == 0 && output.stderr.is_empty(), "{output}");
                host.settles()?;
                host.check()
            })
        })?;
    }
    Ok(())
}

/// The state for poststop has no `pid` under runc and 0 under crun; a runtime may also name the dead process.
#[test]
fn poststop_does_not_look_at_the_pid() -> Result<()> {
    Settings::default().test(|host| {
        for pid in ["0", "-1", "4194304", "dead"] {
            let mut web = host.container("web").publish("8080:80").run()?;
            web.kill()?;
            let mut state = web.state("poststop");
            state["pid"] = if pid == "dead" { web.pid().into() } else { serde_json::from_str(pid)? };
            host.hook("poststop", state.to_string())?.exits(0)?;
            host.settles()?;
        }
        Ok(())
    })
}

/// poststop is called twice, and for a container that was never attached.
#[test]
fn poststop_may_come_too_often() -> Result<()> {
    Settings::default().test(|host| {
        let never = host.container("never").prepare()?;
        host.unchanged_by(|| never.hook("poststop")?.success())?;
        let web = host.container("web").publish("8080:80").run()?;
        web.hook("poststop")?.success()?;
        host.settles()?;
        host.unchanged_by(|| web.hook("poststop")?.success()).map(drop)
    })
}

/// One id under two runtime roots: two containers, and the detach of one leaves the other alone.
#[test]
fn two_containers_may_have_one_id() -> Result<()> {
    on_every_runtime(|host| {
        let one = host.container("web").publish("8080:80").run()?;
        let two = host.container("web").publish("8081:80").root("/mnt/other-root").run()?;
        ensure!(one.sandbox()?.address() != two.sandbox()?.address(), "{:#?}", host.sandboxes()?);
        host.check()?;
        one.delete()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("web")?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        host.check()?;
        two.delete()
    })
}

/// After a failed start runc calls poststop at once.
#[test]
fn a_later_hook_fails_under_runc() -> Result<()> {
    Settings::default().runtime(Runtime::Runc).test(|host| {
        host.container("web").publish("8080:80").later_hook_fails().refused()?;
        host.settles()?;
        host.check()
    })
}

/// After a failed start crun never calls poststop. Collection removes the container.
#[test]
fn a_later_hook_fails_under_crun() -> Result<()> {
    Settings::default().runtime(Runtime::Crun).test(|host| {
        host.container("web").publish("8080:80").later_hook_fails().refused()?;
        ensure!(host.sandboxes()?.len() == 1, "crun has learned to call poststop: {:#?}", host.sandboxes()?);
        host.ocinet("gc")?.success()?;
        host.settles()?;
        host.check()
    })
}

/// Collection removes dead containers, and neither living ones nor links of other programs.
#[test]
fn gc_takes_the_dead_only() -> Result<()> {
    Settings::default().test(|host| {
        let living = host.container("living").publish("8080:80").run()?;
        host.container("dead").publish("8081:80").run()?.abandon()?;
        host.sh("ip link add ocvstranger type veth peer name ocvother")?;
        host.ocinet("gc")?.success()?;
        ensure!(host.settled_sandboxes()? == [living.sandbox()?], "{:#?}", host.sandboxes()?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("living")?;
        host.sh("ip link del ocvstranger")?;
        host.check()
    })
}

/// Without a call of `gc`, the address and the port of a dead container are free for the next one.
#[test]
fn what_the_dead_hold_can_be_had() -> Result<()> {
    Settings::default().test(|host| {
        let network = "bridge:ip=10.90.0.9";
        host.container("dead").network(network).publish("8080:80").run()?.abandon()?;
        let _heir = host.container("heir").network(network).publish("8080:80").run()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("heir")?;
        host.check()
    })
}

/// A process keeps the namespace of a stopped container alive: its port on the bridge is closed at once, and its
/// address stays leased until the link is gone.
#[test]
fn a_kept_namespace_keeps_its_address_from_others() -> Result<()> {
    Settings::default().test(|host| {
        let network = "bridge:ip=10.90.0.9";
        let web = host.container("web").network(network).publish("8080:80").run()?;
        let link = web.host_interface()?;
        let holder = web.background(&["sleep", "1000"])?;
        let kept = host.of_process(holder.pid());
        web.delete()?;
        let ports = host.sh("bridge -oneline link show master ocinet0 | grep -v 'state disabled' || true")?;
        ensure!(!ports.contains(&link), "{link} is still open: {ports}");
        let mut heir = None;
        eventually("the address can be had", || {
            let (container, output) = host.container("heir").network(network).start()?;
            ensure!(output.code == 0 || output.code == 3, "{output}");
            heir = container;
            Ok(heir.is_some())
        })?;
        ensure!(kept.sh("ip -oneline link show type veth")?.is_empty(), "10.90.0.9 is there twice");
        host.check()
    })
}

/// The background process must not hold the hook's stdout or stderr: runc waits until they are closed. The test looks
/// for the moment in which the work continues and neither is open. It is short, hence several tries.
#[test]
fn nothing_in_the_background_holds_the_runtimes_pipes() -> Result<()> {
    Settings::default().test(|host| {
        let script = format!(
            "{OCINET} hook poststop </mnt/state >/mnt/said 2>&1
             sleep 0.005
             ls -l /proc/[0-9]*/fd 2>/dev/null | grep -qE '/mnt/(state|said)' && exit 1
             grep -qsx ocinet /proc/[0-9]*/comm"
        );
        let mut seen = false;
        for _ in 0..10 {
            let web = host.container("web").publish("8080:80").run()?;
            fs::write(host.path("/mnt/state"), web.state("poststop").to_string())?;
            seen |= host.output(&["sh", "-c", &script])?.code == 0;
            host.settles()?;
        }
        ensure!(seen, "the work in the background holds stdin, stdout or stderr as long as it lasts");
        Ok(())
    })
}

/// Another process has the pid of a dead container by now, in the same network namespace. It is not taken for the
/// container.
#[test]
fn a_recycled_pid_is_not_the_container() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let pid = web.pid();
        let holder = web.background(&["sleep", "1000"])?;
        let namespace = format!("/proc/{}/ns/net", holder.pid());
        web.abandon()?;
        let recycle = format!(
            "for try in $(seq 100); do
                echo {} >/proc/sys/kernel/ns_last_pid
                nsenter --net={namespace} sleep 1000 </dev/null >/dev/null 2>&1 &
                if [ $! = {pid} ]; then exit; fi
                kill $!
            done
            exit 1",
            pid - 1
        );
        host.sh(&recycle)?;
        ensure!(host.ocinet("doctor")?.exits(1)?.stdout.contains("container web is dead"), "the doctor was taken in");
        host.ocinet("gc")?.success()?;
        ensure!(host.settled_sandboxes()?.is_empty(), "{:#?}", host.sandboxes()?);
        host.sh(&format!("kill {pid}"))?;
        drop(holder);
        Ok(())
    })
}
