//! The way of a packet that makes a new connection: by which route it leaves, which rule of ours it meets, and which of
//! them decides. Pure: it follows from the networks, their endpoints and the published ports.
//!
//! The rules are named as nftables has them (`firewall/nftables/`); those of iptables have the same meaning and order.
//! Rules of other programs, the operator's chain among them, are not known here.

mod answer;
mod from_container;
mod from_host;
mod party;
#[cfg(test)]
mod tests;
mod to_host;
#[cfg(test)]
mod world;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::firewall::{Kind, Publish, publish_needs};
use crate::model::{Families, Family, Network, Protocol, Sandbox};

pub use answer::{Answer, Elsewhere, answer};
use party::Leg;
pub use party::{Party, Receiver, Who};

/// What is known of the host.
pub struct Scene<'s> {
    /// Its networks.
    pub networks: &'s [Network],
    /// Its containers.
    pub sandboxes: &'s [Sandbox],
    /// The host's addresses, but those that mean another host on each link.
    pub addresses: &'s [IpAddr],
    /// Whether an address is one of the host's, or will be once its network is made.
    pub is_host: &'s dyn Fn(IpAddr) -> bool,
    /// The families of which frames on a bridge pass the IP hooks (`net.bridge.bridge-nf-call-iptables`).
    pub frames_to_ip_hooks: Families,
    /// The families of which nothing passes between two links that are not ours: we switched their forwarding on.
    pub closes: Families,
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
    /// It arrives where others than ocinet let it: the host's own rules, another router, or a process of the host at a
    /// port that ocinet keeps for a container and does not lead there.
    OthersDecide,
    /// It arrives once a container at its ends is mended of which a link is missing, or not as it was made.
    Damaged,
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
    /// Who gets it, where it arrives.
    pub receiver: Option<Receiver>,
}

/// The way from one party to another; to the host, by the address that its party names.
fn way(scene: &Scene<'_>, from: &Party<'_>, to: &Target<'_>) -> Way {
    let family = from.address.or(to.party.address).map(Family::of);
    let mut walk = Walk { scene, to, family, hops: Vec::new(), receiver: None };
    let (verdict, rule) = two_families(from.address, to.party.address).unwrap_or_else(|| match from.who {
        Who::Container(_) | Who::Network(_) => walk.sent_by_container(from),
        Who::Host => walk.sent_by_host(),
        Who::Lan => walk.sent_by_lan(),
        Who::NameServer => (Verdict::NoWay, "the name server answers, and begins no connection to a container".into()),
        Who::Unused(address) => no_container(address),
    });
    let arrives = matches!(verdict, Verdict::Arrives | Verdict::OthersDecide);
    Way { hops: walk.hops, verdict, rule, receiver: walk.receiver.filter(|_| arrives) }
}

/// How a way ends: the verdict, and what decides.
type End = (Verdict, String);

fn no_container(address: IpAddr) -> End {
    (Verdict::NoWay, format!("no container has the address {address}"))
}

/// That no packet goes from an address of one family to one of the other.
fn two_families(from: Option<IpAddr>, to: Option<IpAddr>) -> Option<End> {
    let (from, to) = from.zip(to)?;
    let why = format!("{from} is of {}, and {to} of {}", Family::of(from), Family::of(to));
    (Family::of(from) != Family::of(to)).then_some((Verdict::NoWay, why))
}

/// A way that is followed.
struct Walk<'w> {
    scene: &'w Scene<'w>,
    to: &'w Target<'w>,
    /// The family of an address that was asked for, at either end.
    family: Option<Family>,
    hops: Vec<String>,
    receiver: Option<Receiver>,
}

/// The rules that decide, as nftables has them, with what they are for.
const TO_BRIDGES: &str =
    "forward: oifname @bridges drop; containers are reached from elsewhere by their published ports alone";
const FROM_INTERNAL: &str =
    "forward: iifname @internal iifname . oifname != @intra drop; nothing leads out of an internal network";
const TO_INTERNAL: &str =
    "forward: oifname @internal iifname . oifname != @intra drop; nothing leads into an internal network";
const PUBLISHED: &str = "forward: ct status dnat oifname @bridges accept; the port is published";
const ISOLATED: &str = "the links on the bridge are isolated from one another, since the network has icc = false";
const STAND_IN: &str = "loopback_in: drop; the address stands for ::1 of the host, and is for that alone";
const NO_NAMES: &str = "the name server is reached from networks with names alone";
const NO_RULES: &str = "config.toml has firewall = \"none\": what passes between links is the operator's to say";

impl<'w> Walk<'w> {
    fn hop(&mut self, text: impl Into<String>) {
        self.hops.push(text.into());
    }

    /// Whether a packet with an address of a family that was asked for can have `address` at its other end.
    fn is_of_family(&self, address: IpAddr) -> bool {
        self.family.is_none_or(|family| family == Family::of(address))
    }

    /// What a hop calls the target: of any machine, and of any container of a network, no address is known.
    fn target_at(&self, address: IpAddr) -> String {
        match (&self.to.party.who, self.to.party.address) {
            (Who::Lan, None) => "another machine".to_owned(),
            (Who::Network(_), None) => self.to.party.name(),
            _ => address.to_string(),
        }
    }

    /// It arrives at `receiver`.
    fn arrives(&mut self, receiver: Receiver, rule: impl Into<String>) -> End {
        self.receiver = Some(receiver);
        (Verdict::Arrives, rule.into())
    }

    /// It arrives at `receiver` where others let it.
    fn left_to_others(&mut self, receiver: impl Into<Option<Receiver>>, rule: impl Into<String>) -> End {
        self.receiver = receiver.into();
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
    fn at(&self, address: IpAddr) -> Option<Receiver> {
        match self.to.party.who {
            Who::Network(_) => self.to.party.receiver(),
            _ => self.scene.holder(address).map(Receiver::of),
        }
    }

    /// Whether `address` stands for ::1 of the host on the bridge of a network (`firewall/nftables/loopback.rs`).
    fn is_stand_in(&self, address: IpAddr) -> bool {
        let has = |network: &Network| network.stand_ins().any(|one| address == one);
        self.scene.keeper == Kind::Nftables && self.scene.networks.iter().any(has)
    }

    /// The published port of the host that a packet to its port at `address` meets, with its container. A port published
    /// on every address is none of 127.0.0.0/8 but 127.0.0.1, and one of `::1` where nftables keeps the rules.
    fn published(&self, address: IpAddr) -> Option<(Publish, &'w Sandbox)> {
        let fits = |(port, _): &(Publish, &Sandbox)| {
            let is_address = match (port.host_address.one(), address) {
                (Some(one), address) => one == address,
                (None, address) if Family::of(address) != Family::of(port.target.ip()) => false,
                (None, IpAddr::V6(Ipv6Addr::LOCALHOST)) => {
                    self.scene.keeper == Kind::Nftables && port.loopback().is_some()
                }
                (None, address) => !address.is_loopback() || address == Ipv4Addr::LOCALHOST,
            };
            let is_asked = port.protocol == self.to.protocol && Some(port.host_port) == self.to.port;
            self.scene.keeper.has_rules() && is_address && is_asked && port.reached_by.has_host()
        };
        let of = |sandbox: &'w Sandbox| publish_needs(sandbox).into_iter().map(move |port| (port, sandbox));
        let ports = self.scene.sandboxes.iter().flat_map(of).filter(fits);
        // One address comes before all.
        ports.min_by_key(|(port, _)| port.host_address.one().is_none())
    }

    /// Whether others may address this port of a container in a routed network, or by a trusted link.
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
    fn forwarded(&mut self, (port, sandbox): &(Publish, &Sandbox), by: Option<&Leg<'_>>, is_itself: bool) -> End {
        let (target, container) = (port.target, &sandbox.name);
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
            let why = "with net.bridge.bridge-nf-call-iptables, what an unguarded link sends stays on the bridge";
            return (Verdict::Dropped, format!("{ISOLATED}; {why}"));
        }
        let family = Family::of(target.ip());
        let is_masqueraded = |network: Option<&Network>| network.is_some_and(|one| one.options.is_masqueraded(family));
        if port.masquerade || is_masqueraded(from) && is_masqueraded(network) {
            self.hop(
                "postrouting: the sender's address becomes the host's on that network, so that the answer comes back",
            );
        } else if is_same && (is_itself || !is_hooked) {
            let why = "the network is not masqueraded: the sender's address stays, and the answer does not come back this way";
            return (Verdict::NoWay, why.into());
        }
        self.arrives(Receiver::of(sandbox), PUBLISHED)
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
        if network.options.is_routed(Family::of(address)) && self.is_addressed(address) {
            return self.arrives_at(address, "forward: @routed accept; the network is routed, and the port published");
        }
        (Verdict::Dropped, TO_BRIDGES.into())
    }
}
