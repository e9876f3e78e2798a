//! The pass through firewalld: a zone for our bridges. They may send anywhere, and to the host what the zone names.
//!
//! To make a zone, firewalld's configuration has to be written and reloaded, and a reload drops all rules that are not
//! written there. So the zone comes with our package, and the hook only puts our bridges into it. firewalld's own zone
//! `trusted` will not do: it opens the host's own ports to every container.

/// firewalld's table, in the family `inet`.
pub const FIREWALLD_TABLE: &str = "firewalld";

/// The zone of our bridges.
pub const ZONE: &str = "ocinet";

/// Where the zone may be defined; the first that is there counts.
pub const ZONE_FILES: [&str; 2] = ["/etc/firewalld/zones/ocinet.xml", "/usr/lib/firewalld/zones/ocinet.xml"];

/// The chain with rules for the interfaces in each zone, as firewalld 1.3, 2.3 and 2.5 call it.
pub const FIREWALLD_ZONES: [&str; 3] = ["filter_FORWARD_ZONES", "filter_FORWARD_POLICIES", "filter_FORWARD_dispatch"];

/// With what the name of the chain begins to which those rules lead for interfaces in our zone.
const OUR_ZONE_CHAIN: &str = "filter_FWD_ocinet";

/// Our bridges, as firewalld writes prefixes.
pub const ZONE_INTERFACES: [&str; 2] = ["ocinet+", "ocn-+"];

/// The state of a firewalld that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firewalld {
    /// Whether our bridges are in our zone.
    pub is_open: bool,
    /// Whether our zone is defined.
    pub has_zone: bool,
    /// Whether its definition has our bridges in it, so that no hook has to put them there and no reset takes them out.
    pub is_permanent: bool,
}

impl Firewalld {
    /// What there is, given the definition of our zone.
    pub fn new(is_open: bool, zone: Option<&str>) -> Self {
        let names =
            |text: &str| ZONE_INTERFACES.iter().all(|name| text.contains(&format!("<interface name=\"{name}\"")));
        Self { is_open, has_zone: is_open || zone.is_some(), is_permanent: zone.is_some_and(names) }
    }
}

/// Whether the rules of such a chain, as netlink has them, lead from both kinds of our bridges into our zone. A rule
/// may name where a packet goes, too, but there is one for each kind that does not name the other.
pub fn admits(rules: &[Vec<u8>]) -> bool {
    let [_, networks] = ZONE_INTERFACES.map(|name| name.trim_end_matches('+'));
    let ours = rules.iter().filter(|rule| holds(rule, OUR_ZONE_CHAIN));
    let (of_networks, of_default): (Vec<_>, Vec<_>) = ours.partition(|rule| holds(rule, networks));
    !of_networks.is_empty() && !of_default.is_empty()
}

/// Whether `text` is in a rule as netlink has it.
pub fn holds(rule: &[u8], text: &str) -> bool {
    rule.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The arguments of `firewall-cmd` that put our bridges into the zone, or take them out.
pub fn zone_command(open: bool) -> Vec<String> {
    let verb = if open { "add" } else { "remove" };
    let interfaces = ZONE_INTERFACES.iter().map(|interface| format!("--{verb}-interface={interface}"));
    [format!("--zone={ZONE}")].into_iter().chain(interfaces).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_open_with_both_kinds_of_bridges() {
        let [default, networks] = ["ocinet -> filter_FWD_ocinet", "ocn- -> filter_FWD_ocinet_dispatch_stage2"];
        let (between, other) = ("ocn- ocinet -> filter_FWD_ocinet", "ocn- eth0 -> filter_FWD_public");
        for (rules, is_open) in [
            (vec![default, networks], true),
            (vec![other, between, default], true),
            (vec![default, other], false),
            (vec![networks, between], false),
            (vec![], false),
        ] {
            let bytes: Vec<_> = rules.iter().map(|rule| rule.as_bytes().to_vec()).collect();
            assert_eq!(admits(&bytes), is_open, "{rules:?}");
        }
    }
}
