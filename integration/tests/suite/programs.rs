//! The programs that an attach starts hang, are killed or cannot be started. Every wait for them has a deadline, and
//! completed work stays done.

use std::fs;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Container, Firewall, Host, OCINET, Output, Proto::Tcp, Settings, UPLINK, eventually};

/// A host with a folder of its own that comes first in the search path.
fn with_programs() -> Settings {
    Settings::default().prepare("mount -t tmpfs tmpfs /usr/local/sbin")
}

/// An `nft` that is the shell script `script`.
fn replace_nft(host: &Host, script: &str) -> Result<()> {
    let path = host.path("/usr/local/sbin/nft");
    fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
    host.sh("chmod 755 /usr/local/sbin/nft").map(drop)
}

/// Runs the hook of `container` under another program, such as `strace`.
fn hook_under(host: &Host, words: &[&str], container: &Container<'_>, stage: &str) -> Result<Output> {
    let argv = [words, &[OCINET, "hook", stage]].concat();
    Output::of(&mut host.command(&argv), container.state(stage).to_string().as_bytes())
}

/// `nft` and its child hang while the lock of the firewall is held. Both are killed before other hooks give up, and
/// those find nothing half done.
#[test]
fn an_nft_that_hangs_blocks_others_no_longer_than_its_deadline() -> Result<()> {
    with_programs().test(|host| {
        replace_nft(host, "sleep 3456 & echo hangs >/mnt/hangs; wait")?;
        let (web, db) = (host.container("web").publish("8080:80").prepare()?, host.container("db").prepare()?);
        let (first, second) = thread::scope(|scope| -> Result<_> {
            let first = scope.spawn(|| web.hook("createRuntime"));
            eventually("nft hangs", || Ok(host.path("/mnt/hangs").exists()))?;
            host.sh("rm /usr/local/sbin/nft")?;
            let second = db.hook("createRuntime");
            Ok((first.join().ok().context("a thread panicked")??, second?))
        })?;
        second.success()?;
        first.exits(1)?.is_one_line()?.says(&["nft -f -", "15 s", "killed"])?;
        ensure!(host.sh("grep -ls '34[5]6' /proc/[0-9]*/cmdline || true")?.is_empty(), "a child of nft is left");
        web.hook("createRuntime")?.success()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.check()?;
        web.hook("poststop")?.success()?;
        db.hook("poststop")?.success().map(drop)
    })
}

/// The hook is killed while `nft` hangs and keeps the lock: `nft` ends by itself before other hooks give up.
#[test]
fn an_nft_that_outlives_its_hook_ends() -> Result<()> {
    with_programs().test(|host| {
        replace_nft(host, "echo $PPID >/mnt/hook; exec sleep 3456")?;
        let (web, db) = (host.container("web").publish("8080:80").prepare()?, host.container("db").prepare()?);
        thread::scope(|scope| -> Result<()> {
            let first = scope.spawn(|| web.hook("createRuntime"));
            eventually("nft hangs", || {
                Ok(fs::read_to_string(host.path("/mnt/hook")).is_ok_and(|pid| pid.ends_with('\n')))
            })?;
            host.sh("rm /usr/local/sbin/nft; kill -KILL $(cat /mnt/hook)")?;
            first.join().ok().context("a thread panicked")??;
            db.hook("createRuntime")?.success().map(drop)
        })?;
        host.ocinet("gc")?.success()?;
        host.check()?;
        db.hook("poststop")?.success().map(drop)
    })
}

/// `nft` takes a failed read of its input for the end, and exits with 0. The attach reports an error.
#[test]
fn an_nft_that_did_not_read_everything_is_not_believed() -> Result<()> {
    with_programs().test(|host| {
        let web = host.container("web").publish("8080:80").prepare()?;
        // `nft` reads nothing, or everything except the last line, which is the published port.
        let scripts = [
            ("exec /usr/sbin/nft \"$@\" </dev/null", "before it had read its input"),
            ("head -n -1 | /usr/sbin/nft \"$@\"", "does not hold all"),
        ];
        for (script, words) in scripts {
            replace_nft(host, script)?;
            web.hook("createRuntime")?.exits(1)?.is_one_line()?.says(&["exit code 0", words])?;
            host.sh("rm /usr/local/sbin/nft")?;
            host.settles()?;
        }
        web.hook("createRuntime")?.success()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        web.hook("poststop")?.success().map(drop)
    })
}

/// `nft` prints more than a pipe holds before it reads its input.
#[test]
fn an_nft_that_prints_before_it_reads_is_heard() -> Result<()> {
    with_programs().test(|host| {
        let since = Instant::now();
        replace_nft(host, "head -c 10000000 /dev/zero; exec /usr/sbin/nft \"$@\"")?;
        // More rules than a pipe holds.
        let web = host.container("web").publish("8000-11999:8000-11999").serving(&["8080"]).run()?;
        host.sh("nft flush table inet ocinet")?;
        let db = host.container("db").run()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        ensure!(since.elapsed().as_secs() < 50, "{:?}", since.elapsed());
        db.delete()?;
        web.delete()
    })
}

/// A detach with iptables-nft waits for no program: both hang here. A rule that it does not understand stays, and where
/// one of its own may be among such rules, it asks the programs.
#[test]
fn a_detach_with_iptables_nft_starts_no_program() -> Result<()> {
    const FOREIGN: &str = "OCINET-ANY -s 192.0.2.9/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.90.0.2:80";
    with_programs().firewall(Firewall::IptablesNft).test(|host| {
        let ports = || host.sh("iptables-nft-save | grep dport || true");
        let other = host.container("other").publish("8081:80").run()?;
        let before = ports()?;
        let web = host.container("web").publish("8080:80,198.51.100.1:8082:80,8083:83/udp").run()?;
        host.sh(&format!("iptables-nft -t nat -I {FOREIGN}"))?;
        let hang = "for tool in iptables-nft iptables-nft-restore; do
                printf '#!/bin/sh\nexec sleep 3456\n' >/usr/local/sbin/$tool; chmod 755 /usr/local/sbin/$tool; done";
        host.sh(hang)?;
        let since = Instant::now();
        web.delete()?;
        ensure!(since.elapsed().as_secs() < 10, "it took {:?}", since.elapsed());
        host.sh("rm /usr/local/sbin/*")?;
        let found = ports()?;
        ensure!(found.contains(FOREIGN), "{found}");
        ensure!(found.lines().filter(|line| !line.contains(FOREIGN)).eq(before.lines()), "{found}\nbefore:\n{before}");
        // One of its rules is gone, so it may be among those that are not understood, as a port of SCTP is.
        let late = host.container("late").publish("8084:84/sctp,8085:85").run()?;
        host.sh("iptables-nft -t nat -D $(iptables-nft -t nat -S | sed -n 's/^-A \\(.*dport 8085 .*\\)/\\1/p')")?;
        late.delete()?;
        let found = ports()?;
        ensure!(found.lines().filter(|line| !line.contains(FOREIGN)).eq(before.lines()), "{found}\nbefore:\n{before}");
        host.sh(&format!("iptables-nft -t nat -D {FOREIGN}"))?;
        host.check()?;
        other.delete()
    })
}

/// No process can be created for the background work after an attach: the work is done in the foreground, and the
/// container keeps its network.
#[test]
fn an_attach_that_is_complete_does_not_fail_at_its_end() -> Result<()> {
    // fcntl_locking(2): F_OFD_SETLK is 37, F_WRLCK 1. The byte is that of `Place::Deletion`.
    const HOLD: &str = r#"open(my $f, "+<", "/run/ocinet/lock") or die;
        my $lock = pack("ssx4qqix4", 1, 0, 3, 1, 0); fcntl($f, 37, $lock) or die; $| = 1; print "held\n"; sleep 100"#;
    Settings::default().test(|host| {
        let strace = ["strace", "-f", "-o", "/mnt/strace", "-e", "trace=clone", "-e", "inject=clone:error=EAGAIN"];
        let no_process = |container: &Container<'_>, stage: &str| -> Result<()> {
            hook_under(host, &strace, container, stage)?.exits(0)?;
            ensure!(host.sh("cat /mnt/strace")?.contains("INJECTED"), "no process was to be made");
            Ok(())
        };
        let earlier = host.container("earlier").run()?;
        let web = host.container("web").publish("8080:80").prepare()?;
        let mut holder = host.background(&["perl", "-e", HOLD])?;
        ensure!(holder.line()? == "held");
        no_process(&web, "createRuntime")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        drop(holder);
        no_process(&web, "poststop")?;
        ensure!(host.sandboxes()?.len() == 1, "its link is gone at once: {:#?}", host.sandboxes()?);
        earlier.delete()
    })
}
