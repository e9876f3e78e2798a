//! containerd and our shim: a refusal names its reason on the caller's terminal, and leaves nothing.

use anyhow::{Context, Result, ensure};
use ocinet_integration::containerd::{Containerd, Release, with_containerd, with_release};
use ocinet_integration::{Host, Output, Proto::Tcp, UPLINK, every};

/// Neither containerd nor ocinet keeps anything of a container that could not start.
fn nothing_is_left(host: &Host, containerd: &Containerd<'_>) -> Result<()> {
    containerd.clear()?;
    host.settles()?;
    let left = host
        .sh("ls -A /run/containerd/io.containerd.runtime.v2.task/* /run/containerd/s /run/containerd/runc/* || true")?;
    let left = left.lines().filter(|line| !line.is_empty() && !line.ends_with(':')).collect::<Vec<_>>();
    ensure!(left.is_empty(), "bundles, sockets or states: {left:?}");
    // All but the service, which is one process for the host.
    let processes =
        "ps -e -o args | grep -v 'ocinet-v2 serve' | grep -e '[c]ontainerd-shim' -e '[o]cinet hook' || true";
    let processes = host.sh(processes)?;
    ensure!(processes.is_empty(), "processes: {processes}");
    Ok(())
}

fn refused(output: Output, words: &str) -> Result<()> {
    ensure!(output.code != 0, "{output}");
    ensure!(output.stderr.contains("ocinet: ") && output.stderr.contains(words), "expected {words:?}: {output}");
    Ok(())
}

/// An invalid annotation is refused before the container is created.
#[test]
fn what_is_wrong_is_said_at_once() -> Result<()> {
    let rows = [
        ("io.ocinet.network=brigde", "brigde"),
        ("io.ocinet.pubish=80:80", "did you mean io.ocinet.publish?"),
        ("io.ocinet.publish=80:80:80:80", "80:80:80:80"),
        ("io.ocinet.network=container:nobody", "nobody"),
        ("io.ocinet.network=container:a/b", "a/b"),
        ("io.ocinet.hostname=a/b", "io.ocinet.hostname"),
        ("io.ocinet.network=bridge:ip=10.90.0", "10.90.0"),
    ];
    with_containerd(|host, containerd| {
        every(rows, |(annotation, words)| {
            let output = containerd.attempt("web", &format!("--annotation {annotation}"), "80")?;
            let said_at_once = !output.stderr.contains("OCI runtime");
            ensure!(said_at_once, "{output}");
            let is_refused = refused(output, words);
            nothing_is_left(host, containerd)?;
            let recorded = host.ocinet("log -n 1 web")?.success()?;
            ensure!(recorded.contains(" web: error: ") && recorded.contains(words), "{recorded}");
            is_refused
        })
    })
}

/// What only the attach can detect is reported through runc.
#[test]
fn what_the_hook_refuses() -> Result<()> {
    with_containerd(|host, containerd| {
        let web = containerd.run("web", "--annotation io.ocinet.publish=8080:80", "80")?;
        let again = containerd.attempt("again", "--annotation io.ocinet.publish=8080:80", "80")?;
        refused(again, "0.0.0.0:8080/tcp is published by container web; 8081 is free")?;
        let hosts = containerd.attempt("hosts", "--net-host --annotation io.ocinet.network=bridge", "80")?;
        refused(hosts, "the host's own")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        web.delete()?;
        nothing_is_left(host, containerd)
    })
}

/// A container that shares the shim of another is refused after that shim was started. The shim and its container stay.
#[test]
fn a_shared_shim_stays() -> Result<()> {
    let (group, publish) = ("--annotation io.containerd.runc.v2.group=shop", "--annotation io.ocinet.publish=8080:80");
    with_containerd(|host, containerd| {
        let web = containerd.run("web", &format!("{group} {publish}"), "80")?;
        let again = containerd.attempt("again", &format!("{group} {publish}"), "80")?;
        refused(again, "0.0.0.0:8080/tcp is published by container web; 8081 is free")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        let guest = containerd.run("guest", group, "81")?;
        let shims = host.sh("ps -e -o args | grep -c '[c]ontainerd-shim-runc-v2 -n' || true")?;
        ensure!(shims == "1\n", "{shims} shims");
        guest.delete()?;
        web.delete()?;
        // containerd 2 leaves the socket of a shared shim, also with the stock shim.
        host.sh("rm -f /run/containerd/s/*")?;
        nothing_is_left(host, containerd)
    })
}

/// No valid bundle, a missing program, invalid settings: no container starts without its network.
#[test]
fn what_is_wrong_with_the_host() -> Result<()> {
    let rows = [
        (
            "--annotation io.ocinet.network=host",
            "mv /mnt/bin/ocinet /mnt/bin/moved",
            "mv /mnt/bin/moved /mnt/bin/ocinet",
            "there is no ocinet beside /mnt/bin",
        ),
        ("", "echo nonsense >/etc/ocinet/config.toml", "rm /etc/ocinet/config.toml", "config.toml, line 1"),
    ];
    with_release(Release::V2, |host, containerd| {
        every(rows, |(flags, spoil, mend, words)| {
            host.sh(spoil)?;
            let output = containerd.attempt("web", flags, "80");
            host.sh(mend)?;
            refused(output?, words)?;
            nothing_is_left(host, containerd)
        })
    })
}

/// The stock shim is that of the calling containerd, else the first on the PATH, and never our own shim under another
/// name.
#[test]
fn the_stock_shim_is_found() -> Result<()> {
    let ours = "/mnt/bin/containerd-shim-ocinet-v2";
    with_release(Release::V2, |host, containerd| {
        let call = |path: &str, flags: &str| {
            host.output(&["sh", "-uc", &format!("echo parameters | PATH={path} MARK=kept exec {ours} {flags}")])
        };
        host.sh(&format!(
            "mkdir /mnt/stock /mnt/loop
             printf '#!/bin/sh\\necho \"$MARK $PATH $(/bin/busybox cat) $@\"\\nexit 7\\n' >/mnt/stock/containerd-shim-runc-v2
             chmod +x /mnt/stock/containerd-shim-runc-v2
             ln -s {ours} /mnt/loop/containerd-shim-runc-v2
             ln {ours} /mnt/bin/containerd-shim-runc-v2"
        ))?;
        let rows = [
            ("-v", "/mnt/stock", "-v"),
            ("-info", "/mnt/loop:/mnt/bin:/mnt/stock", "-info"),
            ("-new='a b' --later -debug", "/mnt/stock:/bin", "-new=a b --later -debug"),
            ("-id no/id delete", "/mnt/stock", "-id no/id delete"),
            (
                "-publish-binary /mnt/stock/containerd -version",
                "/nowhere",
                "-publish-binary /mnt/stock/containerd -version",
            ),
            ("", "/mnt/stock", ""),
        ];
        every(rows, |(flags, path, seen)| {
            let output = call(path, flags)?.exits(7)?;
            ensure!(output.stdout.trim_end() == format!("kept {path} parameters {seen}").trim_end(), "{output}");
            ensure!(output.stderr.is_empty(), "{output}");
            Ok(())
        })?;
        let alone = call("/mnt/loop:/mnt/bin:.", "-publish-binary /mnt/bin/containerd -v")?.exits(5)?;
        ensure!(alone.stderr.contains("no containerd-shim-runc-v2 beside /mnt/bin/containerd"), "{alone}");
        alone.is_one_line()?;
        host.sh("rm -r /mnt/loop /mnt/bin/containerd-shim-runc-v2")?;
        let version = containerd.shim("-v").context("the real one")?;
        ensure!(version.contains("containerd"), "{version}");
        Ok(())
    })
}
