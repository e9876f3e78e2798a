//! `published_ports = "respect-host-firewall"`: the host's own rules decide which packets from outside reach a
//! published port, whichever program wrote them.

mod trouble;

use anyhow::{Result, ensure};
use ocinet_integration::ForeignFirewall::{Firewalld, Ufw};
use ocinet_integration::Iptables::{Legacy, Nft};
use ocinet_integration::Suite::{Here, Sid};
use ocinet_integration::{ASKING, Firewall, GATEWAY, Host, PEER, Proto, Proto::Tcp, Settings, UPLINK, every};

/// A host whose rules accept only answers to its own packets, and the ports in the set `open`.
const CLOSED: &str = "nft -f - <<RULES
table inet gate {
    set open { type inet_proto . inet_service; }
    chain input {
        type filter hook input priority filter; policy drop;
        iifname lo accept
        ct state established,related accept
        meta l4proto . th dport @open accept
    }
}
RULES";

const OPEN: &str = "nft add element inet gate open '{ tcp . 8080, udp . 8080, tcp . 8081, tcp . 9000 }'";
const CLOSE: &str = "nft flush set inet gate open";

/// A host whose own rules decide, with ours in any of the firewalls.
fn asking(firewall: Firewall) -> Settings {
    Settings::default().firewall(firewall).prepare(CLOSED).prepare(ASKING)
}

/// The same, with a config.toml that a story changes in a place that the checker does not compare.
fn changeable(firewall: Firewall) -> Settings {
    asking(firewall).prepare("mv /etc/ocinet/config.toml /mnt; ln -s /mnt/config.toml /etc/ocinet")
}

fn closed_from_outside(host: &Host, ports: &[u16]) -> Result<()> {
    every(ports, |port| every(Proto::ALL, |proto| host.peer().cannot_reach(*proto, format!("{UPLINK}:{port}"))))
}

fn open_from_outside(host: &Host) -> Result<()> {
    every(Proto::ALL, |proto| {
        host.peer().reaches(*proto, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER).map(drop)
    })
}

/// The number of packets that were sent through the detour.
fn copies(host: &Host) -> Result<u64> {
    let count = host.sh("cat /sys/class/net/ocn-detour-in/statistics/tx_packets 2>/dev/null || echo 0")?;
    Ok(count.trim().parse()?)
}

/// A policy of plain nftables, with each kind of reverse path check.
#[test]
fn the_hosts_rules_decide() -> Result<()> {
    let kernels = [(false, 0), (true, 1), (false, 2)];
    let rows = Firewall::ALL.iter().flat_map(|firewall| kernels.map(|(bridge_nf, rp)| (*firewall, bridge_nf, rp)));
    every(rows, |(firewall, bridge_nf, rp_filter)| {
        let strict = format!("sysctl -q net.ipv4.conf.all.rp_filter={rp_filter}");
        let settings = asking(*firewall).bridge_nf(*bridge_nf).prepare(&strict);
        settings.test(|host| {
            let web = host.container("web").publish("8080:80,8080:80/udp,198.51.100.1:8081:80").run()?;
            let sibling = host.container("sibling").run()?;
            let _service = host.serve("service", &["9000"])?;
            let _world = host.peer().serve("world", &["7000"])?;
            for _ in 0..2 {
                closed_from_outside(host, &[8080, 8081, 9000])?;
                // Answers to the host itself that come to the number of a published port.
                let before = copies(host)?;
                host.sh("sysctl -q net.ipv4.ip_local_port_range='8080 8080'")?;
                for proto in Proto::ALL {
                    host.reaches(proto, format!("{PEER}:7000"))?.is("world")?;
                }
                host.sh("sysctl -q net.ipv4.ip_local_port_range='32768 60999'")?;
                ensure!(copies(host)? == before, "answers are led around");
                // Packets from the host itself and from its containers need no permission.
                for proto in Proto::ALL {
                    for address in [UPLINK, GATEWAY, "127.0.0.1"] {
                        host.reaches(proto, format!("{address}:8080"))?.is("web")?;
                    }
                    for client in [&sibling, &web] {
                        client.reaches(proto, format!("{GATEWAY}:8080"))?.is("web")?;
                    }
                }
                host.sh(OPEN)?;
                open_from_outside(host)?;
                host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("web")?.seen_from(PEER)?;
                host.peer().reaches(Tcp, format!("{UPLINK}:9000"))?.is("service")?;
                host.sh(CLOSE)?;
            }
            host.check()
        })
    })
}

/// A multicast packet goes to listeners on the host, even if a container has published the port.
#[test]
fn what_is_for_a_group_is_not_led_around() -> Result<()> {
    let counted = "nft add rule inet gate input ip daddr 224.0.0.1 udp dport 8080 counter accept";
    every(Firewall::ALL, |firewall| {
        asking(*firewall).prepare(counted).test(|host| {
            let _web = host.container("web").publish("8080:80/udp").run()?;
            host.peer().sh("ip route add 224.0.0.0/4 dev eth0")?;
            let before = copies(host)?;
            host.peer().cannot_reach(Proto::Udp, "224.0.0.1:8080")?;
            let rules = host.sh("nft list chain inet gate input")?;
            ensure!(rules.contains("counter") && !rules.contains("counter packets 0 "), "{rules}");
            ensure!(copies(host)? == before, "it is led around");
            Ok(())
        })
    })
}

/// The table `security` of iptables belongs to the operator too: our chain comes after the operator's rules in it.
#[test]
fn the_operators_table_security_decides() -> Result<()> {
    every([Firewall::IptablesNft, Firewall::IptablesLegacy], |firewall| {
        let rule =
            |verb| format!("{} -t security -{verb} INPUT -s {PEER} -j DROP", firewall.iptables().unwrap_or_default());
        asking(*firewall).prepare(OPEN).test(|host| {
            host.sh(&rule("A"))?;
            let _web = host.container("web").publish("8080:80,8080:80/udp").run()?;
            closed_from_outside(host, &[8080])?;
            host.sh(&rule("D"))?;
            open_from_outside(host)
        })
    })
}

/// A chain of nftables may come after all chains of iptables. With iptables such a chain does not decide, and the
/// doctor reports it.
#[test]
fn a_chain_behind_all_of_iptables_is_told_of() -> Result<()> {
    let late = |priority| {
        format!(
            "nft add chain inet gate late '{{ type filter hook input priority {priority}; }}'
             nft add rule inet gate late meta l4proto . th dport {{ tcp . 8080, udp . 8080 }} iifname uplink drop"
        )
    };
    every(Firewall::ALL, |firewall| {
        asking(*firewall).prepare(OPEN).test(|host| {
            let _web = host.container("web").publish("8080:80,8080:80/udp").run()?;
            let limit = if *firewall == Firewall::IptablesLegacy { 50 } else { 150 };
            host.sh(&late(limit - 1))?;
            closed_from_outside(host, &[8080])?;
            host.ocinet("doctor")?.success()?;
            host.sh(&format!("nft delete chain inet gate late; {}", late(limit + 1)))?;
            if firewall.iptables().is_some() {
                let told = host.ocinet("doctor")?.exits(1)?.stdout;
                ensure!(
                    told.contains("chain inet gate late is not asked") && told.contains(&format!("below {limit}")),
                    "{told}"
                );
                open_from_outside(host)?;
            } else {
                closed_from_outside(host, &[8080])?;
                host.ocinet("doctor")?.success()?;
            }
            host.sh("nft delete chain inet gate late").map(drop)
        })
    })
}

/// The positive control and the default: a published port is open, whatever the policy is.
#[test]
fn nobody_is_asked_by_default() -> Result<()> {
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(CLOSED).test(|host| {
            let _web = host.container("web").publish("8080:80,8080:80/udp").run()?;
            open_from_outside(host)?;
            ensure!(of_the_detour(host)?.is_empty(), "{}", of_the_detour(host)?);
            Ok(())
        })
    })
}

/// `ufw allow 8080` and `ufw delete allow 8080` work as expected.
#[test]
fn ufw_decides() -> Result<()> {
    let (nft, legacy) = (Firewall::IptablesNft, Firewall::IptablesLegacy);
    let rows = [(Nft, Firewall::Nftables), (Legacy, Firewall::Nftables), (Nft, nft), (Legacy, legacy)];
    every(rows, |&(variant, firewall)| {
        let ufw = Ufw(variant);
        let host = Host::new(ufw.host()?.firewall(firewall).prepare(ASKING))?;
        let _web = host.container("web").publish("8080:80,8080:80/udp").run()?;
        for _ in 0..2 {
            closed_from_outside(&host, &[8080])?;
            host.sh("ufw allow 8080")?;
            open_from_outside(&host)?;
            ufw.reload(&host)?;
            open_from_outside(&host)?;
            host.sh("ufw delete allow 8080")?;
        }
        Ok(())
    })
}

/// A reload of firewalld 1 flushes iptables, wherever it keeps its own rules: until ours are restored only what
/// firewalld opens is open, and then all of it works again. With nftables, and beside firewalld 2, our rules stay.
#[test]
fn firewalld_decides() -> Result<()> {
    let ports = |verb| format!("firewall-cmd --{verb}-port=8080/tcp --{verb}-port=8080/udp");
    let rows = Firewall::ALL.into_iter().flat_map(|firewall| [(firewall, Here), (firewall, Sid)]);
    every(rows, |(firewall, suite)| {
        let firewalld = Firewalld(*suite);
        let host = Host::new(firewalld.host()?.firewall(*firewall).prepare(ASKING).prepare(&of_variant(*firewall)))?;
        let is_1 = host.sh("firewall-cmd --version")?.starts_with("1.");
        let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
        host.peer().sh(&format!("ip route add 10.90.0.0/16 via {UPLINK}"))?;
        for mender in ["gc", "doctor --fix"] {
            closed_from_outside(&host, &[8080])?;
            host.sh(&ports("add"))?;
            open_from_outside(&host)?;
            host.sh(&ports("remove"))?;
            closed_from_outside(&host, &[8080])?;
            firewalld.reload(&host)?;
            host.peer().cannot_reach(Tcp, web.at(80)?)?;
            closed_from_outside(&host, &[8080])?;
            host.sh(&ports("add"))?;
            if firewall.iptables().is_some() && is_1 {
                closed_from_outside(&host, &[8080])?;
                host.ocinet("doctor")?.exits(1)?;
                host.ocinet(mender)?.success()?;
            }
            open_from_outside(&host)?;
            host.sh(&ports("remove"))?;
        }
        Ok(())
    })
}

/// Makes `iptables` the variant of `firewall` on a host where firewalld has been started.
fn of_variant(firewall: Firewall) -> String {
    let link = |program| {
        format!("for end in '' -save -restore; do ln -sf /usr/sbin/{program}$end /etc/alternatives/iptables$end; done")
    };
    firewall.iptables().map(link).unwrap_or_default()
}

/// The copy of a packet passes the host's rules for outgoing packets, as the manual says.
#[test]
fn rules_for_outgoing_packets_see_the_copy() -> Result<()> {
    let output = "nft add chain inet gate output '{ type filter hook output priority filter; policy drop; }'
        nft add set inet gate ways '{ type ifname; }'
        nft add rule inet gate output ct state established,related accept
        nft add rule inet gate output oifname @ways accept";
    every(Firewall::ALL, |firewall| {
        asking(*firewall).prepare(OPEN).prepare(output).test(|host| {
            let _web = host.container("web").publish("8080:80,8080:80/udp").run()?;
            closed_from_outside(host, &[8080])?;
            host.sh("nft add element inet gate ways '{ ocn-detour-in }'")?;
            open_from_outside(host)?;
            host.sh("nft flush set inet gate ways").map(drop)
        })
    })
}

/// Everything of the detour: the link with its address, and the rules.
fn of_the_detour(host: &Host) -> Result<String> {
    host.sh("ip -brief link | grep -o '^ocn-[^@ ]*' || true
        ip -brief address | grep 127.0.0.90 || true
        nft list tables | grep 'ip ocinet' || true
        for variant in nft legacy; do iptables-$variant-save | grep -E 'OCINET-(ASK|COPY)' || true; done")
}

/// The setting changes while containers run: the next attach applies it to all of them. A detach leaves nothing, and
/// neither does a reset.
#[test]
fn the_setting_changes_while_containers_run() -> Result<()> {
    let (ask, ask_no_more) = (ASKING.replace("/etc/ocinet", "/mnt"), "sed -i /published_ports/d /mnt/config.toml");
    every(Firewall::ALL, |firewall| {
        changeable(*firewall).test(|host| {
            let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
            closed_from_outside(host, &[8080])?;
            let asked = of_the_detour(host)?;
            ensure!(asked.lines().count() >= 4, "{asked}");
            host.sh(ask_no_more)?;
            let told = host.ocinet("doctor")?.exits(1)?.stdout;
            ensure!(told.contains("published ports"), "{told}");
            let other = host.container("other").publish("8081:80").run()?;
            open_from_outside(host)?;
            ensure!(of_the_detour(host)?.is_empty(), "{}", of_the_detour(host)?);
            // A process was killed before it had deleted the detour.
            host.sh("ip link add ocn-detour-in type veth peer name ocn-detour-out
                 ip link set ocn-detour-in alias ocinet:detour: up")?;
            host.ocinet("doctor")?.exits(1)?;
            host.ocinet("gc")?.success()?;
            ensure!(of_the_detour(host)?.is_empty(), "{}", of_the_detour(host)?);
            host.sh(&ask)?;
            // The port was published without the setting, and is removed with it.
            other.delete()?;
            host.container("next").run()?.delete()?;
            closed_from_outside(host, &[8080, 8081])?;
            ensure!(of_the_detour(host)? == asked, "{}", of_the_detour(host)?);
            host.sh(OPEN)?;
            open_from_outside(host)?;
            host.sh(CLOSE)?;
            // And the other way round.
            host.sh(ask_no_more)?;
            web.delete()?;
            host.check()?;
            host.settles()?;
            host.ocinet("reset")?.success()?;
            ensure!(of_the_detour(host)?.is_empty(), "{}", of_the_detour(host)?);
            Ok(())
        })
    })
}

/// The rules move to another firewall and back: closed ports stay closed, open ones open, and nothing is left in the
/// former firewall.
#[test]
fn the_rules_move_and_ask_as_before() -> Result<()> {
    let choose = |firewall| {
        format!("echo 'firewall = \"{firewall}\"' >/mnt/config.toml\n{}", ASKING.replace("/etc/ocinet", "/mnt"))
    };
    every(Firewall::ALL, |from| {
        changeable(*from).test(|host| {
            let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
            let before = of_the_detour(host)?;
            let (origin, elsewhere) =
                if from.iptables().is_some() { ("iptables", "nftables") } else { ("nftables", "iptables") };
            for (firewall, is_back) in [(elsewhere, false), (origin, true)] {
                host.sh(&choose(firewall))?;
                host.container("next").run()?.delete()?;
                closed_from_outside(host, &[8080])?;
                host.sh(OPEN)?;
                open_from_outside(host)?;
                host.sh(CLOSE)?;
                let now = of_the_detour(host)?;
                ensure!((now == before) == is_back && now.contains("ip ocinet") == (firewall == "nftables"), "{now}");
            }
            host.sh(&choose("none"))?;
            host.container("next").run()?.delete()?;
            ensure!(of_the_detour(host)?.is_empty(), "{}", of_the_detour(host)?);
            web.delete()
        })
    })
}
