//! Which program switched forwarding on: a router that another program made stays open and on. A host where ocinet did
//! it forwards only for containers.

use anyhow::{Result, ensure};
use ocinet_integration::{Background, Host, OCINET, Output, Proto::Tcp, Settings, UPLINK, every};

/// A second LAN behind the host. The peer has a route to it by the host.
const FAR_LAN: &str = "ip netns add far
    ip link add far0 type veth peer name eth0 netns far
    ip address add 192.168.50.1/24 dev far0; ip link set far0 up
    ip -netns far address add 192.168.50.2/24 dev eth0; ip -netns far link set eth0 up
    ip -netns far route add default via 192.168.50.1
    ip -netns peer route add 192.168.50.0/24 via 198.51.100.1";
const FAR: &str = "192.168.50.2:90";
const FORWARDS: &str = "cat /proc/sys/net/ipv4/ip_forward";

fn far_server(host: &Host) -> Result<Background> {
    host.beside("/run/netns/far").serve("far", &["90"])
}

/// ocinet failed to switch forwarding on, because its file or the firewall refused. So forwarding does not count as
/// ours: if a person makes the host a router afterwards, it stays one, also after a reset.
#[test]
fn a_failed_switch_is_not_ours() -> Result<()> {
    let obstacles = [
        ("mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys", "umount /proc/sys"),
        ("mount -t tmpfs tmpfs /usr/local/sbin; ln -s /bin/false /usr/local/sbin/nft", "umount /usr/local/sbin"),
    ];
    every(obstacles, |(obstacle, end)| {
        Settings::default().prepare(FAR_LAN).test(|host| {
            let _far = far_server(host)?;
            host.sh(obstacle)?;
            host.container("web").publish("8080:80").refused()?.exits(1)?.is_one_line()?;
            host.sh(&format!("{end}; sysctl -qw net.ipv4.ip_forward=1"))?;
            host.peer().reaches(Tcp, FAR)?.is("far")?;
            let web = host.container("web").publish("8080:80").run()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            host.peer().reaches(Tcp, FAR)?.is("far")?;
            web.delete()?;
            host.ocinet("reset")?.success()?;
            ensure!(host.sh(FORWARDS)? == "1\n", "the router was switched off");
            host.peer().reaches(Tcp, FAR)?.is("far").map(drop)
        })
    })
}

/// The hook is killed around the moment in which it switches forwarding on, before it can record that. The host is no
/// open router then, and `reset` switches forwarding off if ocinet switched it on.
#[test]
fn killed_at_the_switch() -> Result<()> {
    Settings::default().prepare(FAR_LAN).test(|host| {
        let _far = far_server(host)?;
        let mut switched = 0;
        for nth in 1..=6 {
            let mut web = host.container("web").publish("8080:80").prepare()?;
            let inject = format!("inject=close:signal=KILL:when={nth}");
            let strace =
                ["strace", "-f", "-qq", "-o", "/mnt/strace", "-P", "/proc/sys/net/ipv4/ip_forward", "-e", &inject];
            let mut hook = host.command(&[&strace[..], &[OCINET, "hook", "createRuntime"]].concat());
            let output = Output::of(&mut hook, web.state("createRuntime").to_string().as_bytes())?;
            let was_killed = output.code != 0;
            let forwards = host.sh(FORWARDS)? == "1\n";
            switched += u32::from(was_killed && forwards);
            host.peer().cannot_reach(Tcp, FAR)?;
            web.kill()?;
            web.hook("poststop")?.success()?;
            host.peer().cannot_reach(Tcp, FAR)?;
            let told = host.ocinet("reset --force")?.success()?;
            ensure!(host.sh(FORWARDS)? == "0\n", "killed at close {nth}: {told}");
            ensure!(told.contains("ip_forward is 0 again") == forwards, "killed at close {nth}: {told}");
        }
        ensure!(switched > 0, "no kill came after the switch");
        host.sh("sysctl -qw net.ipv4.ip_forward=1")?;
        host.peer().reaches(Tcp, FAR)?.is("far")?;
        host.sh("sysctl -qw net.ipv4.ip_forward=0").map(drop)
    })
}
