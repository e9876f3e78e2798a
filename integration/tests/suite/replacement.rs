//! A client that sends without pause: conntrack's entry of its flow must not outlive the container that it leads to.

use anyhow::{Result, ensure};
use ocinet_integration::{
    Host, Output, PEER, Place, Proto, Proto::Tcp, Proto::Udp, Settings, UPLINK, eventually, in_every_world,
    with_every_firewall,
};

/// The published port, and the client's source port.
const SERVICE: &str = "198.51.100.1:5300";

/// The client asks before any container is attached, continues while one container replaces another, and gets answers
/// from each.
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

/// Only flows of the port that changes its container are deleted.
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
        host.settled_sandboxes()?;
        ensure!(flow()? == before, "flow {before} has become {}", flow()?);
        Ok(())
    })
}

/// The address of a stopped container goes to another one without published ports. The old flow must not lead there.
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

/// All flows of a container are deleted with it: those to its published ports, those that came to it directly, and
/// those that it began.
#[test]
fn all_flows_of_an_address_end_with_its_container() -> Result<()> {
    with_every_firewall(|host| {
        let _world = host.peer().serve("world", &["7000"])?;
        let network = "bridge:ip=10.90.0.9";
        let first = host.container("first").network(network).publish("5300:80,5300:80/udp").run()?;
        for proto in Proto::ALL {
            host.peer().reaches(proto, SERVICE)?.is("first")?;
            host.reaches(proto, "10.90.0.9:80")?.is("first")?;
            first.reaches(proto, format!("{PEER}:7000"))?.is("world")?;
        }
        ensure!(flows_of(host, "10.90.0.9")?.lines().count() >= 6, "{}", flows_of(host, "10.90.0.9")?);
        let other = flows_of(host, UPLINK)?.lines().filter(|flow| !flow.contains("10.90.0.9")).count();
        first.delete()?;
        host.settles()?;
        let left = flows_of(host, "10.90.0.9")?;
        ensure!(left.is_empty(), "conntrack still knows\n{left}");
        let others = flows_of(host, UPLINK)?.lines().count();
        ensure!(others >= other, "flows of others went: {others} of {other} are left");
        Ok(())
    })
}

/// A client that still sends on a connection to the first container does not reach the next one at that address, which
/// has published nothing.
#[test]
fn a_connection_does_not_follow_the_address() -> Result<()> {
    with_every_firewall(|host| {
        let network = "bridge:ip=10.90.0.9";
        let first = host.container("first").network(network).publish("5300:80").run()?;
        let _client = host.peer().hold(Tcp, SERVICE, 5301)?;
        // The client does not learn that its connection has ended.
        host.peer().sh("nft 'add table ip deaf; add chain ip deaf in { type filter hook input priority 0; }'
            nft add rule ip deaf in tcp flags '&' '(fin | rst)' != 0 drop")?;
        first.abandon()?;
        let private = host.container("private").network(network).run()?;
        let before = segments(&host.peer(), "RetransSegs")?;
        eventually("the client has sent more", || Ok(segments(&host.peer(), "RetransSegs")? > before))?;
        ensure!(segments(&private, "InSegs")? == 0, "the connection leads into the next container");
        private.delete()
    })
}

/// A full conntrack table does not stop an attach: it is neither copied nor listed as a whole.
#[test]
fn a_full_table_does_not_fill_the_hook() -> Result<()> {
    Settings::default().test(|host| {
        // Conntrack is active only once rules are loaded.
        host.container("earlier").run()?.delete()?;
        host.flood(PEER, 60_000)?;
        for publish in ["5300:80/udp", "6000-6019:6000-6019/udp"] {
            let web = host.container("web").publish(publish).prepare()?;
            let mut hook = host.command(&["sh", "-c", "ulimit -v 49152; exec /mnt/bin/ocinet hook createRuntime"]);
            Output::of(&mut hook, web.state("createRuntime").to_string().as_bytes())?.exits(0)?;
            web.hook("poststop")?.exits(0)?;
            web.abandon()?;
            host.settles()?;
        }
        let flows = host.sh("cat /proc/sys/net/netfilter/nf_conntrack_count")?;
        ensure!(flows.trim().parse::<u32>()? > 50_000, "only {flows} flows were there");
        Ok(())
    })
}

/// The conntrack entries from or to `address`.
fn flows_of(host: &Host, address: &str) -> Result<String> {
    host.sh(&format!("conntrack --dump 2>/dev/null | grep -w -- '{address}' || true"))
}

/// The number of TCP segments received (`InSegs`), or retransmitted (`RetransSegs`).
fn segments(place: &Place, counter: &str) -> Result<u64> {
    let script = format!(
        "awk '/^Tcp:/ {{ if (at) print $at; for (i = 1; i <= NF; i++) if ($i == \"{counter}\") at = i }}' /proc/net/snmp"
    );
    Ok(place.sh(&script)?.trim().parse()?)
}
