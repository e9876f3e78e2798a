//! The way of a packet on this host, between parties as people call them.

use std::cell::RefCell;
use std::net::IpAddr;

use super::view::as_defined;
use crate::decide::liveness::Life;
use crate::decide::similar;
use crate::decide::way::{Party, Scene, Target, Verdict, Way, Who, way};
use crate::engine::{Engine, Error, Result, not_attached};
use crate::kernel;
use crate::model::{ContainerId, Family, Invalid, Network, Protocol, Sandbox};

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
}

impl Engine {
    /// The way of a packet that makes a new connection, as the model of this host has it. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::NotFound`] where a party is not on this host, [`Error::Conflict`] where several are called so; or when
    /// the kernel or the store cannot be asked.
    pub fn explain(&mut self, question: &Question) -> Result<Explained> {
        let row = self.store.read().host_row()?;
        let (sandboxes, networks) = (self.sandboxes()?, self.networks_to_explain()?);
        let failure = RefCell::new(None);
        let is_host = |address: IpAddr| {
            let is_gateway = |network: &Network| network.host_addresses().any(|own| own.addr() == address);
            let is_own = || kernel::is_local(address).map_err(|error| failure.replace(Some(error))).unwrap_or(false);
            address.is_loopback() || networks.iter().any(is_gateway) || is_own()
        };
        let scene = Scene {
            networks: &networks,
            sandboxes: &sandboxes,
            is_host: &is_host,
            frames_to_ip_hooks: Family::ALL
                .into_iter()
                .filter(|family| kernel::frames_pass_ip_hooks(*family))
                .collect(),
            asks_host: row.respect_host_firewall,
            keeper: self.rules.keeper.kind_of(&row)?,
        };
        let from = self.party(&question.from, &scene)?;
        let to = Target { party: self.party(&question.to, &scene)?, port: question.port, protocol: question.protocol };
        let mut way = way(&scene, &from, &to);
        let is_receiver = |sandbox: &&Sandbox| way.receiver.as_deref() == Some(sandbox.name.as_str());
        let receivers: Vec<&Sandbox> = sandboxes.iter().filter(is_receiver).collect();
        let senders: Vec<&Sandbox> = if let Who::Container(sandbox) = from.who { vec![sandbox] } else { Vec::new() };
        if let Some(ended) = self.ended(&senders).or_else(|| self.ended(&receivers)) {
            way = Way { verdict: Verdict::NoWay, rule: ended, receiver: None, ..way };
        }
        let (from, to) = (from.name(), to.party.name());
        match failure.into_inner() {
            Some(error) => Err(error.into()),
            None => Ok(Explained { from, to, way }),
        }
    }

    /// The networks that are used, and those that are defined.
    fn networks_to_explain(&mut self) -> Result<Vec<Network>> {
        let mut networks = self.networks()?;
        for definition in self.definitions().all()?.into_values().flatten() {
            if !networks.iter().any(|network| network.name == definition.name) {
                networks.push(as_defined(&definition));
            }
        }
        Ok(networks)
    }

    /// That a container has ended; none where it has not, or that cannot be told. They are `several` of one name where
    /// another took the name of one that has ended.
    fn ended(&mut self, several: &[&Sandbox]) -> Option<String> {
        let first = several.first()?;
        let are_dead = several.iter().all(|sandbox| matches!(self.life(sandbox), Life::Dead));
        are_dead.then(|| format!("container {} has ended, and keeps its address until it is deleted", first.name))
    }

    /// Whom `text` means.
    fn party<'s>(&mut self, text: &str, scene: &Scene<'s>) -> Result<Party<'s>> {
        match (text, text.parse::<IpAddr>()) {
            ("host", _) => return Ok(Party::any(Who::Host)),
            ("lan", _) => return Ok(Party::any(Who::Lan)),
            (_, Ok(address)) => return Ok(Party::at(address, scene)),
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

#[cfg(test)]
mod tests {
    use super::*;

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
