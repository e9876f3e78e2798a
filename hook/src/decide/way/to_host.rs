use std::net::{IpAddr, Ipv4Addr};

use super::{End, Receiver, Walk};
use crate::firewall::{Publish, publish_needs};
use crate::model::{Family, PortMapping, Protocol, Sandbox};

impl Walk<'_> {
    /// It is for a process of the host at `address`, of which ocinet does not know whether there is one. A port that is
    /// published, but not for this packet, is told: it is not what the reader expects.
    pub(super) fn arrives_at_host(&mut self, address: IpAddr) -> End {
        let Some(port) = self.to.port else {
            return self.arrives(Receiver::Host, "no rule of ocinet's: it is for the host itself");
        };
        let unknown = "a process of the host, and ocinet does not look whether one listens";
        // A port of the protocol that was asked for says more.
        let protocols = [self.to.protocol].into_iter().chain(Protocol::ALL);
        let mut ports =
            protocols.flat_map(|protocol| self.scene.sandboxes.iter().map(move |one| (one, (port, protocol))));
        match ports.find_map(|(sandbox, port)| self.leads_elsewhere(sandbox, port, address)) {
            Some(why) => self.left_to_others(Receiver::Host, format!("{why}; it is for {unknown}")),
            None => self.arrives(Receiver::Host, format!("no rule of ocinet's: it is for {unknown}")),
        }
    }

    /// Where else this port of the host is published by `sandbox`; none where that does not publish it.
    fn leads_elsewhere(&self, sandbox: &Sandbox, port: (u16, Protocol), address: IpAddr) -> Option<String> {
        let (number, protocol) = port;
        let is_kept = |mapping: &&PortMapping| {
            mapping.protocol == protocol && (mapping.host_port..=mapping.last_host_port()).contains(&number)
        };
        let kept = sandbox.publish.iter().find(is_kept);
        let nowhere = |why: &str| format!("{number}/{protocol} is kept for {}, and leads nowhere{why}", sandbox.name);
        if !self.scene.keeper.has_rules() {
            return kept.map(|_| nowhere(": config.toml has firewall = \"none\""));
        }
        let ports = publish_needs(sandbox).into_iter().filter(|one| (one.host_port, one.protocol) == port);
        let places: Vec<String> = ports.map(|one| place(&one, address)).collect();
        let alone = format!("{number}/{protocol} is published {} alone, by {}", places.join(" and "), sandbox.name);
        let sleeps = || kept.filter(|mapping| sandbox.is_dormant(mapping)).map(|_| nowhere(" (dormant)"));
        (!places.is_empty()).then_some(alone).or_else(sleeps)
    }
}

/// Where a port is published that a packet for `address` does not meet.
fn place(port: &Publish, address: IpAddr) -> String {
    let target = port.target.ip();
    if !port.reached_by.has_host() {
        return format!("at its own address {target} (the network is routed)");
    }
    let family = Family::of(target);
    let loopback = Some(address).filter(|one| one.is_loopback() && Family::of(*one) == family);
    match (port.host_address.one(), loopback) {
        (Some(one), _) => format!("on {one}"),
        (None, None) => format!("on addresses of {family}"),
        (None, Some(IpAddr::V4(_))) => format!("on addresses of {family}, of 127.0.0.0/8 on {}", Ipv4Addr::LOCALHOST),
        (None, Some(IpAddr::V6(_))) => format!("on addresses of {family} (on ::1 with nftables)"),
    }
}
