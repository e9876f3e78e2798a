//! `prepare` adds to what a bundle asks for, and `run` prepares it and runs it.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{OCINET, Proto::Tcp, Runtime, Settings, UPLINK, every};

use super::{CONFIG, Running, bundle, config, prepare};

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
        // Without its annotations, what was edited cannot be told.
        prepare(host, "-p 8080:80")?.success()?;
        host.sh(&format!("jq 'del(.annotations)' {CONFIG} >/mnt/new; cp /mnt/new {CONFIG}"))?;
        let said = prepare(host, "--undo")?.success()?;
        ensure!(said.contains("has hooks of ocinet, and no note of an edit"), "{said}");
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
        host.ocinet("network create --internal inside")?.success()?;
        prepare(host, "--reset --net inside -p 8080:80")?.exits(0)?.says(&["published ports are dormant"])?;
        let planned = host.ocinet("plan /mnt/b")?.exits(0)?;
        ensure!(planned.stdout.contains("8080->80/tcp (dormant"), "{planned}");
        ensure!(prepare(host, "--reset --net back -p 8080:80")?.exits(0)?.stderr.is_empty(), "they lead to it");
        host.ocinet("network rm inside")?.success()?;
        prepare(host, "--reset --net back")?.success()?;
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

/// What `run` is refused is not kept in the bundle, so that the port that it names as free can be had; what was asked for
/// before is added to, which is said.
#[test]
fn a_port_that_is_refused_is_not_kept() -> Result<()> {
    Settings::default().runtime(Runtime::Runc).test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let dead = host.container("dead").publish("8082:80").run()?;
        bundle(host, ".")?;
        let before = host.sh(&format!("cat {CONFIG}"))?;
        let run = |flags: &str| {
            let line = format!("{OCINET} run --runtime runc --root /mnt/runc --detach {flags} /mnt/b other </dev/null >/mnt/out 2>/mnt/err");
            host.output(&["sh", "-c", &format!("{line}; code=$?; cat /mnt/err >&2; exit $code")])
        };
        run("-p 8080:80")?.exits(3)?.says(&["publish 8080:80", "published by container web; 8081 is free"])?;
        ensure!(host.sh(&format!("cat {CONFIG}"))? == before, "it was edited");
        prepare(host, "-p 8080:80")?.success()?;
        run("-p 8081:80")?.exits(3)?.says(&["publish 8080:80,8081:80", "--reset begins anew"])?;
        // What a dead container has is no hindrance, as for the attach.
        dead.abandon()?;
        run("--reset -p 8082:80")?.exits(0)?;
        drop(Running { host, id: "other".into() });
        web.delete()?;
        host.settles()
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
            ensure!(told.code == 7 && told.stdout == "y\nshop\n", "{told}");
            ensure!(told.stderr == "/mnt/b asks for network none; name shop\n", "{told}");
            let rows = [
                ("run nginx", "podman run --network=none"),
                ("run --runtime nonsense /mnt/b", "nonsense"),
                ("run --runtime /etc/passwd /mnt/b", "/etc/passwd"),
                ("run --network brigde /mnt/b", "brigde"),
                ("run --network pasta /mnt/b", "is podman's"),
                ("run --network macvlan /mnt/b", "is a driver"),
                ("run --network default /mnt/b", "is what others call the network bridge"),
                ("run /mnt/b a/b", "a/b"),
            ];
            host.unchanged_by(|| {
                every(rows, |(line, word)| host.ocinet(line)?.exits(2)?.is_refusal()?.says(&[word]).map(drop))
            })
        })
    })
}
