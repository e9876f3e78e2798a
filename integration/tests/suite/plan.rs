//! `ocinet plan`: it prints what the attach would do, and changes nothing.

use std::fs;

use anyhow::{Context, Result, ensure};
use ocinet_integration::{
    ASKING, Container, Firewall, Host, Output, Proto::Tcp, Runtime, Sandbox, Settings, State, UPLINK, eventually, every,
};
use serde::Deserialize;

/// What `ocinet plan --json` prints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    #[serde(rename = "record")]
    sandbox: Sandbox,
    commands: Vec<String>,
    files: Vec<String>,
    new: Vec<String>,
    missing: Vec<String>,
    attached: bool,
}

fn plan(host: &Host, container: &Container<'_>, more: &str) -> Result<Output> {
    host.ocinet(&format!("plan {} --id web {more}", container.bundle()))
}

fn plan_json(host: &Host, container: &Container<'_>) -> Result<Plan> {
    let text = plan(host, container, "--json")?.success()?;
    serde_json::from_str(&text).with_context(|| text.clone())
}

/// Nothing is changed and no lease is taken, on a fresh host and on a used one. The next attach gets what was planned.
#[test]
fn a_plan_changes_nothing() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").prepare()?;
        let whole = || host.sh("find /run /etc/ocinet -printf '%p %m %s %T@\\n' | sort; nft list ruleset; ip -o link");
        let before = whole()?;
        let planned = host.unchanged_by(|| plan_json(host, &web))?;
        host.unchanged_by(|| plan(host, &web, "")?.success())?;
        ensure!(whole()? == before, "{before}\nbecame\n{}", whole()?);
        ensure!(!host.path("/run/ocinet").exists(), "not even a folder");

        let first = host.container("first").run()?;
        ensure!(first.sandbox()?.address() == planned.sandbox.address(), "a plan has taken the first address");
        let before = (host.sandboxes()?, host.sh("find /run/ocinet | sort")?);
        let (planned, again) = (plan_json(host, &web)?, plan_json(host, &web)?);
        ensure!(planned.sandbox.address() == again.sandbox.address(), "a plan takes addresses");
        ensure!((host.sandboxes()?, host.sh("find /run/ocinet | sort")?) == before, "{:#?}", host.sandboxes()?);

        web.hook("createRuntime")?.success()?;
        let sandbox = web.sandbox()?;
        ensure!(sandbox.address() == planned.sandbox.address(), "{sandbox:#?}\nis not as planned\n{planned:#?}");
        ensure!(sandbox.endpoints[0].mac == planned.sandbox.endpoints[0].mac, "{sandbox:#?}");
        ensure!(sandbox.publish == planned.sandbox.publish, "{sandbox:#?}");
        web.hook("poststop")?.success().map(drop)
    })
}

/// What people read first: five lines. On a host that has the network, only what is new is new, and the ruleset is not
/// loaded again.
#[test]
fn a_plan_begins_with_five_lines() -> Result<()> {
    Settings::default().runtime(Runtime::Runc).test(|host| {
        let web = host.container("web").publish("8080:80").prepare()?;
        let lines = host.unchanged_by(|| plan(host, &web, ""))?.success()?;
        let words: Vec<_> = lines.lines().filter_map(|line| line.split_whitespace().next()).collect();
        ensure!(words == ["address", "ports", "files", "new", "missing"], "{lines}");
        every(
            [
                "address  10.90.0.2/16 on bridge as eth0, default route via 10.90.0.1\n",
                "ports    0.0.0.0:8080->80/tcp\n",
                "files    /etc/resolv.conf, /etc/hosts, /etc/hostname\n",
                "bridge ocinet0",
                "ruleset of nftables",
                "missing  nothing\n",
            ],
            |part| {
                ensure!(lines.contains(part), "{part} in {lines}");
                Ok(())
            },
        )?;
        let first = host.container("first").run()?;
        let Plan { commands, new, files, missing, attached, .. } = plan_json(host, &web)?;
        ensure!(matches!(&new[..], [link] if link.starts_with("link ocv")), "{new:?}");
        ensure!(
            commands.iter().all(|line| !line.contains("table inet") && !line.starts_with("ip link add ocinet0")),
            "{commands:#?}"
        );
        ensure!(files.len() == 3 && missing.is_empty() && !attached, "{files:?} {missing:?}");
        // One whose ruleset was lost has it loaded.
        host.sh("nft delete table inet ocinet")?;
        ensure!(plan_json(host, &web)?.new.iter().any(|one| one.contains("ruleset")), "flushed");
        host.ocinet("gc")?.success()?;
        first.delete()
    })
}

/// A container that runs is not in the way of its own plan, whatever its id: it is its next start.
#[test]
fn a_plan_is_not_in_its_own_way() -> Result<()> {
    Settings::default().runtime(Runtime::Runc).test(|host| {
        let web = host.container("web").publish("8080:80,443").run()?;
        let of = |more: &str| -> Result<Plan> {
            let text = host.unchanged_by(|| host.ocinet(&format!("plan --json {more} {}", web.bundle())))?.success()?;
            serde_json::from_str(&text).context(text)
        };
        let before = web.sandbox()?;
        let next = of("")?;
        ensure!(next.attached && next.sandbox.address() == before.address(), "{next:#?}\n{before:#?}");
        ensure!(of("-p 8081:81")?.sandbox.publish.len() > before.publish.len(), "{before:#?}");
        ensure!(web.sandbox()? == before, "it is as it was");
        let lines = host.ocinet(&format!("plan {}", web.bundle()))?.success()?;
        ensure!(lines.starts_with("runs     now, and this is its next start\naddress"), "{lines}");
        ensure!(lines.contains("ports    0.0.0.0:8080->80/tcp, "), "{lines}");
        ensure!(lines.contains("new      nothing on the host"), "{lines}");
        ensure!(lines.contains("->443/tcp (as of now: chosen anew at the start)"), "{lines}");
        // Another one of the same bundle is another one.
        host.unchanged_by(|| host.ocinet(&format!("plan --id other {}", web.bundle())))?.exits(3)?.says(&["8080"])?;
        web.delete()
    })
}

/// With flags, a folder is planned as if it had been prepared with them, and stays as it is.
#[test]
fn a_plan_of_what_is_not_said_yet() -> Result<()> {
    Settings::default().runtime(Runtime::Runc).test(|host| {
        host.sh("mkdir /mnt/b; cp -a /mnt/rootfs /mnt/b/rootfs; runc spec --bundle /mnt/b")?;
        let seen = || host.sh("cat /mnt/b/config.json; stat -c '%i %y' /mnt/b /mnt/b/config.json; ls -A /mnt/b");
        let before = seen()?;
        host.ocinet("plan /mnt/b")?.exits(2)?.is_refusal()?.says(&["ocinet prepare", "--network bridge /mnt/b"])?;
        let of = |flags: &str| -> Result<Plan> {
            let text = host.unchanged_by(|| host.ocinet(&format!("plan --json {flags} /mnt/b")))?.success()?;
            serde_json::from_str(&text).context(text)
        };
        let planned = of("-p 8080:80 --ip 10.90.0.9 --name shop")?;
        ensure!(
            planned.sandbox.address() == Some("10.90.0.9".parse()?) && planned.sandbox.name == "shop",
            "{planned:#?}"
        );
        ensure!(planned.sandbox.publish.len() == 1 && planned.missing.len() == 1, "{planned:#?}");
        ensure!(of("--network none")?.sandbox.endpoints.is_empty(), "none");
        host.ocinet("plan --network brigde /mnt/b")?.exits(2)?.is_refusal()?.says(&["brigde"])?;
        ensure!(seen()? == before, "{before}\nbecame\n{}", seen()?);
        // From config.json as it was before an edit.
        host.ocinet("prepare -p 8081:80 /mnt/b")?.success()?;
        let ports = |planned: Plan| planned.sandbox.publish.len();
        ensure!(ports(of("-p 8080:80")?) == 2 && ports(of("--reset -p 8080:80")?) == 1, "begun anew");
        host.ocinet("prepare --undo /mnt/b")?.success()?;
        // Prepared with the same, nothing is missing; without its hooks, that is said.
        host.ocinet("prepare -p 8080:80 --ip 10.90.0.9 --name shop /mnt/b")?.success()?;
        ensure!(of("")?.missing.is_empty() && of("-p 8080:80")?.missing.is_empty(), "{:#?}", of("")?);
        host.sh("jq 'del(.hooks)' /mnt/b/config.json >/mnt/new; cp /mnt/new /mnt/b/config.json")?;
        ensure!(of("")?.missing[0].contains("no hook"), "{:#?}", of("")?);
        Ok(())
    })
}

/// The JSON has the sandbox that would be written, and the same lines as the text.
#[test]
fn a_plan_for_programs() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80,53:53/udp").annotation("io.ocinet.name", "shop").prepare()?;
        let Plan { sandbox, commands, .. } = plan_json(host, &web)?;
        ensure!(sandbox.container == "web" && sandbox.bundle == web.bundle() && sandbox.name == "shop", "{sandbox:#?}");
        ensure!(sandbox.state == State::Attaching && sandbox.endpoints.len() == 1, "{sandbox:#?}");
        ensure!(sandbox.publish.len() == 2, "{sandbox:#?}");
        // The host's end of the link pair has another name every time.
        let plain = |text: &str| text.replace(&sandbox.endpoints[0].host_interface, "LINK");
        let lines = plan(host, &web, "-v")?.success()?;
        ensure!(lines.lines().count() == plain(&commands.join("\n")).lines().count() + 5, "{lines}\n{commands:#?}");
        every(["ip link add", "nft", "sysctl", "/etc/resolv.conf", "$PID"], |word| {
            ensure!(lines.contains(word), "{lines}");
            Ok(())
        })
    })
}

/// The lines, run on a fresh host for a process in namespaces of its own, wire a container.
#[test]
fn the_lines_of_a_plan_work_as_typed() -> Result<()> {
    work_as_typed("cd etc; touch resolv.conf hosts hostname")
}

/// As the attach does, the lines create files that the image lacks.
#[test]
fn the_lines_of_a_plan_make_what_the_image_lacks() -> Result<()> {
    work_as_typed("rm -rf etc")
}

/// The same with `respect-host-firewall`, where a link pair has to be made first.
#[test]
fn the_lines_of_a_plan_lay_the_detour() -> Result<()> {
    Firewall::ALL
        .into_iter()
        .try_for_each(|firewall| typed(Settings::default().firewall(firewall).prepare(ASKING), "rm -rf etc", "bridge"))
}

/// The same for a container on three networks.
#[test]
fn the_lines_of_a_plan_join_several_networks() -> Result<()> {
    let define = "mkdir -p /etc/ocinet/networks
        printf 'bridge = \"ocn-1\"\n[[subnet]]\nrange = \"10.64.1.0/24\"\n' >/etc/ocinet/networks/own.toml
        printf 'bridge = \"ocn-2\"\ninternal = true\n[[subnet]]\nrange = \"10.64.2.0/24\"\n' >/etc/ocinet/networks/shut.toml";
    Firewall::ALL.into_iter().try_for_each(|firewall| {
        typed(Settings::default().firewall(firewall).prepare(define), "rm -rf etc", "bridge;own;shut")
    })
}

fn work_as_typed(image: &str) -> Result<()> {
    Firewall::ALL.into_iter().try_for_each(|firewall| typed(Settings::default().firewall(firewall), image, "bridge"))
}

fn typed(settings: Settings, image: &str, networks: &str) -> Result<()> {
    settings.test(|host| {
        host.sh(&format!("mkdir /mnt/typed; cp -a /mnt/rootfs /mnt/typed; cd /mnt/typed/rootfs; {image}"))?;
        let draft = host.container("web").image("/mnt/typed/rootfs").edit("del(.hostname)");
        let bundle = draft.network(networks).publish("8080:80,127.0.0.1:9000:80").prepare()?;
        let lines = plan(host, &bundle, "--verbose")?.success()?;
        fs::write(host.path("/mnt/typed/lines"), &lines)?;

        let argv = ["unshare", "--net", "--mount", "--uts", "--", "/mnt/bin/probe", "serve", "web", "80"];
        let mut process = host.background(&argv)?;
        ensure!(process.line()? == "ready", "the server");
        let pid = process.pid();
        host.sh(&format!("PID={pid}; set -x; . /mnt/typed/lines")).with_context(|| lines.clone())?;

        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.reaches(Tcp, "127.0.0.1:9000")?.is("web")?;
        host.of_process(pid).sh("ping -c 1 -W 2 203.0.113.1")?;
        for (nth, _) in networks.split(';').enumerate() {
            let address = host.of_process(pid).sh(&format!("ip -4 -oneline address show dev eth{nth} up"))?;
            ensure!(!address.is_empty(), "eth{nth} has no address");
        }
        let inside = |script: &str| host.sh(&format!("nsenter -t {pid} -m -u sh -euc '{script}'"));
        ensure!(inside("hostname")? == "web\n", "{}", inside("hostname")?);
        let server = if networks.contains(';') { "169.254.53.53" } else { "192.0.2.53" };
        every([("resolv.conf", server), ("hosts", "10.90.0.2\tweb"), ("hostname", "web")], |(file, word)| {
            let text = inside(&format!("cat /mnt/typed/rootfs/etc/{file}"))?;
            ensure!(text.contains(word), "{text}");
            let wrote = inside(&format!("echo >/mnt/typed/rootfs/etc/{file}"));
            ensure!(wrote.is_err(), "{file} is writable");
            Ok(())
        })?;

        // Links that were made by hand are treated as ours.
        drop(process);
        eventually("the cable is gone", || {
            Ok(!host.sh("ip -o link show type veth | grep -v ocvn- || true")?.contains("ocv"))
        })?;
        host.container("next").run()?.delete()?;
        host.settles()?;
        host.sh("rm -rf /run/ocinet/containers")?;
        host.ocinet("reset")?.success().map(drop)
    })
}

/// The lines of a plan to connect a container that runs: it is on the network, and its port leads there.
#[test]
fn the_lines_of_a_connect_work_as_typed() -> Result<()> {
    let define = "mkdir -p /etc/ocinet/networks
        printf 'bridge = \"ocn-1\"\n[[subnet]]\nrange = \"10.64.1.0/24\"\n' >/etc/ocinet/networks/own.toml";
    Firewall::ALL.into_iter().try_for_each(|firewall| {
        Settings::default().runtime(Runtime::Runc).firewall(firewall).prepare(define).test(|host| {
            let web = host.container("web").publish("8080:80").run()?;
            let before = host.sandboxes()?;
            let lines = host.unchanged_by(|| host.ocinet("plan connect -v --gw-priority 1 own web"))?.success()?;
            let json: Plan = serde_json::from_str(&host.ocinet("plan connect --json own web")?.success()?)?;
            ensure!(json.sandbox.endpoints.len() == 2 && host.sandboxes()? == before, "{json:#?}");
            fs::write(host.path("/mnt/lines"), &lines)?;
            host.sh(&format!("PID={}; set -x; . /mnt/lines", web.pid())).with_context(|| lines.clone())?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            ensure!(web.sh("ip -4 route show default")?.contains("via 10.64.1.1 dev eth1"), "{lines}");
            ensure!(web.exec(&["cat", "/etc/hosts"])?.contains("10.64.1.2"), "{lines}");
            let rules = host.sh("nft list ruleset; iptables-legacy-save -t nat")?;
            ensure!(!rules.contains("10.90.0.2:80") && !rules.contains("10.90.0.2 . 80"), "{rules}");
            web.delete()?;
            host.settles()?;
            host.ocinet("doctor --fix")?.success()?;
            host.ocinet("plan connect own web")?.exits(5)?.is_one_line().map(drop)
        })
    })
}

/// The plan fails with the same line and exit code as the attach.
#[test]
fn a_plan_fails_as_the_attach_would() -> Result<()> {
    Settings::default().test(|host| {
        let _owner = host.container("owner").network("bridge:ip=10.90.0.9").publish("8080:80").run()?;
        let _listener = host.serve("listener", &["8088"])?;
        let rows = [
            ("io.ocinet.publish", "8080:80", 3),
            ("io.ocinet.publish", "8088:80", 3),
            ("io.ocinet.publish", "203.0.113.1:81:80", 2),
            ("io.ocinet.publish", "nonsense", 2),
            ("io.ocinet.network", "bridge:ip=10.90.0.9", 3),
            ("io.ocinet.network", "bridge:ip=192.0.2.1", 2),
            ("io.ocinet.hostname", "other", 2),
            ("io.ocinet.nmae", "web", 2),
        ];
        every(rows, |(key, value, code)| {
            let web = host.container("web").annotation(key, value).prepare()?;
            let planned = host.unchanged_by(|| plan(host, &web, ""))?.exits(*code)?.is_refusal()?;
            let attached = web.hook("createRuntime")?.exits(*code)?;
            ensure!(planned.stderr == attached.stderr, "{planned}\n{attached}");
            Ok(())
        })
    })
}

/// The bundle names the container's namespace, so the plan detects a network that does not fit.
#[test]
fn a_plan_knows_the_namespace() -> Result<()> {
    Settings::default().test(|host| {
        every(["host's own", "container's own"], |namespace| {
            let draft = host.container("web");
            let draft = match *namespace {
                "host's own" => draft.in_host_namespace().serving(&["8088"]),
                _ => draft.network("host"),
            };
            let web = draft.prepare()?;
            let says = &["io.ocinet.network", "linux.namespaces"];
            web.hook("createRuntime")?.exits(2)?.is_refusal()?.says(says)?;
            plan(host, &web, "")?.exits(2)?.is_refusal()?.says(says)?;
            Ok(())
        })
    })
}

/// No valid bundle, or one without annotations of ours.
#[test]
fn a_plan_needs_a_bundle() -> Result<()> {
    Settings::default().test(|host| {
        let silent = host.container("web").without_annotations().prepare()?;
        let silent = silent.bundle().to_owned();
        let rows = [("/mnt/none", "/mnt/none"), ("/mnt/bin", "config.json"), (&silent, "io.ocinet.*")];
        every(rows, |(bundle, word)| {
            let refusal = host.unchanged_by(|| host.ocinet(&format!("plan {bundle}")))?;
            ensure!(refusal.stderr.contains(word), "{refusal}");
            refusal.exits(2)?.is_refusal().map(drop)
        })?;
        ensure!(!host.path("/run/ocinet").exists(), "not even a folder");
        Ok(())
    })
}

/// The modes without a link pair also have a plan.
#[test]
fn a_plan_without_a_cable() -> Result<()> {
    Settings::default().runtime(Runtime::Crun).test(|host| {
        let rows = [
            (host.container("web").network("none"), "link set lo up"),
            (host.container("web").network("host").in_host_namespace(), "resolv.conf"),
        ];
        every(rows, |(draft, word)| {
            let web = draft.clone().prepare()?;
            let lines = plan(host, &web, "-v")?.success()?;
            ensure!(lines.contains(word) && !lines.contains("veth") && !lines.contains("nft"), "{lines}");
            Ok(())
        })
    })
}

/// What the dead hold, and what is leaving, is in no plan's way: an attach takes it away, or waits for it.
#[test]
fn what_leaves_is_in_no_plans_way() -> Result<()> {
    Settings::default().prepare("mkdir -p /etc/ocinet/networks").test(|host| {
        host.ocinet("network create --subnet 10.70.0.0/29 tiny")?.success()?;
        let all = (0..5).map(|nth| host.container(&format!("c{nth}")).network("tiny").run());
        let mut all = all.collect::<Result<Vec<_>>>()?.into_iter();
        let next = host.container("next").network("tiny").prepare()?;
        let plan = || host.ocinet(&format!("plan {} --id next", next.bundle()));
        plan()?.exits(4)?;
        all.next().context("the first")?.abandon()?;
        plan()?.success()?;
        for container in all {
            container.delete()?;
            plan()?.success()?;
        }
        host.ocinet("gc")?.success()?;
        host.ocinet("network rm tiny")?.success().map(drop)
    })
}
