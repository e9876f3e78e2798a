//! The output of the commands, as text and as JSON.

use std::fs;

use anyhow::{Context, Result, ensure};
use ocinet_integration::{OCINET, Publish, Sandbox, Settings, every};
use serde_json::Value;

/// On a host that was never used, commands that only look show nothing and create nothing.
#[test]
fn an_unused_host_stays_unused() -> Result<()> {
    Settings::default().test(|host| {
        ensure!(host.sandboxes()?.is_empty(), "no record");
        every(["ps", "gc", "doctor", "doctor --fix", "reset", "reset --force", "network ls"], |command| {
            host.ocinet(command)?.success().map(drop)
        })?;
        every(["inspect web", "inspect web --json", "port web"], |command| {
            host.ocinet(command)?.exits(5)?.is_one_line()?.says(&["web"]).map(drop)
        })?;
        ensure!(!host.path("/run/ocinet").exists(), "not even a folder");
        Ok(())
    })
}

/// Tables show the container, its address and its ports; the other commands give the same as `ps`.
#[test]
fn the_commands_agree() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80,127.0.0.1:9000-9002:90-92/udp").run()?;
        let _other = host.container("other").publish("80").run()?;
        let address = web.sandbox()?.address().context("an address")?.to_string();
        every(["ps", "inspect web"], |command| {
            let table = host.ocinet(command)?.success()?;
            ensure!(["web", &address, "8080", "9000"].iter().all(|word| table.contains(word)), "{table}");
            Ok(())
        })?;
        let ports = host.ocinet("port web")?.success()?;
        ensure!(ports.contains("80/tcp -> 0.0.0.0:8080") && ports.contains("127.0.0.1:9002"), "{ports}");
        let inspected: Vec<Sandbox> = host.json(&format!("{OCINET} inspect web --json"))?;
        ensure!(inspected == [web.sandbox()?], "{inspected:#?}");
        let of = |template: &str| host.output(&[OCINET, "inspect", "web", "--format", template])?.success();
        ensure!(of("{{.Addresses}} {{.Status}}")? == format!("{address} up\n"), "{}", of("{{.Addresses}}")?);
        let dockers = "{{.NetworkSettings.IPAddress}} {{range $name, $it := .NetworkSettings.Networks}}{{$name}} {{$it.MacAddress}}{{end}}";
        ensure!(of(dockers)? == format!("{address} bridge {}\n", web.sandbox()?.endpoints[0].mac), "{}", of(dockers)?);
        let listed: Vec<Publish> = host.json(&format!("{OCINET} port web --json"))?;
        let pairs = |ports: &[Publish]| ports.iter().flat_map(Publish::pairs).collect::<Vec<_>>();
        ensure!(pairs(&listed) == pairs(&web.sandbox()?.publish), "{listed:#?}");
        Ok(())
    })
}

/// Only root can read the state directory.
#[test]
fn the_state_is_roots_own() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").run()?;
        ensure!(host.sh("stat --format %a:%U /run/ocinet")?.trim() == "700:root", "/run/ocinet");
        Ok(())
    })
}

/// The log has one JSON object a line. Each names its container and the duration of its step.
#[test]
fn the_log_is_json() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").prepare()?;
        fs::write(host.path("/mnt/state"), web.state("createRuntime").to_string())?;
        host.sh(&format!("{OCINET} --log-file /mnt/log hook createRuntime </mnt/state"))?;
        let log = fs::read_to_string(host.path("/mnt/log"))?;
        let lines = log.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let ours = |line: &Value| line["container"] == "web" && line["stage"] == "createRuntime";
        ensure!(!lines.is_empty() && lines.iter().all(ours), "{log}");
        // The network is known only after the bundle was read.
        let wired = lines.iter().skip_while(|line| line["step"] != "request").skip(1);
        ensure!(wired.clone().count() > 3 && wired.clone().all(|line| line["network"] == "bridge"), "{log}");
        ensure!(lines.iter().any(|line| line["step"].is_string() && line["us"].is_u64()), "{log}");
        web.hook("poststop")?.success().map(drop)
    })
}

/// Where no store is, commands that only look do not create one, even beside containers: the directory was misspelt or
/// removed. They show what the kernel has.
#[test]
fn looking_makes_nothing() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let joins = host.container("joins").edit("del(.annotations, .hooks)").prepare()?;
        let prepare = format!("prepare --network container:web {}", joins.bundle());
        let plan = format!("plan {}", web.bundle());
        let lookers = ["ps", "inspect web", "port web", "network ls", "network inspect bridge", &plan, &prepare];
        host.unchanged_by(|| {
            every(lookers, |command| {
                let looked = host.ocinet(&format!("--state-dir /mnt/typo {command}"))?.exits(0)?;
                ensure!(!host.path("/mnt/typo").exists(), "{looked}");
                ensure!(command.starts_with("plan") || looked.stderr.contains("no store in /mnt/typo"), "{looked}");
                Ok(())
            })
        })?;
        let told = host.ocinet("--state-dir /mnt/typo doctor")?.exits(1)?;
        ensure!(
            told.stdout.contains("wrong: store is missing from /mnt/typo") && !host.path("/mnt/typo").exists(),
            "{told}"
        );
        ensure!(host.ocinet("--state-dir /mnt/typo ps")?.success()?.contains("8080->80"), "it runs");
        Ok(())
    })
}

/// How a container is now, in the table, by filters and by templates; a link that is set down damages it.
#[test]
fn ps_tells_the_truth() -> Result<()> {
    let prepare = "mkdir -p /etc/ocinet/networks; printf 'bridge = \"ocn-1\"\\n[[subnet]]\\nrange = \"10.70.0.0/24\"\\n' >/etc/ocinet/networks/own.toml";
    Settings::default().prepare(prepare).test(|host| {
        let long = "0123456789abcdef".repeat(4);
        let web = host.container(&long).network("bridge;own").publish("8080:80").run()?;
        let dead = host.container("dead").run()?;
        dead.abandon()?;
        let ps = |arguments: &str| host.ocinet(&format!("ps {arguments}"))?.success();
        let table = ps("")?;
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        ensure!(rows[1][0] == "0123456789ab" && rows[1][2] == "bridge" && rows[1].last() == Some(&"up"), "{table}");
        ensure!(rows[2] == ["own", "10.70.0.2"] && rows[3][0] == "dead" && rows[3].last() == Some(&"dead"), "{table}");
        ensure!(ps("--no-trunc --quiet")? == format!("{long}\ndead\n"), "{}", ps("-q")?);
        let without_age = |table: &str| {
            let is_age = |word: &&str| word.strip_suffix('s').is_some_and(|seconds| seconds.parse::<u32>().is_ok());
            let words = |line: &str| line.split_whitespace().filter(|word| !is_age(word)).collect::<Vec<_>>().join(" ");
            table.lines().map(words).collect::<Vec<_>>()
        };
        ensure!(without_age(&ps("--format table")?) == without_age(&table), "{}", ps("--format table")?);
        for (filter, ids) in [
            ("status=up", "0123456789ab\n"),
            ("status=dead", "dead\n"),
            ("status=exited", "dead\n"),
            ("network=own", "0123456789ab\n"),
            ("port=8080", "0123456789ab\n"),
            ("port=8080/udp", ""),
            ("name=dea", "dead\n"),
        ] {
            ensure!(ps(&format!("-q --filter {filter}"))? == ids, "{filter}: {}", ps(&format!("-q -f {filter}"))?);
        }
        let fields = ps("--format {{.Names}}/{{.Networks}}/{{.Addresses}}/{{.Ports}} -f status=up")?;
        ensure!(fields == format!("{long}/bridge,own/10.90.0.2, 10.70.0.2/0.0.0.0:8080->80/tcp\n"), "{fields}");
        let inspected = host.ocinet("inspect dead")?.success()?;
        ensure!(inspected.contains("\nstatus       dead\n"), "{inspected}");
        host.ocinet("ps --filter colour=red")?.exits(2)?.is_one_line()?;
        // Its labels are the annotations of its bundle; all that are asked for have to be there.
        host.sh(&format!(
            "jq '.annotations[\"org.x.tier\"] = \"front=1\"' {0}/config.json >/mnt/new; cp /mnt/new {0}/config.json",
            web.bundle()
        ))?;
        for (filters, ids) in [
            ("-f label=org.x.tier", "0123456789ab\n"),
            ("-f label=org.x.tier=front=1 -f label=io.ocinet.network", "0123456789ab\n"),
            ("-f label=org.x.tier=front", ""),
            ("-f label=org.x.tier -f label=org.x.other", ""),
            ("-f label=org.x.tier -f status=dead", ""),
            ("-f label=io.ocinet.network=bridge;own", "0123456789ab\n"),
        ] {
            ensure!(ps(&format!("-q {filters}"))? == ids, "{filters}: {}", ps(&format!("-q {filters}"))?);
        }
        host.sh(&format!("ip link set {} down", web.host_interface()?))?;
        ensure!(ps("--format {{.Status}} --filter network=own")? == "damaged\n", "{}", ps("")?);
        host.ocinet("gc")?.success()?;
        host.ocinet("doctor --fix")?.success()?;
        ensure!(ps("--format {{.Status}}")? == "up\n", "{}", ps("")?);
        web.delete()
    })
}

/// Commands that only look do not repair a damaged store.
#[test]
fn looking_mends_nothing() -> Result<()> {
    Settings::default().test(|host| {
        let _web = host.container("web").publish("8080:80").run()?;
        host.sh("head -c 30000 /dev/urandom >$(echo /run/ocinet/store-*.db)")?;
        let files = || host.sh("cd /run/ocinet; ls; sha256sum store-*");
        let before = files()?;
        every(["ps", "inspect web", "network ls"], |command| {
            let looked = host.ocinet(command)?.exits(0)?.says(&["doctor --fix"])?;
            ensure!(command == &"network ls" || looked.stdout.contains("web"), "{looked}");
            Ok(())
        })?;
        ensure!(host.ocinet("doctor")?.exits(1)?.stdout.contains("wrong: store"));
        ensure!(files()? == before, "{before}\nbecame\n{}", files()?);
        let mended = host.ocinet("doctor --fix")?.success()?;
        ensure!(mended.contains("mended: store"), "{mended}");
        host.check()
    })
}

/// Text of other programs (an id, the path of a bundle or a namespace) is printed to a terminal without control
/// characters. In JSON it is exact.
#[test]
fn hostile_text_reaches_no_terminal() -> Result<()> {
    let id = "a\u{202e}b\u{200b}c\u{ad}".to_owned();
    let folder = "/mnt/bundles/\u{1b}[31m\n\u{9b}1m\u{2066}";
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").prepare()?;
        host.output(&["cp", "-r", web.bundle(), folder])?.success()?;
        let mut state = web.state("createRuntime");
        (state["id"], state["bundle"]) = (id.clone().into(), folder.into());
        host.hook("createRuntime", state.to_string())?.success()?;
        let json: Vec<Sandbox> = serde_json::from_str(&host.ocinet("ps --json")?.success()?)?;
        ensure!(json.len() == 1 && json[0].container == id && json[0].bundle == folder, "{json:#?}");
        let plan = ["plan", "--id", &id, folder];
        let tries: [&[&str]; 12] = [
            &["ps"],
            &["ps", "--json"],
            &["inspect", &id],
            &["inspect", &id, "--json"],
            &["inspect", "a\u{202e}x"],
            &["port", &id],
            &["port", &id, "99"],
            &["network", "inspect", "bridge"],
            &["network", "inspect", "\u{1b}[31m\u{202e}"],
            &["\u{1b}[31m\u{202e}"],
            &plan,
            &["doctor"],
        ];
        let harmless = |argv: &[&str]| -> Result<String> {
            let output = host.output(&[&[OCINET], argv].concat())?;
            let hostile = |c: char| c != '\n' && c.is_control() || "\u{202e}\u{200b}\u{ad}\u{2066}".contains(c);
            let text = output.stdout + &output.stderr;
            ensure!(!text.contains(hostile), "{argv:?}: {text:?}");
            Ok(text)
        };
        every(tries, |argv| harmless(argv).map(drop))?;
        let told = harmless(&["inspect", &id])?;
        ensure!(told.contains(r"bundle       /mnt/bundles/\u{1b}[31m\n\u{9b}1m\u{2066}"), "{told}");
        host.sh(&format!("ip link del {}", json[0].endpoints[0].host_interface))?;
        ensure!(harmless(&["doctor"])?.contains(r"container a\u{202e}b"));
        ensure!(harmless(&["reset", "--force"])?.contains(r"detached a\u{202e}b"));
        Ok(())
    })
}

/// If the log file is a FIFO or belongs to another user, the hook warns in one line and wires the container.
#[test]
fn a_log_file_that_is_none_of_ours_is_not_written_to() -> Result<()> {
    Settings::default().test(|host| {
        host.sh("mkfifo /mnt/fifo; echo theirs >/mnt/theirs; chown 65534 /mnt/theirs; ln -s /mnt/theirs /mnt/link")?;
        every(["/mnt/fifo", "/mnt/theirs", "/mnt/link", "/dev/null", "/nonexistent/log"], |file| {
            let web = host.container("web").prepare()?;
            fs::write(host.path("/mnt/state"), web.state("createRuntime").to_string())?;
            let hook = format!("timeout 20 {OCINET} --log-file {file} hook createRuntime </mnt/state");
            let told = host.output(&["sh", "-euc", &hook])?.exits(0)?.is_one_line()?.says(&["warning", file])?;
            ensure!(host.sandboxes()?.len() == 1, "{told}");
            web.hook("poststop")?.success()?;
            host.settles()
        })?;
        ensure!(host.sh("cat /mnt/theirs")? == "theirs\n");
        Ok(())
    })
}

/// Ids of every length: the alias of the link holds as much of the id as fits.
#[test]
fn an_id_of_any_length_is_attached() -> Result<()> {
    Settings::default().test(|host| {
        let whole = (1..=255).filter(|length| *length < 3 || *length > 205).map(|length| "x".repeat(length));
        let wide = (205..=255).step_by(5).flat_map(|length| ["ä", "店", "🦀"].map(|c| c.repeat(length / c.len())));
        let web = host.container("web").publish("8080:80").prepare()?;
        every(whole.chain(wide).collect::<Vec<_>>(), |id| {
            let mut state = web.state("createRuntime");
            state["id"] = id.as_str().into();
            host.hook("createRuntime", state.to_string())?.success()?;
            let alias = host.sh("cat /sys/class/net/ocv*/ifalias")?;
            let shown = alias.trim_end().rsplit(':').next().unwrap_or_default();
            ensure!(id.starts_with(shown) && shown.len() >= id.len().min(211), "{} bytes: {alias}", id.len());
            host.hook("poststop", state.to_string())?.success()?;
            host.settles()
        })
    })
}
