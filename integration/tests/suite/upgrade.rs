//! From the previous release to this one, while containers run, and back.

use anyhow::{Result, ensure};
use ocinet_integration::service::{Service, forever};
use ocinet_integration::survive::{Scene, Share, before_an_upgrade};
use ocinet_integration::{ASKING, Firewall, Host, Installed, Proto, Proto::Tcp, Settings, State, UPLINK};
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
        [web, db, next].into_iter().try_for_each(ocinet_integration::Container::delete)
    })?;
    Ok(expected)
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
            ensure!(follower.change()?.0 == "-dead", "the service of the release before sees what this one does");
            let next = host.container("next").network("bridge:ip=10.90.0.78").publish("8081:80/udp").run()?;
            ensure!(follower.change()?.0 == "+next", "the same");
            host.check()?;
            ensure!(rules(host)? == expected, "{}\nwhere it should be\n{expected}", rules(host)?);
            for proto in Proto::ALL {
                host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
            }
            ensure!(list(&service)?.containers.len() == 4, "{}", list(&service)?);
            service.kill()?;
            let service = Service::start(host, &[])?;
            ensure!(list(&service)?.containers.len() == 4, "{}", list(&service)?);
            without_operators_rule(host)?;
            [web, db, job, next].into_iter().try_for_each(ocinet_integration::Container::delete)
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

/// Back to the previous release, as long as the version of the store is the same: it lists and detaches what this
/// release attached. It cannot clear the rules of this release, so the operator deletes them first, and it loads its
/// own.
#[test]
fn the_release_before_goes_on_with_what_this_one_did() -> Result<()> {
    Settings::default().test(|host| {
        let [web, gone] =
            [("web", "8080:80"), ("gone", "8081:80")].map(|(id, port)| host.container(id).publish(port).run());
        let (web, gone) = (web?, gone?);
        let job = host.container("job").network("none").run()?;
        let dead = host.container("dead").publish("8082:80").run()?;
        dead.abandon()?;
        let before = host.sandboxes()?;
        Installed::Before.on(host)?;
        ensure!(host.sandboxes()? == before, "{:#?}\nbefore, and now\n{:#?}", before, host.sandboxes()?);
        gone.delete()?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8081"))?;
        host.sh("nft delete table inet ocinet")?;
        host.ocinet("gc")?.success()?;
        let other = host.container("other").publish("8081:80").run()?;
        for (port, name) in [(8080, "web"), (8081, "other")] {
            host.peer().reaches(Tcp, format!("{UPLINK}:{port}"))?.is(name)?;
        }
        web.delete()?;
        Installed::Now.on(host)?;
        let left = host.settled_sandboxes()?;
        ensure!(left.len() == 2 && left.iter().all(|sandbox| sandbox.state == State::Attached), "{left:#?}");
        host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("other")?;
        other.delete()?;
        job.delete()
    })
}
