//! The real podman, which finds ocinet through its hook directory.

use anyhow::{Context, Result, ensure};
use ocinet_integration::podman::with_podman;
use ocinet_integration::{Mode, PEER, Proto::Tcp, UPLINK, eventually, every};

/// The flags with which podman's users have ocinet wire a container.
const BRIDGE: &str = "--network=none --annotation io.ocinet.network=bridge";

/// A published port, from a neighbour in the LAN to the container and back, and the names that podman's users expect.
#[test]
fn a_published_port_reaches_it() -> Result<()> {
    with_podman(|host, podman| {
        let flags = format!("{BRIDGE} --annotation io.ocinet.publish=8080:80 --add-host db:192.0.2.9");
        let web = podman.start("web", &flags, "80")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER)?;
        let sandbox = web.sandbox()?;
        ensure!(sandbox.name == "web" && sandbox.mode == Mode::Bridge, "{sandbox:#?}");
        let address = sandbox.address().context("an address")?;
        let hosts = web.does("exec cat /etc/hosts")?.success()?;
        let short = &web.id[..12];
        let mut lines = vec![format!("{address}\t{short} web"), "10.90.0.1\thost.containers.internal".into()];
        // podman 5 writes these names only after the container was wired, so ocinet cannot copy them.
        if podman.run("--version")?.success()?.contains(" 4.") {
            lines.push("192.0.2.9\tdb".into());
        }
        every(lines, |line| {
            ensure!(hosts.contains(line.as_str()), "{hosts}");
            Ok(())
        })?;
        ensure!(hosts.matches("host.containers.internal").count() == 1, "{hosts}");
        ensure!(web.does("exec cat /etc/resolv.conf")?.success()?.contains("192.0.2.53"), "its name servers");
        ensure!(web.does("exec cat /etc/hostname")?.success()?.trim() == short, "its host name");
        ensure!(web.does("exec ip route")?.success()?.contains("default via 10.90.0.1"), "its default route");
        host.check()?;
        web.ends_by("rm -f -t 0")?;
        host.settles()
    })
}

/// podman keeps the last of two annotations with one key: a warning says so, and how both are given.
#[test]
fn an_annotation_that_is_given_twice_is_warned_of() -> Result<()> {
    with_podman(|host, podman| {
        let ports = "--annotation io.ocinet.publish=8080:80 --annotation=io.ocinet.publish=8081:80";
        let web = podman.start("web", &format!("{BRIDGE} {ports}"), "80")?;
        ensure!(web.sandbox()?.publish.len() == 1, "{:#?}", web.sandbox()?);
        let told = host.ocinet("log")?.success()?;
        ensure!(told.contains("'io.ocinet.publish=8080:80 8081:80'") && told.matches("warning").count() == 1, "{told}");
        web.ends_by("rm -f -t 0")?;
        let both = "--annotation 'io.ocinet.publish=8080:80 8081:80'";
        let web = podman.start("web", &format!("{BRIDGE} {both}"), "80")?;
        ensure!(web.sandbox()?.publish.len() == 2, "{:#?}", web.sandbox()?);
        ensure!(host.ocinet("log")?.success()?.matches("warning").count() == 1, "{}", host.ocinet("log")?);
        web.ends_by("rm -f -t 0")?;
        host.settles()
    })
}

/// A runtime that makes a checkpoint with CRIU names the mounts of its spec, and CRIU refuses any other mount from
/// outside the container. So the files are mounts of the spec, once each, over paths that exist. A volume stays, and
/// with a read-only root the hook mounts.
#[test]
fn its_files_are_mounts_of_its_spec() -> Result<()> {
    let rows = [
        ("", &["resolv.conf", "hosts", "hostname"][..]),
        ("-v /mnt/hosts:/etc/hosts", &["resolv.conf", "hostname"]),
        ("--read-only", &[]),
    ];
    with_podman(|host, podman| {
        host.sh("echo 192.0.2.9 theirs >/mnt/hosts")?;
        every(rows, |(flags, ours)| {
            let mut web = podman.start("web", &format!("{BRIDGE} {flags}"), "80")?;
            for _ in 0..2 {
                let config = web.inspect("{{.OCIConfigPath}}")?;
                let spec = host.sh(&format!("jq -r '.mounts[] | .destination + \" \" + .source' {config}"))?;
                let pid = web.inspect("{{.State.Pid}}")?;
                let mounts = host.sh(&format!("cat /proc/{}/mountinfo", pid.trim()))?;
                for file in ["resolv.conf", "hosts", "hostname"] {
                    let is_in_spec = spec.contains(&format!("/etc/{file} /run/ocinet/containers/"));
                    ensure!(is_in_spec == ours.contains(&file), "{file}: {spec}");
                    let fields = |line: &str| line.split(' ').skip(3).take(2).collect::<Vec<_>>().join(" ");
                    let place = format!(" /etc/{file}");
                    let over: Vec<_> = mounts.lines().map(fields).filter(|line| line.ends_with(&place)).collect();
                    ensure!(over.len() == 1 && !over[0].contains("deleted"), "{file}: {over:?}");
                    ensure!(
                        !web.does(&format!("exec cat /etc/{file}"))?.success()?.trim().is_empty(),
                        "{file} is empty"
                    );
                }
                ensure!(web.does("exec cat /etc/resolv.conf")?.success()?.contains("192.0.2.53"), "its name servers");
                ensure!(host.sh("ls /run/ocinet/containers")?.lines().count() == 1, "one directory of files");
                web.ends_by("restart -t 0")?;
                web.found()?;
            }
            web.ends_by("rm -f -t 0")?;
            host.settles()?;
            ensure!(host.sh("ls /run/ocinet/containers")?.is_empty(), "files are left");
            Ok(())
        })
    })
}

/// The host's network, which only the stage before the container exists can give it.
#[test]
fn host_mode() -> Result<()> {
    with_podman(|host, podman| {
        let flags = "--network=none --annotation io.ocinet.network=host";
        let web = podman.start("web", flags, "8088")?;
        ensure!(web.sandbox()?.mode == Mode::Host, "{:#?}", web.sandbox()?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8088"))?.is("web")?.seen_from(PEER)?;
        host.check()
    })
}

/// Loopback only, and it is up.
#[test]
fn none_mode() -> Result<()> {
    with_podman(|host, podman| {
        let web = podman.start("web", "--network=none --annotation io.ocinet.network=none", "80")?;
        ensure!(web.sandbox()?.mode == Mode::None, "{:#?}", web.sandbox()?);
        web.reaches(Tcp, "127.0.0.1:80")?.is("web")?;
        ensure!(web.sh("ip route show")?.is_empty(), "no route");
        host.check()
    })
}

/// `container:NAME`, by podman's own name of the other container, and by the id that podman shows.
#[test]
fn container_mode() -> Result<()> {
    with_podman(|host, podman| {
        let flags = format!("{BRIDGE} --annotation io.ocinet.publish=8080:80");
        let owner = podman.start("owner", &flags, "80")?;
        every(["owner", &owner.id[..12]], |called| {
            let flags = format!("--network=none --annotation io.ocinet.network=container:{called}");
            let guest = podman.start("guest", &flags, "81")?;
            let address = owner.sandbox()?.address().context("an address")?;
            host.reaches(Tcp, format!("{address}:81"))?.is("guest")?;
            ensure!(host.sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
            for file in ["hosts", "resolv.conf", "hostname"] {
                let (theirs, ours) = (format!("exec cat /etc/{file}"), format!("exec cat /etc/{file}"));
                ensure!(owner.does(&theirs)?.success()? == guest.does(&ours)?.success()?, "{file}");
            }
            guest.ends_by("rm -f -t 0")?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("owner").map(drop)
        })
    })
}

/// podman's own way to share a network works with a network of ours.
#[test]
fn podmans_own_container_mode() -> Result<()> {
    with_podman(|host, podman| {
        let owner = podman.start("owner", BRIDGE, "80")?;
        let address = owner.sandbox()?.address().context("an address")?;
        for annotation in ["", "--annotation io.ocinet.network=bridge"] {
            let guest = podman.start("guest", &format!("--network=container:owner {annotation}"), "81")?;
            host.reaches(Tcp, format!("{address}:81"))?.is("guest")?;
            ensure!(host.sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
            guest.ends_by("rm -f -t 0")?;
        }
        host.check()
    })
}

/// A pod's network belongs to its infra container, whichever member asked for it: it stays when members are started and
/// removed.
#[test]
fn a_pods_network_outlives_its_members() -> Result<()> {
    with_podman(|host, podman| {
        host.sh("tar -C /mnt/rootfs -cf /mnt/pause.tar .")?;
        let pause = r#"import --change 'ENTRYPOINT ["/bin/sleep","100000"]' /mnt/pause.tar localhost/pause"#;
        podman.run(pause)?.success()?;
        podman.run("pod create --name shop --network none --infra-image localhost/pause")?.success()?;
        let annotation = "--pod shop --annotation io.ocinet.network=bridge";
        let publishing = format!("{annotation} --annotation io.ocinet.publish=8080:80");
        let web = podman.start("web", &publishing, "80")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        let infra = podman.run("pod inspect shop --format '{{.InfraContainerID}}'")?.success()?;
        let sandbox = host.sandboxes()?.pop().context("a record")?;
        ensure!(sandbox.container == infra.trim() && sandbox.name.ends_with("-infra"), "{sandbox:#?}");
        let db = podman.start("db", annotation, "81")?;
        let address = sandbox.address().context("an address")?;
        let hears = |port: u16, name: &str| host.reaches(Tcp, format!("{address}:{port}"))?.is(name).map(drop);
        hears(81, "db")?;
        web.ends_by("rm -f -t 0")?;
        hears(81, "db")?;
        let web = podman.start("web", &publishing, "80")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        ensure!(host.sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
        every([&web, &db], |member| {
            let resolv = member.does("exec cat /etc/resolv.conf")?.success()?;
            ensure!(resolv.contains("192.0.2.53"), "{resolv}");
            Ok(())
        })?;
        web.is_dead();
        db.is_dead();
        podman.run("pod rm -f -t 0 shop")?.success()?;
        // podman calls no hook of ours for the infra container, which has no annotation.
        eventually("it is collected", || Ok(host.ocinet("gc")?.code == 0 && host.sandboxes()?.is_empty()))
    })
}

/// After any kind of stop its address and ports are free; after any kind of start it has them again.
#[test]
fn stop_start_and_restart() -> Result<()> {
    with_podman(|host, podman| {
        let flags = format!("{BRIDGE} --annotation io.ocinet.publish=8080:80");
        let mut web = podman.start("web", &flags, "80")?;
        for _ in 0..2 {
            web.ends_by("stop -t 1")?;
            host.settles()?;
            host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
            web.does("start")?.success()?;
            web.found()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        }
        web.ends_by("restart -t 0")?;
        web.found()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.settled_sandboxes()?;
        host.check()?;
        web.ends_by("rm -f -t 0")?;
        host.settles()
    })
}

/// No podman command ends the container: it ends by itself, and podman's monitor cleans up.
#[test]
fn a_container_that_dies_by_itself() -> Result<()> {
    with_podman(|host, podman| {
        let flags = format!("{BRIDGE} --annotation io.ocinet.publish=8080:80");
        let web = podman.start("web", &flags, "80")?;
        let pid = web.inspect("{{.State.Pid}}")?;
        host.sh(&format!("kill -KILL {pid}"))?;
        web.is_dead();
        eventually("its lease is gone", || Ok(host.sandboxes()?.is_empty()))?;
        // A container that ends at once, in the foreground with `--rm`.
        let said = podman.run(&format!("run --rm {BRIDGE} --rootfs /mnt/rootfs:O ip -o -4 address show eth0"))?;
        ensure!(said.success()?.contains("10.90.0."), "no address");
        host.settles()?;
        let failed = podman.run(&format!("run --rm {BRIDGE} --rootfs /mnt/rootfs:O /none"))?;
        ensure!(failed.code == 127, "{failed}");
        eventually("nothing is left of it", || Ok(host.ocinet("gc")?.code == 0 && host.sandboxes()?.is_empty()))
    })
}

/// Ten at once, started and removed.
#[test]
fn ten_at_once() -> Result<()> {
    with_podman(|host, podman| {
        let runtime = host.runtime().program().context("a runtime")?;
        let script = format!(
            "for n in 0 1 2 3 4 5 6 7 8 9; do
                podman --runtime {runtime} run --detach --name web$n {BRIDGE} --annotation io.ocinet.publish=808$n:80 \
                    --rootfs /mnt/rootfs:O /mnt/bin/probe serve web$n 80 </dev/null >/mnt/out$n 2>&1 & pids=\"${{pids:-}} $!\"
             done
             for pid in $pids; do wait $pid || {{ cat /mnt/out?; exit 1; }}; done"
        );
        host.sh(&script)?;
        ensure!(host.sandboxes()?.len() == 10, "{:#?}", host.sandboxes()?);
        for n in 0..10 {
            host.peer().reaches(Tcp, format!("{UPLINK}:808{n}"))?.is(&format!("web{n}"))?;
        }
        podman.run("rm -f -t 0 -a")?.success()?;
        host.settles()
    })
}

/// A container without annotations of ours gets nothing from ocinet, also beside others that have some.
#[test]
fn without_annotations_podman_is_on_its_own() -> Result<()> {
    with_podman(|host, podman| {
        let said = podman.run("run --rm --network=none --rootfs /mnt/rootfs:O ip -o link show up")?.success()?;
        ensure!(!said.contains("eth0"), "{said}");
        ensure!(host.sandboxes()?.is_empty() && !host.path("/run/ocinet").exists(), "not even a folder");
        Ok(())
    })
}

/// A refusal names its reason if the runtime shows it: runc does, crun does not, and `ocinet log` does under both. No
/// container starts half wired.
#[test]
fn what_is_refused() -> Result<()> {
    let none = "--network=none --annotation";
    let rows = [
        (format!("{none} io.ocinet.network=brigde"), "brigde"),
        (format!("{none} io.ocinet.network=container:nobody"), "nobody"),
        (format!("{BRIDGE} --annotation io.ocinet.publish=80:80:80:80"), "80:80:80:80"),
        (format!("{BRIDGE} --annotation io.ocinet.pubish=80:80"), "io.ocinet.publish"),
        (format!("{BRIDGE} --uts host --annotation io.ocinet.hostname=web"), "io.ocinet.hostname"),
        ("--network=host --annotation io.ocinet.network=bridge".into(), "linux.namespaces"),
    ];
    with_podman(|host, podman| {
        every(&rows, |(flags, word)| {
            let refused = podman.attempt("web", flags, "80")?;
            ensure!(refused.code != 0, "{refused}");
            if host.runtime() == ocinet_integration::Runtime::Runc {
                ensure!(refused.stderr.contains("ocinet: ") && refused.stderr.contains(word), "{refused}");
            }
            let told = host.ocinet("log -n 1 web")?.success()?;
            ensure!(told.contains(" web: error: ") && told.contains(word) && told.lines().count() == 1, "{told}");
            podman.run("rm -f -t 0 web")?.success()?;
            host.settles()?;
            ensure!(host.sh("ls /run/ocinet/containers 2>/dev/null || true")?.is_empty(), "files are left");
            Ok(())
        })
    })
}

/// podman's own network together with ours: refused by default, since only one can have the default route; allowed on
/// request as a second network.
#[test]
fn beside_podmans_default_network() -> Result<()> {
    with_podman(|host, podman| {
        let annotation = "--annotation io.ocinet.network=bridge";
        let refused = podman.attempt("web", annotation, "80")?;
        ensure!(refused.code != 0, "{refused}");
        if host.runtime() == ocinet_integration::Runtime::Runc {
            ensure!(refused.stderr.contains("eth0") && refused.stderr.contains("--network=none"), "{refused}");
        }
        podman.run("rm -f -t 0 web")?.success()?;
        host.settles()?;
        let flags = format!("{annotation}:interface=eth1 --annotation io.ocinet.publish=8080:80");
        let web = podman.start("web", &flags, "80")?;
        let address = web.sandbox()?.address().context("an address")?;
        host.reaches(Tcp, format!("{address}:80"))?.is("web")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        let hosts = web.does("exec cat /etc/hosts")?.success()?;
        ensure!(!hosts.contains(&address.to_string()), "podman's own file: {hosts}");
        ensure!(!web.sh("ip route show default")?.contains("eth1"), "{}", web.sh("ip route")?);
        web.ends_by("rm -f -t 0")?;
        host.settles()?;
        // netavark never deletes these tables.
        host.sh("nft list tables | sed -nE 's/^table (ip (nat|filter)|inet netavark)$/delete &/p' | nft -f -").map(drop)
    })
}

/// Files and a host name that the user chose stay; an annotation for the host name is applied.
#[test]
fn names_that_a_user_chose() -> Result<()> {
    with_podman(|host, podman| {
        host.sh("echo theirs >/mnt/hosts")?;
        let web = podman.start("web", &format!("{BRIDGE} -v /mnt/hosts:/etc/hosts --hostname www"), "80")?;
        ensure!(web.does("exec cat /etc/hosts")?.success()? == "theirs\n", "a volume");
        ensure!(web.does("exec busybox hostname")?.success()? == "www\n", "--hostname");
        ensure!(web.does("exec cat /etc/hostname")?.success()? == "www\n", "--hostname");
        drop(web);
        let flags = format!("{BRIDGE} --annotation io.ocinet.hostname=ours --annotation io.ocinet.name=shop");
        let web = podman.start("web", &flags, "80")?;
        ensure!(web.does("exec busybox hostname")?.success()? == "ours\n", "the annotation");
        let hosts = web.does("exec cat /etc/hosts")?.success()?;
        ensure!(hosts.contains("\tours shop"), "{hosts}");
        Ok(())
    })
}

/// The program is missing but the hook files that name it exist: podman silently starts a container without a network.
#[test]
fn a_moved_binary_is_no_silent_failure() -> Result<()> {
    with_podman(|host, podman| {
        host.sh("mv /mnt/bin/ocinet /mnt/bin/moved")?;
        let refused = podman.attempt("web", BRIDGE, "80")?;
        let other = podman.run("run --rm --network=none --rootfs /mnt/rootfs:O ip link")?;
        host.sh("mv /mnt/bin/moved /mnt/bin/ocinet")?;
        ensure!(refused.code != 0, "{refused}");
        if host.runtime() == ocinet_integration::Runtime::Runc {
            ensure!(refused.stderr.contains("/mnt/bin/ocinet: not found"), "{refused}");
        }
        other.success()?;
        podman.run("rm -f -t 0 web")?.success().map(drop)
    })
}
