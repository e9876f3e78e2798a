use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Party, Receiver, Scene, Target, Verdict, Way, Who, way};
use crate::model::{Family, Network};

/// The answer to a question about a way.
pub struct Answer<'s> {
    /// To whom it leads: the host with the address that the way is of, where none was asked for.
    pub to: Party<'s>,
    /// The way.
    pub way: Way,
    /// Where none was asked for: what becomes of the packet at other addresses of the host, if that is not the same.
    pub elsewhere: Vec<Elsewhere>,
}

/// What becomes of a packet that is sent to another address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The addresses of which it is true.
    pub addresses: Vec<IpAddr>,
    /// The way to the first of them.
    pub way: Way,
}

/// The way from one party to another. Where that is the host and no address of it was asked for, it is the way to the
/// address at which a container gets the packet, or else to the nearest.
pub fn answer<'s>(scene: &Scene<'s>, from: &Party<'s>, to: Target<'s>) -> Answer<'s> {
    let to = Target { party: to.party.meant_by(from), ..to };
    let is_any = to.party.is_host() && to.party.address.is_none();
    let addresses = if is_any { addresses_for(scene, from) } else { Vec::new() };
    let at = |address: IpAddr| {
        let party = Party { address: Some(address), ..to.party.clone() };
        (address, way(scene, from, &Target { party, ..to }))
    };
    let ways: Vec<(IpAddr, Way)> = addresses.into_iter().map(at).collect();
    match ways.iter().min_by_key(|(_, way)| rank(way)) {
        None => Answer { way: way(scene, from, &to), to: to.party, elsewhere: Vec::new() },
        Some((address, best)) => {
            let to = Party { address: Some(*address), ..to.party };
            Answer { to, way: best.clone(), elsewhere: unlike(best, &ways) }
        }
    }
}

/// The smaller, the more likely it is the one that is meant.
fn rank(way: &Way) -> u8 {
    match (&way.receiver, way.verdict) {
        (Some(Receiver::Container(..)), _) => 0,
        (_, Verdict::Arrives) => 1,
        (_, Verdict::OthersDecide | Verdict::Damaged) => 2,
        (_, Verdict::Dropped | Verdict::NoWay) => 3,
    }
}

/// Those of `ways` that end otherwise than `best`, with the addresses of one end together.
fn unlike(best: &Way, ways: &[(IpAddr, Way)]) -> Vec<Elsewhere> {
    let is_alike = |one: &Way, other: &Way| (one.verdict, &one.receiver) == (other.verdict, &other.receiver);
    let mut unlike: Vec<Elsewhere> = Vec::new();
    for (address, way) in ways.iter().filter(|(_, way)| !is_alike(way, best)) {
        match unlike.iter_mut().find(|other| is_alike(&other.way, way)) {
            Some(other) => other.addresses.push(*address),
            None => unlike.push(Elsewhere { addresses: vec![*address], way: way.clone() }),
        }
    }
    unlike
}

/// The addresses of the host to which `from` could send, the nearest first: for the host its loopback, for a container the
/// gateways of its networks; then those of its own links.
fn addresses_for(scene: &Scene<'_>, from: &Party<'_>) -> Vec<IpAddr> {
    let gateways = |network: &Network| network.host_addresses().map(|net| net.addr()).collect::<Vec<_>>();
    let of_network = |network: &Network| [gateways(network), network.stand_ins().map(IpAddr::V6).collect()].concat();
    let inside: Vec<IpAddr> = scene.networks.iter().flat_map(of_network).collect();
    let own = scene.addresses.iter().copied().filter(|one| !one.is_loopback() && !inside.contains(one));
    let (legs, loopback) = (from.legs(scene.networks), [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    let mut found: Vec<IpAddr> = match from.who {
        _ if from.is_host() => loopback.into_iter().chain(own).collect(),
        Who::Lan => own.collect(),
        Who::Container(_) | Who::Network(_) => {
            let has_family =
                |one: &IpAddr| legs.iter().flat_map(|leg| &leg.addresses).any(|own| own.is_ipv4() == one.is_ipv4());
            legs.iter().flat_map(|leg| gateways(leg.network)).chain(own).filter(has_family).collect()
        }
        Who::Host | Who::NameServer | Who::Unused(_) => Vec::new(),
    };
    found.retain(|one| from.address.is_none_or(|from| Family::of(from) == Family::of(*one)));
    let mut seen = BTreeSet::new();
    found.retain(|one| seen.insert(*one));
    found
}
