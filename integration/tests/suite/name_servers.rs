//! The name servers that a container gets from a host, above all where it cannot reach the host's own.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Container, Host, Runtime, Settings, every, on_every_runtime};

const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// The resolv.conf of a private host.
const OWN: &str = "nameserver 192.0.2.53\\nsearch lan.example\\noptions ndots:2\\n";

/// A host's files, and the expected resolv.conf and warning of the next container.
struct Case {
    own: &'static str,
    resolved: Option<&'static str>,
    config: &'static str,
    expected: &'static str,
    warning: &'static [&'static str],
}

/// The host's files are restored in any case.
fn start(host: &Host, case: &Case) -> Result<()> {
    let Case { own, resolved, config, expected, warning } = case;
    host.sh(&format!("printf '{own}' >/etc/resolv.conf; printf '{config}' >/etc/ocinet/config.toml"))?;
    if let Some(text) = resolved {
        host.sh(&format!("mkdir -p /run/systemd/resolve; printf '{text}' >{RESOLVED}"))?;
    }
    let started = host.container("web").start();
    host.sh("rm -rf /run/systemd /etc/ocinet/config.toml")?;
    let (web, output) = started?;
    let web = web.with_context(|| output.to_string())?;
    let found = web.exec(&["cat", "/etc/resolv.conf"])?;
    ensure!(found == *expected, "{found:?}");
    // runc does not show the output of a hook that succeeds.
    if host.runtime().program() == Some("crun") {
        ensure!(output.stderr.lines().count() == usize::from(!warning.is_empty()), "{output}");
        output.says(warning)?;
    }
    web.delete()
}

/// The file of a host whose only server is the stub of systemd-resolved.
const STUB: &str = "nameserver 127.0.0.53\\noptions edns0 trust-ad\\nsearch lan.example\\n";
/// What is left of it without that server.
const REST: &str = "search lan.example\noptions edns0 trust-ad\n";
/// What the warning says where no server is left.
const NO_SERVER: &[&str] = &["warning", "name server", "dns_fallback"];

/// Hosts with servers on loopback addresses, and hosts without any.
const ON_LOOPBACK: &[Case] = &[
    Case {
        own: "nameserver 127.0.0.1\\nnameserver ::1\\nnameserver 192.0.2.53\\n",
        resolved: None,
        config: "",
        expected: "nameserver 192.0.2.53\n",
        warning: &[],
    },
    Case { own: STUB, resolved: None, config: "", expected: REST, warning: NO_SERVER },
    Case { own: "", resolved: None, config: "", expected: "", warning: NO_SERVER },
    Case {
        own: "nameserver ::1\\n",
        resolved: None,
        config: "dns_fallback = [\"192.0.2.88\", \"2001:db8::88\"]\\n",
        expected: "nameserver 192.0.2.88\nnameserver 2001:db8::88\n",
        warning: &[],
    },
    // The fallback is only for hosts without servers.
    Case {
        own: "nameserver 192.0.2.53\\n",
        resolved: None,
        config: "dns_fallback = [\"192.0.2.88\"]\\n",
        expected: "nameserver 192.0.2.53\n",
        warning: &[],
    },
    // The servers that systemd-resolved itself asks, where the host's own file names only its stub.
    Case {
        own: STUB,
        resolved: Some("nameserver 192.0.2.77\\nsearch real.example\\n"),
        config: "dns_fallback = [\"192.0.2.88\"]\\n",
        expected: "nameserver 192.0.2.77\nsearch real.example\n",
        warning: &[],
    },
    Case {
        own: "nameserver 192.0.2.53\\n",
        resolved: Some("nameserver 192.0.2.77\\n"),
        config: "",
        expected: "nameserver 192.0.2.53\n",
        warning: &[],
    },
    Case { own: STUB, resolved: Some("search lan.example\\n"), config: "", expected: REST, warning: NO_SERVER },
];

/// A container does not get servers on the host's loopback addresses.
#[test]
fn loopback_servers_are_left_out() -> Result<()> {
    on_every_runtime(|host| {
        every(ON_LOOPBACK.iter().map(|case| (case.own, case.resolved, case.config)).zip(0..), |(_, at)| {
            start(host, &ON_LOOPBACK[*at])
        })
    })
}

/// A container without IPv6 does not get the host's IPv6 servers, since the C library may ask only the first three. No
/// container gets a link-local server, whose address is valid only on an interface of the host.
#[test]
fn servers_that_need_ipv6_are_left_out() -> Result<()> {
    const SIX: &str = "nameserver 2001:db8::1\\nnameserver 2001:db8::2\\nnameserver fe80::1%%uplink\\n";
    let six_first = format!("{SIX}nameserver 192.0.2.53\\n");
    let stub = format!("nameserver 127.0.0.53\\n{SIX}");
    let rows = [
        ("before others", six_first.as_str(), "", "nameserver 192.0.2.53\n"),
        ("asked for", SIX, "2001:db8::9", "nameserver 2001:db8::9\n"),
        ("beside the stub of systemd-resolved", &stub, "", "nameserver 192.0.2.77\n"),
    ];
    Settings::default().runtime(Runtime::Runc).test(|host| {
        host.sh(&format!("mkdir -p /run/systemd/resolve; printf 'nameserver 192.0.2.77\\n' >{RESOLVED}"))?;
        every(rows, |(_, own, wanted, expected)| {
            host.sh(&format!("printf '{own}' >/etc/resolv.conf"))?;
            let draft = host.container("web");
            let draft = if wanted.is_empty() { draft } else { draft.annotation("io.ocinet.dns", wanted) };
            let web = draft.run()?;
            let found = web.exec(&["cat", "/etc/resolv.conf"])?;
            ensure!(found == *expected, "{found:?}");
            web.delete()
        })?;
        let with_host = host.container("host").network("host").in_host_namespace().serving(&["8088"]).run()?;
        host.sh("rm -r /run/systemd")?;
        let (own, found) = (host.sh("cat /etc/resolv.conf")?, with_host.exec(&["cat", "/etc/resolv.conf"])?);
        ensure!(found == own, "it has the host's network, and reaches them all: {found:?}");
        Ok(())
    })
}

/// A resolv.conf that is no regular file counts as absent: there is a warning, and the container starts.
#[test]
fn what_is_no_file_counts_as_absent() -> Result<()> {
    let rows = [
        "mkdir /etc/resolv.conf",
        "mkfifo /etc/resolv.conf",
        "ln -s /dev/null /etc/resolv.conf",
        "ln -s resolv.conf /etc/resolv.conf",
    ];
    Settings::default().runtime(Runtime::Crun).test(|host| {
        every(rows, |make| {
            host.sh(&format!("rm -rf /etc/resolv.conf; {make}"))?;
            let started = host.container("web").start();
            host.sh(&format!("rm -rf /etc/resolv.conf; printf '{OWN}' >/etc/resolv.conf"))?;
            let (web, output) = started?;
            let web = web.with_context(|| output.to_string())?;
            ensure!(web.exec(&["cat", "/etc/resolv.conf"])?.is_empty(), "no server");
            output.says(&["warning", "/etc/resolv.conf: is not a regular file", "dns_fallback"])?;
            web.delete()
        })
    })
}

/// The file of another network.
const NEXT: &str = "nameserver 192.0.2.61\\nsearch a.example b.example c.example\\n";

/// A command, the host's file before it, the container's file after it, and what follows the name server in the file of
/// a container that chose its own.
const CHANGES: [(&str, &str, &str, &str); 3] = [
    (
        "gc",
        NEXT,
        "nameserver 192.0.2.61\nsearch a.example b.example c.example\n",
        "search a.example b.example c.example\n",
    ),
    // Without a network a host names no server. The container's former servers are kept, since they may be right again
    // later.
    (
        "gc",
        "",
        "nameserver 192.0.2.61\nsearch a.example b.example c.example\n",
        "search a.example b.example c.example\n",
    ),
    (
        "doctor --fix",
        OWN,
        "nameserver 192.0.2.53\nsearch lan.example\noptions ndots:2\n",
        "search lan.example\noptions ndots:2\n",
    ),
];

/// The host moves from one network to another, while a container runs and reads its file all the time.
#[test]
fn a_running_container_follows_the_host() -> Result<()> {
    on_every_runtime(|host| {
        let web = host.container("web").run()?;
        let own = host.container("own").annotation("io.ocinet.dns", "192.0.2.9").run()?;
        let all =
            host.container("all").annotation("io.ocinet.dns", "192.0.2.9").annotation("io.ocinet.dns-search", ".");
        let all = all.annotation("io.ocinet.dns-option", "ndots:5").run()?;
        let read = |container: &Container<'_>| container.exec(&["cat", "/etc/resolv.conf"]);
        let before = read(&all)?;
        let inode = || web.exec(&["busybox", "stat", "-c", "%i", "/etc/resolv.conf"]);
        let same = inode()?;
        // Every read of the file must find a server.
        let watch = "while test -e /tmp/on; do read word rest </etc/resolv.conf; test \"$word\" = nameserver || echo broken; done; echo done";
        host.sh("touch /mnt/rootfs/tmp/on")?;
        let program = host.runtime().program().context("a runtime")?;
        let script = format!("exec {program} --root /mnt/{program} exec web sh -c '{watch}'");
        let mut watcher = host.background(&["sh", "-c", &script])?;
        host.check()?;
        host.unchanged_by(|| host.ocinet("gc")?.success())?;
        every(CHANGES, |(command, text, expected, rest)| {
            host.sh(&format!("printf '{text}' >/etc/resolv.conf"))?;
            let doctor = host.ocinet("doctor")?;
            ensure!(doctor.code == i32::from(!text.is_empty()), "{doctor}");
            if !text.is_empty() {
                ensure!(doctor.stdout.contains("container web has an /etc/resolv.conf from before"), "{doctor}");
            }
            host.ocinet(command)?.success()?;
            host.ocinet("doctor")?.success()?;
            ensure!(read(&web)? == *expected, "{:?}", read(&web)?);
            ensure!(read(&own)? == format!("nameserver 192.0.2.9\n{rest}"), "{:?}", read(&own)?);
            ensure!(read(&all)? == before, "{:?}", read(&all)?);
            Ok(())
        })?;
        // An attach does not change the files of other containers.
        host.sh(&format!("printf '{NEXT}' >/etc/resolv.conf"))?;
        host.container("new").run()?.delete()?;
        ensure!(read(&web)?.contains("192.0.2.53"), "{:?}", read(&web)?);
        host.sh(&format!("rm /mnt/rootfs/tmp/on; printf '{OWN}' >/etc/resolv.conf"))?;
        let said = watcher.line()?;
        ensure!(said == "done", "{said}");
        ensure!(inode()? == same, "the file is the one that is mounted");
        Ok(())
    })
}

/// If something else is in the place of a container's file, it is reported as a finding.
#[test]
fn a_file_that_cannot_be_read_ends_no_examination() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").isolated().run()?;
        host.sh("cd /run/ocinet/containers/*; rm resolv.conf; mkdir resolv.conf; ip address flush dev ocinet0")?;
        let doctor = host.ocinet("doctor")?.exits(1)?;
        for words in ["container web could not be examined", "bridge ocinet0 has lost its address"] {
            ensure!(doctor.stdout.contains(words), "{words}: {doctor}");
        }
        Ok(())
    })
}
