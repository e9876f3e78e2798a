//! The fixtures themselves: a private host is private, and the checker sees what it should.

use anyhow::{Result, ensure};
use ocinet_integration::{Host, Proto::Tcp, Runtime, Settings, every};
use serde_json::json;

/// Machines whose settings new network namespaces begin with: Debian 13 (linux-sysctl-defaults), strict and loose
/// checks of sources, a router, one without IPv6, and one with every switch for IPv4 reversed.
const MACHINES: [&str; 6] = [
    "sysctl -q net.ipv4.conf.{default,lo}.{rp_filter=2,accept_source_route=0,promote_secondaries=1}",
    "sysctl -q net.ipv4.conf.{all,default,lo}.rp_filter=1",
    "sysctl -q net.ipv4.conf.{all,default,lo}.rp_filter=2 net.ipv4.conf.{all,default}.{accept,send}_redirects=0",
    "sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_ra=2",
    "sysctl -q net.ipv6.conf.{all,default,lo}.disable_ipv6=1 net.ipv6.conf.{all,default}.{accept_ra,autoconf}=0",
    "for setting in /proc/sys/net/ipv4/conf/{all,default,lo}/*; do
         case $(cat $setting) in 0) value=1 ;; 1) value=0 ;; *) continue ;; esac
         [[ $setting == */mc_forwarding ]] || echo $value >$setting
     done",
];

/// The checker reports every change of what belongs to other programs.
#[test]
fn the_checker_sees_every_change_of_foreign_property() -> Result<()> {
    let host = Host::new(Settings::default())?;
    host.check()?;
    for (deed, undo, section) in [
        ("ip link set uplink mtu 1400", "ip link set uplink mtu 1500", "links"),
        ("ip link add veth9 type veth peer name veth8", "ip link del veth9", "links"),
        ("ip address add 192.0.2.9/32 dev stranger0", "ip address del 192.0.2.9/32 dev stranger0", "addresses"),
        ("ip route add 192.0.2.9/32 via 198.51.100.2", "ip route del 192.0.2.9/32", "routes"),
        ("ip rule add from 192.0.2.9 lookup 9", "ip rule del from 192.0.2.9 lookup 9", "rules"),
        (
            "nft add element inet stranger known { 192.0.2.9 }",
            "nft delete element inet stranger known { 192.0.2.9 }",
            "nftables",
        ),
        ("iptables-legacy -A INPUT -s 192.0.2.9", "iptables-legacy -D INPUT -s 192.0.2.9", "iptables"),
        ("sysctl -q net.ipv4.conf.uplink.rp_filter=1", "sysctl -q net.ipv4.conf.uplink.rp_filter=0", "sysctls"),
        ("mount --bind /run/stranger /run/stranger", "umount /run/stranger", "mounts"),
        ("touch /run/file", "rm /run/file", "files"),
        ("touch /etc/ocinet/config.toml", "rm /etc/ocinet/config.toml", "files"),
    ] {
        host.sh(deed)?;
        let complaint = host.check().expect_err(deed).to_string();
        ensure!(complaint.contains(&format!("@ {section}\n")), "{deed}: {complaint}");
        host.sh(undo)?;
        host.check()?;
    }
    Ok(())
}

/// The checker reports links and elements that look like ours and belong to no sandbox.
#[test]
fn the_checker_sees_what_belongs_to_no_sandbox() -> Result<()> {
    let host = Host::new(Settings::default())?;
    for (deed, undo) in [
        (
            "ip link add ocinet0 type bridge; ip link add ocv0a5a0002 master ocinet0 type veth peer name other",
            "ip link del ocv0a5a0002; ip link del ocinet0",
        ),
        ("ip link add other type veth peer name else; ip link set other alias ocinet:7", "ip link del other"),
    ] {
        host.sh(deed)?;
        let complaint = host.check().expect_err(deed).to_string();
        ensure!(complaint.contains("belongs to no record"), "{deed}: {complaint}");
        host.sh(undo)?;
    }
    host.check()
}

/// What happens on one host is seen on no other, and the uplink is a veth pair to the peer.
#[test]
fn a_host_is_private() -> Result<()> {
    let (one, two) = (Host::new(Settings::default())?, Host::new(Settings::default())?);
    let _server = one.serve("one", &["80"])?;
    one.peer().reaches(Tcp, "198.51.100.1:80")?.is("one")?.seen_from("198.51.100.2")?;
    two.peer().cannot_reach(Tcp, "198.51.100.1:80")?;
    one.sh("ip link set uplink down; touch /run/one /etc/ocinet/one; sysctl -q net.bridge.bridge-nf-call-iptables=0")?;
    two.check()
}

/// A host and its LAN peer have the same settings whatever those of the machine are.
#[test]
fn a_host_is_the_same_on_every_machine() -> Result<()> {
    let settings = |host: &Host| -> Result<String> {
        let look = "cd /proc/sys/net; grep -rs '' ipv4/conf ipv6/conf ipv4/ip_forward bridge || true";
        Ok(host.sh(look)? + &host.peer().sh(look)?)
    };
    let usual = settings(&Host::new(Settings::default())?)?;
    ensure!(usual.contains("ipv4/conf/uplink/rp_filter:0\n") && usual.contains("ipv4/ip_forward:0\n"), "{usual}");
    every(MACHINES, |machine| {
        let host = Host::new(Settings::default().inherit(&format!("bash -euc '{machine}'")))?;
        let here = settings(&host)?;
        let differ: Vec<_> = usual.lines().zip(here.lines()).filter(|(usual, here)| usual != here).collect();
        ensure!(differ.is_empty() && usual.len() == here.len(), "{differ:#?}");
        Ok(())
    })
}

/// The inherited settings are present when our hook begins, and are absent without the hook before it.
#[test]
fn a_container_begins_as_a_routers() -> Result<()> {
    const ROUTER: [&str; 7] = [
        "ipv4/ip_forward:1",
        "ipv4/conf/all/forwarding:1",
        "ipv4/conf/default/rp_filter:2",
        "ipv4/conf/lo/accept_redirects:1",
        "ipv4/conf/default/secure_redirects:0",
        "ipv4/conf/all/send_redirects:1",
        "ipv6/conf/all/forwarding:1",
    ];
    let look = "cd /proc/sys/net; grep -rs '' ipv4/conf ipv6/conf ipv4/ip_forward || true";
    let script = format!("exec nsenter --net=/proc/$(jq .pid)/ns/net sh -c \"{look}\" >/mnt/seen");
    let witness = json!([{ "path": "/bin/sh", "args": ["sh", "-euc", script] }]);
    every([Runtime::Runc, Runtime::Crun, Runtime::Bare], |runtime| {
        let host = Host::new(Settings::default().runtime(*runtime).born_of_router(true))?;
        let seen = |edit: &str| -> Result<String> {
            let edit = format!("{edit} | .hooks.createRuntime = {witness} + .hooks.createRuntime");
            let web = host.container("web").edit(&edit);
            match runtime {
                Runtime::Bare => web.prepare()?.sh(look),
                _ => web.run()?.delete().and_then(|()| host.sh("cat /mnt/seen")),
            }
        };
        let inherited = seen(".")?;
        let missing: Vec<_> = ROUTER.iter().filter(|line| !inherited.lines().any(|seen| seen == **line)).collect();
        ensure!(missing.is_empty(), "our hook does not see {missing:?}");
        let of_the_machine = host.sh(&format!("unshare --net sh -c \"{look}\""))?;
        ensure!(inherited != of_the_machine, "the machine is such a router itself");
        ensure!(*runtime == Runtime::Bare || seen("del(.hooks.prestart)")? == of_the_machine, "something else did it");
        Ok(())
    })
}

/// Nothing of a host outlives it, not even a program that runs for ever.
#[test]
fn nothing_of_a_host_outlives_it() -> Result<()> {
    let host = Host::new(Settings::default())?;
    let name = format!("sleep-{}-of-a-host", std::process::id());
    host.sh(&format!(
        "cp $(command -v sleep) /mnt/bin/{name}; setsid /mnt/bin/{name} 1000 </dev/null >/dev/null 2>&1 &"
    ))?;
    let runs = || -> Result<bool> {
        let processes = std::fs::read_dir("/proc")?.flatten();
        Ok(processes
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .any(|line| String::from_utf8_lossy(&line).contains(&name)))
    };
    ocinet_integration::eventually("the program runs", runs)?;
    drop(host);
    ensure!(!runs()?, "{name} still runs");
    Ok(())
}
