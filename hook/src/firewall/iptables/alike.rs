//! Many ports of one container, whose rules differ in their ports alone.
//!
//! A program takes some 40 µs of processor time for each rule that it is told. Where iptables writes to nf_tables, it is
//! therefore told one rule of each kind, and the others are made of what it made of that.

use crate::firewall::Publish;

/// How many ports the program is told one by one. For as many it takes less time than it takes to look at its work.
const FEW: usize = 8;

/// Ports to add.
pub struct Alike {
    /// Those that the program is told.
    pub told: Vec<Publish>,
    /// Those whose rules differ from one of them in their ports alone.
    pub others: Vec<Publish>,
}

impl Alike {
    /// That of those that are told which `port` is like.
    pub fn like(&self, port: &Publish) -> Option<&Publish> {
        self.told.iter().find(|told| is_alike(told, port))
    }
}

/// Divides `ports`; none where they are few, or of many kinds, or have rules in the filter.
pub fn alike(ports: &[Publish]) -> Option<Alike> {
    if ports.len() <= FEW || ports.iter().any(|port| port.reached_by.has_container()) {
        return None;
    }
    let mut alike = Alike { told: Vec::new(), others: Vec::new() };
    for port in ports {
        match alike.like(port) {
            Some(_) => alike.others.push(port.clone()),
            None if alike.told.len() == FEW => return None,
            None => alike.told.push(port.clone()),
        }
    }
    Some(alike)
}

fn is_alike(one: &Publish, other: &Publish) -> bool {
    let facts = |port: &Publish| (port.protocol, port.host_address, port.target.ip());
    facts(one) == facts(other) && one.label == other.label
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::tests::port;
    use crate::model::{HostAddress, Protocol};

    #[test]
    fn one_of_each_kind_is_told() {
        let ports = |kinds: u8, each: u16| -> Vec<Publish> {
            let of_kind = |kind| (0..each).map(move |host_port| (kind, host_port));
            let one = |(kind, host_port)| {
                let address = HostAddress::V4([192, 0, 2, kind].into());
                Publish { host_port, ..port(Protocol::Tcp, address, "web") }
            };
            (0..kinds).flat_map(of_kind).map(one).collect()
        };
        let divided = alike(&ports(3, 100)).unwrap();
        assert_eq!((divided.told.len(), divided.others.len()), (3, 297));
        assert!(divided.others.iter().all(|other| divided.like(other).is_some()));
        assert!(alike(&ports(1, 8)).is_none() && alike(&ports(9, 100)).is_none());
    }
}
