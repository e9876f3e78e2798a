//! The way of a packet on this host, between parties as people call them.

use std::net::IpAddr;

use super::view::as_defined;
use crate::decide::similar;
use crate::decide::way::{Party, Scene, Target, Way, way};
use crate::engine::{Engine, Error, Result, not_attached};
use crate::kernel;
use crate::model::{ContainerId, Invalid, Network, Protocol, Sandbox};

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
            _ if rest.parse::<IpAddr>().is_ok() => (rest, None),
            Some((to, port)) => (to, Some(port)),
            None => (rest, None),
        };
        let wrong = |port: &str| Invalid::new("destination", port, "is no port from 1 to 65535");
        let port =
            port.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong(port))).transpose()?;
        Ok(Self { from: bare(from), to: bare(to), port, protocol })
    }
}

impl Engine {
    /// The way of a packet that makes a new connection, as the model of this host has it.
    ///
    /// # Errors
    /// [`Error::NotFound`] where a party is not on this host, or several are called so.
    pub fn explain(&mut self, question: &Question) -> Result<(String, String, Way)> {
        let row = self.store.read().host_row()?;
        if !self.rules.keeper.kind_of(&row)?.has_rules() {
            let why = "config.toml has firewall = \"none\": what passes between links is the operator's to say";
            return Err(Error::Conflict(why.into()));
        }
        let sandboxes = self.sandboxes()?;
        let mut networks = self.networks()?;
        for definition in self.definitions().all()?.into_values().flatten() {
            if !networks.iter().any(|network| network.name == definition.name) {
                networks.push(as_defined(&definition));
            }
        }
        let is_host = |address: IpAddr| {
            let is_gateway = |network: &Network| network.host_addresses().any(|own| own.addr() == address);
            address.is_loopback() || networks.iter().any(is_gateway) || kernel::is_local(address).unwrap_or(false)
        };
        let scene = Scene {
            networks: &networks,
            sandboxes: &sandboxes,
            is_host: &is_host,
            frames_pass_ip_hooks: kernel::frames_pass_ip_hooks(),
            asks_host: row.respect_host_firewall,
        };
        let from = self.party(&question.from, &scene)?;
        let party = self.party(&question.to, &scene)?;
        let target = Target { party, port: question.port, protocol: question.protocol };
        Ok((from.name(), target.party.name(), way(&scene, &from, &target)))
    }

    /// Whom `text` means.
    fn party<'s>(&mut self, text: &str, scene: &Scene<'s>) -> Result<Party<'s>> {
        match text {
            "host" => return Ok(Party::Host(None)),
            "lan" => return Ok(Party::Lan(None)),
            _ => {}
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(party_at(address, scene));
        }
        let network = scene.networks.iter().find(|network| network.name.as_str() == text);
        let meant = text.parse::<ContainerId>().map_err(Error::from).and_then(|_| self.meant(text, scene.sandboxes));
        match (meant, network) {
            (Ok(meant), _) => {
                let is_meant = |sandbox: &&Sandbox| meant.iter().any(|one| one.number == sandbox.number);
                let sandbox = scene.sandboxes.iter().find(is_meant);
                sandbox.map(Party::Container).ok_or_else(|| not_attached(text, scene.sandboxes))
            }
            (Err(Error::NotFound(_)), Some(network)) => Ok(Party::Network(network)),
            (Err(Error::NotFound(why)), None) => {
                let names = scene.networks.iter().map(|network| network.name.as_str()).chain(["host", "lan"]);
                let hint = similar(text, names).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                Err(Error::NotFound(format!("{why}, and no network has that name{hint}")))
            }
            (Err(error), _) => Err(error),
        }
    }
}

fn party_at<'s>(address: IpAddr, scene: &Scene<'s>) -> Party<'s> {
    if (scene.is_host)(address) {
        return Party::Host(Some(address));
    }
    let has =
        |sandbox: &&Sandbox| sandbox.wired_endpoints().any(|one| one.addresses.iter().any(|net| net.addr() == address));
    if let Some(sandbox) = scene.sandboxes.iter().find(has) {
        return Party::Container(sandbox);
    }
    let is_in = |network: &Network| network.subnets.iter().any(|subnet| subnet.range.contains(&address));
    if scene.networks.iter().any(is_in) { Party::Nobody(address) } else { Party::Lan(Some(address)) }
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
        assert_eq!(of("[fd00::2]:80/udp"), Ok(("fd00::2".into(), Some(80), Protocol::Udp)));
        for wrong in ["db:0", "db:x", "db:70000", "db:80/x"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
