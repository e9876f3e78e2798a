//! Thousands of published ports, and none left afterwards.

use anyhow::{Result, ensure};
use ocinet_integration::survive::CALLER;
use ocinet_integration::{Firewall, Host, OCINET, Output, Proto::Tcp, Settings, UPLINK, eventually};

/// The greatest range that one entry of a list may name.
const MANY: &str = "10000-14095:10000-14095";

/// More than ten thousand ports in five entries.
const TWENTY_THOUSAND: &str = "10000-14095:10000-14095,14096-18191:14096-18191,18192-22287:18192-22287,\
    22288-26383:22288-26383,26384-29999:26384-29999";

/// The attach fails after the ports were published: they are unpublished, and nothing is left for `gc`.
#[test]
fn a_failed_attach_takes_thousands_of_ports_back() -> Result<()> {
    for firewall in [Firewall::Nftables, Firewall::IptablesNft] {
        Settings::default().firewall(firewall).test(|host| {
            host.container("earlier").run()?.delete()?;
            host.settles()?;
            host.sh("ip netns add pod; ip -netns pod link add eth0 type bridge")?;
            let id = "x".repeat(200);
            let refusal = host.container(&id).in_namespace("/run/netns/pod").publish(MANY).refused()?;
            refusal.exits(3)?.is_one_line()?.says(&["eth0"])?;
            host.settles()?;
            host.ocinet("gc")?.success()?;
            host.sh("ip netns del pod").map(drop)
        })?;
    }
    Ok(())
}

/// The element of the last port already exists in the kernel: none of the other ports stays published.
#[test]
fn of_thousands_of_ports_all_are_published_or_none() -> Result<()> {
    Settings::default().test(|host| {
        host.container("earlier").run()?.delete()?;
        host.settles()?;
        let element = "inet ocinet publish4_any '{ tcp . 29999 : 10.90.7.7 . 80 }'";
        host.sh(&format!("nft add element {element}"))?;
        let refusal = host.container("web").publish(TWENTY_THOUSAND).refused()?;
        refusal.exits(1)?.is_one_line()?.says(&["publish 20000 ports", "File exists"])?;
        host.settles()?;
        // The rollback deletes all ports of the sandbox, also one that it did not add.
        host.sh(&format!("nft delete element {element} 2>/dev/null || true")).map(drop)
    })
}

/// `gc` removes the ports of a container that was never detached, and does not query the kernel port by port.
#[test]
fn thousands_of_ports_are_looked_at_at_once() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").publish(MANY).run()?;
        host.container("dead").publish("20000-24095:20000-24095").run()?.abandon()?;
        for command in ["doctor", "gc"] {
            let output = host.output(&["strace", "-f", "-o", "/tmp/calls", OCINET, command])?;
            let calls: u32 = host.sh("wc --lines </tmp/calls; rm /tmp/calls")?.trim().parse()?;
            ensure!(calls > 0, "strace wrote nothing:\n{output}");
            ensure!(calls < 4096, "{command} made {calls} system calls for 8192 ports");
        }
        host.settled_sandboxes()?;
        host.check()
    })
}

/// One of several documents fails for another reason than a missing rule: the ports of the earlier documents are
/// removed, and the error quotes the program. With iptables-nft, it is told each port of SCTP.
#[test]
fn of_thousands_of_ports_all_are_published_or_none_with_iptables() -> Result<()> {
    let rows = [
        (Firewall::IptablesNft, "iptables-nft-restore", "sctp"),
        (Firewall::IptablesLegacy, "iptables-legacy-restore", "tcp"),
    ];
    for (firewall, tool, protocol) in rows {
        Settings::default().firewall(firewall).test(|host| {
            host.container("earlier").run()?.delete()?;
            host.settles()?;
            host.sh(&format!(
                "mount -t tmpfs tmpfs /usr/local/sbin
                 cat >/usr/local/sbin/{tool} <<'END'
#!/bin/bash
input=$(cat)
if [[ $input == *'-A OCINET-ANY -p {protocol} --dport 12000 '* && ! -e /mnt/failed ]]; then
    touch /mnt/failed
    echo '{tool}: Memory allocation problem.' >&2
    exit 1
fi
exec /usr/sbin/{tool} \"$@\" <<<\"$input\"
END
                 chmod 755 /usr/local/sbin/{tool}"
            ))?;
            let refusal = host.container("web").publish(&format!("{MANY}/{protocol}")).refused()?;
            refusal.exits(1)?.is_one_line()?.says(&[tool, "Memory allocation problem"])?;
            let save = if firewall == Firewall::IptablesNft { "iptables-nft-save" } else { "iptables-legacy-save" };
            let left = host.sh(&format!("rm /mnt/failed; umount /usr/local/sbin; {save} | grep -c dport || true"))?;
            ensure!(left.trim() == "0", "{left} rules of ports are left");
            host.settles()
        })?;
    }
    Ok(())
}

/// With iptables-nft, a program is told one port of each kind, and the rules of the others are made of what it made of
/// those: they are listed and removed as if it had been told all. No container's are taken for another's.
#[test]
fn of_many_ports_a_program_of_iptables_is_told_a_few() -> Result<()> {
    const PUBLISHED: &str = "9000-9049:9100-9149,198.51.100.1:9050-9059:80-89,9060-9069:90-99/udp";
    Settings::default().firewall(Firewall::IptablesNft).prepare("mount -t tmpfs tmpfs /usr/local/sbin").test(|host| {
        let other = host.container("other").publish("9100-9119:9100-9119").run()?;
        host.sh("cat >/usr/local/sbin/iptables-nft-restore <<'END'
#!/bin/bash
exec /usr/sbin/iptables-nft-restore \"$@\" < <(tee -a /mnt/told)
END
                 chmod 755 /usr/local/sbin/iptables-nft-restore")?;
        let web = host.container("web").publish(PUBLISHED).serving(&["80-89", "9149"]).run()?;
        let rules = |chain: &str| host.sh(&format!("iptables-nft-save | grep -c '^-A {chain} .*dport' || true"));
        // Each port of TCP has two.
        let told = host.sh("grep -c dport /mnt/told; rm /mnt/told")?;
        ensure!(told.trim() == "5", "{told} lines of ports were told");
        for (chain, of_web, of_other) in [
            ("OCINET-ANY", 60, 20),
            ("OCINET-PUBLISH", 10, 0),
            ("OCINET-INVALID-ANY", 50, 20),
            ("OCINET-INVALID", 10, 0),
        ] {
            let found = rules(chain)?;
            ensure!(found.trim() == (of_web + of_other).to_string(), "chain {chain}: {found}");
        }
        for port in [9049, 9050, 9059] {
            host.peer().reaches(Tcp, format!("{UPLINK}:{port}"))?.is("web")?;
        }
        host.check()?;
        web.delete()?;
        let left = rules("OCINET-.*")?;
        ensure!(left.trim() == "40", "{left} rules are left for 20 ports");
        host.check()?;
        other.delete()
    })
}

/// A message to the kernel fails, one at a time, while many ports are added or taken away with iptables-nft: what the
/// attach added goes, and a detach is complete or fails.
#[test]
fn no_failing_message_leaves_many_ports() -> Result<()> {
    Settings::default().firewall(Firewall::IptablesNft).test(|host| {
        host.container("first").publish("8080:80").run()?.delete()?;
        host.settles()?;
        let no_memory = "12";
        for stage in ["createRuntime", "poststop"] {
            let mut failed = 0;
            for number in 0.. {
                let web = host.container("web").publish("9000-9019:9000-9019").prepare()?;
                if stage == "poststop" {
                    web.hook("createRuntime")?.success()?;
                }
                let way = [CALLER, "fail-at", "0", "sendto", &number.to_string(), no_memory, OCINET, "hook", stage];
                let told = Output::of(&mut host.command(&way), web.state(stage).to_string().as_bytes())?;
                failed += u32::from(told.code != 0);
                let left = || -> Result<bool> {
                    host.settles()?;
                    Ok(host.sh("iptables-nft-save | grep -c dport || true")?.trim() != "0")
                };
                let is_done = (told.code == 0) == (stage == "poststop");
                ensure!(!is_done || !left()?, "{told}\nrules of ports are left");
                web.hook("poststop")?.success()?;
                ensure!(!left()?, "{told}\nrules of ports are left at the end");
                host.check()?;
                if told.stderr.contains("caller: not failed") {
                    ensure!(number > 5 && failed > 3, "{stage} sends only {number} messages, {failed} failed");
                    break;
                }
            }
        }
        Ok(())
    })
}

/// Ports that ocinet chooses do not each need a descriptor.
#[test]
fn thousands_of_free_ports_need_few_descriptors() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("1000-3000").prepare()?;
        let mut hook = host.command(&["sh", "-c", "ulimit -n 64; exec /mnt/bin/ocinet hook createRuntime"]);
        Output::of(&mut hook, web.state("createRuntime").to_string().as_bytes())?.exits(0)?;
        let ports: usize = web.sandbox()?.publish.iter().map(|publish| publish.pairs().count()).sum();
        ensure!(ports == 2001, "{ports} ports");
        web.hook("poststop")?.exits(0)?;
        host.settles()?;
        web.abandon()
    })
}

/// A port that ocinet chooses is not one that a later entry names.
#[test]
fn a_free_port_is_not_in_the_way_of_a_named_one() -> Result<()> {
    Settings::default().test(|host| {
        with_free_ports(host, "40000 40001", || {
            let web = host.container("web").publish("80,40001:81").serving(&["80", "81"]).run()?;
            for port in [40_000, 40_001] {
                host.peer().reaches(Tcp, format!("{UPLINK}:{port}"))?.is("web")?;
            }
            web.delete()
        })
    })
}

/// Where no port is free, the error says so, and nothing of the attach is left.
#[test]
fn with_every_port_taken_the_range_is_named() -> Result<()> {
    Settings::default().test(|host| {
        with_free_ports(host, "40000 40003", || {
            let _listener = host.listen(Tcp, "0.0.0.0:40002")?;
            let web = host.container("web").publish("80-82").run()?;
            let refusal = host.container("late").publish("80").refused()?;
            refusal.exits(4)?.is_one_line()?.says(&["40000-40003/tcp", "ip_local_port_range"])?;
            host.container("other").publish("80/udp").run()?.delete()?;
            web.delete()
        })?;
        eventually("all is gone", || Ok(host.sandboxes()?.is_empty()))
    })
}

/// Runs a story while the kernel gives programs that name no port one of `range`.
fn with_free_ports(host: &Host, range: &str, story: impl FnOnce() -> Result<()>) -> Result<()> {
    let setting = "/proc/sys/net/ipv4/ip_local_port_range";
    let before = host.sh(&format!("cat {setting}; echo '{range}' >{setting}"))?;
    let told = story();
    host.sh(&format!("echo '{}' >{setting}", before.trim()))?;
    told
}
