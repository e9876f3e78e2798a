//! Installation, use and removal: afterwards the files are those of before.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ocinet_integration::containerd::{Containerd, Release};
use ocinet_integration::podman::{self, Podman};
use ocinet_integration::{Host, Output, Proto::Tcp, Runtime, Settings, UPLINK, every, ocinet};

/// All files of the machine, except the state of dpkg, caches, and this tree, in which others build.
pub(super) fn file_system(host: &Host) -> Result<String> {
    let tree = packaging("..").canonicalize()?;
    host.sh(&format!(
        "find /usr /etc /var /opt /root /home /srv -ignore_readdir_race \\
             \\( -path /var/lib/dpkg -o -path /var/cache -o -path /var/log -o -path /var/lib/containers \\
                -o -path /etc/containers/networks -o -path /root/.rpmdb -o -path /etc/cni -o -path /root/.cargo -o -path /root/.rustup \\
                -o -path {} \\) -prune \\
             -o -type d -printf '%p %M %U:%G\\n' -o -printf '%p %M %U:%G %s %T@ %l\\n' | sort",
        tree.display()
    ))
}

/// The lines that only one of two listings has.
pub(super) fn difference(before: &str, after: &str) -> String {
    let only = |these: &str, those: &str, sign: char| {
        let those: std::collections::BTreeSet<_> = those.lines().collect();
        these.lines().filter(|line| !those.contains(line)).map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    only(before, after, '-') + &only(after, before, '+')
}

pub(super) fn packaging(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(script)
}

/// Runs packaging/install on `host`, with the programs under test.
fn install(host: &Host, arguments: &str) -> Result<Output> {
    let (programs, script) = (ocinet()?, packaging("install"));
    host.output(&["sh", "-uc", &format!("OCINET_BIN={} {} {arguments}", programs.display(), script.display())])
}

/// Uses the installed programs: podman finds its hooks, a bundle and containerd find their program, a shell finds its
/// completions.
fn use_it(host: &Host, prefix: &str) -> Result<()> {
    let program = format!("{prefix}/bin/ocinet");
    let podman = Podman::installed(host)?;
    let flags = "--network=none --annotation io.ocinet.network=bridge --annotation io.ocinet.publish=8080:80";
    let web = podman.start("web", flags, "80")?;
    host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
    ensure!(host.sh(&format!("{program} ps"))?.contains("8080->80"), "{}", host.sh(&format!("{program} ps"))?);
    web.ends_by("rm -f -t 0")?;

    let bundle = host.container("plain").edit("del(.hooks, .annotations)").prepare()?.bundle().to_owned();
    host.sh(&format!(
        "{program} prepare -p 8081:80 {bundle}; cd {bundle}
         runc run --detach --bundle {bundle} plain </dev/null >out 2>&1"
    ))?;
    let reached = host.peer().reaches(Tcp, format!("{UPLINK}:8081")).and_then(|answer| answer.is("plain"));
    host.sh("runc delete --force plain")?;
    reached?;
    host.settles()?;

    use_the_shim(host, &format!("{prefix}/bin/containerd-shim-ocinet-v2"))?;

    let completions = format!(". {prefix}/share/bash-completion/completions/ocinet; complete -p ocinet");
    host.output(&["bash", "-euc", &completions])?.success()?;
    let page = host.sh(&format!("ls {prefix}/share/man/man1/ocinet-prepare.1*"))?;
    ensure!(host.sh(&format!("man -l {page}"))?.contains("--undo"), "the manual page");
    read_the_pages(host, &format!("{prefix}/share/doc/ocinet"))
}

/// The links between the pages lead to files that exist.
fn read_the_pages(host: &Host, folder: &str) -> Result<()> {
    let pages = host.sh(&format!("cd {folder}; cat *.md; find -name '*.md.gz' -exec zcat {{}} +"))?;
    let links: Vec<_> = pages.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()).collect();
    ensure!(links.contains(&"podman.md") && links.contains(&"copyright"), "{links:?}");
    every(links, |link| {
        if link.is_empty() || link.contains("://") {
            return Ok(());
        }
        host.sh(&format!("ls {folder}/{link} || ls {folder}/{link}.gz")).map(drop)
    })
}

/// containerd finds the shim, and the shim finds the program that the runtime has to call.
fn use_the_shim(host: &Host, shim: &str) -> Result<()> {
    let containerd = Containerd::start(host, Release::V2)?;
    host.sh("rm /mnt/bin/containerd-shim-ocinet-v2")?;
    // With a read-only root the runtime has to call the program.
    let publish = "--read-only --annotation io.ocinet.publish=8082:80";
    let shop = containerd.run("shop", &format!("--runtime {shim} {publish}"), "80")?;
    host.peer().reaches(Tcp, format!("{UPLINK}:8082"))?.is("shop")?;
    let hooks = format!("cat /run/containerd/io.containerd.runtime.v2.task/{}/shop/config.json", containerd.namespace);
    let called = shim.replace("containerd-shim-ocinet-v2", "ocinet");
    ensure!(host.sh(&hooks)?.contains(&format!("\"{called}\"")), "{called} is called");
    let handler = shim.replace("bin/containerd-shim-ocinet-v2", "share/doc/ocinet/examples/containerd-2.toml");
    ensure!(host.sh(&format!("cat {handler}"))?.contains(&format!("\"{shim}\"")), "{handler} names {shim}");
    shop.delete()?;
    host.settles()
}

/// systemd accepts the units, and they start the installed program.
fn check_units(host: &Host, units: &str, prefix: &str) -> Result<()> {
    host.sh(&format!(
        "mkdir -p /usr/local/lib/web; cp {prefix}/share/doc/ocinet/examples/web.service /mnt/web.service"
    ))?;
    let files =
        format!("{units}/ocinet-gc.service {units}/ocinet-gc.timer {units}/ocinet-warm.service /mnt/web.service");
    let said = host.output(&["sh", "-c", &format!("systemd-analyze verify --man=no {files} 2>&1")])?;
    // systemd-analyze leaves these files.
    host.sh("rmdir /usr/local/lib/web; rm -rf /run/systemd")?;
    ensure!(said.code == 0 && said.stdout.is_empty(), "{said}");
    for unit in [&format!("{units}/ocinet-gc.service"), &format!("{units}/ocinet-warm.service"), "/mnt/web.service"] {
        ensure!(host.sh(&format!("cat {unit}"))?.contains(&format!("={prefix}/bin/ocinet ")), "{unit}");
    }
    Ok(())
}

/// The state in the kernel and in /run is removed too.
pub(super) fn nothing_is_left(host: &Host) -> Result<()> {
    let left = host.sh(
        "nft list tables | grep ocinet || true; ip -o link show | grep ocinet || true; ls -d /run/ocinet* || true",
    )?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

/// The script with the usual prefixes.
#[test]
fn the_script_installs_and_takes_away() -> Result<()> {
    let rows = [("/usr/local", "/etc/systemd"), ("/usr", "/usr/lib/systemd"), ("/opt/ocinet", "/etc/systemd")];
    machine().test(|host| {
        let before = file_system(host)?;
        ensure!(before.lines().count() > 1000, "{before}");
        every(rows, |(prefix, systemd)| {
            install(host, &format!("--prefix {prefix}"))?.exits(0)?;
            // A second run, as for a new version: the list of files to remove stays complete.
            install(host, &format!("--prefix={prefix}"))?.exits(0)?;
            let installed = file_system(host)?;
            for file in [
                format!("{prefix}/bin/ocinet -rwxr-xr-x 0:0"),
                format!("{prefix}/bin/ocinet-agent -rwxr-xr-x 0:0"),
                format!("{prefix}/bin/containerd-shim-ocinet-v2 -rwxr-xr-x 0:0"),
                format!("{systemd}/system/ocinet-gc.timer -rw-r--r--"),
                format!("{systemd}/system/ocinet-warm.service -rw-r--r--"),
                format!("{systemd}/system/ocinet.socket -rw-r--r--"),
                format!("{systemd}/network/80-ocinet.network -rw-r--r--"),
                format!("{}/zones/ocinet.xml -rw-r--r--", systemd.replace("systemd", "firewalld")),
                "NetworkManager/conf.d/80-ocinet.conf -rw-r--r--".into(),
                "/usr/share/containers/oci/hooks.d/20-ocinet-precreate.json -rw-r--r--".into(),
                format!("{prefix}/share/doc/ocinet/examples/config.toml -rw-r--r--"),
                format!("{prefix}/share/doc/ocinet/examples/runtime-class.yaml -rw-r--r--"),
                format!("{prefix}/share/doc/ocinet/README.md -rw-r--r--"),
                format!("{prefix}/share/doc/ocinet/glossary.md -rw-r--r--"),
            ] {
                ensure!(installed.contains(&file), "{file}");
            }
            check_units(host, &format!("{systemd}/system"), prefix)?;
            use_it(host, prefix)?;
            let attached = host.container("late").run()?;
            let refused = install(host, &format!("--prefix {prefix} --uninstall"))?.exits(1)?;
            ensure!(refused.stderr.contains("late") && refused.stderr.contains("stop them first"), "{refused}");
            attached.delete()?;
            host.settles()?;
            install(host, &format!("--prefix {prefix} --uninstall"))?.exits(0)?;
            nothing_is_left(host)?;
            let after = file_system(host)?;
            ensure!(before == after, "{}", difference(&before, &after));
            Ok(())
        })
    })
}

/// The example configuration changes nothing.
#[test]
fn the_example_configuration_is_the_default() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").prepare()?;
        let plan = format!("{} plan {}", ocinet_integration::OCINET, web.bundle());
        let without = host.sh(&plan)?;
        host.sh(&format!("cp {} /etc/ocinet/config.toml", packaging("examples/config.toml").display()))?;
        let with = host.sh(&plan);
        host.sh("rm /etc/ocinet/config.toml")?;
        ensure!(with? == without, "{without}");
        Ok(())
    })
}

/// Wrong arguments of the script change nothing.
#[test]
fn the_script_refuses_what_it_does_not_know() -> Result<()> {
    machine().test(|host| {
        let before = file_system(host)?;
        every(["--prefx /usr", "--prefix usr", "--uninstall", "/usr"], |arguments| {
            let refused = install(host, arguments)?;
            ensure!(refused.code == 1 && refused.stderr.starts_with("install: "), "{refused}");
            Ok(())
        })?;
        let after = file_system(host)?;
        ensure!(before == after, "{}", difference(&before, &after));
        Ok(())
    })
}

/// The Debian package, with the same files as the script.
#[test]
fn the_package_installs_and_goes() -> Result<()> {
    machine().test(|host| {
        let folder = host.path("/mnt/deb");
        let built = Command::new(packaging("deb")).arg(&folder).env("OCINET_BIN", ocinet()?).output()?;
        ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let before = file_system(host)?;
        host.sh("dpkg --install /mnt/deb/*.deb")?;
        check_units(host, "/usr/lib/systemd/system", "/usr")?;
        let wanted = host.sh("readlink /etc/systemd/system/timers.target.wants/ocinet-gc.timer").context("enabled")?;
        ensure!(wanted.ends_with("lib/systemd/system/ocinet-gc.timer\n"), "{wanted}");
        let wanted = host.sh("readlink /etc/systemd/system/multi-user.target.wants/ocinet-warm.service")?;
        ensure!(wanted.ends_with("lib/systemd/system/ocinet-warm.service\n"), "{wanted}");
        use_it(host, "/usr")?;
        // The script and the package differ only in the files that each needs for its own removal.
        let listed = "grep -v ocinet/manifest | sed 's/\\.gz$//' | sort";
        let package =
            host.sh(&format!("dpkg -L ocinet | while read -r f; do [ -d $f ] || echo $f; done | {listed}"))?;
        host.sh(&format!(
            "OCINET_BIN={} DESTDIR=/mnt/stage {} --prefix /usr",
            ocinet()?.display(),
            packaging("install").display()
        ))?;
        let script = host.sh(&format!("cd /mnt/stage; find . -type f -printf '/%P\\n' | {listed}"))?;
        ensure!(package == script, "{}", difference(&package, &script));
        let held = host.container("held").publish("8080:80").run()?;
        let refusal = host.output(&["dpkg", "--remove", "ocinet"])?;
        ensure!(
            refusal.code != 0 && refusal.stderr.contains("held") && refusal.stderr.contains("--force"),
            "{refusal}"
        );
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("held")?;
        host.sh("/usr/bin/ocinet ps; dpkg --status ocinet | grep '^Status: .* ok installed'")?;
        held.delete()?;
        host.settles()?;
        host.sh("dpkg --purge ocinet")?;
        nothing_is_left(host)?;
        let after = file_system(host)?;
        ensure!(before == after, "{}", difference(&before, &after));
        Ok(())
    })
}

/// Packages of another Debian come from the archive in the machine's own apt sources, whatever its name is.
#[test]
fn other_debians_are_asked_where_the_machine_asks() -> Result<()> {
    const APT_GET: &str = r#"#!/bin/sh
        case "$*" in
        *indextargets*) cat /mnt/sources ;;
        *SourceList=*update) for word; do case $word in Dir::Etc::SourceList=*) cat "${word#*=}" >/mnt/asked ;; esac; done; exit 1 ;;
        esac"#;
    let debs = Path::new(env!("CARGO_MANIFEST_DIR")).join("debs").canonicalize()?;
    Settings::default().test(|host| {
        host.sh(&format!("mkdir /mnt/apt; cat >/mnt/apt/apt-get <<'END'\n{APT_GET}\nEND\nchmod 755 /mnt/apt/apt-get"))?;
        let fetch = |sources: &str| {
            host.sh(&format!("echo '{sources}' >/mnt/sources"))?;
            let script = format!("PATH=/mnt/apt:$PATH {} /mnt/unpacked sid ufw", debs.display());
            host.output(&["sh", "-c", &script])?.exits(1)
        };
        let ours = "Debian|Debian|http://mirror.example/debian/";
        fetch(&format!("|Others|http://others.example/\nDebian|Debian-Security|http://security.example/\n{ours}"))?;
        let asked = host.sh("cat /mnt/asked")?;
        ensure!(asked.ends_with(" http://mirror.example/debian/ sid main\n"), "{asked}");
        let refused = fetch("|Others|http://others.example/")?;
        ensure!(refused.stderr.starts_with("debs: no archive with the label Debian is"), "{refused}");
        Ok(())
    })
}

pub(super) fn machine() -> Settings {
    podman::settings(Runtime::Runc).installable()
}
