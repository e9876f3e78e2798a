//! The door of firewalld: a zone for our bridges, which may send to anywhere, and to the host what the zone names.
//!
//! A zone cannot be made without writing firewalld's configuration and reloading it, which costs everybody what they had
//! not written there. So it comes with our package, and the hook puts our bridges into it where they are not. firewalld's own zone
//! `trusted` is no door: it would open the host itself to every container.

/// firewalld's table, in the family `inet`.
pub const FIREWALLD_TABLE: &str = "firewalld";

/// The zone of our bridges.
pub const ZONE: &str = "ocinet";

/// Where the zone may be defined; the first that is there counts.
pub const ZONE_FILES: [&str; 2] = ["/etc/firewalld/zones/ocinet.xml", "/usr/lib/firewalld/zones/ocinet.xml"];

/// The chain with a rule for each interface in a zone.
pub const FIREWALLD_ZONES: &str = "filter_FORWARD_ZONES";

/// Where those rules lead for interfaces in our zone.
pub const OUR_ZONE_CHAIN: &str = "filter_FWD_ocinet";

/// Our bridges, as firewalld writes prefixes.
pub const ZONE_INTERFACES: [&str; 2] = ["ocinet+", "ocn-+"];

/// What is to be known of a firewalld that runs.
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

/// The arguments of `firewall-cmd` that put our bridges into the zone, or take them out.
pub fn zone_command(open: bool) -> Vec<String> {
    let verb = if open { "add" } else { "remove" };
    let interfaces = ZONE_INTERFACES.iter().map(|interface| format!("--{verb}-interface={interface}"));
    [format!("--zone={ZONE}")].into_iter().chain(interfaces).collect()
}

/// The commands with which an operator makes the zone.
pub(super) fn zone_making() -> String {
    let permanent = format!("firewall-cmd --permanent --zone={ZONE}");
    [
        format!("firewall-cmd --permanent --new-zone={ZONE}"),
        format!("{permanent} --set-target=ACCEPT"),
        format!("{permanent} --add-rich-rule='rule priority=32767 reject'"),
        format!("{permanent} --add-service=dns"),
        format!("{permanent} --add-protocol=icmp"),
        format!("{permanent} --add-interface=ocinet+ --add-interface=ocn-+"),
        "firewall-cmd --reload".into(),
    ]
    .join(" && ")
}
