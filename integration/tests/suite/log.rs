//! `ocinet log`: what happened on this host, whatever the journal and the runtime make of it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ocinet_integration::{OCINET, Runtime, Settings, every};
use serde_json::Value;

/// The records of this host, as JSON.
fn records(host: &ocinet_integration::Host, arguments: &str) -> Result<Vec<Value>> {
    let text = host.ocinet(&format!("log --json {arguments}"))?.success()?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// A container that comes, one that is refused, and one that goes; with the words of each runtime.
#[test]
fn what_happened_is_told() -> Result<()> {
    every([Runtime::Bare, Runtime::Runc, Runtime::Crun], |runtime| {
        Settings::default().runtime(*runtime).test(|host| {
            ensure!(host.ocinet("log")?.success()?.is_empty() && !host.path("/run/ocinet").exists(), "an unused host");
            let web = host.container("web").publish("8080:80").run()?;
            host.container("next").publish("8080:80").refused()?;
            web.delete()?;
            let all = records(host, "")?;
            let of_web = records(host, "web")?;
            let words: Vec<_> = of_web.iter().filter_map(|one| one["message"].as_str()).collect();
            ensure!(words.contains(&"attached") && words.last() == Some(&"detached"), "{all:#?}");
            let attached = of_web.iter().find(|one| one["message"] == "attached").context("the attach")?;
            ensure!(attached["us"].is_u64() && attached["addresses"] == "10.90.0.2/16", "{all:#?}");
            let refused = records(host, "next")?;
            let refusal = refused.iter().find(|one| one["level"] == "error").context("the refusal")?;
            ensure!(refusal["exit"] == 3 && refusal["stage"] == "createRuntime", "{refusal}");
            let line = host.ocinet("log next")?.success()?;
            ensure!(line.contains(" next: error: ") && line.contains("web"), "{line}");
            ensure!(host.ocinet("log -n 1")?.success()?.lines().count() == 1);
            host.ocinet("log nobody")?.exits(5)?.is_one_line()?.says(&["nobody"])?;
            host.ocinet("reset")?.success()?;
            ensure!(host.ocinet("log")?.success()?.is_empty() && host.sh("ls /run/ocinet")?.trim() == "lock", "reset");
            Ok(())
        })
    })
}

/// All that happens to a container is found by its name, whichever command does it.
#[test]
fn a_name_finds_it_all() -> Result<()> {
    let networks = r#"mkdir -p /etc/ocinet/networks
        printf 'bridge = "ocn-1"\ninternal = true\n[[subnet]]\nrange = "10.70.0.0/24"\n' >/etc/ocinet/networks/inside.toml
        printf 'bridge = "ocn-2"\n[[subnet]]\nrange = "10.71.0.0/24"\n' >/etc/ocinet/networks/other.toml"#;
    Settings::default().prepare(networks).test(|host| {
        let named = host.container("c1").annotation("io.ocinet.name", "web").network("inside").publish("8080:80");
        let web = named.run()?;
        for line in ["connect other web", "disconnect other web"] {
            host.ocinet(&format!("network {line}"))?;
        }
        web.delete()?;
        let all = records(host, "")?;
        let of_web = records(host, "web")?;
        let words: Vec<&str> = of_web.iter().filter_map(|one| one["message"].as_str()).collect();
        let nowhere = words.iter().filter(|word| word.contains("lead nowhere")).count();
        ensure!(nowhere == 2, "a warning of the attach, and one of the disconnect: {all:#?}");
        for wanted in ["attached", "connected", "disconnected", "detached"] {
            ensure!(words.contains(&wanted), "{wanted} in {all:#?}");
        }
        ensure!(of_web == records(host, "c1")?, "by its id: {all:#?}");
        Ok(())
    })
}

/// What is told goes on where it is followed, over the file that is set aside, and past a reader's end.
#[test]
fn it_is_followed() -> Result<()> {
    Settings::default().test(|host| {
        host.container("first").run()?.delete()?;
        let mut child =
            host.command(&[OCINET, "log", "--follow", "--tail", "0", "web"]).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("stdout")?).lines();
        std::thread::sleep(Duration::from_millis(300));
        let web = host.container("web").run()?;
        host.sh("mv /run/ocinet/log /run/ocinet/log.old")?;
        let began = Instant::now();
        web.delete()?;
        let told: Vec<String> = lines.take(2).collect::<std::io::Result<_>>()?;
        ensure!(told[0].contains(" web: attached (") && told[1].contains(" web: detached ("), "{told:?}");
        ensure!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        // Its reader has gone: it ends with the next line.
        host.container("web").run()?.delete()?;
        child.wait().map(drop)?;
        Ok(())
    })
}

/// Text of others is one line, and obeyed by no terminal.
#[test]
fn nobody_forges_a_line() -> Result<()> {
    Settings::default().test(|host| {
        let hostile = "x\n{\"time\":\"T\",\"message\":\"forged\"}\n\u{1b}[2J\u{202e}";
        for _ in 0..3 {
            host.container("web").annotation("io.ocinet.publish", hostile).refused()?;
        }
        let text = host.ocinet("log")?.success()?;
        ensure!(text.lines().count() == 3 && text.lines().all(|line| line.contains(" web: error: ")), "{text}");
        ensure!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        let raw = host.sh("cat /run/ocinet/log")?;
        ensure!(raw.lines().filter(|line| !line.is_empty()).count() == 3 && !raw.contains('\u{1b}'), "{raw:?}");
        Ok(())
    })
}

/// A log that cannot be written costs no container its network, and no time.
#[test]
fn no_container_waits_for_it() -> Result<()> {
    Settings::default().test(|host| {
        host.sh("mkdir -m 700 /run/ocinet")?;
        every(["mkdir /run/ocinet/log", "mkfifo /run/ocinet/log", "ln -s /mnt/elsewhere /run/ocinet/log"], |plant| {
            host.sh(plant)?;
            let since = Instant::now();
            let web = host.container("web").run()?;
            web.delete()?;
            ensure!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
            ensure!(!host.path("/mnt/elsewhere").exists(), "a link was followed");
            let _ = host.ocinet("log")?;
            host.sh("rm -r /run/ocinet/log").map(drop)
        })
    })
}
