//! Firewalls that refuse: their lock is held, their programs fail, the kernel lacks a table. The error is one line, and
//! no rule is lost.

use anyhow::{Result, ensure};
use ocinet_integration::{Firewall, Host, Proto::Tcp, Settings, UPLINK, every};

use crate::firewalls::keepers;

/// Another process holds the lock of iptables-legacy for a minute: one line names it, and nothing is changed.
#[test]
fn the_lock_of_iptables_is_held() -> Result<()> {
    Settings::default().firewall(Firewall::IptablesLegacy).test(|host| {
        let _web = host.container("web").publish("8080:80").run()?;
        let mut holder =
            host.background(&["flock", "--no-fork", "/run/xtables.lock", "sh", "-c", "echo ready; exec sleep 60"])?;
        ensure!(holder.line()? == "ready", "it holds the lock");
        let refusal = host.container("next").publish("8081:80").refused()?;
        refusal.exits(1)?.is_one_line()?.says(&["/run/xtables.lock", "20 s", "sleep"])?;
        drop(holder);
        host.settled_sandboxes()?;
        host.check()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web").map(drop)
    })
}

/// Puts a program before one of the host's on the PATH that fails each time, with a message and an exit code of
/// iptables.
fn let_fail(host: &Host, tool: &str, code: u8, complaint: &str) -> Result<()> {
    host.sh(&format!(
        "printf '#!/bin/sh\ncat >/dev/null\necho \"{complaint}\" >&2\nexit {code}\n' >/usr/local/sbin/{tool}
         chmod 755 /usr/local/sbin/{tool}"
    ))
    .map(drop)
}

/// A failure of iptables says nothing about the rules: none is taken for missing, loaded again or left behind, and its
/// message is reported.
#[test]
fn a_failure_of_iptables_is_no_answer() -> Result<()> {
    let denied = "Could not fetch rule set generation id: Permission denied (you must be root)";
    let rows = [
        (Firewall::IptablesNft, "iptables-nft", 4, denied),
        (Firewall::IptablesNft, "iptables-nft", 1, "iptables: Memory allocation problem."),
        (
            Firewall::IptablesLegacy,
            "iptables-legacy",
            3,
            "iptables: cannot initialize iptables table: Permission denied",
        ),
        (Firewall::IptablesLegacy, "iptables-legacy", 1, "iptables: Memory allocation problem."),
    ];
    every(rows, |(firewall, program, code, complaint)| {
        Settings::default().firewall(*firewall).prepare("mount -t tmpfs tmpfs /usr/local/sbin").test(|host| {
            let web = host.container("web").publish("8080:80").run()?;
            let restore = format!("{program}-restore");
            let_fail(host, &restore, *code, complaint)?;
            let told = host.unchanged_by(|| host.ocinet("doctor"))?.exits(1)?.stdout;
            ensure!(told.contains(&restore) && told.contains(complaint), "{told}");
            host.unchanged_by(|| host.ocinet("gc"))?.exits(1)?.says(&[&restore, complaint])?;
            host.container("next")
                .publish("8081:80")
                .refused()?
                .exits(1)?
                .is_one_line()?
                .says(&[&restore, complaint])?;
            host.sh(&format!("rm /usr/local/sbin/{restore}"))?;
            host.ocinet("gc")?.success()?;
            host.check()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            web.delete()?;
            host.settles()?;
            let_fail(host, program, *code, complaint)?;
            host.ocinet("reset")?.exits(1)?.says(&[program, complaint])?;
            ensure!(keepers(host)?.lines().count() == 1, "the rules are gone");
            host.sh(&format!("rm /usr/local/sbin/{program}"))?;
            host.ocinet("reset")?.success()?;
            ensure!(keepers(host)?.is_empty(), "{}", keepers(host)?);
            host.check()
        })
    })
}

const NO_NAT: &str = "iptables-restore: unable to initialize table 'nat'";
const BEFORE_NAT: &str = "$real \"$@\" <<<\"${input%%\\*nat*}\"";

/// A kernel without nat, as the tools report it: one line, and nothing is changed.
#[test]
fn a_kernel_without_nat() -> Result<()> {
    // nft changes everything or nothing, iptables one table after the other.
    let rows = [
        (Firewall::Nftables, "nft", "Error: Could not process rule: No such file or directory", ":"),
        (Firewall::IptablesNft, "iptables-nft-restore", NO_NAT, BEFORE_NAT),
        (Firewall::IptablesLegacy, "iptables-legacy-restore", NO_NAT, BEFORE_NAT),
    ];
    every(rows, |(firewall, tool, complaint, first)| {
        Settings::default().firewall(*firewall).test(|host| {
            host.sh(&format!(
                "mount -t tmpfs tmpfs /usr/local/sbin
                 cat >/usr/local/sbin/{tool} <<'END'
#!/bin/bash
real=/usr/sbin/{tool} input=$(cat)
case $input in
*nat*-[AI]*|*'hook prerouting'*) {first}; echo \"{complaint}\" >&2; exit 1 ;;
*) exec $real \"$@\" <<<\"$input\" ;;
esac
END
                 chmod 755 /usr/local/sbin/{tool}"
            ))?;
            let refusal = host.container("web").publish("8080:80").refused()?;
            refusal.exits(1)?.is_one_line()?.says(&[tool, complaint.rsplit(": ").next().unwrap_or_default()])?;
            host.sh("umount /usr/local/sbin")?;
            host.settles()?;
            ensure!(keepers(host)?.is_empty(), "{}", keepers(host)?);
            host.check()
        })
    })
}
