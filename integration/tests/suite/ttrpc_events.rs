//! The stream of events, by whichever process attached, and `events`, which prints it.

use anyhow::{Result, ensure};
use ocinet_integration::service::{SHIM, Service, forever};
use ocinet_integration::{Background, OCINET, Settings, eventually};
use ocinet_proto::v1::*;
use serde_json::Value;

/// Attaches and detaches by hook processes, by the service, by collection and by a reset: each is reported once, and in
/// order.
#[test]
fn everybodys_changes_are_told() -> Result<()> {
    Settings::default().test(|host| {
        let before = host.container("before").network("none").run()?;
        let service = Service::start(host, &[])?;
        let mut follower = service.follow()?;
        let web = host.container("web").publish("8080:80,9000-9001:90-91/udp").run()?;
        let (change, event) = follower.change()?;
        let sandbox = web.sandbox()?;
        ensure!(change == "+web" && event.container.bundle == web.bundle(), "{event}");
        ensure!(event.container.endpoints[0].addresses == sandbox.endpoints[0].addresses, "{event}");
        ensure!(event.container.published.len() == 2 && event.time_unix_nano > 0, "{event}");
        let (bundle, number) = (web.bundle().to_owned(), event.container.record);
        web.delete()?;
        let (change, event) = follower.change()?;
        ensure!(change == "-web" && event.container.bundle == bundle && event.container.record == number, "{event}");

        let mut second = service.follow()?;
        let bundle = before.bundle().to_owned();
        let request = DetachRequest { id: "before".into(), bundle, ..Default::default() };
        service.call(async |client| client.detach(forever(), &request).await)?;
        let dead = host.container("dead").run()?;
        dead.abandon()?;
        host.ocinet("gc")?.success()?;
        let reset = host.container("reset").run()?;
        host.ocinet("reset --force")?.success()?;
        host.container("fresh").network("none").run()?.delete()?;
        for expected in ["-before", "+dead", "-dead", "+reset", "-reset", "+fresh", "-fresh"] {
            for follower in [&mut follower, &mut second] {
                let (change, event) = follower.change()?;
                ensure!(change == expected, "expected {expected}: {event}");
            }
        }
        // Its namespace still exists, and nothing in it is ours any more.
        drop(reset);
        before.delete()
    })
}

/// Connects and disconnects by commands: each is told once. One that fails is not.
#[test]
fn connections_are_told() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        let mut follower = service.follow()?;
        let network = |arguments: &str| host.ocinet(&format!("network {arguments}"));
        network("create front")?.success()?;
        let web = host.container("web").publish("8080:80").run()?;
        network("connect front web")?.success()?;
        network("connect front web")?.exits(3)?;
        network("disconnect front web")?.success()?;
        web.delete()?;
        for expected in ["+network front", "+web", "web+front", "web-front", "-web"] {
            let (change, event) = follower.change()?;
            ensure!(change == expected, "expected {expected}: {event}");
            ensure!(expected != "web+front" || event.container.endpoints.len() == 2, "{event}");
        }
        host.settles()?;
        network("rm front")?.success()?;
        host.sh("rmdir /etc/ocinet/networks").map(drop)
    })
}

/// `ocinet events` needs no service: it prints the same from the store, for whom it is asked.
#[test]
fn events_need_no_service() -> Result<()> {
    Settings::default().test(|host| {
        let mut all = host.background(&[OCINET, "events"])?;
        let mut some =
            host.background(&[OCINET, "events", "--json", "--filter", "container=web", "--filter", "event=detached"])?;
        // It prints nothing at its start.
        eventually("both follow", || {
            host.container("prelude").network("none").run()?.delete()?;
            host.container("web").network("none").run()?.delete()?;
            Ok(all.has_said()? && some.has_said()?)
        })?;
        host.ocinet("network create front")?.success()?;
        let mark = "created network front";
        while !all.line()?.ends_with(mark) {}
        let web = host.container("web").publish("8080:80").run()?;
        let address = web.sandbox()?.address().map(|address| address.to_string()).unwrap_or_default();
        host.ocinet("network connect front web")?.success()?;
        host.ocinet("network disconnect front web")?.success()?;
        web.delete()?;
        host.settles()?;
        host.ocinet("network rm front")?.success()?;
        for expected in [
            format!("Z attached web {address} 0.0.0.0:8080->80/tcp"),
            "Z connected web to network front".into(),
            "Z disconnected web from network front".into(),
            "Z detached web".into(),
            "Z removed network front".into(),
        ] {
            let line = all.line()?;
            ensure!(line.ends_with(&expected), "{line:?} instead of {expected}");
        }
        loop {
            let event: Value = serde_json::from_str(&some.line()?)?;
            ensure!(event["event"] == "detached" && event["container"] == "web", "{event}");
            if event["networks"] == serde_json::json!(["bridge"]) {
                break;
            }
        }
        host.ocinet("events --filter colour=red")?.exits(2)?.is_one_line()?;
        host.ocinet("reset --force")?.success()?;
        ensure!(all.line().is_err() && some.line().is_err(), "they end with a reset");
        host.sh("rmdir /etc/ocinet/networks").map(drop)
    })
}

/// A failed attach, or a repeated one, gives no event.
#[test]
fn what_changes_nothing_is_not_told() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        let mut follower = service.follow()?;
        let web = host.container("web").publish("8080:80").run()?;
        host.container("late").publish("8080:80").refused()?;
        web.hook("createRuntime")?.success()?;
        web.delete()?;
        let changes = [follower.change()?.0, follower.change()?.0];
        ensure!(changes == ["+web", "-web"], "{changes:?}");
        Ok(())
    })
}

/// A store that was lost and rebuilt has the same containers as before, so there is no event.
#[test]
fn a_rebuilt_store_is_no_news() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        let mut follower = service.follow()?;
        let web = host.container("web").run()?;
        ensure!(follower.change()?.0 == "+web", "attached");
        host.sh("printf damaged | dd of=$(ls /run/ocinet/store-*.db) bs=1 seek=20 conv=notrunc status=none")?;
        let other = host.container("other").run()?;
        ensure!(host.sh("ls /run/ocinet")?.contains("damaged"), "it was set aside");
        let (change, event) = follower.change()?;
        ensure!(change == "+other", "{event}");
        web.delete()?;
        let (change, event) = follower.change()?;
        ensure!(change == "-web" && !event.container.bundle.is_empty(), "{event}");
        other.delete()?;
        ensure!(follower.change()?.0 == "-other", "detached");
        host.sh("rm /run/ocinet/*.damaged")?;
        Ok(())
    })
}

/// Lines of text, and JSON; and a reason at the end.
#[test]
fn the_command_prints_them() -> Result<()> {
    Settings::default().test(|host| {
        let service = Service::start(host, &[])?;
        let mut json = host.background(&[SHIM, "events", "--json"])?;
        let watching: Value = serde_json::from_str(&json.line()?)?;
        ensure!(watching["kind"] == "KIND_WATCHING", "{watching}");
        let mut text = host.background(&[SHIM, "events"])?;
        // `events` prints nothing at its start. The test attaches a container until both print it.
        eventually("it follows", || {
            host.container("prelude").network("none").run()?.delete()?;
            text.has_said()
        })?;
        let next = |reader: &mut Background| loop {
            let line = reader.line()?;
            if !line.contains("prelude") {
                return anyhow::Ok(line);
            }
        };
        let web = host.container("web").publish("8080:80").run()?;
        let address = web.sandbox()?.endpoints[0].addresses[0].clone();
        web.delete()?;
        let event: Value = serde_json::from_str(&next(&mut json)?)?;
        ensure!(event["kind"] == "KIND_ATTACHED" && event["container"]["id"] == "web", "{event}");
        ensure!(event["container"]["endpoints"][0]["addresses"][0] == address, "{event}");
        let (attached, detached) = (next(&mut text)?, next(&mut text)?);
        ensure!(attached.ends_with(&format!("Z attached web {address} 0.0.0.0:8080->80/tcp")), "{attached}");
        ensure!(detached.ends_with("Z detached web"), "{detached}");
        service.kill()?;
        for mut reader in [json, text] {
            let end = std::iter::from_fn(|| reader.line().ok()).last();
            ensure!(end.is_none_or(|line| line.contains("KIND_DETACHED")), "it ends with the service");
        }
        let refused = host.output(&[SHIM, "events"])?.exits(5)?.is_one_line()?;
        refused.says(&["containerd-shim-ocinet-v2 serve"]).map(drop)
    })
}
