use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::party::Leg;
use super::{End, FROM_INTERNAL, ISOLATED, NO_NAMES, NO_RULES, Party, Receiver, Verdict, Walk, Who};
use super::{no_container, two_families};
use crate::model::{Family, Masquerade, Network};

/// A route of a container that leads to an address.
struct Hop<'l, 'w> {
    leg: &'l Leg<'w>,
    /// The range that the route is of.
    to: IpNet,
    /// The next hop; none where the address is on the link.
    via: Option<IpAddr>,
}

impl<'w> Walk<'w> {
    /// The way of a packet of a container.
    pub(super) fn sent_by_container(&mut self, from: &Party<'w>) -> End {
        if from.is_host() {
            self.hop(format!("{} is in the host's network: what it sends is the host's", from.name()));
            return self.sent_by_host();
        }
        if let Some(address) = self.to.party.address.filter(IpAddr::is_loopback) {
            self.receiver = from.receiver();
            return (Verdict::Arrives, format!("{address} is its own loopback, and not the host's: nothing leaves it"));
        }
        let legs = from.legs(self.scene.networks);
        if legs.is_empty() {
            return (Verdict::NoWay, format!("{} has loopback alone", from.name()));
        }
        let Some(address) = self.address_for(&legs) else {
            return (Verdict::NoWay, format!("{} has no address that it could reach", self.to.party.name()));
        };
        if let Some(end) = two_families(from.address, Some(address)) {
            return end;
        }
        // Of any container of a network no address is known.
        if matches!(from.who, Who::Container(_)) && legs.iter().any(|leg| leg.addresses.contains(&address)) {
            return self.arrives_at(address, format!("{address} is its own address, by its loopback interface"));
        }
        if let Some(leg) = legs.iter().find(|leg| leg.name_server == Some(address)) {
            self.hop(format!("{} has a route to {address} by {}", from.name(), leg.interface));
            return self.arrives(Receiver::NameServer, "no rule of ocinet's: it is on the network's bridge");
        }
        if matches!(self.to.party.who, Who::NameServer) {
            return (Verdict::NoWay, NO_NAMES.into());
        }
        self.by_route(from, &legs, address)
    }

    /// The way of a packet to an address that is not its own, nor the name server's.
    fn by_route(&mut self, from: &Party<'w>, legs: &[Leg<'w>], address: IpAddr) -> End {
        let Some(Hop { leg, to, via }) = route(legs, address) else { return self.without_route(from, address) };
        let own = leg.addresses.iter().copied().find(|own| own.is_ipv4() == address.is_ipv4());
        let own = from.address.or(own.filter(|_| !matches!(from.who, Who::Network(_))));
        let sender = own.map_or_else(|| "its address".to_owned(), |own| own.to_string());
        let by = match via {
            None => "directly".to_owned(),
            Some(via) if to.prefix_len() == 0 => format!("by its default route via {via}"),
            Some(via) => format!("by the route to {to} via {via}"),
        };
        let (name, to, Leg { interface, network, .. }) = (from.name(), self.target_at(address), leg);
        self.hop(format!("{name}: {sender} sends to {to} by {interface} on network {}, {by}", network.name));
        if let Some(other) = from.address.filter(|asked| !leg.unguarded && !leg.addresses.contains(asked)) {
            let why = format!("the filter at its link: {other} is not its address on network {}", network.name);
            return (Verdict::Dropped, why);
        }
        self.hop(match leg.unguarded {
            true => "its link has no filter (guard=off): any sender would pass",
            false => "the filter at its link lets its own address and MAC pass",
        });
        match via.filter(|via| !(self.scene.is_host)(*via)) {
            Some(router) => self.by_router(network, router),
            None => self.on_bridge(leg, address, legs),
        }
    }

    /// A packet for which the container has no route of ours.
    fn without_route(&mut self, from: &Party<'w>, address: IpAddr) -> End {
        if let Who::Container(sandbox) = from.who
            && sandbox.leads_elsewhere
        {
            let rule = "its default route is of another program, which ocinet does not see";
            return self.left_to_others(self.to.party.receiver(), rule);
        }
        let family = Family::of(address);
        (Verdict::NoWay, format!("it has no route of {family} to {address}: none of its networks leads out"))
    }

    /// By another machine or container on the network, which leads it on.
    fn by_router(&mut self, network: &Network, router: IpAddr) -> End {
        if !network.options.icc {
            return (Verdict::Dropped, ISOLATED.into());
        }
        self.hop(format!("the bridge of {} carries it to {router}", network.name));
        self.left_to_others(self.to.party.receiver(), format!("{router} is the next hop, and not this host"))
    }

    /// The way of a packet that is on the bridge of `leg`.
    fn on_bridge(&mut self, leg: &Leg<'w>, address: IpAddr, legs: &[Leg<'w>]) -> End {
        let network = leg.network;
        if (self.scene.is_host)(address) {
            if self.is_stand_in(address) {
                let rule = "guard: ip6 daddr @stand_ins6 iifname @bridges drop; the address stands for ::1 of the host";
                return (Verdict::Dropped, rule.into());
            }
            if let Some(port) = self.published(address) {
                let is_itself = legs.iter().any(|leg| leg.addresses.contains(&port.0.target.ip()));
                return self.forwarded(&port, Some(leg), is_itself);
            }
            if self.scene.keeper.has_rules() && network.options.internal && !is_gateway(network, address) {
                let rule = "input: drop; an internal network reaches of the host its gateway alone";
                return (Verdict::Dropped, rule.into());
            }
            return self.arrives_at_host(address);
        }
        if is_in(network, address) {
            return self.among_siblings(network, address);
        }
        if self.scene.keeper.has_rules() && network.options.internal {
            return (Verdict::Dropped, FROM_INTERNAL.into());
        }
        match self.scene.network_of(address) {
            Some(other) => self.enter_bridge(address, other),
            None => self.out(network, address),
        }
    }

    /// To another container of the same network: the bridge carries it, and rules are asked where frames meet them.
    fn among_siblings(&mut self, network: &Network, address: IpAddr) -> End {
        if self.at(address).is_none() {
            return no_container(address);
        }
        if !network.options.icc {
            return (Verdict::Dropped, ISOLATED.into());
        }
        self.hop(format!("the bridge of {} carries it to the other link", network.name));
        let is_asked = self.scene.keeper.has_rules() && self.scene.frames_to_ip_hooks.contains(Family::of(address));
        let rule = match is_asked {
            true => "forward: iifname . oifname @intra accept; both are on one network",
            false => "no rule: both are on one network, and the bridge carries it",
        };
        self.arrives_at(address, rule)
    }

    /// Out of the host.
    fn out(&mut self, network: &Network, address: IpAddr) -> End {
        if !self.scene.keeper.has_rules() {
            return self.left_to_others(Receiver::Lan, NO_RULES);
        }
        let sender = match network.options.masquerade {
            _ if network.options.is_routed(Family::of(address)) => None,
            Masquerade::Off => None,
            // It is for its family alone (`firewall/needs.rs`).
            Masquerade::Outbound(one) if one.is_ipv4() == address.is_ipv4() => Some(one.to_string()),
            Masquerade::Outbound(_) | Masquerade::On => Some("the host's".to_owned()),
        };
        self.hop(match sender {
            Some(sender) => {
                format!("postrouting: the sender's address becomes {sender} on the link by which it leaves")
            }
            None => "postrouting: the sender's address stays: other machines need a route to the network by this host"
                .to_owned(),
        });
        self.arrives(Receiver::Lan, "forward: iifname @bridges accept; containers reach what is outside")
    }

    /// The address at which the target is reached from `legs`: the one that was asked for; else one on a common network,
    /// before that of its default route, and of a family that the sender has.
    fn address_for(&self, legs: &[Leg<'w>]) -> Option<IpAddr> {
        let party = &self.to.party;
        let has_family = |address: &IpAddr| {
            let mut own = legs.iter().flat_map(|leg| &leg.addresses);
            self.is_of_family(*address) && own.any(|own| own.is_ipv4() == address.is_ipv4())
        };
        party.address.or_else(|| match party.who {
            Who::Unused(address) => Some(address),
            Who::Lan => self.somewhere(legs),
            Who::NameServer => None,
            _ if party.is_host() => None,
            Who::Host | Who::Container(_) | Who::Network(_) => {
                let theirs = party.legs(self.scene.networks);
                let is_common = |leg: &&Leg<'w>| legs.iter().any(|own| own.network.name == leg.network.name);
                let common = theirs.iter().filter(is_common);
                let (routed, others): (Vec<_>, Vec<_>) = theirs.iter().partition(|leg| !leg.gateways.is_empty());
                let ordered: Vec<&IpAddr> = common.chain(routed).chain(others).flat_map(|leg| &leg.addresses).collect();
                ordered.iter().copied().copied().find(has_family).or(ordered.first().copied().copied())
            }
        })
    }

    /// An address of another machine, whichever: of a family that the container can send to.
    fn somewhere(&self, legs: &[Leg<'w>]) -> Option<IpAddr> {
        let mut own = legs.iter().flat_map(|leg| &leg.addresses).filter(|own| self.is_of_family(**own));
        let has_v4 = own.any(IpAddr::is_ipv4);
        let is_elsewhere =
            |address: &IpAddr| !(self.scene.is_host)(*address) && self.scene.network_of(*address).is_none();
        ELSEWHERE.into_iter().filter(|address| address.is_ipv4() == has_v4).find(is_elsewhere)
    }
}

/// Addresses that are set aside for documentation (RFC 5737 and RFC 3849), of which a host has none or one at most.
const ELSEWHERE: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)),
];

/// The route of the longest prefix by which a packet to `address` leaves; of several, that of the first leg.
fn route<'l, 'w>(legs: &'l [Leg<'w>], address: IpAddr) -> Option<Hop<'l, 'w>> {
    let everything = |gateway: &IpAddr| IpNet::new(*gateway, 0).map(|net| net.trunc());
    let of_leg = |leg: &'l Leg<'w>| {
        let direct = leg.network.subnets.iter().map(move |subnet| Hop { leg, to: subnet.range, via: None });
        let routes = &leg.network.options.routes;
        let fixed = routes.iter().map(move |route| Hop { leg, to: route.to, via: Some(route.via) });
        let default = leg
            .gateways
            .iter()
            .filter_map(move |gateway| Some(Hop { leg, to: everything(gateway).ok()?, via: Some(*gateway) }));
        direct.chain(fixed).chain(default).filter(|hop| hop.to.contains(&address))
    };
    legs.iter().flat_map(of_leg).reduce(|best, hop| if hop.to.prefix_len() > best.to.prefix_len() { hop } else { best })
}

fn is_in(network: &Network, address: IpAddr) -> bool {
    network.subnets.iter().any(|subnet| subnet.range.contains(&address))
}

fn is_gateway(network: &Network, address: IpAddr) -> bool {
    network.host_addresses().any(|gateway| gateway.addr() == address)
}
