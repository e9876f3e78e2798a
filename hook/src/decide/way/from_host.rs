use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{End, Verdict, Walk, Who, no_container};
use crate::model::{GatewayMode, Mode, Network};

impl<'w> Walk<'w> {
    /// The way of a packet that a process of the host sends.
    pub(super) fn sent_by_host(&mut self) -> End {
        match self.to.party.who {
            Who::Host => return self.host_to_itself(self.to.party.address),
            Who::Container(sandbox) if sandbox.mode == Mode::Host => return self.host_to_itself(None),
            Who::Lan => return self.arrives("lan", "no rule of ocinet's: it is the host's own"),
            Who::Unused(address) => return no_container(address),
            Who::Container(_) | Who::Network(_) => {}
        }
        let Some((address, network)) = self.own_address() else { return self.without_network() };
        if network.options.mode == GatewayMode::Isolated {
            return (Verdict::NoWay, format!("the host has no address on {}, which is isolated", network.name));
        }
        self.hop(format!("the host sends to {address} by the bridge of network {}", network.name));
        self.arrives_at(address, "no rule of ocinet's: the host reaches its containers")
    }

    fn host_to_itself(&mut self, address: Option<IpAddr>) -> End {
        // Of all its addresses, one at which the port is published: of those that the host alone reaches, too.
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].map(Some);
        let port = self.published(address).or_else(|| match address {
            None => loopback.into_iter().find_map(|one| self.published(one)),
            Some(_) => None,
        });
        let Some(port) = port else { return self.arrives_at_host() };
        let container = port.label.container;
        self.hop(format!(
            "output: port {}/{} of the host is published, and leads to {} of {container}",
            port.host_port, port.protocol, port.target
        ));
        self.arrives(container, "output: jump publish; the port is published")
    }

    /// The way of a packet from another machine.
    pub(super) fn sent_by_lan(&mut self) -> End {
        let address = match self.to.party.who {
            Who::Host => return self.lan_to_host(self.to.party.address),
            Who::Container(sandbox) if sandbox.mode == Mode::Host => return self.lan_to_host(None),
            Who::Lan => {
                let rule = "no container of ocinet's has to do with it: the host's own rules decide";
                return self.left_to_others("lan", rule);
            }
            Who::Unused(address) => self.scene.network_of(address).map(|network| (address, network)),
            Who::Container(_) | Who::Network(_) => self.own_address(),
        };
        let Some((address, network)) = address else { return self.without_network() };
        self.hop(format!("another machine sends to {address}, to which it needs a route by this host"));
        if self.scene.keeper.has_rules() && network.options.is_masqueraded() {
            return (Verdict::Dropped, guarded(network));
        }
        self.enter_bridge(address, network)
    }

    fn lan_to_host(&mut self, address: Option<IpAddr>) -> End {
        if address.is_some_and(|address| address.is_loopback()) {
            return (Verdict::NoWay, "no other machine sends to the host's loopback".into());
        }
        if self.scene.keeper.has_rules()
            && let Some(network) = address.and_then(|address| self.scene.network_of(address))
            && network.options.is_masqueraded()
        {
            return (Verdict::Dropped, guarded(network));
        }
        let Some(port) = self.published(address) else { return self.arrives_at_host() };
        match self.forwarded(&port, None, false) {
            // The input loop is of IPv4 alone.
            (Verdict::Arrives, rule) if self.scene.asks_host && port.target.is_ipv4() => {
                let why = "published_ports is respect-host-firewall: the host's input rules are asked first";
                (Verdict::OthersDecide, format!("{why}; then {rule}"))
            }
            end => end,
        }
    }

    /// The address of the container, which may have been asked for, and its network; of several, that with the default
    /// route.
    fn own_address(&self) -> Option<(IpAddr, &'w Network)> {
        let asked = self.to.party.address;
        let legs = self.to.party.legs(self.scene.networks);
        let with_asked = asked.and_then(|asked| legs.iter().find(|leg| leg.addresses.contains(&asked)));
        let leg = with_asked.or(legs.iter().find(|leg| !leg.gateways.is_empty())).or(legs.first())?;
        Some((asked.or(leg.addresses.first().copied())?, leg.network))
    }

    fn without_network(&self) -> End {
        (Verdict::NoWay, format!("{} has loopback alone", self.to.party.name()))
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
