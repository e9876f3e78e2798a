//! Which name servers a container gets from a host, above all where the host's own are out of its reach.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Host, every, on_every_runtime};

const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// A host's files, and what its next container has as resolv.conf and hears as a warning.
struct Case {
    own: &'static str,
    resolved: Option<&'static str>,
    config: &'static str,
    expected: &'static str,
    warning: &'static [&'static str],
}

/// The host's side is done and undone, whatever became of the container.
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
    // runc does not show what a successful hook says.
    if host.runtime().program() == Some("crun") {
        ensure!(output.stderr.lines().count() == usize::from(!warning.is_empty()), "{output}");
        output.says(warning)?;
    }
    web.delete()
}

/// Servers on the host's loopback are none to a container.
#[test]
fn loopback_servers_are_left_out() -> Result<()> {
    const STUB: &str = "nameserver 127.0.0.53\\noptions edns0 trust-ad\\nsearch lan.example\\n";
    const NO_SERVER: &[&str] = &["warning", "name server", "dns_fallback"];
    let rest = "search lan.example\noptions edns0 trust-ad\n";
    let cases = [
        Case {
            own: "nameserver 127.0.0.1\\nnameserver ::1\\nnameserver 192.0.2.53\\n",
            resolved: None,
            config: "",
            expected: "nameserver 192.0.2.53\n",
            warning: &[],
        },
        Case { own: STUB, resolved: None, config: "", expected: rest, warning: NO_SERVER },
        Case { own: "", resolved: None, config: "", expected: "", warning: NO_SERVER },
        Case {
            own: "nameserver ::1\\n",
            resolved: None,
            config: "dns_fallback = [\"192.0.2.88\", \"2001:db8::88\"]\\n",
            expected: "nameserver 192.0.2.88\nnameserver 2001:db8::88\n",
            warning: &[],
        },
        // The fallback is not for those who have servers.
        Case {
            own: "nameserver 192.0.2.53\\n",
            resolved: None,
            config: "dns_fallback = [\"192.0.2.88\"]\\n",
            expected: "nameserver 192.0.2.53\n",
            warning: &[],
        },
        // What systemd-resolved asks itself, where its stub is all that the host's own file names.
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
        Case { own: STUB, resolved: Some("search lan.example\\n"), config: "", expected: rest, warning: NO_SERVER },
    ];
    on_every_runtime(|host| {
        every(cases.iter().map(|case| (case.own, case.resolved, case.config)).zip(0..), |(_, at)| {
            start(host, &cases[*at])
        })
    })
}
