//! The rules for a sender that masquerading would not choose.

use ipnet::IpNet;

use super::POSTROUTING;
use crate::firewall::Source;

/// The rules for what a network sends by a default route. What is near on the link leaves by another route, and is
/// masqueraded.
pub(super) fn leaving(range: IpNet, source: &Source) -> Vec<String> {
    let Source { link, address, near, .. } = source;
    let near = near.iter().map(|near| format!("{POSTROUTING} -s {range} -d {near} -o {link} -j MASQUERADE"));
    near.chain([format!("{POSTROUTING} -s {range} -o {link} -j SNAT --to-source {address}")]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Held, add, check, load};
    use super::*;
    use crate::firewall::tests::network;
    use crate::firewall::{Base, Needs};
    use crate::model::Family;

    #[test]
    fn a_sender_is_chosen_before_the_rest_is_masqueraded_and_no_attach_asks_for_it() {
        let networks = vec![network("ocinet0", "10.90.0.0/16")];
        let source = Source {
            link: "wan".parse().unwrap(),
            gateway: Some([198, 51, 100, 2].into()),
            address: [198, 51, 100, 9].into(),
            near: vec!["198.51.100.0/24".parse().unwrap()],
        };
        let all = Needs { networks: networks.clone(), sources: vec![source], ..Needs::default() };
        let text = load(Family::V4, &all, &Held::default());
        let expected = "-A OCINET-POSTROUTING -s 10.90.0.0/16 -d 198.51.100.0/24 -o wan -j MASQUERADE\n\
                        -A OCINET-POSTROUTING -s 10.90.0.0/16 -o wan -j SNAT --to-source 198.51.100.9\n\
                        -A OCINET-POSTROUTING -s 10.90.0.0/16 -j MASQUERADE\n";
        assert!(text.contains(expected), "{text}");
        assert!(check(Family::V4, &all).contains("-j SNAT"));
        assert!(!add(Family::V4, &networks, &Base::default(), &[]).contains("-j SNAT"));
    }
}
