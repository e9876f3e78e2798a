//! `ocinet prepare`: after one edit, a bundle as its runtime's `spec` makes it can be run.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Host, Mode, OCINET, Output, Proto::Tcp, Runtime, Settings, UPLINK, every, on_every_runtime};
use serde_json::Value;

const CONFIG: &str = "/mnt/b/config.json";

/// Makes the bundle `/mnt/b` as `runc spec` or `crun spec` would, without annotations of ours, and runs `edit` (jq) on
/// it.
fn bundle(host: &Host, edit: &str) -> Result<()> {
    let program = host.runtime().program().unwrap_or("runc");
    let group = host.control_group("prepared");
    host.sh(&format!(
        "rm -rf /mnt/b; mkdir /mnt/b; cd /mnt/b; cp -a /mnt/rootfs rootfs; {program} spec
         jq --tab '.process.terminal = false | .process.args = [\"/mnt/bin/probe\", \"serve\", \"web\", \"80\"]
             | .process.capabilities[] += [\"CAP_NET_BIND_SERVICE\"]
             | .linux.cgroupsPath = \"{group}\" | .linux.resources = null | {edit}' config.json >new
         mv new config.json"
    ))
    .map(drop)
}

fn prepare(host: &Host, arguments: &str) -> Result<Output> {
    host.ocinet(&format!("prepare {arguments} /mnt/b"))
}

/// A container that a runtime runs from `/mnt/b` without a fixture; deleted when dropped.
struct Running<'h> {
    host: &'h Host,
    id: String,
}

impl<'h> Running<'h> {
    fn start(host: &'h Host, id: &str) -> Result<(Option<Self>, Output)> {
        let run = format!("{} run --detach --bundle /mnt/b --pid-file /mnt/pid {id}", runtime(host));
        let output = host.output(&["sh", "-c", &format!("cd /mnt/b; exec {run} </dev/null >out 2>err")])?;
        let stderr = host.sh("cat /mnt/b/err; cat /mnt/b/hook-stderr 2>/dev/null || true")?;
        let running = Self { host, id: id.to_owned() };
        let output = Output { stderr, ..output };
        if output.code != 0 {
            return Ok((None, output));
        }
        ocinet_integration::eventually("the server is ready", || Ok(host.sh("cat /mnt/b/out")?.contains("ready")))?;
        Ok((Some(running), output))
    }

    fn run(host: &'h Host, id: &str) -> Result<Self> {
        let (running, output) = Self::start(host, id)?;
        running.with_context(|| output.to_string())
    }

    fn exec(&self, line: &str) -> Result<String> {
        self.host.sh(&format!("{} exec {} {line}", runtime(self.host), self.id))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let done = self.host.sh(&format!("{} delete --force {}", runtime(self.host), self.id));
        done.expect("the runtime deletes its container");
    }
}

fn runtime(host: &Host) -> String {
    let program = host.runtime().program().unwrap_or("runc");
    format!("{program} --root /mnt/{program}")
}

fn config(host: &Host) -> Result<Value> {
    host.json(&format!("cat {CONFIG}"))
}

/// The whole way: edit, run, reach from the LAN, delete, and restore the spec.
#[test]
fn a_prepared_bundle_just_runs() -> Result<()> {
    on_every_runtime(|host| {
        bundle(host, ".")?;
        let before = host.sh(&format!("cat {CONFIG}"))?;
        let flags = "-p 8080:80 --publish 127.0.0.1:9000:80 --ip 10.90.0.9 --hostname www --name shop \
                     --dns 192.0.2.53 --dns-search example.org --dns-option ndots:3 --add-host db:192.0.2.9";
        let said = prepare(host, flags)?.exits(0)?;
        let line = "/mnt/b asks for network bridge:ip=10.90.0.9; publish 8080:80,127.0.0.1:9000:80; name shop; hostname www; \
                    dns 192.0.2.53; dns-search example.org; dns-option ndots:3; add-host db:192.0.2.9\n";
        ensure!(said.stdout == line && said.stderr.is_empty(), "{said}");
        let web = Running::run(host, "web")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.reaches(Tcp, "127.0.0.1:9000")?.is("web")?;
        let sandbox = host.sandboxes()?.pop().context("a record")?;
        ensure!(sandbox.name == "shop" && sandbox.endpoints[0].addresses == ["10.90.0.9/16"], "{sandbox:#?}");
        ensure!(web.exec("busybox hostname")? == "www\n", "the host name");
        let (hosts, resolv) = (web.exec("cat /etc/hosts")?, web.exec("cat /etc/resolv.conf")?);
        ensure!(hosts.contains("10.90.0.9\twww shop") && hosts.contains("192.0.2.9\tdb"), "{hosts}");
        ensure!(resolv == "nameserver 192.0.2.53\nsearch example.org\noptions ndots:3\n", "{resolv}");
        drop(web);
        host.settles()?;
        prepare(host, "--undo")?.success()?;
        ensure!(host.sh(&format!("cat {CONFIG}"))? == before, "{before}\nbecame\n{}", config(host)?);
        Ok(())
    })
}

/// `-P` publishes what the bundle says that its image exposes; without that, `prepare` says where it comes from.
#[test]
fn the_ports_of_the_image_are_published() -> Result<()> {
    on_every_runtime(|host| {
        bundle(host, ".")?;
        prepare(host, "-P")?.exits(2)?.is_one_line()?.says(&["\"all\"", "org.opencontainers.image.exposedPorts"])?;
        bundle(host, ".annotations[\"org.opencontainers.image.exposedPorts\"] = \"80/tcp,53/udp\"")?;
        prepare(host, "-P -p 5353:53/udp")?.success()?;
        let _web = Running::run(host, "web")?;
        let published = &host.sandboxes()?.pop().context("a record")?.publish;
        let [dns, web] = &published[..] else { anyhow::bail!("{published:?}") };
        ensure!((dns.host_port, dns.container_port, web.container_port) == (5353, 53, 80), "{published:?}");
        host.peer().reaches(Tcp, format!("{UPLINK}:{}", web.host_port))?.is("web").map(drop)
    })
}

/// `runc spec` and `crun spec` set their own name as host name: that counts as not chosen.
#[test]
fn a_templates_host_name_gives_way() -> Result<()> {
    on_every_runtime(|host| {
        let program = runtime(host).split(' ').next().unwrap_or_default().to_owned();
        let asked = |value: &str| format!(".annotations[\"io.ocinet.hostname\"] = \"{value}\"");
        let rows = [
            (asked("www"), "", "www"),
            (asked("www"), "--name shop", "www"),
            (".".into(), "--name my_shop", "my-shop"),
            (".annotations[\"io.ocinet.name\"] = \"shop\"".into(), "", "shop"),
            (asked("www"), "--hostname other", "other"),
            (".hostname = \"chosen\"".into(), "--name shop", "chosen"),
        ];
        every(rows, |(edit, flags, expected)| {
            bundle(host, edit)?;
            let before = host.sh(&format!("cat {CONFIG}"))?;
            prepare(host, flags)?.success()?;
            let web = Running::run(host, "web")?;
            ensure!(web.exec("busybox hostname")?.trim() == *expected, "{}", web.exec("busybox hostname")?);
            ensure!(web.exec("cat /etc/hostname")?.trim() == *expected, "{}", web.exec("cat /etc/hostname")?);
            drop(web);
            prepare(host, "--undo")?.success()?;
            ensure!(host.sh(&format!("cat {CONFIG}"))? == before, "given back");
            Ok(())
        })?;
        // The hook alone cannot change it, since the runtime sets it later, and warns about it.
        let draft = host.container("web").edit(&format!(".hostname = \"{program}\""));
        draft
            .annotation("io.ocinet.hostname", "www")
            .refused()?
            .says(&["io.ocinet.hostname", "ocinet", "prepare"])
            .map(drop)
    })
}

/// The container is created in the host's network, which a hook cannot do.
#[test]
fn host_and_none_run_from_any_bundle() -> Result<()> {
    on_every_runtime(|host| {
        let alone = "del(.linux.namespaces[] | select(.type == \"network\"))";
        let rows = [
            (".", "host", Mode::Host),
            (alone, "host", Mode::Host),
            (".", "none", Mode::None),
            (alone, "none", Mode::None),
            (alone, "bridge", Mode::Bridge),
        ];
        every(rows, |(edit, network, mode)| {
            let port = ".process.args[3] = \"8088\"";
            bundle(host, &format!("{edit} | {port}"))?;
            prepare(host, &format!("--network {network}"))?.success()?;
            let web = Running::run(host, "web")?;
            ensure!(host.sandboxes()?.iter().all(|sandbox| sandbox.mode == *mode), "{:#?}", host.sandboxes()?);
            let reached = host.peer().reaches(Tcp, format!("{UPLINK}:8088"));
            ensure!(reached.is_ok() == (*mode == Mode::Host), "{reached:?}");
            let links = web.exec("ip -o link show")?;
            ensure!(links.contains("uplink") == (*mode == Mode::Host), "{links}");
            ensure!(links.contains("eth0") == (*mode == Mode::Bridge), "{links}");
            Ok(())
        })
    })
}

/// `container:ID`, by id, by the beginning of an id, and by name: both share one network and one set of names.
#[test]
fn a_prepared_bundle_joins_another_container() -> Result<()> {
    on_every_runtime(|host| {
        let owner = host.container("owner-0123").annotation("io.ocinet.name", "front").publish("8080:80").run()?;
        every(["owner-0123", "owner-01", "front"], |called| {
            bundle(host, ".process.args[3] = \"81\"")?;
            prepare(host, &format!("--network container:{called}"))?.success()?;
            ensure!(config(host)?["annotations"]["io.ocinet.network"] == "container:owner-0123", "{}", config(host)?);
            let guest = Running::run(host, "guest")?;
            host.reaches(Tcp, owner.at(81)?)?.is("web")?;
            ensure!(host.sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
            for file in ["hosts", "resolv.conf", "hostname"] {
                let path = format!("/etc/{file}");
                let (theirs, ours) = (owner.exec(&["cat", &path])?, guest.exec(&format!("cat {path}"))?);
                ensure!(theirs == ours, "{file}: {theirs}\n{ours}");
                ensure!(guest.exec(&format!("sh -c 'echo x >{path}'")).is_err(), "{file} is writable");
            }
            ensure!(guest.exec("busybox hostname")? == owner.exec(&["busybox", "hostname"])?, "the host name");
            drop(guest);
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("owner-0123").map(drop)
        })?;
        owner.delete()
    })
}

/// The container to be joined must be unique and alive, both when the bundle is prepared and when it runs.
#[test]
fn whom_nobody_can_join() -> Result<()> {
    on_every_runtime(|host| {
        let refused = |called: &str, code: i32, words: &[&str]| -> Result<()> {
            let before = host.sh(&format!("cat {CONFIG}"))?;
            let said = prepare(host, &format!("--network container:{called}"))?;
            said.exits(code)?.is_one_line()?.says(words)?;
            ensure!(host.sh(&format!("cat {CONFIG}"))? == before, "touched");
            Ok(())
        };
        bundle(host, ".process.args[3] = \"81\"")?;
        refused("web", 5, &["web", "not attached"])?;
        let one = host.container("web").root("/mnt/one").run()?;
        refused("wbe", 5, &["did you mean web"])?;
        let hosts = host.container("free").network("host").in_host_namespace().serving(&["8088"]).run()?;
        refused("free", 2, &["free", "network host"])?;
        hosts.delete()?;
        prepare(host, "--network container:web")?.success()?;
        let two = host.container("web").root("/mnt/two").run()?;
        refused("web", 3, &["several", one.bundle(), two.bundle()])?;
        two.delete()?;
        // Its process is gone but its sandbox exists: it cannot be joined, and a later container of the same name is
        // not mistaken for it.
        one.abandon()?;
        refused("web", 5, &["web", "not running"])?;
        let (_, output) = Running::start(host, "late")?;
        ensure!(output.code != 0, "joined a dead one");
        let next = host.container("next").publish("8080:80").run()?;
        host.sh(&format!(
            "jq '(.linux.namespaces[] | select(.type == \"network\")).path = \"/proc/{}/ns/net\"
                | .annotations[\"run.oci.hooks.stderr\"] = \"/mnt/b/hook-stderr\" | .mounts |= map(select(.source | test(\"ocinet\") | not))' \
             {CONFIG} >/mnt/new; cp /mnt/new {CONFIG}; rm -f /mnt/b/hook-stderr",
            next.pid()
        ))?;
        let (_, output) = Running::start(host, "late")?;
        ensure!(output.code != 0, "joined another one");
        output.says(&["container:web", "next", "ocinet prepare"])?;
        next.delete()?;
        host.ocinet("gc")?.success().map(drop)
    })
}

/// A second `prepare` adds to the first: lists grow, what there is one of is replaced, and repeating it changes nothing.
/// `--reset` begins anew.
#[test]
fn preparing_again_adds() -> Result<()> {
    Settings::default().test(|host| {
        bundle(host, ".")?;
        let before = host.sh(&format!("cat {CONFIG}"))?;
        prepare(host, "-p 8080:80 --hostname one --ip 10.90.0.9 --dns 192.0.2.53")?.success()?;
        let once = host.sh(&format!("cat {CONFIG}; stat -c %i {CONFIG}"))?;
        for again in ["-p 8080:80 --hostname one", ""] {
            prepare(host, again)?.success()?;
            ensure!(host.sh(&format!("cat {CONFIG}; stat -c %i {CONFIG}"))? == once, "written again");
        }
        let said =
            prepare(host, "-p 8443:443 --hostname two --ip 10.90.0.10 --mtu 1400 --dns 198.51.100.53")?.success()?;
        let line = "/mnt/b asks for network bridge:ip=10.90.0.10,mtu=1400; publish 8080:80,8443:443; hostname two; \
                    dns 192.0.2.53,198.51.100.53\n";
        ensure!(said == line, "{said}");
        let web = Running::run(host, "web")?;
        ensure!(web.exec("busybox hostname")? == "two\n", "the host name");
        ensure!(host.sandboxes()?[0].publish.len() == 2, "{:#?}", host.sandboxes()?);
        drop(web);
        // A network takes the place of the one before, and what it cannot have is refused with the way out.
        let refused = prepare(host, "--network container:web")?;
        refused.exits(5)?.is_one_line()?;
        let refused = prepare(host, "-p 8080:81")?.exits(2)?.is_refusal()?;
        refused.says(&["8080", "--reset"])?;
        prepare(host, "-p nonsense")?.exits(2)?.is_refusal()?;
        ensure!(!prepare(host, "-p nonsense")?.stderr.contains("--reset"), "it is not what was asked for before");
        ensure!(prepare(host, "--reset -p 8080:81")?.success()? == "/mnt/b asks for network bridge; publish 8080:81\n");
        ensure!(prepare(host, "--reset --network none")?.success()? == "/mnt/b asks for network none\n", "none");
        let spec = config(host)?;
        ensure!(spec["annotations"].get("io.ocinet.publish").is_none() && spec["hostname"] == "runc", "{spec}");
        ensure!(spec["hooks"]["createRuntime"].as_array().map(Vec::len) == Some(1), "{spec}");
        ensure!(prepare(host, "--undo")?.success()? == "/mnt/b: config.json is as it was before\n", "undone");
        ensure!(prepare(host, "--undo")?.success()? == "/mnt/b: config.json has no edit of ocinet\n", "undone before");
        ensure!(host.sh(&format!("cat {CONFIG}"))? == before, "given back");
        Ok(())
    })
}

/// What a bundle says by itself is added to as well, and stays with `--reset`.
#[test]
fn what_the_bundle_says_by_itself_stays() -> Result<()> {
    Settings::default().test(|host| {
        bundle(
            host,
            r#".annotations = {"io.ocinet.publish": "8080:80 8081:81", "io.ocinet.network": "bridge:mtu=1400"}"#,
        )?;
        let said = prepare(host, "-p 8443:443 --net none")?.exits(0)?;
        said.says(&["no effect"])?;
        for (flags, line) in [
            ("--reset -p 8443:443", "network bridge:mtu=1400; publish 8080:80,8081:81,8443:443"),
            ("--reset", "network bridge:mtu=1400; publish 8080:80 8081:81"),
        ] {
            let said = prepare(host, flags)?.success()?;
            ensure!(said == format!("/mnt/b asks for {line}\n"), "{said}");
        }
        Ok(())
    })
}

/// The options of a network that have flags of their own, as the container has them.
#[test]
fn flags_of_the_network() -> Result<()> {
    Settings::default().runtime(Runtime::Runc).test(|host| {
        bundle(host, ".")?;
        host.ocinet("network create --subnet 10.64.7.0/24 back")?.success()?;
        let flags = "--net back --ip 10.64.7.9 --mac-address 02:00:00:00:00:09 --mtu 1400 --interface lan0";
        prepare(host, flags)?.success()?;
        let web = Running::run(host, "web")?;
        let link = web.exec("ip -o address show dev lan0")? + &web.exec("ip -o link show dev lan0")?;
        ensure!(["10.64.7.9/24", "02:00:00:00:00:09", "mtu 1400"].iter().all(|word| link.contains(word)), "{link}");
        drop(web);
        prepare(host, "--ip6 2001:db8::1")?.exits(2)?.is_refusal()?.says(&["2001:db8::1"])?;
        let rows = [
            ("--net back --net bridge --mac-address 02:00:00:00:00:09", "--mac-address"),
            ("--net host --mtu 1400", "--mtu"),
        ];
        every(rows, |(flags, word)| prepare(host, flags)?.exits(2)?.is_refusal()?.says(&[word]).map(drop))?;
        host.settles()?;
        host.sh(&format!("{OCINET} network rm back; rm -r /etc/ocinet/networks")).map(drop)
    })
}

/// `run` is `prepare` and the runtime's `run`: its exit code, its output and its options are the runtime's.
#[test]
fn a_bundle_is_prepared_and_run() -> Result<()> {
    [Runtime::Runc, Runtime::Crun].into_iter().try_for_each(|runtime| {
        Settings::default().runtime(runtime).test(|host| {
            bundle(host, ".")?;
            let (program, root) =
                (runtime.program().context("a program")?, format!("/mnt/{}", runtime.program().context("a program")?));
            let line =
                format!("run --runtime {program} --root {root} --detach -p 8080:80 /mnt/b web -- --pid-file /mnt/pid");
            let output =
                host.output(&["sh", "-c", &format!("cd /mnt/b; exec {OCINET} {line} </dev/null >out 2>err")])?;
            ensure!(output.code == 0, "{output}\n{}", host.sh("cat /mnt/b/err")?);
            let web = Running { host, id: "web".into() };
            ocinet_integration::eventually("the server is ready", || Ok(host.sh("cat /mnt/b/out")?.contains("ready")))?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            ensure!(host.sh("cat /mnt/pid")?.trim().parse::<u32>().is_ok(), "its pid");
            drop(web);
            host.settles()?;
            // In the foreground: the folder's name is the id, and the container's exit code is the command's.
            let words = r#"["sh", "-c", "trap - PIPE; busybox yes | busybox head -n 1; hostname; exit 7"]"#;
            host.sh(&format!("jq '.process.args = {words}' {CONFIG} >/mnt/new; cp /mnt/new {CONFIG}"))?;
            let told = host
                .ocinet(&format!("run --runtime {program} --root {root} --reset --name shop --network none /mnt/b"))?;
            ensure!(told.code == 7 && told.stdout == "y\nshop\n" && told.stderr.is_empty(), "{told}");
            let rows = [
                ("run nginx", "podman run --network=none"),
                ("run --runtime nonsense /mnt/b", "nonsense"),
                ("run --runtime /etc/passwd /mnt/b", "/etc/passwd"),
                ("run --network brigde /mnt/b", "brigde"),
                ("run /mnt/b a/b", "a/b"),
            ];
            host.unchanged_by(|| {
                every(rows, |(line, word)| host.ocinet(line)?.exits(2)?.is_refusal()?.says(&[word]).map(drop))
            })
        })
    })
}

/// Owner and mode of the file stay, and no draft is left in the folder; non-default options reach the hook.
#[test]
fn the_file_is_replaced_with_care() -> Result<()> {
    Settings::default().runtime(Runtime::Runc).test(|host| {
        bundle(host, ".")?;
        host.sh(&format!("chown 1000:1001 {CONFIG}; chmod 640 {CONFIG}; touch /mnt/b/.config.json.ocinet"))?;
        host.ocinet("--state-dir /run/ocinet/elsewhere prepare -p 8080:80 /mnt/b")?.success()?;
        let meta = fs::metadata(host.path(CONFIG))?;
        ensure!((meta.uid(), meta.gid(), meta.mode() & 0o7777) == (1000, 1001, 0o640), "{meta:?}");
        let names = host.sh("ls -A /mnt/b")?;
        ensure!(names == "config.json\nrootfs\n", "{names}");
        let args = &config(host)?["hooks"]["createRuntime"][0];
        ensure!(args["path"] == OCINET, "{args}");
        let words = ["ocinet", "hook", "createRuntime", "--state-dir", "/run/ocinet/elsewhere"];
        ensure!(args["args"] == serde_json::json!(words), "{args}");
        Ok(())
    })
}

/// Fifty at once: the file is always complete, and what each asks for is in it.
#[test]
fn many_at_once() -> Result<()> {
    Settings::default().test(|host| {
        bundle(host, ".")?;
        let script = format!(
            "cd /mnt/b; for port in $(seq 1 50); do {OCINET} prepare -p $port:80 . & done; wait
             jq -e '.hooks.createRuntime | length == 1' config.json; ls -A
             jq -r '.annotations[\"io.ocinet.publish\"]' config.json | tr , '\n' | sort -u | wc -l"
        );
        let names = host.sh(&script)?;
        let told = names.lines().skip_while(|line| line.contains(" asks for ")).collect::<Vec<_>>();
        ensure!(told == ["true", "config.json", "rootfs", "50"], "{names}");
        Ok(())
    })
}

/// Another program replaces the file after it was read and before it is written: the other program's file stays.
#[test]
fn no_change_of_somebody_elses_is_lost() -> Result<()> {
    Settings::default().test(|host| {
        bundle(host, ".")?;
        let script = format!(
            "cd /mnt/b; jq .theirs=7 config.json >/mnt/theirs
             strace -qq -o /dev/null -e trace=fsync -e inject=fsync:delay_enter=1000000 {OCINET} prepare . 2>/mnt/said &
             until [ -e .config.json.ocinet ]; do sleep 0.01; done
             mv /mnt/theirs config.json; code=0; wait $! || code=$?
             echo $code $(jq .theirs config.json) $(ls -A); cat /mnt/said"
        );
        let said = host.sh(&script)?;
        ensure!(said.starts_with("3 7 config.json rootfs\n"), "{said}");
        ensure!(said.contains("/mnt/b/config.json") && said.contains("try again"), "{said}");
        Ok(())
    })
}

/// A refused bundle is not changed, and the error names it.
#[test]
fn bundles_that_are_refused() -> Result<()> {
    let nerdctl = r#".hooks.createRuntime = [{path: "/usr/bin/nerdctl", args: ["nerdctl", "internal", "oci-hook", "createRuntime"]}]"#;
    let rows = [
        (nerdctl, "", "nerdctl"),
        (".windows = {}", "", "Windows"),
        (".vm = {}", "", "virtual machine"),
        (".hooks = 7", "", "hooks"),
        ("del(.root)", "", "root"),
        (r#".linux.sysctl = {"net.core.somaxconn": "9"}"#, "--network host", "net.core.somaxconn"),
        (".", "--network brigde", "brigde"),
        (".", "--network host --ip 10.90.0.5", "--ip"),
        (".", "--ip 10.90.0", "--ip"),
        (".", "-p 80:80:80:80", "80:80:80:80"),
        (".", "--hostname a_b.", "a_b."),
        (".", "--add-host db", "db"),
        (r#"del(.linux.namespaces[] | select(.type == "uts"))"#, "--hostname web", "UTS"),
        (".", "--undo -p 80:80", "--undo"),
    ];
    Settings::default().test(|host| {
        every(rows, |(edit, flags, word)| {
            bundle(host, edit)?;
            let before = host.sh(&format!("cat {CONFIG}; stat -c '%i %y' {CONFIG}; ls -A /mnt/b"))?;
            prepare(host, flags)?.exits(2)?.is_refusal()?.says(&[word])?;
            let after = host.sh(&format!("cat {CONFIG}; stat -c '%i %y' {CONFIG}; ls -A /mnt/b"))?;
            ensure!(before == after, "{before}\nbecame\n{after}");
            Ok(())
        })
    })
}

/// No valid bundle, or one that cannot be written.
#[test]
fn folders_that_are_refused() -> Result<()> {
    let rows = [
        ("rm -r /mnt/b; echo file >/mnt/b", "not a directory"),
        ("rm -r /mnt/b", "does not exist"),
        ("rm config.json", "has no config.json"),
        ("mount -t tmpfs -o ro tmpfs /mnt/b", "has no config.json"),
        ("mount --bind -o ro /mnt/b /mnt/b", "Read-only"),
        ("mv config.json /mnt/config; ln -s /mnt/config config.json", "symbolic link"),
        ("rm config.json; mkfifo config.json", "regular file"),
        ("rm config.json; mkdir config.json", "regular file"),
        ("rm config.json; ln -s /dev/zero config.json", "symbolic link"),
        ("rm config.json; truncate -s 17M config.json", "larger"),
        ("echo hello >config.json", "OCI spec"),
    ];
    Settings::default().test(|host| {
        every(rows, |(damage, word)| {
            bundle(host, ".")?;
            host.sh(&format!("cd /mnt/b; {damage}"))?;
            let said = prepare(host, "");
            host.sh("umount /mnt/b 2>/dev/null || true")?;
            let said = said?;
            ensure!(said.code != 0 && said.stderr.contains("/mnt/b"), "{said}");
            said.is_one_line()?.says(&[word])?;
            host.sh("rm -rf /mnt/b").map(drop)
        })?;
        // A user who is not root may not write this one.
        bundle(host, ".")?;
        let nobody = host.output(&["setpriv", "--reuid=1000", "--clear-groups", OCINET, "prepare", "/mnt/b"])?;
        nobody.exits(2)?.is_refusal()?.says(&["/mnt/b", "Permission denied"])?;
        host.sh("chown 1000 /mnt/b /mnt/b/config.json")?;
        let owner = host.output(&["setpriv", "--reuid=1000", "--clear-groups", OCINET, "prepare", "/mnt/b"])?;
        owner.success().map(drop)
    })
}
