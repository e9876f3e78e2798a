use std::net::IpAddr;

use super::party::Leg;
use super::{End, NO_NAMES, Receiver, STAND_IN, Verdict, Walk, Who, no_container};
use crate::model::{Family, GatewayMode, Network};

impl<'w> Walk<'w> {
    /// The way of a packet that a process of the host sends.
    pub(super) fn sent_by_host(&mut self) -> End {
        match self.to.party.who {
            _ if self.to.party.is_host() => return self.host_to_itself(),
            Who::Lan => return self.arrives(Receiver::Lan, "no rule of ocinet's: it is the host's own"),
            Who::NameServer => return (Verdict::NoWay, NO_NAMES.into()),
            Who::Unused(address) => return no_container(address),
            Who::Host | Who::Container(_) | Who::Network(_) => {}
        }
        let Some((address, network)) = self.own_address() else { return self.without_network() };
        if network.options.mode == GatewayMode::Isolated {
            return (Verdict::NoWay, format!("the host has no address on {}, which is isolated", network.name));
        }
        let to = self.target_at(address);
        self.hop(format!("the host sends to {to} by the bridge of network {}", network.name));
        self.arrives_at(address, "no rule of ocinet's: the host reaches its containers")
    }

    fn host_to_itself(&mut self) -> End {
        let Some(address) = self.to.party.address else { return self.without_host_address() };
        if self.is_stand_in(address) {
            return (Verdict::Dropped, STAND_IN.into());
        }
        let Some((port, sandbox)) = self.published(address) else { return self.arrives_at_host(address) };
        self.hop(format!(
            "output: port {}/{} of the host is published, and leads to {} of {}",
            port.host_port, port.protocol, port.target, sandbox.name
        ));
        self.arrives(Receiver::of(sandbox), "output: jump publish; the port is published")
    }

    /// The way of a packet from another machine.
    pub(super) fn sent_by_lan(&mut self) -> End {
        let address = match self.to.party.who {
            _ if self.to.party.is_host() => return self.lan_to_host(),
            Who::Lan => return self.between_others(),
            Who::NameServer => return (Verdict::NoWay, NO_NAMES.into()),
            Who::Unused(address) => self.scene.network_of(address).map(|network| (address, network)),
            Who::Host | Who::Container(_) | Who::Network(_) => self.own_address(),
        };
        let Some((address, network)) = address else { return self.without_network() };
        let to = self.target_at(address);
        self.hop(format!("another machine sends to {to}, to which it needs a route by this host"));
        if !network.options.is_routed(Family::of(address))
            && let Some(end) = self.by_trusted_link(address, network)
        {
            return end;
        }
        if self.scene.keeper.has_rules() && network.options.is_masqueraded(Family::of(address)) {
            return (Verdict::Dropped, guarded(network));
        }
        self.enter_bridge(address, network)
    }

    /// Through the host, from another machine to another.
    fn between_others(&mut self) -> End {
        let family = self.family.unwrap_or(Family::V4);
        if self.scene.keeper.has_rules() && self.scene.closes.contains(family) {
            let why = "ocinet switched the host's forwarding on, for containers alone";
            return (Verdict::Dropped, format!("forward: meta nfproto @closed drop; {why}"));
        }
        let rule = "no container of ocinet's has to do with it: the host's own rules decide";
        self.left_to_others(Receiver::Lan, rule)
    }

    /// To a port that is published at the container's address too, for what comes by one link. A ping is not let in.
    fn by_trusted_link(&mut self, address: IpAddr, network: &Network) -> Option<End> {
        let trusted = trusted(network).filter(|_| self.scene.keeper.has_rules())?;
        let is_let_in = self.to.port.is_some() && self.is_addressed(address);
        let receiver = self.at(address).filter(|_| is_let_in)?;
        let rule = format!("forward: iifname . daddr @trusted accept; where it comes by the trusted link {trusted}");
        Some(self.left_to_others(receiver, rule))
    }

    fn lan_to_host(&mut self) -> End {
        let Some(address) = self.to.party.address else { return self.without_host_address() };
        if address.is_loopback() {
            return (Verdict::NoWay, "no other machine sends to the host's loopback".into());
        }
        if self.is_stand_in(address) {
            return (Verdict::Dropped, STAND_IN.into());
        }
        let family = Family::of(address);
        let network = self.scene.network_of(address).filter(|network| network.options.is_masqueraded(family));
        match network.filter(|_| self.scene.keeper.has_rules()) {
            None => self.enter_host(address),
            Some(network) => self.at_gateway(address, network),
        }
    }

    /// To an address of the host on a network that is masqueraded.
    fn at_gateway(&mut self, address: IpAddr, network: &Network) -> End {
        let Some(trusted) = trusted(network) else { return (Verdict::Dropped, guarded(network)) };
        match self.enter_host(address) {
            (Verdict::Arrives | Verdict::OthersDecide, rule) => {
                (Verdict::OthersDecide, format!("{rule}, where it comes by the trusted link {trusted}"))
            }
            end => end,
        }
    }

    /// To a published port, or to a process of the host.
    fn enter_host(&mut self, address: IpAddr) -> End {
        let Some(port) = self.published(address) else { return self.arrives_at_host(address) };
        match self.forwarded(&port, None, false) {
            // The input loop is of IPv4 alone.
            (Verdict::Arrives, rule) if self.scene.asks_host && port.0.target.is_ipv4() => {
                let why = "published_ports is respect-host-firewall: the host's input rules are asked first";
                (Verdict::OthersDecide, format!("{why}; then {rule}"))
            }
            end => end,
        }
    }

    /// The address of the container, which may have been asked for, and its network; of several, that with the default
    /// route.
    fn own_address(&self) -> Option<(IpAddr, &'w Network)> {
        let legs = self.to.party.legs(self.scene.networks);
        if let Some(asked) = self.to.party.address {
            return legs.iter().find(|leg| leg.addresses.contains(&asked)).map(|leg| (asked, leg.network));
        }
        let address = |leg: &Leg<'w>| leg.addresses.iter().copied().find(|address| self.is_of_family(*address));
        let fitting = legs.iter().filter_map(|leg| Some((leg, address(leg)?)));
        let best = fitting.min_by_key(|(leg, _)| leg.gateways.is_empty());
        best.map(|(leg, address)| (address, leg.network))
    }

    /// Of the host, no address is known that the sender could send to.
    fn without_host_address(&self) -> End {
        (Verdict::NoWay, format!("{} has no address that it could reach", self.to.party.name()))
    }

    fn without_network(&self) -> End {
        let name = self.to.party.name();
        let has_legs = !self.to.party.legs(self.scene.networks).is_empty();
        let why = match self.family.filter(|_| has_legs) {
            Some(family) => format!("{name} has no address of {family}"),
            None => format!("{name} has loopback alone"),
        };
        (Verdict::NoWay, why)
    }
}

/// The trusted links of a network into which something leads, for people; none where it has none.
fn trusted(network: &Network) -> Option<String> {
    let options = &network.options;
    let names: Vec<String> = options.trusted_interfaces.iter().map(ToString::to_string).collect();
    let is_used = !names.is_empty() && !options.internal && network.routed() != network.families();
    is_used.then(|| names.join(" or "))
}

/// The rule against packets to addresses that nothing outside sends to.
fn guarded(network: &Network) -> String {
    let but = trusted(network).map(|links| format!(", but published ports by the trusted link {links}"));
    let but = but.unwrap_or_default();
    format!("guard: daddr @nat_subnets iifname != @bridges drop; other machines reach no address of a container{but}")
}
