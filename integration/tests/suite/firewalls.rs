//! Which firewall holds the rules: the setting in config.toml, changes of it while containers run, and rules of the
//! operator.

use anyhow::{Result, ensure};
use ocinet_integration::{
    ASKING, Container, Firewall, GATEWAY, Host, OCINET, Output, PEER, Proto, Proto::Tcp, Settings, UPLINK, every,
    with_every_firewall,
};

/// A host whose config.toml a story changes in a place that the checker does not compare.
fn changeable(firewall: Firewall) -> Settings {
    let elsewhere =
        "touch /etc/ocinet/config.toml; mv /etc/ocinet/config.toml /mnt; ln -s /mnt/config.toml /etc/ocinet";
    Settings::default().firewall(firewall).prepare(elsewhere)
}

/// Sets the firewall in config.toml.
fn choose(host: &Host, setting: &str) -> Result<()> {
    host.sh(&format!("echo 'firewall = \"{setting}\"' >/mnt/config.toml")).map(drop)
}

/// The firewalls that hold rules of ours on the host.
pub fn keepers(host: &Host) -> Result<String> {
    host.sh("nft list table inet ocinet 2>/dev/null | grep -q 'chain forward' && echo nftables
         iptables-nft-save | grep -q OCINET && echo iptables-nft
         iptables-legacy-save | grep -q OCINET && echo iptables-legacy
         true")
}

/// Calls the hook with some of the host's programs hidden: `hidden` is a pattern of names in /usr/sbin.
fn hook_without(host: &Host, hidden: &str, container: &Container<'_>, stage: &str) -> Result<Output> {
    host.sh(&format!("cat >/mnt/state <<'END'\n{}\nEND", container.state(stage)))?;
    let script = format!(
        "mkdir -p /mnt/sbin; mount --bind /usr/sbin /mnt/sbin; mount -t tmpfs tmpfs /usr/sbin
         cp -P /mnt/sbin/* /usr/sbin; rm -f {hidden}
         exec {OCINET} hook {stage} </mnt/state"
    );
    host.output(&["unshare", "--mount", "sh", "-euc", &script])
}

/// From every firewall to every other while containers run: published ports stay published, closed ones stay closed,
/// and nothing is left in the former firewall. The next attach moves all rules.
#[test]
fn the_rules_move_while_containers_run() -> Result<()> {
    every(Firewall::ALL, |from| {
        changeable(*from).test(|host| {
            let web = host.container("web").publish("8080:80,8080:80/udp,127.0.0.1:8082:80").run()?;
            let (origin, elsewhere) = match from {
                Firewall::Nftables => ("nftables", "iptables"),
                _ => ("iptables", "nftables"),
            };
            for setting in [elsewhere, origin] {
                choose(host, setting)?;
                let wrong = host.ocinet("doctor")?.exits(1)?.stdout;
                ensure!(wrong.contains("config.toml asks for"), "{wrong}");
                let _next = host.container("next").publish("8081:80").run()?;
                ensure!(keepers(host)?.starts_with(setting), "{setting}: {}", keepers(host)?);
                ensure!(keepers(host)?.lines().count() == 1, "{}", keepers(host)?);
                for proto in Proto::ALL {
                    host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
                }
                host.reaches(Tcp, "127.0.0.1:8082")?.is("web")?;
                host.peer().cannot_reach(Tcp, format!("{UPLINK}:8082"))?;
                host.peer().sh(&format!("ip route replace 10.90.0.0/16 via {UPLINK}"))?;
                host.peer().cannot_reach(Tcp, web.at(80)?)?;
                host.check()?;
                let well = host.ocinet("doctor")?.success()?;
                ensure!(well.contains(&format!("config.toml says firewall = \"{setting}\"")), "{well}");
            }
            Ok(())
        })
    })
}

/// A process moves the rules away from nftables and is killed before it deletes the old ones.
fn cut_off_a_move(host: &Host) -> Result<()> {
    host.sh("mount -t tmpfs tmpfs /usr/local/sbin
         printf '#!/bin/sh\nkill -KILL $PPID\n' >/usr/local/sbin/nft; chmod 755 /usr/local/sbin/nft")?;
    let killed = host.ocinet("doctor --fix")?;
    ensure!(killed.code != 0, "{killed}");
    host.sh("umount /usr/local/sbin").map(drop)
}

/// A process that moved the rules was killed before it deleted the former ones. The next attach, detach or gc deletes
/// them.
#[test]
fn a_move_that_was_cut_off_is_finished() -> Result<()> {
    every(["attach", "detach", "gc"], |who| {
        changeable(Firewall::Nftables).test(|host| {
            let web = host.container("web").publish("8080:80").run()?;
            let other = host.container("other").publish("8081:80").run()?;
            choose(host, "iptables")?;
            cut_off_a_move(host)?;
            ensure!(keepers(host)?.lines().count() == 2, "the positive control: {}", keepers(host)?);
            match *who {
                "attach" => host.container("next").run()?.delete()?,
                "detach" => other.delete()?,
                _ => host.ocinet("gc")?.exits(0).map(drop)?,
            }
            ensure!(keepers(host)? == "iptables-nft\n", "{}", keepers(host)?);
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            web.delete()
        })
    })
}

/// The same where no firewall gets the rules: a detach and `gc` read no config.toml, and the store says that `none` was
/// chosen.
#[test]
fn a_move_to_none_that_was_cut_off_is_finished() -> Result<()> {
    every(["attach", "detach", "gc"], |who| {
        changeable(Firewall::Nftables).test(|host| {
            let web = host.container("web").publish("8080:80").run()?;
            let other = host.container("other").publish("8081:80").run()?;
            choose(host, "none")?;
            cut_off_a_move(host)?;
            ensure!(keepers(host)? == "nftables\n", "the positive control: {}", keepers(host)?);
            match *who {
                "attach" => host.container("next").run()?.delete()?,
                "detach" => other.delete()?,
                _ => host.ocinet("gc")?.exits(0).map(drop)?,
            }
            ensure!(keepers(host)?.is_empty(), "{}", keepers(host)?);
            choose(host, "nftables")?;
            let _again = host.container("again").run()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            host.check()?;
            web.delete()
        })
    })
}

/// Rules of an older version under names that this one does not know are removed with the old rules. What the
/// operator's chain refers to stays, even a set of ours.
#[test]
fn rules_of_another_version_are_cleared() -> Result<()> {
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).test(|host| {
            let web = host.container("web").publish("8080:80").run()?;
            let older = match firewall.iptables() {
                None => "nft -f - <<'RULES'
                    table inet ocinet {
                        set ancient { type ifname; elements = { uplink }; }
                        map former { type ifname : ipv4_addr; }
                        chain old { type filter hook prerouting priority raw; iifname @ancient tcp dport 8080 drop; }
                        set blocked { type ipv4_addr; elements = { 192.0.2.77 }; }
                        chain operator { iifname @bridges ip saddr @blocked drop; }
                    }
                    flush chain inet ocinet forward
RULES"
                    .to_owned(),
                Some(iptables) => format!(
                    "{iptables} -t raw -N OCINET-OLD
                     {iptables} -t raw -A OCINET-OLD -i uplink -p tcp --dport 8080 -j DROP
                     {iptables} -t raw -A PREROUTING -j OCINET-OLD
                     {iptables} -A OCINET-OPERATOR -s 192.0.2.77 -j DROP
                     {iptables} -F OCINET-FORWARD"
                ),
            };
            host.sh(&older)?;
            host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
            let _next = host.container("next").run()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            let left =
                host.sh("nft list table inet ocinet 2>/dev/null || true; iptables-nft-save; iptables-legacy-save")?;
            ensure!(!["ancient", "former", "chain old", "OCINET-OLD"].iter().any(|name| left.contains(name)), "{left}");
            ensure!(left.contains("192.0.2.77"), "{left}");
            host.ocinet("doctor")?.success()?;
            host.check()?;
            web.delete()?;
            if firewall.iptables().is_none() {
                host.ocinet("reset --force")?.success()?;
                host.sh("nft flush chain inet ocinet operator; nft delete table inet ocinet")?;
            }
            Ok(())
        })
    })
}

/// `none` leaves the rules to the operator: ocinet loads no rules and switches nothing on, and containers on one
/// network still reach each other. What was switched on before is switched off before its rules are removed.
#[test]
fn none_means_none() -> Result<()> {
    changeable(Firewall::Nftables).test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        choose(host, "none")?;
        let next = host.container("next").run()?;
        let refusal = host.unchanged_by(|| host.container("refused").publish("8081:80").refused())?;
        refusal.exits(2)?.is_one_line()?.says(&["io.ocinet.publish", "80/tcp", "firewall = \"none\""])?;
        ensure!(keepers(host)?.is_empty(), "{}", keepers(host)?);
        let settings = host.sh("cd /proc/sys/net/ipv4; cat ip_forward conf/ocinet0/route_localnet")?;
        ensure!(settings == "0\n0\n", "{settings}");
        next.reaches(Tcp, web.at(80)?)?.is("web")?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        choose(host, "nftables")?;
        let _again = host.container("again").run()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.check()
    })
}

/// The operator's chain comes first, and is never changed: not by an attach, a reload, a move, or the doctor.
#[test]
fn the_operators_chain_comes_first_and_stays() -> Result<()> {
    with_every_firewall(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let list = || match host.firewall().iptables() {
            None => host.sh("nft --handle list chain inet ocinet operator"),
            Some(iptables) => Ok(host.chains(iptables).execute("filter", "-S OCINET-OPERATOR")?.join("\n")),
        };
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        match host.firewall().iptables() {
            None => host.sh(&format!("nft add rule inet ocinet operator ip saddr {PEER} drop")).map(drop)?,
            Some(iptables) => {
                host.chains(iptables).append("filter", "OCINET-OPERATOR", &format!("-s {PEER} -j DROP"))?;
            }
        }
        let before = list()?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        host.disarm_all_but_the_operator()?;
        host.container("next").publish("8081:80").run()?.delete()?;
        host.ocinet("doctor --fix")?.success()?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        ensure!(list()? == before, "{before}\nbecame\n{}", list()?);
        web.delete()?;
        host.settles()?;
        host.ocinet("reset")?.success()?;
        ensure!(list()? == before, "reset took the operator's rules");
        let _web = host.container("web").publish("8080:80").run()?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        ensure!(list()? == before, "a new ruleset took the operator's rules");
        host.check()
    })
}

/// `publish_default_address` is used where the annotation names no address.
#[test]
fn ports_are_published_where_config_says() -> Result<()> {
    let cautious = "echo 'publish_default_address = \"127.0.0.1\"' >>/etc/ocinet/config.toml";
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(cautious).test(|host| {
            let _web = host.container("web").publish("8080:80,0.0.0.0:8081:80,198.51.100.1:8082:80").run()?;
            host.reaches(Tcp, "127.0.0.1:8080")?.is("web")?;
            host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
            for port in [8081, 8082] {
                host.peer().reaches(Tcp, format!("{UPLINK}:{port}"))?.is("web")?;
            }
            host.cannot_reach(Tcp, format!("{GATEWAY}:8080"))
        })
    })
}

/// iptables is called once for the attach of a container, whatever the number of its ports, and once for its detach. A
/// detach with iptables-nft calls it not at all.
#[test]
fn iptables_is_called_once_for_a_container() -> Result<()> {
    let rows = [Firewall::IptablesNft, Firewall::IptablesLegacy].map(|firewall| [(firewall, ""), (firewall, ASKING)]);
    every(rows.concat(), |(firewall, setting)| {
        Settings::default().firewall(*firewall).prepare(setting).test(|host| {
            let _first = host.container("first").publish("8080:80").run()?;
            host.sh("mount -t tmpfs tmpfs /usr/local/sbin
                 for program in /usr/sbin/*tables*; do
                     name=$(basename $program)
                     printf '#!/bin/sh\necho \"$0 $*\" >>/mnt/calls\nexec %s \"$@\"\n' $program >/usr/local/sbin/$name
                     chmod 755 /usr/local/sbin/$name
                 done")?;
            let web = host.container("web").publish("9000-9099:9000-9099").serving(&["9050"]).run()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:9050"))?.is("web")?;
            web.delete()?;
            let calls = host.sh("cat /mnt/calls; umount /usr/local/sbin")?;
            let expected = if *firewall == Firewall::IptablesNft { 1 } else { 2 };
            ensure!(calls.lines().count() == expected, "{calls}");
            host.check()
        })
    })
}

/// `auto` uses what is installed, and names what is missing where nothing is.
#[test]
fn auto_takes_what_is_installed() -> Result<()> {
    let rows = [
        ("auto", "/usr/sbin/nft", Ok("iptables-nft\n")),
        ("auto", "/usr/sbin/*tables*", Ok("nftables\n")),
        ("auto", "/usr/sbin/nft /usr/sbin/*tables*", Err(["neither nft nor iptables", "install nftables"])),
        ("nftables", "/usr/sbin/nft", Err(["firewall = \"nftables\"", "no nft"])),
        ("iptables", "/usr/sbin/*tables*", Err(["firewall = \"iptables\"", "no iptables"])),
    ];
    every(rows, |(setting, hidden, expected)| {
        changeable(Firewall::Nftables).test(|host| {
            choose(host, setting)?;
            let web = host.container("web").publish("8080:80").isolated().prepare()?;
            match expected {
                Ok(keeper) => {
                    hook_without(host, hidden, &web, "createRuntime")?.exits(0)?;
                    ensure!(keepers(host)? == *keeper, "{}", keepers(host)?);
                    host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
                    hook_without(host, hidden, &web, "poststop")?.exits(0)?;
                }
                Err(words) => {
                    let refusal = host.unchanged_by(|| hook_without(host, hidden, &web, "createRuntime"))?;
                    refusal.exits(1)?.is_one_line()?.says(words)?;
                }
            }
            host.settles()
        })
    })
}

/// Both variants of iptables are in use on the host, and the rules of other programs in both stay.
#[test]
fn both_variants_are_in_use() -> Result<()> {
    for firewall in [Firewall::IptablesNft, Firewall::IptablesLegacy] {
        let others = "for variant in nft legacy; do
            iptables-$variant -t nat -A PREROUTING -d 192.0.2.9 -p tcp --dport 1 -j REDIRECT
            iptables-$variant -A FORWARD -s 192.0.2.9 -j DROP
        done";
        Settings::default().firewall(firewall).prepare(others).test(|host| {
            let web = host.container("web").publish("8080:80").run()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            ensure!(keepers(host)?.lines().count() == 1, "{}", keepers(host)?);
            host.check()?;
            web.delete()?;
            host.settles()?;
            host.ocinet("reset")?.success()?;
            ensure!(keepers(host)?.is_empty(), "{}", keepers(host)?);
            host.check()
        })?;
    }
    Ok(())
}
