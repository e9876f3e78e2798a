//! A container that cannot be examined is not dead: it keeps its network, whatever a collection cannot see. A dead one
//! is collected, also when it was attached from other namespaces.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Container, Firewall, Host, OCINET, Output, Proto::Tcp, Settings, UPLINK, eventually, every};

/// Ways to run a program that stop it from examining another process's namespaces.
const DEPRIVED: [(&str, &[&str]); 9] = [
    ("without the right to look at processes", &["setpriv", "--bounding-set", "-sys_ptrace", "--"]),
    ("with few descriptors", &["sh", "-c", r#"ulimit -n 12; exec "$@""#, "sh"]),
    ("without a thread", &["strace", "-f", "-o", "/dev/null", "-e", "inject=clone3,clone:error=EAGAIN"]),
    ("without the right to enter", &["strace", "-f", "-o", "/dev/null", "-e", "inject=setns:error=EPERM"]),
    (
        "without memory for a process's descriptor",
        &["strace", "-f", "-o", "/dev/null", "-e", "inject=pidfd_open:error=ENOMEM"],
    ),
    (
        "without a descriptor for a process",
        &["strace", "-f", "-o", "/dev/null", "-e", "inject=pidfd_open:error=EMFILE"],
    ),
    ("without the cookie", &["strace", "-f", "-o", "/dev/null", "-e", "inject=getsockopt:error=ENOBUFS"]),
    ("without links of files", &["strace", "-f", "-o", "/dev/null", "-e", "inject=readlink,readlinkat:error=EACCES"]),
    ("without a poll", &["strace", "-f", "-o", "/dev/null", "-e", "inject=poll,ppoll:error=EINTR:when=1"]),
];

/// Whatever command is run in those ways beside a living container, the container stays as it is.
#[test]
fn what_cannot_be_looked_at_is_never_collected() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let before = host.sandboxes()?;
        let heir = host.container("heir").publish("8080:80").prepare()?;
        let state = heir.state("createRuntime").to_string();
        let calls: [(&[&str], &str); 4] =
            [(&["gc"], ""), (&["doctor", "--fix"], ""), (&["reset"], ""), (&["hook", "createRuntime"], &state)];
        every(DEPRIVED, |(way, wrapper)| {
            every(calls, |(arguments, stdin)| {
                let argv = [*wrapper, &[OCINET], *arguments].concat();
                let output = Output::of(&mut host.command(&argv), stdin.as_bytes())?;
                let is_attach_or_reset = arguments[0] == "hook" || arguments[0] == "reset";
                ensure!(!is_attach_or_reset || output.code != 0, "{way}: it should have failed\n{output}");
                untouched(host, &web, &before).with_context(|| format!("{way}\n{output}"))
            })
        })?;
        ensure!(host.ocinet("gc")?.success()?.is_empty(), "nothing is dead");
        host.check()
    })
}

fn untouched(host: &Host, web: &Container<'_>, before: &[ocinet_integration::Sandbox]) -> Result<()> {
    let now = host.settled_sandboxes()?;
    ensure!(now.iter().any(|sandbox| before.contains(sandbox)), "the container's record is gone or changed: {now:#?}");
    web.sh("ip link show eth0 | grep -q 'state UP'")?;
    host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web").map(drop)
}

/// `ps` shows such a container, and the operator can have it removed.
#[test]
fn what_cannot_be_looked_at_is_shown_and_can_be_forgotten() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let blind = |arguments: &[&str]| host.output(&[DEPRIVED[0].1, &[OCINET], arguments].concat());
        let line = blind(&["ps"])?.success()?;
        ensure!(line.contains("unknown"), "{line}");
        let doctor = blind(&["doctor"])?.exits(1)?;
        ensure!(doctor.stdout.contains("container web cannot be looked at"), "{doctor}");
        ensure!(doctor.stdout.contains("ocinet gc --forget web"), "{doctor}");
        blind(&["reset"])?.exits(3)?.says(&["web", "--force"])?;
        // A container that is seen running cannot be removed that way.
        host.ocinet("gc --forget web")?.exits(3)?.says(&["container web runs"])?;
        host.ocinet("gc --forget other")?.exits(5)?.is_one_line()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        ensure!(blind(&["gc", "--forget", "web"])?.success()? == "forgot web\n");
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        web.abandon()?;
        host.settles()
    })
}

/// A namespace whose path is gone, with a process still in it.
#[test]
fn a_namespace_lives_on_without_its_path() -> Result<()> {
    Settings::default().test(|host| {
        host.sh("ip netns add box")?;
        let web = host.container("web").in_namespace("/run/netns/box").publish("8080:80").run()?;
        host.sh("ip netns del box")?;
        every(["gc", "doctor --fix"], |command| {
            host.ocinet(command)?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web").map(drop)
        })?;
        host.ocinet("reset")?.exits(3)?;
        web.abandon()?;
        eventually("the dead container is collected", || {
            host.ocinet("gc")?.success()?;
            Ok(host.sandboxes()?.is_empty())
        })
    })
}

/// From another time namespace, every process has another start time.
#[test]
fn another_clock_makes_nothing_dead() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let elsewhere = ["unshare", "--time", "--fork", "--boottime", "100000", OCINET, "gc"];
        ensure!(host.output(&elsewhere)?.success()?.is_empty(), "it collected something");
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        web.delete()
    })
}

/// The kernel gives the id of a namespace that has ended to another one, where the kernel chose that id.
#[test]
fn an_id_that_is_given_again_keeps_nothing_alive() -> Result<()> {
    Settings::default().test(|host| {
        let pod = |name: &str, link: &str| {
            host.sh(&format!("ip netns add {name}; ip link add {link} type veth peer name eth0 netns {name}"))
        };
        pod("pod1", "cni1")?;
        let draft = host.container("web").in_namespace("/run/netns/pod1").network("bridge:interface=eth1");
        draft.publish("8080:80").run()?.abandon()?;
        host.sh("ip netns del pod1")?;
        eventually("the pod's link is gone", || Ok(!host.sh("ls /sys/class/net")?.contains("cni1")))?;
        pod("pod2", "cni2")?;
        ensure!(host.ocinet("gc")?.success()? == "collected web\n", "{:#?}", host.sandboxes()?);
        host.sh("ip link del cni2; ip netns del pod2").map(drop)
    })
}

/// A container is attached from other mount and pid namespaces than those of the collection, as from a hardened unit.
/// While it lives it stays, even if it has deleted its own interface; then it is collected.
#[test]
fn what_was_attached_from_elsewhere_is_collected_when_it_is_dead() -> Result<()> {
    Settings::default().test(|host| {
        every(["bridge", "none"], |network| {
            every(["--mount", "--mount --pid --fork --mount-proc"], |elsewhere| {
                let job = host.container("job").network(network).command(&["sleep", "100000"]).prepare()?;
                let state = job.state("createRuntime");
                let attach = format!(
                    "unshare --net sleep 100000 </dev/null >/dev/null 2>&1 & pid=$!
                     until [ \"$(readlink /proc/$pid/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.01; done
                     jq -c \".pid = $pid\" | {OCINET} hook createRuntime && echo attached && wait"
                );
                let words = [&["unshare"], &elsewhere.split(' ').collect::<Vec<_>>()[..], &["--kill-child", "sh", "-euc", &attach]];
                let is_apart = elsewhere.contains("--pid");
                let argv: Vec<&str> = words.concat().into_iter().filter(|word| is_apart || *word != "--kill-child").collect();
                host.sh(&format!("printf %s '{state}' >/mnt/state"))?;
                let mut keeper = host.background(&["sh", "-c", r#"exec "$@" </mnt/state"#, "sh"].iter().chain(&argv).copied().collect::<Vec<_>>())?;
                ensure!(keeper.line()? == "attached");
                if *network == "bridge" {
                    host.sh("ip link del $(ls /sys/class/net | grep ^ocv)")?;
                }
                host.ocinet("gc")?.success()?;
                ensure!(host.sandboxes()?.len() == 1, "{network} {elsewhere}: a living container was collected");
                host.ocinet("gc --forget job")?.exits(3)?.says(&["container job runs"])?;
                let pid = keeper.pid();
                host.sh(&format!("pkill -KILL -P {pid} || true; kill -KILL {pid} || true; pkill -KILL -f 'sleep 10000[0]' || true"))?;
                drop(keeper);
                eventually(&format!("{network} {elsewhere}: the dead container is collected"), || {
                    host.ocinet("gc")?.success()?;
                    Ok(host.sandboxes()?.is_empty())
                })?;
                job.abandon()
            })
        })
    })
}

/// A sandbox that cannot be collected stops neither the collection of others nor the attach of another container.
#[test]
fn one_that_cannot_be_collected_holds_nothing_up() -> Result<()> {
    let settings = "mkdir -p /etc/ocinet; printf 'subnet = \"10.90.0.0/29\"\n' >/etc/ocinet/config.toml";
    Settings::default().prepare(settings).test(|host| {
        for number in 0..5 {
            let dead = host.container(&format!("dead{number}")).isolated().command(&["sleep", "100000"]).run()?;
            if number == 0 {
                // A mount in the folder of its files, which therefore cannot be removed.
                host.sh("cd /run/ocinet/containers/*; mkdir busy; mount -t tmpfs tmpfs busy; pwd >/mnt/busy")?;
            }
            dead.abandon()?;
        }
        // All five addresses are leased to dead containers.
        host.container("next").run()?.delete()?;
        let gc = host.ocinet("gc")?.exits(1)?.says(&["container dead0", "/run/ocinet/containers"])?;
        ensure!(gc.stderr.lines().count() == 1, "{gc}");
        let left = host.settled_sandboxes()?;
        ensure!(left.len() == 1 && left[0].container == "dead0", "{left:#?}");
        host.sh("umount $(cat /mnt/busy)/busy")?;
        ensure!(host.ocinet("gc")?.success()? == "collected dead0\n");
        Ok(())
    })
}

/// Files that cannot be removed do not stop the removal of others, and every failure is reported.
#[test]
fn gc_goes_on_and_names_all_that_failed() -> Result<()> {
    Settings::default().prepare("mount -t tmpfs tmpfs /usr/local/sbin").test(|host| {
        let _web = host.container("web").isolated().run()?;
        host.sh("cd /run/ocinet/containers; ls >/mnt/before
             for name in a b c d e f g h busy0 busy1; do mkdir -p $name/folder; done
             for name in busy0 busy1; do mount -t tmpfs tmpfs $name/folder; done
             nft flush table inet ocinet; ln -s /bin/false /usr/local/sbin/nft")?;
        host.ocinet("gc")?.exits(1)?.says(&["busy0", "busy1", "nft -f -"])?;
        let left = host.sh("cd /run/ocinet/containers; ls | grep -vxFf /mnt/before")?;
        ensure!(left == "busy0\nbusy1\n", "{left}");
        host.sh("umount /run/ocinet/containers/busy?/folder; rm /usr/local/sbin/nft")?;
        host.ocinet("gc")?.success()?;
        host.check()
    })
}

/// Rules that cannot move to another firewall do not stop the collection of containers without published ports.
#[test]
fn rules_that_cannot_move_hold_no_container_up() -> Result<()> {
    Settings::default().firewall(Firewall::IptablesNft).test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        host.container("dead").isolated().command(&["sleep", "100000"]).run()?.abandon()?;
        host.sh(
            "echo 'firewall = \"nftables\"' >/mnt/config; mount --bind /mnt/config /etc/ocinet/config.toml
             program=$(readlink -f $(command -v iptables-nft)); echo $program >/mnt/program; mount --bind /dev/null $program",
        )?;
        host.container("next").refused()?.exits(1)?.says(&["is not installed"])?;
        let gc = host.ocinet("gc")?.exits(1)?.says(&["is not installed"])?;
        ensure!(gc.stdout == "collected dead\n", "{gc}");
        host.sh("umount $(cat /mnt/program)")?;
        host.ocinet("gc")?.success()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        web.delete()?;
        host.sh("umount /etc/ocinet/config.toml").map(drop)
    })
}

/// The second container of a namespace comes while the first is being attached. That attach fails, and the second is
/// wired. The server that answers is the first's, since both share one port 80.
#[test]
fn a_second_container_waits_for_the_attach_of_the_first() -> Result<()> {
    Settings::default().test(|host| {
        // The first cannot get its interface. That fails only after its sandbox is written.
        host.sh("ip netns add box; ip -netns box link add eth0 type bridge")?;
        let box_ = "/run/netns/box";
        let first = host.container("first").in_namespace(box_).prepare()?;
        let second = host.container("second").in_namespace(box_).network("bridge:interface=eth1");
        let second = second.publish("8080:80").serving(&["81"]).prepare()?;
        let slow = [
            "strace",
            "-f",
            "-o",
            "/dev/null",
            "-e",
            "inject=sendto:delay_enter=200ms",
            OCINET,
            "hook",
            "createRuntime",
        ];
        let state = first.state("createRuntime").to_string();
        std::thread::scope(|scope| {
            let failing = scope.spawn(|| Output::of(&mut host.command(&slow), state.as_bytes()));
            eventually("the first is being attached", || Ok(host.sandboxes()?.len() == 1))?;
            second.hook("createRuntime")?.success()?;
            let failed = failing.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            ensure!(failed.code != 0, "{failed}");
            Ok(())
        })?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("first")?;
        let sandboxes = host.settled_sandboxes()?;
        ensure!(sandboxes.len() == 1 && sandboxes[0].container == "second", "{sandboxes:#?}");
        second.hook("poststop")?.success()?;
        second.abandon()?;
        first.abandon()?;
        host.sh("ip netns del box").map(drop)
    })
}

/// `doctor --fix` listed a container that is detached before it is repaired.
#[test]
fn doctor_wires_no_container_that_was_detached_meanwhile() -> Result<()> {
    Settings::default().test(|host| {
        let one = host.container("one").run()?;
        let two = host.container("two").run()?;
        host.sh("for link in $(ls /sys/class/net | grep ^ocv); do ip link del $link; done")?;
        let slow = ["strace", "-f", "-o", "/dev/null", "-e", "inject=clone3:delay_enter=1s", OCINET, "doctor", "--fix"];
        std::thread::scope(|scope| {
            let doctor = scope.spawn(|| host.output(&slow));
            let link = one.host_interface()?;
            eventually("the first is connected again", || Ok(host.sh("ls /sys/class/net")?.contains(&link)))?;
            two.hook("poststop")?.success()?;
            doctor.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??.success()
        })?;
        ensure!(two.sh("ip -br link show type veth")?.is_empty(), "a detached container was wired");
        host.check()
    })
}

/// A repeated attach succeeds without a change only if the container is complete.
#[test]
fn a_repeated_attach_puts_right_what_is_missing() -> Result<()> {
    let damages = [
        "tc filter del dev $link ingress",
        "tc qdisc del dev $link clsact",
        "nft flush table inet ocinet",
        "nft delete table inet ocinet",
        "nft delete element inet ocinet publish4_any '{ tcp . 8080 }'",
        "ip address flush dev ocinet0",
        "ip link set ocinet0 down",
        "ip link set $link nomaster",
        "ip link set $link down",
        "ip link set $link type bridge_slave hairpin off",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv4.conf.ocinet0.route_localnet=0",
        "ip link del ocinet0",
    ];
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let address = web.at(80)?;
        let link = web.host_interface()?;
        every(damages, |damage| {
            host.sh(&format!("link={link}; {damage}"))?;
            ensure!(host.ocinet("doctor")?.code == 1, "the doctor sees nothing wrong");
            web.hook("createRuntime")?.success()?;
            let doctor = host.ocinet("doctor")?;
            ensure!(doctor.code == 0, "{doctor}");
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            host.reaches(Tcp, "127.0.0.1:8080")?.is("web")?;
            ensure!(web.at(80)? == address, "it has another address now");
            host.check()
        })
    })
}
