//! What `packaging/release` makes: an archive, a Debian package and one for rpm, the same ones from the same commit; and
//! the version that the programs tell.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use ocinet_integration::{Host, Proto::Tcp, Settings, UPLINK, every, ocinet};

use super::installation::{difference, file_system, machine, nothing_is_left, packaging};

/// Commit dates in the tests: 2026-01-02 03:04:05 UTC.
const DATE: u64 = 1_767_323_045;

/// Runs a script of packaging/ for a folder of the host, with `program` in the place of one that is built. It takes longer
/// than a command on a host may.
fn pack(host: &Host, script: &str, program: &Path, folder: &str) -> Result<(bool, String)> {
    let mut command = Command::new(packaging(script));
    command.arg(host.path(folder)).env("OCINET_BIN", program).env("SOURCE_DATE_EPOCH", DATE.to_string());
    let done = command.output()?;
    Ok((done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned()))
}

/// The files of a release, in /mnt/release.
fn release(host: &Host) -> Result<()> {
    let (made, said) = pack(host, "release", &ocinet()?, "/mnt/release")?;
    ensure!(made, "{said}");
    host.sh(
        "cd /mnt/release; sha256sum --check SHA256SUMS; test $(ls | wc -l) = $(wc -l <SHA256SUMS | xargs expr 1 +)",
    )?;
    Ok(())
}

/// What is tried on a host.
type Part = fn(&Host) -> Result<()>;

/// Its files are the same when they are made again, and each of them installs and goes.
#[test]
fn a_release() -> Result<()> {
    machine().test(|host| {
        release(host)?;
        let before = file_system(host)?;
        let parts: [(&str, Part); 4] = [
            ("archive", the_archive_installs_without_building),
            ("rpm", the_package_for_rpm_installs_and_goes),
            ("upgrade", the_package_is_upgraded_while_containers_run),
            ("again", the_same_commit_gives_the_same_files),
        ];
        every(parts, |(_, part)| {
            part(host)?;
            nothing_is_left(host)?;
            let after = file_system(host)?;
            ensure!(before == after, "{}", difference(&before, &after));
            Ok(())
        })
    })
}

/// Two runs give the same files, whatever the files' own times are, and nothing in them is newer than the date.
fn the_same_commit_gives_the_same_files(host: &Host) -> Result<()> {
    let first = host.sh("cat /mnt/release/SHA256SUMS")?;
    for suffix in [".tar.gz\n", "_amd64.deb\n", ".x86_64.rpm\n"] {
        ensure!(first.contains(suffix), "{first}");
    }
    let (made, said) = pack(host, "release", &ocinet()?, "/mnt/release")?;
    ensure!(!made && said.contains("is not empty"), "{said}");
    host.sh("mv /mnt/release /mnt/first")?;
    release(host)?;
    let again = host.sh("cat /mnt/release/SHA256SUMS")?;
    ensure!(first == again, "{}", difference(&first, &again));
    let newest = host.sh("cd /mnt/release; tar --utc --full-time -tvf *.tar.gz | awk '{ print $4, $5 }' | sort -u
             dpkg-deb --fsys-tarfile *.deb | tar --utc --full-time -tvf - | awk '{ print $4, $5 }' | sort -u")?;
    ensure!(newest.lines().all(|line| line == "2026-01-02 03:04:05"), "{newest}");
    Ok(())
}

/// In the archive, the scripts work without a compiler, and put there what they put in a source tree.
fn the_archive_installs_without_building(host: &Host) -> Result<()> {
    host.sh("mkdir /mnt/unpacked; tar -C /mnt/unpacked --strip-components=1 -xf /mnt/release/*.tar.gz")?;
    // No cargo is on this PATH.
    let run = |line: &str| host.output(&["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-euc", line]);
    run("/mnt/unpacked/packaging/install --prefix /opt/ocinet")?.success()?;
    host.sh("cmp /mnt/unpacked/bin/ocinet /opt/ocinet/bin/ocinet")?;
    let web = host.container("web").edit("del(.hooks, .annotations)").prepare()?.bundle().to_owned();
    host.sh(&format!(
            "/opt/ocinet/bin/ocinet prepare -p 8080:80 {web}; runc run --detach --bundle {web} web </dev/null >/dev/null 2>&1"
        ))?;
    let reached = host.peer().reaches(Tcp, format!("{UPLINK}:8080")).and_then(|answer| answer.is("web"));
    host.sh("runc delete --force web")?;
    reached?;
    host.settles()?;
    run("/mnt/unpacked/packaging/install --prefix /opt/ocinet --uninstall")?.success()?;
    Ok(())
}

/// The package for rpm has the files of the Debian package. Its scripts switch on what that one's do, refuse a removal
/// while containers are attached, and leave nothing.
fn the_package_for_rpm_installs_and_goes(host: &Host) -> Result<()> {
    host.sh("mkdir /mnt/rpm /mnt/deb; cd /mnt/rpm; rpm2cpio ../release/*.rpm | cpio -idm --quiet; dpkg-deb -x ../release/*.deb /mnt/deb")?;
    // zsh looks in another folder there, and cargo-deb writes a file `copyright` of its own.
    let files = |folder: &str| {
        host.sh(&format!(
                "cd {folder}; find . -type f ! -name copyright -printf '%P %m ' -exec sha256sum {{}} \\; | sed 's:vendor-completions:site-functions:g; s: \\./.*::' | sort"
            ))
    };
    let (rpm, deb) = (files("/mnt/rpm")?, files("/mnt/deb")?);
    ensure!(rpm == deb && rpm.lines().count() > 50, "{}", difference(&rpm, &deb));
    let asks = host.sh("rpm -qp --requires --scripts --info /mnt/release/*.rpm 2>/dev/null")?;
    for words in ["(nftables or iptables)", "ocinet reset", "ocinet-gc.timer", "Apache-2.0"] {
        ensure!(asks.contains(words), "{words} is not in\n{asks}");
    }
    // Debian's rpm warns that it is no Debian's package manager, and knows of no installed nftables.
    let run = |line: &str| {
        let rpm = "rpm --dbpath /mnt/rpmdb --nodeps --force-debian";
        host.output(&["bash", "-euc", &format!("systemctl() {{ :; }}; export -f systemctl; {rpm} {line}")])
    };
    run("--install /mnt/release/*.rpm")?.success()?;
    let wanted = host.sh("ls /etc/systemd/system/*.wants | grep ocinet || true")?;
    ensure!(wanted == "ocinet-warm.service\nocinet-gc.timer\n", "{wanted}");
    let held = host.container("held").publish("8080:80").run()?;
    let refused = run("--erase ocinet")?;
    ensure!(refused.code != 0 && refused.stderr.contains("held") && refused.stderr.contains("--force"), "{refused}");
    host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("held")?;
    run("--upgrade --replacepkgs /mnt/release/*.rpm")?.success()?;
    host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("held")?;
    held.delete()?;
    host.settles()?;
    run("--erase ocinet")?.success()?;
    // rpm leaves folders that no package owns. Its own are gone.
    host.sh("test ! -e /usr/share/doc/ocinet; rpm -qpl /mnt/release/*.rpm 2>/dev/null | xargs dirname | sort -u | xargs rmdir -p --ignore-fail-on-non-empty 2>/dev/null || true")?;
    Ok(())
}

/// The page on upgrades: the Debian package of this release over that of the one before, while a container is asked.
fn the_package_is_upgraded_while_containers_run(host: &Host) -> Result<()> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/upgrade/ocinet");
    // That release has no name server of its own.
    std::fs::copy(ocinet()?.with_file_name("ocinet-agent"), program.with_file_name("ocinet-agent"))?;
    let (made, said) = pack(host, "deb", &program, "/mnt/old")?;
    ensure!(made, "{said}");
    host.sh("dpkg --install /mnt/old/*.deb; cp -a /mnt/bin/ocinet /mnt/ocinet; cp /usr/bin/ocinet /mnt/bin/ocinet.new; mv /mnt/bin/ocinet.new /mnt/bin/ocinet")?;
    let web = host.container("web").publish("8080:80").run()?;
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
                asked.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let upgraded = host
                .sh("dpkg --install /mnt/release/*.deb; cp /usr/bin/ocinet /mnt/bin/ocinet.new; mv /mnt/bin/ocinet.new /mnt/bin/ocinet")
                .and_then(|_| host.ocinet("gc")?.success())
                .and_then(|_| host.ocinet("doctor --fix")?.success());
        done.store(true, Ordering::Relaxed);
        let asked = asker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        upgraded?;
        asked
    })?;
    ensure!(asked.into_inner() > 10, "it was asked too seldom");
    let refused = host.output(&["dpkg", "--remove", "ocinet"])?;
    ensure!(refused.code != 0 && refused.stderr.contains("web"), "{refused}");
    web.delete()?;
    host.settles()?;
    host.sh("dpkg --purge ocinet; mv /mnt/ocinet /mnt/bin/ocinet").map(drop)
}

/// The version with commit and date in a clone, with `SOURCE_DATE_EPOCH` in its place, and neither in a tree without a
/// history, also where that lies in the clone of another project.
#[test]
fn the_version_is_that_of_the_build() -> Result<()> {
    Settings::default().test(|host| {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        host.sh(&format!(
            "mkdir -p /mnt/outer/tree/packaging; cp {0}/Cargo.toml /mnt/outer/tree; cp {0}/packaging/common.sh /mnt/outer/tree/packaging",
            tree.display()
        ))?;
        let version = |before: &str| {
            host.output(&["bash", "-euc", &format!("cd /mnt/outer/tree; {before} . packaging/common.sh; ocinet_version")])?.success().map(|text| text.trim().to_owned())
        };
        let number = env!("CARGO_PKG_VERSION");
        ensure!(version("")? == number, "{}", version("")?);
        ensure!(version("SOURCE_DATE_EPOCH=86400;")? == format!("{number} (1970-01-02)"), "{}", version("SOURCE_DATE_EPOCH=86400;")?);
        let git = "git -c user.name=a -c user.email=a@example.org";
        let commit = format!("GIT_COMMITTER_DATE='{DATE} +0900' {git} commit -q --allow-empty -m one");
        host.sh(&format!("cd /mnt/outer; git init -q .; git add -A; {commit}"))?;
        ensure!(version("")? == number, "another project's commit: {}", version("")?);
        host.sh(&format!("rm -r /mnt/outer/.git; cd /mnt/outer/tree; git init -q .; git add -A; {commit}"))?;
        let id = host.sh("git -C /mnt/outer/tree rev-parse HEAD")?;
        let id = id.get(..12).unwrap_or_default();
        ensure!(version("")? == format!("{number} ({id} 2026-01-02)"), "{}", version("")?);
        ensure!(version("SOURCE_DATE_EPOCH=86400;")? == format!("{number} ({id} 1970-01-02)"), "{}", version("")?);
        host.sh("echo >>/mnt/outer/tree/Cargo.toml")?;
        ensure!(version("")? == format!("{number} ({id}-dirty 2026-01-02)"), "{}", version("")?);
        // The clone of an ordinary user, under sudo.
        host.sh("chown -R 65534 /mnt/outer/tree")?;
        ensure!(version("")?.contains(id), "{}", version("")?);
        Ok(())
    })
}

/// All programs tell the version, and the shim helps.
#[test]
fn the_programs_tell_their_version() -> Result<()> {
    Settings::default().test(|host| {
        let told = host.ocinet("--version")?.success()?;
        let version = told.strip_prefix("ocinet ").unwrap_or_default().to_owned();
        ensure!(version.starts_with(env!("CARGO_PKG_VERSION")), "{told}");
        let shim = ocinet()?.with_file_name("containerd-shim-ocinet-v2").display().to_string();
        every(["--version", "-V", "serve --version", "events --version"], |line| {
            let told = host.sh(&format!("{shim} {line}"))?;
            ensure!(told.ends_with(&version), "{told}");
            Ok(())
        })?;
        every(["--help", "-h"], |line| {
            let told = host.sh(&format!("{shim} {line}"))?;
            ensure!(told.contains("serve") && told.contains("events") && told.contains("Example"), "{told}");
            Ok(())
        })?;
        ensure!(host.ocinet("bugreport -")?.success()?.starts_with(told.trim()), "bugreport");
        Ok(())
    })
}
