//! The rules for a sender that masquerading would not choose.

use super::POSTROUTING;
use crate::firewall::Source;

/// The rules for what a network sends by a default route. What is near on the link leaves by another route, and is masqueraded.
pub(super) fn leaving(subnet: &str, source: &Source) -> Vec<String> {
    let Source { link, address, near, .. } = source;
    let near = near.iter().map(|near| format!("{POSTROUTING} -s {subnet} -d {near} -o {link} -j MASQUERADE"));
    near.chain([format!("{POSTROUTING} -s {subnet} -o {link} -j SNAT --to-source {address}")]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Held, apply, check, load};
    use super::*;
    use crate::firewall::{Base, Needs, NetworkNeeds};
    use crate::model::Subnet;

    #[test]
    fn a_sender_is_chosen_before_the_rest_is_masqueraded_and_no_attach_asks_for_it() {
        let subnet = Subnet::with_first_gateway("10.90.0.0/16".parse().unwrap()).unwrap();
        let network = NetworkNeeds { bridge: "ocinet0".parse().unwrap(), subnets: vec![subnet] };
        let source = Source {
            link: "wan".parse().unwrap(),
            gateway: Some([198, 51, 100, 2].into()),
            address: [198, 51, 100, 9].into(),
            near: vec!["198.51.100.0/24".parse().unwrap()],
        };
        let all = Needs { networks: vec![network.clone()], sources: vec![source], ..Needs::default() };
        let text = load(&all, &Held::default());
        let expected = "-A OCINET-POSTROUTING -s 10.90.0.0/16 -d 198.51.100.0/24 -o wan -j MASQUERADE\n\
                        -A OCINET-POSTROUTING -s 10.90.0.0/16 -o wan -j SNAT --to-source 198.51.100.9\n\
                        -A OCINET-POSTROUTING -s 10.90.0.0/16 -j MASQUERADE\n";
        assert!(text.contains(expected), "{text}");
        assert!(check(&all).contains("-j SNAT"));
        assert!(!apply(&network, &Base::default(), &[]).contains("-j SNAT"));
    }
}
