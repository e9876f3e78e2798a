//! What networks and endpoints need of the firewall, in domain words. Each backend turns them into rules of its own.

pub mod input_loop;
pub mod iptables;
mod needs;
pub mod nftables;
pub mod pass;
mod source;

pub use input_loop::InputLoop;
pub use needs::{Base, Label, Needs, NetworkNeeds, Publish, RangeNeeds, ReachedBy, moved_ports, publish_needs};
pub use source::{DefaultRoute, LinkAddress, Source, sources};

use std::fmt;
use std::os::fd::BorrowedFd;
use std::str::FromStr;

use crate::model::{Families, InterfaceName};

/// Who keeps our rules. A host has one at a time, and its store says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The kernel's nf_tables, in a table of our own.
    Nftables,
    /// `iptables` that writes to nf_tables.
    IptablesNft,
    /// `iptables` that writes to the kernel's older tables.
    IptablesLegacy,
    /// No backend: the operator has rules for our networks, or wants none.
    None,
}

impl Kind {
    /// All that hold rules.
    pub const WITH_RULES: [Self; 3] = [Self::Nftables, Self::IptablesNft, Self::IptablesLegacy];

    /// Whether anything of ours guards the networks, or the operator alone.
    pub fn has_rules(self) -> bool {
        self != Self::None
    }

    fn word(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::IptablesNft => "iptables-nft",
            Self::IptablesLegacy => "iptables-legacy",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::WITH_RULES.into_iter().chain([Self::None]).find(|kind| kind.word() == text).ok_or(())
    }
}

/// Published ports that come and go, beside what must be whole for them to be safe.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'a> {
    /// What holds on the whole host.
    pub base: Base,
    /// The networks of the containers that ports are added for.
    pub networks: &'a [NetworkNeeds],
    /// Ports, none of which is there.
    pub add: &'a [Publish],
    /// Ports that were added to `base`; those that are not there are no error.
    pub remove: &'a [Publish],
}

impl Change<'_> {
    /// Whether it takes ports away and does nothing else, for which nothing has to be whole.
    pub fn only_removes(&self) -> bool {
        self.networks.is_empty() && self.add.is_empty()
    }
}

/// What the kernel holds of ours; where nothing is loaded, the rest was not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Whether it holds anything.
    pub is_loaded: bool,
    /// The published ports, for when the store has forgotten them.
    pub published: Vec<Publish>,
    /// The bridges of internal networks.
    pub internal: Vec<InterfaceName>,
    /// The families of which forwarding between foreign links is closed.
    pub closes_forwarding: Families,
    /// The operator's chain, where it has rules and therefore stays after [`Backend::unload`].
    pub operators_chain: Option<&'static str>,
}

/// A way to put [`Needs`] into the kernel.
pub trait Backend {
    /// What it fails with.
    type Error;

    /// Waits for other programs that are about to change the firewall. Asked before anything is leased: while it cannot
    /// be changed, nothing could be taken back either.
    ///
    /// # Errors
    /// When the wait comes to its deadline.
    fn ready(&mut self) -> Result<(), Self::Error>;

    /// Takes the ports of `change` away that are to be removed, and adds the others if the base and what the networks
    /// need are whole. Otherwise it adds none and says false. Cheap: it is called at every attach and detach.
    ///
    /// # Errors
    /// When the kernel cannot be asked or refuses; then none was added.
    fn apply(&mut self, change: &Change<'_>) -> Result<bool, Self::Error>;

    /// Whether all of `part`, which has no sources, is there, whatever else is.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn holds(&mut self, part: &Needs) -> Result<bool, Self::Error>;

    /// Whether the kernel holds `all`, and nothing else of ours; looks at everything.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn matches(&mut self, all: &Needs) -> Result<bool, Self::Error>;

    /// Puts the base and `all` in place at once, whatever was there of ours before. The operator's chain stays as it
    /// is.
    ///
    /// # Errors
    /// When the kernel or the host's tools refuse; then what was there stays.
    fn load(&mut self, all: &Needs) -> Result<(), Self::Error>;

    /// Takes everything of ours away but an operator's chain that has rules; none there is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn unload(&mut self) -> Result<(), Self::Error>;

    /// What the kernel holds of ours. Cheap where that is nothing.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn inventory(&mut self) -> Result<Inventory, Self::Error>;

    /// The sockets that take the kernel long to close after elements were deleted.
    fn slow_sockets(&self) -> Vec<BorrowedFd<'_>>;
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;
    use crate::model::{Family, HostAddress, Protocol};

    /// A network as the default one is.
    pub(super) fn network(bridge: &str, range: &str) -> NetworkNeeds {
        let range: IpNet = range.parse().unwrap();
        let ranges = vec![RangeNeeds { range, gateway: range.hosts().next(), masquerade: true, outbound: None }];
        NetworkNeeds {
            bridge: bridge.parse().unwrap(),
            icc: true,
            internal: false,
            routed: Families::default(),
            trusted: Vec::new(),
            ranges,
            stand_ins: Vec::new(),
        }
    }

    /// A port of the host that leads to one of a container.
    pub(super) fn port(protocol: Protocol, host_address: HostAddress, label: &str) -> Publish {
        let target = "10.90.0.2:80".parse().unwrap();
        let reached_by = ReachedBy::Host;
        Publish {
            protocol,
            host_address,
            host_port: 8080,
            target,
            reached_by,
            masquerade: false,
            stand_in: None,
            label: label.into(),
        }
    }

    /// What both backends make of `networks`, the rules of iptables and the elements of nftables, line by line.
    fn lines(network: NetworkNeeds) -> [Vec<String>; 2] {
        let has_addressed = !network.routed.is_empty() || !network.trusted.is_empty();
        let base = Base { has_internal: network.internal, has_addressed, ..Base::default() };
        let all = Needs { base, networks: vec![network], ..Needs::default() };
        let texts = [
            nftables::ruleset(&all, &nftables::Held::default()),
            iptables::load(Family::V4, &all, &iptables::Held::default()),
        ];
        texts.map(|text| text.lines().map(str::to_owned).collect())
    }

    /// What goes where the network becomes `other`.
    fn lost(other: NetworkNeeds) -> [Vec<String>; 2] {
        let [nft, iptables] = lines(network("ocinet0", "10.90.0.0/16"));
        let [other_nft, other_iptables] = lines(other);
        [(nft, other_nft), (iptables, other_iptables)].map(|(one, other)| {
            let is_known = |line: &String| line.contains(" addressed4 {") || line.contains("169.254.53.53");
            assert!(other.iter().all(|line| one.contains(line) || is_known(line)), "{other:?}");
            one.into_iter().filter(|line| !other.contains(line)).collect()
        })
    }

    #[test]
    fn without_icc_nothing_passes_within_a_network_but_to_the_name_server() {
        let closed = NetworkNeeds { icc: false, ..network("ocinet0", "10.90.0.0/16") };
        let [nft, iptables] = lost(closed);
        assert_eq!(nft, ["add element inet ocinet intra { \"ocinet0\" . \"ocinet0\" }"]);
        assert_eq!(
            iptables,
            [
                "-A OCINET-FORWARD -i ocinet0 -o ocinet0 -d 10.90.0.0/16 -j RETURN",
                "-A OCINET-FORWARD -i ocinet0 -o ocinet0 -g OCINET-WITHIN"
            ]
        );
    }

    /// What comes where the network becomes `other`, but for the version.
    fn gained(other: NetworkNeeds) -> [Vec<String>; 2] {
        let [nft, iptables] = lines(network("ocinet0", "10.90.0.0/16"));
        let [other_nft, other_iptables] = lines(other);
        let new = |one: Vec<String>, other: Vec<String>| -> Vec<String> {
            let is_new = |line: &String| !one.contains(line) && !line.contains("comment");
            other.into_iter().filter(is_new).map(|line| line.trim().to_owned()).collect()
        };
        [new(nft, other_nft), new(iptables, other_iptables)]
    }

    #[test]
    fn nothing_passes_between_an_internal_network_and_another_link() {
        let internal = NetworkNeeds { internal: true, ..network("ocinet0", "10.90.0.0/16") };
        let [nft, iptables] = gained(internal.clone());
        assert_eq!(
            nft[..4],
            [
                "iifname @internal oifname @internal ip daddr 169.254.53.53 accept",
                "iifname @internal oifname @internal ip saddr 169.254.53.53 ct state established accept",
                "iifname @internal iifname . oifname != @intra drop",
                "oifname @internal iifname . oifname != @intra drop"
            ]
        );
        assert_eq!(
            nft[nft.len() - 2..],
            [
                "add element inet ocinet internal { \"ocinet0\" }",
                "add element inet ocinet gateways4 { \"ocinet0\" . 10.90.0.1 }"
            ]
        );
        assert_eq!(
            iptables,
            [
                ":OCINET-INPUT - [0:0]",
                "-A OCINET-FORWARD -i ocinet0 ! -o ocinet0 -j DROP",
                "-A OCINET-FORWARD ! -i ocinet0 -o ocinet0 -j DROP",
                "-A OCINET-INPUT -d 10.90.0.1 -i ocinet0 -j RETURN",
                "-A OCINET-INPUT -i ocinet0 -j DROP",
                "-I INPUT -j OCINET-INPUT",
            ]
        );
        let [_, apart] = gained(NetworkNeeds { icc: false, ..internal });
        assert_eq!(
            apart[1..5],
            [
                "-A OCINET-FORWARD -i ocinet0 -o ocinet0 -d 169.254.53.53 -j RETURN",
                "-A OCINET-FORWARD -i ocinet0 -o ocinet0 -s 169.254.53.53 -m conntrack --ctstate ESTABLISHED -j RETURN",
                "-A OCINET-FORWARD -i ocinet0 -j DROP",
                "-A OCINET-FORWARD -o ocinet0 -j DROP"
            ]
        );
    }

    /// The operator's rules come before these, and those for established connections after.
    #[test]
    fn an_internal_network_is_asked_about_before_what_is_established() {
        let internal = NetworkNeeds { internal: true, ..network("ocinet0", "10.90.0.0/16") };
        let [nft, iptables] = lines(internal);
        let at = |lines: &[String], what: &str| lines.iter().position(|line| line.contains(what)).unwrap();
        let forward = &nft[at(&nft, "chain forward {")..];
        assert!(
            at(forward, "jump operator") < at(forward, "iifname @internal")
                && at(forward, "oifname @internal") < at(forward, "ct state established")
        );
        let jump = at(&iptables, "-A OCINET-FORWARD -j OCINET-OPERATOR");
        let (drop, rest) =
            (at(&iptables, "! -i ocinet0"), at(&iptables, "-A OCINET-FORWARD -i ocinet0 -o ocinet0 -g OCINET-WITHIN"));
        assert!(jump < drop && drop < rest && rest < at(&iptables, "-o ocinet0 -g OCINET-IN"));
    }

    #[test]
    fn a_container_that_would_answer_elsewhere_sees_the_gateway() {
        let publish = vec![Publish { masquerade: true, ..port(Protocol::Tcp, HostAddress::Any, "web") }; 2];
        let all = Needs { publish, ..Needs::default() };
        let text = iptables::load(Family::V4, &all, &iptables::Held::default());
        assert!(
            text.contains("-A OCINET-MASQUERADED -d 10.90.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE"),
            "{text}"
        );
        let elements = nftables::encoded_ports(&all.publish, &all.base);
        let masqueraded: Vec<_> = elements.iter().filter_map(nftables::Encoded::address).collect();
        assert_eq!(masqueraded, [all.publish[0].target.ip()], "once");
    }

    /// Where the containers of a network are addressed from outside: the rules that come beside the table's other form.
    #[test]
    fn others_reach_published_ports_of_a_routed_network_at_its_containers() {
        let mut routed =
            NetworkNeeds { routed: Families::default().with(Family::V4), ..network("ocinet0", "10.90.0.0/16") };
        routed.ranges[0].masquerade = false;
        let [nft, iptables] = gained(routed);
        let last = nft.len() - 2;
        let elements =
            ["add element inet ocinet routed4 { \"ocinet0\" }", "add element inet ocinet addressed4 { 10.90.0.0/16 }"];
        assert_eq!(nft[last..], elements);
        let rules = [
            "oifname @routed4 ct state new meta l4proto icmp accept",
            "oifname @routed4 ct state new ip daddr . meta l4proto . th dport @routed4_ports accept",
        ];
        assert!(rules.iter().all(|rule| nft[..last].iter().any(|line| line == rule)), "{nft:?}");
        assert_eq!(
            iptables,
            [
                ":OCINET-ROUTED - [0:0]",
                ":OCINET-TRUSTED - [0:0]",
                "-A OCINET-IN -m conntrack ! --ctstate NEW -j DROP",
                "-A OCINET-IN -o ocinet0 -p icmp -j RETURN",
                "-A OCINET-IN -g OCINET-ROUTED",
                "-A OCINET-ROUTED -j DROP",
                "-A OCINET-TRUSTED -j DROP",
            ]
        );
    }

    #[test]
    fn a_trusted_link_reaches_published_ports_of_a_range_that_is_masqueraded() {
        let trusting = NetworkNeeds { trusted: vec!["vpn0".parse().unwrap()], ..network("ocinet0", "10.90.0.0/16") };
        let [nft, iptables] = gained(trusting);
        let elements = "add element inet ocinet trusted4 { \"vpn0\" . 10.90.0.0/16 }";
        assert!(nft.iter().any(|line| line == elements), "{nft:?}");
        let guard = "ip daddr @nat_subnets4 iifname != @bridges iifname != \"lo\" iifname . ip daddr != @trusted4 drop";
        assert!(nft.iter().any(|line| line == guard), "{nft:?}");
        for rule in [
            "-A OCINET-RANGE -d 10.90.0.0/16 -i vpn0 -j RETURN",
            "-A OCINET-IN -d 10.90.0.0/16 -i vpn0 -g OCINET-TRUSTED",
        ] {
            assert!(iptables.iter().any(|line| line == rule), "{iptables:?}");
        }
    }

    /// By the host's address, by the container's, or by both; what is there is found again.
    #[test]
    fn a_port_has_rules_where_it_is_reached() {
        let cases = [
            (ReachedBy::Host, (true, 0), ""),
            (ReachedBy::HostAndContainer, (true, 1), "-I OCINET-TRUSTED"),
            (ReachedBy::Container, (false, 1), "-I OCINET-ROUTED"),
        ];
        for (reached_by, (by_host, by_container), rule) in cases {
            let port = Publish { reached_by, ..port(Protocol::Tcp, HostAddress::Any, "web") };
            let elements = nftables::encoded_ports(&[port.clone(), port.clone()], &Base::default());
            let leads: Vec<_> = elements.iter().filter(|element| !element.data.is_empty()).collect();
            let at_container = elements.iter().filter(|element| element.key.starts_with(&[10, 90, 0, 2]));
            assert_eq!((!leads.is_empty(), at_container.count()), (by_host, by_container), "{reached_by:?}");
            let found = elements.iter().find_map(nftables::Encoded::publish).unwrap();
            let known = if by_host { ReachedBy::Host } else { ReachedBy::Container };
            assert_eq!((found.reached_by, found.target), (known, port.target));
            let text = iptables::add(
                Family::V4,
                &[],
                &Base { has_addressed: true, ..Base::default() },
                std::slice::from_ref(&port),
            );
            assert_eq!(text.contains("-j DNAT"), by_host, "{text}");
            assert!(text.contains(rule), "{text}");
            let whole = "-d 10.90.0.2/32 -p tcp --dport 80 -m comment --comment web -j RETURN";
            assert_eq!(text.contains(whole), by_container > 0, "{text}");
            let saved = "-A OCINET-ROUTED -d 10.90.0.2/32 -p tcp -m tcp --dport 80 -m comment --comment web -j RETURN";
            let read = iptables::published(saved).unwrap();
            assert_eq!((read.reached_by, read.target, read.host_port), (ReachedBy::Container, port.target, 80));
        }
    }

    #[test]
    fn a_range_may_leave_by_an_address_of_its_own() {
        let mut chosen = network("ocinet0", "10.90.0.0/16");
        chosen.ranges[0].outbound = Some([192, 0, 2, 9].into());
        let [nft, iptables] = gained(chosen);
        assert_eq!(nft, ["add element inet ocinet outbound4 { 10.90.0.0/16 : 192.0.2.9 }"]);
        assert_eq!(iptables, ["-A OCINET-POSTROUTING -s 10.90.0.0/16 -j SNAT --to-source 192.0.2.9"]);
    }

    #[test]
    fn a_range_that_is_not_masqueraded_is_addressed_from_outside() {
        let mut routed = network("ocinet0", "10.90.0.0/16");
        routed.ranges[0].masquerade = false;
        let [nft, iptables] = lost(routed);
        assert_eq!(nft, ["add element inet ocinet nat_subnets4 { 10.90.0.0/16 }"]);
        let guard = "-A OCINET-GUARD -d 10.90.0.0/16 -j OCINET-RANGE";
        assert_eq!(iptables[0], guard);
        assert!(iptables[1..].iter().all(|line| line.contains("-j MASQUERADE") || line.ends_with("-j OCINET-HAIRPIN")));
    }
}
