//! What keeps networks apart: every pair of them, by each way.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{
    Container, Firewall, GATEWAY, Host, PEER, Place, Proto, Proto::Tcp, Runtime, Settings, UPLINK, every,
};

use super::{address_on, define, doctor, gateway, route};

/// A container that is asked about and asks in the matrix.
struct Party<'h> {
    network: &'static str,
    container: Container<'h>,
    address: String,
    /// The host's address on its network.
    gateway: String,
    /// The port of the host that leads to it.
    port: u16,
}

impl Party<'_> {
    fn is_internal(&self) -> bool {
        self.network == "inside"
    }
}

/// Two containers on each of four networks: the default one, one of one's own, an internal one, and one without `icc`.
fn parties(host: &Host) -> Result<Vec<Party<'_>>> {
    let mut parties = Vec::new();
    for (nth, network) in ["bridge", "own", "inside", "apart"].into_iter().enumerate() {
        for twin in 0..2_u16 {
            let port = 8000 + 10 * u16::try_from(nth)? + twin;
            let id = format!("{network}{twin}");
            let container = host.container(&id).network(network).publish(&format!("{port}:80")).run()?;
            let gateway = if network == "bridge" { GATEWAY.to_owned() } else { gateway(u8::try_from(nth)?) };
            ensure!(route(&container)?.is_empty() == (network == "inside"), "{}", route(&container)?);
            let address = address_on(&container, network)?;
            parties.push(Party { network, container, address, gateway, port });
        }
    }
    Ok(parties)
}

/// Every pair of networks, by each way: to the other's address, to its published port at the host's addresses, and what
/// else there is: the host, the LAN.
fn matrix(host: &Host) -> Result<()> {
    let _service = host.serve("service", &["7000"])?;
    let _world = host.peer().serve("world", &["7000"])?;
    let parties = parties(host)?;
    host.check()?;
    // A hostile container has a way out that it was not given.
    for party in parties.iter().filter(|party| party.is_internal()) {
        party.container.sh(&format!("ip route add default via {}", party.gateway))?;
    }
    let check = |client: &Place, may: bool, address: String, name: &str| -> Result<()> {
        if may { client.reaches(Tcp, address)?.is(name).map(drop) } else { client.cannot_reach(Tcp, address) }
    };
    let (clients, servers): (Vec<_>, Vec<_>) = parties.iter().partition(|party| party.port % 10 == 0);
    for client in clients {
        let what = format!("as {}", client.network);
        let place: &Place = &client.container;
        for server in &servers {
            let name = format!("{}1", server.network);
            let is_sibling = server.network == client.network;
            let may = is_sibling && server.network != "apart";
            check(place, may, format!("{}:80", server.address), &name)
                .with_context(|| format!("{what}, to {name} itself"))?;
            let may = !client.is_internal() && !server.is_internal();
            for host in [UPLINK, &client.gateway] {
                check(place, may, format!("{host}:{}", server.port), &name)
                    .with_context(|| format!("{what}, to {name} by {host}"))?;
            }
        }
        check(place, true, format!("{}:7000", client.gateway), "service").with_context(|| what.clone())?;
        check(place, !client.is_internal(), format!("{UPLINK}:7000"), "service").with_context(|| what.clone())?;
        check(place, !client.is_internal(), format!("{PEER}:7000"), "world").with_context(|| what.clone())?;
        let other = if client.network == "own" { GATEWAY.to_owned() } else { gateway(1) };
        check(place, !client.is_internal(), format!("{other}:7000"), "service").with_context(|| what.clone())?;
    }
    for server in servers {
        let name = format!("{}1", server.network);
        check(host, true, format!("{}:80", server.address), &name)?;
        host.peer().sh(&format!("ip route replace {}/32 via {UPLINK}", server.address))?;
        check(&host.peer(), false, format!("{}:80", server.address), &name)?;
        check(&host.peer(), !server.is_internal(), format!("{UPLINK}:{}", server.port), &name)?;
    }
    let shown = host.ocinet("ps")?.success()?;
    ensure!(shown.contains("(dormant)"), "{shown}");
    ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
    Ok(())
}

#[test]
fn networks_reach_each_other_by_published_ports_alone() -> Result<()> {
    let networks = define("own", 1, "") + &define("inside", 2, "internal = true") + &define("apart", 3, "icc = false");
    every(
        [
            (Firewall::Nftables, true),
            (Firewall::Nftables, false),
            (Firewall::IptablesNft, false),
            (Firewall::IptablesLegacy, true),
        ],
        |(firewall, bridge_nf)| {
            let settings = Settings::default().runtime(Runtime::Runc).firewall(*firewall).bridge_nf(*bridge_nf);
            settings.prepare(&networks).test(matrix)
        },
    )
}

/// A connection that stood before its network became internal is cut. The operator's word comes before that.
#[test]
fn an_internal_network_cuts_what_was_established() -> Result<()> {
    let networks = define("own", 1, "") + &define("inside", 2, "internal = true");
    Settings::default().runtime(Runtime::Runc).prepare(&networks).test(|host| {
        let _world = host.peer().serve("world", &["7000"])?;
        let _inside = host.container("inside").network("inside").run()?;
        let own = host.container("own").network("own").publish("8080:80/udp").run()?;
        let mut out = own.keep_asking(&format!("{PEER}:7000"), 5000)?;
        let mut into = host.peer().keep_asking(&format!("{UPLINK}:8080"), 5001)?;
        out.hears("world")?;
        into.hears("own")?;
        host.sh("nft add element inet ocinet internal '{ \"ocn-1\" }'")?;
        out.hears("-")?;
        into.hears("-")?;
        out.never_hears("world")?;
        into.never_hears("own")?;
        host.sh("nft delete element inet ocinet internal '{ \"ocn-1\" }'")?;
        out.hears("world")?;
        into.hears("own")
    })
}

/// Without `icc` a container reaches its siblings by their published ports also where frames on a bridge pass the IP hooks.
/// What leads it there is seen to be missing, and comes back: at the port, and where the bridge is made anew.
#[test]
fn siblings_apart_are_led_to_published_ports_by_the_host() -> Result<()> {
    let networks = define("apart", 3, "icc = false");
    Settings::default().runtime(Runtime::Runc).bridge_nf(true).prepare(&networks).test(|host| {
        let client = host.container("client").network("apart").run()?;
        let server = host.container("server").network("apart").publish("8080:80,8080:80/udp").run()?;
        let link = client.host_interface()?;
        let reaches = || -> Result<()> {
            ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
            for proto in Proto::ALL {
                client.reaches(proto, format!("{UPLINK}:8080"))?.is("server")?;
                client.reaches(proto, format!("{}:8080", gateway(3)))?.is("server")?;
                server.reaches(proto, format!("{UPLINK}:8080"))?.is("server")?;
            }
            client.cannot_reach(Tcp, format!("{}:80", address_on(&server, "apart")?))
        };
        reaches()?;
        for loss in [
            format!("tc filter delete dev {link} ingress pref 2"),
            format!("ip link set {link} address 02:00:00:00:00:01"),
            "ip link delete ocn-3".to_owned(),
        ] {
            host.sh(&loss)?;
            ensure!(!doctor(host)?.is_empty(), "{loss}");
            client.cannot_reach(Tcp, format!("{UPLINK}:8080")).with_context(|| loss.clone())?;
            host.ocinet("doctor --fix")?.success()?;
            reaches().with_context(|| loss)?;
        }
        server.delete()?;
        client.delete()
    })
}

/// A frame that a container sends to its own port, with the address of a container of another network, is no beginning of a
/// connection between both: the other could answer into it, and so they would talk.
#[test]
fn a_frame_to_ones_own_port_opens_no_other_network() -> Result<()> {
    let networks = define("own", 1, "") + &define("two", 2, "") + &define("plain", 3, "masquerade = \"off\"");
    every([Firewall::Nftables, Firewall::IptablesNft], |firewall| {
        let settings = Settings::default().runtime(Runtime::Runc).bridge_nf(true).firewall(*firewall);
        settings.prepare(&networks).test(|host| {
            let sender = host.container("sender").network("own").run()?;
            let sibling = host.container("sibling").network("own").run()?;
            let (address, mac) = (address_on(&sender, "own")?, sender.sandbox()?.endpoints[0].mac.clone());
            for network in ["two", "plain"] {
                let other = host.container(network).network(network).run()?;
                let target = address_on(&other, network)?;
                sender.sh(&format!(
                    "ip neighbour replace {target} lladdr {mac} dev eth0 && ip route replace {target}/32 dev eth0"
                ))?;
                let begun = sender.keep_asking(&format!("{target}:6000"), 5000)?;
                std::thread::sleep(std::time::Duration::from_millis(500));
                drop(begun);
                sender.sh(&format!("ip route delete {target}/32"))?;
                let server = sender.serve("sender", &["5000"])?;
                sibling.reaches(Proto::Udp, format!("{address}:5000"))?.is("sender")?;
                let mut into = other.keep_asking(&format!("{address}:5000"), 6000)?;
                into.hears("-").with_context(|| network.to_owned())?;
                into.never_hears("sender").with_context(|| network.to_owned())?;
                drop((into, server));
                other.delete()?;
            }
            sibling.delete()?;
            sender.delete()
        })
    })
}
