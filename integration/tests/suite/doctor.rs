//! `ocinet doctor`: it reports each fault, repairs what is ours for the containers that run, and explains what is not
//! ours without changing it.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use ocinet_integration::service::Service;
use ocinet_integration::{Firewall, Host, Proto, Proto::Tcp, Settings, UPLINK, every};

use crate::ttrpc_service::{made, place};

/// A host without rules of other programs: `nft flush ruleset` would delete them too.
fn alone() -> Settings {
    Settings::default().prepare("nft delete table inet stranger")
}

/// The configuration of a host's network. Left out are the counters of the kernel, the random MAC of a host's end, and
/// the carrier state, which changes a moment later.
fn look(host: &Host) -> Result<String> {
    host.sh(
        "ip -brief link | sed 's/@[^ ]*//' | awk '{ print $1 }' | sort; ip -brief address show ocinet0 | awk '{ print $1, $3 }'; ip route | sed 's/ linkdown//'
        for link in /sys/class/net/oc*; do
            cd $link; echo $(basename $link) $(cat mtu ifalias flags)
            if [ -e brport ]; then echo $(basename $(readlink master)) $(cat brport/hairpin_mode); fi
        done
        cat /sys/class/net/ocinet0/address; ip neigh show dev ocinet0 nud permanent | sort; bridge fdb show br ocinet0 | grep static | sort
        for link in /sys/class/net/ocv*; do tc filter show dev ${link##*/} ingress; done
        nft --stateless list table inet ocinet
        sysctl net.ipv4.ip_forward net.ipv4.conf.ocinet0.route_localnet net.ipv6.conf.ocinet0.disable_ipv6",
    )
}

/// Each damage, and the doctor's report of it. After the repair all is as before, compared in the kernel's own output.
#[test]
fn what_is_ours_is_put_right() -> Result<()> {
    alone().test(|host| {
        let web = host.container("web").publish("8080:80,127.0.0.1:8081:80,8080:80/udp").run()?;
        let db = host.container("db").network("bridge:mac=02:00:00:00:00:77,interface=net7,mtu=1400").run()?;
        let before = look(host)?;
        let (web_link, db_link) = (web.host_interface()?, db.host_interface()?);
        every(
            [
                ("nft flush ruleset", "table inet ocinet"),
                ("nft flush table inet ocinet", "table inet ocinet"),
                ("nft delete table inet ocinet", "table inet ocinet"),
                ("nft delete element inet ocinet publish4_any '{ tcp . 8080 }'", "table inet ocinet"),
                ("nft add element inet ocinet publish4_any '{ tcp . 99 : 10.90.0.9 . 99 }'", "table inet ocinet"),
                ("nft delete element inet ocinet nat_subnets4 '{ 10.90.0.0/16 }'", "table inet ocinet"),
                ("ip link del ocinet0", "bridge ocinet0"),
                ("ip link set ocinet0 down", "bridge ocinet0"),
                ("ip address flush dev ocinet0", "10.90.0.1/16"),
                // Before its link is made anew: then IPv6 is switched off inside.
                ("tc filter del dev WEB egress", "container web can get IPv6"),
                ("ip link del WEB", "container web"),
                ("ip link del DB", "container db"),
                ("ip link set WEB nomaster", "container web"),
                ("ip link set WEB down", "container web"),
                ("tc qdisc del dev WEB clsact", "container web"),
                ("tc filter replace dev DB ingress pref 1 handle 1 bpf da bytecode '1,6 0 0 0'", "container db"),
                ("ip link set WEB type bridge_slave hairpin off", "container web"),
                ("ip neigh del 10.90.0.2 dev ocinet0", "container web"),
                (
                    "ip neigh replace 10.90.0.3 lladdr 02:00:00:00:00:66 nud permanent protocol 111 dev ocinet0",
                    "container db",
                ),
                ("bridge fdb del 02:00:00:00:00:77 dev DB master", "container db"),
                ("ip neigh add 10.90.7.7 lladdr 02:00:00:00:00:66 nud permanent protocol 111 dev ocinet0", "10.90.7.7"),
                ("ip link set ocinet0 address 02:00:00:00:00:66", "bridge ocinet0"),
                ("sysctl -w net.ipv4.ip_forward=0", "net.ipv4.ip_forward"),
                ("sysctl -w net.ipv4.conf.ocinet0.route_localnet=0", "route_localnet"),
                ("sysctl -w net.ipv6.conf.ocinet0.disable_ipv6=0", "disable_ipv6"),
                ("rm -r /run/ocinet; sysctl -w net.ipv4.ip_forward=0", "store is missing"),
            ],
            |(damage, words)| {
                host.sh(&damage.replace("WEB", &web_link).replace("DB", &db_link))?;
                let told = host.ocinet("doctor")?.exits(1)?.stdout;
                ensure!(told.contains(words) && told.contains("wrong: ") && told.contains("doctor --fix"), "{told}");
                let mended = host.ocinet("doctor --fix")?.success()?;
                ensure!(mended.contains("mended: ") && mended.contains("nothing is wrong"), "{mended}");
                ensure!(look(host)? == before, "{before}\nbecame\n{}", look(host)?);
                for proto in Proto::ALL {
                    host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
                }
                host.reaches(Tcp, "127.0.0.1:8081")?.is("web")?;
                web.reaches(Tcp, db.at(80)?)?.is("db")?;
                host.check()
            },
        )
    })
}

/// The same with iptables.
#[test]
fn what_is_ours_is_put_right_in_iptables() -> Result<()> {
    for (firewall, iptables) in [(Firewall::IptablesNft, "iptables-nft"), (Firewall::IptablesLegacy, "iptables-legacy")]
    {
        Settings::default().firewall(firewall).test(|host| {
            let _web = host.container("web").publish("8080:80,127.0.0.1:8081:80,8080:80/udp").run()?;
            let chains = host.chains(iptables);
            let look = || -> Result<String> {
                let mut rules = Vec::new();
                for table in ["mangle", "nat", "filter"] {
                    rules.extend(chains.rules(table)?.into_iter().filter(|rule| rule.contains("OCINET")));
                }
                Ok(rules.join("\n"))
            };
            let before = look()?;
            let rows = [
                ("filter", "-F FORWARD"),
                ("nat", "-F OCINET-PUBLISH"),
                ("nat", "-F OCINET-ANY"),
                ("nat", "-D OCINET-ANY 1"),
                ("nat", "-A OCINET-ANY -p tcp --dport 99 -j DNAT --to-destination 10.90.0.9:99"),
                ("mangle", "-F"),
                ("filter", "-I OCINET-IN -j ACCEPT"),
            ];
            every(rows, |(table, damage)| {
                chains.execute(table, damage)?;
                let told = host.ocinet("doctor")?.exits(1)?.stdout;
                ensure!(told.contains("chains OCINET-*") && told.contains("doctor --fix"), "{told}");
                let mended = host.ocinet("doctor --fix")?.success()?;
                ensure!(mended.contains("mended: ") && mended.contains("nothing is wrong"), "{mended}");
                ensure!(look()? == before, "{before}\nbecame\n{}", look()?);
                host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
                host.check()
            })
        })?;
    }
    Ok(())
}

/// A healthy host, and one that was never used.
#[test]
fn nothing_is_wrong_with_a_healthy_host() -> Result<()> {
    Settings::default().test(|host| {
        let told = host.unchanged_by(|| host.ocinet("doctor --fix")?.success())?;
        ensure!(told.contains("not used"), "{told}");
        let _web = host.container("web").publish("8080:80").run()?;
        let told = host.unchanged_by(|| host.ocinet("doctor --fix")?.success())?;
        ensure!(told.starts_with("nothing is wrong\n"), "{told}");
        let json: Vec<serde_json::Value> = serde_json::from_str(&host.ocinet("doctor --json")?.success()?)?;
        ensure!(json.iter().all(|finding| finding["kind"] == "note"), "{json:?}");
        Ok(())
    })
}

/// What comes and goes while the doctor looks is no fault.
#[test]
fn attaches_and_detaches_are_no_fault() -> Result<()> {
    alone().test(|host| {
        host.container("first").run()?.delete()?;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let churn = |name: &'static str| {
                let done = &done;
                scope.spawn(move || -> Result<()> {
                    while !done.load(Ordering::Relaxed) {
                        host.container(name).publish("80").run()?.delete()?;
                    }
                    Ok(())
                })
            };
            let workers = ["one", "two", "three", "four", "five", "six"].map(churn);
            let looked = (0..60).try_for_each(|_| {
                let said = host.ocinet("doctor")?;
                ensure!(!said.stdout.contains("belongs to no container"), "{said}");
                Ok(())
            });
            done.store(true, Ordering::Relaxed);
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))?;
            looked
        })?;
        host.settles()
    })
}

/// A fault that is not ours is named together with its remedy, and nothing is changed.
#[test]
fn what_is_outside_is_explained() -> Result<()> {
    Settings::default().mtu(1500).test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        every(
            [
                (
                    "nft add table ip other; nft add chain ip other passage '{ type filter hook forward priority 0; policy drop; }'",
                    "wrong: chain ip other passage",
                    "nft insert rule ip other passage iifname ocinet0 accept",
                    "nft delete table ip other",
                ),
                ("ip route add 10.90.7.0/24 dev uplink", "wrong: route 10.90.7.0/24", "ip route del 10.90.7.0/24", "ip route del 10.90.7.0/24"),
                ("ip route add 10.0.0.0/8 dev uplink", "note: route 10.0.0.0/8", "", "ip route del 10.0.0.0/8"),
                ("ip link set uplink mtu 1400", "wrong: container web has MTU 1500", "mtu=1400", "ip link set uplink mtu 1500"),
                (
                    "sysctl -w net.ipv4.conf.all.rp_filter=1",
                    "note: sysctl net.ipv4.conf.*.rp_filter is strict",
                    "",
                    "sysctl -w net.ipv4.conf.all.rp_filter=0",
                ),
                (
                    "sysctl -w net.bridge.bridge-nf-call-iptables=1",
                    "note: sysctl net.bridge.bridge-nf-call-iptables is 1",
                    "",
                    "true",
                ),
            ],
            |(deed, trouble, remedy, undo)| {
                host.sh(deed)?;
                let code = i32::from(trouble.starts_with("wrong"));
                let told = host.unchanged_by(|| Ok(host.ocinet("doctor --fix")?.exits(code)?.stdout))?;
                host.sh(undo)?;
                ensure!(told.contains(trouble) && told.contains(remedy), "{told}");
                Ok(())
            },
        )?;
        let resolver = host.listen(Tcp, "127.0.0.53:8080").context("its port leads nowhere else")?;
        host.ocinet("doctor")?.success()?;
        drop(resolver);
        for address in [UPLINK, "127.0.0.1"] {
            let _listener = host.listen(Tcp, &format!("{address}:8080"))?;
            host.ocinet("doctor")?.exits(1)?;
        }
        let _listener = host.listen(Tcp, "0.0.0.0:8080").context("a listener that came later")?;
        let told = host.ocinet("doctor")?.exits(1)?.stdout;
        ensure!(told.contains("port 0.0.0.0:8080/tcp is listened on") && told.contains("container web"), "{told}");
        drop(web);
        Ok(())
    })
}

/// The store knows a container, and not the network that it is on: the container is named, and a new start makes it
/// well.
#[test]
fn a_network_that_is_not_known_is_reported() -> Result<()> {
    // The keys of networks, and of their links.
    const NETWORKS: &str = "DELETE FROM entry_8 WHERE substr(key, 1, 1) IN (X'10', X'11')";
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let whole = fs::read(host.path(host.sh("ls /run/ocinet/store-*.db")?.trim()))?;
        place(host, &made("networks", |store| store.execute_batch(NETWORKS), &whole)?)?;
        let told = host.ocinet("doctor")?.exits(1)?.stdout;
        let said = ["wrong: container web is on network bridge, of which nothing is known any more", "start it again"];
        ensure!(said.iter().all(|words| told.contains(words)), "{told}");
        web.delete()?;
        let _web = host.container("web").publish("8080:80").run()?;
        host.ocinet("doctor")?.success()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web").map(drop)
    })
}

/// Dead containers are reported and removed.
#[test]
fn the_dead_are_collected() -> Result<()> {
    Settings::default().test(|host| {
        host.container("web").publish("8080:80").run()?.abandon()?;
        let told = host.ocinet("doctor")?.exits(1)?.stdout;
        ensure!(told.contains("container web is dead, and still holds 10.90.0.2, 0.0.0.0:8080->80/tcp"), "{told}");
        host.ocinet("doctor --fix")?.success()?;
        ensure!(host.settled_sandboxes()?.is_empty());
        Ok(())
    })
}

/// `reset` removes everything of ours and nothing else. While containers run it needs `--force`.
#[test]
fn a_reset_leaves_the_host_as_it_was() -> Result<()> {
    Settings::default().test(|host| {
        let before = host.sh("sysctl net.ipv4.ip_forward; ip -brief link | wc -l; nft list tables")?;
        let web = host.container("web").publish("8080:80").run()?;
        host.container("dead").publish("8081:80").run()?.abandon()?;
        let refusal = host.ocinet("reset")?;
        refusal.exits(3)?.is_one_line()?.says(&["web", "--force"])?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        let told = host.ocinet("reset --force")?.success()?;
        for words in ["detached web", "detached dead", "ocinet0", "ip_forward is 0 again"] {
            ensure!(told.contains(words), "{words}: {told}");
        }
        let after = host.sh("sysctl net.ipv4.ip_forward; ip -brief link | wc -l; nft list tables")?;
        ensure!(after == before, "{before}\nbecame\n{after}");
        ensure!(host.sh("ls /run/ocinet")? == "lock\n");
        host.ocinet("reset")?.success()?;
        web.delete()?;
        host.container("next").publish("8080:80").run()?.delete()
    })
}

/// A bridge goes by the store, also where its maker was killed before it had its alias, and by its alias where no store
/// knows it.
#[test]
fn a_reset_finds_every_bridge_of_ours() -> Result<()> {
    every(
        [
            "ip link set ocinet0 alias ''",
            "ip link set ocinet0 down",
            "ip link add front9 type bridge; ip link set front9 alias ocinet:network:front",
        ],
        |before| {
            Settings::default().test(|host| {
                host.container("web").run()?.delete()?;
                host.sh(before)?;
                let told = host.ocinet("reset")?.success()?;
                let bridges = host.sh("ip -brief link show type bridge | cut -d' ' -f1")?;
                let told_of = |bridge: &str| told.contains(&format!("deleted bridge {bridge}\n"));
                ensure!(bridges == "stranger0\n" && told_of("ocinet0"), "{bridges}{told}");
                ensure!(told_of("front9") == before.contains("front9"), "{told}");
                Ok(())
            })
        },
    )
}

/// `reset` also removes what a service left, except while one listens. It keeps a chain with the operator's rules and
/// says so.
#[test]
fn a_reset_says_what_it_leaves() -> Result<()> {
    Settings::default().test(|host| {
        host.container("web").run()?.delete()?;
        let service = Service::start(host, &[])?;
        let key = "0123456789abcdef".repeat(2);
        host.sh(&format!("mkdir -p /run/ocinet/containerds; cd /run/ocinet/containerds; touch {key} theirs"))?;
        host.sh("nft add rule inet ocinet operator ip saddr 192.0.2.7 drop")?;
        let told = host.ocinet("reset")?.success()?;
        for words in ["left chain operator of table inet ocinet", "left /run/ocinet/ocinet.sock", "systemctl"] {
            ensure!(told.contains(words), "{words}: {told}");
        }
        ensure!(host.sh("nft list chain inet ocinet operator")?.contains("192.0.2.7"));
        service.connect()?;
        service.kill()?;
        // ocinet is used again, and the service was killed.
        host.container("web").run()?.delete()?;
        let told = host.ocinet("reset")?.success()?;
        ensure!(!told.contains("ocinet.sock"), "{told}");
        let left = host.sh("ls /run/ocinet /run/ocinet/containerds")?;
        ensure!(left == "/run/ocinet:\ncontainerds\nlock\n\n/run/ocinet/containerds:\ntheirs\n", "{left}");
        host.sh("nft delete table inet ocinet").map(drop)
    })
}
