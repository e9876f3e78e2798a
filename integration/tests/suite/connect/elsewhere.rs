//! Published ports where the network to which they would move decides otherwise of them.

use anyhow::{Result, ensure};
use ocinet_integration::{Container, Firewall, Host, PEER, Proto::Tcp, Settings, UPLINK, every};

use super::network;

/// A network behind the default one, a routed one, and one that binds ports to the host's loopback.
const NETWORKS: &str = "mkdir -p /etc/ocinet/networks
    printf 'bridge = \"ocn-1\"\\n[[subnet]]\\nrange = \"10.64.1.0/24\"\\n' >/etc/ocinet/networks/nat.toml
    printf 'bridge = \"ocn-2\"\\nmode = \"routed\"\\n[[subnet]]\\nrange = \"10.64.2.0/24\"\\n' >/etc/ocinet/networks/routed.toml
    printf 'bridge = \"ocn-3\"\\nhost_binding = \"127.0.0.1\"\\n[[subnet]]\\nrange = \"10.64.3.0/24\"\\n' >/etc/ocinet/networks/bound.toml
    ip -netns peer route add 10.64.0.0/16 via 198.51.100.1";

fn story(story: impl Fn(&Host) -> Result<()>) -> Result<()> {
    every(Firewall::ALL, |firewall| Settings::default().firewall(*firewall).prepare(NETWORKS).test(&story))
}

fn is_dormant(host: &Host) -> Result<bool> {
    Ok(host.ocinet("ps")?.stdout.contains("dormant"))
}

fn goes(host: &Host, containers: Vec<Container<'_>>) -> Result<()> {
    containers.into_iter().try_for_each(Container::delete)?;
    host.settles()?;
    host.check()
}

/// Ports of a routed network are the container's: they take no port of the host when they would move, be it that a
/// process or another container has that.
#[test]
fn ports_of_a_routed_network_take_none_of_the_host() -> Result<()> {
    story(|host| {
        let _sshd = host.serve("sshd", &["22"])?;
        let web = host.container("web").network("routed").serving(&["22"]).publish("22").run()?;
        let address = web.at(22)?;
        host.peer().reaches(Tcp, &address)?.is("web")?.seen_from(PEER)?;
        network(host, "connect --gw-priority 1 nat web")?.exits(0)?.says(&["lead nowhere"])?;
        host.peer().reaches(Tcp, format!("{UPLINK}:22"))?.is("sshd")?;
        ensure!(is_dormant(host)?, "{}", host.ocinet("ps")?);
        network(host, "disconnect nat web")?.success()?;
        host.peer().reaches(Tcp, &address)?.is("web")?.seen_from(PEER)?;
        let other = host.container("other").publish("22:80").refused()?;
        other.says(&["22"])?;
        network(host, "connect nat web")?.success()?;
        network(host, "disconnect routed web")?.exits(0)?.says(&["lead nowhere"])?;
        host.peer().reaches(Tcp, format!("{UPLINK}:22"))?.is("sshd")?;
        host.ocinet("doctor")?.success()?;
        goes(host, vec![web])
    })
}

/// A port of the host stays its container's while it cannot lead anywhere, and where another network takes it as it is,
/// it leads there.
#[test]
fn ports_of_the_host_are_kept_beside_a_routed_network() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("nat").publish("8080:80").run()?;
        network(host, "connect --gw-priority 1 routed web")?.success()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.container("thief").publish("8080:80").refused()?.says(&["8080", "web"])?;
        network(host, "disconnect nat web")?.exits(0)?.says(&["lead nowhere"])?;
        host.container("thief").publish("8080:80").refused()?.says(&["8080", "web"])?;
        host.ocinet("gc")?.success()?;
        network(host, "connect nat web")?.success()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        host.ocinet("doctor")?.success()?;
        goes(host, vec![web])
    })
}

/// A port that is open on all addresses does not move to a network that lets in one address.
#[test]
fn a_host_binding_is_heeded() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("nat").publish("8080:80,127.0.0.1:8081:80").run()?;
        network(host, "connect --gw-priority 1 bound web")?.success()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        network(host, "disconnect nat web")?.exits(0)?.says(&["lead nowhere"])?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        goes(host, vec![web])
    })
}
