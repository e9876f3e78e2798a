//! A client that never pauses: the kernel's memory of its flow must not outlive the container it leads to.

use anyhow::{Result, ensure};
use ocinet_integration::{Proto::Udp, UPLINK, in_every_world};

/// The port of the host, and the one the client sends from.
const SERVICE: &str = "198.51.100.1:5300";

/// It asks before anybody is there, goes on while one container replaces another, and hears each of them.
#[test]
fn a_client_that_keeps_sending_reaches_the_next_container() -> Result<()> {
    in_every_world(|host| {
        let mut client = host.peer().keep_asking(SERVICE, 5301)?;
        let mut insider = host.keep_asking(SERVICE, 5302)?;
        client.hears("-")?;
        insider.hears("-")?;
        for name in ["first", "second"] {
            let container = host.container(name).publish("5300:80/udp").run()?;
            client.hears(name)?;
            insider.hears(name)?;
            container.delete()?;
        }
        Ok(())
    })
}

/// Only flows of the port that changes hands are forgotten.
#[test]
fn other_flows_are_left_alone() -> Result<()> {
    in_every_world(|host| {
        let _other = host.container("other").publish("5400:80/udp").run()?;
        let mut client = host.peer().keep_asking(&format!("{UPLINK}:5400"), 5401)?;
        client.hears("other")?;
        let flow = || host.sh("conntrack --dump --proto udp --orig-port-src 5401 --output id 2>&1 | grep -o 'id=.*'");
        let before = flow()?;
        let web = host.container("web").publish("5300:80/udp").run()?;
        host.peer().reaches(Udp, SERVICE)?.is("web")?;
        web.delete()?;
        host.settled_records()?;
        ensure!(flow()? == before, "flow {before} has become {}", flow()?);
        Ok(())
    })
}

/// The address of a stopped container goes to another one that has published nothing. The old flow must not lead there.
#[test]
fn a_flow_does_not_follow_the_address() -> Result<()> {
    in_every_world(|host| {
        let network = "bridge:ip=10.90.0.9";
        let mut client = host.peer().keep_asking(SERVICE, 5301)?;
        let first = host.container("first").network(network).publish("5300:80/udp").run()?;
        client.hears("first")?;
        first.delete()?;
        host.settles()?;
        let _private = host.container("private").network(network).run()?;
        client.never_hears("private")
    })
}
