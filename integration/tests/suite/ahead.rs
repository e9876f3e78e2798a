//! The shim wires a container of containerd before the container exists: which containers, and when the network is
//! removed if the container never came or ended unnoticed.

use anyhow::{Result, ensure};
use ocinet_integration::containerd::{Containerd, FLAGS, Release, with_containerd, with_release};
use ocinet_integration::service::{SHIM, install_shim};
use ocinet_integration::survive::CALLER;
use ocinet_integration::{Host, OCINET, Proto::Tcp, Settings, UPLINK, eventually, every};

const PUBLISH: &str = "--annotation io.ocinet.publish=8080:80";

/// The spec with which containerd had a container made.
fn spec_of(containerd: &Containerd<'_>, host: &Host, id: &str) -> Result<String> {
    host.sh(&format!("cat /run/containerd/io.containerd.runtime.v2.task/{}/{id}/config.json", containerd.namespace))
}

/// Normally the spec names the namespace and no hook. Where the runtime has to make the namespace, or no file may be
/// added to the image, the spec names the hook. In both cases the container is on the bridge and can be reached.
#[test]
fn who_is_wired_ahead() -> Result<()> {
    with_containerd(|host, containerd| {
        let plain = containerd.run("plain", "--runtime io.containerd.runc.v2", "80")?;
        let mapping = r#"[{"containerID":0,"hostID":0,"size":65536}]"#;
        // ctr adds nothing of its own to a spec from a file.
        let linux = format!(
            r#""annotations":{{"io.ocinet.publish":"8080:80"}},"linux":{{"uidMappings":{mapping},"gidMappings":{mapping},"#
        );
        let edits = [
            (r#""namespaces":["#, r#""namespaces":[{"type":"user"},"#),
            (r#""linux":{"#, &linux),
            (r#""serve","plain""#, r#""serve","web""#),
        ];
        let spec = spec_of(containerd, host, "plain")?;
        let user = edits.iter().fold(spec, |spec, (from, to)| spec.replace(from, to));
        std::fs::write(host.path("/mnt/user.json"), user)?;
        plain.delete()?;
        let server = "/mnt/rootfs web /mnt/bin/probe serve web 80";
        let rows = [
            (format!("{FLAGS} {server}"), true),
            (format!("{FLAGS} --read-only {server}"), false),
            ("--runtime io.containerd.ocinet.v2 --config /mnt/user.json web".to_owned(), false),
        ];
        every(rows, |(words, is_ahead)| {
            let output = "--log-uri file:///mnt/containerd/web.out";
            containerd.ctr(&format!("run --detach {output} {PUBLISH} {words}"))?.success()?;
            let web = containerd.container("web")?;
            let spec = spec_of(containerd, host, "web")?;
            ensure!(spec.contains("createRuntime") != *is_ahead, "{spec}");
            ensure!(spec.contains(r#"/netns""#) == *is_ahead, "{spec}");
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            host.check()?;
            web.delete()?;
            host.settles()
        })
    })
}

/// Calls the shim's `start` for a bundle in /mnt/b as containerd does, from a parent that stays, but the container
/// never comes. First prints the parent's pid.
const PARENT: &str = "cd /mnt/b && echo $$ && PATH=/mnt/stock:$PATH $0 -namespace n -id web start; exec sleep 1000";

fn bundle(host: &Host) -> Result<()> {
    install_shim(host)?;
    host.sh(
        r#"mkdir -p /mnt/b /mnt/stock
        cat >/mnt/b/config.json <<END
{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "annotations": {"io.ocinet.network": "bridge:ip=10.90.0.9", "io.ocinet.publish": "8080:80"},
 "linux": {"namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "uts"}]}}
END
        printf '#!/bin/sh\necho started\n' >/mnt/stock/containerd-shim-runc-v2
        chmod +x /mnt/stock/containerd-shim-runc-v2"#,
    )
    .map(drop)
}

fn count(host: &Host) -> Result<usize> {
    host.sh(&format!("{OCINET} gc"))?;
    Ok(host.settled_sandboxes()?.len())
}

/// A network is kept as long as its bundle and the containerd that asked for it exist, or a process is in it.
#[test]
fn as_long_as_it_is_wanted() -> Result<()> {
    let rows = ["rm -r /mnt/b", "kill -KILL $parent"];
    Settings::default().test(|host| {
        every(rows, |end| {
            bundle(host)?;
            let mut parent = host.background(&["sh", "-c", PARENT, SHIM])?;
            let pid = parent.line()?;
            ensure!(parent.line()? == "started", "the stock shim follows");
            ensure!(count(host)? == 1, "it is awaited: {:#?}", host.sandboxes()?);
            host.sh("nsenter --net=$(echo /run/ocinet/containers/*/netns) sleep 1000 >/dev/null 2>&1 & echo $! >/mnt/inside")?;
            host.sh(&format!("parent={pid}; {end}"))?;
            ensure!(count(host)? == 1, "a process is in it: {:#?}", host.sandboxes()?);
            host.sh("kill -KILL $(cat /mnt/inside)")?;
            eventually("it is collected", || Ok(count(host)? == 0))?;
            host.settles()?;
            host.check()
        })
    })
}

/// A repeated start replaces the network of the first one. It is refused while a process is in that network.
#[test]
fn a_second_start() -> Result<()> {
    Settings::default().test(|host| {
        bundle(host)?;
        let start = format!(
            "cp /mnt/b/config.json /mnt/first; cd /mnt/b; PATH=/mnt/stock:$PATH {SHIM} -namespace n -id web start"
        );
        let again = format!(
            "cp /mnt/first /mnt/b/config.json; cd /mnt/b; PATH=/mnt/stock:$PATH {SHIM} -namespace n -id web start"
        );
        // Both starts have the same parent, this shell.
        let calls = format!("({start}); ({again}); exec sleep 1000");
        let mut parent = host.background(&["sh", "-c", &calls])?;
        ensure!((parent.line()?, parent.line()?) == ("started".into(), "started".into()), "both start");
        ensure!(count(host)? == 1, "{:#?}", host.sandboxes()?);
        host.sh(
            "nsenter --net=$(echo /run/ocinet/containers/*/netns) sleep 1000 >/dev/null 2>&1 & echo $! >/mnt/inside",
        )?;
        let refused = host.output(&["sh", "-c", &again])?.exits(3)?.is_one_line()?;
        ensure!(refused.stderr.contains("is in use"), "{refused}");
        ensure!(count(host)? == 1, "the first one stays: {:#?}", host.sandboxes()?);
        host.sh("kill -KILL $(cat /mnt/inside)")?;
        drop(parent);
        ensure!(count(host)? == 0, "{:#?}", host.sandboxes()?);
        host.settles()
    })
}

/// Without a stock shim there will be no container, and nothing stays attached.
#[test]
fn without_a_stock_shim() -> Result<()> {
    Settings::default().test(|host| {
        bundle(host)?;
        let call = |path: &str, action: &str| {
            let call = format!("cd /mnt/b; PATH={path} exec {SHIM} -namespace n -id web {action}");
            host.output(&["sh", "-c", &call])
        };
        let refused = call("/nowhere", "start")?.exits(5)?.is_one_line()?;
        ensure!(refused.stderr.contains("no containerd-shim-runc-v2"), "{refused}");
        host.settles()?;
        call("/mnt/stock", "start")?.exits(0)?;
        ensure!(host.settled_sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
        let refused = call("/nowhere", "delete")?.exits(5)?;
        ensure!(refused.stderr.contains("no containerd-shim-runc-v2"), "{refused}");
        ensure!(host.settled_sandboxes()?.is_empty(), "{:#?}", host.sandboxes()?);
        host.settles()
    })
}

/// The stock shim starts while the network is wired. Its input, its output and its exit code are as if containerd had
/// called it. If it fails to start, nothing is attached.
#[test]
fn the_stock_shim_starts_beside() -> Result<()> {
    let parameters = "kept parameters -namespace n -id web start\n";
    let rows = [
        (r#"echo "$MARK $(/bin/busybox cat) $@"; echo words >&2"#, 0, parameters, "words\n"),
        ("echo there is no room >&2; exit 7", 7, "", "there is no room\n"),
        ("kill -KILL $$", 1, "", ""),
    ];
    Settings::default().test(|host| {
        every(rows, |(script, code, stdout, stderr)| {
            bundle(host)?;
            host.sh(&format!("cat >/mnt/stock/containerd-shim-runc-v2 <<'END'\n#!/bin/sh\n{script}\nEND"))?;
            let start = "echo parameters | MARK=kept PATH=/mnt/stock exec $0 -namespace n -id web start";
            let output = host.output(&["sh", "-c", &format!("cd /mnt/b; {start}"), SHIM])?.exits(*code)?;
            ensure!(output.stdout == *stdout && output.stderr == *stderr, "{output}");
            let sandboxes = host.settled_sandboxes()?;
            ensure!(sandboxes.len() == usize::from(*code == 0), "{sandboxes:#?}");
            ensure!(count(host)? == 0, "no container awaits it");
            host.settles()
        })
    })
}

/// The answer of the stock shim is passed on as soon as it is complete, even if the stock shim ends slowly; and not
/// before.
#[test]
fn the_answer_is_passed_on() -> Result<()> {
    let rows = [
        ("start", ["unix:///run/ocinet/", "ocinet.sock"], "unix:///run/ocinet/ocinet.sock"),
        (
            "start",
            [r#"{"address": "unix:///run/ocinet/ocinet.sock""#, "}"],
            r#"{"address": "unix:///run/ocinet/ocinet.sock"}"#,
        ),
        // A message whose first part could be a complete message; its last field is the protocol.
        (
            "start",
            [r"\010\003\022\036unix:///run/ocinet/ocinet.sock", r"\032\005ttrpc"],
            "\x08\x03\x12\x1eunix:///run/ocinet/ocinet.sock\x1a\x05ttrpc",
        ),
        // An exit status and a time.
        ("delete", [r"\020\007", r"\032\002\010\001"], "\x10\x07\x1a\x02\x08\x01"),
    ];
    Settings::default().test(|host| {
        every(rows, |(action, [first, last], answer)| {
            bundle(host)?;
            host.sh(&format!(
                "cat >/mnt/stock/containerd-shim-runc-v2 <<'END'
#!/bin/sh\nprintf '{first}'; sleep 0.3; echo words >&2; printf '{last}'; exec sleep 1000\nEND"
            ))?;
            let call = format!("cd /mnt/b; PATH=/mnt/stock:$PATH exec $0 -namespace n -id web {action}");
            let output = host.output(&["sh", "-c", &call, SHIM])?.exits(0)?;
            ensure!(output.stdout == *answer && output.stderr == "words\n", "{output}");
            host.sh("pkill -x -f 'sleep 1000'")?;
            ensure!(count(host)? == 0, "no container awaits it");
            host.settles()
        })
    })
}

/// The shim is killed at a share of its system calls, before the stock shim starts and while it does.
#[test]
fn a_start_that_is_killed() -> Result<()> {
    Settings::default().test(|host| {
        bundle(host)?;
        host.sh("cp /mnt/b/config.json /mnt/first")?;
        let mut kills = 0;
        for call in (1..).step_by(23) {
            host.sh("cp /mnt/first /mnt/b/config.json")?;
            let kill =
                format!("cd /mnt/b; PATH=/mnt/stock:$PATH {CALLER} kill-at 0 {call} {SHIM} -namespace n -id web start");
            let output = host.output(&["sh", "-c", &format!("{kill} </dev/null")])?;
            // A program that the killed shim had started keeps its locks until its own end.
            eventually(&format!("nothing is left after call {call}"), || Ok(count(host)? == 0))?;
            host.settles()?;
            if !output.stderr.contains("caller: killed") {
                break;
            }
            kills += 1;
        }
        ensure!(kills > 10, "{kills} kills only");
        host.check()
    })
}

/// The store is lost while a container runs that was wired before it existed. The store is rebuilt from the kernel's
/// state.
#[test]
fn a_lost_store() -> Result<()> {
    with_release(Release::V2, |host, containerd| {
        let web = containerd.run("web", PUBLISH, "80")?;
        host.sh("rm /run/ocinet/*.db*")?;
        ensure!(count(host)? == 1, "{:#?}", host.sandboxes()?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        let pid = web.ends();
        host.sh(&format!("kill -KILL {pid}"))?;
        eventually("it is collected", || Ok(count(host)? == 0))?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        host.settles()
    })
}
