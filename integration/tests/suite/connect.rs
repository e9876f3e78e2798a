//! Containers that run join and leave networks.

mod elsewhere;
mod kept;
mod obstacles;
mod under_traffic;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ocinet_integration::{
    Container, Firewall, Host, OCINET, Output, PEER, Place, Proto::Tcp, Runtime, Settings, UPLINK, eventually, every,
};

/// Three networks, of which the last is internal.
const DEFINE: &str = "mkdir -p /etc/ocinet/networks
    printf 'bridge = \"ocn-1\"\\n[[subnet]]\\nrange = \"10.64.1.0/24\"\\n' >/etc/ocinet/networks/front.toml
    printf 'bridge = \"ocn-2\"\\n[[subnet]]\\nrange = \"10.64.2.0/24\"\\n' >/etc/ocinet/networks/back.toml
    printf 'bridge = \"ocn-3\"\\ninternal = true\\n[[subnet]]\\nrange = \"10.64.3.0/24\"\\n' >/etc/ocinet/networks/shut.toml\n";

fn on_every_firewall(story: impl Fn(&Host) -> Result<()>) -> Result<()> {
    every(Firewall::ALL, |firewall| {
        Settings::default().runtime(Runtime::Runc).firewall(*firewall).prepare(DEFINE).test(&story)
    })
}

fn network(host: &Host, arguments: &str) -> Result<Output> {
    host.ocinet(&format!("network {arguments}"))
}

/// The networks of a container, each with its interface and address.
fn joined(container: &Container<'_>) -> Result<Vec<String>> {
    let sandbox = container.sandbox()?;
    let one = |endpoint: &ocinet_integration::Endpoint| {
        let address = endpoint.addresses.first().map_or("", |address| address.split('/').next().unwrap_or_default());
        format!("{} {} {address}", endpoint.network, endpoint.interface)
    };
    Ok(sandbox.endpoints.iter().map(one).collect())
}

fn route(place: &Place) -> Result<String> {
    Ok(place.sh("ip -4 route show default")?.replace("proto static", "").trim().to_owned())
}

/// The bytes that the server has acknowledged of a connection that is held by `hold`; an error where it is cut.
fn acknowledged(client: &Place, port: u16) -> Result<u64> {
    let seen = client.sh(&format!("ss -Htin state established 'sport = :{port}'"))?;
    let bytes = seen.split_whitespace().find_map(|word| word.strip_prefix("bytes_acked:"));
    bytes.with_context(|| format!("the connection is cut: {seen}"))?.parse().context("a number")
}

/// A connect and a disconnect that move nothing cut nothing. Meanwhile the siblings on the network are reached, and its
/// address is in the file of hosts.
#[test]
fn what_moves_nothing_cuts_nothing() -> Result<()> {
    on_every_firewall(|host| {
        let sibling = host.container("sibling").network("back").run()?;
        // The server has one client at a time on each port.
        let web = host.container("web").serving(&["80", "81"]).publish("8080:80,8081:81").run()?;
        let _held = host.peer().hold(Tcp, &format!("{UPLINK}:8081"), 5000)?;
        let hosts = web.exec(&["cat", "/etc/hosts"])?;
        let before = (joined(&web)?, route(&web)?);
        for _ in 0..5 {
            let acknowledged_before = acknowledged(&host.peer(), 5000)?;
            network(host, "connect back web")?.exits(0)?;
            ensure!(
                joined(&web)?.len() == 2 && joined(&web)?[1].starts_with("back eth1 10.64.2."),
                "{:?}",
                joined(&web)?
            );
            host.check()?;
            host.ocinet("doctor")?.success()?;
            web.reaches(Tcp, sibling.at(80)?)?.is("sibling")?;
            let address = joined(&web)?[1].rsplit(' ').next().unwrap_or_default().to_owned();
            sibling.reaches(Tcp, format!("{address}:80"))?.is("web")?;
            ensure!(web.exec(&["cat", "/etc/hosts"])?.contains(&format!("{address}\t")), "its address in the file");
            ensure!(route(&web)? == before.1, "{}", route(&web)?);
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER)?;
            network(host, "disconnect back web")?.exits(0)?;
            ensure!((joined(&web)?, route(&web)?) == before, "{:?}", joined(&web)?);
            sibling.cannot_reach(Tcp, format!("{address}:80"))?;
            eventually("its interface goes", || Ok(!web.sh("ip -br link")?.contains("eth1")))?;
            ensure!(web.exec(&["cat", "/etc/hosts"])? == hosts, "the file is as it was");
            eventually("the connection goes on", || Ok(acknowledged(&host.peer(), 5000)? > acknowledged_before))?;
        }
        host.check()?;
        host.ocinet("doctor")?.success().map(drop)
    })
}

/// The default route and the published ports follow the rule of an attach: they move with a higher priority, and back
/// when that network is left. Connections through them are cut, and new ones get through at once.
#[test]
fn the_default_route_and_the_ports_move() -> Result<()> {
    on_every_firewall(|host| {
        let web = host.container("web").serving(&["80", "81"]).publish("8080:80,8080:80/udp,8081:81").run()?;
        let first = route(&web)?;
        let _held = host.peer().hold(Tcp, &format!("{UPLINK}:8081"), 5001)?;
        network(host, "connect --gw-priority 5 --ip 10.64.1.77 front web")?.exits(0)?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER)?;
        ensure!(route(&web)? == "default via 10.64.1.1 dev eth1", "{}", route(&web)?);
        eventually("the old connection is cut", || Ok(acknowledged(&host.peer(), 5001).is_err()))?;
        web.sh("ping -c 1 -W 2 203.0.113.1")?;
        host.check()?;
        host.ocinet("doctor")?.success()?;
        // It moves nothing to come or go with a lower one.
        network(host, "connect --gw-priority 3 back web")?.exits(0)?;
        ensure!(route(&web)? == "default via 10.64.1.1 dev eth1", "{}", route(&web)?);
        // The next in the order of priorities.
        network(host, "disconnect front web")?.exits(0)?;
        ensure!(route(&web)? == "default via 10.64.2.1 dev eth2", "{}", route(&web)?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER)?;
        network(host, "disconnect back web")?.exits(0)?;
        ensure!(route(&web)? == first, "{}", route(&web)?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER)?;
        web.sh("ping -c 1 -W 2 203.0.113.1")?;
        host.check()
    })
}

/// Without a network that can publish, the ports are kept and lead nowhere; with the next one they are back. Without any
/// network the container lives on with its loopback interface, is not collected, and can join again.
#[test]
fn ports_sleep_and_wake_and_the_last_network_may_go() -> Result<()> {
    on_every_firewall(|host| {
        let web = host.container("web").network("shut").publish("8080:80").run()?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        network(host, "connect front web")?.exits(0)?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.container("late").publish("8080:80").refused()?.says(&["8080", "web"])?;
        network(host, "disconnect front web")?.exits(0)?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        ensure!(host.ocinet("ps")?.stdout.contains("dormant"), "{}", host.ocinet("ps")?);
        let doctor = || Ok::<_, anyhow::Error>(host.ocinet("doctor web")?.stdout);
        ensure!(doctor()?.contains("0.0.0.0:8080->80/tcp, which lead nowhere (dormant): none of its"), "{}", doctor()?);
        network(host, "disconnect shut web")?.exits(0)?;
        ensure!(doctor()?.contains("on no network: it was disconnected from its last"), "{}", doctor()?);
        ensure!(doctor()?.contains("which lead nowhere (dormant): it is on no network"), "{}", doctor()?);
        ensure!(joined(&web)?.is_empty() && route(&web)?.is_empty(), "{:?}", joined(&web)?);
        host.ocinet("gc")?.success()?;
        host.ocinet("doctor --fix")?.success()?;
        ensure!(host.ocinet("ps")?.stdout.contains(" up"), "it lives: {}", host.ocinet("ps")?);
        web.reaches(Tcp, "127.0.0.1:80")?.is("web")?;
        network(host, "connect front web")?.exits(0)?;
        ensure!(joined(&web)?[0].starts_with("front eth0 "), "{:?}", joined(&web)?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.check()?;
        web.delete()?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))
    })
}

/// What cannot be done is said in one line, and changes nothing.
#[test]
fn what_is_refused() -> Result<()> {
    Settings::default().prepare(DEFINE).test(|host| {
        let web = host.container("web").network("front").run()?;
        let _plain = host.container("plain").network("none").run()?;
        let _hosts = host.container("hosts").in_host_namespace().network("host").run()?;
        let address = joined(&web)?[0].rsplit(' ').next().unwrap_or_default().to_owned();
        let other = host.container("other").run()?;
        let rows = [
            ("connect nowhere web".to_owned(), 5, "nowhere"),
            ("connect front nobody".into(), 5, "nobody"),
            ("connect host web".into(), 2, "host"),
            ("connect front web".into(), 3, "already"),
            ("connect front plain".into(), 3, "none"),
            ("connect front hosts".into(), 3, "host"),
            (format!("connect --ip {address} front other"), 3, "web"),
            ("connect --ip 192.0.2.1 front other".into(), 2, "192.0.2.1"),
            ("connect --interface eth0 front other".into(), 3, "eth0"),
            ("connect --mtu 9 front other".into(), 2, "mtu"),
            ("connect --alias=db bridge other".into(), 2, "alias"),
            ("disconnect front other".into(), 5, "front"),
            ("disconnect front nobody".into(), 5, "nobody"),
        ];
        host.unchanged_by(|| {
            every(rows, |(arguments, code, word)| {
                network(host, arguments)?.exits(*code)?.is_one_line()?.says(&[word]).map(drop)
            })?;
            network(host, "disconnect --force front other")?.exits(0)?;
            network(host, "disconnect --force front nobody")?.exits(0)
        })?;
        web.abandon()?;
        network(host, "connect back web")?.exits(3)?.is_one_line()?.says(&["does not run"])?;
        network(host, "disconnect front web")?.exits(3)?.is_one_line()?.says(&["does not run"])?;
        host.ocinet("gc")?.success()?;
        other.delete()
    })
}

/// Ways to kill a command: after some milliseconds, and where it enters or leaves a network namespace.
fn kills() -> impl Iterator<Item = String> {
    let after = |delay: u32| format!("timeout -s KILL 0.0{delay:02}");
    let at = |call: u32| format!("strace -o /dev/null -e inject=setns:signal=KILL:when={call}");
    (3..=24).step_by(4).map(after).chain((4..=12).map(at))
}

/// Kills an `ocinet network` command in one of these ways, and says whether that cut it off: an endpoint comes or goes.
fn is_cut_off(host: &Host, kill: &str, arguments: &str) -> Result<bool> {
    host.sh(&format!("{kill} {OCINET} network {arguments} >/dev/null 2>&1 || true"))?;
    Ok(states(host)? != "attached")
}

/// The states that endpoints are in.
fn states(host: &Host) -> Result<String> {
    let all = host.sh(&format!("{OCINET} ps --json | jq -r '.[].endpoints[].state' | sort -u"))?;
    Ok(all.trim().to_owned())
}

/// Killed at any moment, a connect or disconnect leaves what the next collection takes back: the container is as before
/// it, or as after it, and its published port works.
#[test]
fn killed_in_the_middle() -> Result<()> {
    for firewall in [Firewall::Nftables, Firewall::IptablesNft] {
        Settings::default().firewall(firewall).prepare(DEFINE).test(|host| {
            let web = host.container("web").publish("8080:80").run()?;
            let before = route(&web)?;
            let mut cut_off = [0; 2];
            for kill in kills() {
                for (nth, verb) in ["connect --gw-priority 1 front web", "disconnect front web"].iter().enumerate() {
                    if nth == 1 && joined(&web)?.len() == 1 {
                        network(host, "connect --gw-priority 1 front web")?.success()?;
                    }
                    cut_off[nth] += u32::from(is_cut_off(host, &kill, verb)?);
                    // The process that was killed may still hold its lock.
                    eventually("it is whole again", || {
                        host.ocinet("gc")?.success()?;
                        Ok(states(host)? == "attached")
                    })?;
                    host.settled_sandboxes()?;
                    host.check().with_context(|| format!("{verb}, {kill}"))?;
                    host.ocinet("doctor")?.success().with_context(|| format!("{verb}, {kill}"))?;
                    host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER)?;
                    let expected = if joined(&web)?.len() == 2 { "default via 10.64.1.1 dev eth1" } else { &before };
                    ensure!(route(&web)? == *expected, "{}: {:?}", route(&web)?, joined(&web)?);
                }
                network(host, "disconnect --force front web")?.success()?;
            }
            ensure!(cut_off.iter().all(|count| *count > 1), "{cut_off:?} were cut off of each");
            web.delete()
        })?;
    }
    Ok(())
}

/// A container that goes after a disconnect was killed in the middle leaves no rule, whichever firewall has it.
#[test]
fn it_goes_after_a_move_that_was_cut_off() -> Result<()> {
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(DEFINE).test(|host| {
            let mut cut_off = 0;
            for kill in kills() {
                let web = host.container("web").network("front;back").publish("8080:80").run()?;
                cut_off += u32::from(is_cut_off(host, &kill, "disconnect front web")?);
                web.delete()?;
                host.settled_sandboxes()?;
                host.check().with_context(|| kill)?;
            }
            ensure!(cut_off > 1, "{cut_off} were cut off");
            Ok(())
        })
    })
}

/// A connect whose iptables fails while it moves a port is taken back: the port leads where it led, by one rule.
#[test]
fn iptables_fails_while_a_port_moves() -> Result<()> {
    for (firewall, restore) in
        [(Firewall::IptablesNft, "iptables-nft-restore"), (Firewall::IptablesLegacy, "iptables-legacy-restore")]
    {
        Settings::default().firewall(firewall).prepare(DEFINE).test(|host| {
            let _other = host.container("other").network("front").run()?;
            let web = host.container("web").publish("8080:80").run()?;
            let before = route(&web)?;
            host.sh(&format!(
                "mount -t tmpfs tmpfs /usr/local/sbin
                 printf '%s\n' '#!/bin/sh' 'cat >/tmp/document.$$' \
                     'if grep -q \"dport 8080 \" /tmp/document.$$ && mkdir /tmp/failed 2>/dev/null; then exit 70; fi' \
                     'exec /usr/sbin/{restore} \"$@\" </tmp/document.$$' >/usr/local/sbin/{restore}
                 chmod 755 /usr/local/sbin/{restore}"
            ))?;
            network(host, "connect --gw-priority 1 front web")?.exits(1)?.says(&[restore, "70"])?;
            host.sh("umount --lazy /usr/local/sbin; rmdir /tmp/failed; rm /tmp/document.*")?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            ensure!(route(&web)? == before, "{}", route(&web)?);
            host.settled_sandboxes()?;
            host.check()?;
            web.delete()?;
            host.settled_sandboxes()?;
            host.check()
        })?;
    }
    Ok(())
}

/// How many commands come at once.
const CROWD: usize = 50;

/// Many at once: on one container, on several, and beside detach, gc and the removal of the network.
#[test]
fn many_at_once() -> Result<()> {
    Settings::default().prepare(DEFINE).test(|host| {
        let containers = (0..CROWD).map(|n| host.container(&format!("c{n}")).run()).collect::<Result<Vec<_>>>()?;
        let at_once = |commands: Vec<String>| -> Result<Vec<Output>> {
            thread::scope(|scope| {
                let run = |command: String| scope.spawn(move || host.ocinet(&command));
                let running: Vec<_> = commands.into_iter().map(run).collect();
                running.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("panic"))?).collect()
            })
        };
        for _ in 0..2 {
            let same = at_once(vec!["network connect back c0".into(); CROWD])?;
            ensure!(same.iter().filter(|output| output.code == 0).count() == 1, "{same:?}");
            let all =
                (1..CROWD).map(|n| format!("network connect back c{n}")).chain(["gc".into(), "doctor --fix".into()]);
            every(at_once(all.collect())?, |output| {
                ensure!(output.code == 0, "{output}");
                Ok(())
            })?;
            host.check()?;
            let leave = (0..CROWD).map(|n| format!("network disconnect back c{n}")).chain(["gc".into()]);
            every(at_once(leave.collect())?, |output| {
                ensure!(output.code == 0, "{output}");
                Ok(())
            })?;
            host.settled_sandboxes()?;
            host.check()?;
        }
        for _ in 0..3 {
            network(host, "create made")?.success()?;
            let mixed = ["network connect made c0", "network rm made", "network connect made c1", "gc"];
            let outputs = at_once(mixed.map(str::to_owned).into())?;
            let [first, removal, second, collection] = &outputs[..] else { bail!("{outputs:?}") };
            ensure!(collection.code == 0, "{collection}");
            let is_there = host.sh("ls /etc/ocinet/networks")?.contains("made.toml");
            ensure!(is_there == (removal.code != 0), "{removal}");
            for (connect, container) in [(first, &containers[0]), (second, &containers[1])] {
                let is_on = joined(container)?.iter().any(|one| one.starts_with("made "));
                ensure!(is_on == (connect.code == 0), "{connect}");
                ensure!(is_on || [2, 3, 5].contains(&connect.code), "{connect}");
                ensure!(!is_on || removal.code == 3, "removed under a container: {removal}");
            }
            for name in ["c0", "c1"] {
                network(host, &format!("disconnect --force made {name}"))?.success()?;
            }
            host.settled_sandboxes()?;
            network(host, "rm --force made")?.success()?;
            host.check()?;
        }
        containers.into_iter().try_for_each(Container::delete)
    })
}

/// A removal that waits for a link which is slow to go keeps nobody from creating another network.
#[test]
fn a_removal_that_waits_holds_nothing_up() -> Result<()> {
    Settings::default().prepare(DEFINE).test(|host| {
        let web = host.container("web").run()?;
        network(host, "create made")?.success()?;
        network(host, "connect made web")?.success()?;
        thread::scope(|scope| {
            let slow = scope.spawn(|| {
                // Its first message, and that of the process that deletes the link.
                host.sh(&format!(
                    "strace -f -o /dev/null -e inject=sendto:delay_enter=3s:when=1 {OCINET} network disconnect made web"
                ))
            });
            eventually("its endpoint drains", || Ok(joined(&web)?.len() == 1))?;
            let removal = scope.spawn(|| network(host, "rm made"));
            thread::sleep(Duration::from_millis(200));
            let began = Instant::now();
            network(host, "create other")?.success()?;
            ensure!(began.elapsed() < Duration::from_secs(1), "it waited for {:?}", began.elapsed());
            ensure!(!removal.is_finished(), "the removal did not wait");
            slow.join().map_err(|_| anyhow::anyhow!("panic"))??;
            removal.join().map_err(|_| anyhow::anyhow!("panic"))??.exits(0).map(drop)
        })?;
        network(host, "rm other")?.success()?;
        web.delete()
    })
}
