//! The kinds of networking and their options.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Mode, PEER, Proto::Tcp, Settings, UPLINK, on_every_runtime};

/// Loopback only.
#[test]
fn none_has_loopback_only() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").network("none").prepare()?;
        ensure!(web.sh("ip -o link show lo")?.contains("state DOWN"), "a new namespace has its loopback down");
        host.unchanged_by(|| web.hook("createRuntime")?.success())?;
        web.reaches(Tcp, "127.0.0.1:80")?.is("web")?;
        ensure!(web.sh("ip route show; ip -o link show up | grep -v ': lo:' || true")?.is_empty(), "loopback only");
        ensure!(web.sandbox()?.mode == Mode::None, "{:#?}", web.sandbox()?);
        web.hook("poststop")?.success().map(drop)
    })
}

/// The same under the runtimes.
#[test]
fn none_runs() -> Result<()> {
    on_every_runtime(|host| {
        let web = host.container("web").network("none").run()?;
        web.reaches(Tcp, "127.0.0.1:80")?.is("web")?;
        ensure!(web.sh("ip route show")?.is_empty(), "no route");
        host.check()
    })
}

/// A container that is already in the host's namespace.
#[test]
fn host_uses_the_hosts_namespace() -> Result<()> {
    on_every_runtime(|host| {
        let web = host.container("web").network("host").in_host_namespace().serving(&["8088"]).run()?;
        ensure!(web.sandbox()?.mode == Mode::Host, "{:#?}", web.sandbox()?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8088"))?.is("web")?.seen_from(PEER)?;
        host.check()
    })
}

/// A hook cannot change the namespace, so the refusal names what to change in the spec.
#[test]
fn host_with_a_private_namespace_is_refused() -> Result<()> {
    on_every_runtime(|host| {
        let refusal = host.container("web").network("host").refused()?.says(&[
            "io.ocinet.network",
            "host",
            "linux.namespaces",
        ])?;
        ensure!(refusal.code != 0, "{refusal}");
        host.settles()
    })
}

/// A container that asks for a bridge must not be in the host's namespace.
#[test]
fn bridge_in_the_hosts_namespace_is_refused() -> Result<()> {
    on_every_runtime(|host| {
        host.container("web").in_host_namespace().serving(&["8088"]).refused()?.says(&["namespace"])?;
        host.settles()
    })
}

/// As in Docker, the container starts although a port cannot be published.
#[test]
fn publishing_without_a_bridge_is_a_warning() -> Result<()> {
    Settings::default().test(|host| {
        for draft in [
            host.container("none").network("none"),
            host.container("host").network("host").in_host_namespace().serving(&["8088"]),
        ] {
            let (container, output) = draft.publish("8080:80").start()?;
            let output = output.exits(0)?.says(&["warning", "published"])?;
            ensure!(output.stderr.lines().count() == 1, "{output}");
            let container = container.context("a container")?;
            ensure!(container.sandbox()?.publish.is_empty(), "{:#?}", container.sandbox()?);
        }
        Ok(())
    })
}

/// A container without annotations of ours gets nothing, not even a file.
#[test]
fn without_annotations_nothing_happens() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").without_annotations().annotation("org.example.network", "bridge").prepare()?;
        host.unchanged_by(|| {
            for stage in ["prestart", "createRuntime", "poststop"] {
                let output = web.hook(stage)?.exits(0)?;
                ensure!(output.stdout.is_empty() && output.stderr.is_empty(), "{output}");
            }
            Ok(())
        })?;
        ensure!(!host.path("/run/ocinet").exists(), "not even a folder");
        ensure!(web.sh("ip -o link show lo")?.contains("state DOWN"), "not even loopback");
        Ok(())
    })
}

/// The same under the runtimes.
#[test]
fn without_annotations_a_container_runs() -> Result<()> {
    on_every_runtime(|host| {
        let _web = host.container("web").without_annotations().run()?;
        ensure!(host.sandboxes()?.is_empty(), "{:#?}", host.sandboxes()?);
        host.check()
    })
}

/// `default_network` wires only containers without annotations that have a new namespace of their own.
#[test]
fn a_default_network_is_for_new_namespaces() -> Result<()> {
    on_every_runtime(|host| {
        host.sh("echo 'default_network = \"bridge\"' >/etc/ocinet/config.toml")?;
        let web = host.container("web").without_annotations().run()?;
        ensure!(web.sh("ip -o -4 address show eth0")?.contains("10.90.0.2/16"), "no address");
        let _guest = host.container("guest").without_annotations().in_host_namespace().run()?;
        ensure!(host.sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
        host.sh("rm /etc/ocinet/config.toml")?;
        web.delete()
    })
}

/// The old and the new name of one stage: `prestart` alone, or both.
#[test]
fn every_stage_attaches_once() -> Result<()> {
    on_every_runtime(|host| {
        for stages in [&["prestart"][..], &["createRuntime"], &["prestart", "createRuntime"]] {
            let web = host.container("web").publish("8080:80").stages(stages).run()?;
            let sandboxes = host.settled_sandboxes()?;
            ensure!(sandboxes.len() == 1 && sandboxes[0].endpoints.len() == 1, "{sandboxes:#?}");
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            host.check()?;
            web.delete()?;
        }
        Ok(())
    })
}

/// The options of a network are applied to the container; the checker compares it with the kernel.
#[test]
fn options_are_obeyed() -> Result<()> {
    on_every_runtime(|host| {
        let network = "bridge:ip=10.90.7.7,mac=02:00:00:00:07:07,interface=net0,mtu=1400";
        let web = host.container("web").network(network).publish("8080:80").run()?;
        let endpoint = web.sandbox()?.endpoints.into_iter().next().context("an endpoint")?;
        ensure!(endpoint.addresses == ["10.90.7.7/16"] && endpoint.mac == "02:00:00:00:07:07", "{endpoint:#?}");
        ensure!(endpoint.interface == "net0" && endpoint.mtu == 1400, "{endpoint:#?}");
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.check()
    })
}

/// A packet that fits the container's interface fits the uplink.
#[test]
fn the_mtu_is_the_uplinks() -> Result<()> {
    Settings::default().mtu(1400).test(|host| {
        let web = host.container("web").run()?;
        ensure!(web.sandbox()?.endpoints[0].mtu == 1400, "{:#?}", web.sandbox()?);
        host.check()
    })
}

/// The container's files name no IPv6 address where the network has none; `::1` stays.
#[test]
fn a_network_of_version_4_has_no_version_6() -> Result<()> {
    Settings::default().test(|host| {
        let web = host.container("web").run()?;
        ensure!(web.sh("ip -6 -o address show dev eth0")?.is_empty(), "the container's interface");
        ensure!(web.sh("ip -6 -o address show dev lo")?.contains("::1/128"), "::1");
        ensure!(host.sh("ip -6 -o address show dev ocinet0")?.is_empty(), "the bridge");
        ensure!(host.sh("sysctl -n net.ipv6.conf.ocinet0.accept_ra")?.trim() == "0", "router advertisements");
        Ok(())
    })
}

/// The MAC is set explicitly: otherwise the bridge takes the smallest of its ports', and the neighbour entries of all
/// containers become wrong.
#[test]
fn the_bridge_keeps_its_mac() -> Result<()> {
    Settings::default().test(|host| {
        let mac = || host.sh("cat /sys/class/net/ocinet0/address /sys/class/net/ocinet0/addr_assign_type");
        let _web = host.container("web").run()?;
        let before = mac()?;
        ensure!(before.ends_with("\n3\n"), "the address was not set by anybody: {before}");
        let _low = host.container("low").network("bridge:mac=02:00:00:00:00:01").run()?;
        ensure!(mac()? == before, "{before} became {}", mac()?);
        Ok(())
    })
}

/// Where the host already has a route into our range, another range is chosen.
#[test]
fn another_range_is_taken_where_a_route_overlaps() -> Result<()> {
    Settings::default().prepare(&format!("ip route add 10.90.128.0/24 via {PEER}")).test(|host| {
        let web = host.container("web").publish("8080:80").run()?;
        let address = web.sandbox()?.address().context("an address")?;
        ensure!(!address.to_string().starts_with("10.90."), "{address} overlaps");
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.check()
    })
}

/// Two containers in one namespace, as in a pod: the first one owns the sandbox, the second is a member.
#[test]
fn a_second_container_in_a_namespace_is_a_member() -> Result<()> {
    on_every_runtime(|host| {
        host.sh("ip netns add pod")?;
        let owner = host.container("owner").in_namespace("/run/netns/pod").publish("8080:80").run()?;
        let member = host.container("member").in_namespace("/run/netns/pod").serving(&["81"]).run()?;
        member.reaches(Tcp, format!("{}:80", owner.sandbox()?.address().context("an address")?))?.is("owner")?;
        let endpoints: usize = host.sandboxes()?.iter().map(|sandbox| sandbox.endpoints.len()).sum();
        ensure!(endpoints == 1, "{:#?}", host.sandboxes()?);
        member.delete()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("owner")?;
        owner.delete()?;
        host.settles()?;
        ensure!(
            host.sh("ip netns exec pod ip -o link show type veth")?.is_empty(),
            "the pod's namespace is empty again"
        );
        host.sh("ip netns del pod").map(drop)
    })
}
