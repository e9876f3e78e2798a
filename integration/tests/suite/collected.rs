//! A container is gone and poststop never came. A new container that needs its address or port removes it, and so does
//! `gc`.

use anyhow::{Result, ensure};
use ocinet_integration::survive::CALLER;
use ocinet_integration::{
    Container, OCINET, Output, Proto::Tcp, Runtime, Settings, State, UPLINK, every, with_every_firewall,
};

/// A later hook fails under crun, which never calls poststop: the next container gets the address and the port.
#[test]
fn what_crun_leaves_can_be_had() -> Result<()> {
    Settings::default().runtime(Runtime::Crun).test(|host| {
        let network = "bridge:ip=10.90.0.9";
        host.container("web").network(network).publish("8080:80").later_hook_fails().refused()?;
        ensure!(host.sandboxes()?.len() == 1, "crun has learned to call poststop: {:#?}", host.sandboxes()?);
        let _heir = host.container("heir").network(network).publish("8080:80").run()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("heir")?;
        ensure!(host.settled_sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
        host.check()
    })
}

/// Address, MAC and ports each alone, and ports that only overlap.
#[test]
fn each_thing_that_the_dead_hold_can_be_had() -> Result<()> {
    with_every_firewall(|host| {
        let things = [
            (("bridge:ip=10.90.0.9", ""), ("bridge:ip=10.90.0.9", "")),
            (("bridge:mac=02:00:00:00:00:09", ""), ("bridge:mac=02:00:00:00:00:09", "")),
            (("bridge", "8080:80"), ("bridge", "8080:80")),
            (("bridge", "8080:80/udp"), ("bridge", "8080:80/udp")),
            (("bridge", "8080:80"), ("bridge", "127.0.0.1:8080:80")),
            (("bridge", "127.0.0.1:8080:80"), ("bridge", "8080:80")),
            (("bridge", "8000-8100:8000-8100"), ("bridge", "8050:80")),
        ];
        every(things, |((held, ports), (wanted, port))| {
            host.container("dead").network(held).publish(ports).run()?.abandon()?;
            let heir = host.container("heir").network(wanted).publish(port).run()?;
            let sandboxes = host.settled_sandboxes()?;
            ensure!(sandboxes.len() == 1 && sandboxes[0].container == "heir", "{sandboxes:#?}");
            host.check()?;
            heir.delete()?;
            host.settles()
        })
    })
}

/// A namespace outlives its container, and the child that should have deleted its link was killed: the address is not
/// given to another container while that link exists.
#[test]
fn an_address_is_not_given_twice_while_its_link_is_there() -> Result<()> {
    Settings::default().test(|host| {
        let network = "bridge:ip=10.90.0.9";
        let nothing_but_its_link = |web: &Container<'_>| -> Result<()> {
            let mut poststop = host.command(&[CALLER, "kill-at", "1", "10", OCINET, "hook", "poststop"]);
            let killed = Output::of(&mut poststop, web.state("poststop").to_string().as_bytes())?;
            ensure!(killed.stderr.contains("caller: killed"), "{killed}");
            let sandboxes = host.sandboxes()?;
            ensure!(sandboxes.len() == 1 && sandboxes[0].state == State::Draining, "{sandboxes:#?}");
            ensure!(!links(web)?.is_empty(), "the link should be there still");
            Ok(())
        };
        let web = host.container("web").network(network).publish("8080:80").run()?;
        nothing_but_its_link(&web)?;
        let heir = host.container("heir").network(network).publish("8080:80").run()?;
        ensure!(links(&web)?.is_empty(), "10.90.0.9 is there twice: {}", links(&web)?);
        host.check()?;
        heir.delete()?;
        web.delete()?;
        host.settles()?;

        let web = host.container("web").network(network).publish("8080:80").run()?;
        nothing_but_its_link(&web)?;
        host.ocinet("gc")?.success()?;
        ensure!(links(&web)?.is_empty(), "gc has not finished the drain");
        host.settles()
    })
}

fn links(container: &Container<'_>) -> Result<String> {
    container.sh("ip -oneline link show type veth")
}
