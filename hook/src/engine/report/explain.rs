//! The way of a packet on this host, between parties as people call them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::view::{NetworkKind, NetworkView};
use crate::decide::liveness::Life;
use crate::decide::similar;
use crate::decide::way::{Answer, Elsewhere, Party, Receiver, Scene, Target, Verdict, Way, Who, answer};
use crate::engine::{Engine, Error, Result, not_attached};
use crate::kernel;
use crate::model::{ContainerId, Family, Invalid, Network, Protocol, Sandbox, State};

/// What a person asks of a way: `SRC` and `DST[:PORT][/PROTOCOL]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who sends.
    pub from: String,
    /// To whom.
    pub to: String,
    /// The port; none for what has none, such as ping.
    pub port: Option<u16>,
    /// The protocol of the port.
    pub protocol: Protocol,
}

impl Question {
    /// Reads a question.
    ///
    /// # Errors
    /// [`Invalid`] names the port or the protocol.
    pub fn parse(from: &str, to: &str) -> std::result::Result<Self, Invalid> {
        let (rest, protocol) = match to.rsplit_once('/') {
            Some((rest, protocol)) => (rest, protocol.parse().map_err(|e: Invalid| e.within("destination"))?),
            None => (to, Protocol::Tcp),
        };
        let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').to_owned();
        let (to, port) = match rest.rsplit_once(':') {
            Some((to, port)) if bare(rest).parse::<IpAddr>().is_err() => (to, Some(port)),
            _ => (rest, None),
        };
        let wrong = |port: &str| Invalid::new("destination", port, "is no port from 1 to 65535");
        let port =
            port.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong(port))).transpose()?;
        Ok(Self { from: bare(from), to: bare(to), port, protocol })
    }
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// What the sender is called.
    pub from: String,
    /// What the receiver is called.
    pub to: String,
    /// The way between them.
    pub way: Way,
    /// What becomes of it at other addresses of the host, where none was asked for.
    pub elsewhere: Vec<Elsewhere>,
    /// The names of the containers at its ends of which a link is missing, or not as it was made: the way is another
    /// until that is mended.
    pub damaged: Vec<String>,
}

impl Engine {
    /// The way of a packet that makes a new connection between the networks of `views`, as the model of this host has
    /// it. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::NotFound`] where a party is not on this host, [`Error::Conflict`] where several are called so,
    /// [`Error::Invalid`] where an address is that of no one machine; or when the kernel or the store cannot be asked.
    pub fn explain(&mut self, question: &Question, views: &[NetworkView]) -> Result<Explained> {
        let row = self.store.read().host_row()?;
        let (sandboxes, own) = (self.sandboxes()?, self.links.addresses()?);
        let defined = |view: &NetworkView| match &view.kind {
            NetworkKind::Defined(network) => Some(network.clone()),
            NetworkKind::Host | NetworkKind::None => None,
        };
        let networks: Vec<Network> = views.iter().filter_map(defined).collect();
        let is_host = |address: IpAddr| {
            let is_gateway = |network: &Network| network.host_addresses().any(|own| own.addr() == address);
            address.is_loopback() || networks.iter().any(is_gateway) || own.iter().any(|net| net.addr() == address)
        };
        let addresses = addresses_of_host(&own);
        let scene = Scene {
            networks: &networks,
            sandboxes: &sandboxes,
            addresses: &addresses,
            is_host: &is_host,
            frames_to_ip_hooks: Family::ALL
                .into_iter()
                .filter(|family| kernel::frames_pass_ip_hooks(*family))
                .collect(),
            closes: row.closed(),
            asks_host: row.respect_host_firewall,
            keeper: self.rules.keeper.kind_of(&row)?,
        };
        let from = self.party(&question.from, &scene)?;
        let to = Target { party: self.party(&question.to, &scene)?, port: question.port, protocol: question.protocol };
        let Answer { to, way, mut elsewhere } = answer(&scene, &from, to);
        let (way, damaged) = self.as_it_is(way, &from, &sandboxes)?;
        for other in &mut elsewhere {
            (other.way, _) = self.as_it_is(other.way.clone(), &from, &sandboxes)?;
        }
        Ok(Explained { from: from.name(), to: to.name(), way, elsewhere, damaged })
    }

    /// `way` as the containers at its ends let it be, which may have ended or be damaged; with the names of the damaged.
    fn as_it_is(&mut self, mut way: Way, from: &Party<'_>, sandboxes: &[Sandbox]) -> Result<(Way, Vec<String>)> {
        let sender = if let Who::Container(sandbox) = from.who { Some(sandbox.number) } else { None };
        let receiver = if let Some(Receiver::Container(number, _)) = way.receiver { Some(number) } else { None };
        let ends = sandboxes.iter().filter(|sandbox| [sender, receiver].contains(&Some(sandbox.number)));
        let mut damaged = Vec::new();
        for end in ends {
            match self.life(end) {
                // Whether it has ended may not be seen from here.
                Life::Unknown(_) => {}
                Life::Dead => {
                    let rule = format!("container {} has ended, and keeps its address until it is deleted", end.name);
                    way = Way { verdict: Verdict::NoWay, rule, receiver: None, ..way };
                }
                Life::Alive => {
                    if end.state == State::Attached && self.is_damaged(end)? == Some(true) {
                        damaged.push(end.name.to_string());
                    }
                }
            }
        }
        if !damaged.is_empty() && matches!(way.verdict, Verdict::Arrives | Verdict::OthersDecide) {
            way.verdict = Verdict::Damaged;
        }
        Ok((way, damaged))
    }

    /// Whom `text` means.
    fn party<'s>(&mut self, text: &str, scene: &Scene<'s>) -> Result<Party<'s>> {
        match (text, text.parse::<IpAddr>()) {
            ("host", _) => return Ok(Party::any(Who::Host)),
            ("lan", _) => return Ok(Party::any(Who::Lan)),
            (_, Ok(address)) => return Ok(Party::at(of_one_machine(address)?, scene)),
            (_, Err(_)) => {}
        }
        let network = scene.networks.iter().find(|network| network.name.as_str() == text);
        let meant = text.parse::<ContainerId>().map_err(Error::from).and_then(|_| self.meant(text, scene.sandboxes));
        match (meant, network) {
            (Ok(meant), _) => {
                let is_meant = |sandbox: &&Sandbox| meant.iter().any(|one| one.number == sandbox.number);
                let sandbox = scene.sandboxes.iter().find(is_meant).map(Who::Container).map(Party::any);
                sandbox.ok_or_else(|| not_attached(text, scene.sandboxes))
            }
            (Err(Error::NotFound(_)), Some(network)) => Ok(Party::any(Who::Network(network))),
            (Err(Error::NotFound(why)), None) => {
                let names = scene.networks.iter().map(|network| network.name.as_str()).chain(["host", "lan"]);
                let hint = similar(text, names).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                Err(Error::NotFound(format!("{why}, and no network has that name{hint}")))
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// The addresses of `nets` that are those of one machine, those of IPv4 first.
fn addresses_of_host(nets: &[IpNet]) -> Vec<IpAddr> {
    let of_one = nets.iter().map(IpNet::addr).filter(|address| of_one_machine(*address).is_ok());
    let (v4, v6): (Vec<_>, Vec<_>) = of_one.partition(IpAddr::is_ipv4);
    [v4, v6].concat()
}

/// `address`, where it is that of one machine, and the same by all links.
fn of_one_machine(address: IpAddr) -> std::result::Result<IpAddr, Invalid> {
    let is_link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let is_of_one = !address.is_multicast() && !address.is_unspecified() && address != Ipv4Addr::BROADCAST;
    match is_of_one && !is_link_local {
        true => Ok(address),
        false => Err(Invalid::new("address", address, "is not that of one machine, or on each link that of another")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_one_machine() {
        let of = |text: &str| of_one_machine(text.parse().unwrap()).is_ok();
        assert!(["10.64.1.2", "127.0.0.1", "169.254.53.53", "fd00::2", "::1"].into_iter().all(of));
        for wrong in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1", "fe80::1"] {
            assert!(!of(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_destination_has_a_port_and_a_protocol() {
        let of = |to: &str| Question::parse("web", to).map(|q| (q.to, q.port, q.protocol));
        assert_eq!(of("db:53/udp"), Ok(("db".into(), Some(53), Protocol::Udp)));
        assert_eq!(of("db"), Ok(("db".into(), None, Protocol::Tcp)));
        assert_eq!(of("10.90.0.2:80"), Ok(("10.90.0.2".into(), Some(80), Protocol::Tcp)));
        assert_eq!(of("fd00::2"), Ok(("fd00::2".into(), None, Protocol::Tcp)));
        assert_eq!(of("[fd00::2]"), Ok(("fd00::2".into(), None, Protocol::Tcp)));
        assert_eq!(of("[fd00::2]:80/udp"), Ok(("fd00::2".into(), Some(80), Protocol::Udp)));
        for wrong in ["db:0", "db:x", "db:70000", "db:80/x"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
