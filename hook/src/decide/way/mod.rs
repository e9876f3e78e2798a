//! The way of a packet that makes a new connection: by which route it leaves, which rule of ours it meets, and which of
//! them decides. Pure: it follows from the networks, their endpoints and the published ports.
//!
//! The rules are named as nftables has them (`firewall/nftables/`); those of iptables have the same meaning and order.
//! Rules of other programs, the operator's chain among them, are not known here.

mod from_container;
mod from_host;
mod party;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::firewall::{Kind, Publish, publish_needs};
use crate::model::{Families, Family, GatewayMode, Network, PortMapping, Protocol, Sandbox};

use party::Leg;
pub use party::{Party, Who};

/// What is known of the host.
pub struct Scene<'s> {
    /// Its networks.
    pub networks: &'s [Network],
    /// Its containers.
    pub sandboxes: &'s [Sandbox],
    /// Whether an address is one of the host's.
    pub is_host: &'s dyn Fn(IpAddr) -> bool,
    /// The families of which frames on a bridge pass the IP hooks (`net.bridge.bridge-nf-call-iptables`).
    pub frames_to_ip_hooks: Families,
    /// Whether the host's own rules decide which hosts reach a published port.
    pub asks_host: bool,
    /// Who keeps our rules; none are there with `firewall = "none"`.
    pub keeper: Kind,
}

impl<'s> Scene<'s> {
    /// The network in whose range `address` is.
    pub fn network_of(&self, address: IpAddr) -> Option<&'s Network> {
        self.networks.iter().find(|network| network.subnets.iter().any(|subnet| subnet.range.contains(&address)))
    }

    /// The container that has `address`.
    pub fn holder(&self, address: IpAddr) -> Option<&'s Sandbox> {
        let has = |net: &IpNet| net.addr() == address;
        self.sandboxes.iter().find(|sandbox| sandbox.wired_endpoints().any(|one| one.addresses.iter().any(has)))
    }
}

/// Where a packet goes.
pub struct Target<'s> {
    /// To whom.
    pub party: Party<'s>,
    /// The port; none for what has none, such as ping.
    pub port: Option<u16>,
    /// The protocol of the port.
    pub protocol: Protocol,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It arrives, as far as ocinet is concerned.
    Arrives,
    /// It arrives where others than ocinet let it pass: the host's own rules, or another router.
    OthersDecide,
    /// A rule drops it.
    Dropped,
    /// No route or no container is there.
    NoWay,
}

/// The way of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// What happens to it, in this order.
    pub hops: Vec<String>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// The rule or the fact that decides.
    pub rule: String,
    /// Who gets it, where it arrives: the name of a container, `host`, `lan` or `name server`; or the name of a network,
    /// for any container of it.
    pub receiver: Option<String>,
}

/// The way from one party to another.
pub fn way(scene: &Scene<'_>, from: &Party<'_>, to: &Target<'_>) -> Way {
    let mut walk = Walk { scene, to, hops: Vec::new(), receiver: None };
    let (verdict, rule) = match from.who {
        Who::Container(_) | Who::Network(_) => walk.sent_by_container(from),
        Who::Host => walk.sent_by_host(),
        Who::Lan => walk.sent_by_lan(),
        Who::Unused(address) => no_container(address),
    };
    let arrives = matches!(verdict, Verdict::Arrives | Verdict::OthersDecide);
    Way { hops: walk.hops, verdict, rule, receiver: walk.receiver.filter(|_| arrives) }
}

/// How a way ends: the verdict, and what decides.
type End = (Verdict, String);

fn no_container(address: IpAddr) -> End {
    (Verdict::NoWay, format!("no container has the address {address}"))
}

/// A way that is followed.
struct Walk<'w> {
    scene: &'w Scene<'w>,
    to: &'w Target<'w>,
    hops: Vec<String>,
    receiver: Option<String>,
}

/// The rules that decide, as nftables has them, with what they are for.
const TO_BRIDGES: &str =
    "forward: oifname @bridges drop; containers are reached from elsewhere by their published ports alone";
const FROM_INTERNAL: &str =
    "forward: iifname @internal iifname . oifname != @intra drop; nothing leads out of an internal network";
const TO_INTERNAL: &str =
    "forward: oifname @internal iifname . oifname != @intra drop; nothing leads into an internal network";
const PUBLISHED: &str = "forward: ct status dnat oifname @bridges accept; the port is published";
const ISOLATED: &str = "the ports of the bridge are isolated, since the network has icc = false";
const NO_RULES: &str = "config.toml has firewall = \"none\": what passes between links is the operator's to say";

impl<'w> Walk<'w> {
    fn hop(&mut self, text: impl Into<String>) {
        self.hops.push(text.into());
    }

    /// It arrives at `receiver`.
    fn arrives(&mut self, receiver: impl Into<String>, rule: impl Into<String>) -> End {
        self.receiver = Some(receiver.into());
        (Verdict::Arrives, rule.into())
    }

    /// It arrives at `receiver` where others let it.
    fn left_to_others(&mut self, receiver: impl Into<String>, rule: impl Into<String>) -> End {
        self.receiver = Some(receiver.into());
        (Verdict::OthersDecide, rule.into())
    }

    /// It arrives at the container that has `address`, or at any of the network that is asked about.
    fn arrives_at(&mut self, address: IpAddr, rule: impl Into<String>) -> End {
        match self.at(address) {
            Some(receiver) => self.arrives(receiver, rule),
            None => no_container(address),
        }
    }

    /// Who has `address`: a container, or any of the network that is asked about.
    fn at(&self, address: IpAddr) -> Option<String> {
        match (self.scene.holder(address), &self.to.party.who) {
            (Some(sandbox), _) => Some(sandbox.name.to_string()),
            (None, Who::Network(network)) => Some(network.name.to_string()),
            (None, _) => None,
        }
    }

    /// It is for a process of the host. A port that is kept for a container and leads nowhere is told.
    fn arrives_at_host(&mut self) -> End {
        let is_port = |port: &PortMapping| {
            port.protocol == self.to.protocol
                && self.to.port.is_some_and(|wanted| (port.host_port..=port.last_host_port()).contains(&wanted))
        };
        let mut keepers = self.scene.sandboxes.iter().filter(|sandbox| sandbox.publish.iter().any(is_port));
        let kept = |sandbox: &Sandbox| format!("; the port is kept for {}, and leads nowhere", sandbox.name);
        let but = match self.scene.keeper.has_rules() {
            true => keepers.find(|one| one.has_dormant_ports()).map(|one| kept(one) + " (dormant)"),
            false => keepers.next().map(|one| kept(one) + ": config.toml has firewall = \"none\""),
        };
        let rule = "no rule of ocinet's: it is for a process of the host".to_owned();
        self.arrives("host", rule + &but.unwrap_or_default())
    }

    /// The published port of the host that a packet to its port meets; `address` is none where any of the host's is
    /// meant. A port published on every address is none of 127.0.0.0/8 but 127.0.0.1, and one of `::1` where nftables
    /// keeps the rules.
    fn published(&self, address: Option<IpAddr>) -> Option<Publish> {
        let fits = |port: &Publish| {
            let is_address = match (port.host_address.one(), address) {
                (Some(one), Some(address)) => one == address,
                (Some(one), None) => !one.is_loopback(),
                (None, Some(address)) if Family::of(address) != Family::of(port.target.ip()) => false,
                (None, Some(IpAddr::V6(Ipv6Addr::LOCALHOST))) => {
                    self.scene.keeper == Kind::Nftables && port.loopback().is_some()
                }
                (None, Some(address)) => !address.is_loopback() || address == Ipv4Addr::LOCALHOST,
                (None, None) => true,
            };
            let is_asked = port.protocol == self.to.protocol && Some(port.host_port) == self.to.port;
            self.scene.keeper.has_rules() && is_address && is_asked && port.reached_by.has_host()
        };
        let ports = self.scene.sandboxes.iter().flat_map(publish_needs).filter(fits);
        // One address comes before all.
        ports.min_by_key(|port| port.host_address.one().is_none())
    }

    /// Whether others may address this port of a container in a routed network.
    fn is_addressed(&self, address: IpAddr) -> bool {
        let fits = |port: &Publish| {
            port.reached_by.has_container() && port.protocol == self.to.protocol && port.target.ip() == address
        };
        let mut ports = self.scene.sandboxes.iter().flat_map(publish_needs).filter(fits);
        // Without a port it is a ping, which is let through.
        self.to.port.is_none_or(|wanted| ports.any(|port| port.target.port() == wanted))
    }

    /// A packet that was translated, on its way to the container: by the connection `by` of another or of itself, or from
    /// elsewhere.
    fn forwarded(&mut self, port: &Publish, by: Option<&Leg<'_>>, is_itself: bool) -> End {
        let (target, container) = (port.target, &port.label.container);
        self.hop(format!(
            "prerouting: port {}/{} of the host is published, and leads to {target} of {container}",
            port.host_port, port.protocol
        ));
        let (from, network) = (by.map(|leg| leg.network), self.scene.network_of(target.ip()));
        if from.is_some_and(|from| from.options.internal) {
            return (Verdict::Dropped, FROM_INTERNAL.into());
        }
        if network.is_some_and(|network| network.options.internal) {
            return (Verdict::Dropped, TO_INTERNAL.into());
        }
        let is_same = from.zip(network).is_some_and(|(from, network)| from.name == network.name);
        let is_hooked = self.scene.frames_to_ip_hooks.contains(Family::of(target.ip()));
        let is_isolated = network.is_some_and(|network| !network.options.icc);
        // Frames of a guarded port go to the host by a filter of their own (`kernel/netlink/link/host_way.rs`).
        if is_same && !is_itself && is_isolated && is_hooked && by.is_some_and(|leg| leg.unguarded) {
            let why = "with net.bridge.bridge-nf-call-iptables, what an unguarded port sends stays on it";
            return (Verdict::Dropped, format!("{ISOLATED}; {why}"));
        }
        let is_masqueraded = |network: Option<&Network>| network.is_some_and(|one| one.options.is_masqueraded());
        if port.masquerade || is_masqueraded(from) && is_masqueraded(network) {
            self.hop(
                "postrouting: the sender becomes the host's address on that network, so that the answer comes back",
            );
        } else if is_same && (is_itself || !is_hooked) {
            let why = "the network is not masqueraded: the sender stays, and the answer does not come back this way";
            return (Verdict::NoWay, why.into());
        }
        self.arrives(container.clone(), PUBLISHED)
    }

    /// A packet that is not translated, from a link that is not the network's own, to an address of `network`.
    fn enter_bridge(&mut self, address: IpAddr, network: &Network) -> End {
        if !self.scene.keeper.has_rules() {
            return match self.at(address) {
                Some(receiver) => self.left_to_others(receiver, NO_RULES),
                None => no_container(address),
            };
        }
        if network.options.internal {
            return (Verdict::Dropped, TO_INTERNAL.into());
        }
        let is_routed = network.options.mode == GatewayMode::Routed;
        if is_routed && self.is_addressed(address) {
            return self.arrives_at(address, "forward: @routed accept; the network is routed, and the port published");
        }
        (Verdict::Dropped, TO_BRIDGES.into())
    }
}
