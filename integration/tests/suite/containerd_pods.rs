//! Pods, as a kubelet makes them: CNI gives each a network, and ocinet a second one to those that ask.
//!
//! containerd 1 calls the shim's `start` and `delete` for every container of a pod, containerd 2 only for the sandbox.
//! The result is the same: only the sandbox has the network.

use anyhow::{Context, Result, ensure};
use ocinet_integration::pods::{Pod, with_pods};
use ocinet_integration::{Host, Proto::Tcp, UPLINK, eventually, every};

const ASKED: [(&str, &str); 2] = [("io.ocinet.network", "bridge:interface=eth1"), ("io.ocinet.publish", "8080:80")];

fn the_address(host: &Host) -> Result<String> {
    let sandboxes = host.sandboxes()?;
    ensure!(sandboxes.len() == 1, "one record: {sandboxes:#?}");
    Ok(sandboxes[0].address().context("an address")?.to_string())
}

/// The default route of CNI is the only one.
fn keeps_its_default_route(pod: &Pod<'_>) -> Result<()> {
    let routes = pod.place.sh("ip route show default")?;
    ensure!(routes.contains("dev eth0") && routes.lines().count() == 1, "{routes}");
    Ok(())
}

/// A second network for the pod, which its containers share. It stays until the pod is deleted, even if containers are
/// started and stopped.
#[test]
fn a_further_network() -> Result<()> {
    with_pods(|host, pods| {
        let pod = pods.run("shop", "ocinet", &ASKED)?;
        let address = the_address(host)?;
        keeps_its_default_route(&pod)?;
        // A kubelet gives every container the annotations of its pod.
        let web = pod.start("web", 80, &ASKED)?;
        let side = pod.start("side", 81, &[])?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.reaches(Tcp, format!("{address}:81"))?.is("side")?;
        ensure!(pod.exec(&side, &["ip", "-o", "-4", "address"])?.contains(&address), "one namespace");
        pod.stop(&web)?;
        ensure!(the_address(host)? == address, "it stays");
        host.reaches(Tcp, format!("{address}:81"))?.is("side")?;
        let again = pod.start("again", 80, &ASKED)?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("again")?;
        keeps_its_default_route(&pod)?;
        pod.stop(&side)?;
        pod.stop(&again)?;
        pod.delete()?;
        host.settles()
    })
}

/// A pod that runs joins a network and leaves it, beside CNI's network and the one that it asked for. Nothing of it is
/// kept when the pod is gone, whose id never comes again.
#[test]
fn it_joins_a_network_while_it_runs() -> Result<()> {
    with_pods(|host, pods| {
        host.ocinet("network create back")?.success()?;
        let pod = pods.run("shop", "ocinet", &ASKED)?;
        let web = pod.start("web", 80, &ASKED)?;
        let connect = || host.ocinet(&format!("network connect back {}", &pod.id[..12]));
        let disconnect = || host.ocinet(&format!("network disconnect back {}", pod.id));
        for _ in 0..2 {
            connect()?.exits(0)?;
            let address = pod.place.sh("ip -o -4 address show dev eth0; ip -o -4 address show dev eth2")?;
            ensure!(address.contains("10.64.0."), "{address}");
            ensure!(pod.exec(&web, &["ip", "-o", "link"])?.contains("eth2"), "its containers have it");
            keeps_its_default_route(&pod)?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
            pod.place.sh("ping -c 1 -W 2 10.64.0.1")?;
            host.ocinet("doctor")?.success()?;
            disconnect()?.exits(0)?;
            eventually("its link goes", || Ok(!pod.place.sh("ip -br link")?.contains("eth2")))?;
            keeps_its_default_route(&pod)?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        }
        connect()?.exits(0)?;
        let id = pod.id.clone();
        pod.stop(&web)?;
        pod.delete()?;
        host.settles()?;
        host.ocinet("gc")?.success()?;
        host.ocinet(&format!("network disconnect back {id}"))?.exits(5)?;
        host.sh(&format!("{} network rm back; rmdir /etc/ocinet/networks", ocinet_integration::OCINET)).map(drop)
    })
}

/// A pod without an annotation is as without ocinet, and one of its containers cannot ask for the pod.
#[test]
fn who_does_not_ask() -> Result<()> {
    with_pods(|host, pods| {
        let pod = pods.run("plain", "ocinet", &[])?;
        let web = pod.start("web", 80, &ASKED)?;
        ensure!(!pod.exec(&web, &["ip", "link"])?.contains("eth1"), "a further network");
        keeps_its_default_route(&pod)?;
        ensure!(!host.path("/run/ocinet/lock").exists(), "not even a file");
        pod.stop(&web)
    })
}

/// A refused request gives an error to the kubelet, and leaves nothing.
#[test]
fn what_is_refused() -> Result<()> {
    let rows = [
        (vec![("io.ocinet.network", "bridge")], "eth0"),
        (vec![("io.ocinet.network", "brigde:interface=eth1")], "brigde"),
        (vec![("io.ocinet.network", "host")], "hostNetwork"),
        (vec![("io.ocinet.network", "container:nobody")], "nobody"),
    ];
    with_pods(|host, pods| {
        every(&rows, |(annotations, words)| {
            let refused = pods.run("web", "ocinet", annotations).map(|pod| pod.id.clone());
            let error = format!("{:#}", refused.err().context("it runs")?);
            ensure!(error.contains("ocinet: ") && error.contains(words), "{error}");
            host.settles()
        })
    })
}

/// The pod's shim is killed, and so containerd loses all its containers.
#[test]
fn the_shim_of_a_pod_is_killed() -> Result<()> {
    with_pods(|host, pods| {
        let pod = pods.run("shop", "ocinet", &ASKED)?;
        pod.start("web", 80, &ASKED)?;
        let shim = host.sh("ps -e -o pid=,args= | awk '/[c]ontainerd-shim-runc-v2/ {print $1}'")?;
        ensure!(shim.lines().count() == 1, "one shim for all: {shim:?}");
        host.sh(&format!("kill -KILL {shim}"))?;
        eventually("its lease is gone", || Ok(host.settled_sandboxes()?.is_empty()))?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        pod.delete()
    })
}
