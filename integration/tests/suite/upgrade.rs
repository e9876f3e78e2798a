//! From the previous release to this one, while containers run, and back.

use anyhow::{Result, ensure};
use ocinet_integration::service::{Service, forever};
use ocinet_integration::survive::{Scene, Share, before_an_upgrade};
use ocinet_integration::{
    ASKING, Container, Firewall, Host, Installed, OCINET, Output, Proto, Proto::Tcp, Settings, State, UPLINK,
    eventually, every,
};
use ocinet_proto::v1::{ListRequest, ListResponse};

/// Everything of ours in the firewall, as text that is the same on two hosts with the same containers.
fn rules(host: &Host) -> Result<String> {
    match host.firewall().iptables() {
        None => host.sh("nft --stateless list ruleset | sed -n '/^table.* ocinet/,/^}/p'"),
        // The lines are sorted by table: iptables-nft keeps empty tables, in the order in which they were made.
        Some(iptables) => host.sh(&format!(
            "{iptables}-save | sed 's/\\[.*\\]//' | awk '/^\\*/ {{ table = $0 }} /OCINET/ {{ print table, $0 }}' | sort -s -k1,1"
        )),
    }
}

/// A rule of the operator's in the operator's chain.
fn operators_rule(host: &Host) -> Result<()> {
    match host.firewall().iptables() {
        None => host.sh("nft add rule inet ocinet operator tcp dport 4444 drop").map(drop),
        Some(iptables) => host.chains(iptables).append("filter", "OCINET-OPERATOR", "-p tcp --dport 4444 -j DROP"),
    }
}

fn without_operators_rule(host: &Host) -> Result<()> {
    match host.firewall().iptables() {
        None => host.sh("nft flush chain inet ocinet operator").map(drop),
        Some(iptables) => host.chains(iptables).execute("filter", "-F OCINET-OPERATOR").map(drop),
    }
}

fn list(service: &Service<'_>) -> Result<ListResponse> {
    service.call(async |client| client.list(forever(), &ListRequest::default()).await)
}

/// The rules of a host on which only this release was installed, with the containers of the story below.
fn expected_rules(settings: &Settings) -> Result<String> {
    let mut expected = String::new();
    settings.clone().test(|host| {
        let web = host.container("web").publish("8080-8082:80-82,127.0.0.1:8090:80,8080:80/udp").run()?;
        let db = host.container("db").network("bridge:mac=02:00:00:00:00:77,ip=10.90.0.77").run()?;
        operators_rule(host)?;
        let next = host.container("next").network("bridge:ip=10.90.0.78").publish("8081:80/udp").run()?;
        expected = rules(host)?;
        without_operators_rule(host)?;
        [web, db, next].into_iter().try_for_each(Container::delete)
    })?;
    Ok(expected)
}

/// The previous release gave the host no permanent neighbour entries. The doctor finds nothing else wrong.
fn mend_neighbours(host: &Host, containers: &[&str]) -> Result<()> {
    let told = host.ocinet("doctor")?.exits(1)?.stdout;
    let wrong: Vec<_> = told.lines().filter(|line| line.starts_with("wrong: ")).collect();
    let is_named = |name: &&str| wrong.iter().any(|line| line.contains(&format!("container {name} lacks")));
    ensure!(wrong.len() == containers.len() && containers.iter().all(is_named), "{told}");
    host.ocinet("doctor --fix")?.success().map(drop)
}

/// The previous release has containers, a dead one and the service: this release finds them all, and after its first
/// attach the rules are the same as on a host without the previous release.
#[test]
fn everything_goes_on_after_an_upgrade() -> Result<()> {
    for firewall in Firewall::ALL {
        let settings = Settings::default().firewall(firewall);
        let expected = expected_rules(&settings)?;
        settings.test(|host| {
            Installed::Before.on(host)?;
            let service = Service::start(host, &[])?;
            let mut follower = service.follow()?;
            let web = host.container("web").publish("8080-8082:80-82,127.0.0.1:8090:80,8080:80/udp").run()?;
            let db = host.container("db").network("bridge:mac=02:00:00:00:00:77,ip=10.90.0.77").run()?;
            let job = host.container("job").network("none").run()?;
            let dead = host.container("dead").network("bridge:ip=10.90.0.79").publish("8099:80").run()?;
            operators_rule(host)?;
            dead.abandon()?;
            let before = host.sandboxes()?;

            Installed::Now.on(host)?;
            ensure!(host.sandboxes()? == before, "{:#?}\nbefore, and now\n{:#?}", before, host.sandboxes()?);
            for expected in ["+web", "+db", "+job", "+dead"] {
                ensure!(follower.change()?.0 == expected, "{expected}");
            }
            host.ocinet("gc")?.success()?;
            let next = host.container("next").network("bridge:ip=10.90.0.78").publish("8081:80/udp").run()?;
            ensure!(rules(host)? == expected, "{}\nwhere it should be\n{expected}", rules(host)?);
            mend_neighbours(host, &["web", "db"])?;
            host.check()?;
            // The service of the release before does not know this store: it leaves it as it is and ends, so that its
            // manager starts this one.
            eventually("the service of the release before ends", || Ok(service.connect().is_err()))?;
            for proto in Proto::ALL {
                host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
            }
            service.kill()?;
            let service = Service::start(host, &[])?;
            ensure!(list(&service)?.containers.len() == 4, "{}", list(&service)?);
            without_operators_rule(host)?;
            [web, db, job, next].into_iter().try_for_each(Container::delete)
        })?;
    }
    Ok(())
}

/// A hook of the previous release is killed at a share of its system calls, and then the host is upgraded.
#[test]
fn a_hook_that_was_killed_before_an_upgrade_leaves_nothing() -> Result<()> {
    for (scene, settings, percent) in [
        (Scene::FirstAttach, Settings::default(), 0.5),
        (Scene::Attach, Settings::default(), 0.5),
        (Scene::Detach, Settings::default(), 0.5),
        (Scene::DetachKept, Settings::default(), 0.5),
        (Scene::Collect, Settings::default(), 0.5),
        (Scene::Attach, Settings::default().firewall(Firewall::IptablesNft), 0.2),
        (Scene::Detach, Settings::default().firewall(Firewall::IptablesNft), 0.2),
        (Scene::Attach, Settings::default().prepare(ASKING), 0.2),
    ] {
        let tally = before_an_upgrade(scene, &settings, Share::percent(percent), 4)?;
        ensure!(tally.leaks.is_empty() && tally.missed.len() * 4 <= tally.tried, "{tally:#?}");
    }
    Ok(())
}

/// A hook of the release before is in the middle of its attach when the next one is installed. That waits for it, and
/// the hook's container is whole.
#[test]
fn an_upgrade_waits_for_a_hook_in_the_middle() -> Result<()> {
    Settings::default().test(|host| {
        let web = beside_a_slow_hook(host, "delay_enter=3s", |web, slow| {
            let next = host.container("next").publish("8081:80").run()?;
            slow.finish()?.success()?;
            next.delete()?;
            ensure!(web.sandbox()?.state == State::Attached, "{:#?}", web.sandbox()?);
            mend_neighbours(host, &["web"])?;
            host.check()
        })?;
        web.hook("poststop")?.success()?;
        web.abandon()
    })
}

/// One that hangs is not waited for without end. It finds a store that it does not know, fails, and sets nothing aside;
/// what it did is taken away by the poststop that its runtime calls, or by `gc`.
#[test]
fn a_hook_that_hangs_is_overtaken_by_an_upgrade() -> Result<()> {
    every(["poststop", "gc"], |aftermath| {
        Settings::default().test(|host| {
            let web = beside_a_slow_hook(host, "signal=STOP", |web, slow| {
                let next = host.container("next").publish("8081:80").run()?;
                host.sh(
                    "for comm in $(grep -lx ocinet /proc/[0-9]*/comm); do kill -CONT $(echo $comm | cut -d/ -f3); done",
                )?;
                slow.finish()?.exits(1)?.is_one_line()?.says(&["version 6", "newer"])?;
                ensure!(web.sandbox()?.state == State::Attaching, "its intent is kept: {:#?}", web.sandbox()?);
                host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("next")?;
                next.delete()
            })?;
            if *aftermath == "poststop" {
                web.hook("poststop")?.success()?;
                web.abandon()?;
            } else {
                web.abandon()?;
                eventually("it is collected", || {
                    host.ocinet("gc")?.success()?;
                    Ok(host.sandboxes()?.is_empty())
                })?;
            }
            host.settles()?;
            host.check()?;
            ensure!(!host.sh("ls /run/ocinet")?.contains("damaged"), "the store was set aside");
            Ok(())
        })
    })
}

/// A hook that goes on beside a test.
struct Slow<'s>(std::thread::ScopedJoinHandle<'s, Result<Output>>);

impl Slow<'_> {
    fn finish(self) -> Result<Output> {
        self.0.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
    }
}

/// Lets a hook of the release before begin an attach, injects `pause` into it when the link is made, and installs this
/// one.
fn beside_a_slow_hook<'h>(
    host: &'h Host,
    pause: &str,
    deed: impl FnOnce(&Container<'h>, Slow<'_>) -> Result<()>,
) -> Result<Container<'h>> {
    Installed::Before.on(host)?;
    host.container("first").publish("8080:80").run()?.delete()?;
    host.settles()?;
    let web = host.container("web").isolated().command(&["sleep", "100000"]).publish("8080:80").prepare()?;
    // The first file that it gives to the container: all else is done.
    let pause = format!("inject=open_tree:{pause}:when=1");
    let slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &pause, OCINET, "hook", "createRuntime"];
    let state = web.state("createRuntime").to_string();
    std::thread::scope(|scope| {
        let slow = Slow(scope.spawn(|| Output::of(&mut host.command(&slow), state.as_bytes())));
        eventually("the link is made", || Ok(host.sh("ls /sys/class/net")?.contains("ocv0a5a")))?;
        Installed::Now.on(host)?;
        deed(&web, slow)
    })?;
    Ok(web)
}

/// Back to the release before, which does not know the store of this one: it refuses everything and changes nothing,
/// and this one goes on afterwards.
#[test]
fn the_release_before_leaves_the_store_of_this_one_alone() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let job = host.container("job").network("none").run()?;
        let before = host.sandboxes()?;
        host.unchanged_by(|| {
            Installed::Before.on(host)?;
            every(["ps", "gc", "doctor --fix"], |command| {
                host.ocinet(command)?.exits(1)?.is_one_line()?.says(&["version 6", "newer"]).map(drop)
            })?;
            host.container("other").publish("8081:80").refused()?.exits(1)?.is_one_line()?.says(&["version 6"])?;
            web.hook("poststop")?.exits(1)?.is_one_line()?.says(&["version 6"])?;
            Installed::Now.on(host)
        })?;
        ensure!(host.sandboxes()? == before, "{:#?}\nbefore, and now\n{:#?}", before, host.sandboxes()?);
        host.check()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        web.delete()?;
        job.delete()
    })
}
