use std::net::IpAddr;

use super::{End, Party, Verdict, Walk};
use crate::model::{GatewayMode, Mode, Network};

impl<'w> Walk<'w> {
    /// The way of a packet that a process of the host sends.
    pub(super) fn sent_by_host(&mut self) -> End {
        let address = match &self.to.party {
            Party::Host(address) => return self.host_to_itself(*address),
            Party::Container(sandbox) if sandbox.mode == Mode::Host => return self.host_to_itself(None),
            Party::Lan(_) => return self.arrives("lan", "no rule of ocinet's: it is the host's own"),
            Party::Nobody(address) => return (Verdict::NoWay, format!("no container has the address {address}")),
            Party::Container(_) | Party::Network(_) => self.own_address(),
        };
        let Some((address, network)) = address else {
            return (Verdict::NoWay, format!("{} has loopback alone", self.to.party.name()));
        };
        if network.options.mode == GatewayMode::Isolated {
            return (Verdict::NoWay, format!("the host has no address on {}, which is isolated", network.name));
        }
        self.hop(format!("the host sends to {address} by the bridge of network {}", network.name));
        self.arrives_at(address, "no rule of ocinet's: the host reaches its containers")
    }

    fn host_to_itself(&mut self, address: Option<IpAddr>) -> End {
        // Of all its addresses, one at which the port is published.
        let port = self.published(address).or_else(|| {
            let is_any = address.is_none();
            is_any.then(|| self.published(Some(IpAddr::from([127, 0, 0, 1])))).flatten()
        });
        match port {
            Some(port) => {
                self.hop(format!(
                    "output: port {}/{} of the host is published, and leads to {} of {}",
                    port.host_port, port.protocol, port.target, port.label
                ));
                self.arrives(port.label, "output: jump publish; the port is published")
            }
            None => self.arrives_at_host(),
        }
    }

    /// The way of a packet from another machine.
    pub(super) fn sent_by_lan(&mut self) -> End {
        let address = match &self.to.party {
            Party::Host(address) => return self.lan_to_host(*address),
            Party::Container(sandbox) if sandbox.mode == Mode::Host => return self.lan_to_host(None),
            Party::Lan(_) => {
                return (
                    Verdict::Arrives,
                    "no container of ocinet has to do with it: the host's own rules decide".into(),
                );
            }
            Party::Nobody(address) => self.network_of(*address).map(|network| (*address, network)),
            Party::Container(_) | Party::Network(_) => self.own_address(),
        };
        let Some((address, network)) = address else {
            return (Verdict::NoWay, format!("{} has loopback alone", self.to.party.name()));
        };
        self.hop(format!("another machine sends to {address}, to which it needs a route by this host"));
        if network.options.is_masqueraded() {
            return (Verdict::Dropped, guarded(network));
        }
        self.enter_bridge(address, network)
    }

    fn lan_to_host(&mut self, address: Option<IpAddr>) -> End {
        if address.is_some_and(|address| address.is_loopback()) {
            return (Verdict::NoWay, "no other machine sends to the host's loopback".into());
        }
        if let Some(network) = address.and_then(|address| self.network_of(address))
            && network.options.is_masqueraded()
        {
            return (Verdict::Dropped, guarded(network));
        }
        let Some(port) = self.published(address) else { return self.arrives_at_host() };
        let end = self.forwarded(&port, None, false);
        match end {
            (Verdict::Arrives, rule) if self.scene.asks_host => {
                let why = "published_ports is respect-host-firewall: the host's input rules are asked first";
                (Verdict::AsTheHostDecides, format!("{why}; then {rule}"))
            }
            end => end,
        }
    }

    /// The address of the container, and its network; of several the one with the default route.
    fn own_address(&self) -> Option<(IpAddr, &'w Network)> {
        let legs = self.to.party.legs(self.scene.networks);
        let leg = legs.iter().find(|leg| !leg.gateways.is_empty()).or(legs.first())?;
        Some((*leg.addresses.first()?, leg.network))
    }
}

/// The rule against packets to addresses that nothing outside sends to.
fn guarded(network: &Network) -> String {
    let trusted = &network.options.trusted_interfaces;
    let but = match trusted.is_empty() {
        true => String::new(),
        false => {
            let links: Vec<String> = trusted.iter().map(ToString::to_string).collect();
            format!(", but published ports by the trusted links {}", links.join(", "))
        }
    };
    format!("guard: daddr @nat_subnets iifname != @bridges drop; other machines reach no address of a container{but}")
}
