//! The detour of `respect-host-firewall` is broken, or the host lacks something that it needs.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{ASKING, Firewall, Proto::Tcp, Settings, UPLINK, every};

use super::{CLOSE, OPEN, asking, changeable, closed_from_outside, copies, of_the_detour, open_from_outside};

/// Damages to the rules and links of the detour.
fn damage(firewall: Firewall) -> Vec<String> {
    let rules = match firewall {
        Firewall::Nftables => [
            "flush table ip ocinet",
            "delete table ip ocinet",
            "flush set ip ocinet asked4_any",
            "flush chain inet ocinet prerouting",
        ]
        .map(|damage| format!("nft {damage}"))
        .to_vec(),
        Firewall::IptablesNft | Firewall::IptablesLegacy => [
            "security -F",
            "security -F OCINET-ASK",
            "security -F OCINET-COPY",
            "security -D INPUT -j OCINET-ASK",
            "nat -F OCINET-PREROUTING",
            "nat -F PREROUTING",
        ]
        .map(|damage| format!("{} -t {damage}", firewall.iptables().unwrap_or_default()))
        .to_vec(),
    };
    let links = [
        "ip link del ocn-detour-in",
        "ip link set ocn-detour-in down",
        "ip link set ocn-detour-out down",
        "ip address flush dev ocn-detour-out",
        "sysctl -q net.ipv4.conf.ocn-detour-out.rp_filter=0",
    ];
    links.map(str::to_owned).into_iter().chain(rules).collect()
}

/// A script that replaces the chain in front of the published ports by one which does not ask the host's rules.
fn unasked(firewall: Firewall) -> String {
    let (chain, rule) = match firewall.iptables() {
        Some(program) => (
            format!("{program} -t nat -F OCINET-PREROUTING"),
            format!("{program} -t nat -A OCINET-PREROUTING -j OCINET-PUBLISH"),
        ),
        None => (
            "nft flush chain inet ocinet prerouting".into(),
            "nft add rule inet ocinet prerouting fib daddr type local jump publish".into(),
        ),
    };
    format!("{chain}; {rule}")
}

/// While any part of the detour is broken, no packet from outside reaches a published port until `doctor --fix` or `gc`
/// repairs it.
#[test]
fn what_is_broken_is_mended() -> Result<()> {
    let strict = "sysctl -q net.ipv4.conf.all.rp_filter=1";
    every(Firewall::ALL, |firewall| {
        asking(*firewall).prepare(OPEN).prepare(strict).test(|host| {
            let _web = host.container("web").publish("8080:80,8080:80/udp").run()?;
            let menders = ["doctor --fix", "gc"];
            every(damage(*firewall), |damage| {
                every(menders, |mender| {
                    open_from_outside(host)?;
                    host.sh(damage)?;
                    let before = copies(host)?;
                    closed_from_outside(host, &[8080])?;
                    // A copy that reaches our own chain again is copied again, until its TTL is used up.
                    let copies = copies(host)?.saturating_sub(before);
                    ensure!(copies < 500, "{copies} copies, of copies as it seems");
                    host.reaches(Tcp, "127.0.0.1:8080")?.is("web")?;
                    let told = host.ocinet("doctor")?.exits(1)?.stdout;
                    ensure!(told.contains("doctor --fix"), "{told}");
                    host.ocinet(mender)?.success()?;
                    host.ocinet("doctor")?.success()?;
                    open_from_outside(host)
                })
            })?;
            // With nftables, a rule holds the index that the link had.
            host.sh("ip link del ocn-detour-in")?;
            let next = host.container("next").publish("8082:80").run()?;
            open_from_outside(host)?;
            next.delete()?;
            host.sh(&format!("{CLOSE}; {}", unasked(*firewall)))?;
            open_from_outside(host).context("the positive control")?;
            let _next = host.container("next").run()?;
            closed_from_outside(host, &[8080])?;
            host.sh(OPEN)?;
            host.check()
        })
    })
}

/// Some of a container's elements or rules were deleted. The rest is removed with the container, and the published
/// ports of others stay.
#[test]
fn what_is_left_of_a_port_goes_with_its_container() -> Result<()> {
    let rows = Firewall::ALL.into_iter().flat_map(|firewall| {
        let rules = match firewall.iptables() {
            None => vec![
                "nft flush set ip ocinet asked4_any".to_owned(),
                "nft flush set ip ocinet asked4_addr".to_owned(),
                "nft flush map inet ocinet publish4_any".to_owned(),
            ],
            Some(program) => [
                "security -D OCINET-ASK -p tcp --dport 8080 -g OCINET-COPY",
                "security -D OCINET-ASK -d 198.51.100.1 -p udp --dport 8081 -g OCINET-COPY",
                "security -F OCINET-ASK",
                "nat -D OCINET-ANY 1",
                "nat -F OCINET-ANY",
            ]
            .map(|damage| format!("{program} -t {damage}"))
            .to_vec(),
        };
        rules.into_iter().chain(["rm /run/ocinet/store-*".to_owned()]).map(move |damage| (firewall, damage))
    });
    every(rows, |(firewall, damage)| {
        let list = match firewall.iptables() {
            None => "{ nft list table inet ocinet; nft list table ip ocinet; }".to_owned(),
            Some(program) => format!("{program}-save"),
        };
        asking(*firewall).prepare(OPEN).test(|host| {
            let gone = host.container("gone").publish("8080:80,8080:80/udp,198.51.100.1:8081:80/udp").run()?;
            let web = host.container("web").publish("9000:80").run()?;
            let ports = || host.sh(&format!("{list} | grep -Ec '[^0-9.]808[01][^0-9.]' || true"));
            ensure!(ports()? == "7\n", "{}", ports()?);
            host.sh(damage)?;
            gone.delete()?;
            ensure!(ports()? == "0\n", "{} are left", ports()?);
            host.ocinet("gc")?.success()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:9000"))?.is("web")?;
            host.sh(CLOSE)?;
            closed_from_outside(host, &[9000])?;
            host.sh(OPEN)?;
            host.check()?;
            web.delete()
        })
    })
}

/// A host without the target TEE.
const NO_TEE: &str = "mount --bind /dev/null /usr/lib/$(uname -m)-linux-gnu/xtables/libxt_TEE.so";

/// A host without the table, as the tools report it.
const NO_TABLE: &str = r#"
    cat >/mnt/restore <<'END'
#!/bin/sh
case $(tee /mnt/input) in
*'*security'*) echo "iptables-restore: unable to initialize table 'security'" >&2; exit 1 ;;
*) exec /usr/sbin/${0##*/} "$@" </mnt/input ;;
esac
END
    mount -t tmpfs tmpfs /usr/local/sbin
    for variant in nft legacy; do install /mnt/restore /usr/local/sbin/iptables-$variant-restore; done"#;

/// A host that lacks something for the detour: one line names it, and nothing is left half done. Running containers
/// work as before.
#[test]
fn a_host_that_cannot_ask() -> Result<()> {
    let rows =
        [Firewall::IptablesNft, Firewall::IptablesLegacy].map(|firewall| [(firewall, NO_TEE), (firewall, NO_TABLE)]);
    every(rows.concat(), |(firewall, lack)| {
        changeable(*firewall).prepare(lack).test(|host| {
            let words = ["respect-host-firewall", "security", "TEE", "firewall = \"nftables\""];
            let refused =
                |id: &str| host.container(id).publish("8081:80").refused()?.exits(1)?.is_one_line()?.says(&words);
            refused("first")?;
            let left = host.sh("iptables-nft-save; iptables-legacy-save; nft list tables")?;
            ensure!(!left.contains("OCINET") && !left.contains("ocinet"), "{left}");
            ensure!(of_the_detour(host)?.is_empty(), "{}", of_the_detour(host)?);
            host.settles()?;
            host.sh("sed -i /published_ports/d /mnt/config.toml")?;
            let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
            host.sh(&ASKING.replace("/etc/ocinet", "/mnt"))?;
            refused("second")?;
            ensure!(of_the_detour(host)?.is_empty(), "{}", of_the_detour(host)?);
            open_from_outside(host)?;
            host.check()?;
            web.delete()
        })
    })
}

/// What a hook leaves of the link pair when it is killed before it has set it up.
const HALF_MADE: &str = "ip link add ocn-detour-in address 02:6f:63:69:6e:00 mtu 65535 arp off \
    type veth peer name ocn-detour-out address 02:6f:63:69:6e:00 mtu 65535 arp off";

/// A half-made link pair is completed by the next attach where the host's rules are asked. Where they are not, the
/// doctor reports it, and `doctor --fix` or `gc` deletes it.
#[test]
fn a_pair_that_was_left_half_made() -> Result<()> {
    every(Firewall::ALL, |firewall| {
        asking(*firewall).prepare(OPEN).test(|host| {
            host.sh(HALF_MADE)?;
            let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
            open_from_outside(host)?;
            host.check()?;
            web.delete()
        })?;
        Settings::default().firewall(*firewall).test(|host| {
            let web = host.container("web").publish("8080:80").run()?;
            every(["doctor --fix", "gc"], |mender| {
                host.sh(HALF_MADE)?;
                let told = host.ocinet("doctor")?.exits(1)?.stdout;
                ensure!(told.contains("ocn-detour-in") && told.contains("doctor --fix"), "{told}");
                host.ocinet(mender)?.success()?;
                ensure!(of_the_detour(host)?.is_empty(), "{}", of_the_detour(host)?);
                host.ocinet("doctor")?.success().map(drop)
            })?;
            host.check()?;
            web.delete()
        })
    })
}

/// The link pair cannot be set up, since /proc/sys is read-only: one line names the settings, and no link is left.
#[test]
fn a_pair_that_cannot_be_set_up() -> Result<()> {
    let shut = "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys";
    every(Firewall::ALL, |firewall| {
        asking(*firewall).prepare("sysctl -qw net.ipv4.ip_forward=1").test(|host| {
            host.sh(shut)?;
            let refused = host.container("web").publish("8080:80").refused()?;
            refused.exits(1)?.is_one_line()?.says(&["/proc/sys", "ocn-detour-out"])?;
            ensure!(of_the_detour(host)?.is_empty(), "{}", of_the_detour(host)?);
            host.sh("umount /proc/sys")?;
            host.settles()?;
            host.container("web").publish("8080:80").run()?.delete()
        })
    })
}

/// A link of another program has the name: one line, nothing is left half done, and the link stays as it is.
#[test]
fn another_link_has_the_name() -> Result<()> {
    every(Firewall::ALL, |firewall| {
        Settings::default().firewall(*firewall).prepare(ASKING).test(|host| {
            host.sh("ip link add ocn-detour-out type bridge")?;
            host.container("web")
                .publish("8080:80")
                .refused()?
                .exits(3)?
                .is_one_line()?
                .says(&["ocn-detour-out", "not ours"])?;
            ensure!(of_the_detour(host)? == "ocn-detour-out\n", "{}", of_the_detour(host)?);
            host.sh("ip link del ocn-detour-out")?;
            host.settles()?;
            host.container("web").publish("8080:80").run()?.delete()
        })
    })
}
