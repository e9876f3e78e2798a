//! What keeps networks apart: every pair of them, by each way.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Container, Firewall, Host, Place, Proto, Proto::Tcp, Runtime, Settings, UPLINK, every};

use super::{address_on, define, doctor, gateway};
use crate::families::{self, CABLE, Family, at};

/// A container that is asked about and asks in the matrix.
struct Party<'h> {
    network: &'static str,
    container: Container<'h>,
    /// The port of the host that leads to it.
    port: u16,
}

/// It as it is in one family.
struct Side<'p> {
    party: &'p Party<'p>,
    address: String,
    /// The host's address on its network.
    gateway: String,
}

impl<'p> Side<'p> {
    fn of(family: Family, party: &'p Party<'p>) -> Result<Self> {
        let gateway = match NETWORKS.iter().position(|network| *network == party.network) {
            None | Some(0) => family.next_hop(&party.container)?,
            Some(nth) => family.gateway(u8::try_from(nth)?),
        };
        Ok(Self { party, address: family.address_on(&party.container, party.network)?, gateway })
    }

    fn is_internal(&self) -> bool {
        self.party.network == "inside"
    }

    fn is_client(&self) -> bool {
        self.party.port.is_multiple_of(10)
    }

    /// The name of its server.
    fn name(&self) -> String {
        format!("{}1", self.party.network)
    }
}

/// The default network, one of one's own, an internal one, and one without `icc`.
const NETWORKS: [&str; 4] = ["bridge", "own", "inside", "apart"];

/// Two containers on each of the networks.
fn parties(host: &Host) -> Result<Vec<Party<'_>>> {
    let mut parties = Vec::new();
    for (nth, network) in NETWORKS.into_iter().enumerate() {
        for twin in 0..2_u16 {
            let port = 8000 + 10 * u16::try_from(nth)? + twin;
            let id = format!("{network}{twin}");
            let container = host.container(&id).network(network).publish(&format!("{port}:80")).run()?;
            parties.push(Party { network, container, port });
        }
    }
    Ok(parties)
}

/// Every pair of networks in each of `families`.
fn matrix(host: &Host, families: &[Family]) -> Result<()> {
    let _service = host.serve("service", &["7000"])?;
    let _world = host.peer().serve("world", &["7000"])?;
    let parties = parties(host)?;
    host.check()?;
    every(families, |family| matrix_of(host, **family, &parties))?;
    let shown = host.ocinet("ps")?.success()?;
    ensure!(shown.contains("(dormant)"), "{shown}");
    ensure!(doctor(host)?.is_empty(), "{}", doctor(host)?);
    Ok(())
}

/// Every pair of networks, by each way: to the other's address, to its published port at the host's addresses, and what
/// else there is: the host, the LAN.
fn matrix_of(host: &Host, family: Family, parties: &[Party<'_>]) -> Result<()> {
    let sides = parties.iter().map(|party| Side::of(family, party)).collect::<Result<Vec<_>>>()?;
    let (uplink, peer) = (family.uplink(), family.peer());
    let check = |client: &Place, may: bool, address: &str, port: u16, name: &str| -> Result<()> {
        let to = at(address, port);
        if may { client.reaches(Tcp, to)?.is(name).map(drop) } else { client.cannot_reach(Tcp, to) }
    };
    for side in &sides {
        let container = &side.party.container;
        let route = container.sh(&format!("{} route show default", family.ip()))?;
        ensure!(route.is_empty() == side.is_internal(), "{family:?} {}: {route}", side.name());
        // A hostile container has a way out that it was not given.
        if side.is_internal() {
            container.sh(&format!("ip route add default via {}", side.gateway))?;
            // It asks who the gateway is, as if nothing had told it.
            container.sh(&format!("{} neighbour flush dev eth0 nud permanent", family.ip()))?;
        }
    }
    let (clients, servers): (Vec<_>, Vec<_>) = sides.iter().partition(|side| side.is_client());
    let gateway_of =
        |network: &str| clients.iter().find(|side| side.party.network == network).map(|side| side.gateway.as_str());
    for client in &clients {
        let what = || format!("as {}", client.party.network);
        let place: &Place = &client.party.container;
        for server in &servers {
            let name = server.name();
            let is_sibling = server.party.network == client.party.network;
            let may = is_sibling && server.party.network != "apart";
            check(place, may, &server.address, 80, &name).with_context(|| format!("{}, to {name} itself", what()))?;
            let may = !client.is_internal() && !server.is_internal();
            for host in [uplink, &client.gateway] {
                check(place, may, host, server.party.port, &name)
                    .with_context(|| format!("{}, to {name} by {host}", what()))?;
            }
        }
        let leads_out = !client.is_internal();
        check(place, true, &client.gateway, 7000, "service").with_context(what)?;
        check(place, leads_out, uplink, 7000, "service").with_context(what)?;
        check(place, leads_out, peer, 7000, "world").with_context(what)?;
        let other = if client.party.network == "own" { "bridge" } else { "own" };
        let other = gateway_of(other).context("another network")?;
        check(place, leads_out, other, 7000, "service").with_context(what)?;
    }
    for server in &servers {
        let name = server.name();
        check(host, true, &server.address, 80, &name)?;
        host.peer().sh(&format!("ip route replace {} via {uplink}", family.alone(&server.address)))?;
        check(&host.peer(), false, &server.address, 80, &name)?;
        check(&host.peer(), !server.is_internal(), uplink, server.party.port, &name)?;
    }
    Ok(())
}

/// An internal network and one without `icc`, beside one of one's own.
fn networks(families: &[Family]) -> String {
    let of = |name, n, more| families::define(name, n, more, families);
    of("own", 1, "") + &of("inside", 2, "internal = true") + &of("apart", 3, "icc = false")
}

/// IPv6 in the LAN and on the default network.
pub(super) const IPV6: &str = "mkdir -p /etc/ocinet; echo 'ipv6 = true' >>/etc/ocinet/config.toml";

#[test]
fn networks_reach_each_other_by_published_ports_alone() -> Result<()> {
    every(
        [
            (Firewall::Nftables, true, Family::FIRST),
            (Firewall::Nftables, true, Family::ALL),
            (Firewall::Nftables, false, Family::ALL),
            (Firewall::IptablesNft, false, Family::FIRST),
            (Firewall::IptablesNft, true, Family::ALL),
            (Firewall::IptablesLegacy, true, Family::FIRST),
            (Firewall::IptablesLegacy, false, Family::ALL),
        ],
        |(firewall, bridge_nf, families)| {
            let settings = Settings::default().runtime(Runtime::Runc).firewall(*firewall).bridge_nf(*bridge_nf);
            let settings = settings.prepare(&networks(families));
            let settings = match families.contains(&Family::V6) {
                true => settings.prepare(CABLE).prepare(IPV6),
                false => settings,
            };
            settings.test(|host| matrix(host, families))
        },
    )
}

/// A connection that stood before its network became internal is cut. The operator's word comes before that.
#[test]
fn an_internal_network_cuts_what_was_established() -> Result<()> {
    Settings::default().runtime(Runtime::Runc).prepare(&networks(Family::ALL)).prepare(CABLE).test(|host| {
        let _world = host.peer().serve("world", &["7000"])?;
        let _inside = host.container("inside").network("inside").run()?;
        let own = host.container("own").network("own").publish("8080:80/udp").run()?;
        every(Family::ALL, |family| {
            let mut out = own.keep_asking(&at(family.peer(), 7000), 5000)?;
            let mut into = host.peer().keep_asking(&at(family.uplink(), 8080), 5001)?;
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
