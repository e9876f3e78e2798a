//! `published_ports = "respect-host-firewall"`: what comes in from outside to a published port is what the host's own rules
//! let in, whoever wrote them.

use anyhow::{Context, Result, ensure};
use ocinet_integration::Iptables::{Legacy, Nft};
use ocinet_integration::Neighbour::{self, Firewalld, Ufw};
use ocinet_integration::{Firewall, GATEWAY, Host, PEER, Proto, Proto::Tcp, Settings, UPLINK, every};

const ASKED: &str = "echo 'published_ports = \"respect-host-firewall\"' >>/etc/ocinet/config.toml";

/// A host that lets in what it is asked for, and what `open` holds.
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

/// A host whose settings a story changes, out of sight of the checker.
fn changeable() -> Settings {
    Settings::default().prepare(CLOSED).prepare(&format!("ln -s /mnt/config.toml /etc/ocinet\n{ASKED}"))
}

fn closed_from_outside(host: &Host, ports: &[u16]) -> Result<()> {
    every(ports, |port| every(Proto::ALL, |proto| host.peer().cannot_reach(*proto, format!("{UPLINK}:{port}"))))
}

fn open_from_outside(host: &Host) -> Result<()> {
    every(Proto::ALL, |proto| {
        host.peer().reaches(*proto, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER).map(drop)
    })
}

/// A policy of plain nftables, whatever the kernel thinks of packets that came another way than theirs leads back.
#[test]
fn the_hosts_rules_decide() -> Result<()> {
    every([(false, 0), (true, 1), (false, 2)], |(bridge_nf, rp_filter)| {
        let strict = format!("sysctl -q net.ipv4.conf.all.rp_filter={rp_filter}");
        let settings = Settings::default().bridge_nf(*bridge_nf).prepare(CLOSED).prepare(ASKED).prepare(&strict);
        settings.test(|host| {
            let web = host.container("web").publish("8080:80,8080:80/udp,198.51.100.1:8081:80").run()?;
            let sibling = host.container("sibling").run()?;
            let _service = host.serve("service", &["9000"])?;
            for _ in 0..2 {
                closed_from_outside(host, &[8080, 8081, 9000])?;
                // Nobody asks about the host itself, and its containers.
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

/// The positive control, and what everybody else does: a published port is open, whatever the policy.
#[test]
fn nobody_is_asked_by_default() -> Result<()> {
    Settings::default().prepare(CLOSED).test(|host| {
        let _web = host.container("web").publish("8080:80,8080:80/udp").run()?;
        open_from_outside(host)?;
        ensure!(!host.sh("ip link; nft list tables")?.contains("detour"));
        Ok(())
    })
}

/// `ufw allow 8080` and `ufw delete allow 8080` do what people expect of them.
#[test]
fn ufw_decides() -> Result<()> {
    every([Ufw(Nft), Ufw(Legacy)], |&ufw| decides(ufw, "ufw allow 8080", "ufw delete allow 8080"))
}

#[test]
fn firewalld_decides() -> Result<()> {
    let ports = |verb| format!("firewall-cmd --{verb}-port=8080/tcp --{verb}-port=8080/udp");
    decides(Firewalld, &ports("add"), &ports("remove"))
}

fn decides(neighbour: Neighbour, open: &str, close: &str) -> Result<()> {
    let host = Host::new(neighbour.host()?.prepare(ASKED))?;
    let _web = host.container("web").publish("8080:80,8080:80/udp").run()?;
    for _ in 0..2 {
        closed_from_outside(&host, &[8080])?;
        host.sh(open)?;
        open_from_outside(&host)?;
        neighbour.reload(&host)?;
        if neighbour != Firewalld {
            open_from_outside(&host)?;
            host.sh(close)?;
        }
    }
    Ok(())
}

/// Whatever is broken of it, from outside nobody comes in until it is whole: it fails closed.
#[test]
fn what_is_broken_is_mended() -> Result<()> {
    let strict = "sysctl -q net.ipv4.conf.all.rp_filter=1";
    Settings::default().prepare(CLOSED).prepare(OPEN).prepare(ASKED).prepare(strict).test(|host| {
        let _web = host.container("web").publish("8080:80,8080:80/udp").run()?;
        let rows = [
            "ip link del ocn-detour-in",
            "ip link set ocn-detour-in down",
            "ip link set ocn-detour-out down",
            "ip address flush dev ocn-detour-out",
            "sysctl -q net.ipv4.conf.ocn-detour-out.rp_filter=0",
            "nft flush table ip ocinet",
            "nft delete table ip ocinet",
            "nft flush set ip ocinet asked4_any",
        ];
        let menders = ["doctor --fix", "gc"];
        every(rows, |damage| {
            every(menders, |mender| {
                open_from_outside(host)?;
                host.sh(damage)?;
                closed_from_outside(host, &[8080])?;
                host.reaches(Tcp, "127.0.0.1:8080")?.is("web")?;
                let told = host.ocinet("doctor")?.exits(1)?.stdout;
                ensure!(told.contains("doctor --fix"), "{told}");
                host.ocinet(mender)?.success()?;
                host.ocinet("doctor")?.success()?;
                open_from_outside(host)
            })
        })?;
        // A rule holds the index that the link had.
        host.sh("ip link del ocn-detour-in")?;
        let next = host.container("next").publish("8082:80").run()?;
        open_from_outside(host)?;
        next.delete()?;
        // Without this, nobody is asked.
        host.sh(&format!("{CLOSE}; nft flush set inet ocinet detoured"))?;
        open_from_outside(host).context("the positive control")?;
        let _next = host.container("next").run()?;
        closed_from_outside(host, &[8080])?;
        host.sh(OPEN)?;
        host.check()
    })
}

/// The copy leaves by the host's rules for what goes out, as the manual says.
#[test]
fn rules_for_outgoing_packets_see_the_copy() -> Result<()> {
    let output = "nft add chain inet gate output '{ type filter hook output priority filter; policy drop; }'
        nft add set inet gate ways '{ type ifname; }'
        nft add rule inet gate output ct state established,related accept
        nft add rule inet gate output oifname @ways accept";
    Settings::default().prepare(CLOSED).prepare(OPEN).prepare(output).prepare(ASKED).test(|host| {
        let _web = host.container("web").publish("8080:80,8080:80/udp").run()?;
        closed_from_outside(host, &[8080])?;
        host.sh("nft add element inet gate ways '{ ocn-detour-in }'")?;
        open_from_outside(host)?;
        host.sh("nft flush set inet gate ways").map(drop)
    })
}

/// The setting changes while containers run: the next attach makes it so for all of them. What goes leaves nothing, and a
/// reset nothing at all.
#[test]
fn the_setting_changes_while_containers_run() -> Result<()> {
    changeable().test(|host| {
        let look = || host.sh("ip -brief link | grep -o '^ocn-[^@ ]*' || true; ip -brief address | grep 127.0.0.90 || true; nft list tables | grep ocinet || true");
        let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
        closed_from_outside(host, &[8080])?;
        let asked = look()?;
        ensure!(asked.lines().count() == 5, "{asked}");
        host.sh(": >/mnt/config.toml")?;
        let told = host.ocinet("doctor")?.exits(1)?.stdout;
        ensure!(told.contains("published ports"), "{told}");
        let other = host.container("other").publish("8081:80").run()?;
        open_from_outside(host)?;
        ensure!(look()? == "table inet ocinet\n", "{}", look()?);
        // Somebody was killed before it was gone.
        host.sh(
            "ip link add ocn-detour-in type veth peer name ocn-detour-out
             ip link set ocn-detour-in alias ocinet:detour: up",
        )?;
        host.ocinet("doctor")?.exits(1)?;
        host.ocinet("gc")?.success()?;
        ensure!(look()? == "table inet ocinet\n", "{}", look()?);
        host.sh(&ASKED.replace("/etc/ocinet", "/mnt"))?;
        // It was published when nobody was asked, and goes when somebody is.
        other.delete()?;
        host.container("next").run()?.delete()?;
        closed_from_outside(host, &[8080, 8081])?;
        ensure!(look()? == asked, "{}", look()?);
        host.sh(OPEN)?;
        open_from_outside(host)?;
        host.sh(CLOSE)?;
        // And the other way round.
        host.sh(": >/mnt/config.toml")?;
        web.delete()?;
        host.check()?;
        host.settles()?;
        host.ocinet("reset")?.success()?;
        ensure!(look()?.is_empty(), "{}", look()?);
        Ok(())
    })
}

/// Where iptables keeps the rules, nothing is published that could not be closed.
#[test]
fn iptables_cannot_ask() -> Result<()> {
    every([Firewall::IptablesNft, Firewall::IptablesLegacy], |firewall| {
        Settings::default().firewall(*firewall).prepare(ASKED).test(|host| {
            let refusal = host.container("web").publish("8080:80").refused()?;
            refusal.exits(2)?.is_one_line()?.says(&["80/tcp", "respect-host-firewall", "nftables"])?;
            host.container("web").run()?.delete()
        })
    })
}

/// A stranger's link has the name: one line, nothing half done, and the link stays as it is.
#[test]
fn a_stranger_has_the_name() -> Result<()> {
    Settings::default().prepare(ASKED).test(|host| {
        host.sh("ip link add ocn-detour-out type bridge")?;
        host.container("web")
            .publish("8080:80")
            .refused()?
            .exits(3)?
            .is_one_line()?
            .says(&["ocn-detour-out", "not ours"])?;
        host.sh("ip link del ocn-detour-out")?;
        host.settles()?;
        host.container("web").publish("8080:80").run()?.delete()
    })
}
