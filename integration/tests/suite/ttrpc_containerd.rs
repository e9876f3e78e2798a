//! The service with containerd: started on demand, and publishing to containerd.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ocinet_integration::containerd::{Containerd, Release, with_containerd, with_release};
use ocinet_integration::service::{Deaf, socket};
use ocinet_integration::{Background, Host, eventually};

/// The pids of the services that run.
fn services(host: &Host) -> Result<Vec<String>> {
    let mut pids = Vec::new();
    for process in fs::read_dir(host.path("/proc"))?.flatten() {
        // The process may have ended meanwhile.
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).take(2).collect();
        if words.len() == 2 && words[0].ends_with(b"containerd-shim-ocinet-v2") && words[1] == b"serve" {
            pids.push(process.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(pids)
}

/// A process that subscribes to containerd's events.
fn subscribe(host: &Host, containerd: &Containerd<'_>) -> Result<Background> {
    let script = format!("exec {} events 2>&1", containerd.ctr_command());
    let subscriber = host.background(&["sh", "-c", &script])?;
    // It prints nothing until there is an event, so a label of the namespace is changed until one appears.
    eventually("it hears of what happens", || {
        containerd
            .ctr(&format!("namespaces label {} nonsense={}", containerd.namespace, subscriber.pid()))?
            .success()?;
        subscriber.has_said()
    })?;
    Ok(subscriber)
}

/// The next event of ours.
fn next(subscriber: &mut Background) -> Result<String> {
    loop {
        let line = subscriber.line()?;
        if line.contains("/ocinet/") {
            return Ok(line);
        }
    }
}

/// Every subscriber of containerd gets the events of networks and can decode them, also after containerd or the service
/// was killed.
#[test]
fn containerd_is_told() -> Result<()> {
    with_containerd(|host, containerd| {
        let mut subscriber = subscribe(host, containerd)?;
        let web = containerd.run("web", "--annotation io.ocinet.publish=8080:80", "80")?;
        let address = web.address()?.to_string();
        let attach = next(&mut subscriber)?;
        let words = ["/ocinet/attach", r#""id":"web""#, &address, "0.0.0.0:8080->80/tcp", &containerd.namespace];
        ensure!(words.iter().all(|word| attach.replace("\\u003e", ">").contains(word)), "{attach}");
        web.delete()?;
        let detach = next(&mut subscriber)?;
        ensure!(detach.contains("/ocinet/detach") && detach.contains(r#""id":"web""#), "{detach}");
        // Events of a container that is not containerd's are not published to it.
        host.container("plain").run()?.delete()?;

        let service = services(host)?;
        ensure!(service.len() == 1, "{service:?}");
        host.sh(&format!("kill -KILL {}", service[0]))?;
        // Until it is dead it holds the claim to serve.
        eventually("it is dead", || Ok(!host.path(format!("/proc/{}", service[0])).exists()))?;
        let second = containerd.run("second", "", "80")?;
        let attach = next(&mut subscriber)?;
        ensure!(attach.contains("/ocinet/attach") && attach.contains("second"), "{attach}");
        second.delete()?;
        ensure!(next(&mut subscriber)?.contains("/ocinet/detach"), "it is told of the end, too");
        Ok(())
    })
}

/// A second containerd hangs, and is registered for the same containers: the first one still gets all events.
#[test]
fn a_hung_containerd_does_not_hold_up_another() -> Result<()> {
    with_release(Release::V2, |host, containerd| {
        containerd.run("first", "", "80")?.delete()?;
        let deaf = Deaf::listen(&host.path("/mnt/deaf.sock"))?;
        // Several files with different names, so that the service reads some before and some after that of the real
        // containerd.
        host.sh(r#"cd /run/ocinet/containerds
                known=$(ls); test "$(echo "$known" | wc -l)" = 1
                for file in deaf daf 0 z; do jq -c --arg n /mnt/$file/../deaf.sock '.address = $n' $known >$file; done
                mkdir /mnt/deaf /mnt/daf /mnt/0 /mnt/z"#)?;
        let mut subscriber = subscribe(host, containerd)?;
        for id in ["web", "next"] {
            let began = Instant::now();
            let container = containerd.run(id, "", "80")?;
            let attach = next(&mut subscriber)?;
            ensure!(attach.contains("/ocinet/attach") && attach.contains(id), "{attach}");
            container.delete()?;
            let detach = next(&mut subscriber)?;
            ensure!(detach.contains("/ocinet/detach") && detach.contains(id), "{detach}");
            ensure!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
        }
        deaf.hears("/ocinet/attach")
    })
}

/// The same service publishes to a containerd that was restarted.
#[test]
fn a_restarted_containerd_is_told() -> Result<()> {
    with_release(Release::V2, |host, containerd| {
        containerd.run("first", "", "80")?.delete()?;
        let before = services(host)?;
        containerd.kill();
        containerd.launch()?;
        let mut subscriber = subscribe(host, containerd)?;
        let web = containerd.run("web", "", "80")?;
        let attach = next(&mut subscriber)?;
        ensure!(attach.contains("/ocinet/attach") && attach.contains("web"), "{attach}");
        web.delete()?;
        ensure!(services(host)? == before, "{:?}, and {before:?} before", services(host)?);
        Ok(())
    })
}

/// Eight calls at once start one service, which leaves containerd's control group, mounts and oom score.
#[test]
fn it_is_started_on_demand() -> Result<()> {
    with_containerd(|host, containerd| {
        ensure!(services(host)?.is_empty() && !socket(host).exists(), "it runs before a container needs it");
        let ids: Vec<String> = (0..8).map(|n| format!("c{n}")).collect();
        std::thread::scope(|scope| {
            let starts: Vec<_> =
                ids.iter().map(|id| scope.spawn(|| containerd.attempt(id, "", "80")?.success())).collect();
            starts
                .into_iter()
                .try_for_each(|start| start.join().map_err(|_| anyhow::anyhow!("a thread failed"))?.map(drop))
        })?;
        let containers = ids.iter().map(|id| containerd.container(id)).collect::<Result<Vec<_>>>()?;
        eventually("one is left", || Ok(services(host)?.len() == 1))?;
        let pid = services(host)?.remove(0);
        let read = |file: &str| fs::read_to_string(host.path(format!("/proc/{pid}/{file}"))).context(file.to_owned());
        ensure!(read("oom_score_adj")?.trim() == "0", "it is not protected");
        let streams =
            host.sh(&format!("readlink /proc/{pid}/fd/0 /proc/{pid}/fd/1 /proc/{pid}/fd/2 /proc/{pid}/cwd"))?;
        ensure!(streams == "/dev/null\n/dev/null\n/dev/null\n/\n", "{streams}");
        let environment = read("environ")?;
        ensure!(!environment.contains("TTRPC") && !environment.contains("containerd"), "{environment}");
        let namespaces = host.sh(&format!("readlink /proc/1/ns/mnt /proc/{pid}/ns/mnt | uniq | wc -l"))?;
        ensure!(namespaces.trim() == "1", "it has the host's mounts");
        let session = host.sh(&format!("cut -d' ' -f6 /proc/{pid}/stat"))?;
        ensure!(session.trim() != "0", "a session of its own");
        containers.into_iter().try_for_each(|container| container.delete())
    })
}
