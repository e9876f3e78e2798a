//! The way of a packet that makes a new connection: by which route it leaves, which rule of ours it meets, and which of
//! them decides. Pure: it follows from the networks, their endpoints and the published ports.
//!
//! The rules are named as nftables has them (`firewall/nftables/`); those of iptables have the same meaning and order.
//! Rules of other programs, the operator's chain among them, are not known here.

mod from_container;
mod from_host;
mod party;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::firewall::{Publish, publish_needs};
use crate::model::{Family, GatewayMode, Network, PortMapping, Protocol, Sandbox};

pub use party::Party;

/// What is known of the host.
pub struct Scene<'s> {
    /// Its networks.
    pub networks: &'s [Network],
    /// Its containers.
    pub sandboxes: &'s [Sandbox],
    /// Whether an address is one of the host's.
    pub is_host: &'s dyn Fn(IpAddr) -> bool,
    /// Whether frames on a bridge pass the IP hooks (`net.bridge.bridge-nf-call-iptables`).
    pub frames_pass_ip_hooks: bool,
    /// Whether the host's own rules decide which hosts reach a published port.
    pub asks_host: bool,
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
    /// It arrives where the host's own rules let it in.
    AsTheHostDecides,
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
    /// Who gets it, where it arrives: the name of a container, `host`, `lan`; or the name of a network, for any container
    /// of it.
    pub receiver: Option<String>,
}

/// The way from one party to another.
pub fn way(scene: &Scene<'_>, from: &Party<'_>, to: &Target<'_>) -> Way {
    let mut walk = Walk { scene, to, hops: Vec::new(), receiver: None };
    let (verdict, rule) = match from {
        Party::Container(_) | Party::Network(_) => walk.sent_by_container(from),
        Party::Host(_) => walk.sent_by_host(),
        Party::Lan(_) => walk.sent_by_lan(),
        Party::Nobody(address) => (Verdict::NoWay, format!("no container has the address {address}")),
    };
    let arrives = matches!(verdict, Verdict::Arrives | Verdict::AsTheHostDecides);
    Way { hops: walk.hops, verdict, rule, receiver: walk.receiver.filter(|_| arrives) }
}

/// How a way ends.
type End = (Verdict, String);

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

impl<'w> Walk<'w> {
    fn hop(&mut self, text: impl Into<String>) {
        self.hops.push(text.into());
    }

    /// It arrives at `receiver`.
    fn arrives(&mut self, receiver: impl Into<String>, rule: impl Into<String>) -> End {
        self.receiver = Some(receiver.into());
        (Verdict::Arrives, rule.into())
    }

    /// It arrives at the container that has `address`, or at any of the network that is asked about.
    fn arrives_at(&mut self, address: IpAddr, rule: impl Into<String>) -> End {
        let receiver = match (self.holder(address), &self.to.party) {
            (Some(sandbox), _) => sandbox.name.to_string(),
            (None, Party::Network(network)) => network.name.to_string(),
            (None, _) => return (Verdict::NoWay, format!("no container has the address {address}")),
        };
        self.arrives(receiver, rule)
    }

    /// It is for a process of the host. A port that is kept for a container and leads nowhere is told.
    fn arrives_at_host(&mut self) -> End {
        let keeps = |sandbox: &&Sandbox| {
            let is_port = |port: &PortMapping| {
                port.protocol == self.to.protocol
                    && self.to.port.is_some_and(|wanted| (port.host_port..=port.last_host_port()).contains(&wanted))
            };
            sandbox.has_dormant_ports() && sandbox.publish.iter().any(is_port)
        };
        let dormant = self.scene.sandboxes.iter().find(keeps);
        let but = dormant.map(|one| format!("; the port is kept for {}, and leads nowhere (dormant)", one.name));
        let rule = "no rule of ocinet's: it is for a process of the host".to_owned();
        self.arrives("host", rule + &but.unwrap_or_default())
    }

    /// The published port of the host that a packet to its port meets; `address` is none where any of the host's is
    /// meant. A port published on every address is none of 127.0.0.0/8 but 127.0.0.1, and none of `::1`.
    fn published(&self, address: Option<IpAddr>) -> Option<Publish> {
        let fits = |port: &Publish| {
            let is_address = match (port.host_address.one(), address) {
                (Some(one), Some(address)) => one == address,
                (Some(one), None) => !one.is_loopback(),
                (None, Some(address)) => {
                    let is_plain = !address.is_loopback() || address == IpAddr::from([127, 0, 0, 1]);
                    is_plain && Family::of(address) == Family::of(port.target.ip())
                }
                (None, None) => true,
            };
            is_address
                && port.reached_by.has_host()
                && port.protocol == self.to.protocol
                && Some(port.host_port) == self.to.port
        };
        let mut ports: Vec<Publish> = self.scene.sandboxes.iter().flat_map(publish_needs).filter(fits).collect();
        // One address comes before all.
        ports.sort_by_key(|port| port.host_address.one().is_none());
        ports.into_iter().next()
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

    /// The network in whose range `address` is.
    fn network_of(&self, address: IpAddr) -> Option<&'w Network> {
        self.scene.networks.iter().find(|network| network.subnets.iter().any(|subnet| subnet.range.contains(&address)))
    }

    /// The container that has `address`.
    fn holder(&self, address: IpAddr) -> Option<&'w Sandbox> {
        let has = |net: &IpNet| net.addr() == address;
        let is_on = |sandbox: &&Sandbox| sandbox.wired_endpoints().any(|one| one.addresses.iter().any(has));
        self.scene.sandboxes.iter().find(is_on)
    }

    /// A packet that was translated, on its way from the link of `from`, where that is a network, to the container.
    fn forwarded(&mut self, port: &Publish, from: Option<&Network>, is_itself: bool) -> End {
        let target = port.target;
        self.hop(format!(
            "prerouting: port {}/{} of the host is published, and leads to {target} of {}",
            port.host_port, port.protocol, port.label
        ));
        let network = self.network_of(target.ip());
        if from.is_some_and(|from| from.options.internal) {
            return (Verdict::Dropped, FROM_INTERNAL.into());
        }
        if network.is_some_and(|network| network.options.internal) {
            return (Verdict::Dropped, TO_INTERNAL.into());
        }
        let same = from.zip(network).is_some_and(|(from, network)| from.name == network.name);
        if same && !is_itself && network.is_some_and(|network| !network.options.icc) && self.scene.frames_pass_ip_hooks
        {
            return (
                Verdict::Dropped,
                format!("{ISOLATED}; with net.bridge.bridge-nf-call-iptables a translated frame stays on it"),
            );
        }
        if from.is_some() || port.masquerade {
            self.hop(
                "postrouting: the sender becomes the host's address on that network, so that the answer comes back",
            );
        }
        self.arrives(port.label.clone(), PUBLISHED)
    }

    /// A packet that is not translated, from a link that is not the network's own, to an address of `network`.
    fn enter_bridge(&mut self, address: IpAddr, network: &Network) -> End {
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
