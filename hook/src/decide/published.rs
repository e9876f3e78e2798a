//! What published ports get of the network to which they lead. Pure.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::input::{HostPort, PublishRequest, named_twice};
use crate::model::{Families, Family, HostAddress, Invalid, Network, PortMapping, Publishing, Sandbox, shown};

/// What a network decides of the ports that lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedBy {
    /// The host's address for those that name none.
    host_binding: Option<IpAddr>,
    /// The families of the addresses to which they lead.
    pub families: Families,
    /// Those of the families over which they are reached at the container's address, so that they hold no port of the
    /// host.
    pub routed: Families,
}

impl Default for PublishedBy {
    /// What a network of IPv4 decides of which nothing was said.
    fn default() -> Self {
        Self { host_binding: None, families: Families::default().with(Family::V4), routed: Families::default() }
    }
}

impl PublishedBy {
    /// What `network` decides.
    pub fn of(network: &Network) -> Self {
        Self { host_binding: network.options.host_binding, families: network.families(), routed: network.routed() }
    }

    /// The same where ports of these families alone lead to it.
    pub fn over(self, families: Families) -> Self {
        let routed = self.routed.iter().filter(|family| families.contains(*family)).collect();
        Self { families, routed, ..self }
    }

    /// The same where those of IPv6 lead to another network, which decides `other`.
    pub fn beside(self, other: &Self) -> Self {
        let v4 = self.over(Families::default().with(Family::V4));
        let routed = v4.routed.iter().chain(other.routed.iter().filter(|family| *family == Family::V6)).collect();
        Self { families: v4.families.with(Family::V6), routed, ..v4 }
    }

    /// Whether all of them are reached at the container's addresses.
    pub fn is_routed(&self) -> bool {
        !self.routed.is_empty() && self.routed == self.families
    }

    /// The families over which ports of the host lead to it.
    pub fn of_host(&self) -> Families {
        self.families.iter().filter(|family| !self.routed.contains(*family)).collect()
    }

    /// The first of `requests` whose host address is of a family that no address is of to which it leads: rules cannot
    /// translate one into the other.
    pub fn untranslatable<'r>(&self, requests: &'r [PublishRequest]) -> Option<&'r PublishRequest> {
        let can = |request: &&PublishRequest| request.host_address.family().is_none_or(|of| self.families.contains(of));
        requests.iter().find(|request| !can(request))
    }

    /// The first of `requests` that names one address of a family over which it is routed, where it is not routed over all.
    pub fn unroutable<'r>(&self, requests: &'r [PublishRequest]) -> Option<(&'r PublishRequest, Family)> {
        let of = |request: &'r PublishRequest| {
            let family = Family::of(request.host_address.one()?);
            (!self.is_routed() && self.routed.contains(family)).then_some((request, family))
        };
        requests.iter().find_map(of)
    }

    /// Whether ports that are chosen for the one are as they would be for the other.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.host_binding == other.host_binding
    }

    /// Whether ports of `family` that were chosen for another network can lead to this one as they are: those of a routed
    /// network hold no port of the host, and those of the host are open to more where this one is routed. Those on every
    /// address of the host are open to more than a network with an address for them lets in.
    pub fn takes(&self, mappings: &[PortMapping], family: Family, chosen_as_routed: bool) -> bool {
        let is_open = |mapping: &PortMapping| mapping.host_address.one().is_none();
        self.routed.contains(family) == chosen_as_routed
            && (self.host_binding.is_none() || !mappings.iter().any(is_open))
    }

    /// `requests` with the network's address where they name none.
    ///
    /// # Errors
    /// Where two name the same port then.
    pub fn bound<'r>(&self, requests: &'r [PublishRequest]) -> Result<Cow<'r, [PublishRequest]>, Invalid> {
        let Some(address) = self.host_binding else { return Ok(requests.into()) };
        let bound = |request: &PublishRequest| match request.names_address {
            true => request.clone(),
            false => PublishRequest { host_address: Some(address).into(), ..request.clone() },
        };
        let bound: Vec<PublishRequest> = requests.iter().map(bound).collect();
        match named_twice(&bound) {
            Some((protocol, port)) => {
                let why = format!("is named twice with host_binding {address} of the network");
                Err(Invalid::new("annotation io.ocinet.publish: host port", format!("{port}/{protocol}"), why))
            }
            None => Ok(bound.into()),
        }
    }
}

/// The family by which published ports of `before` lead to its container, or were chosen to, and the one by which those
/// that are published on every address lead to it in `after` as well; none where they gain none.
pub fn gained(before: &Sandbox, after: &Sandbox) -> Option<(Family, Family)> {
    if after.routed || after.publish.iter().all(|mapping| mapping.host_address != HostAddress::Any) {
        return None;
    }
    let of_host = |sandbox: &Sandbox, family: Family| {
        sandbox.port_target(family).is_some_and(|(_, publishing)| publishing != Publishing::Routed)
    };
    let had = |family: &Family| of_host(before, *family);
    // Ports that lead nowhere were chosen as those of a network of IPv4.
    let family = Family::ALL.into_iter().find(had).unwrap_or(Family::V4);
    let gained = |other: &Family| *other != family && !had(other) && of_host(after, *other);
    Some((family, Family::ALL.into_iter().find(gained)?))
}

/// That published ports of `sandbox` do not lead to it over a family that it has; none where they do.
pub fn left_out(sandbox: &Sandbox) -> Option<String> {
    let (family, network) = sandbox.without_ports()?;
    let container = shown(sandbox.container.as_str());
    Some(format!(
        "published ports do not lead to container {container} over {family}: its default route of {family} is by network \
         {network}, and they lead by another"
    ))
}

/// Those `ports` of `sandbox`, which are kept and lead nowhere, and why: `8080->80/tcp, which lead nowhere (dormant): ...`;
/// none where there are none.
pub fn dormant<'p>(sandbox: &Sandbox, ports: impl Iterator<Item = &'p PortMapping>) -> Option<String> {
    let is_alone = sandbox.wired_endpoints().next().is_none();
    let why = if is_alone { "it is on no network" } else { "none of its networks can have them as they were chosen" };
    let ports: Vec<String> = ports.map(ToString::to_string).collect();
    (!ports.is_empty()).then(|| format!("{}, which lead nowhere (dormant): {why}", ports.join(", ")))
}

/// The ports of containers that `requests` publish in a routed network. The ports of the host are those that were asked
/// for, and nothing leads there.
pub fn routed(requests: &[PublishRequest]) -> Vec<PortMapping> {
    let mut mappings: Vec<PortMapping> = Vec::new();
    for PublishRequest { protocol, host_address, host_port, container_ports, .. } in requests {
        let first = match host_port {
            HostPort::Exactly(range) => *range.start(),
            HostPort::Free | HostPort::OneOf(_) => *container_ports.start(),
        };
        for (container_port, nth) in container_ports.clone().zip(0..) {
            let (protocol, host_address) = (*protocol, *host_address);
            let mapping = PortMapping { protocol, host_address, host_port: first + nth, container_port, count: 1 };
            if !mappings.last_mut().is_some_and(|last| last.absorb(&mapping)) {
                mappings.push(mapping);
            }
        }
    }
    mappings
}

/// Those of `requests` that name something of the host, which has no meaning in a routed network.
pub fn without_meaning(requests: &[PublishRequest]) -> impl Iterator<Item = &PublishRequest> {
    requests.iter().filter(|request| request.names_address || !matches!(request.host_port, HostPort::Free))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::parse_publish;
    use crate::model::{InterfaceName, Subnet};

    fn network(change: fn(&mut Network)) -> Network {
        let subnet = Subnet::with_first_gateway("10.64.0.0/24".parse().unwrap()).unwrap();
        let link: InterfaceName = "ocn-7".parse().unwrap();
        let mut network = Network::of_bridge("web".parse().unwrap(), link, vec![subnet]);
        change(&mut network);
        network
    }

    fn requests(text: &str) -> Vec<PublishRequest> {
        parse_publish(text, HostAddress::Any, || Ok(Vec::new())).unwrap()
    }

    #[test]
    fn the_networks_address_is_for_those_that_name_none() {
        let by = PublishedBy::of(&network(|network| network.options.host_binding = "127.0.0.1".parse().ok()));
        let all = requests("8080:80,0.0.0.0:81:81,192.0.2.1::82");
        let addresses: Vec<_> = by.bound(&all).unwrap().iter().map(|one| one.host_address.ip().to_string()).collect();
        assert_eq!(addresses, ["127.0.0.1", "0.0.0.0", "192.0.2.1"]);
        let elsewhere = HostAddress::V4([192, 0, 2, 1].into());
        let other = parse_publish("127.0.0.1:80:80,80:81", elsewhere, || Ok(Vec::new())).unwrap();
        let error = by.bound(&other).unwrap_err().to_string();
        assert!(error.contains("80/tcp") && error.contains("twice"), "{error}");
        let all = requests("80:80");
        assert!(matches!(PublishedBy::of(&network(|_| ())).bound(&all).unwrap(), Cow::Borrowed(_)));
    }

    #[test]
    fn a_routed_port_is_the_containers() {
        let routed = routed(&requests("8080-8081:80-81,53/udp"));
        let shown: Vec<String> = routed.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["0.0.0.0:8080-8081->80-81/tcp", "0.0.0.0:53->53/udp"]);
        assert_eq!(without_meaning(&requests("8080:80,80,127.0.0.1::81")).count(), 2);
    }
}
