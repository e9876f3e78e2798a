//! Conflicts with other programs: a port, a listener, a rule that drops.

use anyhow::{Result, ensure};
use ocinet_integration::{Host, PEER, Proto, Proto::Tcp, Proto::Udp, Runtime, Settings, UPLINK, every};

/// Publishes `second` while a container called `first` publishes `first`, and expects a refusal that contains `words`.
fn conflict(host: &Host, first: &str, second: &str, words: &[&str]) -> Result<()> {
    let _first = host.container("first").publish(first).run()?;
    let refusal = host.unchanged_by(|| host.container("second").publish(second).refused())?;
    refusal.exits(3)?.is_one_line()?.says(words)?;
    host.check()
}

/// The error names the port, its owner, and the next free port.
#[test]
fn a_published_port_is_refused_to_others() -> Result<()> {
    Settings::default().test(|host| {
        conflict(host, "8080:80", "8080:80", &["0.0.0.0:8080/tcp", "first", "8081 is free"])?;
        conflict(host, "8080-8084:80-84", "8082:80", &["8082/tcp", "first", "8085 is free"])?;
        conflict(host, "8080:80/udp", "8080:80/udp", &["8080/udp", "first", "8081 is free"])
    })
}

/// A port on every address conflicts with the same port on a single address, in both orders.
#[test]
fn every_address_overlaps_a_single_one() -> Result<()> {
    Settings::default().test(|host| {
        for single in ["127.0.0.1:8080:80", "198.51.100.1:8080:80"] {
            conflict(host, "8080:80", single, &["8080/tcp", "first"])?;
            conflict(host, single, "8080:80", &["8080/tcp", "first"])?;
            conflict(host, single, single, &["8080/tcp", "first"])?;
        }
        conflict(host, "8080:80", "0.0.0.0:8080:80", &["8080/tcp", "first"])
    })
}

/// The same port of another protocol or of another single address is no conflict.
#[test]
fn what_does_not_overlap_is_granted() -> Result<()> {
    Settings::default().test(|host| {
        let _one = host.container("one").publish("127.0.0.1:8080:80").run()?;
        let _two = host.container("two").publish("198.51.100.1:8080:80,8080:80/udp").run()?;
        host.reaches(Tcp, "127.0.0.1:8080")?.is("one")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("two")?;
        host.peer().reaches(Udp, format!("{UPLINK}:8080"))?.is("two")?;
        host.check()
    })
}

/// The runtime shows the refusal to its caller.
#[test]
fn the_runtimes_show_the_refusal() -> Result<()> {
    for runtime in [Runtime::Runc, Runtime::Crun] {
        Settings::default().runtime(runtime).test(|host| {
            let _first = host.container("first").publish("8080:80").run()?;
            let refusal = host.container("second").publish("8080:80").refused()?;
            refusal.says(&["8080/tcp is published by container first"])?;
            host.check()
        })?;
    }
    Ok(())
}

/// A process of the host listens on the port. Publishing it would take the packets of its clients.
#[test]
fn a_listener_of_the_host_is_respected() -> Result<()> {
    Settings::default().test(|host| {
        for (proto, listener, publish) in [
            (Tcp, "0.0.0.0:8080", "8080:80"),
            (Tcp, "127.0.0.1:8080", "8080:80"),
            (Tcp, "198.51.100.1:8080", "8080:80"),
            (Tcp, "0.0.0.0:8080", "127.0.0.1:8080:80"),
            (Tcp, "[::]:8080", "8080:80"),
            (Udp, "0.0.0.0:8080", "8080:80/udp"),
            (Udp, "127.0.0.53:8080", "127.0.0.53:8080:80/udp"),
            (Tcp, "0.0.0.0:8082", "8080-8085:80-85"),
            (Tcp, "0.0.0.0:8099", "8080-8099:8080-8099"),
        ] {
            let _listener = host.listen(proto, listener)?;
            let port = listener.rsplit(':').next().unwrap_or_default();
            let refusal = host.unchanged_by(|| host.container("web").publish(publish).refused())?;
            refusal.exits(3)?.is_one_line()?.says(&[&format!("{port}/{}", proto.name())])?;
            host.settles()?;
        }
        Ok(())
    })
}

/// A listener on another address is no conflict. So a resolver on 127.0.0.53 can stay beside a port published on every
/// address, since that covers only 127.0.0.1 of the loopback range.
#[test]
fn a_listener_elsewhere_does_not_matter() -> Result<()> {
    Settings::default().test(|host| {
        for (proto, listener, publish) in [
            (Tcp, "127.0.0.1:8080", "198.51.100.1:8080:80"),
            (Tcp, "127.0.0.53:8080", "8080:80"),
            (Udp, "127.0.0.53:8080", "8080:80,8080:80/udp"),
            (Udp, "0.0.0.0:8080", "8080:80/tcp"),
            (Tcp, "0.0.0.0:8081", "8080:80"),
        ] {
            let _listener = host.listen(proto, listener)?;
            let web = host.container("web").publish(publish).run()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            web.delete()?;
            host.settles()?;
        }
        Ok(())
    })
}

/// A connection of the host that has the port as its source is no listener: its answers still reach it.
#[test]
fn a_connection_of_the_host_does_not_matter() -> Result<()> {
    Settings::default().test(|host| {
        let _world = host.peer().serve("world", &["7000"])?;
        for proto in Proto::ALL {
            let _client = host.hold(proto, &format!("{PEER}:7000"), 8080)?;
            let web = host.container("web").publish(&format!("8080:80/{}", proto.name())).run()?;
            host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
            let doctor = host.ocinet("doctor")?.success()?;
            ensure!(!doctor.contains("is listened on"), "{doctor}");
            web.delete()?;
            host.settles()?;
        }
        Ok(())
    })
}

/// A free port is one that neither a container nor a listener uses.
#[test]
fn a_free_port_is_free() -> Result<()> {
    Settings::default().test(|host| {
        let containers = (0..3).map(|number| host.container(&format!("web{number}")).publish("80,80/udp").run());
        let containers = containers.collect::<Result<Vec<_>>>()?;
        for (number, container) in containers.iter().enumerate() {
            for port in container.sandbox()?.publish {
                let proto = if port.protocol == "udp" { Udp } else { Tcp };
                host.peer().reaches(proto, format!("{UPLINK}:{}", port.host_port))?.is(&format!("web{number}"))?;
            }
        }
        host.check()
    })
}

/// A chain of another program drops forwarded packets: the attach succeeds, and warns with the name of the chain and a
/// command that opens it. The test runs the command as printed.
#[test]
fn a_chain_that_drops_is_a_warning() -> Result<()> {
    let docker = "nft add table ip filter
        nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'";
    Settings::default().prepare(docker).test(|host| {
        let (web, output) = host.container("web").publish("8080:80,8080:80/udp").start()?;
        let output = output.exits(0)?.is_one_line()?.says(&["warning", "filter", "FORWARD", "nft insert rule"])?;
        ensure!(web.is_some(), "it runs");
        for proto in Proto::ALL {
            host.peer().cannot_reach(proto, format!("{UPLINK}:8080"))?;
        }
        let command = output.stderr.rsplit(": ").next().unwrap_or_default();
        host.sh(command)?;
        for proto in Proto::ALL {
            host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
        }
        let quiet = host.container("quiet").start()?.1;
        ensure!(quiet.stderr.is_empty(), "the chain is open now:\n{quiet}");
        host.sh("nft flush chain ip filter FORWARD").map(drop)
    })
}

/// The kernel refuses after half of the steps: they are undone.
#[test]
fn a_failed_attach_leaves_nothing() -> Result<()> {
    Settings::default().test(|host| {
        host.container("earlier").run()?.delete()?;
        host.settles()?;
        host.sh("ip netns add pod; ip -netns pod link add eth0 type bridge")?;
        let draft = host.container("web").in_namespace("/run/netns/pod").publish("8080:80,8080:80/udp");
        let refusal = host.unchanged_by(|| {
            let refusal = draft.refused()?;
            host.settles()?;
            Ok(refusal)
        })?;
        refusal.exits(3)?.is_one_line()?.says(&["eth0"])?;
        host.sh("ip -netns pod -details link show eth0 | grep -q bridge; ip netns del pod").map(drop)
    })
}

/// An interface of another program has the name of our bridge. It stays as it is, and the attach is refused.
#[test]
fn a_strangers_interface_is_not_taken_over() -> Result<()> {
    Settings::default().test(|host| {
        let links = [
            "ip link add ocinet0 type veth peer name ocinet0-peer",
            "ip link add ocinet0 type bridge",
            "ip link add ocinet0 type bridge; ip link set ocinet0 up; ip address add 192.168.78.1/24 dev ocinet0",
        ];
        every(links, |link| {
            host.sh(link)?;
            let look =
                || host.sh("ip -details -oneline address show dev ocinet0 | grep -oE 'UP|alias.*|inet .*' || true");
            let before = look()?;
            let (web, output) = host.container("web").publish("8080:80").start()?;
            let after = look()?;
            drop(web);
            host.sh("ip link del ocinet0")?;
            host.settles()?;
            ensure!(before == after, "{before}\nbecame\n{after}");
            output.exits(3)?.is_one_line()?.says(&["ocinet0"]).map(drop)
        })
    })
}

/// An interface of another program has the name that the container's link would get. It stays as it is, and our link
/// gets another name.
#[test]
fn a_strangers_link_keeps_its_name() -> Result<()> {
    Settings::default().test(|host| {
        let strangers =
            ["type veth peer name other", "type bridge", "address 02:00:00:00:00:77 type veth peer name other"];
        every(strangers, |stranger| {
            host.sh(&format!("ip link add ocv0a5a0007 {stranger}; ip link set ocv0a5a0007 up"))?;
            let look = || host.sh("ip -oneline link show ocv0a5a0007");
            let before = look()?;
            let web = host.container("web").network("bridge:ip=10.90.0.7").publish("8080:80").run()?;
            ensure!(web.host_interface()? == "ocv0a5a0007-1", "{}", web.host_interface()?);
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            web.delete()?;
            host.settles()?;
            ensure!(look()? == before, "{before}\nbecame\n{}", look()?);
            host.sh("ip link del ocv0a5a0007").map(drop)
        })
    })
}
