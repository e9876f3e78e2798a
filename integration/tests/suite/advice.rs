//! What helps before there is a container, and when one has no network: `doctor` of a new host, of one container and of
//! one bundle, `config check` and `show`, `bugreport`.

use anyhow::{Result, ensure};
use ocinet_integration::{OCINET, Runtime, Settings, every};
use serde_json::Value;

/// Everything is looked at, each with what it is for; nothing is made.
#[test]
fn a_new_host_is_looked_at() -> Result<()> {
    Settings::default().prepare("mkdir -p /etc/ocinet").test(|host| {
        let told = host.unchanged_by(|| host.ocinet("doctor")?.success())?;
        let words = [
            "nothing is wrong",
            "fine: firewall is nftables",
            "fine: kernel feature bridge",
            "cls_bpf",
            "fine: rights",
        ];
        every(words, |word| {
            ensure!(told.contains(*word), "{word} is not in {told}");
            Ok(())
        })?;
        ensure!(!told.contains('\u{1b}') && !host.path("/run/ocinet").exists(), "{told}");
        // One trouble does not hide the next.
        host.sh("echo 'firewal = 1' >/etc/ocinet/config.toml")?;
        let told = host.ocinet("doctor")?.exits(1)?.stdout;
        ensure!(told.contains("wrong: config.toml") && told.contains("fine: kernel feature veth"), "{told}");
        let unprivileged = "setpriv --bounding-set -net_admin --inh-caps -net_admin";
        let told = host.output(&["sh", "-c", &format!("{unprivileged} {OCINET} doctor")])?.exits(1)?.stdout;
        ensure!(told.contains("CAP_NET_ADMIN is missing") && told.contains("wrong: config.toml"), "{told}");
        let found: Vec<Value> = serde_json::from_str(&host.ocinet("doctor --json")?.exits(1)?.stdout)?;
        ensure!(
            found.iter().any(|one| one["kind"] == "fine") && found.iter().any(|one| one["kind"] == "yours"),
            "{found:#?}"
        );
        host.sh("rm /etc/ocinet/config.toml").map(drop)
    })
}

/// Why a bundle's container would have no network, and why a container has none.
#[test]
fn why_has_this_one_no_network() -> Result<()> {
    Settings::default().runtime(Runtime::Runc).test(|host| {
        let _listener = host.serve("listener", &["8088"])?;
        let web = host.container("web").publish("8080:80").run()?;
        let told = host.ocinet("doctor web")?.success()?;
        ensure!(told.contains("fine: container web is attached, with 10.90.0.2"), "{told}");
        let bundle = web.bundle().to_owned();
        ensure!(host.ocinet(&format!("doctor {bundle}"))?.success()?.contains("calls ocinet for it"), "{told}");
        let config = format!("{bundle}/config.json");
        let edit = |filter: &str| host.sh(&format!("cp {config} /mnt/kept; jq '{filter}' /mnt/kept >{config}"));
        let rows = [
            ("del(.hooks)", "has no hook of ocinet"),
            ("del(.hooks.poststop)", "poststop: what it held stays"),
            (
                ".hooks.createRuntime[0].path = \"/nonexistent/ocinet\"",
                "/nonexistent/ocinet as its hook for createRuntime",
            ),
            ("del(.annotations)", "has no annotation of ocinet"),
            (".annotations[\"io.ocinet.network\"] = \"brigde\"", "brigde"),
            (
                ".annotations[\"io.ocinet.network\"] = \"container:nobody\" | del(.annotations[\"io.ocinet.publish\"])",
                "nobody",
            ),
            (".root = null", "would be refused"),
            (".annotations[\"io.ocinet.publish\"] = \"8088:80\"", "8088/tcp is in use by a process of this host"),
            ("[]", "no JSON object"),
        ];
        every(rows, |(filter, words)| {
            edit(filter)?;
            let told = host.unchanged_by(|| host.ocinet(&format!("doctor {bundle}")))?;
            host.sh(&format!("cp /mnt/kept {config}"))?;
            ensure!(told.exits(1)?.stdout.contains(words), "{words}: {}", host.ocinet(&format!("doctor {bundle}"))?);
            Ok(())
        })?;
        ensure!(host.ocinet("doctor /mnt/none")?.exits(1)?.stdout.contains("cannot be opened"), "no folder");
        // The container has set its interface down.
        web.sh("ip link set eth0 down")?;
        let told = host.ocinet("doctor web")?.exits(1)?.stdout;
        ensure!(told.contains("is cut off from network bridge: eth0 is down inside it"), "{told}");
        web.sh("ip link set eth0 up")?;
        // The link of a living one was deleted.
        host.sh(&format!("ip link del {}", web.host_interface()?))?;
        ensure!(host.ocinet("doctor web")?.exits(1)?.stdout.contains("wrong: container web"), "its link");
        host.ocinet("doctor --fix")?.success()?;
        // A refused container, one whose runtime did not call ocinet, and one that is gone.
        host.container("next").publish("8080:80").refused()?;
        let told = host.ocinet("doctor next")?.exits(1)?.stdout;
        ensure!(told.contains("it was refused at") && told.contains("8080"), "{told}");
        ensure!(host.ocinet("doctor nobody")?.exits(1)?.stdout.contains("did not call ocinet"), "nobody");
        web.delete()?;
        ensure!(host.ocinet("doctor web")?.exits(1)?.stdout.contains("it was detached at"), "gone");
        Ok(())
    })
}

/// All mistakes of the settings are told; those that hold are shown with their place.
#[test]
fn settings_are_checked_and_shown() -> Result<()> {
    Settings::default().prepare("mkdir -p /etc/ocinet/networks").test(|host| {
        host.sh("echo 'firewall = \"iptables\"' >/etc/ocinet/config.toml")?;
        ensure!(host.ocinet("config check")?.success()?.contains("/etc/ocinet/config.toml: can be used"), "check");
        let shown = host.ocinet("config show")?.success()?;
        ensure!(shown.contains("= \"iptables\"   # /etc/ocinet/config.toml, line 1"), "{shown}");
        ensure!(shown.contains("close_forwarding        = true   # default"), "{shown}");
        let json: Value = serde_json::from_str(&host.ocinet("config show --json")?.success()?)?;
        ensure!(json["firewall"]["source"]["line"] == 1 && json["published_ports"]["source"] == "default", "{json:#}");
        host.sh("printf 'mtu = 9\\nicc = 1\\n' >/etc/ocinet/networks/web.toml")?;
        host.sh("printf 'x = 1\\nipv6 = 2\\n' >>/etc/ocinet/config.toml")?;
        let checked = host.ocinet("config check")?.exits(2)?.stdout;
        let lines: Vec<&str> = checked.lines().collect();
        let expected = ["config.toml, line 2: x", "line 3: ipv6", "web.toml, line 1: mtu", "line 2: icc"];
        ensure!(lines.len() == 4 && lines.iter().zip(expected).all(|(line, part)| line.contains(part)), "{checked}");
        host.ocinet("config show")?.exits(2)?.is_refusal()?.says(&["line 2"])?;
        host.sh("rm /etc/ocinet/config.toml /etc/ocinet/networks/web.toml")?;
        // Ranges that overlap: containers can join the first that has some.
        host.ocinet("network create --subnet 10.70.0.0/24 front")?.success()?;
        host.sh("printf '[[subnet]]\\nrange = \"10.70.0.0/25\"\\n' >/etc/ocinet/networks/over.toml")?;
        let checked = host.ocinet("config check")?.exits(2)?.stdout;
        ensure!(
            checked.contains("network over: ") && checked.contains("overlaps 10.70.0.0/24 of network front"),
            "{checked}"
        );
        let web = host.container("web").network("front").run()?;
        let told = host.ocinet("doctor")?.exits(1)?.stdout;
        ensure!(told.contains("network over: subnet") && !told.contains("network front: subnet"), "{told}");
        web.delete()?;
        // The folder of a container's name does not hide why it was refused.
        let over = host.container("over").network("over").refused()?;
        ensure!(over.stderr.contains("overlaps"), "{over}");
        let folder = "mkdir -p /mnt/here/over && echo '{}' >/mnt/here/over/config.json && cd /mnt/here";
        let told = host.sh(&format!("{folder}; {OCINET} doctor over || true"))?;
        ensure!(told.contains("it was refused at") && told.contains("bundle over"), "{told}");
        host.sh("rm /etc/ocinet/networks/*.toml").map(drop)
    })
}

/// One file, which only root can read, and which replaces no other.
#[test]
fn a_bug_report_is_one_file() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").publish("8080:80").run()?;
        host.container("next").publish("8080:80").refused()?;
        host.ocinet("bugreport /mnt/report")?.success()?;
        let text = host.sh("cat /mnt/report")?;
        every(
            [
                "\n## preflight\n",
                "\n## doctor\n",
                "\"container\":\"web\"",
                "table inet ocinet",
                "\"level\":\"error\"",
                "## uname",
            ],
            |word| {
                ensure!(text.contains(*word), "{word} is not in {text}");
                Ok(())
            },
        )?;
        ensure!(host.sh("stat --format %a /mnt/report")?.trim() == "600", "its mode");
        host.ocinet("bugreport /mnt/report")?.exits(1)?.says(&["/mnt/report"])?;
        let report = host.ocinet("bugreport -")?.success()?;
        ensure!(report.contains("## doctor") && !report.contains("Fine: ") && !report.contains("Yours("), "{report}");
        Ok(())
    })
}

/// On a terminal, a finding is wrapped and has a colour.
#[test]
fn the_doctor_fits_the_terminal() -> Result<()> {
    Settings::default().test(|host| {
        let line = format!("stty cols 50; env -u NO_COLOR TERM=xterm {OCINET} doctor");
        let told = host.output(&["script", "--quiet", "--return", "--command", &line, "/dev/null"])?.success()?;
        ensure!(told.contains("\u{1b}[32mfine:\u{1b}[0m"), "{told:?}");
        let plain = told.replace("\u{1b}[32m", "").replace("\u{1b}[33m", "").replace("\u{1b}[0m", "");
        let widest =
            plain.lines().filter(|line| line.starts_with("fine:")).map(|line| line.trim_end().chars().count()).max();
        ensure!(widest <= Some(50), "{plain}");
        Ok(())
    })
}
