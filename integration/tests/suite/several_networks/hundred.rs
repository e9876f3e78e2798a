//! A hundred networks on one host.

use anyhow::{Result, ensure};
use ocinet_integration::{OCINET, Proto::Tcp, Settings};

use super::address_on;

const NETWORKS: usize = 100;

/// Ten containers on each of a hundred networks: each pair meets on each network, the doctor finds nothing wrong, and
/// all of it goes.
#[test]
fn ten_containers_on_each_of_a_hundred_networks() -> Result<()> {
    Settings::default().test(|host| {
        host.sh(&format!("for n in $(seq {NETWORKS}); do {OCINET} network create n$n; done"))?;
        let all = (1..=NETWORKS).map(|n| format!("n{n}")).collect::<Vec<_>>().join(";");
        let names: Vec<String> = (0..10).map(|nth| format!("web{nth}")).collect();
        let run =
            |(name, port): (&String, usize)| host.container(name).network(&all).publish(&format!("{port}:80")).run();
        let containers = names.iter().zip(8000..).map(run).collect::<Result<Vec<_>>>()?;
        let links = host.sh("ip -br link show type veth | grep -c ^ocv[0-9a-f]")?;
        ensure!(links.trim() == (NETWORKS * names.len()).to_string(), "{links} links");
        host.ocinet("doctor")?.success()?;
        for network in ["n1", "n57", "n100"] {
            for (nth, container) in containers.iter().enumerate() {
                let sibling = (nth + 1) % containers.len();
                let there = format!("{}:80", address_on(&containers[sibling], network)?);
                container.reaches(Tcp, there)?.is(&names[sibling])?;
            }
        }
        containers.into_iter().try_for_each(|container| container.delete())?;
        ensure!(host.settled_sandboxes()?.is_empty());
        let links = host.sh("ip -br link show type veth | grep -c ^ocv[0-9a-f] || true")?;
        ensure!(links.trim() == "0", "{links} links are left");
        host.ocinet("network prune --force")?.success()?;
        let bridges = host.sh("ip -br link show type bridge | grep -c ^ocn- || true")?;
        ensure!(bridges.trim() == "0", "{bridges} bridges are left");
        let ports = host.sh("ip -br link show type veth | grep -c ^ocv || true")?;
        ensure!(ports.trim() == "0", "{ports} ports of the name server are left");
        host.sh("rmdir /etc/ocinet/networks").map(drop)
    })
}
