use std::net::IpAddr;

use super::party::Leg;
use super::{End, FROM_INTERNAL, ISOLATED, Party, Verdict, Walk};
use crate::model::{Family, GatewayMode, Masquerade, Mode, Network, Subnet};

impl<'w> Walk<'w> {
    /// The way of a packet of a container.
    pub(super) fn sent_by_container(&mut self, from: &Party<'w>) -> End {
        if let Party::Container(sandbox) = from
            && sandbox.mode == Mode::Host
        {
            self.hop(format!("{} is in the host's network: what it sends is the host's", from.name()));
            return self.sent_by_host();
        }
        let legs = from.legs(self.scene.networks);
        if legs.is_empty() {
            return (Verdict::NoWay, format!("{} has loopback alone", from.name()));
        }
        let Some(address) = self.address_for(&legs) else {
            return (Verdict::NoWay, format!("{} has no address that it could reach", self.to.party.name()));
        };
        if address.is_loopback() {
            return (
                Verdict::NoWay,
                format!("{address} is its own loopback; the host is reached at the network's gateway"),
            );
        }
        if legs.iter().any(|leg| leg.addresses.contains(&address)) {
            return self.arrives_at(address, format!("{address} is its own address, by its loopback interface"));
        }
        let (leg, by) = match route(&legs, address) {
            Some(found) => found,
            None => {
                let family = Family::of(address);
                return (
                    Verdict::NoWay,
                    format!("it has no route of {family} to {address}: none of its networks leads out"),
                );
            }
        };
        let own = leg.addresses.iter().find(|own| own.is_ipv4() == address.is_ipv4());
        let sender = own.map_or_else(|| "its address".to_owned(), ToString::to_string);
        self.hop(format!(
            "{}: {sender} sends to {address} by {} on network {}, {by}",
            from.name(),
            leg.interface,
            leg.network.name
        ));
        self.hop("the guard at its link lets its own address and MAC pass");
        self.on_bridge(leg, address, &legs)
    }

    /// The way of a packet that is on the bridge of `leg`.
    fn on_bridge(&mut self, leg: &Leg<'w>, address: IpAddr, legs: &[Leg<'w>]) -> End {
        let network = leg.network;
        if (self.scene.is_host)(address) {
            if let Some(port) = self.published(Some(address)) {
                let is_itself = legs.iter().any(|leg| leg.addresses.contains(&port.target.ip()));
                return self.forwarded(&port, Some(network), is_itself);
            }
            if network.options.internal && !is_gateway(network, address) {
                return (
                    Verdict::Dropped,
                    "input: drop; an internal network reaches of the host its gateway alone".into(),
                );
            }
            return self.arrives_at_host();
        }
        if is_in(network, address) {
            return self.among_siblings(network, address);
        }
        if network.options.internal {
            return (Verdict::Dropped, FROM_INTERNAL.into());
        }
        match self.network_of(address) {
            Some(other) => self.enter_bridge(address, other),
            None => self.out(network),
        }
    }

    /// To another container of the same network: the bridge carries it, and no rule is asked.
    fn among_siblings(&mut self, network: &Network, address: IpAddr) -> End {
        if self.holder(address).is_none() && !matches!(self.to.party, Party::Network(_)) {
            return (Verdict::NoWay, format!("no container has the address {address}"));
        }
        if !network.options.icc {
            return (Verdict::Dropped, ISOLATED.into());
        }
        self.hop(format!("the bridge of {} carries it to the other port", network.name));
        self.arrives_at(address, "forward: iifname . oifname @intra accept; both are on one network")
    }

    /// Out of the host.
    fn out(&mut self, network: &Network) -> End {
        let sender = match network.options.masquerade {
            _ if network.options.mode == GatewayMode::Routed => None,
            Masquerade::Off => None,
            Masquerade::Outbound(address) => Some(address.to_string()),
            Masquerade::On => Some("that of the host".to_owned()),
        };
        self.hop(match sender {
            Some(sender) => format!("postrouting: the sender becomes {sender} on the link by which it leaves"),
            None => "postrouting: the sender stays: other machines need a route to the network by this host".to_owned(),
        });
        self.arrives("lan", "forward: iifname @bridges accept; containers reach what is outside")
    }

    /// The address at which the target is reached from `legs`: one on a common network first.
    fn address_for(&self, legs: &[Leg<'w>]) -> Option<IpAddr> {
        match &self.to.party {
            Party::Host(address) => address.or_else(|| legs.iter().find_map(host_address)),
            Party::Lan(address) => Some(address.unwrap_or_else(|| somewhere(legs))),
            Party::Nobody(address) => Some(*address),
            Party::Container(sandbox) if sandbox.mode == Mode::Host => legs.iter().find_map(host_address),
            party => {
                let theirs = party.legs(self.scene.networks);
                let is_common = |leg: &&Leg<'w>| legs.iter().any(|own| own.network.name == leg.network.name);
                let common = theirs.iter().find(is_common).and_then(|leg| leg.addresses.first());
                let first = theirs.iter().find(|leg| !leg.gateways.is_empty()).or(theirs.first());
                common.or_else(|| first.and_then(|leg| leg.addresses.first())).copied()
            }
        }
    }
}

/// By which leg a packet to `address` leaves, and how.
fn route<'l, 'w>(legs: &'l [Leg<'w>], address: IpAddr) -> Option<(&'l Leg<'w>, String)> {
    if let Some(leg) = legs.iter().find(|leg| is_in(leg.network, address)) {
        return Some((leg, "directly".to_owned()));
    }
    for leg in legs {
        let routes = leg.network.options.routes.iter().filter(|route| route.to.contains(&address));
        if let Some(route) = routes.max_by_key(|route| route.to.prefix_len()) {
            return Some((leg, format!("by the route to {} via {}", route.to, route.via)));
        }
    }
    legs.iter().find_map(|leg| {
        let gateway = leg.gateways.iter().find(|gateway| gateway.is_ipv4() == address.is_ipv4())?;
        Some((leg, format!("by its default route via {gateway}")))
    })
}

fn is_in(network: &Network, address: IpAddr) -> bool {
    network.subnets.iter().any(|subnet| subnet.range.contains(&address))
}

fn is_gateway(network: &Network, address: IpAddr) -> bool {
    network.host_addresses().any(|gateway| gateway.addr() == address)
}

/// The host's address in the network of a leg.
fn host_address(leg: &Leg<'_>) -> Option<IpAddr> {
    leg.network.host_addresses().next().map(|net| net.addr())
}

/// An address outside, of a family that the container can send to: one that is set aside for documentation.
fn somewhere(legs: &[Leg<'_>]) -> IpAddr {
    let ranges = || legs.iter().flat_map(|leg| &leg.network.subnets).map(|subnet: &Subnet| subnet.range.addr());
    if ranges().any(|address| address.is_ipv4()) {
        IpAddr::from([198, 51, 100, 1])
    } else {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])
    }
}
